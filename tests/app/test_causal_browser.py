"""A node of the graph and a cell of the matrix clicked in a real browser."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.app.browsing import until_idle
from tests.app.causal_tables import write_run

RUN = "aaaaaaaaaaa1"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_run(folder, RUN, {"n_latents": 2}, (0, 1), 0.4)
    return folder


def click(page: Page, place: Locator) -> None:
    until_idle(place.page)
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_click_on_a_node_opens_it_and_the_link_keeps_it(address: str, page: Page) -> None:
    page.goto(f"{address}/causal-graph?run={RUN}&overlay=Difference")
    figure = page.get_by_role("figure", name=re.compile("Causal graph of 6 latents"))
    name = figure.locator(".textpoint").filter(has_text=re.compile("^b2$")).first
    expect(name).to_be_visible()
    click(page, name)
    page.wait_for_url(re.compile("node=b2"))
    expect(page.get_by_role("combobox", name=re.compile("^Latent"))).to_have_value("b2")
    expect(page.get_by_role("figure", name=re.compile("Correlation of b2"))).to_be_visible()
    page.goto(page.url)
    expect(page.get_by_role("combobox", name=re.compile("^Latent"))).to_have_value("b2")


def test_click_on_a_cell_shows_the_pair(address: str, page: Page) -> None:
    page.goto(f"{address}/recovery?run={RUN}")
    figure = page.get_by_role("figure", name=re.compile("Matrix of .correlation"))
    cell = figure.locator(".scatterlayer .point").nth(13)
    expect(cell).to_be_attached()
    click(page, cell)
    page.wait_for_url(re.compile("row_latent=b1"))
    expect(page.get_by_role("combobox", name="True latent")).to_have_value("b1")
