"""Large tables as Parquet files; they need the extra ``parquet``."""

from __future__ import annotations

import stat
from collections.abc import Collection, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd

from melexp.errors import one_line, require
from melexp.results.blocks import Block
from melexp.results.columns import FIRST, LAST
from melexp.results.records import DamagedFile

if TYPE_CHECKING:
    import pyarrow as pa

#: Limits of a table that is read: rows, cells, bytes of the columns when unpacked, distinct values.
LARGEST_ROWS, LARGEST_CELLS, LARGEST_BYTES, LARGEST_CATEGORIES = 2**26, 2**30, 2**34, 2**22
#: Columns of plain numbers; the values of all others repeat. Whole numbers take 64 bits if needed.
NUMBERS = {"seed": "int32", "iteration": "int32", "value": "float64", "seconds": "float64"}
#: Columns of text without a missing value.
TEXTS = {*FIRST, "dtype", "metric"}
#: Rows that are unpacked at once.
_BATCH = 2**18


def is_installed() -> bool:
    """Return whether the extra is installed."""
    return find_spec("pyarrow") is not None


def opened(path: Path) -> BinaryIO:
    """Open a table.

    Raises
    ------
    DamagedFile
        If it is no plain file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise DamagedFile(f"{path} is not a plain file, so not a file of results")
    return path.open("rb")


def write(file: BinaryIO, blocks: Iterable[Block], settings: pd.DataFrame) -> None:
    """Write a table, a row group per job.

    Parameters
    ----------
    file : binary file
    blocks : iterable of Block
    settings : pd.DataFrame
        A row per job with its columns of one value. A parameter of several kinds becomes text.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    parameters = sorted(set(settings.columns) - {*FIRST, *LAST})
    schema = pa.schema([(name, _kind(name, settings)) for name in (*FIRST, *parameters, *LAST)])
    plain = [name for name in schema.names if name not in ("value", "seconds")]
    with ParquetWriter(file, schema, compression="zstd", use_dictionary=plain) as writer:
        for block in blocks:
            columns = _columns(block, schema)
            arrays = [columns[name] for name in schema.names]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), len(block))


def _kind(name: str, settings: pd.DataFrame) -> pa.DataType:
    import pyarrow as pa

    numbers = {"i": pa.int64(), "u": pa.int64(), "f": pa.float64(), "b": pa.bool_()}
    if name in NUMBERS:
        return pa.float64() if NUMBERS[name] == "float64" else pa.int64()
    kind = settings[name].dtype.kind if name in settings else "O"
    return numbers.get(kind, pa.dictionary(pa.int32(), pa.string()))


def _columns(block: Block, schema: pa.Schema) -> dict[str, pa.Array]:
    import pyarrow as pa

    n = len(block)

    def coded(codes: np.ndarray, values: list[str]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(values))

    columns = {
        name: coded(block.clip, [clip[place] for clip in block.clips])
        for place, name in enumerate(("dataset", "clip", "category"))
    }
    columns["metric"] = coded(block.pair, [metric for _, metric in block.pairs])
    columns["reason"] = coded(block.reason, block.reasons)
    iteration = np.array([iteration for iteration, _ in block.pairs], np.int64)
    columns["iteration"] = pa.array(iteration[block.pair])
    columns["value"] = pa.array(block.value, from_pandas=True)
    columns["seconds"] = pa.array(block.seconds, from_pandas=True)
    for name in schema.names:
        if name in columns:
            continue
        value, kind = block.fixed.get(name), schema.field(name).type
        if value is None or value != value:
            columns[name] = pa.nulls(n, kind)
        elif pa.types.is_dictionary(kind):
            columns[name] = coded(np.zeros(n, np.int32), [str(value)])
        else:
            columns[name] = pa.repeat(pa.scalar(value, kind), n)
    return columns


