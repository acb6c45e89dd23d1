"""Agreement of latents within classes, and frames and figures of extrapolation against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from analyses.extrapolation import FEW, NEAR, NEAREST, SOURCE, block_agreement, projection
from analyses.extrapolation_figures import distance_figure
from analyses.extrapolation_frames import answers_table, by_distance, corruption_map, map_table
from analyses.extrapolation_pictures import map_figure


class TestBlockAgreement:
    def test_a_map_of_its_own_in_each_class_is_seen_through(self) -> None:
        rng = np.random.default_rng(0)
        classes = np.arange(240) % 2
        s = rng.uniform(-1, 1, (240, 2))
        turned = np.where(classes[:, None] == 0, s @ [[0.0, 3.0], [-3.0, 0.0]] + 5, 0.1 * s)
        found = block_agreement(s, turned, classes, rng)
        assert found.r2 > 0.9 and found.null < 0.1

    def test_the_class_alone_counts_for_nothing(self) -> None:
        rng = np.random.default_rng(1)
        classes = np.arange(120) % 3
        target = 10.0 * classes[:, None] + rng.normal(size=(120, 2))
        assert (
            block_agreement(target, 10.0 * classes[:, None] + rng.normal(size=(120, 2)), classes, rng).r2
            < 0.1
        )


def test_projection_finds_the_wide_directions_whatever_their_sign() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 5)) * [1, 9, 1, 4, 1] + 3
    mean, axes = projection(x)
    assert np.allclose(mean, x.mean(axis=0)) and list(np.abs(axes).argmax(axis=1)) == [1, 3]
    assert np.allclose(projection(x[::-1])[1], axes)


def accuracies() -> pd.DataFrame:
    rows = [
        {"seed": seed, "regime": "dense", "arm": arm, "distance": at, "accuracy": value + 0.1 * seed}
        for arm, value in ((FEW, 0.2), (SOURCE, 0.4))
        for at in (0.0, 8.0)
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_accuracy_by_distance_with_its_interval() -> None:
    frame = by_distance(accuracies(), "dense", [SOURCE, FEW, NEAR])
    assert list(frame["arm"]) == [SOURCE, SOURCE, FEW, FEW] and list(frame["seeds"]) == [2] * 4
    assert frame["mean"].tolist() == pytest.approx([0.45, 0.45, 0.25, 0.25])
    assert frame["low"].min() == 0 and frame["high"].max() <= 1
    figure = distance_figure(frame, "dense", 4)
    assert list(figure.layout.xaxis.ticktext) == ["0", "8"] and figure.layout.shapes[0].y0 == 0.25
    assert "minimal change 0.25" in figure.layout.meta["alt"]
    assert len(distance_figure(frame[:0], "dense", 4).data) == 0


def cells(accuracy: float | None = 0.5) -> pd.DataFrame:
    rows = [
        {
            "seed": seed, "arm": arm, "scope": scope, "severity": severity, "block": 2, "moved": 0.1,
            "accuracy": None if accuracy is None else accuracy + gain * severity + 0.1 * seed,
        }
        for arm, gain in ((FEW, 0.1), (SOURCE, 0.0))
        for scope, severity in ((0.0, 0.0), (0.25, 0.5), (0.25, 2.0), (1.0, 0.5), (1.0, 2.0))
        for seed in (0, 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


class TestMap:
    def test_a_difference_is_paired_by_seed(self) -> None:
        frame = corruption_map(cells(), FEW, SOURCE)
        assert frame["value"].tolist() == pytest.approx([0.05, 0.2, 0.05, 0.2])
        assert np.allclose(frame["low"], frame["value"]) and len(frame) == 4

    def test_ticks_say_scope_and_severity(self) -> None:
        figure = map_figure(corruption_map(cells(), FEW), "Accuracy", FEW, signed=False)
        assert list(figure.layout.xaxis.ticktext) == ["0.5", "2"] and list(figure.layout.yaxis.ticktext) == [
            "25%",
            "100%",
        ]
        assert {(note.x, note.y): note.text for note in figure.layout.annotations}[1, 0] == "75%"

    def test_without_classes_it_is_how_often_answers_moved(self) -> None:
        frame = corruption_map(cells(None), FEW)
        assert frame["value"].tolist() == pytest.approx([0.1] * 4)
        assert map_table(cells(None))["clean"].tolist() == pytest.approx([0.1, 0.1])

    def test_arms_in_a_row(self) -> None:
        row = map_table(cells()).set_index("arm").loc[FEW]
        assert row[["clean", "small", "large", "all"]].tolist() == pytest.approx([0.55, 0.675, 0.675, 0.675])


def test_answers_in_words() -> None:
    rows = pd.DataFrame({"arm": [FEW, NEAREST], "prediction": [1, 7], "confidence": [0.9, np.nan]})
    known = answers_table(rows, 1, ["a", "b"], "confidence")
    assert list(known["answer"]) == ["7", "b"] and list(known["right"]) == [False, True]
    assert answers_table(rows, -1, ["a", "b"], "confidence")["right"].isna().all()
