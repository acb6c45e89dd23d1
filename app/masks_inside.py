"""What is in a mask: attribute × dimension maps, probes beside random masks of the same size, mask sizes."""

import streamlit as st

from analyses.smartclip_figures import probe_figure, sizes_figure
from analyses.smartclip_frames import (
    arm_name,
    dimension_order,
    probe_table,
    sizes,
    told_attributes,
    uninformative,
)
from analyses.smartclip_strips import dimension_figure
from app.causal_parts import choice
from app.connection import table
from app.masks_parts import Chosen, masked_arms
from app.widgets import literal, picture

COLUMNS = {"kept by sentences": "kept", "variance explained": "variance"}
SECOND = {"random masks": "control", "left out": "outside"}
PROBES = ("linear", "neighbours")
OF = ("mean over seeds", "this seed")


def dimensions_section(chosen: Chosen) -> None:
    """Attribute × dimension of the chosen arm and seed."""
    st.subheader("Attributes and dimensions")
    rows = chosen.rows("smartclip_dimensions")
    if rows.empty:
        st.caption(
            "What is true of these pictures is known by their captions alone, so dimensions have no attributes."
        )
        return
    word = choice("Colour", list(COLUMNS) if chosen.masked else list(COLUMNS)[1:], "colour")
    order = dimension_order(rows)
    picture(dimension_figure(rows, order, COLUMNS[word], chosen.arm), rows, "dimensions")
    poor = uninformative(chosen.rows("smartclip_masks")) if chosen.masked else []
    if poor:
        st.warning(
            f"Masks of {literal(', '.join(poor))} are not informative: they are empty, or the same as another attribute's."
        )
    st.caption(f"{literal(arm_name(chosen.arm))}, seed {chosen.seed}. Masks are of single sentences.")


def probes_section(chosen: Chosen) -> None:
    """The probe matrix beside its size-matched control."""
    st.subheader("What a mask's dimensions tell")
    probes = table(chosen.run["id"], "smartclip_probes", {"arm": chosen.arm})
    if probes.empty:
        st.caption("These pictures have no attributes to probe.")
        return
    if not chosen.masked:
        whole = probe_table(probes, chosen.arm, "linear", chosen.seed)
        words = ", ".join(f"{row.attribute} {row.normalised:.2f}" for row in whole.itertuples())
        st.caption(
            f"This arm has no masks. From the whole embedding (0 chance, 1 all right): {literal(words)}."
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        probe = choice("Probe", list(PROBES), "probe")
        second = choice("Beside it", list(SECOND), "beside")
        of = choice("Of", list(OF), "of")
    seed = chosen.seed if of == OF[1] else None
    frame = probe_table(probes, chosen.arm, probe, seed)
    attributes = [name for name in told_attributes(chosen.rows("smartclip_dimensions"))]
    picture(probe_figure(frame, attributes, chosen.arm, SECOND[second]), frame, "probes")
    whole = frame[frame["masked_by"] == "all"]
    words = ", ".join(f"{row.attribute} {row.normalised:.2f}" for row in whole.itertuples())
    st.caption(
        "Row: the dimensions that any of an attribute's sentences keeps. A mask that holds its attribute and nothing else is "
        "bright on the diagonal and dark beside it. Sparser masks are darker everywhere, which is why random masks of the same size "
        f"stand beside it. From the whole embedding: {literal(words)}."
    )


def sizes_section(chosen: Chosen) -> None:
    """Mask size against caption length, of every arm with masks."""
    rows = table(chosen.run["id"], "smartclip_sizes")
    arms = masked_arms(chosen.run)
    frame = sizes(rows, arms)
    picture(sizes_figure(frame, chosen.d), frame, "sizes")
