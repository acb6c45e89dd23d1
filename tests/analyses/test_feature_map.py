"""The map's figure, the points inside a polygon, and the lasso in a link."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyses.feature_map import (
    COLOURS,
    MAX_VERTICES,
    NO_LIST,
    decode_lasso,
    encode_lasso,
    inside,
    map_figure,
    polygon_of,
    sampling_note,
    simplified,
)
from analyses.figures import PALETTE

SQUARE = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0]])
number = st.floats(-900, 900, allow_nan=False)


def frame(n: int = 60, runs: int = 1) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "run": [f"run{i % runs}00 · k {i % runs}" for i in range(n)],
            "seed": np.arange(n) % 3,
            "feature": np.arange(n) // 3,
            "x": generator.normal(size=n) * 5,
            "y": generator.normal(size=n) * 5,
            "stability": np.linspace(0, 1, n),
            "max_cosine": np.linspace(0.2, 1, n),
            "density": np.where(np.arange(n) % 10 == 0, 0.0, 10.0 ** -np.linspace(1, 4, n)),
            "alive": np.arange(n) % 10 != 0,
            "list": np.where(np.arange(n) % 5 == 0, "<b>mine</b>", ""),
        }
    )


def legend(traces: tuple[Any, ...]) -> list[str]:
    return [trace.name for trace in traces if trace.showlegend]


class TestFigure:
    @pytest.mark.parametrize("color_by", COLOURS)
    @pytest.mark.parametrize("runs", [1, 3])
    def test_every_point_is_drawn_once(self, color_by: str, runs: int) -> None:
        rows = frame(runs=runs)
        figure = map_figure(rows, color_by, "Map", "All are drawn.")
        drawn = np.concatenate([np.column_stack([t.x, t.y, t.customdata[:, :2]]) for t in figure.data])
        wanted = rows[["x", "y", "seed", "feature"]].to_numpy()
        order = [np.lexsort(np.round(values, 4).T) for values in (drawn, wanted)]
        np.testing.assert_allclose(drawn[order[0]], wanted[order[1]], rtol=1e-5)
        assert all(trace.type == "scattergl" for trace in figure.data)
        assert figure.layout.xaxis.title.text == "UMAP 1 (arbitrary units)"
        assert "60 features" in figure.layout.meta["alt"] and figure.layout.uirevision
        assert all((trace.text is not None) == (runs > 1) for trace in figure.data)

    def test_amounts_and_groups_have_their_colours(self) -> None:
        rows = frame()
        silent, active = map_figure(rows, "density").data
        assert len(silent.x) == 6 and silent.name == "never active"
        np.testing.assert_allclose(
            active.marker.color, np.log10(rows["density"][rows["density"] > 0]), rtol=1e-5
        )
        groups = map_figure(rows, "seed").data
        assert legend(groups) == ["seed 0 (20)", "seed 1 (20)", "seed 2 (20)"]
        assert {trace.legendgroup: trace.marker.color for trace in groups} == dict(
            zip("012", PALETTE, strict=False)
        )

    def test_groups_are_drawn_in_layers(self) -> None:
        groups = map_figure(frame(), "seed").data
        assert [trace.legendgroup for trace in groups] == ["0", "1", "2"] * 4
        few = map_figure(frame(4), "seed").data
        assert legend(few) == ["seed 0 (2)", "seed 1 (1)", "seed 2 (1)"] and all(len(t.x) for t in few)

    def test_long_names_stand_below_the_axes(self) -> None:
        rows = frame().assign(run="28662d · TopK, frozen decoder · k 32")
        assert map_figure(rows, "run").layout.legend.orientation == "h"
        assert map_figure(rows, "seed").layout.legend.orientation is None

    def test_unknown_stability_is_grey(self) -> None:
        figure = map_figure(frame().assign(stability=np.nan))
        assert [trace.name for trace in figure.data] == ["not known"]
        assert "No value is known" in figure.layout.meta["alt"]

    def test_list_names_are_text(self) -> None:
        assert legend(map_figure(frame(), "list").data) == [NO_LIST, "&lt;b&gt;mine&lt;/b&gt; (12)"]

    def test_lasso_is_outlined_and_the_rest_faded(self) -> None:
        rows = frame()
        figure = map_figure(rows, lasso=SQUARE)
        assert figure.layout.shapes[0].path == "M0.000,0.000L2.000,0.000L2.000,2.000L0.000,2.000Z"
        within = inside(rows["x"], rows["y"], SQUARE)
        assert sum(len(trace.selectedpoints) for trace in figure.data) == within.sum()

    def test_more_groups_than_looks_share_one(self) -> None:
        rows = frame(400).assign(run=[f"run {i}" for i in range(400)])
        figure = map_figure(rows, "run")
        assert len(figure.data) == 56 and figure.data[0].name == "other"

    def test_twenty_five_thousand_points_stay_under_two_megabytes(self) -> None:
        for color_by in COLOURS:
            assert len(map_figure(frame(24_576, runs=8), color_by).to_json()) < 2_000_000

    def test_unknown_colour_is_refused(self) -> None:
        with pytest.raises(ValueError, match="color_by"):
            map_figure(frame(), "taste")


class TestInside:
    def test_square(self) -> None:
        assert inside([1, 3, -1, 1], [1, 1, 1, 2.5], SQUARE).tolist() == [True, False, False, False]
        assert not inside([1], [1], SQUARE[:2]).any()

    def test_concave_and_crossing(self) -> None:
        notch = np.array([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]], dtype=float)
        assert inside([2, 0.5], [3, 2], notch).tolist() == [False, True]
        bow = np.array([[0, 0], [2, 2], [2, 0], [0, 2]], dtype=float)
        assert inside([0.2, 1.0, 1.8], [1, 1.5, 1], bow).tolist() == [True, False, True]

    def test_agrees_with_matplotlib_free_reference(self) -> None:
        generator = np.random.default_rng(1)
        polygon, points = generator.normal(size=(30, 2)), generator.normal(size=(500, 2))

        def crossings(x: float, y: float) -> int:
            count = 0
            for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
                if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
                    count += 1
            return count

        wanted = [crossings(x, y) % 2 == 1 for x, y in points]
        assert inside(points[:, 0], points[:, 1], polygon).tolist() == wanted


class TestLink:
    @given(st.lists(st.tuples(number, number), min_size=3, max_size=MAX_VERTICES))
    def test_there_and_back(self, points: list[tuple[float, float]]) -> None:
        found = decode_lasso(encode_lasso(points))
        np.testing.assert_allclose(found, np.array(points), atol=5.1e-4)
        assert encode_lasso(found) == encode_lasso(points)

    def test_short(self) -> None:
        angle = np.linspace(0, 2 * np.pi, 500, endpoint=False)
        text = encode_lasso(np.column_stack([np.cos(angle), np.sin(angle)]) * 8 + 3)
        assert len(text) < 350 and len(decode_lasso(text)) == MAX_VERTICES
        assert text.replace("-", "").replace("_", "").isalnum()

    @given(st.text(max_size=300))
    def test_malformed_is_empty_or_a_polygon(self, text: str) -> None:
        found = decode_lasso(text)
        assert found.shape[1] == 2 and (len(found) == 0 or 3 <= len(found) <= MAX_VERTICES)

    @pytest.mark.parametrize("text", ["", "A", "AAAA", "é", "____" * 20, "A" * 5000, "gICAgICAgICA"])
    def test_malformed(self, text: str) -> None:
        assert len(decode_lasso(text)) == 0

    @pytest.mark.parametrize(
        "points", [[], [[0, 0], [1, 1]], [[0, 0], [1, np.nan], [2, 2]], [[0, 0], [1e9, 0], [2, 2]]]
    )
    def test_no_polygon_is_no_text(self, points: list[list[float]]) -> None:
        assert encode_lasso(points) == ""


class TestSelection:
    def test_lasso_box_and_nothing(self) -> None:
        lasso = {"lasso": [{"x": [0, 2, 2, 0], "y": [0, 0, 2, 2]}], "box": []}
        assert polygon_of(lasso).tolist() == SQUARE.tolist()
        box = {"lasso": [], "box": [{"x": [0, 2], "y": [0, 2]}]}
        assert polygon_of(box).tolist() == SQUARE.tolist()
        assert len(polygon_of({})) == 0 and len(polygon_of({"lasso": [], "box": []})) == 0

    def test_simplified_keeps_the_shape(self) -> None:
        side = np.linspace(0, 1, 100)
        ring = np.concatenate(
            [
                np.column_stack(p)
                for p in (
                    (side, 0 * side),
                    (0 * side + 1, side),
                    (1 - side, 0 * side + 1),
                    (0 * side, 1 - side),
                )
            ]
        )
        found = simplified(ring)
        assert len(found) == MAX_VERTICES
        grid = np.random.default_rng(0).random((2000, 2)) * 1.4 - 0.2
        assert (inside(*grid.T, ring) == inside(*grid.T, found)).all()


def test_sampling_note() -> None:
    assert sampling_note(6912, 6912) == "All 6,912 features are drawn."
    assert sampling_note(20_000, 73_728) == "20,000 of 73,728 features, drawn at random from every SAE alike."


def test_figure_is_plain_json() -> None:
    assert json.loads(map_figure(frame(), "run").to_json())["layout"]["dragmode"] == "lasso"
