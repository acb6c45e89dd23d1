"""Tables of self-refinement by triangular consistency (study srf).

`round` counts from 1 (retraining and its figures) and `type` is colour, shape, where, exist, count, caption, user. A triplet is
an image with a question and an answer that a generator wrote, and the question Q′ and answer A′ it predicted again.
"""

import pyarrow as pa

from engine.tables.common import BOOL, BYTES, F64, I64, STR

SRF: dict[str, dict[str, pa.DataType]] = {
    # Similarities are null where a type does not compare that side. `score` is S, `rank` is 1 for the best of a seed,
    # round and type under the run's filter and tie-break, `share` the rank over their number. Log-probabilities are means
    # over tokens: of the generated pair, and of A′. `truth` is true, false, malformed or unknown.
    "srf_triplets": {
        "seed": I64,
        "round": I64,
        "triplet": I64,
        "image": I64,
        "type": STR,
        "question": STR,
        "answer": STR,
        "question_again": STR,
        "answer_again": STR,
        "sim_question": F64,
        "sim_answer": F64,
        "score": F64,
        "rank": I64,
        "share": F64,
        "logp_generation": F64,
        "logp_answer": F64,
        "truth": STR,
        "kept": BOOL,
        "reason": STR,
    },
    # Unlabelled pictures; tier is rendered, real or yours; `png` the picture as PNG, `factors` JSON or "".
    "srf_images": {
        "image": I64,
        "seed": I64,
        "name": STR,
        "tier": STR,
        "licence": STR,
        "png": BYTES,
        "factors": STR,
    },
    # Share of what a filter keeps that is true, for shares kept of every type; null where no oracle knows. `auc` is that of
    # its ranks within types, 0.5 at chance.
    "srf_filters": {
        "seed": I64,
        "round": I64,
        "filter": STR,
        "kept_share": F64,
        "precision": F64,
        "kept": I64,
        "auc": F64,
    },
    # Accuracy of models retrained with triplets of each selection, on test questions like and unlike the training pictures.
    "srf_arms": {
        "seed": I64,
        "round": I64,
        "arm": STR,
        "added": I64,
        "steps": I64,
        "exact": F64,
        "exact_shifted": F64,
    },
    "srf_arm_types": {
        "seed": I64,
        "round": I64,
        "arm": STR,
        "type": STR,
        "exact": F64,
        "exact_shifted": F64,
        "n": I64,
    },
    # What generated: kind is multi_task, prompted or weak; `vqa` accuracy of its answers on held-out questions,
    # `tied_share` triplets with S = 1, `score_auc` of S for truth on labelled images, `shuffled_score` mean S where each
    # triplet is predicted again with another image.
    "srf_generators": {
        "seed": I64,
        "round": I64,
        "kind": STR,
        "vqa": F64,
        "distinct2": F64,
        "ttr": F64,
        "precision": F64,
        "tied_share": F64,
        "score_auc": F64,
        "shuffled_score": F64,
        "score_mean": F64,
    },
    # Appendix E: pseudo-labels of a regression with Laplace noise; `arm` names the control.
    "srf_noise": {"seed": I64, "arm": STR, "r2": F64, "nll": F64},
    # Overlap (intersection over union) of the images and types two seeds keep of the same pool, and by chance.
    "srf_consistency": {"seed_a": I64, "seed_b": I64, "kept_overlap": F64, "chance": F64},
    # Where triplets lie on a map of texts and images (tool triplet_map).
    "triplet_points": {"of_run": STR, "triplet": I64, "x": F64, "y": F64},
}
