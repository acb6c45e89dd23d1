"""Opening a page of the app without a browser, and reading what it shows."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
from streamlit.testing.v1 import AppTest

HOME = Path(__file__).resolve().parents[2] / "app" / "home.py"
PAGES = {
    name: f"views/{name}.py"
    for name in (
        "start",
        "features",
        "map",
        "lab",
        "consistency",
        "causal_graph",
        "hierarchy",
        "recovery",
        "counterfactuals",
        "label_shift",
        "extrapolation",
        "denoising",
        "refinement",
        "caption_masks",
        "triplets",
        "new",
        "jobs",
        "compare",
        "figures",
        "sql",
    )
}


def open_page(name: str, **query: str) -> AppTest:
    page = AppTest.from_file(str(HOME), default_timeout=180)
    if "_" in name:
        page.run()  # the address differs from the file's name, which the navigation tells
    for key, value in query.items():
        page.query_params[key] = value
    page.switch_page(PAGES[name])
    page.run()
    assert not page.exception, [e.value for e in page.exception]
    return page


def text_of(page: AppTest) -> str:
    kinds = ("title", "header", "subheader", "markdown", "caption", "info", "error", "warning", "code")
    return "\n".join(str(element.value) for kind in kinds for element in page.get(kind))


def figures(page: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in page.get("plotly_chart")]


def titled(page: AppTest, title: str) -> list[dict[str, Any]]:
    """The page's pictures whose title holds `title`."""
    return [one for one in figures(page) if title in one["layout"].get("title", {}).get("text", "")]


def array(values: Any) -> np.ndarray:
    """Values of a plotly array, which may be packed."""
    if not isinstance(values, dict):
        return np.array(values, dtype=float)
    shape = [int(n) for n in str(values.get("shape", "-1")).split(",")]
    return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).reshape(shape).astype(float)


def labels(page: AppTest) -> list[str]:
    """Of the buttons of the page and its dialogs, those of the sidebar left out."""
    frame = {button.proto.id for button in page.sidebar.button}
    return [button.label for button in page.button if button.proto.id not in frame]
