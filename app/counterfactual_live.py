"""Type a sentence, or take a row of a world, and move its style noise: the result here and in another domain, live."""

from typing import Any

import streamlit as st

from analyses.counterfactual_figures import latents_figure, outputs_figure
from analyses.counterfactual_frames import live_latents, live_outputs
from analyses.counterfactual_text import ADDED, REMOVED, word_changes
from app.causal_parts import choice, forget_unless
from app.connection import client, table
from app.counterfactual_parts import Chosen, domains_of
from app.widgets import literal, picture
from engine.client import EngineError

Answer = dict[str, Any]
EXAMPLE = "the plot is boring and the acting is terrible"
AS_IT_IS = "as it is"
PINNED = "cf_pinned"
MOST_SLIDERS = 16
MOST_PINNED = 6
REACH = 4.0


def differences(before: list[str], after: list[str]) -> str:
    """Markdown of two sentences as one, words that went struck through on red, words that came on green."""
    found = []
    for word, kind in word_changes(before, after):
        text = literal(word)
        found.append(
            f":red-background[~~{text}~~]"
            if kind == REMOVED
            else f":green-background[{text}]"
            if kind == ADDED
            else text
        )
    return " ".join(found) or "*(nothing)*"


@st.fragment
def live_section(chosen: Chosen) -> None:
    """Before and after of a sentence or a row, its latents, and the same move in another domain."""
    st.subheader("Move a style")
    request = _sentence(chosen) if chosen.is_text else _row(chosen)
    request["moves"] = _sliders(chosen)
    if chosen.is_text and len(request["text"].split()) < 2:
        st.info("Write a sentence of two words or more.")
        return
    try:
        answer = _ask(chosen.run["id"], chosen.seed, chosen.arm, request)
    except EngineError as error:
        st.error(literal(error.message))
        return
    if chosen.is_text:
        _show_sentences(answer)
        _pinning(answer, chosen)
    _surprise(answer)
    left, right = st.columns(2)
    with left:
        frame = live_latents(answer)
        picture(latents_figure(frame), frame, "latents")
    with right:
        if not chosen.is_text:
            lines = live_outputs(answer)
            picture(outputs_figure(lines), lines, "outputs")
        else:
            _pinned()


def _ask(run: str, seed: int, arm: str, request: dict[str, Any]) -> Answer:
    return _cached(run, seed, arm, tuple(sorted((name, _frozen(value)) for name, value in request.items())))


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@st.cache_data(max_entries=200, show_spinner="Asking the model")
def _cached(run: str, seed: int, arm: str, request: tuple[tuple[str, Any], ...]) -> Answer:
    asked: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in request
    }
    return client().counterfactual(run, asked.pop("domain"), asked.pop("other"), seed=seed, arm=arm, **asked)


def _domains(chosen: Chosen) -> tuple[str, str]:
    """The domain and the other one (?domain=, ?other=)."""
    names = domains_of(chosen.run)
    found = []
    for label, key, start in (("Domain", "domain", 0), ("The same move in", "other", 1)):
        forget_unless(key, names)
        found.append(str(st.selectbox(label, names, start, key=key, bind="query-params")))
    return found[0], found[1]


def _sentence(chosen: Chosen) -> dict[str, Any]:
    left, right = st.columns([3, 2])
    with left:
        start = EXAMPLE if chosen.run["config"]["source"] == "text" else _own_example(chosen)
        text = st.text_input("Your sentence", start, key="text", max_chars=2_000, bind="query-params")
        styles = _styles(chosen)
        target = AS_IT_IS
        if styles and chosen.arm != "beta_vae":
            target = choice(
                "Start from",
                [AS_IT_IS, *(f"towards {name}" for name in styles)],
                "target",
                f"towards {styles[1]}",
            )
    with right:
        domain, other = _domains(chosen)
    place = None if target == AS_IT_IS else [f"towards {name}" for name in styles].index(target)
    return {"text": text, "domain": domain, "other": other, "target": place}


def _styles(chosen: Chosen) -> list[str]:
    data = table(chosen.run["id"], "cf_data")
    return list(data.loc[data["name"] == "style"].sort_values("key")["value"])


def _own_example(chosen: Chosen) -> str:
    pairs = table(chosen.run["id"], "cf_pairs", limit=1)
    return str(pairs["source"].iloc[0]) if len(pairs) else ""


