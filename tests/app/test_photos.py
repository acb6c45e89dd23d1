"""Every page of the navigation in real Chromium, light and dark: no errors, alternative text, safe colours, and its photograph.

References are small grey pictures in `photos/`; `make photos` takes them anew.
"""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image, ImageFilter
from playwright.sync_api import Page
from plotly.colors import get_colorscale

from analyses.figures import GRID, INK, MUTED, PALETTE, PAPER, SEQUENTIAL
from engine import client as engine_client
from tests.app.browsing import PATIENCE, error_of, until_idle
from tests.app.photo_compare import Change, compare, read, shrunk
from tests.app.photo_tables import CAUSAL, train_saes, write_runs
from tests.app.screenshots import pages, take

REFERENCES = Path(__file__).with_name("photos")
TAKES_ANEW = "TAKE_PHOTOS" in os.environ
WIDTH, HEIGHT, TALLEST = 1280, 900, 9_000
ALTERNATIVES = """charts => charts.map(chart =>
  (chart.closest('[aria-label]') ?? chart.querySelector('[role=figure][aria-label]'))?.getAttribute('aria-label') ?? '')"""
COLOURS = """plots => {
  const found = new Set(), add = value => [value].flat().forEach(one => typeof one === 'string' && found.add(one));
  for (const trace of plots.flatMap(plot => plot._fullData ?? [])) {
    add(trace.line?.color); add(trace.marker?.color); add(trace.marker?.colors); add(trace.fillcolor);
    for (const scale of [trace.colorscale, trace.marker?.showscale && trace.marker?.colorscale])
      if (scale) scale.forEach(stop => add(stop[1]));
  }
  return [...found];
}"""

pytestmark = pytest.mark.timeout(2_400)


@dataclass
class Shot:
    """What a page showed: photographs by theme, texts, alternative texts and colours of its charts, errors of the console."""

    photographs: dict[str, bytes]
    text: str
    boxes: list[str]
    alternatives: list[str]
    colours: list[str]
    console: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_runs(folder)
    return folder


@pytest.fixture(scope="module")
def shots(address: str, page: Page) -> dict[str, Shot]:
    """Every page, by the end of its address, opened one after the other in one browser as a reader does."""
    train_saes(engine_client.connect(start=False))
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.extend(error_of(message)))
    page.set_default_timeout(PATIENCE)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.goto(address)
    until_idle(page)
    links = page.get_by_test_id("stSidebarNavLink")
    found = {}
    for place in range(links.count()):
        errors.clear()
        name = str(links.nth(place).get_attribute("href")).rpartition("/")[2] or "home"
        links.nth(place).click()
        page.wait_for_url(re.compile(f"/{name.replace('home', '')}([?].*)?$"))
        found[name] = photograph(page)
        found[name].console = list(errors)
    return found


def photograph(page: Page) -> Shot:
    """The page at its whole height, in both themes, then as it was."""
    until_idle(page)
    main = page.get_by_test_id("stMain")
    height = int(main.evaluate("main => main.scrollHeight"))
    page.set_viewport_size({"width": WIDTH, "height": max(HEIGHT, min(height, TALLEST))})
    photographs = {}
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        until_idle(page)
        photographs[theme] = page.screenshot(timeout=PATIENCE)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    return Shot(
        photographs,
        main.inner_text(),
        main.get_by_test_id("stException").all_inner_texts()
        + main.get_by_test_id("stAlertContentError").all_inner_texts(),
        page.locator("[data-testid=stPlotlyChart]").evaluate_all(ALTERNATIVES),
        page.locator(".js-plotly-plot").evaluate_all(COLOURS),
    )


def test_every_page_opens_without_an_error(shots: dict[str, Shot]) -> None:
    assert len(shots) >= 19
    wrong = {name: shot.boxes + shot.console for name, shot in shots.items() if shot.boxes or shot.console}
    assert not wrong
    assert not [name for name, shot in shots.items() if "Traceback" in shot.text]


def test_every_picture_says_in_words_what_it_shows(shots: dict[str, Shot]) -> None:
    silent = {
        name: shot.alternatives
        for name, shot in shots.items()
        if any(len(alt) < 20 for alt in shot.alternatives)
    }
    assert not silent
    assert sum(len(shot.alternatives) for shot in shots.values()) > 40


def test_colours_are_those_that_colour_blind_readers_tell_apart(shots: dict[str, Shot]) -> None:
    wrong = {name: [c for c in shot.colours if not is_safe(c)] for name, shot in shots.items()}
    assert not {name: colours for name, colours in wrong.items() if colours}
    assert sum(len(shot.colours) for shot in shots.values()) > 40


def test_every_page_looks_as_in_its_reference(shots: dict[str, Shot]) -> None:
    taken = {
        f"{name}-{theme}": shrunk(photo)
        for name, shot in shots.items()
        for theme, photo in shot.photographs.items()
    }
    if TAKES_ANEW:
        REFERENCES.mkdir(exist_ok=True)
        for old in REFERENCES.glob("*.png"):
            old.unlink()
        for name, small in taken.items():
            small.save(REFERENCES / f"{name}.png", optimize=True)
    assert {path.stem for path in REFERENCES.glob("*.png")} == set(taken), "a page came or went: make photos"
    changes = {name: compare(read(REFERENCES / f"{name}.png"), small) for name, small in taken.items()}
    keep_changed(shots, changes)
    assert not {name: change for name, change in changes.items() if change.is_seen}


