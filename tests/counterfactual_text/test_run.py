"""A run end to end: the same bytes again, resumed to the bit at any step, every table filled; settings refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from analyses.counterfactual_text import supports
from engine import schema
from engine.errors import UserError
from engine.run import Run, Stopped
from engine.studies.base import parse_config
from engine.studies.counterfactual_text import CounterfactualText
from engine.studies.counterfactual_text.config import Config
from engine.studies.counterfactual_text.learner import Learner
from engine.studies.counterfactual_text.training import train
from tests.counterfactual_text.conftest import TINY_TEXT, MakeRun, write_texts
from tests.training import results

STUDY = CounterfactualText()
BENCH_ONLY, TEXT_ONLY = {"cf_bench", "cf_examples"}, {"cf_scores", "cf_pairs", "cf_words", "cf_classifier"}


def table(folder: Path, name: str) -> pd.DataFrame:
    return pq.read_table(folder / "tables" / f"{name}.parquet").to_pandas()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def world(folder: Path, make_run: MakeRun) -> Path:
    if not (folder / "world" / "tables").exists():
        train(make_run(folder / "world"))
    return folder / "world"


@pytest.fixture
def texts(folder: Path, make_run: MakeRun) -> Path:
    if not (folder / "texts" / "tables").exists():
        path = write_texts(folder / "own.jsonl")
        train(make_run(folder / "texts", **{**TINY_TEXT, "table": str(path)}))
    return folder / "texts"


def test_every_table_is_written_with_its_columns(world: Path, texts: Path) -> None:
    for run, empty in ((world, TEXT_ONLY), (texts, BENCH_ONLY)):
        for name in STUDY.tables:
            path = run / "tables" / f"{name}.parquet"
            assert pq.read_schema(path).equals(schema.run_columns(name)), name
            assert (pq.read_table(path).num_rows == 0) == (name in empty), name


def test_stopped_and_resumed_equals_uninterrupted(
    world: Path, tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = {("1/matte", 4), ("1/matte", 11), ("1/beta_vae", 1), ("1/beta_vae", 8)}
    original = Learner.advance
    current: dict[str, Run] = {}

    def advance(self: Learner) -> None:
        original(self)
        current["run"].should_stop |= (self.key, self.step) in stops

    monkeypatch.setattr(Learner, "advance", advance)
    stopped = 0
    while True:
        current["run"] = make_run(tmp_path / "run")
        try:
            train(current["run"])
            break
        except Stopped:
            stopped += 1
    assert stopped == 2 and results(tmp_path / "run") == results(world)


def test_texts_resume_to_the_bit_too(
    texts: Path, folder: Path, tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, current = Learner.advance, dict[str, Run]()

    def advance(self: Learner) -> None:
        original(self)
        current["run"].should_stop |= (self.key, self.step) == ("0/matte", 7)

    monkeypatch.setattr(Learner, "advance", advance)
    changes = {**TINY_TEXT, "table": str(folder / "own.jsonl")}
    current["run"] = make_run(tmp_path / "run", **changes)
    with pytest.raises(Stopped):
        train(current["run"])
    current["run"] = make_run(tmp_path / "run", **changes)
    train(current["run"])
    assert results(tmp_path / "run") == results(texts)


def test_a_seed_does_not_depend_on_its_companions(world: Path, tmp_path: Path, make_run: MakeRun) -> None:
    train(make_run(tmp_path / "alone", (1,)))
    alone, both = table(tmp_path / "alone", "cf_bench"), table(world, "cf_bench")
    pd.testing.assert_frame_equal(alone, both[both["seed"] == 1].reset_index(drop=True))
    assert table(tmp_path / "alone", "cf_agreement").empty


def test_tables_of_a_world_agree_with_each_other(world: Path) -> None:
    bench, arms, influence = (table(world, f"cf_{name}") for name in ("bench", "arms", "influence"))
    assert len(bench) == len(arms) == 4 and bench[["cf_noise", "cf_style"]].gt(0).all().all()
    beta = bench[bench["arm"] == "beta_vae"]
    assert np.allclose(beta["cf_noise"], beta["cf_style"]), "without a flow noise and style are one"
    mine = influence.query("arm == 'matte' and seed == 0")
    matrix = mine.assign(latent=mine["block"] + mine["dim"].astype(str)).pivot(
        index="output", columns="latent", values="value"
    )
    stored = arms.query("arm == 'matte' and seed == 0").iloc[0]
    assert supports(matrix.to_numpy(), 2).style == pytest.approx(stored["support_style"])
    examples = table(world, "cf_examples")
    assert examples.groupby(["seed", "arm", "pair"]).size().eq(16).all()
    assert examples.groupby(["pair", "output"])["truth"].nunique().eq(1).all(), (
        "one truth for all arms and seeds"
    )
    assert len(table(world, "cf_agreement")) == 4


def test_worlds_differ_by_seed_when_asked(tmp_path: Path, make_run: MakeRun) -> None:
    train(make_run(tmp_path / "run", worlds="one per seed", arms="matte"))
    examples = table(tmp_path / "run", "cf_examples")
    assert examples.groupby(["pair", "output"])["factual"].nunique().eq(2).all()
    assert table(tmp_path / "run", "cf_agreement").empty


def test_pairs_and_scores_of_texts_agree(texts: Path) -> None:
    pairs, scores = table(texts, "cf_pairs"), table(texts, "cf_scores")
    copies = pairs[pairs["arm"] == "identity_copy"]
    assert (
        (copies["source"] == copies["output"]).all()
        and copies["unchanged"].all()
        and np.allclose(copies["bleu"], 100)
    )
    assert {"matte", "beta_vae"} == set(pairs.loc[pairs["seed"] >= 0, "arm"])
    assert set(pairs.loc[pairs["arm"] == "matte", "route"]) == {"noise", "style"}
    mine = pairs[(pairs["arm"] == "matte") & (pairs["route"] == "noise") & (pairs["seed"] == 1)]
    stored = scores.query("arm == 'matte' and route == 'noise' and seed == 1 and domain == 'all'").iloc[0]
    assert stored["accuracy"] == pytest.approx((mine["style_after"] > 0.5).mean())
    assert stored["g"] == pytest.approx(mine["g"].mean()) and stored["pairs"] == len(mine) == 8
    both = 100 * mine["style_after"], mine["bleu"]
    wanted = 2 * both[0] * both[1] / (both[0] + both[1])
    assert np.allclose(mine["g"], wanted.fillna(0))
    assert mine.groupby("target").size().eq(4).all()


@pytest.mark.parametrize("preset", [name for name in STUDY.presets if name != "file"])
def test_presets_parse_and_have_a_cost(preset: str) -> None:
    cost = STUDY.estimate(parse_config(STUDY, preset, {}), 5)
    assert 5 < cost["seconds"] < (2_700 if preset != "paper" else 1e7) and cost["memory_bytes"] > 1e8


def test_every_field_says_what_the_form_needs() -> None:
    groups = ("Data", "Model", "Loss", "Training", "Evaluation")
    for name, field in Config.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict) and extra["group"] in groups, name
        assert field.description and field.description.endswith("."), name


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": "file"}, "table"),
        ({"arms": "matte,vae"}, "arms"),
        ({"arms": ","}, "arms"),
        ({"own_outputs": 17}, "own_outputs"),
        ({"d_style": 5}, "own_outputs"),
        ({"d_content": 20, "own_outputs": 16}, "n_outputs"),
        ({"n_steps": 0}, "n_steps"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_wrong_settings_are_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(STUDY, None, changes)
    assert caught.value.field == field and caught.value.message.endswith(".")
