"""The card of one SAE feature: its numbers, pictures and examples, from the card the engine hands out.

A card is the dictionary of `engine.client.Client.card`. Every function takes a card whose values may be missing.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from analyses.feature_text import number, one_line, share
from analyses.figures import PALETTE, empty, finish, plain

Card = dict[str, Any]
Example = dict[str, Any]
UNITS = "units of the vectors the SAE was trained on"
ORANGE = (230, 159, 0)  # Okabe & Ito
LABEL_WIDTH = 14  # characters
FIGURE_HEIGHT = 380
MONO = "DejaVu Sans Mono, Menlo, Consolas, monospace"


class Number(NamedTuple):
    """One number of a card as it is shown: its name, the text, and what it means."""

    name: str
    text: str
    meaning: str


def name_of(card: Card) -> str:
    """The feature's name: run, seed and index."""
    return f"{card['run'][:6]} · seed {card['seed']} · feature {card['feature']}"


def numbers(card: Card) -> list[Number]:
    """The card's numbers, a dash where one is missing."""
    tokens = card.get("n_tokens")
    read = f"of the {tokens:,} tokens behind this card" if tokens else "of the card's tokens"
    return [
        Number("Density", share(card.get("density")), f"Share {read} on which the feature is active."),
        Number(
            "Frequency",
            share(card.get("frequency")),
            "Share of held-out tokens on which the feature is active.",
        ),
        Number("Maximum", number(card.get("max_activation")), f"Largest activation, in {UNITS}."),
        Number(
            "Mean", number(card.get("mean_activation")), f"Mean activation where it is active, in {UNITS}."
        ),
        Number(
            "Stability",
            share(card.get("stability")),
            "Share of the run's other seeds that have a one-to-one partner of |decoder cosine| ≥ 0.7.",
        ),
        Number(
            "Nearest cosine",
            number(card.get("max_cosine")),
            "Largest |decoder cosine| to any feature of another seed, mean over the other seeds.",
        ),
        Number(
            "Encoder–decoder",
            number(card.get("encoder_alignment")),
            "Cosine between the feature's encoder and decoder directions.",
        ),
        *_truth(card),
    ]


def _truth(card: Card) -> list[Number]:
    """The true feature of a synthetic world that the feature is matched with."""
    if card.get("gt_feature") is None:
        return []
    meaning = "The world's true feature it is matched with, and their cosine."
    return [Number("True feature", f"{card['gt_feature']} ({number(card.get('gt_cosine'))})", meaning)]


def warnings(card: Card) -> list[str]:
    """What a reader must know before trusting the feature."""
    found = []
    if card.get("alive") is False:
        found.append("Dead: it is active on no held-out token, nor was it towards the end of training.")
    if card.get("near_duplicate"):
        found.append("Near duplicate: another feature of this SAE points the same way.")
    return found


def address(card: Card) -> str:
    """The feature's full name: run id, seed, index, and the run of its card."""
    cards = f", cards {card['cards']}" if card.get("cards") else ""
    return f"run {card['run']}, seed {card['seed']}, feature {card['feature']}{cards}"


def recipe_of(card: Card) -> str:
    """Architecture and sizes of the card's SAE."""
    recipe = card.get("recipe") or {}
    words = [str(recipe.get("architecture", "")).replace("_", " ")]
    if recipe.get("k") and recipe.get("architecture") not in ("relu", "gated", "jumprelu"):
        words.append(f"k {recipe['k']}")
    words += [f"{name} {recipe[name]:,}" for name in ("d_in", "d_sae") if recipe.get(name)]
    return ", ".join(word for word in words if word)


def provenance(card: Card) -> str:
    """One line: where the feature and its text come from, with the tier."""
    parts = [card.get("model_label"), card.get("hook_point"), recipe_of(card)]
    if card.get("corpus"):
        parts.append(f"corpus {card['corpus']}")
    if card.get("n_tokens"):
        parts.append(f"{card['n_tokens']:,} tokens in contexts of {card.get('context_size') or '?'}")
    if tier := card.get("tier"):
        parts.append(f"tier: {tier}")
    return " · ".join(str(part) for part in parts if part)


