"""The columns of every table of results, and tables as CSV."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

#: The first columns of every table; the methods' parameters stand between `label` and `seed`.
FIRST = ["experiment", "dataset", "clip", "category", "method", "label"]
#: The first columns that hold names.
NAMES = ["dataset", "clip", "category", "method", "label"]
LAST = ["seed", "dtype", "iteration", "metric", "value", "reason", "seconds"]

#: Rows that are looked up at once.
_ROWS = 2**18

#: Text that a spreadsheet would run as a formula, behind any number of apostrophes.
_FORMULA = re.compile(r"'*[=+\-@]")


def row_keys(table: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Return a number for each row, the same for rows that are equal in some columns.

    Parameters
    ----------
    table : pd.DataFrame
    columns : list of str
        Missing values are equal to each other.

    Returns
    -------
    np.ndarray [shape=(n_rows,), int32 or int64]
    """
    key: np.ndarray = np.zeros(len(table), np.int32)
    size = 1
    for name in columns:
        column = table[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            codes, count = column.cat.codes.to_numpy(), len(column.cat.categories) + 1
        else:
            codes, values = pd.factorize(column)
            count = len(values) + 1
        if size * count >= 2**62:
            key, distinct = pd.factorize(key)
            size = len(distinct)
        if size * count >= 2**31:
            key = key.astype(np.int64, copy=False)
        else:  # half the memory of a large table
            key, codes = key.astype(np.int32, copy=False), codes.astype(np.int32, copy=False)
        key *= count
        key += codes
        key += 1
        size = size * count + 1
    return key


def distinct(table: pd.DataFrame, columns: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that differ in some columns, in order, and of which of them each row is one.

    Returns
    -------
    first : np.ndarray [shape=(n_distinct,), int64]
        Places of rows in the table.
    which : np.ndarray [shape=(n_rows,), int32]
        Places in `first`.
    """
    key = row_keys(table, columns)
    # Block by block: pandas takes several times the memory of the keys.
    blocks = [slice(start, start + _ROWS) for start in range(0, len(key), _ROWS)]
    firsts = [rows.start + _unlike(key[rows]) for rows in blocks] or [np.empty(0, np.int64)]
    first = np.concatenate(firsts)
    first = first[_unlike(key[first])]
    index, which = pd.Index(key[first]), np.empty(len(key), np.int32)
    for rows in blocks:
        which[rows] = index.get_indexer(key[rows])
    return first, which


def _unlike(key: np.ndarray) -> np.ndarray:
    """Return the places of the first of equal values."""
    return np.flatnonzero(~pd.Series(key, copy=False).duplicated().to_numpy())


def has_twins(table: pd.DataFrame, columns: list[str]) -> bool:
    """Return whether two rows are equal in some columns."""
    key = row_keys(table, columns)
    key.sort()  # in place: a table of unique keys would take several times the memory
    return bool((key[1:] == key[:-1]).any())


def to_csv(table: pd.DataFrame, **options: Any) -> str:
    """Return a table as CSV; an apostrophe in front keeps text from being run as a formula.

    Parameters
    ----------
    table : pd.DataFrame
    **options
        As of `pandas.DataFrame.to_csv`.
    """
    table = table.apply(_mapped, function=_marked)
    return table.to_csv(index=False, lineterminator="\n", **options)


def unmarked(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table that was read from `to_csv` without the apostrophes."""
    return table.apply(_mapped, function=_plain)


def _mapped(column: pd.Series, function: Any) -> pd.Series:
    is_text = column.dtype == object or pd.api.types.is_string_dtype(column.dtype)
    if not is_text or not any(map(_is_formula, column)):  # nearly always: no copy
        return column
    return column.map(function)


def _is_formula(value: Any) -> bool:
    return isinstance(value, str) and _FORMULA.match(value) is not None


def _marked(value: Any) -> Any:
    return f"'{value}" if _is_formula(value) else value


def _plain(value: Any) -> Any:
    return value[1:] if _is_formula(value) and value.startswith("'") else value
