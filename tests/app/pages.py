"""Opening a page of the app without a browser, and reading what it shows."""

import json
from pathlib import Path
from typing import Any

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
    )
}


def open_page(name: str, **query: str) -> AppTest:
    page = AppTest.from_file(str(HOME), default_timeout=60)
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


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.button]
