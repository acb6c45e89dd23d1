"""Frames and pictures of denoising trajectories, from tables small enough to be written by hand."""

import numpy as np
import pandas as pd
import pytest

from analyses.sapo import wilson
from analyses.sapo_figures import (
    agreement_figure,
    arms_figure,
    reinforcement,
    spans_figure,
    step_gains_figure,
    value_curves,
)
from analyses.sapo_frames import (
    KEPT,
    MASKED,
    NOW,
    OLDER,
    arm_figures,
    curve,
    curve_from_log,
    grid,
    kept_rollouts,
    orders,
    paired_difference,
    parts_of,
    smoothed,
)
from analyses.sapo_grid import order_map, state_text, step_grid

HOSTILE = "<b>$x$</b>"


def tokens(committed: list[int], words: list[str], steps: int = 3) -> pd.DataFrame:
    """Rows of `sapo_tokens` of one rollout; the confidence of step s at position p is s / 10 + p / 100."""
    rows = [
        (7, step, place, word if step >= at else "", f"{word}?" if step < at - 1 else word, step / 10 + place / 100, 0.5, at)
        for step in range(1, steps + 1)
        for place, (at, word) in enumerate(zip(committed, words, strict=True))
    ]  # fmt: skip
    names = ["rollout", "step", "position", "token", "argmax", "confidence", "entropy", "committed_at"]
    return pd.DataFrame(rows, columns=names)


class TestGrid:
    def test_every_cell_has_its_status(self) -> None:
        frame = grid(tokens([2, 1, 3], ["a", "|", "b"]))
        found = frame.pivot(index="step", columns="position", values="status").to_numpy().tolist()
        assert found == [[MASKED, NOW, MASKED], [NOW, OLDER, MASKED], [OLDER, OLDER, NOW]]

    def test_a_committed_cell_keeps_the_confidence_of_its_commitment(self) -> None:
        frame = grid(tokens([2, 1, 3], ["a", "|", "b"])).set_index(["position", "step"])["shown"]
        assert frame[1, 1] == frame[1, 3] == pytest.approx(0.11)
        assert frame[0, 1] == pytest.approx(0.10) and frame[0, 3] == pytest.approx(0.20)

    def test_what_was_never_masked_is_kept_without_confidence(self) -> None:
        frame = grid(tokens([0, 1], ["a", "b"], steps=1))
        assert frame["status"].tolist() == [KEPT, NOW] and frame["shown"].isna().tolist() == [True, False]

    def test_a_changed_argmax_of_a_masked_cell_is_a_flip(self) -> None:
        frame = grid(tokens([1, 3], ["a", "b"]))
        assert frame.loc[frame["flipped"], ["position", "step"]].to_numpy().tolist() == [[1, 2]]

    def test_without_confidence_only_the_status_is_known(self) -> None:
        rows = tokens([2, 1], ["a", "b"], steps=2).assign(confidence=np.nan, argmax=None, entropy=np.nan)
        frame = grid(rows)
        assert frame["shown"].isna().all() and not frame["flipped"].any()
        assert (
            len([trace for trace in step_grid(frame, 1, {}, title="").data if trace.type == "heatmap"]) == 3
        )

    def test_picture_says_how_many_are_masked_and_escapes_tokens(self) -> None:
        figure = step_grid(grid(tokens([2, 1, 3], [HOSTILE, "|", "b"])), 1, {"trace": (0, 0)}, title="one")
        assert "2 masked after step 1" in figure.layout.meta["alt"]
        written = figure.to_json().replace("\\u003c", "<")
        assert HOSTILE not in written and "$x$" not in written
        assert [note.text for note in figure.layout.annotations] == ["trace"]

    def test_a_long_text_is_written_in_lines(self) -> None:
        rows = tokens([1, 2] * 20, [HOSTILE, "b"] * 20, steps=2)
        figure = state_text(grid(rows), 1, title="text")
        assert figure.data[1].text[1] == "" and HOSTILE not in figure.data[1].text[0]
        assert {trace.type for trace in step_grid(grid(rows), 1, {}, title="").data} == {"heatmap"}
        assert (
            max(figure.data[0].x) == 7 and max(state_text(grid(rows), 1, title="", half=True).data[0].x) == 3
        )

    def test_positions_are_counted_from_one(self) -> None:
        few, many = (step_grid(grid(tokens([1] * n, ["a"] * n)), 1, {}, title="") for n in (3, 40))
        assert list(few.layout.xaxis.ticktext) == ["1", "2", "3"]
        assert list(many.layout.xaxis.ticktext) == ["10", "20", "30", "40"]
        assert list(many.layout.xaxis.tickvals) == [9, 19, 29, 39]

    def test_parts_are_read_from_the_bar_or_the_grid(self) -> None:
        assert parts_of("4 4 2 | 2") == {"trace": (0, 2), "answer": (4, 4)}
        assert parts_of(" ".join("1234" * 4))["row 4"] == (12, 15)
        assert parts_of("no parts") == {}