def histogram_figure(card: Card) -> go.Figure:
    """How often the feature takes each activation value, on a log axis of tokens."""
    found = card.get("histogram")
    if not found or not sum(found["counts"]):
        return empty(
            "No activations to draw: the feature is active on none of the tokens read for this card."
        )
    edges, counts = np.asarray(found["edges"], float), np.asarray(found["counts"], float)
    drawn = counts > 0
    bars = go.Bar(
        x=((edges[:-1] + edges[1:]) / 2)[drawn],
        y=counts[drawn],
        width=np.diff(edges)[drawn],
        marker={"color": PALETTE[0], "line": {"width": 0}},
        customdata=np.stack([edges[:-1], edges[1:]], axis=1)[drawn],
        hovertemplate="%{customdata[0]:.3g} to %{customdata[1]:.3g}<br>%{y:,} tokens<extra></extra>",
    )
    top = float(np.log10(counts.max()))
    layout = {
        "xaxis": {
            "title": {"text": "Activation (SAE input units)"},
            "range": [float(edges[0]), float(edges[-1])],
        },
        "yaxis": {
            "title": {"text": "Tokens (log)"},
            "type": "log",
            "tickformat": ",",
            "range": [np.log10(0.6), top * 1.06 + 0.1],
            "dtick": max(round(top / 3), 1),
        },
        "bargap": 0,
    }
    words = f"{share(card.get('density'))} of tokens ({card.get('n_active') or int(counts.sum()):,})"
    alt = (
        f"Histogram of the activations of feature {card['feature']}: active on {words}, largest "
        f"{number(card.get('max_activation'))}, in {UNITS}."
    )
    figure = finish(
        go.Figure(bars, layout), alt=alt, title="Activations", subtitle=words, height=FIGURE_HEIGHT
    )
    return figure.update_layout(margin={"l": 56, "r": 12, "b": 48})


def logits_figure(card: Card) -> go.Figure:
    """The tokens whose logits the feature's decoder direction raises and lowers most, as bars from zero."""
    logits = card.get("logits") or {}
    raised, lowered = logits.get("top") or [], logits.get("bottom") or []
    rows = [*raised, *reversed(lowered)]
    if not rows:
        return empty("No logits: the vectors do not come from a language model, or cards are not made yet.")
    places = list(range(len(rows)))
    bars = go.Bar(
        x=[row["logit"] for row in rows],
        y=places,
        orientation="h",
        marker={"color": [PALETTE[0]] * len(raised) + [PALETTE[1]] * len(lowered)},
        customdata=[plain(one_line(row["token"])) for row in rows],
        hovertemplate="%{customdata}<br>%{x:.3f}<extra></extra>",
    )
    layout = {
        "xaxis": {"title": {"text": "Logit weight"}, "nticks": 5, "zeroline": True},
        "yaxis": {
            "tickvals": places,
            "ticktext": [plain(one_line(row["token"], LABEL_WIDTH)) for row in rows],
            "range": [len(rows) - 0.4, -0.6],
            "ticks": "",
            "showgrid": False,
            "tickfont": {"family": MONO, "size": 11},
        },
        "bargap": 0.25,
    }
    alt = f"Logits of feature {card['feature']}. " + ". ".join(
        f"{name} most: {', '.join(one_line(row['token'], LABEL_WIDTH) for row in found[:5])}"
        for name, found in (("Raised", raised), ("Lowered", lowered))
    )
    subtitle = "decoder · unembedding"
    figure = finish(go.Figure(bars, layout), alt=alt, title="Logits", subtitle=subtitle, height=FIGURE_HEIGHT)
    return figure.update_layout(margin={"l": 8, "r": 12, "b": 48})


def bands_of(card: Card) -> list[str]:
    """The bands that the card has examples of, in the card's order."""
    return list(dict.fromkeys(example["band"] for example in card.get("examples") or []))


def band_title(band: str) -> str:
    """What a band holds, in words."""
    return "Largest activations" if band == "top" else f"Drawn from the {band} quantiles of its activations"


def examples_in(card: Card, bands: Sequence[str] | None = None) -> list[Example]:
    """The card's examples, of all bands or of some."""
    return [e for e in card.get("examples") or [] if bands is None or e["band"] in bands]


def clipped(example: Example, around: int | None) -> tuple[range, bool, bool]:
    """Which tokens are at most `around` from the peak (None: all), and whether some are cut before and after."""
    n = len(example["tokens"])
    if around is None:
        return range(n), False, False
    first, last = max(example["peak"] - around, 0), min(example["peak"] + around + 1, n)
    return range(first, last), first > 0, last < n


def intensity(value: float | None, largest: float) -> float:
    """A token's place on the colour scale, 0 to 1; 0 where the feature is not active or the token was not read."""
    return min(max((value or 0.0) / largest, 0.0), 1.0) if largest > 0 else 0.0


def opacity(place: float) -> float:
    """Opacity of the colour at a place on the scale: a faint tint is still seen at its foot."""
    return 0.12 + 0.83 * place if place else 0.0


def largest_of(card: Card) -> float:
    """The activation at the head of the colour scale."""
    values = [v for e in card.get("examples") or [] for v in e["values"] if v is not None]
    return float(card.get("max_activation") or max(values, default=0.0))
