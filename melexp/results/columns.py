"""The columns of every table of results."""

#: The first columns of every table; the methods' parameters stand between `label` and `seed`.
FIRST = ["experiment", "dataset", "clip", "category", "method", "label"]
#: The first columns that hold names.
NAMES = ["dataset", "clip", "category", "method", "label"]
LAST = ["seed", "dtype", "iteration", "metric", "value", "reason", "seconds"]
