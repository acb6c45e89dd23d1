"""Roles and limits: what each route asks of its caller, read from the OpenAPI document and tried on the whole API."""

import asyncio
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from engine.access import Access, read_tokens
from engine.limits import BODIES, MEGABYTE, MOST_BODY, Limits
from engine.server import create_app

READING_POSTS = {
    "/denoise",
    "/features",
    "/figures",
    "/lab",
    "/runs/{run_id}/active_features",
    "/runs/{run_id}/caption_mask",
    "/runs/{run_id}/counterfactual",
    "/runs/{run_id}/denoise",
    "/runs/{run_id}/extrapolate_picture",
    "/runs/{run_id}/extrapolate_target",
    "/runs/{run_id}/puzzle",
    "/runs/{run_id}/tables/{name}",
    "/runs/{run_id}/triplets",
    "/runs/{run_id}/triplets/file",
    "/runs/{run_id}/triplets/points",
    "/runs/{run_id}/triplets/summary",
    "/saved-figures/archive",
    "/sql",
}
TINY = Limits(launches=2, launches_of_all=3, live=1, live_of_all=1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def api(home: Path) -> Iterator[TestClient]:
    """The API in this process, on an empty state folder."""
    with TestClient(create_app(home, read_tokens(home), lambda: None, TINY)) as client:
        yield client


@pytest.fixture(scope="module")
def tokens(home: Path) -> dict[str, dict[str, str]]:
    return {role: {"Authorization": f"Bearer {token}"} for role, token in read_tokens(home).items()}


def operations(api: TestClient) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in api.app.openapi()["paths"].items():  # type: ignore[attr-defined]
        for method, operation in methods.items():
            yield method.upper(), path, operation


def role_of(operation: dict[str, Any]) -> str | None:
    (scopes,) = [one["HTTPBearer"] for one in operation.get("security", [])] or [[None]]
    (role,) = scopes
    return role


def test_tokens_are_private_and_differ(home: Path) -> None:
    found = read_tokens(home)
    assert len(set(found.values())) == 2 and min(map(len, found.values())) > 40
    for file in ("token", "token-view"):
        assert stat.S_IMODE((home / file).stat().st_mode) == 0o600


@pytest.mark.parametrize("cut", ["", "\n", "abc\n"])
def test_an_empty_or_cut_token_file_is_made_anew(tmp_path: Path, cut: str) -> None:
    for file in ("token", "token-view"):
        (tmp_path / file).write_text(cut)
    found = read_tokens(tmp_path)
    assert len(set(found.values())) == 2 and min(map(len, found.values())) > 40
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert read_tokens(tmp_path) == found


def test_an_empty_token_has_no_role() -> None:
    access = Access({"launch": "", "view": "v"}, Limits())
    assert access.role_of("") is None and access.role_of("v") == "view"


def test_every_route_declares_a_role(api: TestClient) -> None:
    roles = {(method, path): role_of(operation) for method, path, operation in operations(api)}
    assert [route for route, role in roles.items() if role is None] == [("GET", "/health")]
    assert set(roles.values()) == {None, "view", "launch"}
    documented = {path for _, path in roles}
    served = {route.path for route in api.app.routes if hasattr(route, "endpoint")}  # type: ignore[attr-defined]
    assert served - documented <= {"/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}
    for (method, path), role in roles.items():
        reads = method == "GET" or (method == "POST" and path in READING_POSTS)
        assert (role != "launch") == reads, (method, path)


def test_what_is_not_reading_refuses_the_view_token(api: TestClient, tokens: dict) -> None:
    refused = 0
    for method, path, operation in operations(api):
        url = path.replace("{run_id}", "aaaaaaaaaaaa").replace("{", "").replace("}", "")
        anonymous = api.request(method, url, json={})
        assert anonymous.status_code == (200 if path == "/health" else 401), path
        if role_of(operation) == "launch":
            answer = api.request(method, url, json={}, headers=tokens["view"])
            assert answer.status_code == 403, path
            assert answer.json()["detail"].startswith("token: ") and answer.json()["detail"].endswith(".")
            refused += 1
    assert refused > 25


def test_the_view_token_reads(api: TestClient, tokens: dict) -> None:
    for path in (
        "/system",
        "/studies",
        "/runs",
        "/library",
        "/saved-figures",
        "/sql/tables",
        "/openapi.json",
    ):
        assert api.get(path, headers=tokens["view"]).status_code == 200, path
    answer = api.post("/sql", json={"sql": "SELECT 1"}, headers=tokens["view"])
    assert answer.status_code == 200


RUN = {"study": "sae_consistency", "config": {"source": "synthetic", "k": 10_000}, "seeds": [0]}


def test_launches_are_counted_by_session_and_together(home: Path, tokens: dict) -> None:
    with TestClient(create_app(home, read_tokens(home), lambda: None, TINY)) as api:

        def launch(session: str) -> int:
            headers = {**tokens["launch"], "Concordance-Session": session}
            return api.post("/runs", json=RUN, headers=headers).status_code

        assert [launch("a") for _ in range(3)] == [422, 422, 429]
        assert [launch("b") for _ in range(2)] == [422, 429]
        answer = api.post("/launches", json={"study": "x", "seeds": [0]}, headers=tokens["launch"])
        assert answer.status_code == 429 and answer.json()["detail"].startswith("launch: ")
        assert api.get("/runs", headers=tokens["launch"]).status_code == 200


def test_live_answers_at_once_are_counted_and_given_back(
    api: TestClient, tokens: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, go_on = threading.Event(), threading.Event()

    def slow(*_: object) -> bytes:
        under_way.set()
        assert go_on.wait(60)
        return b""

    def ask() -> int:
        return api.post("/sql", json={"sql": "SELECT 1"}, headers=tokens["view"]).status_code

    monkeypatch.setattr("engine.sql_api._answer", slow)
    first = threading.Thread(target=ask)
    first.start()
    assert under_way.wait(60)
    try:
        assert ask() == 429
        assert api.get("/runs", headers=tokens["view"]).status_code == 200
    finally:
        go_on.set()
        first.join()
    assert ask() == 200


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer"}])
def test_without_a_token_nothing_of_a_body_is_read(api: TestClient, header: dict[str, str]) -> None:
    async def call() -> list[Message]:
        sent: list[Message] = []

        async def receive() -> Message:
            raise AssertionError("the body was asked for")

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(name.lower().encode(), value.encode()) for name, value in header.items()]
        scope = {"type": "http", "method": "POST", "path": "/figures", "query_string": b"format=svg"}
        await api.app({**scope, "headers": headers}, receive, send)
        return sent

    start, body = asyncio.run(call())
    assert start["status"] == 401 and b"token: " in body["body"]


def test_a_body_that_is_too_large_is_refused_on_every_route(api: TestClient, tokens: dict) -> None:
    for method, path, _ in operations(api):
        if method == "GET":
            continue
        length = {"Content-Length": str(BODIES.get(path, MOST_BODY) + 1)}
        answer = api.request(method, path, content=b"{}", headers={**tokens["launch"], **length})
        assert answer.status_code == 413, path
        assert answer.json()["detail"].startswith("body: ") and answer.json()["detail"].endswith(".")


def test_a_body_of_unknown_length_is_refused_while_it_comes(api: TestClient, tokens: dict) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(MOST_BODY // MEGABYTE + 1):
            sent += MEGABYTE
            yield b" " * MEGABYTE

    answer = api.post("/sql", content=chunks(), headers=tokens["view"])
    assert answer.status_code == 413 and answer.json()["detail"].startswith("body: ")
    assert sent > MOST_BODY
