"""Collecting real activations: what is stored, what is masked, and what a kill or a full disk leaves."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data import corpora
from data.files import read_json, sha256_file, write_json
from engine import activations, collecting
from engine.activations import Activations, fingerprint, open_activations
from engine.errors import UserError
from engine.language_model import BUNDLED, LanguageModel, load
from engine.run import Run, Stopped
from engine.studies.sae_consistency.config import Config

READING = "collecting activations"
SHUFFLING = "shuffling train activations"


class Killed(BaseException):
    """What SIGKILL is to a process, for one that must live on to look at the files."""


class WatchedRun(Run):
    """A real run that calls `watch(stage, calls so far in the stage)` at every report of progress."""

    watch: Callable[[str, int], None] = staticmethod(lambda stage, calls: None)

    def progress(self, done: float, total: float, stage: str) -> None:
        super().progress(done, total, stage)
        self.calls = getattr(self, "calls", {})
        self.calls[stage] = self.calls.get(stage, 0) + 1
        self.watch(stage, self.calls[stage])


def make_run(home: Path, config: Config, number: int = 0) -> WatchedRun:
    directory = home / "runs" / str(number)
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "config.json", {"id": "x", "study": "s", "seeds": [0], "data_seed": 0})
    return WatchedRun(directory, config)


def messages(run: Run) -> str:
    lines = (run.directory / "events.jsonl").read_text().splitlines()
    return " ".join(row["text"] for row in map(json.loads, lines) if row["kind"] == "message")


def hashes(found: Activations) -> list[tuple[str, str]]:
    return [(shard["file"], sha256_file(found.folder / shard["file"])) for shard in found.manifest["shards"]]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 80 documents of the mix as a user's file."""
    path = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    rows = [{"text": document.text} for document in islice(corpora.documents(corpora.ENGLISH_MIX), 80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load(BUNDLED, "cpu")


@pytest.fixture
def home(tmp_path: Path, model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of its own; collections share one loaded copy of the bundled model."""
    monkeypatch.setenv("CONCORDANCE_HOME", str(tmp_path))
    monkeypatch.setattr(
        collecting, "load", lambda name, device: model if name == BUNDLED else load(name, device)
    )
    return tmp_path


def config_of(corpus: Path, **changes: Any) -> Config:
    values = {"hook_point": "blocks.0.hook_out", "n_tokens": 3_000, "context_size": 64, "corpus": str(corpus)}
    return Config(**(values | changes))


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Iterator[Activations]:
    """3,008 training tokens after six layers, spread over several shards."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCORDANCE_HOME", str(home))
        patch.setattr(collecting, "SHARD_BYTES", 1_000_000)
        yield open_activations(make_run(home, config_of(corpus, hook_point="blocks.5.hook_out")))


def token_table(found: Activations, split: str) -> dict[str, np.ndarray]:
    table = pq.read_table(found.folder / f"tokens-{split}.parquet")
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


@pytest.mark.parametrize("split", ["train", "heldout"])
def test_every_row_is_its_tokens_activation(collected: Activations, model: LanguageModel, split: str) -> None:
    table, size = token_table(collected, split), collected.manifest["context_size"]
    windows = torch.from_numpy(table["token_id"].reshape(-1, size).astype(np.int64))
    wanted = model.activations(windows, "blocks.5.hook_out").reshape(-1, 576).numpy()[table["kept"]]
    rows = getattr(collected, split).gather(table["row"][table["kept"]]) / collected.scale
    assert np.abs(rows - wanted).max() <= 1e-3 * np.abs(wanted).max()
    assert np.array_equal(np.sort(table["row"][table["kept"]]), np.arange(getattr(collected, split).n_rows))


def test_masks_are_position_0_and_massive_norms(collected: Activations) -> None:
    counts = collected.manifest["counts"]
    tables = [token_table(collected, split) for split in ("train", "heldout")]
    train = tables[0]
    limit = 3 * np.median(train["norm"][train["position"] > 0])
    masked = [(table["position"] > 0) & (table["norm"] > limit) for table in tables]
    assert counts["massive"] == sum(mask.sum() for mask in masked) > 0
    assert counts["position_0"] == sum(len(table["norm"]) for table in tables) / 64
    assert counts["read"] == counts["position_0"] + counts["massive"] + counts["kept"]
    assert counts["kept"] == collected.train.n_rows + collected.heldout.n_rows
    assert not any((table["kept"] & mask).any() for table, mask in zip(tables, masked, strict=True))
    assert all((table["row"][~table["kept"]] == -1).all() for table in tables)


def test_rows_have_mean_norm_root_d(collected: Activations) -> None:
    rows = collected.train.gather(np.arange(collected.train.n_rows))
    assert rows.dtype == np.float32
    assert np.linalg.norm(rows, axis=1).mean() == pytest.approx(np.sqrt(576), rel=1e-3)


def test_training_rows_are_shuffled_and_heldout_rows_are_not(collected: Activations) -> None:
    rows = {split: token_table(collected, split)["row"] for split in ("train", "heldout")}
    rows = {split: values[values >= 0] for split, values in rows.items()}
    assert np.array_equal(rows["heldout"], np.arange(collected.heldout.n_rows))
    assert abs(np.corrcoef(rows["train"], np.arange(collected.train.n_rows))[0, 1]) < 0.1


def test_no_document_is_in_both_splits(collected: Activations) -> None:
    documents = [set(token_table(collected, split)["document"]) for split in ("train", "heldout")]
    assert not documents[0] & documents[1]


def test_shards_stay_below_their_size_and_match_the_manifest(collected: Activations) -> None:
    train = [shard for shard in collected.manifest["shards"] if shard["split"] == "train"]
    assert len(train) == 4
    for shard in collected.manifest["shards"]:
        path = collected.folder / shard["file"]
        assert sha256_file(path) == shard["sha256"]
        assert path.stat().st_size < 1.2e6
    assert "Instruct" in collected.manifest["model_label"]
    assert collected.manifest["tier"] == "real pretrained"
    assert "Apache-2.0" in collected.manifest["licences"]
    left = {path.suffix for path in collected.folder.iterdir()}
    assert left == {".safetensors", ".parquet", ".json"}


def test_gather_keeps_the_order_asked_for(collected: Activations) -> None:
    order = np.random.default_rng(0).permutation(collected.train.n_rows)[:500]
    everything = collected.train.gather(np.arange(collected.train.n_rows))
    assert np.array_equal(collected.train.gather(order), everything[order])


def test_contexts_are_the_text_around_a_token(collected: Activations, corpus: Path) -> None:
    table = token_table(collected, "heldout")
    row = int(table["row"][np.flatnonzero(table["kept"] & (table["position"] == 20))[0]])
    ((before, token, after),) = collected.contexts(np.array([row]))
    text = "<|endoftext|>".join(document.text for document in corpora.documents(str(corpus)))
    assert token and before and after
    assert all(part in text for part in (before + token + after).split("<|endoftext|>"))


def test_same_fingerprint_is_reused_and_any_change_is_not(home: Path, corpus: Path) -> None:
    config = config_of(corpus)
    first = open_activations(make_run(home, config))
    again = make_run(home, config_of(corpus, hook_point="blocks.0.hook_resid_post", d_sae=64), number=1)
    assert open_activations(again).folder == first.folder
    assert "Reusing" in messages(again) and not hasattr(again, "calls")
    changes = [
        {"n_tokens": 3_001},
        {"context_size": 32},
        {"massive_threshold": 0},
        {"hook_point": "blocks.1.hook_in"},
    ]
    names = {fingerprint(config_of(corpus, **change)) for change in [{}, *changes]}
    assert len(names) == 5 and first.folder.name in names


@pytest.mark.parametrize("damage", ["missing", "truncated", "no manifest", "a turned key", "a list"])
def test_damaged_activations_are_collected_again(home: Path, corpus: Path, damage: str) -> None:
    found = open_activations(make_run(home, config_of(corpus)))
    before = hashes(found)
    shard = found.folder / before[0][0]
    if damage == "missing":
        shard.unlink()
    elif damage == "truncated":
        os.truncate(shard, 1_000)
    elif damage == "no manifest":
        (found.folder / "manifest.json").unlink()
    else:
        kept = read_json(found.folder / "manifest.json")
        kept["e_in"] = kept.pop("d_in")
        write_json(found.folder / "manifest.json", [] if damage == "a list" else kept)
    run = make_run(home, config_of(corpus), number=1)
    assert hashes(open_activations(run)) == before
    assert "are damaged" in messages(run)


def test_a_kill_before_the_last_rename_costs_nothing(home: Path, corpus: Path) -> None:
    found = open_activations(make_run(home, config_of(corpus)))
    before = hashes(found)
    found.folder.rename(found.folder.with_name(f".partial-{found.folder.name}"))
    run = make_run(home, config_of(corpus), number=1)
    assert hashes(open_activations(run)) == before
    assert not hasattr(run, "calls")


def test_a_killed_and_a_stopped_collection_resume_to_the_same_bytes(
    home: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "SAVE_EVERY", 2)
    monkeypatch.setattr(collecting, "FORWARD_TOKENS", 256)
    monkeypatch.setattr(collecting, "SHARD_BYTES", 1_000_000)
    config = config_of(corpus)
    whole = hashes(open_activations(make_run(home, config)))
    shutil.rmtree(home / "activations")

    def kill(stage: str, calls: int) -> None:
        if stage == READING and calls == 5:
            raise Killed

    run = make_run(home, config, number=1)
    run.watch = kill
    with pytest.raises(Killed):
        open_activations(run)
    (partial,) = (home / "activations").glob(".partial-*")
    saved = read_json(partial / "progress.json")
    assert 0 < saved["windows"] < 5 * 4
    assert sum(path.stat().st_size for path in partial.glob("*.raw")) > sum(
        length for name, length in saved["lengths"].items() if name.endswith(".raw")
    )

    stopping = make_run(home, config, number=2)
    stopping.watch = lambda stage, calls: setattr(stopping, "should_stop", stage == READING and calls >= 2)
    with pytest.raises(Stopped):
        open_activations(stopping)
    assert read_json(partial / "progress.json")["windows"] > saved["windows"]

    shuffling = make_run(home, config, number=3)
    shuffling.watch = lambda stage, calls: kill(READING, 5) if stage == SHUFFLING and calls == 3 else None
    with pytest.raises(Killed):
        open_activations(shuffling)
    assert len(list(partial.glob("acts-*"))) == 2

    assert hashes(open_activations(make_run(home, config, number=4))) == whole
    assert not list((home / "activations").glob(".partial-*"))


def test_a_partial_collection_cut_differently_starts_over(
    home: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(corpus)
    stopping = make_run(home, config)
    stopping.watch = lambda stage, calls: setattr(stopping, "should_stop", stage == READING)
    with pytest.raises(Stopped):
        open_activations(stopping)
    monkeypatch.setattr(collecting, "FORWARD_TOKENS", 512)
    found = open_activations(make_run(home, config, number=1))
    assert found.manifest["counts"]["read"] == len(token_table(found, "train")["row"]) + len(
        token_table(found, "heldout")["row"]
    )


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A real file system of a few megabytes; skips where mounting is not allowed."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_too_small_a_disk_is_said_before_any_work(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        monkeypatch.setenv("CONCORDANCE_HOME", str(disk))
        run = make_run(tmp_path, config_of(corpus))
        with pytest.raises(UserError, match=r"n_tokens: 3,000 tokens need 0\.\d GB of disk and 0\.0 GB"):
            open_activations(run)
        assert READING not in run.calls


@pytest.mark.parametrize("stage", [READING, SHUFFLING])
def test_a_disk_that_fills_up_leaves_only_finished_folders(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(collecting, "SHARD_BYTES", 4_000_000)
    monkeypatch.setattr(collecting, "FORWARD_TOKENS", 256)
    with small_disk(tmp_path / "disk", "32m") as disk:
        monkeypatch.setenv("CONCORDANCE_HOME", str(disk))
        finished = disk / "activations" / "finished" / "acts-train-00000.safetensors"
        finished.parent.mkdir(parents=True)
        finished.write_bytes(b"earlier work")

        def fill(now: str, calls: int) -> None:
            if now == stage and calls == 1:
                (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 100_000))

        run = make_run(tmp_path, config_of(corpus))
        run.watch = fill
        with pytest.raises(UserError, match=r"n_tokens: 3,000 tokens need .* GB are free; lower n_tokens"):
            open_activations(run)
        assert [path.name for path in (disk / "activations").iterdir() if path.is_dir()] == ["finished"]
        assert finished.read_bytes() == b"earlier work"


def test_a_corpus_that_ends_early_is_said_and_not_repeated(home: Path, corpus: Path) -> None:
    run = make_run(home, config_of(corpus, n_tokens=500_000))
    found = open_activations(run)
    assert "The corpus ended after" in messages(run)
    table = token_table(found, "train")
    assert len(set(table["document"])) < 80 and found.manifest["counts"]["read"] < 20_000


def test_too_little_text_is_refused_and_leaves_nothing(home: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("\n\n".join(f"Paragraph number {i} is all there is to read." for i in range(30)))
    with pytest.raises(UserError, match=r"corpus: .*short\.txt holds only .* usable tokens"):
        open_activations(make_run(home, config_of(short)))
    assert not [path for path in (home / "activations").iterdir() if path.is_dir()]


def test_missing_text_is_the_corpus_field(home: Path) -> None:
    with pytest.raises(UserError, match="corpus: '/nowhere/at/all' does not exist"):
        fingerprint(config_of(Path("/nowhere/at/all")))


def test_a_second_collector_waits_and_can_be_stopped(home: Path, corpus: Path) -> None:
    run = make_run(home, config_of(corpus))
    run.watch = lambda stage, calls: setattr(run, "should_stop", stage.startswith("waiting"))
    with (
        activations._only_collector(
            make_run(home, run.config, 1), run.activations_root / f".lock-{fingerprint(run.config)}"
        ),
        pytest.raises(Stopped),
    ):
        open_activations(run)


def test_values_that_are_not_numbers_are_refused(
    home: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from engine.language_model import prepare_bundled

    tokenizer: Any = AutoTokenizer.from_pretrained(prepare_bundled())
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    broken: Any = LlamaForCausalLM(LlamaConfig(vocab_size=49_152, tie_word_embeddings=True, **sizes))
    broken.model.embed_tokens.weight.data[11:3_000] = float("nan")
    broken.save_pretrained(tmp_path / "broken")
    tokenizer.save_pretrained(tmp_path / "broken")
    with pytest.raises(UserError, match=r"hook_point: .* NaN or infinite"):
        open_activations(make_run(home, config_of(corpus, model=str(tmp_path / "broken"))))
