"""Claims of arXiv 2507.22264 and what bears on them, with rules written before anything was measured.

Every comparison is paired by seed: arms of a seed share their CLIP, their pictures and their steps. The paper's theorem was
read second-hand (a note on it); its own tables stand for CLIP ViT-L/14 on COCO and ShareGPT4V.
"""

from typing import Any

import numpy as np
import pandas as pd

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
    on_a_gpu,
)
from engine.studies.smartclip.config import BASELINES

SEEDS = 5
OURS = "smartclip"
GATE = 0.3
KEPT = 0.02
WHOLE_UNION = 0.8
LEFT_OUTSIDE = 0.3
ALIKE = 0.5


def per_seed(tables: Tables, arm: str, column: str) -> Floats | None:
    """A figure of `smartclip_arms` by seed; None where some seed lacks it."""
    frame = tables["smartclip_arms"].to_pandas()
    return by_seed(frame[frame["arm"] == arm], column)


def reach(one: Measurement) -> float:
    """How low an interval reaches."""
    return -np.inf if one.low is None else one.low


def better(column: str, others: tuple[str, ...] = BASELINES) -> Measure:
    """Ours less another arm, per seed; of several others the one whose interval reaches lowest is reported, so all must lie below."""

    def measure(tables: list[Tables]) -> Measurement:
        mine = per_seed(tables[0], OURS, column)
        found = []
        for other in others:
            theirs = per_seed(tables[0], other, column)
            if mine is None or theirs is None:
                return NOT_TESTED
            found.append(measured(mine - theirs, above_zero, float(theirs.mean())))
        return min(found, key=reach)

    return measure


def masked_less_plain(column: str) -> Measure:
    """The masked readout less the plain one of the same arm."""

    def measure(tables: list[Tables]) -> Measurement:
        masked, plain = (per_seed(tables[0], OURS, f"{column}_{readout}") for readout in ("masked", "plain"))
        if masked is None or plain is None:
            return NOT_TESTED
        return measured(masked - plain, above_zero, float(plain.mean()))

    return measure


def _whole_embedding(tables: Tables, arm: str) -> pd.DataFrame:
    """Linear probes of the whole embedding, normalised: seeds × attributes."""
    frame = tables["smartclip_probes"].to_pandas()
    frame = frame[(frame["arm"] == arm) & (frame["probe"] == "linear") & (frame["masked_by"] == "all")]
    return frame.pivot(index="seed", columns="attribute", values="normalised")


def measure_kept(tables: list[Tables]) -> Measurement:
    """An attribute's probe of the whole embedding, ours less the CLIP it started from, of the one whose interval reaches lowest."""
    mine, before, short = (_whole_embedding(tables[0], arm) for arm in (OURS, "base", "clip_short"))
    if mine.empty or before.empty or short.empty:
        return NOT_TESTED
    lost, baseline = mine - before, (short - before).mean()
    found = [
        measured(lost[name].to_numpy(), lambda mean, low, high: low >= -KEPT, float(baseline[name]))
        for name in lost
    ]
    return min(found, key=reach)


def gap(first: str, second: str, at_least: float) -> Measure:
    """One column less another, which is the baseline; its interval's lower end exceeds `at_least`."""

    def measure(tables: list[Tables]) -> Measurement:
        a, b = per_seed(tables[0], OURS, first), per_seed(tables[0], OURS, second)
        if a is None or b is None:
            return NOT_TESTED
        return measured(a - b, lambda mean, low, high: low > at_least, float(b.mean()))

    return measure


def measure_blocks(arm: str = OURS) -> Measure:
    """Own less other attributes under a mask, less the same of random masks of its size."""

    def measure(tables: list[Tables]) -> Measurement:
        values = per_seed(tables[0], arm, "net_gap")
        own, other = (per_seed(tables[0], arm, f"control_{name}") for name in ("own", "other"))
        if values is None or own is None or other is None:
            return NOT_TESTED
        return measured(values, lambda mean, low, high: low >= GATE, float((own - other).mean()))

    return measure


def measure_outside(tables: list[Tables]) -> Measurement:
    """An attribute read from the dimensions that its mask leaves out; 0 is chance, 1 all right."""
    values, whole = per_seed(tables[0], OURS, "outside"), per_seed(tables[0], OURS, "probe_mean")
    baseline = None if whole is None else float(whole.mean())
    return measured(values, lambda mean, low, high: high <= LEFT_OUTSIDE, baseline)


def measure_union(tables: list[Tables]) -> Measurement:
    """Overlap of the mask of two sentences with the union of theirs; must exceed both controls in every seed too."""
    found, shuffled, drawn = (
        per_seed(tables[0], OURS, name) for name in ("union", "union_shuffled", "union_random")
    )
    if found is None or shuffled is None or drawn is None:
        return NOT_TESTED
    beyond = bool((found > np.maximum(shuffled, drawn)).all())
    return measured(
        found,
        lambda mean, low, high: low >= WHOLE_UNION and beyond,
        float(drawn.mean()),
        float(shuffled.mean()),
    )


