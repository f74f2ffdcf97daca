"""Finished tasks and the tables made from them: store, tables, statistics, exports."""
