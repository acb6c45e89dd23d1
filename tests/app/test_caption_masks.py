"""The page Caption masks on trained, failed and running runs of smartclip, and on a folder's pictures, against a real engine."""

import base64
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from data.files import read_json
from engine.client import Client, EngineError
from tests.app.causal_tables import engine_on
from tests.app.mask_tables import TINY, write_run
from tests.app.pages import figures, labels, open_page, text_of, titled
from tests.data.test_pictures import write_folder
from tests.smartclip.conftest import train
from tests.training import results

SCENES, FOLDER, FAILED = "aaaaaaaaaaa1", "bbbbbbbbbbb1", "ccccccccccc1"
LONG = {**TINY, "arms": "smartclip", "lambda_sweep": [], "clip_steps": 160, "checkpoint_every": 20}
HOSTILE = "<script>alert(1)</script> a *bold* shade"
REFUSAL = "clip_learning_rate: the loss is no longer finite; lower clip_learning_rate."


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def engine(home: Path) -> Iterator[Client]:
    lines = [
        {"image": f"{i}.png", "captions": ["a flat colour", HOSTILE if i % 2 else "another"]}
        for i in range(24)
    ]
    folder = write_folder(home / "own", [*lines, {"image": "broken.png", "caption": "none"}])
    own = {
        "pictures": "folder",
        "folder": str(folder),
        "arms": "smartclip",
        "lambda_sweep": [],
        "batch_size": 4,
        "clip_batch_size": 4,
    }
    write_run(home, FOLDER, {**TINY, **own}, (0,))
    write_run(home, FAILED, TINY, (0,), error=REFUSAL)
    write_run(home, SCENES, TINY)
    with engine_on(home) as client:
        yield client


@pytest.fixture(scope="module")
def shown(engine: Client) -> AppTest:
    """The page of the scenes' run as it opens."""
    return open_page("caption_masks", run=SCENES)


def rows(home: Path, name: str, run: str = SCENES) -> pd.DataFrame:
    return pq.read_table(home / "runs" / run / "tables" / f"smartclip_{name}.parquet").to_pandas()


def numbers(values: Any) -> np.ndarray:
    """An array of a figure as it is sent."""
    if isinstance(values, dict):
        found = np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"])
        return (
            found.reshape([int(part) for part in values["shape"].split(",")]) if "shape" in values else found
        )
    return np.array(values)


def readouts(figure: dict[str, Any]) -> list[str]:
    """The readouts whose nearest pictures a figure shows."""
    texts = [one["text"] for one in figure["layout"]["annotations"]]
    return [text for text in texts if not text.replace(".", "").lstrip("-−").isdigit()]


