"""Frames and pictures of deployments: what they average, and that they can be drawn from little."""

import json

import numpy as np
import pandas as pd
import pytest

from analyses.label_shift_figures import (
    deployments,
    error_by_shift_figure,
    few_shot_figure,
    share_heat,
    trajectories,
)
from analyses.label_shift_frames import (
    OTHER,
    OWN,
    arm_scores,
    error_by_shift,
    few_shot,
    late,
    mechanism,
    regrets,
    round_of,
    running,
    share_map,
    steps,
)
from analyses.label_shift_maps import mechanism_figure, regret_figure


@pytest.fixture
def rounds() -> pd.DataFrame:
    index = pd.MultiIndex.from_product(
        [["adapter", "none"], [0, 1], range(10)], names=["arm", "seed", "round"]
    )
    frame = index.to_frame(index=False)
    value = frame["round"] + 100 * frame["seed"] + 1000 * (frame["arm"] == "none")
    frame = frame.assign(
        accuracy=value, nll=value, excess_nll=value, excess_nll_before=value + 0.5, kl=value + 1.0
    )
    return frame.assign(shift=frame["round"] / 10, swapped=frame["round"] >= 8)


def test_late_rounds_are_the_second_half_before_the_swap(rounds: pd.DataFrame) -> None:
    assert set(late(rounds)["round"]) == {4, 5, 6, 7}
    scores = arm_scores(late(rounds)).set_index("arm")
    assert list(scores.index) == ["none", "adapter"] and scores.loc["adapter", "excess_nll"] == pytest.approx(
        55.5
    )
    assert scores.loc["none", "needs"] == "nothing" and scores.loc["adapter", "seeds"] == 2


def test_a_running_mean_is_of_each_seed_and_reaches_over_seeds(rounds: pd.DataFrame) -> None:
    frame = running(rounds, "nll", ["adapter"], 3)
    last = frame.iloc[-1]
    assert (last["mean"], last["low"], last["high"], last["seeds"]) == (58.0, 8.0, 108.0, 2)
    assert frame["mean"].iloc[0] == 50.0


def test_steps_hold_before_and_after(rounds: pd.DataFrame) -> None:
    frame = steps(rounds, "excess_nll", ["adapter"], 2, 4)
    assert frame["before"].tolist() == [52.5, 53.5, 54.5] and frame["after"].tolist() == [52, 53, 54]
    assert "0.5" not in deployments(frame, "excess_nll", 2).layout.meta["alt"]


def test_shares_by_round_and_class() -> None:
    frame = pd.DataFrame(
        {"class": [0, 1, 0, 1], "round": [0, 0, 1, 1], "p_true": [0.5, 0.5, 0.9, 0.1], "p_forecast": [0.5, 0.5, 0.7, 0.3],
         "class_accuracy": [0.2, 0.8, 1.0, 1.0]}
    )  # fmt: skip
    assert share_map(frame, "difference").to_numpy() == pytest.approx(np.array([[0, -0.2], [0, 0.2]]))
    assert (
        round_of(frame, 1)["answered"].tolist() == [0.2, 0.8] and round_of(frame, 0)["answered"].isna().all()
    )
    figure = share_heat(share_map(frame, "true"), "true", ["<b>", "y"], 1, "adapter")
    assert "&lt;b&gt;" in json.dumps(figure.to_plotly_json(), default=str)


def test_effects_are_scaled_by_what_usually_varies() -> None:
    rows = pd.DataFrame(
        {"seed": 0, "target": [0, 1, 0, 1], "source": [0, 0, 1, 1], "learnt": [1.0, -1, -1, 1], "truth": [2.0, -2, -2, 2],
         "spread": [0.5, 0.5, 0.1, 0.1]}
    )  # fmt: skip
    learnt, truth = mechanism(rows, True)
    assert learnt.to_numpy().tolist() == [[0.5, -0.1], [-0.5, 0.1]]
    assert mechanism(rows, False)[1].to_numpy().tolist() == [[2, -2], [-2, 2]]
    alt = mechanism_figure(learnt, truth, ["a", "b"], True, "one seed").layout.meta["alt"]
    assert "standard deviation" in alt


def test_regrets_of_every_rule() -> None:
    choices = pd.DataFrame(
        {"seed": [0, 0], "round": [5, 5], "candidate": ["a", "b"], "present": [0.9, 0.8], "by_adapter": [0.5, 0.7],
         "by_fit": [0.9, 0.1], "revealed": [0.6, 0.8]}
    )  # fmt: skip
    found = regrets(choices).set_index("rule")["regret"]
    assert found["accuracy now"] == pytest.approx(0.2) and found["forecast by the adapter"] == 0
    assert found["any candidate alike"] == pytest.approx(0.1)
    assert "20" in regret_figure(regrets(choices)).layout.meta["alt"]
    assert regret_figure(regrets(choices.iloc[:0])).layout.meta["alt"].startswith("This run compared no")


def test_errors_by_size_of_shift_are_binned_over_all_rounds(rounds: pd.DataFrame) -> None:
    frame = error_by_shift(rounds, ["adapter"], bins=3)
    assert frame["rounds"].sum() == 18 and frame["shift"].is_monotonic_increasing
    assert len(error_by_shift_figure(frame).data) == 1
    constant = error_by_shift(rounds.assign(shift=0.0), ["adapter"])
    assert len(constant) == 1


def test_few_shots_on_own_and_foreign_rounds(rounds: pd.DataFrame) -> None:
    few = pd.DataFrame({"seed": [0, 1], "method": "adapter", "pairs": [1, 1], "kl": [1.0, 3.0]})
    few = pd.concat([few, few.assign(pairs=5, kl=0.5)])
    frame = few_shot(rounds, few).set_index(["of", "method", "pairs"])
    assert frame.loc[(OTHER, "adapter", 1), ["mean", "low", "high"]].tolist() == [2, 1, 3]
    assert frame.loc[(OWN, "adapter", 1), "mean"] == pytest.approx(1 + 50 + np.mean([2, 3, 4, 5]))
    assert frame.loc[(OWN, "adapter", 5), "mean"] == pytest.approx(1 + 50 + np.mean([6, 7]))
    assert len(few_shot_figure(frame.reset_index(), OWN).data) >= 2


def test_nothing_chosen_is_said() -> None:
    nothing = pd.DataFrame({"arm": [], "round": [], "mean": [], "low": [], "high": [], "seeds": []})
    assert trajectories(nothing, "nll", 5, None).layout.meta["alt"] == "Choose an arm to draw."
