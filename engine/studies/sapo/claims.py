"""Claims of arXiv 2510.01544 and the rules that decide them at this size, written before any was measured.

Every comparison is paired: arms of a seed share its base model, prompts and test prompts. "Matched" are the two diffu-GRPO
arms that take as many forward passes of rollouts as SAPO: more iterations, and larger groups.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.studies.base import NOT_TESTED, Claim, Measurement
from engine.studies.measuring import Floats, Tables, at_standard, by_seed, measurement, on_a_gpu, over_seeds
from engine.studies.sapo.config import MATCHED

SEEDS = 5
EQUAL = 0.05
LARGE = "LLaDA-8B"


def per_seed(tables: Tables, arm: str, column: str) -> Floats | None:
    """A figure of `sapo_arms` by seed; None where some seed lacks it."""
    frame = tables["sapo_arms"].to_pandas()
    return by_seed(frame[frame["arm"] == arm], column)


@dataclass(frozen=True)
class Comparison:
    """SAPO less another arm: the paired interval over seeds, and the other arm's mean."""

    value: tuple[float, float, float]
    seeds: int
    baseline: float

    def measurement(self, shown: bool) -> Measurement:
        """With an interval that two seeds or more give; fewer show nothing."""
        return measurement(self.value, self.seeds, 0.0, self.baseline, shown)


def against(tables: Tables, column: str, others: tuple[str, ...], sign: int) -> list[Comparison]:
    """sign × (sapo − other) for each other arm; nothing where some figure is missing."""
    ours = per_seed(tables, "sapo", column)
    theirs = [per_seed(tables, other, column) for other in others]
    if ours is None or any(other is None for other in theirs):
        return []
    return [
        Comparison(over_seeds(sign * (ours - other)), len(ours), float(other.mean()))
        for other in theirs
        if other is not None
    ]


def better(
    column: str, sign: int = 1, others: tuple[str, ...] = MATCHED
) -> Callable[[list[Tables]], Measurement]:
    """Shown when every interval lies above 0; the one that reaches lowest is reported."""

    def measure(tables: list[Tables]) -> Measurement:
        found = against(tables[0], column, others, sign)
        if not found:
            return NOT_TESTED
        closest = min(found, key=lambda each: each.value[1])
        return closest.measurement(closest.value[1] > 0)

    return measure


def measure_equal(tables: list[Tables]) -> Measurement:
    """Shown when every interval lies within ± EQUAL; the one that reaches farthest is reported."""
    found = against(tables[0], "exact", MATCHED, 1)
    if not found:
        return NOT_TESTED
    widest = max(found, key=lambda each: max(-each.value[1], each.value[2]))
    return widest.measurement(max(-widest.value[1], widest.value[2]) < EQUAL)


ABOVE = "Shown when the paired 95 % interval over seeds lies above 0 against both compute-matched diffu-GRPO arms; the one that reaches lowest is reported."
MATCHED_NAME = "the better of diffu-GRPO with more iterations and with larger groups, same forward passes"


def _claim(name: str, sentence: str, paper: str, task: str, **rest: Any) -> Claim:
    values = {
        "rule": ABOVE,
        "baseline_name": MATCHED_NAME,
        "runs": at_standard(task),
        "min_seeds": SEEDS,
        **rest,
    }
    return Claim(name=name, sentence=sentence, paper=paper, **values)


CLAIMS = (
    _claim(
        "beats_diffu_grpo_on_countdown",
        "At matched compute, the step-aware reward solves more Countdown problems than the outcome alone: difference in exact-solve rate.",
        f"52.0 against 31.3 % with {LARGE}, not compute-matched (d-TreeRPO's Table 1; the paper's own tables were not seen)",
        "standard",
        measure=better("exact"),
    ),
    _claim(
        "beats_diffu_grpo_on_sudoku",
        "At matched compute it solves more 4×4 Sudokus: difference in exact-solve rate (whole grids, not cells).",
        f"20.3 against 12.9 % of blank cells with {LARGE}; exact solves were not reported (d-TreeRPO's Table 1)",
        "sudoku",
        measure=better("exact"),
    ),
    _claim(
        "little_on_arithmetic",
        "On chains of arithmetic it changes little: difference in exact-solve rate.",
        f"GSM8K 80.6 against 79.8 %, MATH500 33.8 against 34.1 % with {LARGE} (d-TreeRPO's Table 1)",
        "chain",
        rule=f"Shown when the paired 95 % intervals against both compute-matched arms lie within ± {EQUAL}.",
        measure=measure_equal,
    ),
    _claim(
        "fewer_junk_but_correct_traces_countdown",
        "Fewer right Countdown answers come with a filler trace: P(junk | correct), matched diffu-GRPO less SAPO.",
        "Figure 1 shows one such rollout; no rate is given",
        "standard",
        measure=better("junk_given_correct", -1),
    ),
    _claim(
        "fewer_junk_but_correct_traces_chain",
        "Fewer right chain answers come with a filler trace: P(junk | correct), matched diffu-GRPO less SAPO.",
        "not in the paper",
        "chain",
        measure=better("junk_given_correct", -1),
    ),
    _claim(
        "more_even_step_gains",
        "The gain in success is spread more evenly over the denoising steps on Countdown: difference in 1 − Gini of the rises of V(t).",
        "process rewards distribute the problem's complexity evenly (revised abstract); no figure is given",
        "standard",
        measure=better("evenness"),
    ),
    _claim(
        "already_right_earlier",
        "The answer is right at earlier steps on Countdown: difference in exact-solve rate of the argmax, mean over steps.",
        "a figure on intermediate accuracy, whose values were not seen",
        "standard",
        measure=better("already_right"),
    ),
    _claim(
        "indicator_helps",
        "Rewarding progress only where the outcome is above average is better than everywhere: difference in exact-solve rate on chains.",
        "Eq. 5; its ablation was not seen",
        "chain",
        rule="Shown when the paired 95 % interval over seeds of SAPO less SAPO without the indicator lies above 0.",
        baseline_name="SAPO without the indicator",
        measure=better("exact", 1, ("sapo_no_indicator",)),
    ),
    _claim(
        "paper_size",
        f"With {LARGE}-Instruct and LoRA, SAPO beats diffu-GRPO on Countdown.",
        "52.0 against 31.3 % at 256 tokens (d-TreeRPO's Table 1)",
        "paper",
        rule="Shown when the paired 95 % interval over seeds of SAPO less diffu-GRPO lies above 0; measured by "
        "`verify sapo --preset paper` alone, which needs a GPU and the environment llada. Not compute-matched.",
        baseline_name="diffu-GRPO",
        runs=on_a_gpu,
        measure=better("exact", 1, ("diffu_grpo",)),
    ),
)