def _pair_gap(tables: Tables, pair: tuple[str, str]) -> Floats | None:
    """Of two attributes, own less the other's accuracy under each one's mask, less that of random masks; by seed."""
    frame = tables["smartclip_probes"].to_pandas()
    frame = frame[(frame["arm"] == OURS) & (frame["probe"] == "linear") & frame["masked_by"].isin(pair)]
    frame = frame[frame["attribute"].isin(pair)]
    if frame.empty:
        return None
    sign = np.where(frame["masked_by"] == frame["attribute"], 0.5, -0.5)
    net = (frame["normalised"] - frame["control"]) * sign
    return np.asarray(net.groupby(frame["seed"]).sum().sort_index().to_numpy(dtype=np.float64))


def measure_tied(tables: list[Tables]) -> Measurement:
    """How much better masks tell two factors apart when captioned freely (first run) than always together (second)."""
    pair = ("left colour", "background")
    free, tied = _pair_gap(tables[0], pair), _pair_gap(tables[1], pair)
    if free is None or tied is None or len(free) != len(tied):
        return NOT_TESTED
    half = bool(tied.mean() < free.mean() / 2)
    return measured(free - tied, lambda mean, low, high: low > 0 and half, float(tied.mean()))


def measure_prefix(tables: list[Tables]) -> Measurement:
    """Separation with captions of any sentences (first run) less that with prefixes (second)."""
    free, prefix = (per_seed(one, OURS, "net_gap") for one in tables)
    if free is None or prefix is None or len(free) != len(prefix):
        return NOT_TESTED
    return measured(free - prefix, above_zero, float(prefix.mean()))


def measure_seeds(tables: list[Tables]) -> Measurement:
    """Correlation of two seeds' tables of mask overlaps, less chance; bootstrap over seeds."""
    rows = tables[0]["smartclip_agreement"].to_pandas()
    rows = rows[(rows["arm"] == OURS) & rows["structure"].notna()]
    if rows.empty:
        return NOT_TESTED
    return measured_between(rows, rows["structure"] - rows["structure_null"], ALIKE, 0.0)


ABOVE = "Shown when the paired 95 % interval over seeds lies above 0"
EACH = f"{ABOVE} against each of the three baselines; the one that reaches lowest is reported."
THREE = (
    "the closest of CLIP on single sentences, CLIP on whole captions, Long-CLIP-like; same CLIP, same steps"
)
THEORY = "theorem 4.3 (read second-hand); no figure is given"


def _claim(
    name: str, sentence: str, paper: str, rule: str, baseline: str, measure: Measure, **rest: Any
) -> Claim:
    values = {"runs": at_standard("standard"), "min_seeds": SEEDS, **rest}
    return Claim(
        name=name,
        sentence=sentence,
        paper=paper,
        rule=rule,
        baseline_name=baseline,
        measure=measure,
        **values,
    )


