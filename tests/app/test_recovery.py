"""The page Recovery on runs with and without a known truth, against a real engine."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st

from engine.client import Client
from tests.app.causal_tables import METHODS, engine_on, write_run
from tests.app.pages import figures, open_page, text_of

WORLD, REAL, ONE = "aaaaaaaaaaa1", "bbbbbbbbbbb1", "ccccccccccc1"
Tables = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def world(home: Path) -> Tables:
    return write_run(home, WORLD, {"n_latents": 3}, (0, 1, 2), 0.3)


@pytest.fixture(scope="module")
def engine(home: Path, world: Tables) -> Iterator[Client]:
    write_run(home, REAL, {"source": "nhanes", "n_latents": 2}, (0, 1, 2), 0.2)
    write_run(home, ONE, {"n_latents": 2}, (0,), 0.3)
    with engine_on(home) as client:
        yield client


def values(array: Any) -> np.ndarray:
    """Numbers of a figure as it is sent to the browser."""
    if isinstance(array, dict):
        flat = np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"])
        return flat.reshape([int(n) for n in array["shape"].split(",")]) if "shape" in array else flat
    return np.array(array, dtype=float)


def heat(figure: dict[str, Any]) -> np.ndarray:
    return values(next(trace for trace in figure["data"] if trace["type"] == "heatmap")["z"])


class TestTruth:
    def test_matrix_is_in_the_order_of_the_matching(self, engine: Client, world: Tables) -> None:
        page = open_page("recovery", run=WORLD, seed="1")
        matrix = heat(figures(page)[0])
        rows = world["latent_correlations"].query("method == 'two stages' and seed == 1")
        own = world["latents"].query("method == 'two stages' and seed == 1")
        matched = dict(zip(own["true_latent"], own["latent"], strict=True))
        cells = rows.set_index(["true_latent", "latent"])["spearman"].abs()
        expected = [cells[one, matched[one]] for one in world["true_latents"]["latent"]]
        assert np.diag(matrix) == pytest.approx(expected)
        assert (np.diag(matrix) > 0.9).all()

    def test_kind_method_and_pair_come_from_the_link(self, engine: Client, world: Tables) -> None:
        link = {"kind": "Pearson", "method": "beta-VAE", "row_latent": "b2", "column_latent": "c1"}
        page = open_page("recovery", run=WORLD, **link)
        matrix, scatter = figures(page)[:2]
        assert "learnt c1" in str(scatter["layout"]) and "true b2" in str(scatter["layout"])
        rows = world["latent_correlations"].query("method == 'beta-VAE' and seed == 0")
        assert heat(matrix).sum() == pytest.approx(rows["pearson"].abs().sum())

    def test_scatter_has_the_correlation_of_its_cell(self, engine: Client, world: Tables) -> None:
        page = open_page("recovery", run=WORLD, row_latent="a1", column_latent="a3")
        rows = world["latent_correlations"]
        cell = rows.query("method == 'two stages' and seed == 0 and true_latent == 'a1' and latent == 'a3'")
        subtitle = figures(page)[1]["layout"]["title"]["subtitle"]["text"]
        assert f"Pearson {cell['pearson'].item():.3f}, Spearman {cell['spearman'].item():.3f}" in subtitle

    def test_methods_stand_beside_each_other_with_their_chance(self, engine: Client) -> None:
        figure = figures(open_page("recovery", run=WORLD))[2]
        names = {trace.get("name") for trace in figure["data"]}
        assert {"seed", "mean", "chance (rows permuted)", "random rotation 0.830"} <= names
        assert set(next(t for t in figure["data"] if t.get("name") == "mean")["y"]) == set(METHODS)

    def test_sparsity_path_marks_what_was_chosen(self, engine: Client) -> None:
        page = open_page("recovery", run=WORLD, recovery="Sparsity path")
        (figure,) = figures(page)
        assert len(figure["data"]) == 9
        assert "circle-open-dot" in str(figure["data"][0]["marker"]["symbol"])


class TestSeeds:
    def test_two_seeds_of_a_world(self, engine: Client) -> None:
        page = open_page("recovery", run=WORLD, recovery="Across seeds", seed="0", other="2")
        matrix = heat(figures(page)[0])
        assert (np.diag(matrix) > 0.9).all()
        assert (np.diag(matrix) > matrix.max(axis=1) - 1e-9).all()

    def test_real_data_have_no_truth_and_no_accuracy(self, engine: Client) -> None:
        page = open_page("recovery", run=REAL)
        words = text_of(page) + str(figures(page)) + str([metric.label for metric in page.metric])
        assert "Against the truth" not in words and "ccuracy" not in words
        assert "One seed against another" in words
        assert "Cross-modal R²" in words
        page = open_page("recovery", run=REAL, recovery="Sparsity path")
        assert "'MCC'" not in str(figures(page)[0]["layout"])

    def test_one_seed_gets_advice(self, engine: Client) -> None:
        page = open_page("recovery", run=ONE, recovery="Across seeds")
        assert "Add seeds below" in page.info[0].value
        assert {metric.label: metric.value for metric in page.metric}["MCC between seeds"] == "–"

    def test_every_picture_can_be_exported(self, engine: Client) -> None:
        for view in ("Against the truth", "Across seeds", "Sparsity path"):
            page = open_page("recovery", run=WORLD, recovery=view)
            names = [button.proto.label for button in page.get("download_button")]
            assert names == ["SVG", "PDF", "PNG", "CSV"] * len(figures(page))


def test_first_visit_says_what_to_do(tmp_path: Path) -> None:
    st.cache_resource.clear()
    with engine_on(tmp_path):
        assert "No causal graph has been learnt yet" in open_page("recovery").info[0].value