def test_order_map_holds_the_step_of_every_commitment() -> None:
    rows = pd.concat(
        [tokens([2, 1, 3], ["a", "b", "c"]), tokens([1, 3, 2], ["a", "b", "c"]).assign(rollout=9)]
    )
    frame = orders(rows, pd.DataFrame({"rollout": [7, 9]}))
    figure = order_map(frame, 9, {}, title="order")
    assert figure.data[0].z.tolist() == [[2, 1, 3], [1, 3, 2]]
    assert (figure.layout.shapes[0].y0, figure.layout.shapes[0].y1) == (0.5, 1.5)
    assert figure.data[0].customdata[1][2] == [10, 3]
    assert len(orders(rows, pd.DataFrame({"rollout": [9]}))) == 3


def test_filters_tell_exact_from_junk() -> None:
    rows = pd.DataFrame(
        {
            "kind": ["sampled"] * 4 + ["greedy"],
            "exact": [True, True, False, None, True],
            "junk": [True, False, True, False, True],
        }
    )
    counts = {
        show: len(kept_rollouts(rows, "sampled", show))
        for show in ("all", "exact", "not exact", "junk", "exact but junk", "exact and no junk")
    }
    assert list(counts.values()) == [4, 2, 1, 2, 1, 1]


class TestCurves:
    def rows(self) -> pd.DataFrame:
        return pd.DataFrame(
            [
                (seed, arm, iteration, split, iteration * 10, seed + iteration)
                for seed in (0, 1)
                for arm in ("sapo", "diffu_grpo")
                for iteration in (1, 2, 3)
                for split in ("training", "validation")
            ],
            columns=["seed", "arm", "iteration", "split", "passes", "reward"],
        )

    def test_mean_and_range_over_seeds(self) -> None:
        frame = curve(self.rows(), "reward", "training", "passes")
        assert list(dict.fromkeys(frame["arm"])) == ["diffu_grpo", "sapo"]
        first = frame.iloc[0]
        assert (first["x"], first["mean"], first["low"], first["high"], first["seeds"]) == (10, 1.5, 1, 2, 2)

    def test_running_mean_stays_within_seed_and_arm(self) -> None:
        frame = smoothed(self.rows(), "reward", 2)
        one = frame[(frame["seed"] == 1) & (frame["arm"] == "sapo") & (frame["split"] == "training")]
        assert one["reward"].tolist() == [2, 2.5, 3.5]

    def test_what_a_run_logs_gives_the_same_curve(self) -> None:
        log = [
            {"seed": row.seed, "step": row.iteration, f"{row.arm}.reward": row.reward, f"{row.arm}.junk": 0.5}
            for row in self.rows().query("split == 'training'").itertuples()
        ]
        names = ["arm", "x", "mean", "low", "high"]
        found = curve(curve_from_log(log, "reward"), "reward", "training")[names]
        pd.testing.assert_frame_equal(
            found, curve(self.rows(), "reward", "training")[names], check_dtype=False
        )
        assert curve_from_log(log, "exact").empty

    def test_picture_has_a_line_and_a_band_for_each_arm(self) -> None:
        frame = curve(self.rows(), "reward", "training")
        figure = reinforcement(frame, "reward", "Reward", "training")
        assert [trace.name for trace in figure.data if trace.name] == ["diffu-GRPO", "SAPO"]
        assert len(figure.data) == 4 and "SAPO 1.50 to 3.50" in figure.layout.meta["alt"]
        assert figure.layout.title.subtitle.text == "training rollouts; band: lowest to highest seed"
        alone = reinforcement(frame.assign(seeds=1, mean=0.5), "junk", "Junk", "training")
        assert alone.layout.title.subtitle.text == "training rollouts" and len(alone.data) == 2
        assert (alone.layout.yaxis.minallowed, alone.layout.xaxis.dtick) == (-0.03, 1)
        assert (
            "no such figure" in reinforcement(frame.iloc[:0], "junk", "Junk", "training").layout.meta["alt"]
        )


