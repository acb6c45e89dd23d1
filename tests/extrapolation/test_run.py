"""A run end to end: resumed to the bit at any piece of work, every table filled; settings and data refused."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from engine import schema
from engine.errors import UserError
from engine.run import Run, Stopped
from engine.studies.base import parse_config
from engine.studies.extrapolation import Extrapolation
from engine.studies.extrapolation.config import Config
from engine.studies.extrapolation.pictures import PictureLearner
from engine.studies.extrapolation.training import train
from engine.studies.extrapolation.worlds import WorldLearner
from tests.extrapolation.conftest import MakeRun, tiny_run
from tests.training import results

STUDY = Extrapolation()
ON_WORLDS = (
    "accuracy", "curve", "targets", "coordinates", "paths", "points", "recovery", "agreement", "models", "data",
)  # fmt: skip
ON_PICTURES = (
    "models", "data", "map", "choices", "pictures", "patches", "images", "found", "picture_agreement",
)  # fmt: skip


def table(folder: Path, name: str) -> pd.DataFrame:
    return pq.read_table(folder / "tables" / f"extra_{name}.parquet").to_pandas()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run on worlds and one on digits."""
    found = {}
    for source, regime in (("world", "sparse"), ("digits", "both")):
        folder = tmp_path_factory.mktemp(source)
        train(tiny_run(folder, (0, 1), {"source": source, "regime": regime}))
        found[source] = folder
    return found


@pytest.mark.parametrize(("source", "names"), [("world", ON_WORLDS), ("digits", ON_PICTURES)])
def test_tables_are_written_with_their_columns(
    whole: dict[str, Path], source: str, names: tuple[str, ...]
) -> None:
    written = {path.stem for path in (whole[source] / "tables").iterdir()}
    assert written == {f"extra_{name}" for name in names} <= set(STUDY.tables)
    for name in written:
        path = whole[source] / "tables" / f"{name}.parquet"
        assert pq.read_schema(path).equals(schema.run_columns(name)) and pq.read_table(path).num_rows, name


@pytest.mark.parametrize(("source", "stops"), [("world", {1, 4}), ("digits", {1, 4})])
def test_stopped_and_resumed_equals_uninterrupted(
    whole: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, stops: set[int]
) -> None:
    kind: Any = WorldLearner if source == "world" else PictureLearner
    original, current = kind.advance, dict[str, Run]()

    def advance(self: Any) -> Any:
        found = original(self)
        if self.seed == 1 and self.done in stops:
            stops.discard(self.done)
            current["run"].should_stop = True
        return found

    monkeypatch.setattr(kind, "advance", advance)
    wanted, stopped = len(stops), 0
    while True:
        current["run"] = tiny_run(
            tmp_path, (0, 1), {"source": source, "regime": "sparse" if source == "world" else "both"}
        )
        try:
            train(current["run"])
            break
        except Stopped:
            stopped += 1
    assert stopped == wanted and results(tmp_path) == results(whole[source])


def test_a_seed_does_not_depend_on_its_companions(
    whole: dict[str, Path], tmp_path: Path, make_run: MakeRun
) -> None:
    train(make_run(tmp_path, (1,), regime="sparse"))
    both = table(whole["world"], "accuracy")
    pd.testing.assert_frame_equal(table(tmp_path, "accuracy"), both[both["seed"] == 1].reset_index(drop=True))
    curves = table(whole["world"], "paths")
    assert not curves[curves["seed"] == 0]["u"].equals(curves[curves["seed"] == 1]["u"])


def test_tables_agree_with_each_other(whole: dict[str, Path]) -> None:
    coordinates = table(whole["world"], "coordinates")
    assert (
        coordinates[coordinates["arm"] == "minimal change"].groupby(["seed", "target"])["left_out"].sum() == 3
    ).all()
    paths, targets = table(whole["world"], "paths"), table(whole["world"], "targets")
    answered = targets[targets["arm"] == "minimal distance"].set_index(["seed", "target"])["prediction"]
    least = (
        paths[paths["arm"] == "minimal distance"]
        .groupby(["seed", "target", "class"])["score"]
        .first()
        .reset_index()
    )
    best = least.loc[least.groupby(["seed", "target"])["score"].idxmin()].set_index(["seed", "target"])[
        "class"
    ]
    assert (best == answered.reindex(best.index)).all()
    cells, found = table(whole["digits"], "map"), table(whole["digits"], "found")
    assert (cells[cells["severity"] == 0].query("arm == 'source only'")["moved"] == 0).all()
    assert (
        found[found["scope"] == 1.0]["corrupted"] > found[found["scope"] == 0.25]["corrupted"].to_numpy()
    ).all()
    patches = table(whole["digits"], "patches")
    assert not patches[patches["severity"] == 0]["corrupted"].any()


