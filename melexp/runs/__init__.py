"""Run configurations: Hydra application, runner, sweep, events, display, parameter search."""