class TestArms:
    def arms(self, seeds: tuple[int, ...] = (0, 1, 2)) -> pd.DataFrame:
        return pd.DataFrame(
            [
                {
                    "seed": seed, "arm": arm, "n": 100, "exact": gain + seed / 10, "cell": gain + seed / 10 + 0.1, "junk": 0.2,
                    "junk_given_correct": 0.25, "trace_valid": 0.3, "answer_lead": -0.1 * seed, "last_tenth": None,
                    "evenness": 0.5, "already_right": 0.4, "informative": None if arm == "base" else 0.6,
                }
                for seed in seeds
                for arm, gain in (("sapo", 0.5), ("base", 0.2))
            ]
        )  # fmt: skip

    def test_interval_over_seeds_is_cut_at_what_can_be_reached(self) -> None:
        frame = arm_figures(self.arms()).set_index(["arm", "figure"])
        exact = frame.loc["sapo", "exact"]
        assert exact["mean"] == pytest.approx(0.6) and exact["low"] == pytest.approx(0.6 - 0.2484, abs=1e-3)
        assert frame.loc["sapo", "answer_lead"]["low"] < 0
        assert frame["high"].max() <= 1 and ("sapo", "last_tenth") not in frame.index

    def test_one_seed_has_wilson_over_prompts(self) -> None:
        frame = arm_figures(self.arms((0,))).set_index(["arm", "figure"])
        assert (frame.loc["sapo", "exact"]["low"], frame.loc["sapo", "exact"]["high"]) == wilson(50, 100)
        assert frame.loc["sapo", "junk_given_correct"]["low"] == wilson(12.5, 50)[0]
        assert np.isnan(frame.loc["sapo", "evenness"]["low"])

    def test_exact_and_cells_are_two_panels(self) -> None:
        arms = self.arms()
        figure = arms_figure(arm_figures(arms), arms, {"cell": "Blank cells right"})
        titles = [note.text for note in figure.layout.annotations]
        assert titles[:2] == ["Solved exactly", "Blank cells right"]
        assert "SAPO 60.0%" in figure.layout.meta["alt"]

    def test_what_may_be_negative_has_zero_and_round_ticks(self) -> None:
        arms = self.arms().assign(answer_lead=[-4.0, 0.5, 0.0, 0.1, -0.2, 0.3])
        figure = arms_figure(arm_figures(arms), arms, {})
        titles = [note.text for note in figure.layout.annotations]
        axis = figure.layout[f"xaxis{titles.index('Answer lead') + 1}"]
        assert list(axis.tickvals) == [-2.0, 0.0] and list(figure.layout.xaxis.tickvals) == [0, 0.5, 1]
        assert "Groups with an<br>advantage" in titles

    def test_difference_is_paired_over_seeds(self) -> None:
        mean, low, high, seeds = paired_difference(self.arms(), "exact", "sapo", "base")
        assert (mean, low, high, seeds) == (pytest.approx(0.3), pytest.approx(0.3), pytest.approx(0.3), 3)
        assert np.isnan(paired_difference(self.arms((0,)), "exact", "sapo", "base")[1])
        assert paired_difference(self.arms(), "exact", "sapo", "grpo_wider")[3] == 0


def steps(arm: str = "sapo") -> pd.DataFrame:
    values = [0.2, 0.2, 0.7]
    return pd.DataFrame(
        {
            "arm": arm, "step": [0, 1, 2], "n": 20, "value": values, "low": [0.1] * 3, "high": [0.8] * 3,
            "gain": [None, 0.0, 0.5], "already_right": [0.1, 0.3, 0.7],
        }
    )  # fmt: skip


def test_value_curve_has_its_band_and_gains_stand_beside() -> None:
    figure = value_curves({"one": steps(), "two": steps("base")}, 1)
    assert "one 20% to 70%" in figure.layout.meta["alt"]
    assert len([trace for trace in figure.data if trace.fill == "toself"]) == 2
    assert figure.data[1].line.color != figure.data[4].line.color and figure.layout.shapes[0].x0 == 1
    bars = step_gains_figure({"one": steps()})
    assert bars.data[0].y.tolist() == [0, 0.5] and "one most at step 2" in bars.layout.meta["alt"]
    assert "have none" in value_curves({"imported": steps().iloc[:0]}).layout.meta["alt"]


def test_spans_and_agreement() -> None:
    spans = pd.DataFrame(
        {"arm": ["sapo"] * 2, "span": ["answer", HOSTILE], "n": 10, "success": [1.0, 0.4], "low": 0.1, "high": 1.0, "drop": [0, 0.6]}
    )  # fmt: skip
    figure = spans_figure(spans, "Solved again")
    assert figure.data[0].y[0] == "answer" and HOSTILE not in figure.data[0].y
    assert "no span" in spans_figure(spans.assign(success=np.nan), "").layout.meta["alt"]
    rows = pd.DataFrame(
        {
            "arm": ["base", "sapo"],
            "seed_a": 0,
            "seed_b": 1,
            "spearman": [0.9, 0.7],
            "same_tokens": 0.5,
            "null_high": 0.1,
        }
    )
    assert "SAPO 0.70" in agreement_figure(rows).layout.meta["alt"]
    assert "One seed" in agreement_figure(rows.iloc[:0]).layout.meta["alt"]
