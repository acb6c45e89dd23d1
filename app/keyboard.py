"""The keyboard map in the sidebar: a key for every section, and what keys the pages take (docs/keyboard.md)."""

import streamlit as st

from app.widgets import PAGES

SECTIONS = {
    "Home": "home",
    "Explore": "features",
    "Identify": "consistency",
    "Edit": "counterfactuals",
    "Shift": "label_shift",
    "Reason": "denoising",
    "Vision": "triplets",
    "Run": "new",
    "Library": "figures",
}
KEYS = (
    "**Features**: J next, K previous. **Triplets**: K keep, X reject, E edit, U undo, ← → previous and next. "
    "Tab and Enter reach everything else."
)


def keyboard() -> None:
    """A folded list whose buttons open the first page of a section, by its digit too."""
    with st.expander("Keyboard", icon=":material/keyboard:"):
        for digit, (section, page) in enumerate(SECTIONS.items(), 1):
            if st.button(section, key=f"section-{section}", shortcut=str(digit), type="tertiary"):
                st.switch_page(PAGES[page])
        st.caption(KEYS)