def test_the_pictures_of_the_readme_can_be_taken(
    shots: dict[str, Shot], address: str, page: Page, tmp_path: Path
) -> None:
    runs = engine_client.connect(start=False).runs("sae_consistency")
    saes = next(run["id"] for run in runs if run["config"]["source"] == "language_model")
    take(page, address, saes, CAUSAL, tmp_path)
    sizes = {path.stem: Image.open(path).size for path in tmp_path.iterdir()}
    assert sizes == {name: (width, height) for name, (_, width, height) in pages(saes, CAUSAL).items()}
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


def test_a_digit_opens_a_section(shots: dict[str, Shot], page: Page) -> None:
    for digit, name in (("3", "consistency"), ("8", "new"), ("1", "home")):
        page.keyboard.press(digit)
        page.wait_for_url(re.compile(f"/{name.replace('home', '')}([?].*)?$"), timeout=PATIENCE)
        until_idle(page)


def keep_changed(shots: dict[str, Shot], changes: dict[str, Change]) -> None:
    """Whole photographs of the pages that changed, in the folder CHANGED_PHOTOS, for whoever looks into it."""
    folder = os.environ.get("CHANGED_PHOTOS")
    for name, change in changes.items():
        page, _, theme = name.rpartition("-")
        if folder and change.is_seen:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{name}.png").write_bytes(shots[page].photographs[theme])


class TestComparison:
    """That the comparison sees what it must see and nothing else, on the references themselves."""

    @pytest.fixture(params=["label-shift-light", "label-shift-dark", "home-light", "recovery-dark"])
    def page(self, request: pytest.FixtureRequest) -> Image.Image:
        return read(REFERENCES / f"{request.param}.png")

    def test_a_page_is_like_itself_a_little_lower_and_blurred(self, page: Image.Image) -> None:
        assert compare(page, page) == Change(0.0, 0)
        lower = blank(page)
        lower.paste(page, (0, 2))
        assert not compare(page, lower).is_seen
        assert not compare(page, lower.filter(ImageFilter.GaussianBlur(0.5))).is_seen

    def test_a_blank_page_is_seen(self, page: Image.Image) -> None:
        empty = blank(page)
        empty.paste(page.crop((0, 0, SIDEBAR, page.height)), (0, 0))
        assert compare(page, empty).is_seen

    def test_a_block_taken_out_is_seen(self, page: Image.Image) -> None:
        """160 pixels of the middle; what follows moves up."""
        at, gone = page.height // 3, 20
        shorter = blank(page).crop((0, 0, page.width, page.height - gone))
        shorter.paste(page.crop((0, 0, page.width, at)), (0, 0))
        shorter.paste(page.crop((0, at + gone, page.width, page.height)), (0, at))
        assert compare(page, shorter).is_seen

    def test_a_block_left_empty_is_seen(self, page: Image.Image) -> None:
        """320 pixels of the middle; nothing moves."""
        wiped, at = page.copy(), page.height // 3
        wiped.paste(blank(page).crop((SIDEBAR, 0, page.width, 40)), (SIDEBAR, at))
        assert compare(page, wiped).is_seen

    def test_another_page_and_the_other_theme_are_seen(self) -> None:
        names = ("recovery-light", "causal-graph-light", "recovery-dark")
        page, other, dark = (read(REFERENCES / f"{name}.png") for name in names)
        assert compare(page, other).is_seen and compare(page, dark).is_seen


SIDEBAR = 38  # columns of a reference


def blank(page: Image.Image) -> Image.Image:
    return Image.new("L", page.size, page.getpixel((page.width - 2, 2)))


SAFE = {colour.lower() for colour in (*PALETTE, INK, MUTED, GRID, PAPER)}
SCALE = {colour.lower() for _, colour in get_colorscale(SEQUENTIAL)}


def is_safe(colour: str) -> bool:
    """Whether a colour is grey, of the palette or of the sequential scale, whatever its opacity."""
    numbers = re.match(r"rgba?\((\d+), ?(\d+), ?(\d+)", colour)
    rgb = tuple(map(int, numbers.groups())) if numbers else tuple(bytes.fromhex(colour.lstrip("#")[:6]))
    if max(rgb) - min(rgb) <= 12 or (
        numbers and colour.startswith("rgba") and colour.endswith((",0)", ", 0)"))
    ):
        return True
    return "#{:02x}{:02x}{:02x}".format(*rgb) in SAFE | SCALE


def test_a_deep_link_opens_without_an_error_in_the_console(
    shots: dict[str, Shot], address: str, page: Page
) -> None:
    errors: list[str] = []
    page.on("console", lambda message: errors.extend(error_of(message)))
    page.goto(f"{address}/causal-graph?run=none")
    until_idle(page)
    assert errors == []
    assert page.url.startswith(f"{address}/causal-graph")
