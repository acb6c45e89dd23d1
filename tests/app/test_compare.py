"""The page Compare on finished runs of one study, against a real engine."""

import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from analyses.comparing import differences, figures_per_seed
from data.files import read_json, write_json
from engine.client import Client
from tests.app.causal_tables import engine_on
from tests.app.label_shift_tables import write_run
from tests.app.pages import figures, open_page, text_of

FIRST, SECOND = "aaaaaaaaaaa5", "bbbbbbbbbbb5"
COPIES = [f"ccccccccccc{number}" for number in range(8)]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    write_run(home, FIRST, {}, (0, 1, 2))
    write_run(home, SECOND, {"swap_rounds": 0}, (0, 1, 2))
    for run in COPIES:
        folder = shutil.copytree(home / "runs" / FIRST, home / "runs" / run)
        write_json(folder / "config.json", {**read_json(folder / "config.json"), "id": run})
    with engine_on(home) as client:
        yield client


def test_two_runs_have_settings_figures_and_tests(engine: Client) -> None:
    page = open_page("compare", runs=f"{FIRST},{SECOND}")
    settings, shown, tests = (frame.value for frame in page.dataframe)
    assert "swap_rounds" in settings["field"].tolist()
    assert shown.columns.tolist() == ["figure", f"tour {FIRST[:6]}", f"tour {SECOND[:6]}"]
    chosen = shown["figure"].tolist()
    assert len(chosen) == 6 and set(tests["figure"]) <= set(chosen)
    name, _, _ = chosen[0].partition(":")
    found = {
        run: figures_per_seed(name, engine.table(run, name).to_pandas().drop(columns="run_id"))
        for run in (FIRST, SECOND)
    }
    wanted = differences(found, FIRST).set_index("figure")["difference"]
    assert tests.set_index("figure")["difference"][chosen[0]] == pytest.approx(wanted[chosen[0]])
    assert len(figures(page)) == 1 and "(paired t test, Holm)" in text_of(page)
    assert "LaTeX" in [element.proto.label for element in page.get("download_button")]


def test_the_link_restores_runs_and_figures(engine: Client) -> None:
    page = open_page("compare", runs=f"{FIRST},{SECOND}")
    page.multiselect(key="compare_figures").set_value(
        page.multiselect(key="compare_figures").options[2:4]
    ).run()
    chosen = page.multiselect(key="compare_figures").value
    assert page.query_params["figure"] == chosen
    link = {name: page.query_params[name] for name in ("runs", "figure")}
    assert link["runs"] == f"{FIRST},{SECOND}"
    again = open_page("compare", **link)
    assert again.multiselect(key="compare_figures").value == chosen


def test_a_kept_picture_is_drawn_again_by_its_link(engine: Client) -> None:
    runs = f"{FIRST},{SECOND}"
    two: Any = open_page("compare", runs=runs).multiselect(key="compare_figures").options[2:4]
    page = open_page("compare", runs=runs, figure=two, picture=two[1])
    page.button(key="keep-compare").click().run()
    (meta,) = engine.saved_figures()
    assert [run["id"] for run in meta["runs"]] == [FIRST, SECOND]
    again = open_page("compare", **dict[str, Any](parse_qs(meta["link"].partition("?")[2])))
    assert figures(again) == figures(page) and again.selectbox(key="picture").value == two[1]
    again.multiselect(key="compare_figures").set_value(two[:1]).run()
    assert not again.exception and again.selectbox(key="picture").value == two[0]


def test_a_link_with_too_many_runs_shows_the_first(engine: Client) -> None:
    page = open_page("compare", runs=",".join([SECOND, FIRST, *COPIES]))
    assert page.multiselect(key="compare_runs").value == [SECOND, FIRST, *COPIES[:6]]
    assert "The link names 10 runs; shown are 8" in text_of(page)
    assert "The link names" not in text_of(open_page("compare", runs=",".join([SECOND, FIRST])))


def test_one_run_alone_shows_its_figures_without_tests(engine: Client) -> None:
    page = open_page("compare", runs=SECOND)
    assert len(page.dataframe) == 1
    assert "only their seeds differ" in text_of(page) and "Less" not in text_of(page)
    assert "differs from" not in text_of(page)
