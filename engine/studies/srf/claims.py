"""Claims of arXiv 2510.10487 and what bears on them, with rules written before anything was measured.

Every comparison is paired by seed: the arms of a seed share their start, their images, their order of data and their steps. The
paper's figures stand for LLaVA-1.5 7B with 1 M unlabelled images; a pilot of one seed had confidence ahead of plain consistency.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from engine.studies.base import NOT_TESTED, Claim, Measurement
from engine.studies.measuring import (
    Floats,
    Measure,
    Tables,
    above_zero,
    at_standard,
    by_seed,
    measured,
    measured_between,
)

SEEDS = 5
KEEP = 0.2
COMPETENT, WEAK_AUC, DROP, TIES = 0.9, 0.6, 0.1, 0.5


def figure(tables: Tables, name: str, column: str, round_: int = 1, **where: Any) -> Floats | None:
    """A column of a table by seed, where other columns have these values; None where a seed lacks it."""
    frame = tables[name].to_pandas()
    frame = frame[frame["round"] == round_] if "round" in frame else frame
    for key, value in where.items():
        same = np.isclose(frame[key], value) if isinstance(value, float) else frame[key] == value
        frame = frame[same]
    return by_seed(frame, column)


def at_least(bound: float) -> Callable[[float, float, float], bool]:
    return lambda mean, low, high: low >= bound


def _mean(values: Floats | None) -> float | None:
    return None if values is None else float(values.mean())


def difference(first: Floats | None, second: Floats | None, baseline: Floats | None = None) -> Measurement:
    """First less second by seed; shown when the interval lies above 0."""
    if first is None or second is None or len(first) != len(second):
        return NOT_TESTED
    return measured(first - second, above_zero, _mean(second if baseline is None else baseline))


def filters(first: str, second: str, column: str = "precision") -> Measure:
    """Precision of the best 20 %, or the area under the curve, of one filter less another's."""

    def measure(tables: list[Tables]) -> Measurement:
        a, b = (
            figure(tables[0], "srf_filters", column, filter=name, kept_share=KEEP) for name in (first, second)
        )
        return difference(a, b)

    return measure


def measure_kept(tables: list[Tables]) -> Measurement:
    """Share true of what the paper's filter keeps less that of what it leaves out."""
    kept, whole = (
        figure(tables[0], "srf_filters", "precision", filter="triangle", kept_share=x) for x in (KEEP, 1.0)
    )
    n_kept, n = (
        figure(tables[0], "srf_filters", "kept", filter="triangle", kept_share=x) for x in (KEEP, 1.0)
    )
    if kept is None or whole is None or n_kept is None or n is None:
        return NOT_TESTED
    rest = (whole * n - kept * n_kept) / (n - n_kept)
    return difference(kept, rest)


def generator(
    column: str,
    rule: Callable[[float, float, float], bool],
    less: str | None = None,
    chance: float | None = 0.0,
) -> Measure:
    """A figure of the generator, or one less another."""

    def measure(tables: list[Tables]) -> Measurement:
        first = figure(tables[0], "srf_generators", column, kind="multi_task")
        second = None if less is None else figure(tables[0], "srf_generators", less, kind="multi_task")
        if first is None or (less is not None and second is None):
            return NOT_TESTED
        return measured(first if second is None else first - second, rule, _mean(second), chance)

    return measure


def prompted(column: str) -> Measure:
    """The multi-task generator less the base model asked by prompt; the baseline is the base answering labelled questions."""

    def measure(tables: list[Tables]) -> Measurement:
        kinds = [
            figure(tables[0], "srf_generators", column, kind=kind)
            for kind in ("multi_task", "prompted", "reused")
        ]
        return difference(*kinds)

    return measure


def measure_weak(tables: list[Tables]) -> Measurement:
    """Area under the curve of S where the generator is weak (second run); the competent one's is the baseline."""
    competent, weak = (
        figure(one, "srf_filters", "auc", filter="triangle", kept_share=KEEP) for one in tables
    )
    return measured(weak, lambda mean, low, high: high < WEAK_AUC, _mean(competent), 0.5)


def arms(first: str, *others: str, column: str = "exact") -> Measure:
    """Accuracy after one retraining less that of others; of several the one whose interval reaches lowest is reported."""

    def measure(tables: list[Tables]) -> Measurement:
        mine = figure(tables[0], "srf_arms", column, arm=first)
        found = [difference(mine, figure(tables[0], "srf_arms", column, arm=other)) for other in others]
        if any(one.value is None for one in found):
            return NOT_TESTED
        return min(found, key=lambda one: -np.inf if one.low is None else one.low)

    return measure


def measure_rounds(tables: list[Tables]) -> Measurement:
    """What the first round adds to the base less what the second adds to it."""
    gains = []
    for number in (1, 2):
        after, before = (
            figure(tables[0], "srf_arms", "exact_shifted", number, arm=arm) for arm in ("triangle", "base")
        )
        if after is None or before is None:
            return NOT_TESTED
        gains.append(after - before)
    return difference(gains[0], gains[1])