CLAIMS = (
    _claim(
        "long_retrieval",
        "Fine-tuned with masks, CLIP finds whole captions better than its baselines: recall at 1 (mean of both ways), plain readout, difference.",
        "ShareGPT4V 98.5 / 97.9 against 95.6 / 95.8 (Long-CLIP) and 84.0 / 81.8 % (CLIP), L/14",
        EACH, THREE, better("long_plain"),
    ),
    _claim(
        "short_retrieval",
        "And pictures of one short sentence: share of the five best pictures that satisfy it, plain readout, difference.",
        "COCO 48.5 / 66.0 against 46.3 / 62.8 (Long-CLIP) and 35.4 / 56.1 % (CLIP), recall at 1, L/14",
        EACH, THREE, better("short_1_plain"),
    ),
    _claim(
        "short_retrieval_two",
        "The same for captions of two sentences.",
        "not given",
        EACH, THREE, better("short_2_plain"),
    ),
    _claim(
        "masked_readout",
        "Reading the embedding under the caption's mask finds pictures of one sentence better than reading all of it: masked less plain.",
        "not given: it is evaluated without masks",
        f"{ABOVE}.", "the plain readout of the same arm", masked_less_plain("short_1"),
    ),
    _claim(
        "masked_readout_long",
        "And finds whole captions better: recall at 1, masked less plain.",
        "not given: it is evaluated without masks",
        f"{ABOVE}.", "the plain readout of the same arm", masked_less_plain("long"),
    ),
    _claim(
        "keeps_attributes",
        "The whole embedding keeps every attribute: accuracy of linear probes (0 at chance), less that of the CLIP it started from.",
        "whole cross-modal content is preserved (theorem 4.3, read second-hand)",
        f"Shown when the lower end of the paired 95 % interval is at least −{KEPT} for each attribute; the one that reaches lowest is reported.",
        "CLIP on single sentences, less the same CLIP", measure_kept,
    ),
    _claim(
        "same_attribute_masks_agree",
        "Masks of the same attribute overlap more than those of different ones: intersection over union, difference.",
        THEORY,
        f"Shown when the lower end of the 95 % interval over seeds exceeds {GATE}.",
        "masks of different attributes", gap("iou_same", "iou_different", GATE),
    ),
    _claim(
        "blocks",
        "A mask's dimensions tell its own attribute and not the others: accuracy of linear probes, own less others, less the same of "
        "random masks of its size.",
        THEORY,
        f"Shown when the lower end of the 95 % interval over seeds is at least {GATE}.",
        "random masks of the same size: own less others", measure_blocks(),
    ),
    _claim(
        "nothing_outside",
        "What a mask leaves out does not tell its attribute: accuracy of linear probes (0 at chance) on the other dimensions.",
        THEORY,
        f"Shown when the upper end of the 95 % interval over seeds is at most {LEFT_OUTSIDE}.",
        "all dimensions", measure_outside,
    ),
    _claim(
        "union",
        "The mask of two sentences is the union of their masks: intersection over union.",
        THEORY,
        f"Shown when the lower end of the 95 % interval over seeds is at least {WHOLE_UNION} and every seed exceeds the union of other "
        "sentences' masks and that of random masks of their sizes.",
        "union of random masks of the same sizes; chance is that of other sentences' masks", measure_union,
    ),
    _claim(
        "union_beyond_chance",
        "It is nearer to the union of their masks than to that of other sentences': difference in intersection over union.",
        THEORY,
        f"{ABOVE}.", "union of other sentences' masks", gap("union", "union_shuffled", 0.0),
    ),
    _claim(
        "sparsity_needed",
        "Without sparsity masks separate less: difference in own less others beyond random masks.",
        "ablation: a drop in retrieval; exact figures not seen",
        f"{ABOVE}.", "SmartCLIP without sparsity", better("net_gap", ("no_sparsity",)),
    ),
    _claim(
        "modular_negatives_needed",
        "Scoring negatives under their own captions' masks finds whole captions better than keeping each image's own mask: recall at 1, "
        "plain readout, difference.",
        "ablation: a large drop without; 55.6 (Flickr) and 98.1 % (ShareGPT4V) with, B/16",
        f"{ABOVE}.", "SmartCLIP with naive negatives", better("long_plain", ("naive_negatives",)),
    ),
    _claim(
        "learnt_beats_random_masks",
        "Masks that are learnt separate more than masks drawn at random for every sentence and kept while training: difference in own "
        "less others beyond random masks.",
        "not in the paper",
        f"{ABOVE}.", "SmartCLIP with fixed random masks", better("net_gap", ("random_mask",)),
    ),
    _claim(
        "published_weight",
        "At the published weight of sparsity (2) a mask's dimensions already tell its own attribute and not the others.",
        "λ = 2 at 512 dimensions",
        f"Shown when the lower end of the 95 % interval over seeds is at least {GATE}.",
        "random masks of the same size: own less others", measure_blocks("lambda_2"),
    ),
    _claim(
        "separation_rises_with_sparsity",
        "Separation rises with the weight of sparsity: own less others beyond random masks at λ = 80, less that at the published λ = 2.",
        "not in the paper",
        f"{ABOVE}.", "λ = 2", better("net_gap", ("lambda_2",)),
    ),
    _claim(
        "tied_stay_unsplit",
        "Two factors that are always captioned together stay unsplit: how far masks tell the left colour and the "
        "background apart when captioned freely, less when tied.",
        "condition 4.2 (full support), read second-hand; no figure is given",
        f"{ABOVE} and the tied mean is below half of the free one.",
        "the same two, tied", measure_tied, runs=at_standard("standard", "tied"),
    ),
    _claim(
        "prefixes_separate_less",
        "Captions of the first few sentences, as in the authors' code, separate less than captions of any: difference in own less "
        "others beyond random masks.",
        "condition 4.2 (full support), read second-hand; no figure is given",
        f"{ABOVE}.", "prefix captions", measure_prefix, runs=at_standard("standard", "prefix"),
    ),
    _claim(
        "seeds_agree",
        "Two seeds relate captions in the same way: correlation of their tables of mask overlaps, less its value for shuffled sentences.",
        THEORY,
        f"Shown when the lower end of the 95 % bootstrap interval over seeds exceeds {ALIKE}.",
        "none: chance is taken off", measure_seeds,
    ),
    _claim(
        "paper_size",
        "With CLIP ViT-B/16 on long captions, recall at 1 of whole captions is 0.98 or more.",
        "ShareGPT4V 98.1 / 98.7 % (B/16)",
        "Shown when the lower end of the 95 % interval over seeds is at least 0.98; needs the paper preset, a GPU, a CLIP and pictures.",
        "the CLIP it starts from",
        lambda tables: measured(
            per_seed(tables[0], OURS, "long_plain"), lambda mean, low, high: low >= 0.98, _base_mean(tables[0])
        ),
        runs=on_a_gpu,
    ),
)  # fmt: skip


def _base_mean(tables: Tables) -> float | None:
    values = per_seed(tables, "base", "long_plain")
    return None if values is None else float(values.mean())
