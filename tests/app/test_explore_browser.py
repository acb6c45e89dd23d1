"""Explore in a real browser: text of any kind stays text, and links restore feature, filter and lasso."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

from engine import client as engine_client
from tests.app.browsing import until_idle

HOSTILE = [
    "<script>window.hacked = 1</script> and <img src=x onerror='window.hacked = 2'> stay as they are",
    "**bold** _italic_ [link](https://example.org) `code` # heading ~~gone~~ :red[colour] $x^2$ {{braces}}",
    "emoji 👩🏽‍🔬 🏳️‍🌈 and accents naïve façade, then 漢字かな and a null \x00 bell \x07 escape \x1b[31m end",
    "עברית מימין לשמאל beside English, العربية من اليمين إلى اليسار, and ‮reversed‬ text",
]
D_SAE = 96
SETTINGS = {
    "hook_point": "blocks.1.hook_out", "n_tokens": 6_000, "context_size": 32, "d_sae": D_SAE, "k": 8, "n_steps": 40,
    "batch_size": 256, "n_match_points": 0, "functional_tokens": 0, "explained_pairs": 0, "massive_threshold": 0,
}  # fmt: skip
WAIT = 240_000


@pytest.fixture(scope="module")
def run(address: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run on hostile text, with its feature cards."""
    corpus = tmp_path_factory.mktemp("corpus") / "hostile.jsonl"
    lines = [json.dumps({"text": f"{HOSTILE[i % 4]} ({i})"}) for i in range(400)]
    corpus.write_text("\n".join(lines))
    client = engine_client.connect(start=False)
    run = client.submit("sae_consistency", {**SETTINGS, "corpus": str(corpus)}, [0, 1])
    assert client.wait(run["id"])["state"] == "done"
    job = client.make_cards(run["id"], probe_documents=0, checks_tokens=0)
    assert client.wait(job["id"])["state"] == "done", job
    return str(run["id"])


SHOWN = {
    text: text
    for text in (
        "<script>", "onerror=", "**bold**", "](https://", ":red[", "$x^2$", "👩", "עברית", "العربية"
    )
} | {"\x00": "␀", "\x1b": "␛"}  # fmt: skip
"""Texts of the corpus, and how a page writes each."""


@pytest.fixture(scope="module")
def examples(run: str) -> list[str]:
    """The text of the top examples of every feature of seed 0."""
    client = engine_client.connect(start=False)
    cards = (client.card(run, 0, feature) for feature in range(D_SAE))
    return [
        "".join(token for row in card["examples"] if row["band"] == "top" for token in row["tokens"])
        for card in cards
    ]


def test_text_of_any_kind_stays_text(address: str, page: Page, run: str, examples: list[str]) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    left = set(SHOWN)
    while left:
        held = [{text for text in left if text in example} for example in examples]
        feature = max(range(D_SAE), key=lambda feature: len(held[feature]))
        assert held[feature], f"no feature has {left}"
        page.goto(f"{address}/features?runs={run}&seed=0&feature={feature}")
        main = page.get_by_test_id("stMain")
        expect(main.get_by_text("Nearest features of this SAE")).to_be_visible()
        expect(main.get_by_text(f"feature {feature} ").first).to_be_visible()
        missing = held[feature]
        for _ in range(200):
            texts = main.locator("[data-testid=stHtml]").all_inner_texts()
            words = "".join(re.sub(r"\s", "", text) for text in texts)
            if not (missing := {text for text in missing if SHOWN[text] not in words}):
                break
            page.wait_for_timeout(250)
        assert not missing, words[:2000]
        assert page.evaluate("window.hacked") is None and not dialogs
        assert main.locator("script, img[src=x], a[href*='example.org']").count() == 0
        left -= held[feature]


def test_a_link_restores_feature_and_filter_in_a_new_browser(
    address: str, page: Page, run: str, examples: list[str]
) -> None:
    feature = next(number for number, text in enumerate(examples) if "English" in text)
    page.goto(
        f"{address}/features?runs={run}&seed=0&feature={feature}&text=English&order=Largest activation&show=alive"
    )
    main = page.get_by_test_id("stMain")
    expect(main.get_by_label("Text in the examples")).to_have_value("English")
    page.keyboard.press("j")
    page.wait_for_timeout(3000)
    link = page.url
    assert "text=English" in link and "feature=" in link and f"runs={run}" in link
    fresh = page.context.browser.new_context(viewport={"width": 1400, "height": 1600}).new_page()  # type: ignore[union-attr]
    try:
        fresh.goto(link)
        restored = fresh.get_by_test_id("stMain")
        expect(restored.get_by_label("Text in the examples")).to_have_value("English")
        wanted = re.search(r"feature=(\d+)", link)
        assert wanted
        expect(restored.get_by_text(re.compile(rf"feature {wanted[1]}\b")).first).to_be_visible()
    finally:
        fresh.context.close()


def test_a_lasso_is_in_the_link(address: str, page: Page, run: str) -> None:
    client = engine_client.connect(start=False)
    job = client.make_map([run])
    assert client.wait(job["id"])["state"] == "done"
    page.goto(f"{address}/map?runs={run}")
    plot = page.locator(".js-plotly-plot").first
    expect(plot.locator("canvas").first).to_be_visible()
    until_idle(page)
    box = plot.bounding_box()
    assert box
    points = [(0.15, 0.2), (0.75, 0.2), (0.75, 0.85), (0.15, 0.85), (0.15, 0.21)]
    corners = [(box["x"] + box["width"] * x, box["y"] + box["height"] * y) for x, y in points]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=12)
    page.mouse.up()
    page.wait_for_url(re.compile("lasso="))
    counted = (
        page.get_by_test_id("stMain")
        .get_by_text(re.compile(r"\d+ features? (in|inside)", re.IGNORECASE))
        .first
    )
    expect(counted).to_be_visible()
    words, link = counted.inner_text(), page.url
    fresh = page.context.browser.new_context(viewport={"width": 1400, "height": 1600}).new_page()  # type: ignore[union-attr]
    try:
        fresh.goto(link)
        expect(fresh.get_by_text(words).first).to_be_visible()
    finally:
        fresh.context.close()