def _row(chosen: Chosen) -> dict[str, Any]:
    """A test row of the world, and the donor of its noise (?row=, ?donor=)."""
    last = int(chosen.run["config"]["n_test"]) - 1
    names = domains_of(chosen.run)
    one, two, three = st.columns(3)
    forget_unless("other", names)
    with one:
        row = st.number_input("Test row", 0, last, 0, key="row", bind="query-params")
    with two:
        donor = st.number_input(
            "Noise of row",
            -1,
            last,
            1,
            key="donor",
            bind="query-params",
            help="−1 keeps the row's own noise.",
        )
    with three:
        other = str(st.selectbox("The same move in", names, 1, key="other", bind="query-params"))
    place = int(str(donor))
    return {"row": int(str(row)), "donor": None if place < 0 else place, "domain": names[0], "other": other}


def _sliders(chosen: Chosen) -> list[float]:
    """A slider for each dimension of s̃, in standard deviations of the codes (?n1=, ?n2=, …)."""
    count = min(int(chosen.run["config"]["d_style"]), MOST_SLIDERS)
    moves = []
    with st.expander("Style noise, dimension by dimension", expanded=True):
        for first in range(0, count, 4):
            for column, dim in zip(st.columns(4), range(first, min(first + 4, count)), strict=False):
                key = f"n{dim + 1}"
                with column:
                    moves.append(
                        float(
                            st.slider(
                                f"s̃{dim + 1} (σ)", -REACH, REACH, 0.0, 0.25, key=key, bind="query-params"
                            )
                        )
                    )
    return moves


def _show_sentences(answer: Answer) -> None:
    seen, unmoved = answer["seen"], answer["unmoved"]
    rows = [
        ("As the model reads it", literal(" ".join(seen["words"])), seen, "… stands for a word it does not know."),
        ("Unmoved", differences(seen["words"], unmoved["words"]), unmoved, "What its decoder makes of the latents as they are."),
        (f"Moved, {answer['domain']}", differences(unmoved["words"], answer["after"]["written"]["words"]), answer["after"]["written"], "Against the unmoved sentence."),
        (f"Moved, {answer['other']}", differences(unmoved["words"], answer["after_other"]["written"]["words"]), answer["after_other"]["written"], "The same s̃ abducted and predicted in that domain."),
    ]  # fmt: skip
    second = answer["styles"][1] if answer["styles"] else ""
    for title, text, one, note in rows:
        left, middle, right = st.columns([2, 6, 2])
        left.markdown(f"**{literal(title)}**", help=note)
        middle.markdown(text)
        if one["probability"] is not None:
            right.caption(f"{literal(second)} {one['probability']:.0%}")


def _surprise(answer: Answer) -> None:
    found = answer["surprise"]
    if found["after"] > found["usual"]:
        st.warning(
            f"This noise is unusual: {found['after']:.1f} nats, where 95 % of the test rows stay below {found['usual']:.1f}. "
            "Far from what was trained on the decoder writes anything."
        )
    else:
        st.caption(
            f"Surprise of the style noise: {found['before']:.1f} nats before, {found['after']:.1f} after; 95 % of the test rows stay below "
            f"{found['usual']:.1f}."
        )


def _pinning(answer: Answer, chosen: Chosen) -> None:
    kept = {
        "text": " ".join(answer["unmoved"]["words"]), "moved": " ".join(answer["after"]["written"]["words"]),
        "where": f"{answer['domain']} · {chosen.arm} · seed {chosen.seed}",
    }  # fmt: skip
    if st.button("Pin to compare", icon=":material/push_pin:", key="cf_pin"):
        pins = st.session_state.setdefault(PINNED, [])
        if kept not in pins:
            st.session_state[PINNED] = [kept, *pins][:MOST_PINNED]


def _pinned() -> None:
    pins = st.session_state.get(PINNED, [])
    st.markdown("**Pinned**")
    if not pins:
        st.caption("Pin a sentence, then change domain, arm, seed or sliders, and compare.")
    for pin in pins:
        st.caption(literal(pin["where"]))
        st.markdown(differences(pin["text"].split(), pin["moved"].split()))
    if pins and st.button("Unpin all", key="cf_unpin", type="tertiary"):
        st.session_state[PINNED] = []
        st.rerun(scope="fragment")
