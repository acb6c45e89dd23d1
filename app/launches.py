"""Runs that were launched together: one entry, one progress bar, one button to cancel or resume them all."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.connection import client, may_launch, stay_connected
from app.widgets import (
    ACTIVE,
    STATE_ICONS,
    attempt,
    describe,
    duration,
    literal,
    progress_text,
    result_url,
    show_progress,
)
from engine.client import RESUMABLE

Run = dict[str, Any]
LISTED = 1000
ORDER = ("running", "queued", "failed", "interrupted", "cancelled", "done")


@dataclass(frozen=True)
class Launch:
    """Runs with one group, in the order they were launched, or a run by itself; `id` is the group's or the run's."""

    id: str
    runs: tuple[Run, ...]

    @property
    def alone(self) -> bool:
        return len(self.runs) == 1

    @property
    def state(self) -> str:
        """The state that matters most among its runs."""
        return min((run["state"] for run in self.runs), key=ORDER.index)

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def created(self) -> float:
        return max(run["created"] for run in self.runs)

    def count(self, *states: str) -> int:
        return sum(run["state"] in states for run in self.runs)


def launches(runs: Sequence[Run]) -> list[Launch]:
    """The runs (newest first) by launch, the newest launch first."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run["group"] or run["id"], []).insert(0, run)
    return [Launch(id, tuple(members)) for id, members in found.items()]


def describe_launch(launch: Launch) -> str:
    """A launch in one line: what varies in it, and its seeds; a run by itself as `describe` says it."""
    first = launch.runs[0]
    if launch.alone:
        return describe(first)
    names = [name for name in first["config"] if len({str(run["config"][name]) for run in launch.runs}) > 1]
    seeds = ", ".join(map(str, first["seeds"]))
    return f"{len(launch.runs)} runs over {', '.join(names)} · seeds {seeds} · launch {launch.id[:6]}"


def tally(launch: Launch) -> str:
    """How many of a launch's runs are in which state: "12 done, 16 running"."""
    counts = ((state, launch.count(state)) for state in reversed(ORDER))
    return ", ".join(f"{count} {state}" for state, count in counts if count)


def combined(launch: Launch) -> tuple[float, str]:
    """Share done and words for the one bar of a launch that is queued or running.

    Its runs train step by step together and are evaluated one after the other.
    """
    total, done = len(launch.runs), launch.count("done")
    running = [run for run in launch.runs if run["state"] == "running"]
    if any(run["stopping"] for run in running):
        return 1.0, "Stopping: saving checkpoints"
    if not running:
        place = min(run["queue_place"] for run in launch.runs if run["queue_place"])
        return done / total, f"Waiting, place {place} in the queue"
    shares = [
        (p["done"] / p["total"], p["stage"], p["eta_s"])
        for p in (run["progress"] for run in running)
        if p and p["total"]
    ]
    behind = [item for item in shares if item[1] == "training" and item[0] < 1]
    if behind:
        share, left = min(item[0] for item in behind), max(item[2] or 0 for item in behind)
        text = f"Training {total} runs side by side: {share:.0%}"
        return share, text + (f", {duration(left)} left" if left else "")
    if any(stage == "training" for _, stage, _ in shares):
        return done / total, f"Evaluating and matching: {done} of {total} runs done{_left(launch)}"
    if shares:
        return shares[0][0], f"{shares[0][1].capitalize()}: {shares[0][0]:.0%}"
    return 0.0, "Starting"


def _left(launch: Launch) -> str:
    """Words on the time left, from the pace at which its runs were finished."""
    ends = sorted(run["finished"] for run in launch.runs if run["state"] == "done")
    if len(ends) < 2:
        return ""
    pace = (ends[-1] - ends[0]) / (len(ends) - 1)
    left = pace * (len(launch.runs) - len(ends)) - (time.time() - ends[-1])
    return f", {duration(left)} left" if left > 1 else ""


def launch_progress(launch: Launch) -> None:
    """The bar of an active launch or run."""
    if launch.alone:
        show_progress(launch.runs[0])
        return
    share, text = combined(launch)
    st.progress(min(share, 1.0), text=text)


def launch_actions(launch: Launch) -> None:
    """Cancel an active launch, resume one that ended early."""
    if launch.active and not any(run["stopping"] for run in launch.runs):
        st.button(
            "Cancel",
            on_click=_cancel,
            args=(launch,),
            icon=":material/stop:",
            key=f"stop-{launch.id}",
            **may_launch(),
        )
    if not launch.active and launch.count(*RESUMABLE):
        st.button(
            "Resume",
            type="primary",
            on_click=_resume,
            args=(launch,),
            icon=":material/play_arrow:",
            key=f"resume-{launch.id}",
            **may_launch(),
        )


def _cancel(launch: Launch) -> None:
    """Queued runs first, so that none starts when the running ones have stopped."""
    for run in sorted(launch.runs, key=lambda run: run["state"] == "running"):
        if run["state"] in ACTIVE:
            attempt(lambda run=run: client().cancel(run["id"]))


def _resume(launch: Launch) -> None:
    first = next(run for run in launch.runs if run["state"] in RESUMABLE)
    attempt(lambda: client().resume(first["id"]))


def members(launch_id: str) -> Launch | None:
    """The launch (or run) as it is now."""
    runs = [run for run in client().runs(limit=LISTED) if launch_id in (run["group"], run["id"])]
    return next(iter(launches(runs)), None)


def show_launch(launch: Launch, named: bool = True) -> None:
    """State, name, bar and buttons of a launch; refreshes itself while it is active."""
    if launch.active:
        _watch(launch.id, launch.count(*ACTIVE), named)
    else:
        _lines(launch, named)


@st.fragment(run_every=2)
def watch_bar(launch_id: str) -> None:
    """The bar of an active launch by itself."""
    stay_connected()
    launch = members(launch_id)
    if launch is None or not launch.active:
        st.rerun()
    else:
        launch_progress(launch)


@st.fragment(run_every=2)
def _watch(launch_id: str, left: int, named: bool) -> None:
    """Runs the page again when a run of the launch has come to its end, so that its figures appear."""
    stay_connected()
    launch = members(launch_id)
    if launch is None or launch.count(*ACTIVE) != left:
        st.rerun()
    else:
        _lines(launch, named)


def _lines(launch: Launch, named: bool) -> None:
    name = f"{literal(describe_launch(launch))} · " if named else ""
    st.markdown(f"{STATE_ICONS[launch.state]} {name}{tally(launch)}")
    if launch.active:
        launch_progress(launch)
    for error in dict.fromkeys(run["error"] for run in launch.runs if run["error"]):
        st.error(error)
    with st.container(horizontal=True, vertical_alignment="center"):
        launch_actions(launch)


def member_rows(launch: Launch) -> list[dict[str, Any]]:
    """A launch's runs as rows of a table."""
    return [
        {
            "state": run["state"],
            "run": describe(run),
            "progress": progress_text(run),
            "open": result_url(run),
        }
        for run in launch.runs
    ]