class TestScenes:
    def test_the_first_strip_holds_the_stored_figures(self, shown: AppTest, home: Path) -> None:
        metrics = {metric.label: metric.value for metric in shown.metric[:6]}
        arms, alike = (
            rows(home, "arms").query("arm == 'smartclip'"),
            rows(home, "agreement").query("arm == 'smartclip'"),
        )
        assert metrics["Separation"] == f"{arms['net_gap'].mean():.3f}"
        assert metrics["Masks between seeds"] == f"{alike['masks'].mean():.3f}"
        assert metrics["Chance"] == f"{alike['masks_null'].mean():.3f}"
        assert metrics["Whole captions, R@1"] == f"{arms['long_plain'].mean():.1%}"
        assert metrics["Own less others"] == f"{(arms['own'] - arms['other']).mean():.3f}"

    def test_the_strip_shows_the_stored_masks_and_what_they_share(
        self, shown: AppTest, home: Path, engine: Client
    ) -> None:
        masks = rows(home, "masks").query("arm == 'smartclip' and seed == 0").set_index("phrase")["mask"]
        strip = titled(shown, "What the captions keep")[0]
        size = masks["left red"].count("1")
        assert strip["layout"]["title"]["subtitle"]["text"].startswith(f"{size} and ")
        answer = engine.caption_mask(SCENES, ["left red", "left red circle"])["overlap"]
        cells = {metric.label: metric.value for metric in shown.metric[6:11]}
        assert cells == {
            "In both": str(answer["both"]), "First only": str(answer["first"]), "Second only": str(answer["second"]),
            "In either": str(answer["either"]), "Overlap": f"{answer['iou']:.3f}",
        }  # fmt: skip

    def test_nearest_pictures_stand_side_by_side_with_whose_they_are(self, shown: AppTest) -> None:
        near = [
            one
            for one in figures(shown)
            if one["layout"].get("images") and len(one["layout"]["images"]) == 12
        ]
        assert len(near) == 2, "two captions, each by both readouts"
        for figure in near:
            assert readouts(figure) == ["under its mask", "all dimensions"]
            assert all(image["source"].startswith("data:image/png") for image in figure["layout"]["images"])
            frames = [shape["line"]["color"] for shape in figure["layout"]["shapes"]]
            assert set(frames) <= {"#009E73", "#D55E00"}
            assert "drawn by Concordance · rendered · Apache-2.0" in figure["layout"]["meta"]["alt"]
        assert (
            text_of(shown).count("drawn by Concordance · rendered · Apache\\-2.0")
            + text_of(shown).count("drawn by Concordance · rendered · Apache-2.0")
            >= 3
        )

    def test_the_link_chooses_arm_seed_and_captions(self, engine: Client, home: Path) -> None:
        page = open_page(
            "caption_masks", run=SCENES, arm="lambda_2", seed="1", first="background dots", second=" ", beside="left out",
            probe="neighbours", of="this seed",
        )  # fmt: skip
        masks = rows(home, "masks").query("arm == 'lambda_2' and seed == 1").set_index("phrase")["mask"]
        strip = titled(page, "What the caption keeps")[0]
        assert strip["layout"]["title"]["subtitle"]["text"].startswith(
            f"{masks['background dots'].count('1')} of 16"
        )
        assert page.selectbox(key="arm_choice").value == "lambda_2" and page.selectbox(key="seed").value == 1
        assert (
            "leaves out"
            in titled(page, "What a mask's dimensions tell")[0]["layout"]["annotations"][1]["text"]
        )
        page.text_input(key="first").set_value("left pink").run()
        assert not page.exception and "is not a word of these scenes" in page.error[0].value
        page.text_input(key="first").set_value("").run()
        assert not page.exception and "Write a caption" in page.info[0].value

    def test_the_probe_matrix_stands_beside_random_masks(self, shown: AppTest, home: Path) -> None:
        matrix = titled(shown, "What a mask's dimensions tell")[0]
        probes = rows(home, "probes").query("arm == 'smartclip' and probe == 'linear'")
        cell = probes.query("masked_by == 'left size' and attribute == 'background'")
        heats = [trace for trace in matrix["data"] if trace["type"] == "heatmap"]
        names = list(dict.fromkeys(probes["attribute"]))
        i, j = names.index("left size"), names.index("background")
        assert numbers(heats[0]["z"])[i, j] == pytest.approx(cell["normalised"].mean())
        assert numbers(heats[1]["z"])[i, j] == pytest.approx(cell["control"].mean())
        assert "random masks" in matrix["layout"]["annotations"][1]["text"]

    def test_arms_without_masks_say_so(self, engine: Client) -> None:
        page = open_page("caption_masks", run=SCENES, arm="clip_long")
        assert "reads the whole embedding" in text_of(page) and "This arm has no masks" in text_of(page)
        near = [one for one in figures(page) if len(one["layout"].get("images", [])) == 6]
        assert len(near) == 2 and readouts(near[0]) == ["all dimensions"]
        assert not titled(page, "What the captions keep")

    def test_the_sweep_has_a_point_for_every_weight(self, shown: AppTest, home: Path) -> None:
        sweep = titled(shown, "Separation against λ")[0]
        lines = [trace for trace in sweep["data"] if trace.get("name")]
        arms = rows(home, "arms").groupby("arm")["net_gap"].mean()
        wanted = [arms[arm] for arm in ("no_sparsity", "lambda_2", "smartclip")]
        assert numbers(lines[0]["y"]).tolist() == pytest.approx(wanted)
        assert sweep["layout"]["xaxis"]["ticktext"] == ["0", "2", "80"]

    def test_saes_of_something_else_are_refused(self, engine: Client) -> None:
        with pytest.raises(EngineError):
            engine.caption_mask(SCENES, ["left red"], sae_run=FOLDER)

    def test_every_picture_can_be_exported(self, shown: AppTest) -> None:
        names = [button.proto.label for button in shown.get("download_button")]
        assert names == ["SVG", "PDF", "PNG", "CSV"] * len(figures(shown)) and len(figures(shown)) == 11
        assert all(figure["layout"]["meta"]["alt"] for figure in figures(shown))

    def test_it_can_be_learnt_again_with_another_weight(self, engine: Client) -> None:
        page = open_page("caption_masks", run=SCENES)
        page.number_input(key=f"again-{SCENES}-lambda_sparse").set_value(10.0).run()
        page.button(key=f"again-{SCENES}-go").click().run()
        assert not page.exception
        newest = engine.runs(study="smartclip", limit=1)[0]
        assert newest["config"]["lambda_sparse"] == 10 and newest["seeds"] == [0, 1]
        engine.cancel(newest["id"])
        engine.wait(newest["id"])