def test_seeds_with_worlds_of_their_own_do_not_compare(tmp_path: Path, make_run: MakeRun) -> None:
    train(make_run(tmp_path, regime="dense", own_world=True, invariant="continuous", distances=[1.0]))
    assert table(tmp_path, "agreement").empty and set(table(tmp_path, "recovery")["regime"]) == {"dense"}


class TestLive:
    def test_a_kept_target_is_explained_alike(self, whole: dict[str, Path]) -> None:
        from engine.studies.extrapolation.live import in_world, opened_world
        from engine.studies.extrapolation.results import explained

        asked = {
            "folder": str(whole["world"]), "regime": "sparse", "seed": 1, "label": 1, "distance": 3.0, "angle": 90.0,
            "draw": 0, "changed": None, "pull": None,
        }  # fmt: skip
        answer = in_world(asked)
        assert {row["arm"] for row in answer["extra_targets"]} == set(table(whole["world"], "targets")["arm"])
        assert sum(row["left_out"] for row in in_world({**asked, "changed": 1})["extra_coordinates"]) == 1
        learner = opened_world(whole["world"], "sparse", 1)
        again = explained(learner, learner.targets(1), 2.0, 0)["extra_targets"]
        stored = table(whole["world"], "targets").query("seed == 1 and distance == 2")
        mine = [row["prediction"] for row in again if row["target"] < 4]
        assert mine == list(stored["prediction"])
        for wrong, field in (({"label": 2}, "label"), ({"changed": 8}, "changed"), ({"seed": 9}, "seed")):
            with pytest.raises(UserError) as caught:
                in_world({**asked, **wrong})
            assert caught.value.field == field

    def test_a_picture_is_answered_with_the_run_s_settings(self, whole: dict[str, Path]) -> None:
        from engine.studies.extrapolation.live import on_picture, opened_pictures

        asked = {
            "folder": str(whole["digits"]),
            "seed": 0,
            "picture": 3,
            "scope": 0.5,
            "severity": 1.0,
            "draw": 0,
            "quantile": None,
        }
        answer = on_picture(asked)
        assert len(answer["extra_patches"]) == 16 and len(answer["extra_images"]) == 3
        chosen = table(whole["digits"], "choices").query("seed == 0 and chosen")
        settings = opened_pictures(whole["digits"], 0).settings
        assert settings.quantile == float(chosen.query("setting == 'quantile'")["value"].iloc[0])
        clean = on_picture({**asked, "severity": 0.0})
        assert not any(row["corrupted"] for row in clean["extra_patches"])
        with pytest.raises(UserError, match="test pictures"):
            on_picture({**asked, "picture": 10_000})


@pytest.mark.parametrize("preset", list(STUDY.presets))
def test_presets_parse_and_have_a_cost(preset: str) -> None:
    cost = STUDY.estimate(parse_config(STUDY, preset, {}), 5)
    assert 5 < cost["seconds"] < 2_700 and cost["memory_bytes"] > 1e8 and cost["disk_bytes"] > 1e5


def test_every_field_says_what_the_form_needs() -> None:
    groups = {"Data", "World", "Corruption", "Objectives", "Training"}
    for name, field in Config.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict) and extra["group"] in groups, name
        assert field.description and field.description.endswith("."), name


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": "folder"}, "folder"),
        ({"n_affected": 9}, "n_affected"),
        ({"changed": 12}, "changed"),
        ({"distances": [2.0, 1.0]}, "distances"),
        ({"distances": []}, "distances"),
        ({"source": "digits", "scopes": [0.5, 1.5]}, "scopes"),
        ({"n_source": 200, "n_classes": 10}, "n_source"),
        ({"regime": "medium"}, "regime"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_wrong_settings_are_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(STUDY, None, changes)
    assert caught.value.field == field and caught.value.message.endswith(".")


def test_lists_can_be_typed_as_the_command_line_gives_them() -> None:
    config = parse_config(STUDY, "standard", {"distances": "0,2.5", "severities": "1"})
    assert config.model_dump(mode="json")["distances"] == [0.0, 2.5]
    assert config.model_dump(mode="json")["severities"] == [1.0]


def test_identities_differ_with_the_data() -> None:
    named = [Config(), Config(world_seed=1), Config(source="digits"), Config(source="digits", world_seed=1)]
    assert len({STUDY.fingerprint(one, [0]) for one in named}) == 4
