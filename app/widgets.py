"""Pieces every page uses: words for a run, pictures with their exports, progress, live curves."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from pathlib import PurePath
from typing import Any, TypeVar
from urllib.parse import urlencode, urlparse

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from analyses.figures import PLOTLY_CONFIG, to_csv
from analyses.sae_consistency import training_curves
from analyses.sae_sweep import recipe_name, sparsity_text
from app.causal_words import CAUSAL_SETTINGS
from app.connection import client, has_browser, may_launch
from app.counterfactual_words import COUNTERFACTUAL_SETTINGS
from app.denoising_words import DENOISING_SETTINGS
from app.extrapolation_words import EXTRAPOLATION_SETTINGS
from app.label_shift_words import SHIFT_SETTINGS
from app.masks_words import MASK_SETTINGS
from app.refinement_words import REASONING_SETTINGS
from app.triplets_words import SRF_SETTINGS
from engine.client import EngineError

Item = TypeVar("Item")
EXPORT_WIDTH = 720
SHOW_BAR_AFTER = 1.0  # seconds
ACTIVE = ("queued", "running")
STATE_ICONS = {
    "queued": ":material/schedule:",
    "running": ":material/progress_activity:",
    "done": ":material/check_circle:",
    "failed": ":material/error:",
    "cancelled": ":material/cancel:",
    "interrupted": ":material/pause_circle:",
}
PAGES = {
    "home": "views/start.py",
    "features": "views/features.py",
    "map": "views/map.py",
    "lab": "views/lab.py",
    "consistency": "views/consistency.py",
    "causal_graph": "views/causal_graph.py",
    "hierarchy": "views/hierarchy.py",
    "recovery": "views/recovery.py",
    "counterfactuals": "views/counterfactuals.py",
    "extrapolation": "views/extrapolation.py",
    "label_shift": "views/label_shift.py",
    "denoising": "views/denoising.py",
    "refinement": "views/refinement.py",
    "caption_masks": "views/caption_masks.py",
    "triplets": "views/triplets.py",
    "new": "views/new.py",
    "jobs": "views/jobs.py",
    "compare": "views/compare.py",
    "figures": "views/figures.py",
    "sql": "views/sql.py",
}


def show_progress(run: dict[str, Any]) -> None:
    """Bar, stage and remaining time of a queued or running run."""
    progress = run["progress"]
    if run["state"] == "queued":
        st.progress(0.0, text=f"Waiting, place {run['queue_place']} in the queue")
    elif run["stopping"]:
        st.progress(1.0, text="Stopping: saving a checkpoint")
    elif progress is None:
        st.progress(0.0, text="Starting")
    else:
        share = min(progress["done"] / progress["total"], 1.0) if progress["total"] else 0.0
        text = f"{progress['stage'].capitalize()}: {share:.0%}"
        st.progress(share, text=text + (f", {duration(progress['eta_s'])} left" if progress["eta_s"] else ""))


def duration(seconds: float) -> str:
    """A time span in words a person uses."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def number(value: float | None, format: str = ".3f") -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None or pd.isna(value) else f"{value:{format}}"


def size(count: float) -> str:
    """An amount of memory or disk."""
    return (
        f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB" if count >= 1e6 else "under 1 MB"
    )


def ago(moment: float) -> str:
    return f"{duration(max(time.time() - moment, 0))} ago"


def progress_text(run: dict[str, Any]) -> str:
    """Progress of a run in a table's cell."""
    progress = run["progress"]
    if run["queue_place"]:
        return f"place {run['queue_place']}"
    if not progress or not progress["total"]:
        return ""
    left = f", {duration(progress['eta_s'])} left" if progress["eta_s"] else ""
    return f"{progress['stage']} {progress['done'] / progress['total']:.0%}{left}"


def state_badge(state: str) -> str:
    return f"{STATE_ICONS[state]} {state}"


VARIES = {
    "init": "random starts differ",
    "order": "data orders differ",
    "both": "starts and data orders differ",
}


def recipe(config: dict[str, Any]) -> str:
    """The SAE's recipe in words: architecture and controls, sparsity, what varies between seeds, where it starts."""
    varies = config.get("seed_varies", "init")
    words = [
        recipe_name(config),
        sparsity_text(config),
        "" if varies == "init" else VARIES[varies],
        origin(config),
    ]
    return " · ".join(word for word in words if word)


def origin(config: dict[str, Any]) -> str:
    """Where the SAEs come from when not from a random start: "from run d61488", "from sae-a, sae-b", or pooled."""
    start = config.get("start_from", "")
    if is_pooled(config):
        return "pooled from several seeds"
    if start.startswith("run:"):
        return f"from run {start.removeprefix('run:')[:6]}"
    names = [PurePath(part.strip()).name for part in start.split(",") if part.strip()]
    return f"from {', '.join(names[:2])}{' …' if len(names) > 2 else ''}" if names else ""


