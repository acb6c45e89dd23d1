"""Cards against a direct forward pass through language model and SAE; what a kill or a stop leaves."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

from data.files import read_json
from engine.errors import UserError
from engine.run import Stopped, damaged_files, write_manifest
from engine.tools.feature_cards import FeatureCards, making, sorting, stream
from engine.tools.feature_cards.reading import active_tokens, read_examples
from tests.feature_cards.conftest import CONTEXT, D_SAE, SEEDS, TOKENS, K, Workplace

TOLERANCE = 1e-3
"""Of the largest value on a card: activations are stored as float16, which is 2⁻¹¹ of each coordinate; 1.7e-4 was seen."""


class Killed(BaseException):
    """What SIGKILL is to a process, for one that must live on to look at the files."""


@pytest.fixture(scope="module")
def direct(place: Workplace, cards: Path) -> dict[int, dict[str, np.ndarray]]:
    """Each seed's pre-activations, TopK code and smallest kept value, from the model's own forward pass."""
    ids = load_file(cards / "tensors" / "tokens.safetensors")["token_id"]
    windows = torch.from_numpy(ids.reshape(-1, CONTEXT).astype(np.int64))
    found = torch.cat([place.model.activations(part, "blocks.2.hook_out") for part in windows.split(8)])
    x = found.reshape(-1, found.shape[2]).double().numpy()
    return {seed: _code(place.home / "runs" / "runtopk" / "saes" / f"seed-{seed}", x) for seed in SEEDS}


def _code(folder: Path, x: np.ndarray) -> dict[str, np.ndarray]:
    """The SAE as its files say, in float64."""
    weights = {
        name: value.astype(np.float64)
        for name, value in load_file(folder / "sae_weights.safetensors").items()
    }
    pre = (x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
    least = np.sort(pre, axis=1)[:, -K]
    return {"pre": pre, "code": np.where(pre >= least[:, None], np.maximum(pre, 0), 0), "least": least}


def test_fifty_features_equal_a_direct_forward_pass(cards: Path, direct: dict[int, Any]) -> None:
    kept = load_file(cards / "tensors" / "tokens.safetensors")["kept"].astype(bool)
    generator, checked = np.random.default_rng(0), 0
    for seed, feature in [(s, int(f)) for s in SEEDS for f in generator.choice(D_SAE, 25, replace=False)]:
        found, code = active_tokens(cards, seed, feature), direct[seed]
        tolerance = TOLERANCE * code["code"][kept].max()
        tokens, values = found
        wanted, least = code["code"][:, feature], code["least"]
        assert kept[tokens].all() and len(np.unique(tokens)) == len(tokens)
        assert np.abs(values - code["pre"][tokens, feature]).max(initial=0) <= tolerance
        assert (code["pre"][tokens, feature] >= least[tokens] - tolerance).all()
        clear = kept & (wanted > tolerance) & (wanted > least + tolerance)
        assert np.isin(np.flatnonzero(clear), tokens).all()
        order = code["pre"][tokens, feature]
        later = np.maximum.accumulate(order[::-1])[::-1]
        assert (later - order).max(initial=0) <= 2 * tolerance
        assert abs(wanted[kept].max() - values.max(initial=0)) <= tolerance
        checked += len(values)
    assert checked > 5_000


def test_examples_show_positions_values_and_ranks(
    place: Workplace, cards: Path, direct: dict[int, Any]
) -> None:
    stored = load_file(cards / "tensors" / "tokens.safetensors")
    kept, shown = stored["kept"].astype(bool), 0
    for feature in range(0, D_SAE, 4):
        found, code = read_examples(cards, 3, feature), direct[3]
        _, values = active_tokens(cards, 3, feature)
        tolerance = TOLERANCE * code["code"][kept].max()
        assert found["n_active"] == len(values) == sum((found["histogram"] or {"counts": [0]})["counts"])
        windows = [example["token"] // CONTEXT for example in found["examples"]]
        assert len(set(windows)) == len(windows)
        for example in found["examples"]:
            start = example["token"] - example["peak"]
            mine = slice(start, start + len(example["tokens"]))
            assert start // CONTEXT == (mine.stop - 1) // CONTEXT
            assert "".join(example["tokens"]) == place.model.tokenizer.decode(
                stored["token_id"][mine], skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
            assert [value is None for value in example["values"]] == (~kept[mine]).tolist()
            given = np.array([value or 0 for value in example["values"]])
            near = np.abs(code["pre"][mine, feature] - code["least"][mine]) < tolerance
            differs = np.abs(given - np.where(kept[mine], code["code"][mine, feature], 0)) > tolerance
            assert not (differs & ~near).any()
            assert example["value"] == example["values"][example["peak"]] == values[example["rank"] - 1]
            shown += 1
        assert [e["rank"] for e in found["examples"] if e["band"] == "top"] == sorted(
            e["rank"] for e in found["examples"] if e["band"] == "top"
        )
        for share, band in ((1.0, "0–25 %"), (0.5, "50–75 %")):
            ranks = [example["rank"] for example in found["examples"] if example["band"] == band]
            low, high = round((share - 0.25) * len(values)), round(share * len(values))
            assert all(low < rank <= high for rank in ranks)
    assert shown > 100
    assert read_examples(cards, 3, 8) == read_examples(cards, 3, 8)


def test_file_is_sorted_and_cards_add_it_up(cards: Path) -> None:
    kept = int(load_file(cards / "tensors" / "tokens.safetensors")["kept"].sum())
    table = pq.read_table(cards / "tables" / "cards.parquet").to_pandas()
    assert len(table) == D_SAE * len(SEEDS)
    for seed in SEEDS:
        rows = pq.read_table(cards / "tables" / f"activations-seed-{seed}.parquet").to_pandas()
        assert [str(kind) for kind in rows.dtypes] == ["int32", "int32", "float32"]
        again = rows.sort_values(["feature", "value", "token"], ascending=[True, False, True])
        assert (again.index == np.arange(len(rows))).all() and (rows.value > 0).all()
        assert len(rows) <= K * kept
        mine = table[table.seed == seed].set_index("feature")
        grouped = rows.groupby("feature").value
        active = mine[mine.n_active > 0]
        assert (active.n_active == grouped.count()).all() and active.n_active.sum() == len(rows)
        assert np.allclose(active.density, grouped.count() / kept)
        assert np.allclose(active.max_activation, grouped.max())
        assert np.allclose(active.mean_activation, grouped.mean(), rtol=1e-5)
    assert all(1 <= len(json.loads(tokens)) <= 5 for tokens in table[table.n_active > 0].tokens)
    assert table[table.n_active > 5].text.str.count("\n").ge(4).mean() > 0.9


def test_logits_and_neighbours_are_those_of_the_weights(place: Workplace, cards: Path) -> None:
    from transformers import AutoModelForCausalLM

    from engine.language_model import prepare_bundled

    plain: Any = AutoModelForCausalLM.from_pretrained(prepare_bundled(), dtype=torch.float32)
    scale = read_json(cards / "tensors" / "cards.json")["scale"]
    file = place.home / "runs" / "runtopk" / "saes" / "seed-3" / "sae_weights.safetensors"
    decoder = torch.from_numpy(load_file(file)["W_dec"]) * scale
    logits = (decoder * plain.model.norm.weight) @ plain.lm_head.weight.T
    table = pq.read_table(cards / "tables" / "card_logits.parquet").to_pandas()
    assert len(table) == D_SAE * len(SEEDS) * 20
    mine = table[table.seed == 3].set_index(["feature", "rank"])
    for feature in range(0, D_SAE, 7):
        high, low = logits[feature].topk(10), logits[feature].topk(10, largest=False)
        ranks = range(1, 11)
        for end, sign in ((high, 1), (low, -1)):
            found = [mine.loc[(feature, sign * rank)] for rank in ranks]
            assert np.allclose([row.logit for row in found], end.values.detach(), atol=1e-4)
            assert found[0].token == place.model.tokenizer.decode([int(end.indices[0])])
    unit = decoder / decoder.norm(dim=1, keepdim=True)
    cosine = (unit @ unit.T).fill_diagonal_(-2)
    near = pq.read_table(cards / "tables" / "card_neighbours.parquet").to_pandas()
    rows = near[(near.seed == 3) & (near.feature == 5)]
    assert rows["rank"].tolist() == list(range(1, 11))
    assert np.allclose(rows.cosine, cosine[5].topk(10).values, atol=1e-5)
    assert rows.neighbour.iloc[0] == int(cosine[5].argmax())


def results(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for part in ("tables", "tensors")
        for file in (folder / part).iterdir()
    }


@pytest.mark.parametrize(
    ("stage", "call", "end"),
    [
        ("encoding", 1, Stopped),
        ("encoding", 6, Stopped),
        ("encoding", 9, Killed),
        ("sorting seed 3", 4, Killed),
        ("sorting seed 3", 2, Stopped),
        ("comparing directions", 1, Killed),
        ("reading logits", 2, Killed),
    ],
)
def test_interrupted_and_resumed_gives_the_same_bytes(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, stage: str, call: int, end: type[BaseException]
) -> None:
    monkeypatch.setattr(stream, "ROWS", 256)
    monkeypatch.setattr(stream, "SAVE_EVERY", 3)
    of, study = place.trained("topk"), FeatureCards()
    whole = place.home / "runs" / "whole"
    if not whole.exists():
        study.train(place.run("whole", of))
    name = f"broken-{stage}-{call}-{end.__name__}"
    broken = place.run(name, of)

    def watch(now: str, calls: int) -> None:
        if (now, calls) == (stage, call):
            broken.should_stop = end is Stopped
            if end is Killed:
                raise Killed

    broken.watch = watch
    with pytest.raises(end):
        study.train(broken)
    again = place.run(name, of)
    study.train(again)
    assert results(again.directory) == results(whole)
    assert not (again.directory / "work").exists()
    read = again.calls.get("encoding", 0)
    if stage != "encoding":
        assert read == 0
    elif call > 3:
        assert 0 < read < 16
    write_manifest(again.directory)
    assert damaged_files(again.directory) == []
    shutil.rmtree(again.directory)


@pytest.mark.parametrize("architecture", ["relu", "batch_topk", "gated", "jumprelu", "matryoshka_batch_topk"])
def test_every_architecture_in_small_memory(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    """Buckets larger than the limit give the same file; relu and gated are dense after so few steps."""
    of = place.trained(architecture)
    monkeypatch.setattr(stream, "BUCKETS", 3)
    monkeypatch.setattr(making, "_ask_model", lambda run, of: None)
    plain = place.run(f"plain{architecture}", of, max_tokens=2_000)
    FeatureCards().train(plain)
    monkeypatch.setattr(sorting, "LIMIT", 700)
    tight = place.run(f"tight{architecture}", of, max_tokens=2_000)
    FeatureCards().train(tight)
    assert results(plain.directory) == results(tight.directory)
    record = read_json(plain.directory / "tensors" / "cards.json")
    assert record["n_tokens"] == 2_000 // CONTEXT * CONTEXT and record["architecture"] == architecture
    cards = pq.read_table(plain.directory / "tables" / "cards.parquet").to_pandas()
    if architecture in ("relu", "gated"):
        assert cards.density.mean() > 0.2
    assert cards.n_active.max() <= record["n_kept"]


def test_only_finished_runs_that_read_text_have_cards(place: Workplace) -> None:
    study, of = FeatureCards(), place.trained("topk")
    config = study.Config(of=of)
    assert len(study.fingerprint(config, SEEDS)) == 16
    assert study.estimate(config, 2)["seconds"] > 10
    for name, changes, words in (
        ("nothing", {}, "does not exist"),
        ("../x", {}, "does not exist"),
        ("cards", {}, "feature_cards"),
        ("going", {"state": "running"}, "wait until"),
        ("world", {"source": "synthetic"}, "no text"),
    ):
        directory = place.home / "runs" / name
        if changes:
            shutil.copytree(place.home / "runs" / of, directory)
            record = read_json(directory / "config.json")
            record["config"] |= {k: v for k, v in changes.items() if k != "state"}
            (directory / "config.json").write_text(json.dumps(record))
            state = {"state": changes.get("state", "done")}
            (directory / "state.json").write_text(json.dumps(state))
        elif name == "cards":
            place.run(name, of)
            (directory / "state.json").write_text(json.dumps({"state": "done"}))
        with pytest.raises(UserError, match=words) as raised:
            study.fingerprint(study.Config(of=name), SEEDS)
        assert raised.value.field == "of"
    with pytest.raises(UserError, match="no seed 7"):
        study.fingerprint(config, [7])


def test_a_full_disk_is_one_sentence(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ROWS", 512)
    monkeypatch.setattr(stream, "SAVE_EVERY", 1)
    usage = type("Usage", (), {"free": 1000})
    run = place.run("full", place.trained("topk"))
    monkeypatch.setattr(stream.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="lower max_tokens") as raised:
        FeatureCards().train(run)
    assert raised.value.field == "max_tokens"
    assert not (run.directory / "work").exists()


def test_tokens_cover_whole_windows(cards: Path) -> None:
    stored = load_file(cards / "tensors" / "tokens.safetensors")
    assert {name: str(value.dtype) for name, value in stored.items()} == {
        "token_id": "int32",
        "kept": "uint8",
    }
    assert len(stored["token_id"]) == len(stored["kept"]) == -(-TOKENS // CONTEXT) * CONTEXT
    assert not stored["kept"][::CONTEXT].any()