def measure_seeds(tables: list[Tables]) -> Measurement:
    """Overlap of what two seeds keep less that of random kept sets; bootstrap over seeds."""
    rows = tables[0]["srf_consistency"].to_pandas()
    if rows.empty:
        return NOT_TESTED
    chance = rows["chance"]
    return measured_between(rows, rows["kept_overlap"] - chance, 0.0, 0.0, float(chance.mean()))


def measure_noise(tables: list[Tables]) -> Measurement:
    """R² after refinement on confident pseudo-labels less before; the baseline is the same with random ones."""
    confident, before, drawn = (
        figure(tables[0], "srf_noise", "r2", arm=arm) for arm in ("confident", "baseline", "random")
    )
    if confident is None or before is None or drawn is None:
        return NOT_TESTED
    return difference(confident, before, drawn - before)


ABOVE = "Shown when the paired 95 % interval over seeds lies above 0"
PRECISION = "not compared in the paper"
MISSING = "no such arm in the paper"


def _claim(
    name: str, sentence: str, paper: str, rule: str, baseline: str, measure: Measure, *presets: str
) -> Claim:
    return Claim(
        name=name, sentence=sentence, paper=paper, rule=rule, baseline_name=baseline, measure=measure,
        runs=at_standard(*(presets or ("standard",))), min_seeds=SEEDS,
    )  # fmt: skip


