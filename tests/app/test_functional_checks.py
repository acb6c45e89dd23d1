"""Functional checks on the pages: columns of the table of runs, the section, and what it says before there are any."""

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from app import connection
from engine.client import Client
from tests.app.pages import figures, labels, open_page, text_of
from tests.conftest import TINY_WORLD

JOB = "feedfeedfeed"
CHECKS = [
    {"seed": s, "cross_entropy": 4.0, "cross_entropy_sae": 4.5, "cross_entropy_zero": 9.0, "loss_recovered": 0.9 + s / 50,
     "kl_sae": 0.3, "kl_zero": 6.0, "kl_recovered": 0.95, "n_tokens": 2016}
    for s in (0, 1)
]  # fmt: skip
PROBES = [
    {"seed": s, "task": "sentiment (4 domains)", "k": k, "accuracy": 0.7 + k / 100, "low": 0.6, "high": 0.95,
     "chance": 0.5, "n_train": 300, "n_test": 180}
    for s in (0, 1) for k in (0, 1, 2, 5, 20)
]  # fmt: skip


@pytest.fixture
def cards(engine: Client, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[dict[str, Any]]]:
    """A world's run that seems to have feature cards with these tables."""
    run = engine.wait(engine.submit("sae_consistency", TINY_WORLD, [0, 1])["id"])
    job = {**run, "id": JOB, "study": "feature_cards", "config": {"of": run["id"]}}
    tables = {"checks": CHECKS, "probes": PROBES}
    runs, table = Client.runs, Client.table

    def listed(self: Client, study: str | None = None, **options: Any) -> list[dict[str, Any]]:
        return [job] if study == "feature_cards" else runs(self, study, **options)

    def rows(self: Client, run_id: str, name: str, *args: Any, **options: Any) -> pa.Table:
        if run_id == JOB:
            return pa.Table.from_pandas(pd.DataFrame(tables[name], columns=list(globals()[name.upper()][0])))
        return table(self, run_id, name, *args, **options)

    monkeypatch.setattr(Client, "runs", listed)
    monkeypatch.setattr(Client, "table", rows)
    monkeypatch.setattr(Client, "cards_job", lambda self, run_id: job)
    connection.table.clear()
    return tables


def section() -> None:
    from app.functional_checks import checks_section

    checks_section("0123456789ab")


def open_section() -> AppTest:
    page = AppTest.from_function(section, default_timeout=180).run()
    assert not page.exception
    return page


def test_home_and_sweep_have_the_columns(cards: dict[str, Any], engine: Client) -> None:
    board = open_page("start").dataframe[0].value
    assert board["loss recovered"][0] == pytest.approx(0.91)
    assert board["probe: sentiment"][0] == pytest.approx(0.75)
    assert list(board)[-2:] == ["age", "open"]
    [run] = {job["config"]["of"] for job in engine.runs(study="feature_cards")}
    page = open_page("consistency", runs=run, view="Sweep")
    sweep = next(frame.value for frame in page.dataframe if "Sparsity" in frame.value)
    assert sweep["loss recovered"][0] == pytest.approx(0.91)


def test_no_cards_no_columns(engine: Client) -> None:
    connection.table.clear()
    engine.wait(engine.submit("sae_consistency", TINY_WORLD, [0, 1])["id"])
    assert "loss recovered" not in open_page("start").dataframe[0].value


def test_the_section_shows_losses_and_probes(cards: dict[str, Any]) -> None:
    page = open_section()
    assert "**91.0%** of the loss is recovered, mean of 2 seeds" in text_of(page)
    assert page.dataframe[0].value["Loss recovered"].tolist() == pytest.approx([0.9, 0.92])
    assert len(figures(page)) == 1


def test_what_was_left_out_is_named(cards: dict[str, Any]) -> None:
    cards["checks"], cards["probes"] = [], []
    said = text_of(open_section())
    assert "checks_tokens" in said and "probe_documents" in said


def test_without_cards_the_section_says_what_to_do(
    cards: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Client, "make_cards", lambda self, run_id, **settings: asked.append(run_id))
    monkeypatch.setattr(Client, "cards_job", lambda self, run_id: None)
    page = open_section()
    assert "not made yet" in text_of(page) and labels(page) == ["Make feature cards"]
    page.button[0].click().run()
    assert asked == ["0123456789ab"] and not page.exception
    waiting = {"id": JOB, "state": "queued", "queue_place": 2, "stopping": False, "progress": None}
    monkeypatch.setattr(Client, "cards_job", lambda self, run_id: waiting)
    page = open_section()
    assert "appear here when" in text_of(page) and not labels(page)
