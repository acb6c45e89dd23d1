"""Tables of masks of captions over an image embedding (study smartclip); every figure is of test pictures.

`arm` is "base" (the CLIP the others go on from), a baseline, smartclip, one of its variants, or "lambda_2" of the sweep.
A readout is plain, or masked by the caption; arms without masks have the plain one only.
"""

import pyarrow as pa

from engine.tables.common import F64, I32, I64, STR

SMARTCLIP: dict[str, dict[str, pa.DataType]] = {
    # One row per arm: M1 recall at 1 of whole captions and satisfaction at 5 of short ones, M2 probes of the whole
    # embedding, M3 overlap of masks, M4 own and other attributes under a mask beside random masks of its size, M5 masks of
    # two sentences against the union, M6 sizes.
    "smartclip_arms": {
        "seed": I64,
        "arm": STR,
        "lambda": F64,
        "n_test": I64,
        "image_to_text_plain": F64,
        "text_to_image_plain": F64,
        "long_plain": F64,
        "image_to_text_masked": F64,
        "text_to_image_masked": F64,
        "long_masked": F64,
        "short_1_plain": F64,
        "short_1_masked": F64,
        "short_1_chance": F64,
        "short_2_plain": F64,
        "short_2_masked": F64,
        "short_2_chance": F64,
        "probe_mean": F64,
        "probe_least": F64,
        "iou_same": F64,
        "iou_different": F64,
        "information": F64,
        "own": F64,
        "other": F64,
        "control_own": F64,
        "control_other": F64,
        "net_gap": F64,
        "outside": F64,
        "union": F64,
        "union_shuffled": F64,
        "union_random": F64,
        "intersection": F64,
        "intersection_shuffled": F64,
        "size_single": F64,
        "size_whole": F64,
    },
    # Points of training; recall at 1 of whole captions is of validation pictures.
    "smartclip_curve": {
        "seed": I64,
        "arm": STR,
        "step": I64,
        "loss": F64,
        "align": F64,
        "mask_share": F64,
        "validation_recall": F64,
        "validation_masked": F64,
    },
    # Masks of single sentences; `mask` has a sign a dimension, 1 where it is kept.
    "smartclip_masks": {"seed": I64, "arm": STR, "phrase": STR, "attribute": STR, "size": F64, "mask": STR},
    # Share of an attribute's sentences that keep a dimension, and share of its variance between the attribute's values.
    "smartclip_dimensions": {
        "seed": I64,
        "arm": STR,
        "attribute": STR,
        "dimension": I32,
        "kept": F64,
        "variance": F64,
    },
    # Probes ("linear", "neighbours") of an attribute under an attribute's mask, or under "all" dimensions: accuracy, the
    # same normalised to 0 at chance, of random masks of that size, and of the dimensions the mask leaves out.
    "smartclip_probes": {
        "seed": I64,
        "arm": STR,
        "masked_by": STR,
        "attribute": STR,
        "probe": STR,
        "size": I64,
        "accuracy": F64,
        "chance": F64,
        "normalised": F64,
        "control": F64,
        "control_low": F64,
        "control_high": F64,
        "outside": F64,
    },
    "smartclip_sizes": {
        "seed": I64,
        "arm": STR,
        "sentences": I32,
        "n": I64,
        "size": F64,
        "low": F64,
        "high": F64,
    },
    # Two seeds: dimensions matched one-to-one by correlation, masks under that matching, tables of overlaps.
    "smartclip_agreement": {
        "arm": STR,
        "seed_a": I64,
        "seed_b": I64,
        "mcc": F64,
        "mcc_null": F64,
        "masks": F64,
        "masks_null": F64,
        "structure": F64,
        "structure_null": F64,
    },
    # Test pictures, each as a PNG in the text of an address.
    "smartclip_pictures": {"picture": I64, "caption": STR, "image": STR},
    # What the pictures are: origin, tier, licence, numbers, attributes, and what was left out of a folder.
    "smartclip_data": {"name": STR, "value": STR},
}
