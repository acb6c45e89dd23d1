"""Roles in the app: who may only look finds launching off with a reason; who must sign in sees nothing before."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from streamlit.testing.v1 import AppTest
from streamlit.web.server.starlette.starlette_websocket import is_host_allowed

from app.sign_in import role_of
from engine.cli import _host_flags
from engine.client import Client, EngineError, connect
from tests.app.causal_tables import engine_on
from tests.app.pages import HOME, labels, open_page, text_of

ROLES = 'launch = ["ada@lab.org"]\nview = ["*@lab.org"]\n'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    (folder / "roles.toml").write_text(ROLES)
    return folder


@pytest.fixture(scope="module")
def engine(home: Path) -> Iterator[Client]:
    with engine_on(home) as client:
        yield client


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"email": "Ada@Lab.org"}, "launch"),
        ({"email": "bob@lab.org", "email_verified": True}, "view"),
        ({"email": "ada@lab.org", "email_verified": False}, None),
        ({"email": "eve@lab.org.evil.net"}, None),
        ({"email": "*"}, None),
        ({"email": ""}, None),
        ({"name": "ada@lab.org"}, None),
    ],
)
def test_an_address_has_the_role_that_the_file_gives_it(
    engine: Client, claims: dict, role: str | None
) -> None:
    assert role_of(claims) == role


def test_who_may_look_finds_launching_off_with_a_reason(
    engine: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCORDANCE_ROLE", "view")
    page = open_page("start")
    (tour,) = (button for button in page.button if button.label == "Start the tour")
    assert tour.disabled and "ask whoever runs" in tour.help
    with pytest.raises(EngineError) as caught:
        connect(start=False, role="view").submit("sae_consistency", {}, [0])
    assert caught.value.status == 403
    monkeypatch.setenv("CONCORDANCE_ROLE", "launch")
    page = open_page("start")
    assert not next(button for button in page.button if button.label == "Start the tour").disabled


def test_a_visitor_sees_nothing_before_signing_in(engine: Client) -> None:
    page = AppTest.from_file(str(HOME), default_timeout=180)
    page.secrets["auth"] = {"client_id": "x"}
    page.run()
    assert not page.exception
    assert labels(page) == ["Sign in"] and text_of(page).strip() == "Concordance"


@pytest.mark.parametrize(
    ("redirect", "names"),
    [
        ("https://Lab.example:8443/oauth2callback", ["127.0.0.1", "localhost", "lab.example"]),
        ("", []),
    ],
)
def test_with_sign_in_the_app_answers_to_the_host_of_its_redirect_address(
    tmp_path: Path, redirect: str, names: list[str]
) -> None:
    secrets = tmp_path / "secrets.toml"
    secrets.write_text(f'[auth]\nredirect_uri = "{redirect}"\n' if redirect else "")
    assert _host_flags(secrets) == [f"--server.allowedHosts={name}" for name in names]
    secrets.write_text("[auth")
    with pytest.raises(typer.Exit):
        _host_flags(secrets)


def test_without_sign_in_the_app_answers_to_this_machine_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    given = tomllib.loads((HOME.parent / ".streamlit" / "config.toml").read_text())["server"]["allowedHosts"]
    monkeypatch.setattr("streamlit.config.get_option", {"server.allowedHosts": given}.get)
    assert is_host_allowed("127.0.0.1:8501") and is_host_allowed("localhost:8501")
    for host in (
        "evil.example:8501",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8501",
        "0.0.0.0",
        None,
    ):
        assert not is_host_allowed(host)


def test_sql_page_answers_a_link_and_offers_examples(engine: Client) -> None:
    page = open_page("sql", sql="SELECT 41 + 1 AS answer, [1, 2] AS list")
    frame = page.dataframe[0].value
    assert frame["answer"].tolist() == [42] and frame["list"].tolist() == ["[1, 2]"]
    refused = open_page("sql", sql="DROP TABLE runs")
    assert [error.value for error in refused.error] and "only one SELECT" in refused.error[0].value
    empty = open_page("sql")
    assert "begin with one of these" in text_of(empty) and len(empty.code) >= 4
    assert "runs" in empty.dataframe[-1].value["table"].tolist()


def test_the_example_queries_are_answered(engine: Client) -> None:
    for code in open_page("sql").code:
        engine.sql(code.value)
