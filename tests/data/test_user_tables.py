"""A user's table and column map: what is accepted, and every refusal in one sentence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data import user_tables
from data.user_tables import column_names, read_column_map, read_table

ROWS = 150


def table(**more: object) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"weight": rng.normal(70, 9, ROWS), "BMI": rng.normal(25, 3, ROWS), **more})


def saved(frame: pd.DataFrame, folder: Path, suffix: str = ".csv") -> Path:
    path = folder / f"table{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_both_formats_give_the_same_numbers(tmp_path: Path, suffix: str) -> None:
    frame = table(smokes=np.arange(ROWS) % 3 == 0, children=np.arange(ROWS) % 4)
    path = saved(frame, tmp_path, suffix)
    found = read_table(path)
    assert (found.dtypes == np.float64).all()
    np.testing.assert_allclose(found.to_numpy(), frame.to_numpy(dtype=float))
    assert column_names(path) == list(frame)
    assert list(read_table(path, ["children", "weight"])) == ["children", "weight"]


def test_rows_that_miss_a_wanted_column_are_left_out(tmp_path: Path) -> None:
    frame = table(HDL=np.where(np.arange(ROWS) < 10, np.nan, np.arange(ROWS)), notes="none")
    path = saved(frame, tmp_path)
    found = read_table(path, ["weight", "HDL"])
    assert found.attrs == {"rows_read": ROWS, "rows_kept": ROWS - 10} and len(found) == ROWS - 10
    assert found["HDL"].iloc[0] == 10 and found.index[0] == 0
    assert len(read_table(path, ["weight", "BMI"])) == ROWS


def test_column_names_may_hold_anything(tmp_path: Path) -> None:
    hostile = ['a "quoted", <b>', "line\nbreak", "体重 β₁"]
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(ROWS, 3)), columns=hostile)
    assert list(read_table(saved(frame, tmp_path))) == hostile


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"x": ["low"] * ROWS}, "Column x holds “low” in row 1; make it numeric"),
        ({"x": [1.0] * ROWS}, "Column x is constant (1)"),
        ({"x": [np.inf, *range(ROWS - 1)]}, "Column x is infinite in row 1"),
        ({"x": [np.nan] * 100 + list(range(ROWS - 100))}, "50 rows without a missing value"),
        ({"": range(ROWS)}, "Column 3 of table.csv has no name"),
        ({" ": range(ROWS)}, "Column 3 of table.csv has no name"),
    ],
)
def test_unusable_columns_are_named(tmp_path: Path, more: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:
        read_table(saved(table(**more), tmp_path))
    assert sentence in str(refusal.value)


def test_dates_are_not_numbers(tmp_path: Path) -> None:
    path = saved(table(seen=pd.date_range("2020-01-01", periods=ROWS)), tmp_path, ".parquet")
    with pytest.raises(ValueError, match="Column seen holds “2020-01-01"):
        read_table(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"a;b\n1;2\n", "not separated by commas"),
        (b"a,a\n1,2\n", "names column a twice"),
        ("größe,b\n1,2\n".encode("latin-1"), "not a UTF-8 CSV"),
        (b"a,b\n1,2\n", "has 1 rows without a missing value"),
        (b"a,b\n", "has 0 rows without a missing value"),
        (b"a,b\n1,2,3\n4,5,6\n", "cannot be read as CSV"),
        (b"a,b\n1,2\n3\n", "cannot be read as CSV"),
    ],
)
def test_files_that_are_no_table_are_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError) as refusal:
        read_table(path)
    assert sentence in str(refusal.value)


def test_absent_large_and_strange_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="is not a file"):
        read_table(tmp_path / "nowhere.csv")
    (tmp_path / "table.xlsx").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"neither \.csv nor \.parquet"):
        read_table(tmp_path / "table.xlsx")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        read_table(tmp_path / "broken.parquet")
    path = saved(table(), tmp_path)
    with pytest.raises(ValueError, match="has no column weigth; did you mean weight"):
        read_table(path, ["weigth"])
    monkeypatch.setattr(user_tables, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="more than 200"):
        read_table(path)


COLUMNS = ["weight", "BMI", "HDL", "name: with, marks"]


def test_the_map_is_read_inline_and_from_files(tmp_path: Path) -> None:
    wanted = {"weight": "body", "BMI": "body", "HDL": "blood"}
    assert read_column_map("body: weight, BMI; blood: HDL;", COLUMNS) == wanted
    by_modality, by_column, rows = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.csv"
    by_modality.write_text('{"body": ["weight", "BMI"], "blood": ["HDL"]}')
    by_column.write_text('{"weight": "body", "BMI": "body", "HDL": "blood"}')
    rows.write_text('column,modality\nweight,body\n"name: with, marks",blood\n')
    assert read_column_map(str(by_modality), COLUMNS) == read_column_map(by_column, COLUMNS) == wanted
    assert read_column_map(rows, COLUMNS) == {"weight": "body", "name: with, marks": "blood"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "two modalities or more"),
        ("body: weight, BMI", "two modalities or more"),
        ("body: weight; blood: HLD", "names column HLD, which the table lacks; did you mean HDL?"),
        ("body: weight; blood: weight", "names column weight twice"),
        ("body: weight; blood:", "“blood:” names no columns"),
        ("weight, BMI", "names no columns"),
        ("body: weight; : HDL", "name both a column and a modality"),
        ("nowhere.json", "is not a file"),
    ],
)
def test_unusable_maps_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as refusal:
        read_column_map(text, COLUMNS)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("m.json", "[1]", "must hold a JSON object"),
        ("m.json", "{", "cannot be read as a map"),
        ("m.json", '{"body": 3}', "gives body neither"),
        ("m.csv", "a,b\n1,2\n", "header column,modality"),
        ("m.csv", "column,modality\nweight\n", "name both"),
    ],
)
def test_unusable_map_files_are_refused(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError) as refusal:
        read_column_map(tmp_path / name, COLUMNS)
    assert sentence in str(refusal.value)
