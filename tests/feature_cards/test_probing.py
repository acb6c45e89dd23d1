"""Sparse probing: planted features, shuffled labels, and what is read from the language model."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, LlamaConfig

from data.assets import AssetMissing
from data.files import write_json
from data.labelled import SENTIMENT, TASKS, TOPIC, labelled
from engine.events import read_events
from engine.language_model import LanguageModel, load, prepare_bundled
from engine.run import Run, Stopped
from engine.tools.feature_cards import probing
from engine.tools.feature_cards.probing import (
    K,
    Texts,
    document_activations,
    pool,
    probe_rows,
    sample,
    write_probes,
)
from engine.tools.feature_cards.sparse_probes import (
    bootstrap_accuracy,
    features_by_difference,
    stratified_split,
)

read_once = cache(labelled)
HOOK, D, FEATURES = "blocks.1.hook_out", 32, 40
PLANTED = 7


class Linear:
    """Codes relu(x · encoderᵀ) of a fixed encoder."""

    def __init__(self, encoder: Tensor) -> None:
        self.encoder = encoder

    def encode(self, x: Tensor) -> Tensor:
        return (x @ self.encoder.T).relu()


def random_sae(seed: int) -> Linear:
    return Linear(torch.randn(FEATURES, D, generator=torch.Generator().manual_seed(seed)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("llama")
    config = LlamaConfig(
        hidden_size=D, num_attention_heads=2, vocab_size=49_152, intermediate_size=48, num_hidden_layers=2,
        num_key_value_heads=1, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(prepare_bundled())
    tokenizer.save_pretrained(folder)
    return load(str(folder), "cpu")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr(probing, "labelled", read_once)
    write_json(tmp_path / "config.json", {"id": "x", "study": "feature_cards", "seeds": [0], "data_seed": 0})
    yield Run(tmp_path, SimpleNamespace(probe_documents=80))


def of_run(saes: dict[int, Any], median_norm: float | None = None) -> Any:
    manifest = {"hook_point": HOOK, "median_norm": median_norm, "massive_threshold": 3.0}
    return SimpleNamespace(activations=SimpleNamespace(manifest=manifest), saes=saes, scale=0.5)


def planted_texts(n: int = 200, classes: int = 2, seed: int = 0) -> Texts:
    """Noise, and in texts of class c a token that lies along dimension c."""
    generator = torch.Generator().manual_seed(seed)
    labels = np.arange(n) % classes
    documents = []
    for label in labels:
        tokens = torch.randn(int(torch.randint(3, 9, (1,), generator=generator)), D, generator=generator)
        tokens[1, int(label)] += 12
        documents.append(tokens)
    return Texts(documents, labels, stratified_split(labels, np.random.default_rng(seed)))


def planted_sae(classes: int = 1) -> Linear:
    encoder = torch.randn(FEATURES, D, generator=torch.Generator().manual_seed(3)) / D**0.5
    encoder[:, :2] = 0
    for index in range(classes):
        encoder[PLANTED + index] = 0
        encoder[PLANTED + index, index] = 1
    return Linear(encoder)


def test_a_planted_feature_is_found_by_one(run: Run) -> None:
    texts = planted_texts()
    rows = {
        (row["seed"], row["k"]): row
        for row in probe_rows(run, "t", texts, {0: planted_sae(), 4: random_sae(4)}, 1.0)
    }
    assert set(rows) == {(seed, k) for seed in (0, 4) for k in (0, *K)}
    assert rows[0, 1]["accuracy"] > 0.97 and rows[0, 1]["low"] > 0.9
    assert rows[4, 1]["accuracy"] < rows[0, 1]["accuracy"] and rows[0, 0]["accuracy"] > 0.9
    for row in rows.values():
        assert row["low"] <= row["accuracy"] <= row["high"]
        assert (row["chance"], row["n_train"], row["n_test"]) == (0.5, 100, 60)
    codes = pool([planted_sae().encode(part) for part in texts.activations])["max"]
    assert features_by_difference(codes, texts.labels)[0] == PLANTED


def test_shuffled_labels_are_at_chance(run: Run) -> None:
    inside = []
    for seed in range(5):
        texts = planted_texts(400, seed=seed)
        shuffled = Texts(
            texts.activations, np.random.default_rng(seed).permutation(texts.labels), texts.split
        )
        rows = probe_rows(run, "t", shuffled, {0: planted_sae()}, 1.0)
        inside += [row["low"] <= 0.5 <= row["high"] for row in rows]
    assert np.mean(inside) > 0.8


def test_classes_name_their_features_in_turn(run: Run) -> None:
    texts = planted_texts(400, classes=4)
    codes = pool([planted_sae(4).encode(part) for part in texts.activations])["max"]
    assert set(features_by_difference(codes, texts.labels)[:4]) == set(range(PLANTED, PLANTED + 4))
    rows = probe_rows(run, "t", texts, {0: planted_sae(4)}, 1.0)
    accuracy = {row["k"]: row["accuracy"] for row in rows}
    assert accuracy[5] > 0.95 > accuracy[1] > 0.3 and rows[0]["chance"] == 0.25
    nothing = features_by_difference(np.ones((6, 3), dtype=np.float32), np.arange(6) % 2)
    assert nothing.tolist() == [0, 1, 2]


def test_a_split_is_stratified_and_whole() -> None:
    strata = np.repeat([0, 1, 2], [100, 40, 60])
    split = stratified_split(strata, np.random.default_rng(0))
    every = np.concatenate([split.train, split.validation, split.test])
    assert np.array_equal(np.sort(every), np.arange(200))
    assert np.bincount(strata[split.train]).tolist() == [50, 20, 30]
    assert np.bincount(strata[split.test]).tolist() == [30, 12, 18]


def test_a_sample_takes_one_of_a_group_evenly() -> None:
    generator = np.random.default_rng(0)
    groups, strata = np.arange(900) // 3, np.repeat([0, 1], [600, 300])
    chosen = sample(groups, strata, 100, generator)
    assert len(set(groups[chosen])) == 100 and np.bincount(strata[chosen]).tolist() == [50, 50]
    few = sample(groups, np.repeat([0, 1], [840, 60]), 100, generator)
    assert np.bincount(np.repeat([0, 1], [840, 60])[few]).tolist() == [80, 20]
    assert len(sample(groups, strata, 10_000, generator)) == 300


def test_the_interval_is_that_of_resampled_documents() -> None:
    correct = np.arange(100) < 80
    low, high = bootstrap_accuracy(correct, np.random.default_rng(0))
    generator = np.random.default_rng(1)
    means = [correct[generator.integers(100, size=100)].mean() for _ in range(4000)]
    assert (low, high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.02)
    assert bootstrap_accuracy(np.ones(9, dtype=bool), generator) == (1, 1)


def test_padded_documents_are_read_as_if_alone(model: LanguageModel) -> None:
    documents = [list(range(5, 5 + n)) for n in (3, 60, 1, 64, 17, 0)]
    found = dict(document_activations(model, HOOK, documents))
    assert sorted(found) == list(range(6)) and len(found[5]) == 0
    for place, document in enumerate(documents[:5]):
        alone = model.activations(torch.tensor([[model.separator, *document]]), HOOK)[0, 1:]
        torch.testing.assert_close(found[place], alone, atol=1e-4, rtol=1e-4)


def test_pooling_leaves_out_padding_and_stands_empty_documents() -> None:
    parts = [torch.tensor([[1.0, -2.0], [3.0, -4.0]]), torch.empty(0, 2)]
    found = pool(parts)
    assert found["max"].tolist() == [[3, -2], [0, 0]] and found["mean"].tolist() == [[2, -3], [0, 0]]


def test_the_table_has_both_tasks_and_massive_tokens_are_left_out(
    run: Run, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "K", (1, 5))
    seen: list[Texts] = []
    read = probing.read_texts
    monkeypatch.setattr(probing, "read_texts", lambda *args: seen.append(read(*args)) or seen[-1])
    write_probes(run, of_run({0: random_sae(0), 1: random_sae(1)}), model)
    table = pq.read_table(run.directory / "tables" / "probes.parquet").to_pandas()
    assert list(zip(table["task"], table["seed"], table["k"], strict=True)) == [
        (task, seed, k) for task in TASKS for seed in (0, 1) for k in (0, 1, 5)
    ]
    assert (table["n_train"] + table["n_test"] < 80).all() and table["accuracy"].between(0, 1).all()
    messages = [
        row["text"] for row in read_events(run.directory / "events.jsonl", 0)[0] if row["kind"] == "message"
    ]
    assert len(messages) == 2 and all("pooled by" in text for text in messages)
    norms = torch.cat(seen[1].activations).norm(dim=1)
    assert max(map(len, seen[1].activations)) == 64
    limited = read(run, of_run({}, float(norms.median()) / 3), model, read_once(TOPIC), TOPIC)
    left = torch.cat(limited.activations).norm(dim=1)
    assert 0.4 < len(left) / len(norms) < 0.6 and left.max() <= norms.median() * 1.001


def test_an_absent_corpus_is_left_out_and_a_stop_obeyed(
    run: Run, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(task: str) -> Any:
        if task == TOPIC:
            raise AssetMissing("it is not installed; run `make setup`.")
        return read_once(task)

    monkeypatch.setattr(probing, "labelled", absent)
    monkeypatch.setattr(probing, "K", (1,))
    write_probes(run, of_run({0: random_sae(0)}), model)
    table = pq.read_table(run.directory / "tables" / "probes.parquet")
    assert set(table["task"].to_pylist()) == {SENTIMENT}
    run.should_stop = True
    with pytest.raises(Stopped):
        write_probes(run, of_run({0: random_sae(0)}), model)
    run.config.probe_documents = 0
    write_probes(run, of_run({0: random_sae(0)}), model)
    assert pq.read_table(run.directory / "tables" / "probes.parquet").num_rows == 0
