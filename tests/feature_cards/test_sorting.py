"""Sorting and reading without a model: memory, speed, labels."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from data.files import write_json
from engine.language_model import prepare_bundled
from engine.tools.feature_cards import sorting
from engine.tools.feature_cards.reading import read_examples
from engine.tools.feature_cards.sorting import ROW_GROUP, SCHEMA, SortedFile, sorted_features
from engine.tools.feature_cards.statistics import token_label, token_sums
from engine.tools.feature_cards.stream import ENTRY


def raw_bucket(path: Path, n: int, features: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    entries = np.empty(n, ENTRY)
    entries["feature"] = 50 + generator.integers(features, size=n) ** 2 // features
    entries["token"] = generator.permutation(n)
    entries["value"] = generator.integers(1, 1000, size=n) / 64
    entries.tofile(path)
    return entries


def test_a_bucket_is_sorted_within_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = raw_bucket(tmp_path / "b.raw", 1_000_000, 60)
    wanted = entries[np.lexsort((entries["token"], -entries["value"], entries["feature"]))]
    monkeypatch.setattr(sorting, "LIMIT", 50_000)
    tracemalloc.start()
    place = 0
    for active in sorted_features(tmp_path / "b.raw"):
        part = wanted[place : place + len(active.tokens)]
        place += len(part)
        assert (part["feature"] == active.feature).all()
        assert (part["token"] == active.tokens).all() and (part["value"] == active.values).all()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert place == len(entries)
    assert peak < 12e6, "a file of 12 MB; the largest feature has 130,000 entries of 12 bytes and their keys"


def test_row_groups_are_whole(tmp_path: Path) -> None:
    raw_bucket(tmp_path / "b.raw", 300_000, 40)
    file = SortedFile(tmp_path / "tables" / "s.parquet")
    file.add(sorted_features(tmp_path / "b.raw"))
    file.close()
    metadata = pq.read_metadata(file.path)
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert sizes == [ROW_GROUP, ROW_GROUP, 300_000 - 2 * ROW_GROUP]
    empty = SortedFile(tmp_path / "tables" / "e.parquet")
    empty.close()
    assert pq.read_table(empty.path).num_rows == 0


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five million rows over 2,304 features and a million tokens; feature 100 has half a million of them."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "tables").mkdir()
    (folder / "tensors").mkdir()
    n, generator = 1_000_000, np.random.default_rng(1)
    counts = np.full(2304, (5_000_000 - 500_000) // 2303)
    counts[100] = 500_000
    counts[2000] = 0
    with pq.ParquetWriter(
        folder / "tables" / "activations-seed-0.parquet", SCHEMA, compression="zstd"
    ) as file:
        features = np.repeat(np.arange(2304, dtype=np.int32), counts)
        tokens = np.concatenate([generator.choice(n, count, replace=False) for count in counts])
        values = -np.sort(-generator.gamma(1, size=len(features)).astype(np.float32).reshape(-1))
        order = np.lexsort((-values, features))
        columns = [features[order], tokens.astype(np.int32)[order], values[order]]
        file.write_table(pa.Table.from_arrays([pa.array(c) for c in columns], schema=SCHEMA), ROW_GROUP)
    ids = generator.integers(49_000, size=n).astype(np.int32)
    kept = (np.arange(n) % 128 > 0).astype(np.uint8)
    save_file({"token_id": ids, "kept": kept}, folder / "tensors" / "tokens.safetensors")
    (folder / "tensors" / "tokenizer.json").symlink_to(prepare_bundled() / "tokenizer.json")
    write_json(folder / "tensors" / "cards.json", {"context_size": 128})
    return folder


@pytest.mark.parametrize(("feature", "rows"), [(3, 1_953), (1_888, 1_953), (100, 500_000)])
def test_a_card_reads_its_own_rows_of_five_million(
    large: Path, monkeypatch: pytest.MonkeyPatch, feature: int, rows: int
) -> None:
    read: list[int] = []
    whole = pq.ParquetFile.read_row_groups

    def counting(file: pq.ParquetFile, *args: Any, **more: Any) -> pa.Table:
        read.append((found := whole(file, *args, **more)).num_rows)
        return found

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", counting)
    found = read_examples(large, 0, feature)
    assert len(found["examples"]) == 22 and found["n_active"] == rows
    assert len(read) == 1 and read[0] <= rows + 2 * ROW_GROUP


def test_a_silent_feature_has_no_examples(large: Path) -> None:
    assert read_examples(large, 0, 2000) == {"n_active": 0, "histogram": None, "examples": []}
    assert read_examples(large, 0, 99_999)["examples"] == []


@pytest.mark.parametrize(
    ("names", "shares", "label"),
    [
        ([" president", " minister", " of"], [0.4, 0.21, 0.1], "‘ president’, ‘ minister’ (61 %)"),
        (["\n"], [1.0], "‘\\n’ (100 %)"),
        (["a", "b", "c", "d"], [0.1, 0.1, 0.1, 0.1], "‘a’, ‘b’, ‘c’ (30 %)"),
        (["a", "b", "c"], [0.05, 0.04, 0.03], "diffuse, most on ‘a’, ‘b’, ‘c’ (12 %)"),
        (["a", "b", "c"], [0.002, 0.001, 0.001], "diffuse, most on ‘a’, ‘b’, ‘c’ (under 1 %)"),
        (["<b>", "‮"], [0.3, 0.3], "‘<b>’, ‘\\u202e’ (60 %)"),
    ],
)
def test_labels_say_what_carries_the_activation(names: list[str], shares: list[float], label: str) -> None:
    assert token_label(names, shares) == label


def test_token_sums_are_ordered_by_sum_then_id() -> None:
    found: Any = token_sums(np.array([7, 3, 9, 3, 1], np.int32), np.array([1, 2, 5, 2, 1], np.float32))
    assert found[0].tolist() == [9, 3, 1, 7] and found[1].tolist() == [5, 4, 1, 1]
