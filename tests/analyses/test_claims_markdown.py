"""Claims as Markdown: what stands in a row, what a study's table leaves to its page."""

from typing import Any

from analyses.claims_markdown import claims_markdown, studies_markdown

SHOWN: dict[str, Any] = {
    "study": "axes", "claim": "recovered", "sentence": "P(X | Y)\nstays.", "paper": "0.9", "value": 0.9512, "low": 0.9, "high": 1.0,
    "seeds": 5, "chance": -0.00004, "baseline": 0.25, "baseline_name": "none", "verdict": "shown",
}  # fmt: skip
NOTHING = {"value": None, "low": None, "high": None, "seeds": 0, "chance": None, "baseline": None}
UNTESTED = {**SHOWN, **NOTHING, "claim": "large", "sentence": "At size.", "verdict": "not tested"}


def test_a_row_says_all_and_keeps_to_its_cells() -> None:
    head, _, shown, untested = claims_markdown([SHOWN, UNTESTED]).splitlines()
    assert shown == "| P(X \\| Y) stays. | 0.9 | 0.951 [0.900, 1.000], 5 | 0.000 | 0.250 (none) | **shown** |"
    assert untested == "| At size. | 0.9 | – | – | – | **not tested** |"
    assert head.count("|") == untested.count("|")


def test_a_figure_without_an_interval_has_none() -> None:
    assert "| 0.951, 1 |" in claims_markdown([{**SHOWN, "low": None, "high": None, "seeds": 1}])


def test_every_study_is_counted_and_points_to_its_page() -> None:
    rows = [SHOWN, UNTESTED, {**UNTESTED, "study": "other"}]
    text = studies_markdown(rows, {"axes": "Principal axes", "other": "Another"})
    assert "| [Principal axes](axes.md) | 1 | 0 | 1 |" in text
    assert "| [Another](other.md) | 0 | 0 | 1 |" in text
    axes, other = text.split("### Another")
    assert axes.count("**shown**") == 1 and "1 of its 2 claims are not tested at this size" in axes
    assert "**" not in other and "1 of its 1 claims are not tested" in other
