"""What may be reproduced, and how the files of two trainings are compared."""

from dataclasses import asdict
from math import inf, nan
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from data.files import write_json
from engine.errors import UserError
from engine.reproduce import Reproduction, compare, relative_gap, reproduce, table_difference
from engine.run import write_manifest

RUN = "a1b2c3d4e5f6"
WEIGHTS = "tensors/seed-0.safetensors"


def trained(folder: Path, figures: list[float], weights: dict[str, np.ndarray]) -> Path:
    """The directory of a finished run with one table and one file of weights."""
    for name in ("tables", "tensors"):
        (folder / name).mkdir(parents=True)
    pq.write_table(pa.table({"loss": figures}), folder / "tables" / "scores.parquet")
    save_file(weights, folder / WEIGHTS)
    write_manifest(folder)
    return folder


def sentence(first: Path, second: Path) -> str:
    return Reproduction(**asdict(compare(first, second)), run=RUN, same_code=True).sentence


@pytest.mark.parametrize("name", ["{run_dir}", f"../runs/{RUN}", f"./{RUN}", f"{RUN}\n", "..", ""])
def test_only_a_run_id_is_reproduced(name: str, tmp_path: Path) -> None:
    run_dir = trained(tmp_path / "runs" / RUN, [1.0], {"w": np.ones(2)})
    write_json(run_dir / "config.json", {"id": RUN})
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"^run: .* is not a run's id; `concordance runs` lists them\.$"):
        reproduce(tmp_path, name.format(run_dir=run_dir), print)
    assert {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "reproductions").exists()


@pytest.mark.parametrize(
    ("first", "second", "gap"),
    [
        ([4.0, 2.0], [4.0, 1.0], 0.25),
        ([0.0, 0.0], [0.0, 1e-9], inf),
        ([inf, 1.0], [5.0, 1.0], inf),
        ([5.0, 1.0], [inf, 1.0], inf),
        ([inf, 1.0], [-inf, 1.0], inf),
        ([inf, 1.0], [nan, 1.0], inf),
        ([nan, 1.0], [1.0, 1.0], inf),
        ([inf, -inf, nan, 2.0], [inf, -inf, nan, 1.5], 0.25),
        ([inf, nan], [inf, nan], 0.0),
    ],
)
def test_a_gap_without_a_number_is_infinite(first: list[float], second: list[float], gap: float) -> None:
    assert relative_gap(np.array(first), np.array(second)) == gap
    found = table_difference(pa.table({"x": first}), pa.table({"x": second}), "t")
    assert found == (gap, "t.x" if gap else "")


def test_the_worst_column_is_named_and_text_has_to_be_equal() -> None:
    first = pa.table({"a": [1.0, None], "b": [1.0, 2.0], "word": ["x", "y"]})
    second = pa.table({"a": [1.1, None], "b": [1.0, 3.0], "word": ["x", "y"]})
    assert table_difference(first, second, "t") == (0.5, "t.b")
    other = first.set_column(2, "word", pa.array(["x", "z"]))
    assert table_difference(first, other, "t") == (inf, "t.word")
    assert table_difference(first, first.slice(1), "t") == (inf, "t: rows or columns")


def test_weights_are_told_apart_from_the_figures(tmp_path: Path) -> None:
    w, b = np.array([[1.0, -4.0]], np.float32), np.zeros(2, np.float32)
    first = trained(tmp_path / "first", [1.0, 2.0], {"w": w, "b": b})
    moved = trained(tmp_path / "moved", [1.0, 2.0], {"w": w / 2, "b": b})
    found = compare(first, moved)
    assert (found.verdict, found.files, found.different) == ("figures", 2, [WEIGHTS])
    assert (found.largest, found.where, found.weights) == (0.0, "", 0.5)
    assert sentence(first, moved) == (
        "1 of 2 files differ in bytes; every figure agrees to 0.001 "
        f"(no figure differs; weights differ by up to 5.0e-01, w of {WEIGHTS}; the same code)."
    )
    assert sentence(first, first) == "All 2 files have the same bytes (the same code)."

    both = trained(tmp_path / "both", [1.0, 3.0], {"w": w, "b": b})
    assert sentence(first, both) == (
        "1 of 2 files differ in bytes; the figures do not agree to 0.001 "
        "(largest relative difference 5.0e-01, scores.loss; no weight differs; the same code)."
    )


@pytest.mark.parametrize(
    ("weights", "where"),
    [
        ({"w": np.ones(3)}, f"w of {WEIGHTS}"),
        ({"w": np.array([1.0, nan])}, f"w of {WEIGHTS}"),
        ({"v": np.ones(2)}, f"{WEIGHTS}: names of tensors"),
    ],
)
def test_weights_of_another_name_or_shape_differ_without_bound(
    weights: dict[str, np.ndarray], where: str, tmp_path: Path
) -> None:
    first = trained(tmp_path / "first", [1.0], {"w": np.ones(2)})
    found = compare(first, trained(tmp_path / "second", [1.0], weights))
    assert (found.verdict, found.weights, found.weights_where) == ("figures", inf, where)


def test_half_precision_weights_are_compared(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    runs = [trained(tmp_path / name, [1.0], {}) for name in ("first", "second")]
    for run, value in zip(runs, (2.0, 1.5), strict=True):
        save_torch({"w": torch.full((3,), value, dtype=torch.bfloat16)}, run / WEIGHTS)
        write_manifest(run)
    assert compare(*runs).weights == 0.25


def test_a_file_of_one_training_only_is_named_and_the_others_compared(tmp_path: Path) -> None:
    first = trained(tmp_path / "first", [1.0], {"w": np.ones(2)})
    second = trained(tmp_path / "second", [1.0], {"w": np.zeros(2)})
    pq.write_table(pa.table({"x": [1]}), second / "tables" / "more.parquet")
    write_manifest(second)
    found = compare(first, second)
    assert (found.verdict, found.files, found.largest, found.weights) == ("differs", 3, inf, 1.0)
    assert found.where == "tables/more.parquet: in one of the two only"
