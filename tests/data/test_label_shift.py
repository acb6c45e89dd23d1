"""A user's features as Parquet: what is read, thinned, split, and what is refused in one sentence."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from data.label_shift import check_features, read_features


def frame(n: int = 120, **columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    base = {
        "label": np.where(np.arange(n) % 3 == 0, "cat", "dog"),
        "f0": rng.normal(size=n),
        "f1": rng.normal(size=n),
    }
    return pd.DataFrame({**base, **columns})


def written(folder: Path, table: pd.DataFrame) -> Path:
    path = folder / "mine.parquet"
    table.to_parquet(path, row_group_size=50)
    return path


def read(path: Path, most: int = 20_000) -> Any:
    return read_features(path, most, np.random.default_rng(0))


def test_columns_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    table = frame(**{f"f{i}": np.full(120, float(i)) for i in range(12)}, note=["x"] * 120)
    found = read(written(tmp_path, table))
    assert found.features[0].tolist() == list(map(float, range(12)))
    assert found.names == ("cat", "dog") and found.split is None and found.left_out == 0


@pytest.mark.parametrize("kind", ["float", "category", "words"])
def test_rows_without_a_label_are_left_out(tmp_path: Path, kind: str) -> None:
    labels: Any = {
        "float": [np.nan if i < 5 else i % 2 for i in range(120)],
        "category": pd.Categorical([None if i < 5 else f"c{i % 2}" for i in range(120)]),
        "words": ["" if i < 5 else f"c{i % 2}" for i in range(120)],
    }[kind]
    found = read(written(tmp_path, frame(label=labels, f0=np.arange(120.0))))
    assert found.left_out == 5 and found.features[0, 0] == 5 and len(found.names) == 2


def test_200_000_rows_are_thinned_in_proportion(tmp_path: Path) -> None:
    n = 200_000
    labels = np.where(np.arange(n) % 1000 == 0, 0, np.where(np.arange(n) % 4 == 0, 1, 2))
    path = written(
        tmp_path, pd.DataFrame({"label": labels, "f0": np.arange(n, dtype=np.float32), "f1": labels})
    )
    found = read(path, 2_000)
    rows = np.bincount(found.labels)
    assert rows[0] == 20 and abs(rows[2] - 1500) < 5 and len(found.labels) < 2_030
    assert (found.features[:, 1] == found.labels).all() and (np.diff(found.features[:, 0]) > 0).all()


def test_a_given_split_is_kept(tmp_path: Path) -> None:
    split = ["train"] * 60 + ["validation"] * 30 + ["test"] * 30
    found = read(written(tmp_path, frame(split=split)))
    assert found.split is not None and np.bincount(found.split).tolist() == [60, 30, 30]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": ["one"] * 120}, "one class, “one”"),
        ({"label": [None] * 120}, "label is empty"),
        ({"label": ["rare"] * 4 + ["often"] * 116}, "class “rare” has fewer than 20 rows \\(4\\)"),
        ({"label": np.linspace(0, 1, 120)}, "fractions"),
        ({"label": [str(i) for i in range(120)]}, "fewer than 20 rows \\(1\\)"),
        ({"f1": ["x"] * 120}, "column f1 holds"),
        ({"f1": [np.inf] + [0.0] * 119}, "column f1 is missing or infinite in row 1"),
        ({"f0": [0.0] * 119 + [np.nan]}, "column f0 is missing or infinite in row 120"),
        ({"split": ["train"] * 119 + ["dev"]}, "split holds “dev”"),
        ({"split": ["train"] * 100 + ["test"] * 20}, "split validation has no row"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_sentence(
    tmp_path: Path, columns: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        read(written(tmp_path, frame(**columns)))
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_files_and_columns_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a file"):
        check_features(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("label,f0")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        check_features(tmp_path / "text.parquet")
    with pytest.raises(ValueError, match="no column label"):
        check_features(written(tmp_path, frame().drop(columns="label")))
    with pytest.raises(ValueError, match="no feature columns"):
        check_features(written(tmp_path, frame()[["label"]]))
    check_features(written(tmp_path, frame(f1=[np.nan] * 120)))
