"""A whole run at the smallest size: reproducible to the byte, resumable, complete; live masks; activations."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from data.files import read_json
from engine import schema
from engine.errors import UserError
from engine.run import damaged_files
from engine.studies.smartclip import SmartClip
from engine.studies.smartclip.activation_source import SmartClipSource
from engine.studies.smartclip.config import Config
from engine.studies.smartclip.live import opened
from tests.smartclip.conftest import TINY, train, train_with_stops
from tests.training import results

ARMS = ("base", "long_clip", "smartclip", "lambda_2", "naive_negatives", "soft_mask", "random_mask")


def rows(folder: Path, name: str) -> pd.DataFrame:
    return pq.read_table(folder / "tables" / f"smartclip_{name}.parquet").to_pandas()


def test_every_table_is_there_and_sound(tiny_run: Path) -> None:
    assert {path.stem for path in (tiny_run / "tables").glob("*.parquet")} == {*SmartClip.tables, "metrics"}
    assert damaged_files(tiny_run) == []
    for name in SmartClip.tables:
        assert pq.read_schema(tiny_run / "tables" / f"{name}.parquet").equals(schema.run_columns(name)), name
    assert rows(tiny_run, "arms").groupby("seed")["arm"].apply(tuple).tolist() == [ARMS] * 2


def test_a_stopped_run_resumes_to_the_same_bytes(tiny_run: Path, tmp_path: Path) -> None:
    stops = train_with_stops(tmp_path / "tiny", TINY, [0, 1], every=3)
    assert stops >= 1, "how often depends on when the parent hears of a step"
    assert results(tmp_path / "tiny") == results(tiny_run)


def test_a_seed_does_not_depend_on_its_companions(tiny_run: Path, tmp_path: Path) -> None:
    alone, together = results(train(tmp_path / "alone", TINY, [1])), results(tiny_run)
    weights = [name for name in alone if name.endswith(".safetensors")]
    assert len(weights) == len(ARMS) and all(alone[name] == together[name] for name in weights)


def test_arms_differ_and_start_from_the_same_clip(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = results(tiny_run)
    weights = [hashes[f"seed-0-{arm}.safetensors"] for arm in ARMS]
    assert len(set(weights)) == len(ARMS)
    monkeypatch.setenv("CONCORDANCE_HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").symlink_to(tiny_run)
    again = {**TINY, "start_from": "run:tiny", "arms": "smartclip", "lambda_sweep": []}
    assert results(train(tmp_path / "again", again, [0]))["seed-0-smartclip.safetensors"] == weights[2]
    with pytest.raises(UserError, match="has 16"):
        train(tmp_path / "wider", {**again, "width": 32}, [0])


def test_tables_agree_with_each_other(tiny_run: Path) -> None:
    arms, masks, probes = rows(tiny_run, "arms"), rows(tiny_run, "masks"), rows(tiny_run, "probes")
    assert set(masks["arm"]) == set(ARMS[2:]) and (masks["mask"].str.len() == 16).all()
    assert (masks["size"] == masks["mask"].str.count("1")).all()
    hard = masks[(masks["arm"] == "smartclip") & (masks["seed"] == 0)]
    one = arms[(arms["arm"] == "smartclip") & (arms["seed"] == 0)].iloc[0]
    assert one["size_single"] == pytest.approx(hard["size"].mean())
    linear = probes[(probes["arm"] == "smartclip") & (probes["seed"] == 0) & (probes["probe"] == "linear")]
    own = linear[linear["masked_by"] == linear["attribute"]]
    assert len(own) == 7 and one["own"] == pytest.approx(own["normalised"].mean())
    other = linear[(linear["masked_by"] != linear["attribute"]) & (linear["masked_by"] != "all")]
    net = (one["own"] - one["other"]) - (own["control"].mean() - other["control"].mean())
    assert one["net_gap"] == pytest.approx(net)
    assert linear["accuracy"].between(0, 1).all() and (own["control_low"] <= own["control_high"]).all()
    assert arms.loc[arms["arm"] == "long_clip", ["net_gap", "union", "long_masked"]].isna().all(axis=None)
    random = arms[arms["arm"] == "random_mask"]
    assert (random["union"] == 1).all(), "fixed random masks are unions by construction"
    kept = rows(tiny_run, "dimensions").query("arm == 'smartclip' and seed == 0 and attribute == 'left size'")
    bits = np.array(
        [[sign == "1" for sign in word] for word in hard[hard["attribute"] == "left size"]["mask"]]
    )
    assert kept.sort_values("dimension")["kept"].tolist() == pytest.approx(bits.mean(axis=0).tolist())


def test_sparsity_is_counted_and_sizes_are_of_every_length(tiny_run: Path) -> None:
    assert rows(tiny_run, "sizes").groupby(["seed", "arm"])["sentences"].apply(list).map(len).eq(7).all()
    curve = rows(tiny_run, "curve")
    assert curve.loc[curve["arm"] == "smartclip", "mask_share"].between(0, 1).all()
    assert curve["validation_recall"].between(0, 1).all()
    assert (curve[curve["arm"] != "base"].groupby(["seed", "arm"]).size() == 6).all()


def test_pictures_carry_their_tier_and_licence(tiny_run: Path) -> None:
    data = rows(tiny_run, "data").set_index("name")["value"]
    assert data["tier"] == "rendered" and data["licence"] == "Apache-2.0" and data["test"] == "60"
    pictures = rows(tiny_run, "pictures")
    assert len(pictures) == 4 and pictures["image"].str.startswith("data:image/png;base64,").all()


class TestLive:
    def test_a_caption_has_the_stored_mask_and_the_nearest_pictures(self, tiny_run: Path) -> None:
        masks = rows(tiny_run, "masks").query("arm == 'smartclip' and seed == 1").set_index("phrase")["mask"]
        found = opened(tiny_run, 1, "smartclip").answer(["the left object is red", "Background stripes"])
        one, two = found["captions"]
        assert "".join(map(str, one["mask"])) == masks["left red"]
        assert "".join(map(str, two["mask"])) == masks["background stripes"]
        overlap, a, b = found["overlap"], np.array(one["mask"]), np.array(two["mask"])
        assert (overlap["both"], overlap["either"]) == ((a & b).sum(), (a | b).sum())
        assert overlap["first"] + overlap["second"] + overlap["both"] == overlap["either"]
        assert set(one["nearest"]) == {"plain", "masked"}
        for readout in one["nearest"].values():
            scores = [near["score"] for near in readout]
            assert scores == sorted(scores, reverse=True) and len(scores) == 6
            assert all(near["satisfies"] == ("left red" in near["caption"]) for near in readout)
        assert 0 < one["prevalence"] < 1

    def test_arms_without_masks_read_everything(self, tiny_run: Path) -> None:
        found = opened(tiny_run, 0, "long_clip").answer(["left red circle"])
        one = found["captions"][0]
        assert not found["masked"] and set(one["nearest"]) == {"plain"} and all(one["mask"])
        assert one["sentences"] == ["left circle", "left red"]

    def test_fixed_random_masks_are_reopened(self, tiny_run: Path) -> None:
        masks = (
            rows(tiny_run, "masks").query("arm == 'random_mask' and seed == 0").set_index("phrase")["mask"]
        )
        one = opened(tiny_run, 0, "random_mask").answer(["left red"])["captions"][0]
        assert "".join(map(str, one["mask"])) == masks["left red"]

    @pytest.mark.parametrize(
        ("arm", "text", "field"),
        [
            ("nowhere", "left red", "arm"),
            ("smartclip", "left pink", "captions"),
            ("smartclip", "the", "captions"),
        ],
    )
    def test_what_cannot_be_answered_is_named(self, tiny_run: Path, arm: str, text: str, field: str) -> None:
        with pytest.raises(UserError) as refused:
            opened(tiny_run, 0, arm).answer([text])
        assert refused.value.field == field


class TestFeatures:
    def test_a_feature_is_kept_as_far_as_its_direction_lies_in_the_mask(self, tmp_path: Path) -> None:
        import json

        import torch
        from safetensors.torch import save_file

        from engine.studies.smartclip.live import kept_features

        w = torch.eye(16)[:3]
        w[2, 1] = 1.0
        weights = {"W_dec": w, "W_enc": w.T.contiguous(), "b_enc": torch.zeros(3), "b_dec": torch.zeros(16)}
        save_file(weights, tmp_path / "sae_weights.safetensors")
        (tmp_path / "cfg.json").write_text(
            json.dumps({"architecture": "standard", "d_in": 16, "d_sae": 3, "metadata": {}})
        )
        assert kept_features(tmp_path, [1, 0, *[1] * 14]) == [1.0, 0.0, 0.5]

    def test_saes_of_another_arm_are_refused(self, tiny_run: Path) -> None:
        from engine.studies.smartclip.live import check_source

        check_source(tiny_run, "seed-1/lambda_2", 1, "lambda_2")
        check_source(tiny_run, "", 0, "smartclip")
        with pytest.raises(UserError, match="read seed 0, smartclip"):
            check_source(tiny_run, "", 1, "smartclip")


class TestActivationSource:
    def source(self, run: Path, name: str = "") -> SmartClipSource:
        found = SmartClip().activation_source(run, name)
        assert isinstance(found, SmartClipSource)
        return found

    def test_it_gives_the_embedding_that_masks_read(self, tiny_run: Path) -> None:
        import torch

        source = self.source(tiny_run, "seed-1/smartclip").on("cpu")
        assert source.hook_points == ["blocks.0.hook_out"] and source.width("blocks.0.hook_out") == 16
        evaluator = opened(tiny_run, 1, "smartclip").evaluator
        some = source.pictures.splits["test"][:5]
        found = source.activations(torch.tensor(some)[:, None], "blocks.0.hook_out")
        assert found.shape == (5, 1, 16) and torch.equal(found[:, 0], evaluator.embed(some))

    def test_its_words_are_captions_and_its_inputs_are_pictures(self, tiny_run: Path) -> None:
        source = self.source(tiny_run)
        assert source.arm == "smartclip" and source.seed == 0
        assert len(set(source.vocabulary)) == len(source.vocabulary) == 230
        held = [int(ids[0]) for ids in source.inputs("heldout", None)]
        assert sorted(held) == source.pictures.splits["validation"].tolist()
        train = source.inputs("train", None)
        first = [int(next(train)[0]) for _ in range(240)]
        assert set(first[:120]) == set(first[120:]) == set(source.pictures.splits["train"].tolist())
        assert source.describe(None)["sources"][0]["tier"] == "rendered"
        word = source.vocabulary[held[0]]
        assert "left_" in word and source.ids([word]) == [held[0]]

    def test_other_names_are_refused(self, tiny_run: Path) -> None:
        for name in ("seed-9", "seed-0/nowhere"):
            with pytest.raises(UserError) as refused:
                self.source(tiny_run, name)
            assert refused.value.field == "model"


@pytest.mark.parametrize(
    "change", [{"captions": "prefix"}, {"captions": "tied", "arms": "clip_short,clip_long,no_sparsity"}]
)
def test_other_captions_and_arms_train_too(tmp_path: Path, change: dict[str, Any]) -> None:
    steps = {"lambda_sweep": [], "arm_steps": 2, "clip_steps": 2, "caption_steps": 2}
    small = {**TINY, **steps, "arms": "smartclip", **change}
    folder = train(tmp_path / "run", small, [0])
    assert rows(folder, "arms")["arm"].tolist() == ["base", *small["arms"].split(",")]


def test_a_loss_that_runs_away_fails_with_the_field(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        train(
            tmp_path / "run",
            {**TINY, "clip_learning_rate": 1.0, "scale": 1000.0, "clip_steps": 300, "weight_decay": 10.0},
            [0],
        )
    assert refused.value.field == "clip_learning_rate"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"arms": "smartclip,other"}, "arms"), ({"arms": "random_mask"}, "arms"), ({"arms": "", "lambda_sweep": []}, "arms"),
        ({"heads": 3}, "heads"), ({"lambda_sweep": [-1.0]}, "lambda_sweep"), ({"pictures": "folder"}, "folder"),
        ({"captions": "tied", "tied": "left colour"}, "tied"), ({"captions": "tied", "tied": "left colour, left taste"}, "tied"),
        ({"pictures": "folder", "folder": "x", "captions": "tied"}, "captions"), ({"start_from": "bundled", "width": 32}, "start_from"),
        ({"start_from": "bundled", "picture_seed": 1}, "start_from"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_named(changes: dict[str, Any], field: str) -> None:
    from engine.studies.base import parse_config

    with pytest.raises(UserError) as refused:
        parse_config(SmartClip(), "standard", changes)
    assert refused.value.field == field


def test_bad_starts_are_named_when_a_run_is_queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORDANCE_HOME", str(tmp_path))
    study = SmartClip()
    for changes, field in (
        ({"start_from": "run:nothing"}, "start_from"),
        ({"pictures": "folder", "folder": str(tmp_path / "none")}, "folder"),
        ({"model": "clip", "clip": str(tmp_path / "none.pt")}, "clip"),
    ):
        with pytest.raises(UserError) as refused:
            study.fingerprint(Config(**{**TINY, **changes}), [0])
        assert refused.value.field == field


def test_the_sweep_leaves_out_the_main_weight() -> None:
    config = Config(lambda_sparse=40, lambda_sweep="2, 40 80", arms="clip_long,smartclip,soft_mask")
    assert config.chosen_arms == ("clip_long", "smartclip", "lambda_2", "lambda_80", "soft_mask")
    assert [config.sparsity_of(arm) for arm in config.chosen_arms] == [None, 40, 2, 80, 40]


def test_the_bundled_clip_has_a_card_and_finds_pictures_it_never_saw() -> None:
    from engine.studies.smartclip.learner import Learner
    from engine.studies.smartclip.models import open_model
    from engine.studies.smartclip.source import BUNDLED, base_tensors, open_pictures

    card = read_json(BUNDLED.with_suffix(".json"))
    for name in ("what", "data", "seed", "steps", "licence", "made by"):
        assert card[name] not in ("", None), name
    assert BUNDLED.stat().st_size < 3_000_000
    config = Config(**{**SmartClip.presets["tour"], "n_train": 64, "n_validation": 200, "n_test": 50})
    pictures = open_pictures(config)
    learner = Learner(
        config, pictures, open_model(config, pictures, "cpu"), 0, 0, lambda *step, **values: None
    )
    learner.start_from(base_tensors(config, 0))
    rows = pictures.splits["validation"]
    found = learner.evaluator("base").long_retrieval(rows, learner.evaluator("base").embed(rows))
    assert found["long_plain"] >= card["validation figures"]["long_plain"], (
        "one of 200 is easier than one of 500"
    )