CLAIMS = (
    _claim(
        "competent_generator",
        "The generator is competent: it answers at least nine of ten held-out questions.",
        "not given", f"Shown when the lower end of the 95 % interval over seeds is at least {COMPETENT}.", "none",
        generator("vqa", at_least(COMPETENT), chance=None),
    ),
    _claim(
        "kept_beats_excluded",
        "What the triangular filter keeps (best 20 % of every type, ties at random) is more often true than what it leaves out: difference.",
        "85.3 against 59.9 % (GPT-4o), 89.0 against 83.0 % (humans), table 7", f"{ABOVE}.", "what it leaves out", measure_kept,
    ),
    _claim(
        "beats_random",
        "The best 20 % by S are more often true than as many drawn at random: difference in precision.",
        PRECISION, f"{ABOVE}.", "random", filters("triangle", "random"),
    ),
    _claim(
        "beats_confidence",
        "And more often than as many by the log-probability of the answer predicted again.",
        PRECISION, f"{ABOVE}.", "confidence of the answer", filters("triangle", "confidence_answer"),
    ),
    _claim(
        "beats_generation_confidence",
        "And more often than as many by the log-probability of the generated pair.",
        PRECISION, f"{ABOVE}.", "confidence of generation", filters("triangle", "confidence_generation"),
    ),
    _claim(
        "both_sides_needed",
        "Comparing both sides keeps more that is true than comparing answers alone: difference in precision.",
        PRECISION, f"{ABOVE}.", "answer side alone", filters("triangle", "answer_only"),
    ),
    _claim(
        "ties_dominate",
        "Most triplets tie at S = 1, so that plain S cannot order them: their share.",
        "not given; ties are not mentioned", f"Shown when the lower end of the 95 % interval over seeds exceeds {TIES}.", "none",
        generator("tied_share", lambda mean, low, high: low > TIES, chance=None),
    ),
    _claim(
        "tie_break_helps",
        "Breaking ties by the answer's log-probability keeps more that is true than breaking them at random: difference in precision.",
        "not in the paper", f"{ABOVE}.", "ties at random", filters("triangle_tied", "triangle"),
    ),
    _claim(
        "tied_beats_confidence",
        "S with ties so broken keeps more that is true than that log-probability alone.",
        "not in the paper", f"{ABOVE}.", "confidence of the answer", filters("triangle_tied", "confidence_answer"),
    ),
    _claim(
        "useless_when_weak",
        "Where the generator is weak, S hardly tells true from false: area under the curve of its ranks.",
        "not in the paper", f"Shown when the upper end of the 95 % interval over seeds is below {WEAK_AUC}.",
        "the competent generator's; chance is 0.5", measure_weak, "standard", "weak",
    ),
    _claim(
        "about_the_image",
        "S is about the image: it falls where both halves are predicted again with another image.",
        "not in the paper", f"Shown when the lower end of the 95 % interval over seeds is at least {DROP}.", "mean S with other images",
        generator("score_mean", at_least(DROP), "shuffled_score"),
    ),
    _claim(
        "multi_task_more_precise",
        "A generator tuned on three tasks writes more that is true than the base model asked by a prompt: difference in precision.",
        "85.3 against 73.9 % (0-shot), table 6", f"{ABOVE}.", "the base model answering labelled questions drawn at random",
        prompted("precision"),
    ),
    _claim(
        "multi_task_more_diverse",
        "And more varied texts: difference in distinct-2.",
        "0.479 against 0.322, table 6", f"{ABOVE}.", "the base model answering labelled questions drawn at random", prompted("distinct2"),
    ),
    _claim(
        "refined_beats_base",
        "Retrained on the kept triplets, the model answers more questions on images like the labelled ones than without: difference.",
        "62.3 against 60.5, mean of seven benchmarks", f"{ABOVE}.", "labelled data alone, same steps", arms("triangle", "base"),
    ),
    _claim(
        "refined_beats_base_shifted",
        "The same on images like the unlabelled ones.",
        "not separated", f"{ABOVE}.", "labelled data alone, same steps", arms("triangle", "base", column="exact_shifted"),
    ),
    _claim(
        "filter_beats_random_shifted",
        "Kept triplets help more than as many drawn at random: difference on images like the unlabelled ones.",
        MISSING, f"{ABOVE}.", "as many at random", arms("triangle", "random", column="exact_shifted"),
    ),
    _claim(
        "filter_beats_none",
        "They help more than all triplets unfiltered: difference on images like the unlabelled ones.",
        "62.3 against 61.3, mean of seven benchmarks", f"{ABOVE}.", "no filter", arms("triangle", "no_filter", column="exact_shifted"),
    ),
    _claim(
        "filter_beats_bottom",
        "They help more than the 20 % with the lowest S.",
        "62.3 against 61.4, mean of seven benchmarks", f"{ABOVE}.", "the worst 20 %", arms("triangle", "bottom", column="exact_shifted"),
    ),
    _claim(
        "filter_beats_recap",
        "They help more than as many captions without a filter.",
        "62.3 against 61.2 (with five times as many captions)", f"{ABOVE}.", "as many captions",
        arms("triangle", "recap", column="exact_shifted"),
    ),
    _claim(
        "filter_beats_confidence",
        "They help more than as many by the answer's log-probability.",
        MISSING, f"{ABOVE}.", "confidence of the answer", arms("triangle", "confidence", column="exact_shifted"),
    ),
    _claim(
        "tied_beats_base_shifted",
        "With ties broken by log-probability, retraining helps on images like the unlabelled ones.",
        "not in the paper", f"{ABOVE}.", "labelled data alone, same steps", arms("triangle_tied", "base", column="exact_shifted"),
    ),
    _claim(
        "room_above",
        "A perfect filter would help on images like the unlabelled ones: true triplets, as many, less none.",
        MISSING, f"{ABOVE}.", "labelled data alone, same steps", arms("oracle", "base", column="exact_shifted"),
    ),
    _claim(
        "inverted_u",
        "Keeping 20 % is better than keeping 5 % and than keeping all: difference on images like the unlabelled ones.",
        "62.3 against 61.8 (5 %) and 61.3 (100 %), mean of seven benchmarks",
        f"{ABOVE} against both; the one that reaches lowest is reported.", "the better of 5 % and all",
        arms("triangle", "triangle_5", "no_filter", column="exact_shifted"),
    ),
    _claim(
        "second_round_adds_less",
        "A second round adds less than the first: gain of round 1 less that of round 2, on images like the unlabelled ones.",
        "+1.8 and +0.4, mean of seven benchmarks", f"{ABOVE}.", "gain of the second round", measure_rounds,
    ),
    _claim(
        "few_labels",
        "With few labelled images and twice the unlabelled, retraining on kept triplets helps on images like the unlabelled ones.",
        "not in the paper", f"{ABOVE}.", "labelled data alone, same steps", arms("triangle", "base", column="exact_shifted"), "few_labels",
    ),
    _claim(
        "more_shift",
        "Where unlabelled images differ twice as much, retraining on kept triplets helps on images like them.",
        "not in the paper", f"{ABOVE}.", "labelled data alone, same steps", arms("triangle", "base", column="exact_shifted"), "more_shift",
    ),
    _claim(
        "no_shift_no_gain",
        "Unlabelled images like the labelled ones help less than shifted ones: gain with shift less gain without, each on images of its "
        "own kind.",
        "little gain when new images resemble the training distribution (stated limit)", f"{ABOVE}.", "gain without shift",
        lambda tables: difference(*(_gain(one) for one in tables)), "standard", "no_shift",
    ),
    _claim(
        "seeds_keep_alike",
        "Two seeds keep the same images and types of one pool more often than by chance: intersection over union, difference.",
        "not in the paper", "Shown when the bootstrap interval over seeds lies above 0.", "random kept sets", measure_seeds,
    ),
    _claim(
        "noise_regression",
        "In appendix E's regression, refinement on confident predictions raises R²: difference.",
        "0.764 to 0.855", f"{ABOVE}.", "refinement on predictions drawn at random, difference", measure_noise,
    ),
)  # fmt: skip


def _gain(tables: Tables) -> Floats | None:
    after, before = (figure(tables, "srf_arms", "exact_shifted", arm=arm) for arm in ("triangle", "base"))
    return None if after is None or before is None or len(after) != len(before) else after - before
