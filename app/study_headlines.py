"""The figure by which a run of each study is known in a table of runs."""

from typing import Any

import pandas as pd

from analyses.extrapolation import FEW, RIGHT
from analyses.label_shift_frames import late
from app.connection import table

Run = dict[str, Any]
FORMAT = "%.3f"
HELP = {
    "PW-MCC (alive)": "Mean |cosine| of features of two seeds after one-to-one matching, live features only.",
    "MCC": "Mean correlation of learnt with true latents after one-to-one matching, over seeds; known worlds only.",
    "Cross-modal R²": "Held-out share of a modality's latents that the other modalities predict, over seeds; real data.",
    "Skeleton F1": "Agreement of the found with the true hierarchy's links, over seeds; known worlds only.",
    "Adjusted Rand": "Agreement of the found groups with the named ones, over seeds; real data with named groups.",
    "Exact": "Share of test puzzles or prompts solved as a whole, over seeds; of denoisers the SAPO arm or the last one.",
    "Excess loss": "Of the adapter over the correction with the true class shares, late rounds, over seeds; in nats, 0 is best.",
    "Right of kept": "Of the best 20 % of every type by S, over seeds; images with an oracle.",
    "Counterfactual error": "Of MATTE, relative to leaving a row as it is (1), over seeds; worlds with known truth, 0 is best.",
    "G-score": "Of MATTE through style noise: harmonic mean of target-style probability and BLEU, over seeds; texts.",
    "Extrapolated": "Accuracy off the support, over distances or corruptions and seeds: the objective for the shift, or minimal change.",
    "Separation": "What masks tell of their own attribute less of others, beyond random masks of their size, over seeds.",
}


def headline(run: Run) -> dict[str, float]:
    """Name and value of a finished run's figure; none where it has none."""
    if run["state"] != "done" or run["study"] not in _FIGURES:
        return {}
    return {name: value for name, value in _FIGURES[run["study"]](run["id"]).items() if pd.notna(value)}


def _sae(run_id: str) -> dict[str, float]:
    pairs = table(run_id, "pairs")
    return {"PW-MCC (alive)": float(pairs.loc[pairs["subset"] == "alive", "pw_mcc_abs"].mean())}


def _multimodal(run_id: str) -> dict[str, float]:
    scores = table(run_id, "latent_scores", {"method": "two stages"})
    scores = scores[scores["modality"] == "all"]
    mcc = float(scores["mcc_spearman"].mean())
    return {"MCC": mcc} if pd.notna(mcc) else {"Cross-modal R²": float(scores["cross_modal_r2"].mean())}


def _hierarchy(run_id: str) -> dict[str, float]:
    scores = table(run_id, "hierarchy_scores", {"method": "discrete rank"})
    estimated = scores[scores["states"] == "estimated states"]
    scores = estimated if len(estimated) else scores
    scores = scores[scores["n_samples"] == scores["n_samples"].max()]
    f1 = float(scores["skeleton_f1"].mean())
    return (
        {"Skeleton F1": f1}
        if pd.notna(f1)
        else {"Adjusted Rand": float(scores["adjusted_rand_index"].mean())}
    )


def _sr2(run_id: str) -> dict[str, float]:
    return {"Exact": float(table(run_id, "sr2_models")["exact"].mean())}


def _sapo(run_id: str) -> dict[str, float]:
    arms = table(run_id, "sapo_arms")
    main = arms[arms["arm"] == ("sapo" if (arms["arm"] == "sapo").any() else arms["arm"].iloc[-1])]
    return {"Exact": float(main["exact"].astype(float).mean())}


def _smartclip(run_id: str) -> dict[str, float]:
    arms = table(run_id, "smartclip_arms")
    main = arms[arms["arm"] == ("smartclip" if (arms["arm"] == "smartclip").any() else arms["arm"].iloc[-1])]
    return {"Separation": float(main["net_gap"].astype(float).mean())}


def _srf(run_id: str) -> dict[str, float]:
    rows = table(run_id, "srf_filters", {"filter": "triangle"})
    rows = rows[(rows["round"] == rows["round"].min()) & ((rows["kept_share"] - 0.2).abs() < 1e-6)]
    return {"Right of kept": float(rows["precision"].astype(float).mean())}


def _extrapolation(run_id: str) -> dict[str, float]:
    accuracy, cells = table(run_id, "extra_accuracy"), table(run_id, "extra_map")
    if len(accuracy):
        right = accuracy["arm"] == accuracy["regime"].map(RIGHT)
        return {"Extrapolated": float(accuracy[right & (accuracy["distance"] > 0)]["accuracy"].mean())}
    met = cells[(cells["arm"] == FEW) & (cells["severity"] > 0)]
    return {"Extrapolated": float(met["accuracy"].astype(float).mean())}


def _label_shift(run_id: str) -> dict[str, float]:
    return {
        "Excess loss": float(late(table(run_id, "shift_rounds", {"arm": "adapter"}))["excess_nll"].mean())
    }


def _counterfactual(run_id: str) -> dict[str, float]:
    bench, scores = table(run_id, "cf_bench"), table(run_id, "cf_scores", {"domain": "all"})
    if len(bench):
        arm = "matte" if (bench["arm"] == "matte").any() else bench["arm"].iloc[0]
        return {"Counterfactual error": float(bench.loc[bench["arm"] == arm, "cf_noise"].mean())}
    mine = scores[(scores["arm"] == "matte") & (scores["route"] == "noise")]
    return {"G-score": float(mine["g"].astype(float).mean())}


_FIGURES = {
    "sae_consistency": _sae,
    "multimodal_causal": _multimodal,
    "concept_hierarchy": _hierarchy,
    "sapo": _sapo,
    "smartclip": _smartclip,
    "srf": _srf,
    "sr2": _sr2,
    "label_shift": _label_shift,
    "extrapolation": _extrapolation,
    "counterfactual_text": _counterfactual,
}
