"""Pictures of SAE training: consistency against steps and the live metrics of every seed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analyses.figures import PALETTE, empty, finish, log_steps, null_line, plain, series_style
from analyses.sae_frames import METRICS, NO_PAIRS, Frame, as_pandas, labelled

LIVE_METRICS = {
    "loss": "Training loss (per activation)",
    "fvu": "Variance unexplained (share)",
    "l0": "Active features per activation (L0)",
    "dead_fraction": "Dead features (%)",
    "learning_rate": "Learning rate",
    "activations_per_second": "Speed (activations per second)",
    "pw_mcc_abs": "Mean PW-MCC (|cosine|)",
    "gt_mcc_abs": "GT-MCC (|cosine|)",
    "info_nce": "Contrastive loss (InfoNCE)",
    "held_out_log_likelihood": "Held-out log-likelihood (per row)",
    "jacobian_l1": "Strength of all links together",
    "skeleton_f1_on_true_states": "Skeleton F1 (true states)",
    "skeleton_f1_on_estimated_states": "Skeleton F1 (estimated states)",
    "excess_nll": "Adapter: loss over the oracle prior's (nats)",
    "forecast_kl": "Adapter: forecast error KL (nats)",
    **{
        f"{world}.{part}": f"{words} ({name})"
        for world, name in (("dense", "dense world"), ("sparse", "sparse world"), ("pictures", "pictures"))
        for part, words in (
            ("class_loss", "Classifier's loss, nats"),
            ("reconstruction", "Squared error of reconstruction"),
            ("accuracy", "Accuracy on targets"),
        )
    },
    "base.loss": "Loss of the CLIP",
    "base.captioning": "Captioning loss (CLIP, nats per word)",
    "base.validation_recall": "Validation R@1 (CLIP)",
    "clip_long.loss": "Contrastive loss (whole captions)",
    "clip_long.validation_recall": "Validation R@1 (CLIP, whole captions)",
    **{
        f"{arm}.{part}": f"{words} ({name}, validation)"
        for arm, name in (
            ("matte", "MATTE"),
            ("independent", "independent flow"),
            ("no_sparsity", "no sparsity"),
            ("beta_vae", "β-VAE"),
        )
        for part, words in (
            ("reconstruction", "Reconstruction loss"),
            ("kl_content", "KL of content, nats"),
            ("kl_style", "KL of style, nats"),
        )
    },
    "tower.loss": "Captioning loss (image tower)",
    "generator.loss": "Loss (multi-task tuning)",
    "generator.validation": "Validation accuracy (generator)",
    "retraining.loss": "Loss (retraining)",
    "smartclip.loss": "Loss (SmartCLIP)",
    "smartclip.mask_share": "Share kept by masks (SmartCLIP)",
    "smartclip.validation_recall": "Validation R@1 (SmartCLIP)",
}


def _add_family(
    figure: go.Figure,
    table: pd.DataFrame,
    keys: list[str],
    value: str,
    place: Callable[[Any], np.ndarray],
    color: str,
    name: str,
) -> float:
    """Thin lines of every member and a thick line of their mean; returns the last mean."""
    hover = f"step %{{customdata[0]:,}}<br>{name} %{{y:.4f}}<extra>%{{fullData.name}}</extra>"
    for key, rows in table.groupby(keys, sort=False):
        rows = rows.sort_values("step")
        figure.add_scatter(
            x=place(rows["step"]),
            y=rows[value],
            mode="lines",
            line={"color": color, "width": 1},
            opacity=0.45,
            name=plain(" with ".join(key)),
            showlegend=False,
            customdata=rows[["step", *keys]].to_numpy(dtype=object),
            hovertemplate=hover,
        )
    mean = table.groupby("step")[value].mean()
    figure.add_scatter(
        x=place(mean.index),
        y=mean.to_numpy(),
        mode="lines+markers",
        line={"color": color, "width": 3},
        marker={"size": 7},
        name=f"{name}, mean",
        customdata=mean.index.to_numpy()[:, None],
        hovertemplate=hover,
    )
    return float(mean.iloc[-1])


def trajectory(
    frame: Frame, null: float | None = None, gt: Frame | None = None, metric: str = "pw_mcc_abs"
) -> go.Figure:
    """PW-MCC against training step, a thin line a pair and their mean; `gt` (gt_trajectory) adds GT-MCC.

    The step axis is logarithmic with step 0 at its left end. customdata starts with the step.
    """
    table = labelled(frame)
    truth = as_pandas(gt) if gt is not None else pd.DataFrame()
    if table.empty and truth.empty:
        return empty(NO_PAIRS)
    place, axis = log_steps([step for rows in (table, truth) if len(rows) for step in rows["step"]])
    figure, ends = go.Figure(), []
    if len(table):
        end = _add_family(figure, table, ["label_a", "label_b"], metric, place, PALETTE[0], "PW-MCC")
        ends.append(f"PW-MCC ends at {end:.3f}")
    if len(truth):
        truth = truth.assign(label=[f"seed {seed}" for seed in truth["seed"]])
        end = _add_family(figure, truth, ["label"], "gt_mcc_abs", place, PALETTE[1], "GT-MCC")
        ends.append(f"GT-MCC ends at {end:.3f}")
    figure.update_xaxes(axis)
    figure.update_yaxes(
        title_text="Mean |cosine| of matched features" if len(truth) else METRICS[metric], range=[0, 1.02]
    )
    null_line(figure, null)
    chance = "" if null is None else f", chance {null:.3f}"
    return finish(
        figure,
        title="Consistency during training",
        subtitle="; ".join(ends) + chance,
        alt=f"Lines against training step: {'; '.join(ends)}{chance}.",
    )


def training_curves(rows: Frame, metric: str, words: str = "") -> go.Figure:
    """A live metric against step, one line a seed; `rows` has `step`, `seed` and `metric` (events or a frame).

    `metric` is one of `LIVE_METRICS` or any other logged name; `words` is what to call it. customdata is (step, seed).
    """
    table = as_pandas(rows)
    if table.empty or metric not in table or table[metric].dropna().empty:
        return empty("Nothing has been logged yet; the first values appear after a few steps.")
    table = table.dropna(subset=[metric]).sort_values("step", kind="stable")
    seeds = table["seed"] if "seed" in table else pd.Series(np.nan, index=table.index)
    factor = 100 if metric == "dead_fraction" else 1
    figure, last = go.Figure(), []
    for index, (seed, part) in enumerate(table.groupby(seeds, dropna=False)):
        name = "all seeds" if pd.isna(seed) else f"seed {int(seed)}"
        values = factor * part[metric].to_numpy(dtype=float)
        last.append(values[-1])
        figure.add_scatter(
            x=part["step"],
            y=values,
            mode="lines" if len(values) > 1 else "markers",
            line={**series_style(index), "width": 2},
            name=name,
            customdata=[[int(step), None if pd.isna(seed) else int(seed)] for step in part["step"]],
            hovertemplate="step %{x:,}<br>%{y:.4g}<extra>%{fullData.name}</extra>",
        )
    label = words or LIVE_METRICS.get(metric, plain(metric.replace("_", " ").capitalize()))
    positive = min(min(trace.y) for trace in figure.data) > 0
    wide = positive and max(max(trace.y) for trace in figure.data) > 30 * min(
        min(trace.y) for trace in figure.data
    )
    figure.update_xaxes(title_text="Training step", rangemode="tozero")
    off_zero = wide or min(min(trace.y) for trace in figure.data) < 0
    figure.update_yaxes(
        title_text=label, type="log" if wide else "linear", rangemode="normal" if off_zero else "tozero"
    )
    figure.update_layout(showlegend=len(last) > 1)
    return finish(
        figure,
        alt=f"{label} against training step for {len(last)} seeds, last mean {np.mean(last):.4g}.",
        height=320,
    )
