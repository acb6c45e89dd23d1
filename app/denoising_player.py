"""The token × step grids of one rollout or of two side by side, with one slider and one play button for both."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from analyses.figures import plain
from analyses.sapo_frames import MASKED, grid, parts_of
from analyses.sapo_grid import WRITTEN, state_text, step_grid
from app.causal_parts import forget_unless
from app.widgets import literal, picture

TICK = 0.7  # seconds a step stands while playing
COLOURS = (
    "Orange frame: committed at this step. Strong colour: confidence when committed; pale: committed before; grey: masked, "
    "with the token it would take now. Confidence is that of the most probable token; what is sampled may be another."
)
PLAIN_COLOURS = (
    "Orange: committed at this step; blue: committed before; grey: masked. The file tells no confidence."
)


@dataclass(frozen=True)
class Trajectory:
    """One rollout as it is drawn: whose it is, its steps, prompt, completion, and its scores in words."""

    label: str
    tokens: pd.DataFrame
    prompt: str
    completion: str
    words: str

    @property
    def steps(self) -> list[int]:
        return sorted(int(step) for step in self.tokens["step"].unique())

    @property
    def is_long(self) -> bool:
        """Whether tokens do not fit into the grid's cells."""
        return bool(self.tokens["position"].nunique() > WRITTEN)

    @property
    def has_confidence(self) -> bool:
        return bool(self.tokens["confidence"].notna().any())

    def at(self, step: int) -> int:
        """The last step of this trajectory up to `step`."""
        return max([one for one in self.steps if one <= step], default=self.steps[0])


def scores_words(row: dict[str, object], cells: str) -> str:
    """A rollout's scores in one line; exact and cells (called `cells`) always both."""
    parts = ["exact" if row["exact"] else "not exact"] if pd.notna(row["exact"]) else ["not scored"]
    if pd.notna(row["cell"]):
        parts.append(f"{cells} {float(str(row['cell'])):.0%}")
    for name, yes, no in (
        ("junk", "junk trace", "no junk"),
        ("trace_valid", "valid trace", "trace not valid"),
    ):
        if pd.notna(row[name]):
            parts.append(yes if row[name] else no)
    return " · ".join(parts)


def player(
    trajectories: Sequence[Trajectory], key: str = "", below: Callable[[int], None] | None = None
) -> None:
    """The grids at one step, and what `below` draws of it. `key` sets a second player on the page apart from the first."""
    steps = sorted({step for one in trajectories for step in one.steps})
    if not steps:
        st.caption("No steps of these rollouts are stored; only their texts are known.")
        return
    playing = st.session_state.get(f"{key}playing", False) and len(steps) > 1
    st.fragment(_player, run_every=TICK if playing else None)(trajectories, steps, key, below)


def _player(
    trajectories: Sequence[Trajectory], steps: list[int], key: str, below: Callable[[int], None] | None
) -> None:
    step = _controls(steps, key)
    wide = len(trajectories) == 1 and trajectories[0].is_long
    for column, (place, one) in zip(
        st.columns(1 if wide else max(2, len(trajectories))), enumerate(trajectories), strict=False
    ):
        with column:
            if one.steps:
                _one(one, one.at(step), f"{key}grid-{place}", wide)
            else:
                st.caption(f"{literal(one.label)}: no steps of this rollout are stored.")
    st.caption(COLOURS if any(one.has_confidence for one in trajectories) else PLAIN_COLOURS)
    if below:
        below(step)


def _one(one: Trajectory, step: int, name: str, wide: bool) -> None:
    frame = grid(one.tokens)
    now = frame[frame["step"] == step]
    left = int((now["status"] == MASKED).sum())
    figure = step_grid(
        frame, step, parts_of(one.completion), title=plain(one.label),
        subtitle=f"step {step}: {left} of {len(now)} masked · {plain(one.words)}".replace(" · ", "\u00a0· "),
    )  # fmt: skip
    figure.update_layout(uirevision=name)
    picture(figure, frame, name)
    if one.is_long:
        text = state_text(frame, step, title="The text so far", half=not wide)
        picture(text, now, f"{name}-text")


def _controls(steps: list[int], key: str) -> int:
    """Play and the slider (?step=); the step that is shown."""
    name, playing = f"{key}step", st.session_state.get(f"{key}playing", False)
    forget_unless(name, steps)
    if playing:
        _advance(steps, key)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label, icon = ("Pause", ":material/pause:") if playing else ("Play", ":material/play_arrow:")
        pressed = st.button(label, icon=icon, key=f"{key}play", disabled=len(steps) < 2, type="primary")
        step = steps[0]
        if len(steps) > 1:
            step = int(
                str(
                    st.select_slider(
                        "Denoising steps done",
                        steps,
                        None if name in st.session_state else steps[-1],
                        key=name,
                        bind="query-params",
                    )
                )
            )
    if pressed:
        st.session_state[f"{key}playing"] = not playing
        st.session_state[f"{key}from_start"] = not playing and step == steps[-1]
        st.rerun()
    if playing and step == steps[-1]:
        st.session_state[f"{key}playing"] = False
        st.rerun()
    return step


def _advance(steps: list[int], key: str) -> None:
    """One step on; from the first where the last was reached before."""
    name = f"{key}step"
    if st.session_state.pop(f"{key}from_start", False) or name not in st.session_state:
        st.session_state[name] = steps[0]
        return
    place = steps.index(int(st.session_state[name]))
    st.session_state[name] = steps[min(place + 1, len(steps) - 1)]
