"""Denoising live: a span of the rollout masked again, and a prompt of the reader's own."""

from typing import Any

import pandas as pd
import streamlit as st

from analyses.sapo import wilson
from analyses.sapo_frames import parts_of
from app.causal_parts import choice, forget_unless
from app.connection import client
from app.denoising_parts import Policy, why_no_policy
from app.denoising_player import Trajectory, player, scores_words
from app.widgets import literal
from engine.client import EngineError

Answer = dict[str, Any]
TRIES = 16
EXAMPLE = "3 + 5 * 2 - 7"
OTHER = "positions"
ENTIRE = "trace and answer"


def remask_section(policy: Policy, shown: Trajectory) -> None:
    """Mask a span of the first policy's rollout again and denoise it, the rest left as it is."""
    st.subheader("Mask a span again")
    if reason := why_no_policy(policy.run):
        st.caption(reason)
        return
    words = shown.completion.split()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        span = _span(words, parts_of(shown.completion))
        tries = _tries("again_tries")
        pressed = st.button(
            "Mask and denoise again", type="primary", icon=":material/replay:", key="again_go"
        )
    masked = " ".join(words[position] for position in span)
    st.caption(
        literal(
            f"{policy.label}, prompt {shown.prompt}: {masked} at {_positions(span)} masked again; one token is committed a step."
        )
    )
    kept = f"again-{policy.run['id']}-{policy.arm}-{policy.seed}-{shown.prompt}"
    if pressed:
        _ask(
            "again",
            kept,
            policy,
            shown.prompt,
            tries,
            completion=shown.completion,
            span=span,
        )
    _show("again", kept, [policy.label], policy.cells)


def _span(words: list[str], parts: dict[str, tuple[int, int]]) -> list[int]:
    """The positions to mask (?span=): a named part, or what a slider says."""
    named = {name: list(range(first, last + 1)) for name, (first, last) in parts.items()}
    if "trace" in named:
        named[ENTIRE] = named["trace"] + named["answer"]
    options = [*named, OTHER]
    chosen = choice("Span", options, "span", "answer" if "answer" in named else options[0])
    if chosen != OTHER:
        return named[chosen]
    low, high = st.slider(
        "From and to position", 1, len(words), (1, max(1, len(words) // 2)), key="span_range"
    )
    return list(range(low - 1, high))


def _positions(span: list[int]) -> str:
    return f"position {span[0] + 1} is" if len(span) == 1 else f"{len(span)} positions are"


def _tries(key: str) -> int:
    return int(st.number_input("Tries", 1, 64, TRIES, key=key, help="The first is shown step by step."))


def own_section(chosen: list[Policy], start: str) -> None:
    """A prompt of the reader's own under the chosen policies."""
    st.subheader("Your own prompt")
    able = [policy for policy in chosen if not why_no_policy(policy.run)]
    if not able:
        st.caption(f"{why_no_policy(chosen[0].run)} Choose a trained small policy above.")
        return
    key = f"own_prompt_{able[0].run['id']}"
    if key not in st.session_state:
        st.session_state[key] = st.query_params.get("own", "") or start
    prompt = st.text_input("Prompt, words with spaces between", key=key, max_chars=10_000)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        temperature = float(
            st.number_input(
                "Temperature", 0.0, 5.0, float(able[0].run["config"]["temperature"]), 0.1, key="own_temperature",
                bind="query-params", help="0 takes the most probable token.",
            )
        )  # fmt: skip
        remasking = choice("Committed", ["low_confidence", "random"], "own_remasking", format_func=_remasking)
        tries = _tries("own_tries")
        pressed = st.button("Denoise", type="primary", icon=":material/bolt:", key="own_go")
    names = "-".join(f"{policy.run['id']}-{policy.arm}-{policy.seed}" for policy in able)
    if pressed:
        st.query_params["own"] = prompt
        for place, policy in enumerate(able):
            _ask(
                f"own{place or ''}",
                names,
                policy,
                prompt,
                tries,
                temperature=temperature,
                remasking=remasking,
            )
    _show("own", names, [policy.label for policy in able], able[0].cells)


@st.fragment
def bundled_section() -> None:
    """A prompt under the bundled base, denoised at once when the page is opened."""
    st.subheader("The bundled base at work")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        prompt = st.text_input(
            "A chain of three operations, modulo 10",
            EXAMPLE,
            key="bundled_prompt",
            max_chars=100,
            bind="query-params",
        )
        tries = _tries("bundled_tries")
        pressed = st.button("Denoise", icon=":material/bolt:", key="bundled_go")
    if pressed or "live_bundled" not in st.session_state:
        _ask("bundled", "bundled", None, prompt, tries)
    _show("bundled", "bundled", ["the bundled base"])


def _remasking(name: str) -> str:
    return {"low_confidence": "most confident", "random": "random"}[name]


def _ask(name: str, of: str, policy: Policy | None, prompt: str, tries: int, **more: Any) -> None:
    """Ask the engine, and keep its answer or its refusal under `name`."""
    asked = {"repeats": tries, "sample": _next_sample(), **more}
    asked |= {"arm": policy.arm, "seed": policy.seed} if policy else {}
    try:
        with st.spinner("Denoising"):
            found: Answer = {
                "answer": client().denoise(policy.run["id"] if policy else None, prompt, **asked)
            }
    except EngineError as error:
        found = {"refusal": error.message}
    st.session_state[f"live_{name}"] = {"of": of, **found}
    group = name.rstrip("0123456789")
    st.session_state[f"{group}_playing"] = "answer" in found
    st.session_state[f"{group}_from_start"] = True


def _next_sample() -> int:
    """Another random stream for every question."""
    st.session_state["live_sample"] = st.session_state.get("live_sample", 0) + 1
    return int(st.session_state["live_sample"])


def _show(name: str, of: str, asked: list[str], cells: str = "answer") -> None:
    """Success of all tries with its interval, and the first of them step by step."""
    found = []
    for place, label in enumerate(asked):
        kept = st.session_state.get(f"live_{name}{place or ''}")
        if kept is None or kept["of"] != of:
            continue
        if "refusal" in kept:
            st.error(literal(kept["refusal"]))
            return
        answer = kept["answer"]
        low, high = wilson(answer["success"] * answer["tries"], answer["tries"])
        st.markdown(
            f"{literal(label)}: **{answer['success']:.0%}** of {answer['tries']} tries exact "
            f"(95 % Wilson {low:.0%} to {high:.0%})"
        )
        row = answer["rollout"]
        tokens = pd.DataFrame(answer["steps"])
        found.append(Trajectory(label, tokens, row["prompt"], row["completion"], scores_words(row, cells)))
        with st.expander(f"All {answer['tries']} completions of {literal(label)}"):
            st.code("\n".join(answer["completions"]), language=None)
    forget_unless(f"{name}_step", sorted({step for one in found for step in one.steps}))
    if found:
        player(found, f"{name}_")
