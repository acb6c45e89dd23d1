"""Pictures of the prompt lab hold the values they were given, and model text stays text."""

from typing import Any

import numpy as np
import pytest

from analyses import lab

TOKENS = ["<|endoftext|>", "<b>a</b>", " $x$", "\n", "🦜"]
READ = [False, True, True, False, True]
FEATURES = {"token": [1, 1, 2, 4], "feature": [7, 3, 7, 9], "value": [2.0, 5.0, 1.0, 0.5]}
ROWS = [
    {"id": 1, "token": " Berlin", "baseline": 0.9, "intervention": 0.2, "control": 0.85},
    {"id": 2, "token": "<i>", "baseline": 0.01, "intervention": 0.5, "control": 0.02},
    {"id": 3, "token": " Rome", "baseline": 0.03, "intervention": 0.03, "control": 0.04},
]


@pytest.fixture
def frame() -> Any:
    return lab.activation_frame(TOKENS, FEATURES)


def test_frame_has_a_row_an_active_feature(frame: Any) -> None:
    assert frame.to_dict("list") == {
        "position": [1, 1, 2, 4], "token": ["<b>a</b>", "<b>a</b>", " $x$", "🦜"], "feature": [3, 7, 7, 9],
        "activation": [5.0, 2.0, 1.0, 0.5],
    }  # fmt: skip


def test_heat_map_shows_activations_and_greys_what_is_not_read(frame: Any) -> None:
    figure = lab.activation_figure(frame, TOKENS, READ, labels={7: "<script>"})
    heat, cells = figure.data
    expected = np.full((3, 5), np.nan)
    expected[0, 1], expected[1, 1], expected[1, 2], expected[2, 4] = 5, 2, 1, 0.5
    np.testing.assert_array_equal(heat.z, expected)
    assert [shape.x0 for shape in figure.layout.shapes] == [-0.5, 2.5]
    assert [point[:3] for point in cells.customdata] == [[1, 3, 5.0], [1, 7, 2.0], [2, 7, 1.0], [4, 9, 0.5]]
    assert list(figure.layout.xaxis.ticktext) == [
        "⟨start⟩",
        "&lt;b&gt;a&lt;/b&gt;",
        "␣&#36;x&#36;",
        "↵",
        "🦜",
    ]
    assert figure.layout.yaxis.ticktext[1] == "&lt;script&gt;  7"
    assert "<script>" not in figure.to_json() and "largest activation is 5.0" in figure.layout.meta["alt"]


def test_window_and_limit_keep_the_strongest_and_the_chosen(frame: Any) -> None:
    figure = lab.activation_figure(frame, TOKENS, READ, window=(2, 5))
    assert figure.data[0].z.shape == (2, 3) and list(figure.layout.yaxis.ticktext) == ["7", "9"]
    assert lab.strongest(frame, 2) == [3, 7] and lab.strongest(frame, 2, keep=[9, 100]) == [3, 9]
    nothing = lab.activation_figure(frame, TOKENS, READ, window=(3, 4))
    assert nothing.layout.annotations[0].text == lab.NOTHING_ACTIVE


def test_bars_hold_three_columns_of_the_most_probable_tokens() -> None:
    figure = lab.prediction_figure(lab.prediction_frame({}, ROWS), most=2)
    assert [trace.name for trace in figure.data] == ["baseline", "intervention", "random direction"]
    np.testing.assert_allclose([trace.x for trace in figure.data], [[90, 1], [20, 50], [85, 2]])
    assert list(figure.layout.yaxis.ticktext) == ["␣Berlin", "&lt;i&gt;"]
    assert "intervention <i> 50%" in figure.layout.meta["alt"]


def test_bars_of_a_baseline_alone() -> None:
    top = {
        "baseline": [
            {"id": 1, "token": " a", "probability": 0.6},
            {"id": 2, "token": " b", "probability": 0.1},
        ]
    }
    figure = lab.prediction_figure(lab.prediction_frame(top))
    assert len(figure.data) == 1 and list(figure.data[0].x) == [60, 10]
    assert lab.prediction_figure(lab.prediction_frame({})).layout.annotations


def test_change_table_is_sorted_by_change() -> None:
    table = lab.change_table(ROWS)
    assert list(table["token"]) == ["␣Berlin", "<i>", "␣Rome"]
    np.testing.assert_allclose(table["change"], [-0.7, 0.49, 0])
    np.testing.assert_allclose(table["control_change"], [-0.05, 0.01, 0.01])


@pytest.mark.parametrize(
    ("kl", "controls", "changed", "words"),
    [
        (
            1.0,
            [0.1, 0.3],
            [1],
            "more than with each of 2 random directions of the same size, 5.0 times their mean.",
        ),
        (0.2, [0.1, 0.3], [1], "more than with 1 of 2 random directions"),
        (0.1, [0.1, 0.3], [1], "no more than with any of 2 random directions"),
        (0.0, [0.0], [], "Nothing was changed"),
        (0.5, [0.0], [1], "each of 1 random directions of the same size."),
    ],
)
def test_verdict_compares_with_the_controls(
    kl: float, controls: list[float], changed: list[int], words: str
) -> None:
    assert words in lab.verdict({"kl": kl, "kl_controls": controls, "changed": changed})
