"""A user's own table and its map from columns to modalities, checked before anything is trained on them.

Every refusal is a ValueError with one sentence that names the file or the column and what to do.
"""

import csv
import difflib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from data.parquet import refusing_damage

MAX_BYTES = 200_000_000
MAX_CELLS = 50_000_000
MIN_ROWS = 100
SUFFIXES = (".csv", ".parquet")
QUOTED = arrow_csv.ParseOptions(newlines_in_values=True)


def column_names(path: str | Path) -> list[str]:
    """The columns of a CSV or Parquet table, without reading its rows. Raises ValueError."""
    file = _file(path)
    if file.suffix.lower() == ".parquet":
        return _checked_names(list(_parquet(file).schema_arrow.names), file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            names = next(csv.reader(lines), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} is not a UTF-8 CSV table ({error}); save it again as one.") from None
    return _checked_names(names, file)


def read_table(path: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A CSV (commas, UTF-8, a header) or Parquet table as float64 columns, all of them or `columns` in that order.

    Empty cells and NA, NaN, null count as missing, and a row that misses any of the columns is left out; the frame's
    `attrs` say how many rows there were ("rows_read") and how many remain ("rows_kept"). True and False become 1
    and 0. Raises ValueError for a file that is absent, larger than 200 MB or no table; for a column that is absent,
    named twice, not numeric, infinite or constant; and where fewer than 100 complete rows remain.
    """
    file = _file(path)
    present = column_names(file)
    wanted = list(columns) if columns is not None else present
    for column in wanted:
        if column not in present:
            raise ValueError(f"{file.name} has no column {column}{_nearest(column, present)}.")
    frame = _raw(file, wanted)[wanted]
    numbers = pd.DataFrame({column: _numeric(frame[column]) for column in wanted})
    complete = numbers.dropna().reset_index(drop=True)
    if len(complete) < MIN_ROWS:
        worst = str(numbers.isna().mean().idxmax()) if len(numbers) else wanted[0]
        raise ValueError(
            f"{file.name} has {len(complete)} rows without a missing value, fewer than {MIN_ROWS}; "
            f"column {worst} misses most, leave it out or add rows."
        )
    for column in wanted:
        if complete[column].nunique() == 1:
            raise ValueError(
                f"Column {column} is constant ({complete[column].iloc[0]:g}) in the complete rows; leave it out."
            )
    complete.attrs.update(rows_read=len(frame), rows_kept=len(complete))
    return complete


def read_column_map(text_or_path: str | Path, columns: Sequence[str]) -> dict[str, str]:
    """Column → modality, in the order given, modalities being ordered by their first column.

    Inline "body: weight, BMI; blood: HDL", or a file: CSV with the header column,modality, or JSON, either
    {"weight": "body", …} or {"body": ["weight", "BMI"], …}. Columns of the table that are not named are left out.
    Raises ValueError for a column that the table (`columns`) lacks or that is named twice, an empty modality, and
    fewer than two modalities.
    """
    text = str(text_or_path).strip()
    pairs = (
        _mapped_file(Path(text).expanduser()) if text.lower().endswith((".csv", ".json")) else _inline(text)
    )
    found: dict[str, str] = {}
    for column, modality in pairs:
        if not column or not modality:
            raise ValueError(f"The map joins “{column}” and “{modality}”; name both a column and a modality.")
        if column not in columns:
            raise ValueError(
                f"The map names column {column}, which the table lacks{_nearest(column, columns)}."
            )
        if column in found:
            raise ValueError(f"The map names column {column} twice; give it one modality.")
        found[column] = modality
    if len(set(found.values())) < 2:
        raise ValueError("The map needs two modalities or more, as in “body: weight, BMI; blood: HDL”.")
    return found


def _file(path: str | Path) -> Path:
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"{file} is not a file; give the path of a CSV or Parquet table.")
    if file.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{file.name} ends in neither .csv nor .parquet; save the table as one of them.")
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{file.name} holds {size / 1e6:.0f} MB, more than 200; leave columns or rows out.")
    return file


def _parquet(file: Path) -> pq.ParquetFile:
    with refusing_damage(file):
        table = pq.ParquetFile(file)
    cells = table.metadata.num_rows * table.metadata.num_columns
    if cells > MAX_CELLS:
        raise ValueError(
            f"{file.name} holds {cells:,} cells, more than {MAX_CELLS:,}; leave columns or rows out."
        )
    return table


def _checked_names(names: Sequence[str], file: Path) -> list[str]:
    if not names:
        raise ValueError(f"{file.name} is empty; its first line must name the columns.")
    if len(names) == 1 and any(mark in names[0] for mark in ";\t"):
        raise ValueError(f"{file.name} is not separated by commas; save it again as comma-separated.")
    for place, name in enumerate(names, 1):
        if not name.strip():
            raise ValueError(f"Column {place} of {file.name} has no name; name it or remove it.")
        if name in names[: place - 1]:
            raise ValueError(f"{file.name} names column {name} twice; rename one of them.")
    return list(names)


def _raw(file: Path, wanted: list[str]) -> pd.DataFrame:
    if file.suffix.lower() == ".parquet":
        with refusing_damage(file):
            return _parquet(file).read(columns=wanted).to_pandas()
    wanted_only = arrow_csv.ConvertOptions(include_columns=wanted, strings_can_be_null=True)
    try:
        return arrow_csv.read_csv(file, parse_options=QUOTED, convert_options=wanted_only).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file.name} cannot be read as CSV ({error}); save it again as one.") from None


def _numeric(column: "pd.Series[Any]") -> "pd.Series[float]":
    numbers = pd.to_numeric(column, errors="coerce").astype(np.float64)
    strange = column.notna() & numbers.isna()
    if pd.api.types.is_datetime64_any_dtype(column.dtype) or strange.any():
        row = int(np.argmax(strange)) if strange.any() else 0
        raise ValueError(
            f"Column {column.name} holds “{column.iloc[row]}” in row {row + 1}; make it numeric or leave it out."
        )
    if np.isinf(numbers).any():
        row = int(np.argmax(np.isinf(numbers)))
        raise ValueError(
            f"Column {column.name} is infinite in row {row + 1}; correct it or leave the row out."
        )
    return numbers


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else f"; it has {', '.join(list(names)[:8])}"


def _inline(text: str) -> list[tuple[str, str]]:
    pairs = []
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        modality, colon, members = part.partition(":")
        if not colon or not members.strip():
            raise ValueError(f"“{part}” names no columns; write it as “body: weight, BMI”.")
        pairs += [(column.strip(), modality.strip()) for column in members.split(",") if column.strip()]
    return pairs


def _mapped_file(file: Path) -> list[tuple[str, str]]:
    if not file.is_file():
        raise ValueError(
            f"{file} is not a file; give the path of a map or write it out, as in “body: weight, BMI”."
        )
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".json":
            return _json_pairs(json.loads(text), file)
        rows = list(csv.DictReader(io.StringIO(text)))
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise ValueError(f"{file.name} cannot be read as a map ({error}); save it again.") from None
    if not rows or not {"column", "modality"} <= set(rows[0]):
        raise ValueError(f"{file.name} needs the header column,modality and a row for each column.")
    return [((row["column"] or "").strip(), (row["modality"] or "").strip()) for row in rows]


def _json_pairs(content: Any, file: Path) -> list[tuple[str, str]]:
    if not isinstance(content, Mapping):
        raise ValueError(f'{file.name} must hold a JSON object, as in {{"body": ["weight", "BMI"]}}.')
    pairs = []
    for key, value in content.items():
        if isinstance(value, str):
            pairs.append((key.strip(), value.strip()))
        elif isinstance(value, list) and all(isinstance(column, str) for column in value):
            pairs += [(column.strip(), key.strip()) for column in value]
        else:
            raise ValueError(
                f"{file.name} gives {key} neither a modality nor a list of columns; give it one."
            )
    return pairs
