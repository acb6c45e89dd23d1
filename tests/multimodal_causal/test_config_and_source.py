"""What is refused, in one sentence that names the field; how rows are split."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.errors import UserError
from engine.studies.base import parse_config
from engine.studies.multimodal_causal import MultimodalCausal
from engine.studies.multimodal_causal.config import Config
from engine.studies.multimodal_causal.source import open_source, table_identity

STUDY = MultimodalCausal()


@pytest.mark.parametrize("preset", list(STUDY.presets))
def test_presets_parse_and_have_a_cost(preset: str) -> None:
    config = parse_config(STUDY, preset, {})
    cost = STUDY.estimate(config, 5)
    assert cost["seconds"] > 0 and cost["memory_bytes"] > 1e8
    assert STUDY.fingerprint(config, [0]) == ""


def test_every_field_says_what_the_form_needs() -> None:
    for name, field in Config.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict) and extra["group"] in ("Data", "Model", "Training"), name
        assert field.description and field.description.endswith("."), name


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": "table"}, "table"),
        ({"source": "table", "table": "x.csv"}, "modalities"),
        ({"graph": "inseparable", "n_latents": 1}, "n_latents"),
        ({"source": "digits", "n_latents": 3}, "n_latents"),
        ({"width": 3}, "width"),
        ({"lambda_grid": ()}, "lambda_grid"),
        ({"lambda_grid": (-1.0,)}, "lambda_grid"),
        ({"modality_order": "learnt", "n_modalities": 5}, "modality_order"),
        ({"n_samples": 10}, "n_samples"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_wrong_settings_are_refused_by_name(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(STUDY, None, changes)
    assert caught.value.field == field
    assert caught.value.message.endswith(".")


def test_the_grid_is_sorted_and_read_from_text() -> None:
    assert Config(lambda_grid="0.4, 0.1 0.4").lambda_grid == (0.1, 0.4)


def test_world_rows_are_standardised_by_the_training_rows_alone() -> None:
    source = open_source(Config(n_samples=1_000, n_latents=2))
    assert source.train["a"].shape == (850, 8) and source.validation["a"].shape == (150, 8)
    assert np.abs(source.train["b"].mean(axis=0)).max() < 1e-5
    assert np.abs(source.heldout["b"].mean(axis=0)).max() > 1e-5
    again = open_source(Config(n_samples=1_000, n_latents=2))
    assert (again.heldout["c"] == source.heldout["c"]).all()
    other = open_source(Config(n_samples=1_000, n_latents=2, world_seed=2))
    assert not np.allclose(other.train["a"], source.train["a"])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 5)), columns=["u", "v", "w", "x", "y"])
    frame["row"] = np.arange(300)
    frame.to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


def test_a_users_table_is_split_without_overlap(table: Path) -> None:
    config = Config(source="table", table=str(table), modalities="one: u, v, row; two: w, x", n_latents=2)
    source = open_source(config)
    assert source.modalities == ("one", "two")
    place = source.variables["one"].index("row")
    parts = (source.train, source.validation, source.heldout)
    rows = [
        part["one"][:, place] * source.scale["one"][place] + source.centre["one"][place] for part in parts
    ]
    assert sorted(np.concatenate(rows).round().astype(int).tolist()) == list(range(300))
    assert source.padded(source.train).shape == (2, 210, 3)
    assert (source.padded(source.train)[1, :, 2] == 0).all()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"modalities": "one: u, v; two: nothing"}, "modalities"),
        ({"modalities": "one: u; two: w, x"}, "n_latents"),
        ({"true_graph": "absent.csv"}, "true_graph"),
        ({"table": "absent.csv"}, "table"),
    ],
)
def test_a_users_mistake_is_named(table: Path, changes: dict[str, Any], field: str) -> None:
    base = {"source": "table", "table": str(table), "modalities": "one: u, v; two: w, x", "n_latents": 2}
    with pytest.raises(UserError) as caught:
        open_source(Config(**{**base, **changes}))
    assert caught.value.field == field


def test_a_changed_table_is_another_run(table: Path) -> None:
    config = Config(source="table", table=str(table), modalities="one: u, v; two: w, x", n_latents=2)
    before = table_identity(config)
    table.write_text(table.read_text() + "0,0,0,0,0,300\n")
    assert table_identity(config) != before
    with pytest.raises(UserError):
        table_identity(Config(**{**config.model_dump(), "table": "absent.csv"}))


def test_a_map_that_does_not_fit_the_table_is_refused_before_a_run_is_queued(tmp_path: Path) -> None:
    table = tmp_path / "own.csv"
    table.write_text("x,y\n1,2\n2,1\n")
    with pytest.raises(UserError, match="nope"):
        table_identity(Config(source="table", table=str(table), modalities="a: x; b: nope"))
