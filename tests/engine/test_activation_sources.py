"""`run:ID` as model of an SAE: what is read from reasoners and denoisers, how it resumes, what is refused, live features."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data.files import read_json, write_json
from engine import collecting
from engine.activation_sources import find_source
from engine.activations import Activations, fingerprint, open_activations
from engine.client import Client
from engine.errors import UserError
from engine.importing import import_settings, inspect_sae
from engine.run import Run
from engine.studies.sae_consistency.config import Config
from engine.studies.sapo.live import open_policy
from engine.studies.sr2.reasoners import trace
from engine.studies.sr2.solving import load_reasoner
from engine.studies.sr2.source import open_puzzles
from engine.tools.feature_cards import FeatureCards
from engine.tools.feature_cards.reading import read_examples
from engine.transport import EngineError
from tests.app import denoising_tables, reasoner_tables
from tests.app.causal_tables import engine_on
from tests.app.state_tables import TINY, state_folder, write_saes
from tests.engine.test_activations import READING, Killed, hashes, make_run, messages

PUZZLES, MAZES, DENOISER, FAILED = "aaaaaaaaaaa3", "bbbbbbbbbbb3", "ccccccccccc3", "ddddddddddd3"
SAES = "eeeeeeeeeee3"
SMALL = {**denoising_tables.TINY, "arms": "sapo", "base_steps": 60, "iterations": 2}
REASONER = {"model": f"run:{PUZZLES}", "hook_point": "blocks.4.hook_out"}
STREAM = {"model": f"run:{DENOISER}", "hook_point": "blocks.0.hook_out"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    reasoner_tables.write_run(home, PUZZLES, None, (0, 2))
    reasoner_tables.write_run(
        home, MAZES, {**reasoner_tables.MAZE, "model": "feed_forward", "layers": 2}, (0,)
    )
    reasoner_tables.write_run(home, FAILED, error="clues: 5 do not suit.")
    denoising_tables.write_run(home, DENOISER, SMALL, (0, 1))
    write_saes(home, SAES, **REASONER)
    with state_folder(home):
        yield home


def config_of(**changes: Any) -> Config:
    return Config(**{**TINY, **REASONER, **changes})


def collected(home: Path, config: Config, number: int = 0) -> tuple[Activations, dict[str, dict[str, Any]]]:
    """The collection, and the token tables of its splits, a window a row."""
    found = open_activations(make_run(home / "reading", config, number))
    tables = {}
    for split in ("train", "heldout"):
        table = pq.read_table(found.folder / f"tokens-{split}.parquet")
        size = found.manifest["context_size"]
        columns = table.column_names
        tables[split] = {n: table[n].to_numpy(zero_copy_only=False).reshape(-1, size) for n in columns}
    return found, tables


class TestReading:
    def test_rows_are_the_state_of_every_cell_after_the_block(self, home: Path) -> None:
        config = config_of(model=f"run:{PUZZLES}/seed-2")
        found, tables = collected(home, config)
        _, model = load_reasoner(home / "runs" / PUZZLES, 2)
        for split, table in tables.items():
            assert table["kept"].all() and (table["row"] >= 0).all()
            ends: list[torch.Tensor] = []
            boards = torch.from_numpy(table["token_id"].astype(np.int64))
            trace(model, boards, 6, on_block=lambda block, state, e, ends=ends: ends.append(state[-1]))
            rows = getattr(found, split).gather(table["row"].ravel()) / found.scale
            wanted = ends[5].flatten(0, 1).numpy()
            assert np.abs(rows - wanted).max() < 2e-3 * np.abs(wanted).max()

    def test_windows_are_whole_boards_of_the_runs_own_puzzles(self, home: Path) -> None:
        found, tables = collected(home, config_of(context_size=999))
        splits = open_puzzles(load_reasoner(home / "runs" / PUZZLES, 0)[0]).splits
        assert np.array_equal(tables["heldout"]["token_id"], splits["validation"].inputs)
        train = tables["train"]["token_id"]
        assert train.shape == (125, 16)
        assert {tuple(board) for board in train} <= {tuple(board) for board in splits["train"].inputs}
        assert found.manifest["context_size"] == 16 and found.manifest["counts"]["position_0"] == 0
        assert found.manifest["tier"] == "trained here"
        ((before, cell, after),) = found.contexts(np.array([0]))
        assert (before, f"{cell}{after}") == (
            "",
            " ".join("." if t == 0 else str(t) for t in tables["heldout"]["token_id"][0][:13]),
        )

    def test_training_puzzles_come_under_their_symmetries(self, home: Path) -> None:
        config = config_of(model=f"run:{MAZES}", hook_point="blocks.0.hook_out")
        read = {tuple(maze) for maze in collected(home, config)[1]["train"]["token_id"]}
        mazes = open_puzzles(load_reasoner(home / "runs" / MAZES, 0)[0]).splits["train"].inputs
        turned = [np.rot90(maze.reshape(7, 7), quarter) for maze in mazes for quarter in range(4)]
        images = {tuple(image.ravel()) for one in turned for image in (one, one.T)}
        assert read <= images and read - {tuple(maze) for maze in mazes}

    def test_a_denoisers_stream_is_read_at_every_position(self, home: Path) -> None:
        found, tables = collected(home, config_of(**STREAM))
        _, policy = open_policy(home / "runs" / DENOISER, 0, "sapo")
        caught: list[torch.Tensor] = []
        handle = policy.blocks[0].register_forward_hook(lambda module, given, value: caught.append(value))
        with torch.no_grad():
            policy(torch.from_numpy(tables["train"]["token_id"].astype(np.int64)))
        handle.remove()
        kept = tables["train"]["kept"]
        rows = found.train.gather(tables["train"]["row"][kept]) / found.scale
        assert np.abs(rows - caught[0].numpy()[kept]).max() < 2e-3 * caught[0].abs().max()
        assert kept[:, 0].any()

    @pytest.mark.parametrize(("corpus", "spread"), [("own", (0.2, 0.4)), ("own@0.5", (0.1, 0.3))])
    def test_noise_masks_completions_alone(
        self, home: Path, corpus: str, spread: tuple[float, float]
    ) -> None:
        tokens = collected(home, config_of(**STREAM, corpus=corpus))[1]["train"]["token_id"]
        prompts, completions = tokens[:, :5], tokens[:, 5:]
        mask = find_source(STREAM["model"]).blank
        shares = (completions == mask).mean(axis=1)
        assert not (prompts == mask).any() and shares.mean() == pytest.approx(0.5, abs=0.05)
        assert spread[0] < shares.std() < spread[1]

    def test_a_killed_collection_resumes_to_the_same_bytes(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(collecting, "SAVE_EVERY", 2)
        monkeypatch.setattr(collecting, "FORWARD_TOKENS", 64)
        config = config_of(hook_point="blocks.1.hook_out")
        whole = open_activations(make_run(home / "reading", config, 10))
        before = hashes(whole)
        shutil.rmtree(whole.folder)
        run = make_run(home / "reading", config, 11)

        def kill(stage: str, calls: int) -> None:
            if stage == READING and calls == 9:
                raise Killed

        run.watch = kill
        with pytest.raises(Killed):
            open_activations(run)
        partial = whole.folder.with_name(f".partial-{whole.folder.name}")
        assert 0 < read_json(partial / "progress.json")["windows"] < 9 * 4
        assert hashes(open_activations(make_run(home / "reading", config, 12))) == before


class TestIdentity:
    def test_it_is_the_weights_and_the_input_and_not_the_window(self, home: Path) -> None:
        same = [{}, {"context_size": 64}, {"model": f"run:{PUZZLES}/seed-0"}]
        other = [{"model": f"run:{PUZZLES}/seed-2"}, {"hook_point": "blocks.0.hook_out"}, {"n_tokens": 3_000}]
        noise = [
            STREAM,
            {**STREAM, "corpus": "own@0.5"},
            {**STREAM, "model": f"{STREAM['model']}/seed-0/base"},
        ]
        assert len({fingerprint(config_of(**change)) for change in same}) == 1
        assert len({fingerprint(config_of(**change)) for change in [{}, *other, *noise]}) == 7
        default = f"{STREAM['model']}/seed-0/sapo"
        assert fingerprint(config_of(**{**STREAM, "model": default})) == fingerprint(config_of(**STREAM))

    def test_changed_weights_change_it(self, home: Path) -> None:
        path = home / "runs" / PUZZLES / "tensors" / "seed-0.safetensors"
        content, before = path.read_bytes(), fingerprint(config_of())
        try:
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            assert fingerprint(config_of()) != before
        finally:
            path.write_bytes(content)
        assert fingerprint(config_of()) == before

    def test_it_needs_no_torch(self, home: Path) -> None:
        code = (
            "import sys; from engine.activations import fingerprint; from engine.studies.sae_consistency.config import Config; "
            f"print(*(fingerprint(Config(**one)) for one in ({REASONER!r}, {STREAM!r})), 'torch' in sys.modules)"
        )
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert told.split() == [*(fingerprint(Config(**one)) for one in (REASONER, STREAM)), "False"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"model": "run:../../etc"}, "model: .* names no run; write run: and the 12 signs"),
            ({"model": "run:000000000000"}, "model: run 000000000000 does not exist"),
            ({"model": f"run:{FAILED}"}, "model: run ddddddddddd3 is failed; wait until it is done"),
            ({"model": f"run:{SAES}"}, "model: .* is one of sae_consistency, which has no states to read"),
            ({"model": f"run:{PUZZLES}/seed-1"}, "model: .* has no seed-1; it has seed-0, seed-2"),
            ({"model": f"run:{DENOISER}/seed-1/grpo_wider"}, "model: .* has no arm grpo_wider; it has base, sapo"),
            ({"hook_point": "blocks.6.hook_out"}, "hook_point: .*; the nearest names are blocks"),
            ({"model": f"run:{MAZES}", "hook_point": "blocks.1.hook_out"}, "hook_point: .* are blocks.0.hook_out"),
            ({"corpus": "own@0.5"}, "corpus: own@0.5 is no input of the reasoner"),
            ({**STREAM, "corpus": "own@1.5"}, "corpus: own@1.5 is no input of the denoiser"),
        ],
    )  # fmt: skip
    def test_a_run_that_cannot_be_read(self, home: Path, changes: dict[str, Any], sentence: str) -> None:
        with pytest.raises(UserError, match=sentence):
            fingerprint(config_of(**changes))

    def test_weights_that_are_gone(self, home: Path) -> None:
        path = home / "runs" / PUZZLES / "tensors" / "seed-0.safetensors"
        away = path.rename(path.with_suffix(".away"))
        try:
            with pytest.raises(
                UserError, match=r"model: run .* has lost seed-0\.safetensors; train it again"
            ):
                fingerprint(config_of())
        finally:
            away.rename(path)

    def test_inputs_belong_to_runs_and_texts_to_language_models(self) -> None:
        found = config_of(functional_tokens=500)
        assert (found.corpus, found.functional_tokens, found.explained_pairs) == ("own", 0, 0)
        with pytest.raises(ValueError, match=r"reads its own inputs and not texts\.txt"):
            config_of(corpus="texts.txt")
        with pytest.raises(ValueError, match="stands for a run's inputs"):
            Config(corpus="own")


class TestResults:
    def test_saes_of_a_run_have_tables_and_contexts_but_no_ablations(self, home: Path) -> None:
        tables = home / "runs" / SAES / "tables"
        rows = pq.read_table(tables / "saes.parquet").to_pandas()
        assert (
            list(rows["seed"]) == [0, 1]
            and (rows["fvu"] < 0.9).all()
            and rows["cross_entropy_sae"].isna().all()
        )
        assert not (tables / "ablations.parquet").exists()
        contexts = pq.read_table(tables / "contexts.parquet").to_pandas()
        words = set(" ".join(contexts["before"] + " " + contexts["token"] + " " + contexts["after"]).split())
        assert words == {".", "1", "2", "3", "4"}
        assert "they need a language model" in (home / "runs" / SAES / "events.jsonl").read_text()

    def test_cards_show_whole_boards_and_leave_out_the_language_model(self, home: Path) -> None:
        directory = home / "runs" / "cards"
        directory.mkdir()
        write_json(
            directory / "config.json",
            {"id": "cards", "study": "feature_cards", "seeds": [0, 1], "data_seed": 0},
        )
        run = Run(directory, FeatureCards.Config(of=SAES))
        FeatureCards().train(run)
        assert "need a language model" in messages(run)
        active = pq.read_table(directory / "tables" / "cards.parquet").to_pandas()
        feature = int(active.loc[active["seed"] == 0, "density"].argmax())
        example = read_examples(directory, 0, feature)["examples"][0]
        assert len(example["tokens"]) == 16 and example["row_length"] == 4
        assert None not in example["values"]
        assert example["values"][example["peak"]] == pytest.approx(example["value"])

    def test_an_sae_file_that_names_a_run_can_be_evaluated_on_it_again(self, home: Path) -> None:
        found = inspect_sae(str(home / "runs" / SAES / "saes" / "seed-0"))
        settings = import_settings([found])
        assert settings["model"] == REASONER["model"] and settings["hook_point"] == REASONER["hook_point"]
        assert Config(**settings).corpus == "own"


@pytest.fixture(scope="module")
def engine(home: Path) -> Iterator[Client]:
    with engine_on(home) as client:
        yield client


class TestThroughTheEngine:
    def test_saes_train_on_a_denoiser_and_find_its_active_features(self, engine: Client, home: Path) -> None:
        asked = {**TINY, **STREAM, "model": f"run:{DENOISER}/seed-1"}
        run = engine.submit("sae_consistency", asked, [0])
        assert "--set model=run:ccccccccccc3/seed-1" in run["command"]
        assert engine.estimate("sae_consistency", asked, [0])["seconds"] < 60
        assert engine.wait(run["id"])["state"] == "done", engine.run(run["id"])["error"]
        assert [one["id"] for one in engine.saes_reading(DENOISER)] == [run["id"]]
        words = ["3", "+", "5", "*", "2", "", "7", "|", ""]
        source = find_source(asked["model"]).on("cpu")
        assert engine.active_features(DENOISER, run["id"], 0, words, 6, k=3) == direct(
            home, run["id"], source, STREAM["hook_point"], source.ids(words), 6, 3
        )

    def test_active_features_of_a_cell_are_those_of_the_sae(self, engine: Client, home: Path) -> None:
        source = find_source(REASONER["model"]).on("cpu")
        board = engine.table(PUZZLES, "sr2_puzzles")["given"][1].as_py()
        tokens = [int(sign) for sign in board]
        found = engine.active_features(PUZZLES, SAES, 1, tokens, 5, k=24)
        assert found == direct(home, SAES, source, REASONER["hook_point"], tokens, 5, 24, seed=1)
        assert found["n_active"] == 4 == len(found["features"])
        feature = found["features"][0]["feature"]
        engine.set_label(SAES, 1, feature, "an open corner")
        again = engine.active_features(PUZZLES, SAES, 1, tokens, 5, k=1)["features"]
        assert again == [{**found["features"][0], "label": "an open corner"}]

    @pytest.mark.parametrize(
        ("run", "changes", "sentence"),
        [
            (MAZES, {}, "sae_run: the SAEs of eeeeeeeeeee3 do not read run bbbbbbbbbbb3"),
            (SAES, {}, "run: .* is a run of sae_consistency; choose one of sr2 or sapo"),
            (PUZZLES, {"sae_seed": 5}, "sae_seed: .* has no seed 5; it has 0, 1"),
            (PUZZLES, {"tokens": [1, 2]}, "tokens: 2 were given; an input of the reasoner .* has 16"),
            (PUZZLES, {"tokens": [9] * 16}, "tokens: .* knows ids from 0 to 4"),
            (PUZZLES, {"tokens": ["?"] * 16}, "tokens: '\\?' is no word of"),
            (PUZZLES, {"position": 16}, "position: 16 is beyond the last, 15"),
        ],
    )
    def test_what_cannot_be_read_is_said(
        self, engine: Client, run: str, changes: dict[str, Any], sentence: str
    ) -> None:
        asked = {"sae_run": SAES, "sae_seed": 0, "tokens": [0] * 16, "position": 0, **changes}
        with pytest.raises(EngineError, match=sentence):
            engine.active_features(run, **asked)

    def test_the_prompt_lab_refuses_them(self, engine: Client) -> None:
        with pytest.raises(EngineError, match="read a run's states; the lab needs a language model"):
            list(engine.lab({"run": SAES, "seed": 0, "prompt": "a"}))


def direct(
    home: Path, sae_run: str, source: Any, hook_point: str, tokens: list[int], position: int, k: int, seed: int = 0
) -> dict[str, Any]:  # fmt: skip
    """What `active_features` must answer, from the SAE's own weights and its TopK rule."""
    from safetensors.torch import load_file

    weights = load_file(home / "runs" / sae_run / "saes" / f"seed-{seed}" / "sae_weights.safetensors")
    x = source.activations(torch.tensor([tokens]), hook_point)[0, position]
    pre = ((x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]).relu()
    values, features = pre.topk(TINY["k"])
    rows = [
        {"feature": feature, "value": pytest.approx(value, rel=1e-4), "label": ""}
        for feature, value in zip(features.tolist(), values.tolist(), strict=True)
        if value > 0
    ]
    return {"model": source.label, "n_active": len(rows), "is_massive": False, "features": rows[:k]}