class TestFolder:
    def test_no_attribute_is_claimed_and_what_was_skipped_is_listed(self, engine: Client) -> None:
        page = open_page("caption_masks", run=FOLDER, first="a flat colour", second="another")
        text = text_of(page)
        assert "folder own · real · yours" in text and "One entry of the folder was skipped" in str(
            page.expander
        )
        assert "broken.png" in text and "no attributes to probe" in text
        metrics = {metric.label: metric.value for metric in page.metric[:6]}
        assert metrics["Separation"] == "–" and metrics["Masks between seeds"] == "–"
        assert titled(page, "What the captions keep")

    def test_text_of_captions_is_shown_as_it_stands(self, engine: Client) -> None:
        page = open_page("caption_masks", run=FOLDER, first="a *bold* shade", second="a flat colour")
        drawn = str(figures(page))
        assert "<script>" not in drawn and "&lt;script&gt;" in drawn


class TestStates:
    def test_failed_run_says_why_and_what_to_do(self, engine: Client) -> None:
        page = open_page("caption_masks", run=FAILED)
        assert page.error[0].value == REFUSAL and not page.metric

    def test_a_running_run_shows_its_progress_and_goes_on_after_a_kill(
        self, engine: Client, home: Path, tmp_path: Path
    ) -> None:
        run = engine.submit("smartclip", LONG, [0, 1])["id"]
        while not any(row["kind"] == "checkpoint" and row["step"] >= 3 for row in engine.events(run)["rows"]):
            assert engine.run(run)["state"] in ("queued", "running")
            time.sleep(0.05)
        worker = read_json(home / "runs" / run / "state.json")["pid"]
        os.kill(worker, signal.SIGSTOP)  # so that it cannot end while the page opens
        page = open_page("caption_masks", run=run)
        assert page.get("progress") and "one arm after the other" in text_of(page)
        assert any("Captioning loss" in str(one) for one in figures(page))
        os.kill(worker, signal.SIGKILL)
        assert engine.wait(run)["state"] == "interrupted"
        page = open_page("caption_masks", run=run)
        assert not page.metric and "interrupted" in text_of(page)
        engine.resume(run)
        assert engine.wait(run)["state"] == "done"
        assert results(home / "runs" / run) == results(train(tmp_path / "fresh", LONG, [0, 1]))

    def test_home_knows_the_run_by_its_separation(self, engine: Client, home: Path) -> None:
        page = open_page("start")
        table = page.dataframe[0].value
        mine = table[table["open"].str.contains(SCENES)]
        value = rows(home, "arms").query("arm == 'smartclip'")["net_gap"].mean()
        assert mine["Separation"].iloc[0] == pytest.approx(value) and "Learn caption masks" in labels(page)


def test_first_visit_offers_the_tour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        Client, "submit", lambda self, *args, **more: asked.append((args, more)) or {"id": "e" * 12}
    )
    st.cache_resource.clear()
    with engine_on(tmp_path):
        page = open_page("caption_masks")
        next(button for button in page.button if button.label == "Learn first caption masks").click().run()
    assert asked[0] == (("smartclip", {}, [0, 1, 2]), {"preset": "tour"})
