"""Requests made from the OpenAPI document, sound and unsound ones, to every route: no answer may be a fault of the server.

FUZZ_EXAMPLES=500 (requests of each kind and route) makes it a long hunt; docs/security.md says how.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode

from engine.access import read_tokens
from engine.limits import Limits
from engine.scheduler import Scheduler
from engine.server import create_app
from engine.studies import STUDIES
from tests.app.label_shift_tables import write_run

RUN = "aaaaaaaaaaa6"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "3"))
BOUNDLESS = Limits(launches=10**9, launches_of_all=10**9)
KNOWN = {
    "run": RUN,
    "runs": [RUN],
    "study": "label_shift",
    "name": "label_shift",
    "preset": "tour",
    "seeds": [0],
    "config": {},
    "columns": ["run_id"],
    "order": "-run_id",
    "query": {},
    "sql": "SELECT * FROM runs",
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The API on a state folder with one finished run; nothing that is queued starts."""
    home = tmp_path_factory.mktemp("home")
    write_run(home, RUN, {}, (0, 1, 2))
    tokens = read_tokens(home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scheduler, "_tick", lambda self: None)
        app = create_app(home, tokens, lambda: None, BOUNDLESS)
        with TestClient(app, headers={"Authorization": f"Bearer {tokens['launch']}"}) as client:
            yield client


def operations() -> dict[str, Any]:
    """Every operation of the document, by method and path."""
    with tempfile.TemporaryDirectory() as home:
        document = create_app(Path(home), {}, lambda: None).openapi()
    schema = schemathesis.openapi.from_dict(document)
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


OPERATIONS = operations()


def sharpened(value: Any, draw: Any) -> Any:
    """The request with some fields given values that exist, so that it comes further."""
    if isinstance(value, dict):
        return {
            name: KNOWN[name] if name in KNOWN and draw(st.booleans()) else sharpened(inner, draw)
            for name, inner in value.items()
        }
    return value


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value
)
@pytest.mark.parametrize("label", OPERATIONS)
def test_no_request_is_a_fault_of_the_server(api: TestClient, label: str, mode: GenerationMode) -> None:
    operation = OPERATIONS[label]

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def fuzz(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(mode))
        if "run_id" in (case.path_parameters or {}) and data.draw(st.booleans()):
            case.path_parameters["run_id"] = RUN
        case.body = sharpened(case.body, data.draw)
        sent = case.as_transport_kwargs(base_url="http://testserver")
        sent.pop("cookies", None)
        sent["headers"] = {
            k: v for k, v in dict(sent.get("headers") or {}).items() if k.lower() != "authorization"
        }
        answer = api.request(**sent)
        assert answer.status_code < 500
        if answer.status_code >= 400 and answer.headers["content-type"] == "application/json":
            detail = json.loads(answer.content)["detail"]
            assert isinstance(detail, str) and "\n" not in detail

    try:
        fuzz()
    except Unsatisfiable:
        pytest.skip("a request without parameters cannot be made unsound")


def test_every_route_is_fuzzed() -> None:
    assert len(OPERATIONS) > 60 and len(STUDIES) == 10