def is_pooled(config: dict[str, Any]) -> bool:
    """Whether the SAE is a stable dictionary that the engine has made of several seeds' features."""
    return PurePath(config.get("start_from", "")).parent.name == "pooled"


TOOLS = {
    "feature_cards": ("Feature cards", "of", "features"),
    "feature_map": ("Map", "runs", "map"),
    "triplet_map": ("Triplet map", "of", "triplets"),
}
RESULTS = {
    "sae_consistency": ("consistency", "runs"),
    "multimodal_causal": ("causal_graph", "run"),
    "concept_hierarchy": ("hierarchy", "run"),
    "sapo": ("denoising", "run"),
    "sr2": ("refinement", "run"),
    "label_shift": ("label_shift", "run"),
    "extrapolation": ("extrapolation", "run"),
    "counterfactual_text": ("counterfactuals", "run"),
    "smartclip": ("caption_masks", "run"),
    "srf": ("triplets", "run"),
}


def result_link(run: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The page that shows a finished run's result (its job, where the study has no page), and its query."""
    if run["study"] in TOOLS:
        _, field, page = TOOLS[run["study"]]
        return page, {"run" if page == "triplets" else "runs": run["config"][field]}
    page, name = RESULTS.get(run["study"], ("jobs", "run"))
    return page, {name: run["id"]}


def result_url(run: dict[str, Any]) -> str:
    """The address of a finished run's result, or of the job while there is none, for a column of links."""
    if run["state"] != "done":
        return f"jobs?run={run['id']}"
    page, query = result_link(run)
    return f"{page.replace('_', '-')}?{urlencode(query, safe=',')}"


def describe(run: dict[str, Any]) -> str:
    """A run in one line."""
    config = run["config"]
    if run["study"] in TOOLS:
        name, field, _ = TOOLS[run["study"]]
        of = [part[:6] for part in config[field].split(",")]
        more = f" and {len(of) - 3} more" if len(of) > 3 else ""
        return f"{name} of run{'s' if len(of) > 1 else ''} {', '.join(of[:3])}{more} · {run['id'][:6]}"
    study = run["study"]
    words = _SETTINGS[study](config) if study in _SETTINGS else study.replace("_", " ")
    seeds = ", ".join(map(str, run["seeds"]))
    return f"{run['preset'] or 'custom'} · {words} · seeds {seeds} · {run['id'][:6]}"


def of_run(config: dict[str, Any]) -> str:
    """The run whose model SAEs read: "run d61488 seed-2 · "; nothing where they read a language model."""
    model = str(config.get("model", ""))
    if not model.startswith("run:"):
        return ""
    run, _, rest = model.removeprefix("run:").partition("/")
    return f"run {run[:6]} {rest}".strip() + " · "


def _sae_settings(config: dict[str, Any]) -> str:
    where = f"{config.get('world', 'uniform')} world"
    if config["source"] == "language_model":
        where = f"{of_run(config)}{config['hook_point']}"
    return f"{where} · {recipe(config)} · d_sae {config['d_sae']:,}"


_SETTINGS = {
    "sae_consistency": _sae_settings,
    **CAUSAL_SETTINGS,
    **REASONING_SETTINGS,
    **DENOISING_SETTINGS,
    **MASK_SETTINGS,
    **SHIFT_SETTINGS,
    **EXTRAPOLATION_SETTINGS,
    **COUNTERFACTUAL_SETTINGS,
    **SRF_SETTINGS,
}


def literal(text: str) -> str:
    """Text as it stands, where Streamlit would read markdown."""
    return re.sub(r"([\\`*_\[\]<>$:~#|])", r"\\\1", text)


LABELS = {"graphml": "GraphML"}
Files = dict[str, Callable[[], bytes]]  # by ending


def picture(
    figure: go.Figure, frame: pd.DataFrame, name: str, files: Files | None = None, **chart: Any
) -> None:
    """A figure with its exports: SVG, PDF and PNG of this very figure, CSV of the frame behind it, and more `files`."""
    selects = chart.get("selection_mode", ())
    unused = [
        f"{button}2d" for mode, button in (("box", "select"), ("lasso", "lasso")) if mode not in selects
    ]
    config = {
        **PLOTLY_CONFIG,
        "toImageButtonOptions": {"format": "svg", "filename": name},
        "modeBarButtonsToRemove": [*unused, "autoScale2d"],
    }
    st.plotly_chart(
        figure, theme=None, key=f"chart-{name}", alt=figure.layout.meta["alt"], config=config, **chart
    )
    formats = ["svg", "pdf", "png"] if has_browser() else []
    with st.container(horizontal=True, gap="small"):
        offered: Files = {format: partial(_rendered, figure, format) for format in formats}
        offered |= {"csv": partial(to_csv, frame), **(files or {})}
        for ending, content in offered.items():
            st.download_button(
                LABELS.get(ending, ending.upper()),
                content,
                file_name=f"{name}.{ending}",
                mime="text/csv" if ending == "csv" else None,
                key=f"{ending}-{name}",
                on_click="ignore",
                type="tertiary",
                icon=":material/download:",
            )
        st.button(
            "Keep",
            key=f"keep-{name}",
            on_click=_keep,
            args=(figure, frame, name),
            type="tertiary",
            icon=":material/bookmark_add:",
            **may_launch(
                help="Keep this picture, its numbers and where they came from under Library, Figures."
            ),
        )
    if not formats:
        st.caption(
            "PDF and PNG files need Chrome or Chromium on the engine's machine; the camera button above the picture saves an SVG without it."
        )


def _keep(figure: go.Figure, frame: pd.DataFrame, name: str) -> None:
    page = urlparse(st.context.url or "").path.rpartition("/")[2] or "home"
    asked = {key: st.query_params.get_all(key) for key in st.query_params}
    query = urlencode(asked, doseq=True, safe=",")
    link = f"{page}?{query}" if query else page
    title = (figure.layout.title.text or "").split("<")[0] or name.replace("-", " ")
    kept = attempt(lambda: client().save_figure(title[:120], link, figure.to_json(), to_csv(frame).decode()))
    if kept:
        st.toast(f"Kept under Library, Figures: {literal(kept['name'])}")


def _rendered(figure: go.Figure, format: str) -> bytes:
    height = int(figure.layout.height or 420)
    return client().export_figure(figure.to_json(), format, EXPORT_WIDTH, height)


def new_events(run_id: str) -> list[dict[str, Any]]:
    """Every event of a run read so far; each call fetches only what is new since the last."""
    kept = st.session_state.setdefault("events", {})
    mine = kept.setdefault(run_id, {"cursor": 0, "rows": []})
    found = client().events(run_id, mine["cursor"])
    mine["cursor"] = found["cursor"]
    mine["rows"] += found["rows"]
    return mine["rows"]


NOT_A_CURVE = ("t", "kind", "step", "seed", "learning_rate")


def live_curves(run_id: str, metrics: tuple[str, ...] | None, key: str, active: bool = True) -> None:
    """Training curves (of `metrics`, or of all that is logged), two abreast; says so when an active run has none yet."""
    rows = [row for row in new_events(run_id) if row["kind"] == "log"]
    logged = dict.fromkeys(name for row in rows for name in row)
    shown = [
        name
        for name in metrics or logged
        if name in logged and name not in NOT_A_CURVE and not name.endswith("_per_second")
    ]
    if active and not shown:
        st.caption("Curves appear with the first training steps.")
    for first in range(0, len(shown), 2):
        for column, metric in zip(st.columns(2), shown[first : first + 2], strict=False):
            figure = training_curves(rows, metric)
            column.plotly_chart(
                figure,
                theme=None,
                key=f"{key}-{metric}",
                alt=figure.layout.meta["alt"],
                config=PLOTLY_CONFIG,
            )
    speed = [row["activations_per_second"] for row in rows if "activations_per_second" in row]
    if speed:
        st.caption(f"{speed[-1]:,.0f} activations per second, all seeds together.")


def worker_output(run_id: str, expanded: bool = False) -> None:
    """The run's messages and the end of its worker's output, as text."""
    with st.expander("Worker output and messages", expanded=expanded):
        messages = [row["text"] for row in client().events(run_id)["rows"] if row["kind"] == "message"]
        text = "\n".join([*messages, client().log(run_id)["text"]]).strip()
        st.code(text or "No output.", language=None, wrap_lines=True)


def gradually(items: Sequence[Item], words: str) -> Iterator[Item]:
    """The items one by one, under a bar with these words once they take longer than a second."""
    bar, started = st.empty(), time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - started > SHOW_BAR_AFTER:
            bar.progress(done / len(items), text=f"{words}: {done} of {len(items)}")
        yield item
    bar.empty()


def unused_seeds(used: set[int], how_many: int) -> list[int]:
    """The smallest seeds that are not used yet."""
    return list(islice((seed for seed in count() if seed not in used), how_many))


def attempt(action: Any) -> Any:
    """Run a command of the engine; its refusal is kept and shown by `show_refusal` on the next run of the page."""
    try:
        return action()
    except EngineError as error:
        st.session_state["refusal"] = error.message
        return None


def show_refusal() -> None:
    if message := st.session_state.pop("refusal", None):
        st.error(message)