def read(path: Path, *, without: Collection[str] = ()) -> pd.DataFrame:
    """Read a table; columns of names and parameters become categorical, sorted.

    Parameters
    ----------
    path : Path
    without : collection of str
        Columns that are not read.

    Raises
    ------
    ValueError
        If it is no table, or exceeds a limit.
    MissingExtra
        If the extra is not installed.
    """
    require("parquet", "pyarrow", what=f"{path}, a large table,")
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            about = file.metadata
            size = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
            if about.num_rows > LARGEST_ROWS or size > LARGEST_BYTES:
                raise ValueError(f"{about.num_rows} rows of {size} bytes are above the limit")
            names = [name for name in file.schema_arrow.names if name not in without]
            if about.num_rows * len(names) > LARGEST_CELLS:
                shape = f"{about.num_rows} rows of {len(names)} columns"
                raise ValueError(f"{shape} are above the limit of {LARGEST_CELLS} cells")
            _check_types(file.schema_arrow, names)
            columns = {name: _Column(name, about.num_rows) for name in names}
            for batch in file.iter_batches(_BATCH, columns=names):
                for name, column in columns.items():
                    column.take(batch.column(name))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(one_line(error)) from error
    return pd.DataFrame({name: column.series() for name, column in columns.items()}, copy=False)


def _check_types(schema: pa.Schema, names: Collection[str]) -> None:
    """Raise ValueError unless each column comes once and has values of its kind."""
    from pyarrow import types

    if len(set(names)) < len(names):
        raise ValueError("two columns have the same name")
    for name in names:
        stored = kind = schema.field(name).type
        if types.is_dictionary(kind) and name not in NUMBERS:
            kind = kind.value_type
        is_text = types.is_string(kind) or types.is_large_string(kind)
        is_number = types.is_integer(kind) or types.is_floating(kind) or types.is_null(kind)
        if name in TEXTS:
            fits, wanted = is_text, "text"
        elif name not in NUMBERS:
            fits, wanted = is_text or is_number or types.is_boolean(kind), "text or numbers"
        elif NUMBERS[name] == "int32":
            fits, wanted = types.is_integer(kind), "whole numbers"
        else:
            fits, wanted = is_number, "numbers"
        if not fits:
            raise ValueError(f"the column {name} holds {stored}, not {wanted}")


class _Column:
    """A column that is read in batches."""

    def __init__(self, name: str, n_rows: int) -> None:
        self.name, self.kind = name, NUMBERS.get(name)
        self.filled = 0
        self.values = np.empty(n_rows, self.kind or np.int8)
        self.codes: dict[Any, int] = {}

    def take(self, batch: pa.Array) -> None:
        import pyarrow as pa

        rows = slice(self.filled, self.filled + len(batch))
        self.filled += len(batch)
        if batch.null_count and (self.kind == "int32" or self.name in TEXTS):
            raise ValueError(f"a value of the column {self.name} is missing")
        if self.kind == "float64":
            self.values[rows] = batch.cast(pa.float64()).to_numpy(zero_copy_only=False)
            return
        if self.kind:
            whole = batch.cast(pa.int64()).to_numpy(zero_copy_only=False)
            if (whole != whole.astype(self.values.dtype)).any():
                self.values = self.values.astype(np.int64)
            self.values[rows] = whole
            return
        coded = batch if pa.types.is_dictionary(batch.type) else batch.dictionary_encode()
        own = [
            -1 if value is None else self.codes.setdefault(value, len(self.codes))
            for value in coded.dictionary.to_pylist()
        ]
        if len(self.codes) > LARGEST_CATEGORIES:
            raise ValueError(f"a column has more than {LARGEST_CATEGORIES} values")
        if len(self.codes) > np.iinfo(self.values.dtype).max:
            self.values = self.values.astype(np.int16 if len(self.codes) < 2**15 else np.int32)
        place = coded.indices.fill_null(len(own)).to_numpy(zero_copy_only=False)
        self.values[rows] = np.array([*own, -1], np.int32)[place]

    def series(self) -> pd.Series:
        if self.kind:
            return pd.Series(self.values, copy=False)
        categories = list(self.codes)
        order = sorted(range(len(categories)), key=lambda n: _key(categories[n]))
        rank = np.full(len(order) + 1, -1, np.int32)  # its last entry is that of -1
        rank[order] = np.arange(len(order))
        codes = rank.astype(self.values.dtype)[self.values]
        self.values = np.empty(0)
        found = pd.Categorical.from_codes(codes, [categories[n] for n in order])
        return pd.Series(found, copy=False)


def _key(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value
