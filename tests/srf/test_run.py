"""A run from images to tables: what they hold, that a run that was stopped ends alike, selections, folders, and its activations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from data.files import write_json
from data.scene_questions import verdict
from data.scenes import ATTRIBUTES
from engine.errors import UserError
from engine.studies.srf import Srf
from engine.studies.srf.config import Config
from engine.studies.srf.noise import ARMS, noise_rows
from engine.studies.srf.policy import TOWER
from engine.studies.srf.source import WEIGHTS, open_material
from tests.data.test_scene_questions import user_folder
from tests.srf.conftest import TINY, train, train_with_stops
from tests.training import results


def read(folder: Path, name: str) -> pd.DataFrame:
    frame: pd.DataFrame = pq.read_table(folder / "tables" / f"{name}.parquet").to_pandas()
    return frame


def test_every_table_is_written_and_agrees_with_the_others(tiny_run: Path) -> None:
    triplets, images = read(tiny_run, "srf_triplets"), read(tiny_run, "srf_images")
    assert (
        len(triplets) == 80
        and triplets["triplet"].is_unique
        and set(triplets["image"]) == set(images["image"])
    )
    assert all(png.startswith(b"\x89PNG") for png in images["png"]) and set(images["tier"]) == {"rendered"}
    factors = images.set_index("image")["factors"].map(json.loads)
    for row in triplets.itertuples():
        state = [words.index(factors[row.image][name]) for name, words in ATTRIBUTES.items()]
        assert row.truth == verdict(state, row.question, row.answer)
    assert (triplets["truth"] == "true").any()
    for _, part in triplets.groupby(["seed", "type"]):
        assert sorted(part["rank"]) == list(range(1, len(part) + 1))
        assert part["score"][part["rank"].sort_values().index].is_monotonic_decreasing
        assert (part["kept"] == (part["rank"] <= 0.25 * len(part) + 1e-9)).all()
        tied = part[part["score"] == 1].sort_values("rank")
        assert tied["logp_answer"].is_monotonic_decreasing, "ties go by the answer's log-probability"
    assert triplets["logp_generation"].le(0).all() and triplets["reason"].str.startswith("Rank").all()


def test_arms_add_equal_numbers_and_precision_is_that_of_the_triplets(tiny_run: Path) -> None:
    arms, triplets = read(tiny_run, "srf_arms"), read(tiny_run, "srf_triplets")
    added = arms[arms["seed"] == 0].set_index("arm")["added"]
    kept = int(triplets[triplets["seed"] == 0]["kept"].sum())
    assert added["base"] == 0 and {
        added[arm] for arm in ("random", "triangle_tied", "oracle", "recap", "bottom")
    } == {kept}
    assert added["triangle_tied_50"] > kept and set(arms["steps"]) == {4}
    filters = read(tiny_run, "srf_filters")
    for seed in (0, 1):
        mine, here = filters[filters["seed"] == seed], triplets[triplets["seed"] == seed]
        whole = mine[(mine["filter"] == "triangle") & (mine["kept_share"] == 1.0)].iloc[0]
        assert whole["precision"] == pytest.approx((here["truth"] == "true").mean()) and whole["kept"] == 40
        at = mine[(mine["filter"] == "triangle_tied") & np.isclose(mine["kept_share"], 0.25)].iloc[0]
        assert at["precision"] == pytest.approx((here[here["kept"]]["truth"] == "true").mean())
    types = read(tiny_run, "srf_arm_types")
    one = types[(types["seed"] == 0) & (types["arm"] == "base")]
    exact = arms[(arms["seed"] == 0) & (arms["arm"] == "base")]["exact"].iloc[0]
    assert np.average(one["exact"], weights=one["n"]) == pytest.approx(exact)


def test_the_generator_is_measured_and_contrasted(tiny_run: Path) -> None:
    made = read(tiny_run, "srf_generators")
    assert made.groupby("seed")["kind"].apply(set).tolist() == [{"multi_task", "prompted", "reused"}] * 2
    own, triplets = made[made["kind"] == "multi_task"], read(tiny_run, "srf_triplets")
    scores = triplets.groupby("seed")["score"]
    assert own["score_mean"].tolist() == pytest.approx(scores.mean().tolist())
    assert own["tied_share"].tolist() == pytest.approx(scores.apply(lambda part: (part == 1).mean()).tolist())
    assert own["shuffled_score"].notna().all() and own["vqa"].between(0, 1).all()
    assert (own["vqa"] > 0.5).all(), "the bundled model answers most questions from the start"
    consistency = read(tiny_run, "srf_consistency")
    assert len(consistency) == 1 and consistency["kept_overlap"].between(0, 1).all()


def test_a_run_stopped_anywhere_ends_in_the_same_bytes(tiny_run: Path, tmp_path: Path) -> None:
    assert train_with_stops(tmp_path / "tiny", TINY, [0, 1], 13) >= 1
    assert results(tmp_path / "tiny") == results(tiny_run)


EMPTY: dict[str, Any] = {
    **TINY, "start": "none", "generator": "tuned", "tower_steps": 6, "n_labelled": 20, "n_pool": 40, "n_test": 20,
    "generator_steps": 3, "arm_steps": 2, "arms": "", "sweep": [], "contrast": False, "rounds": 2, "per_image": 1, "checkpoint_every": 4,
}  # fmt: skip


def test_a_tower_of_ones_own_and_a_second_round_resume_too(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole" / "run", EMPTY, [4])
    assert train_with_stops(tmp_path / "parts" / "run", EMPTY, [4], 8) >= 2
    assert results(tmp_path / "parts" / "run") == results(whole)
    tower = load_file(whole / "tensors" / "tower.safetensors")
    assert all(name.startswith(TOWER) for name in tower)
    arms = read(whole, "srf_arms").set_index(["round", "arm"])
    assert set(read(whole, "srf_triplets")["round"]) == {1, 2}
    assert arms.loc[(2, "base"), "exact"] == arms.loc[(1, "triangle_tied"), "exact"], (
        "the next round starts from this model"
    )


def test_a_saved_selection_is_retrained_beside_its_controls(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCORDANCE_HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").symlink_to(tiny_run)
    triplets = read(tiny_run, "srf_triplets")
    chosen = triplets[triplets["kept"] & (triplets["seed"] == 0)]["triplet"].tolist()
    path = tmp_path / "mine.json"
    edit = {str(chosen[0]): {"question": "what colour is the circle", "answer": "red"}}
    write_json(path, {"run": "tiny", "triplets": chosen, "edits": edit})
    config = {**TINY, "selection": str(path), "selection_run": "tiny"}
    assert Srf().fingerprint(Config(**config), [0]) != Srf().fingerprint(Config(**TINY), [0])
    folder = train(tmp_path / "retrained", config, [0])
    arms = read(folder, "srf_arms").set_index("arm")
    assert list(arms.index) == ["no_selection", "random", "selection"]
    assert arms["added"].tolist() == [0, len(chosen), len(chosen)]
    base = read(tiny_run, "srf_arms").query("seed == 0 and arm == 'base'")["exact"].iloc[0]
    assert arms.loc["no_selection", "exact"] == base, "same start, same order of data, same steps"
    assert read(folder, "srf_triplets").empty and read(folder, "srf_images").empty
    write_json(path, {"run": "tiny", "triplets": [5]})
    with pytest.raises(UserError, match="triplet 5 is none of run tiny"):
        Srf().fingerprint(Config(**config), [0])
    with pytest.raises(UserError) as refused:
        Srf().fingerprint(Config(**{**config, "n_pool": 50}), [0])
    assert refused.value.field == "n_pool"


def test_a_users_folder_is_refined_without_an_oracle(tmp_path: Path) -> None:
    rows = user_folder(tmp_path / "mine", 12, 10)
    (tmp_path / "mine" / "broken.png").write_bytes(b"none")
    (tmp_path / "mine" / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = {
        "pictures": "folder", "folder": str(tmp_path / "mine"), "start": "none", "tower_steps": 3, "generator_steps": 3, "arm_steps": 2,
        "batch_size": 4, "arms": "base,triangle", "sweep": [], "noise": False, "contrast": False, "similarity": "tokens",
    }  # fmt: skip
    folder = train(tmp_path / "run", config, [0])
    triplets = read(folder, "srf_triplets")
    assert len(triplets) == 10 and set(triplets["truth"]) == {"unknown"}
    assert set(read(folder, "srf_images")["tier"]) == {"yours"}
    filters = read(folder, "srf_filters")
    assert filters["precision"].isna().all() and "oracle" not in set(filters["filter"])
    events = (folder / "events.jsonl").read_text()
    assert "Skipped: broken.png" in events and "The filter may mean nothing: " in events
    (tmp_path / "mine" / "questions.jsonl").unlink()
    with pytest.raises(UserError, match="needs a file"):
        open_material(Config(**{**config, "folder": f"{tmp_path}/mine/"}))


def test_emoji_are_asked_what_their_names_tell() -> None:
    material = open_material(Config(pictures="emoji", start="none", n_labelled=600))
    assert material.origin.tier == "real" and len(material.parts["labelled"]) == 600
    assert all(
        material.judge(pair.image, pair.question, pair.answer) == "true" for pair in material.pairs["test"]
    )
    assert material.judge(material.pairs["test"][0].image, "who is it", "teapot") == "false"
    groups = [set(material.parts[name].tolist()) for name in ("labelled", "pool-1", "validation", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)), "no picture is in two parts"
    with pytest.raises(UserError) as refused:
        open_material(Config(pictures="emoji", start="none", n_labelled=50_000))
    assert refused.value.field == "n_labelled"


def test_the_residual_stream_of_a_run_can_be_read(tiny_run: Path) -> None:
    source = Srf().activation_source(tiny_run, "seed-1/generator-1").on("cpu")
    first = next(source.inputs("train", None))
    assert len(first) == source.context_size and source.vocabulary[first[0]].startswith("picture#")
    import torch

    vectors = source.activations(torch.from_numpy(np.stack([first, first])), "blocks.2.hook_out")
    assert vectors.shape == (2, source.context_size, source.d)
    torch.testing.assert_close(vectors[0], vectors[1])
    normed = source.policy.model.model.language_model.norm(vectors[0, -1])
    ids = torch.tensor([[*source.words.encode("USER:"), *[3] * 16, *first[1:].tolist()]])
    seen = source.policy.see(source.material.images[[first[0] - len(source.words)]])
    expected = source.policy._states(source.policy._embed(ids, seen), None)[0, -1]
    assert torch.allclose(normed, expected, atol=1e-5), (
        "the last layer's output, before the final normalisation"
    )
    with pytest.raises(UserError, match="has no model 'refined-9'"):
        Srf().activation_source(tiny_run, "seed-1/refined-9")


def test_the_bundled_model_is_what_its_card_says() -> None:
    card = json.loads(WEIGHTS.with_suffix(".json").read_text())
    weights = load_file(WEIGHTS)
    assert sum(value.numel() for value in weights.values()) == card["parameters"]
    assert (
        WEIGHTS.stat().st_size <= 3_000_000 and card["licence"] and card["validation accuracy"]["all"] >= 0.9
    )


def test_the_regression_of_appendix_e_has_every_control() -> None:
    rows = {row["arm"]: row for row in noise_rows(0, epochs=2)}
    assert tuple(rows) == ARMS and all(np.isfinite(row["nll"]) for row in rows.values())
    assert (
        rows["true_labels"]["r2"] > rows["baseline"]["r2"] and rows["longer"]["r2"] > rows["baseline"]["r2"]
    )
    assert noise_rows(0, epochs=2)[0] == rows["baseline"]
