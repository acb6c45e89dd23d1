"""A run's Parquet in its declared columns, row by row sound or refused, and the evaluations it holds."""

import reprlib
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.errors import UserError
from engine.tables.common import BOOL, F64, I32, I64, STR
from engine.tables.sapo import SAPO

MAX_BYTES, MAX_CHARACTERS = 200_000_000, 100_000
_NEEDED = {
    "sapo_tokens": ("rollout", "step", "position", "token"),
    "sapo_rollouts": ("rollout", "prompt", "completion", "exact", "cell"),
}
_PART = ("seed", "arm", "kind")
_OPTIONAL = (*_PART, "truth", "trace_valid", "junk", "argmax", "confidence", "entropy", "block")
_NEVER_NULL = (*_PART, "rollout", "step", "position", "token", "completion")
_WANTED = {STR: "text", BOOL: "true or false", F64: "a number", I64: "a whole number", I32: "a whole number"}


def fail(path: Path, line: int, problem: str, place: str = "line") -> NoReturn:
    raise UserError("imported", f"{path.name}, {place} {line}: {problem}.")


def check_file(path: Path) -> None:
    if not path.is_file():
        raise UserError("imported", f"{path} is no file on this machine; name one that exists.")
    if path.stat().st_size > MAX_BYTES:
        raise UserError("imported", f"{path.name} is larger than {MAX_BYTES // 10**6} MB; split it.")


def run_table(path: Path) -> tuple[str, pa.Table]:
    """A run's table by its name, its rows (but training ones) in the declared types. Raises UserError."""
    check_file(path)
    try:
        names = pq.read_schema(path).names
        which = next((which for which, needed in _NEEDED.items() if {*needed} <= {*names}), None)
        if which is None:
            raise UserError(
                "imported",
                f"{path.name} has the columns {', '.join(names[:8])}; name sapo_rollouts.parquet or sapo_tokens.parquet of a run.",
            )
        used = [name for name in SAPO[which] if name in names and name in (*_NEEDED[which], *_OPTIONAL)]
        read = pq.read_table(path, columns=used, partitioning=None)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(
            "imported", f"{path.name} is no readable Parquet ({str(error).splitlines()[0]})."
        ) from None
    table = pa.table({name: _column(path, name, read[name], SAPO[which][name]) for name in used})
    if "kind" in used:
        table = table.filter(pc.not_equal(table["kind"], "training"))
    if not table.num_rows:
        fail(path, 1, "it holds no generations, or training ones alone", "row")
    return which, table


def parts_of(table: pa.Table) -> list[dict[str, Any]]:
    """Every seed, arm and kind of a run's table, in their order; of a table without these columns the whole."""
    names = [name for name in _PART if name in table.column_names]
    return table.group_by(names, use_threads=False).aggregate([]).to_pylist() if names else [{}]


def _column(path: Path, name: str, column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """A column in its declared type. Raises UserError that names the first row where it is not, or has no sound value."""
    typed = _cast(column, wanted)
    if typed is None:
        rows = range(len(column))
        bad = next(row for row in rows if _cast(column.slice(row, 1), wanted) is None)
    else:
        refused = pc.and_(typed.is_null(), name in _NEVER_NULL)
        if name == "position":
            inside = pc.and_(pc.greater_equal(typed, 0), pc.less(typed, MAX_CHARACTERS))
            refused = pc.or_kleene(refused, pc.invert(inside))
        bad = pc.index(refused, True).as_py()
    if bad >= 0:
        most = f" from 0 to {MAX_CHARACTERS - 1:,}" if name == "position" else ""
        fail(path, bad + 1, f"{name} is {_shown(column[bad])}, {_WANTED[wanted]}{most} is wanted", "row")
    return typed


def _cast(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray | None:
    """A column in another type of the same kind (text, numbers, truth values); None where a value has no place in it."""
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), wanted)])
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if _kind(column.type) != _kind(wanted):
            return None
        typed = column.cast(wanted)
        typed.validate(full=True)
    except pa.ArrowException:
        return None
    return typed


def _kind(type: pa.DataType) -> str:
    if pa.types.is_integer(type) or pa.types.is_floating(type):
        return "number"
    return "string" if str(type) in ("large_string", "string_view") else str(type)


def _shown(value: pa.Scalar) -> str:
    try:
        return reprlib.repr(value.as_py()) if value.is_valid else "missing"
    except ValueError:
        return "unreadable"
