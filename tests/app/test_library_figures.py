"""Figures kept from pages, their provenance, and the page Library › Figures, against a real engine."""

import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote_plus

import pandas as pd
import plotly.graph_objects as go
import pytest

from analyses.figures import finish
from analyses.latex import MATHS, SPECIAL, latex_table
from data.files import read_json, write_json
from engine.client import Client, EngineError
from tests.app.causal_tables import engine_on
from tests.app.label_shift_tables import write_run
from tests.app.pages import figures, open_page, text_of

RUN = "aaaaaaaaaaa6"
CSV = "round,accuracy\n0,0.5\n1,0.6\n"
LINK = f"label-shift?run={RUN}"
DOCUMENT = r"""
\documentclass{article}
\usepackage{booktabs,textcomp,graphicx}
\begin{document}
\begin{figure}\includegraphics[width=\columnwidth]{figure.pdf}\end{figure}
\input{table}
\end{document}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def engine(home: Path) -> Iterator[Client]:
    write_run(home, RUN, {}, (0, 1, 2))
    with engine_on(home) as client:
        yield client


def drawn(color: str = "#0072B2") -> str:
    chart = go.Figure().add_scatter(x=[0, 1], y=[0.5, 0.6], line={"color": color})
    return str(finish(chart, alt="accuracy by round", title="Accuracy").to_json())


@pytest.fixture
def kept(engine: Client) -> Iterator[dict]:
    meta = engine.save_figure("Accuracy", LINK, drawn(), CSV)
    yield meta
    if meta["id"] in {one["id"] for one in engine.saved_figures()}:
        engine.delete_figure(meta["id"])


def test_keep_on_a_page_stores_picture_numbers_and_runs(engine: Client) -> None:
    page = open_page("label_shift", run=RUN)
    shown = figures(page)[0]
    next(button for button in page.button if (button.key or "").startswith("keep-")).click().run()
    assert not page.exception
    (meta,) = engine.saved_figures()
    assert [run["id"] for run in meta["runs"]] == [RUN] and meta["runs"][0]["seeds"] == [0, 1, 2]
    found = engine.saved_figure(meta["id"])
    assert json.loads(found["figure"])["layout"]["meta"] == shown["layout"]["meta"]
    assert len(found["csv"].splitlines()) > 1
    engine.delete_figure(meta["id"])
    assert engine.saved_figures() == []


def test_the_link_of_a_kept_picture_draws_it_again(engine: Client) -> None:
    two: Any = open_page("label_shift", run=RUN).multiselect(key="arms").options[:2]
    page = open_page("label_shift", run=RUN, arms=two)
    shown = figures(page)
    page.button(key="keep-trajectories").click().run()
    (meta,) = engine.saved_figures()
    again = open_page("label_shift", **dict[str, Any](parse_qs(meta["link"].partition("?")[2])))
    assert again.multiselect(key="arms").value == two and figures(again) == shown
    engine.delete_figure(meta["id"])


def test_the_same_figure_is_kept_once_with_the_name_and_note_it_was_given(engine: Client, kept: dict) -> None:
    engine.rename_figure(kept["id"], "Figure 2", "for the appendix")
    again = engine.save_figure("Accuracy again", LINK, drawn(), CSV)
    (meta,) = engine.saved_figures()
    assert meta == again == {**kept, "name": "Figure 2", "note": "for the appendix"}


@pytest.mark.parametrize("link", [LINK, f"compare?runs={RUN},{RUN}", f"jobs?at=a%3A{RUN}"])
def test_the_sql_of_a_figure_returns_its_runs(engine: Client, link: str) -> None:
    meta = engine.save_figure("x", link, drawn(), CSV)
    engine.delete_figure(meta["id"])
    (row,) = engine.sql(meta["sql"]).to_pylist()
    (run,) = meta["runs"]
    assert {name: json.loads(row[name]) for name in ("seeds", "config")} == {
        name: run[name] for name in ("seeds", "config")
    }
    assert all(row[name] == run[name] for name in run.keys() - {"seeds", "config"}) and run["id"] == RUN


def test_the_sql_of_a_query_is_the_query_and_without_runs_there_is_none(engine: Client) -> None:
    query = f"SELECT id\nFROM runs -- all\nWHERE id = '{RUN}'"
    asked = engine.save_figure("x", f"sql?sql={quote_plus(query)}", drawn(), CSV)
    none = engine.save_figure("x", "home", drawn(), CSV)
    for meta in (asked, none):
        engine.delete_figure(meta["id"])
    assert asked["sql"] == query and engine.sql(asked["sql"])["id"].to_pylist() == [RUN]
    assert [run["id"] for run in asked["runs"]] == [RUN] and none["sql"] == ""


def test_a_figure_kept_before_there_was_sql_still_opens(engine: Client, kept: dict, home: Path) -> None:
    path = home / "figures" / kept["id"] / "meta.json"
    write_json(path, {name: value for name, value in read_json(path).items() if name != "sql"})
    page = open_page("figures", figure=kept["id"])
    assert RUN in page.dataframe[0].value["run"].tolist() and "SELECT" not in text_of(page)
    with zipfile.ZipFile(io.BytesIO(engine.figures_archive([kept["id"]]))) as archive:
        assert "SELECT" not in archive.read("CONTENTS.md").decode()


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("figure", {"figure": "[1]"}),
        ("figure", {"figure": "{"}),
        ("csv", {"csv": ""}),
        ("link", {"link": "https://example.org/x"}),
        ("link", {"link": "javascript:alert(1)"}),
        ("name", {"name": " "}),
    ],
)
def test_what_is_no_figure_is_refused(engine: Client, field: str, change: dict) -> None:
    values = {"name": "x", "link": LINK, "figure": drawn(), "csv": CSV, **change}
    with pytest.raises(EngineError, match=f"^{field}: "):
        engine.save_figure(**values)
    assert engine.saved_figures() == []


@pytest.mark.parametrize("figure_id", ["..", "aaaaaaaaaaaa", "%2e%2e%2fruns"])
def test_ids_that_are_none_are_refused(engine: Client, figure_id: str) -> None:
    with pytest.raises(EngineError):
        engine.saved_figure(figure_id)


def test_the_zip_holds_picture_numbers_and_provenance(engine: Client, kept: dict) -> None:
    other = engine.save_figure("../evil name", "home", drawn("#D55E00"), CSV)
    content = engine.figures_archive([kept["id"], other["id"]])
    engine.delete_figure(other["id"])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        assert "01-accuracy/data.csv" in names and "02-evil-name/meta.json" in names
        assert all(not name.startswith(("/", "..")) for name in names)
        contents = archive.read("CONTENTS.md").decode()
        assert f"label_shift {RUN}" in contents and f"   {kept['sql']}\n" in contents


def test_the_page_shows_exports_and_the_chosen_style(engine: Client, kept: dict) -> None:
    page = open_page("figures", figure=kept["id"], format="one column", palette="Grey")
    (figure,) = figures(page)
    assert figure["layout"]["width"] == 322 and figure["data"][0]["line"]["color"] == "#000000"
    labels = [element.proto.label for element in page.get("download_button")]
    assert labels[-5:] == [
        "HTML",
        "CSV",
        "LaTeX table",
        "Zip with plotly JSON, CSV and provenance",
        "HTML report",
    ]
    assert RUN in page.dataframe[0].value["run"].tolist()
    assert f"]({LINK})" in text_of(page) and kept["sql"] in text_of(page)


def test_without_figures_the_page_says_how_to_keep_one(engine: Client) -> None:
    assert "Press **Keep** under any picture" in text_of(open_page("figures"))


@pytest.mark.skipif(not shutil.which("pdffonts"), reason="needs poppler's pdffonts")
def test_a_pdf_has_its_fonts_inside(engine: Client, tmp_path: Path) -> None:
    path = tmp_path / "figure.pdf"
    path.write_bytes(engine.export_figure(drawn(), "pdf", 640, 400))
    listed = subprocess.run(
        ["pdffonts", path], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(listed) > 2 and all(line.split()[-5] == "yes" for line in listed[2:]), listed


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex with booktabs")
def test_latex_takes_a_figure_and_a_table(engine: Client, tmp_path: Path) -> None:
    (tmp_path / "figure.pdf").write_bytes(engine.export_figure(drawn(), "pdf", 322, 240))
    odd = "".join([*SPECIAL, *MATHS, "--"])
    (tmp_path / "table.tex").write_text(
        latex_table(pd.DataFrame({odd: [odd, "a_b"], "n": [-0.01234, 3e-7]}), odd)
    )
    (tmp_path / "paper.tex").write_text(DOCUMENT)
    made = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "paper.log").read_text(errors="replace")


def test_a_report_is_one_page_that_fetches_nothing_and_escapes(engine: Client) -> None:
    meta = engine.save_figure(
        "<script>alert(1)</script>", LINK, drawn(), CSV, note="<img src=x onerror=alert(1)>"
    )
    page = engine.study_report("label_shift")
    engine.delete_figure(meta["id"])
    assert "<script>alert(1)" not in page and "<img src=x" not in page
    assert "default-src 'none'" in page and "Figure 1: &lt;script&gt;" in page
    assert RUN in page and "concordance run label_shift" in page and "Not tested on this machine" in page
    assert 'src="http' not in page and "@article" in page
