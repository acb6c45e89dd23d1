"""A run end to end: the same bytes again, resumed to the bit at any round, every table filled; settings and data refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from engine import schema
from engine.errors import UserError
from engine.run import Run, Stopped
from engine.studies.base import parse_config
from engine.studies.label_shift import LabelShift
from engine.studies.label_shift.config import Config
from engine.studies.label_shift.deployment import Deployment
from engine.studies.label_shift.source import data_identity
from engine.studies.label_shift.training import train
from tests.label_shift.conftest import MakeRun
from tests.training import results

STUDY = LabelShift()


def table(folder: Path, name: str) -> pd.DataFrame:
    return pq.read_table(folder / "tables" / f"{name}.parquet").to_pandas()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def finished(whole: Path, make_run: MakeRun) -> Path:
    if not (whole / "tables").exists():
        train(make_run(whole))
    return whole


def test_every_table_is_written_with_its_columns(finished: Path) -> None:
    for name in STUDY.tables:
        path = finished / "tables" / f"{name}.parquet"
        assert pq.read_schema(path).equals(schema.run_columns(name)), name
        assert pq.read_table(path).num_rows, name


@pytest.mark.parametrize("stops", [{2}, {7, 9}])
def test_stopped_and_resumed_equals_uninterrupted(
    finished: Path, tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, stops: set[int]
) -> None:
    original = Deployment.step
    current: dict[str, Run] = {}

    def step(self: Deployment) -> None:
        original(self)
        if self.seed == 1 and self.done in stops:
            stops.discard(self.done)
            current["run"].should_stop = True

    monkeypatch.setattr(Deployment, "step", step)
    wanted, stopped = len(stops), 0
    while True:
        current["run"] = make_run(tmp_path / "run")
        try:
            train(current["run"])
            break
        except Stopped:
            stopped += 1
    assert stopped == wanted and results(tmp_path / "run") == results(finished)


def test_a_seed_does_not_depend_on_its_companions(finished: Path, tmp_path: Path, make_run: MakeRun) -> None:
    train(make_run(tmp_path / "alone", (1,)))
    alone, both = table(tmp_path / "alone", "shift_rounds"), table(finished, "shift_rounds")
    pd.testing.assert_frame_equal(alone, both[both["seed"] == 1].reset_index(drop=True))
    assert not both[both["seed"] == 0]["nll"].equals(both[both["seed"] == 1]["nll"])


def test_tables_agree_with_each_other(finished: Path) -> None:
    rounds, classes, choices = (table(finished, f"shift_{n}") for n in ("rounds", "classes", "choices"))
    assert set(rounds["round"]) == set(range(11)) and (rounds["swapped"] == (rounds["round"] >= 8)).all()
    assert (
        rounds.groupby("swapped")["backbone"].nunique().tolist() == [1, 1]
        and rounds["backbone"].nunique() == 2
    )
    grouped = classes.groupby(["seed", "arm", "round"])
    assert np.allclose(grouped[["p_true", "p_forecast", "marginal"]].sum(), 1)
    kl = grouped[["p_true", "p_forecast"]].apply(
        lambda g: (g["p_true"] * np.log(g["p_true"] / g["p_forecast"])).sum()
    )
    assert np.allclose(kl, rounds.set_index(["seed", "arm", "round"])["kl"].reindex(kl.index))
    assert np.allclose(rounds.loc[rounds["arm"] == "oracle prior", "excess_nll"], 0)
    assert rounds["nll_exact"].notna().all() and (
        rounds["nll_exact"].mean() <= rounds["nll_oracle"].mean() + 0.02
    )
    assert choices.groupby(["seed", "round"]).size().eq(6).all() and set(choices["round"]) == {4, 7}
    assert choices[["present", "by_adapter", "by_fit", "revealed"]].stack().between(0, 1).all()
    few = table(finished, "shift_few")
    assert set(few["pairs"]) == {1, 2, 5}
    assert table(finished, "shift_recovery")["fitted_tau"].notna().all()


@pytest.mark.parametrize("mechanism", ["none", "features"])
def test_worlds_without_reaction_have_no_truth_to_recover(
    tmp_path: Path, make_run: MakeRun, mechanism: str
) -> None:
    train(make_run(tmp_path / "run", (0,), mechanism=mechanism, decisions=0, fine_tune=False, swap_rounds=0))
    assert table(tmp_path / "run", "shift_recovery")["correlation"].isna().all()
    assert table(tmp_path / "run", "shift_choices").empty and table(tmp_path / "run", "shift_agreement").empty


class TestOwnFeatures:
    def written(self, folder: Path, labels: Any) -> str:
        rng = np.random.default_rng(0)
        codes = np.unique(labels, return_inverse=True)[1]
        frame = pd.DataFrame(
            {"label": labels, "f0": codes + rng.normal(size=len(codes)), "f1": rng.normal(size=len(codes))}
        )
        path = folder / "mine.parquet"
        frame.to_parquet(path)
        return str(path)

    def test_they_are_played_with_their_own_names(self, tmp_path: Path, make_run: MakeRun) -> None:
        path = self.written(tmp_path, np.array(["<b>yes</b>", "no", "maybe"])[np.arange(150) % 3])
        train(make_run(tmp_path / "run", (0,), source="features", table=path, mechanism="mixed"))
        assert set(table(tmp_path / "run", "shift_data")["name"]) == {"<b>yes</b>", "no", "maybe"}

    def test_one_feature_is_enough(self, tmp_path: Path, make_run: MakeRun) -> None:
        path = self.written(tmp_path, np.arange(100) % 2)
        pd.read_parquet(path)[["label", "f0"]].to_parquet(path)
        train(make_run(tmp_path / "run", (0,), source="features", table=path))
        assert table(tmp_path / "run", "shift_choices")["candidate"].nunique() == 4

    def test_one_class_is_refused_before_a_run_is_queued(self, tmp_path: Path) -> None:
        path = self.written(tmp_path, np.ones(100, dtype=int))
        with pytest.raises(UserError, match="one class") as caught:
            STUDY.fingerprint(parse_config(STUDY, None, {"source": "features", "table": path}), [0])
        assert caught.value.field == "table"

    def test_another_file_is_another_run(self, tmp_path: Path) -> None:
        config = Config(source="features", table=self.written(tmp_path, np.arange(100) % 2))
        before = data_identity(config)
        self.written(tmp_path, np.arange(120) % 2)
        assert data_identity(config) != before


@pytest.mark.parametrize("preset", list(STUDY.presets))
def test_presets_parse_and_have_a_cost(preset: str) -> None:
    cost = STUDY.estimate(parse_config(STUDY, preset, {}), 5)
    assert 5 < cost["seconds"] < 900 and cost["memory_bytes"] > 1e8 and cost["disk_bytes"] > 1e5


def test_every_field_says_what_the_form_needs() -> None:
    for name, field in Config.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict) and extra["group"] in ("Data", "World", "Deployment", "Adapter"), name
        assert field.description and field.description.endswith("."), name


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": "features"}, "table"),
        ({"source": "mixture", "n_classes": 20, "n_samples": 500}, "n_samples"),
        ({"rounds": 10, "decisions": 6}, "decisions"),
        ({"tau": 0}, "tau"),
        ({"mechanism": "strategic"}, "mechanism"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_wrong_settings_are_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(STUDY, None, changes)
    assert caught.value.field == field and caught.value.message.endswith(".")


def test_a_wrong_hook_point_is_refused_before_texts_are_read() -> None:
    with pytest.raises(UserError) as caught:
        STUDY.fingerprint(Config(source="topics", hook_point="blocks.99.hook_out"), [0])
    assert caught.value.field == "hook_point"
