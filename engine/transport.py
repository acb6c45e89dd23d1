"""HTTP to the engine: one connection pool, refusals as exceptions, tables as Arrow."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pyarrow as pa

TOKENS = {"launch": "token", "view": "token-view"}  # files of the state folder, by role


class EngineError(Exception):
    """The engine refused a call. `message` is one sentence; `status` the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        super().__init__(message)


class EngineDown(EngineError):
    """No engine answers."""

    def __init__(self) -> None:
        super().__init__(503, "The engine is not running; start it with `concordance up`.")


class Transport:
    """Calls by method and path. Raises EngineError where the engine refuses, EngineDown where none answers."""

    def __init__(self, address: str, token: str, session: Callable[[], str] | None = None) -> None:
        """`session` names who calls, where one client serves several: each has its own share of the engine's limits."""
        self.address = address
        headers = {"Authorization": f"Bearer {token}"}
        hooks = {"request": [lambda request: _name_session(request, session())]} if session else {}
        self._http = httpx.Client(
            base_url=address, headers=headers, timeout=120, trust_env=False, event_hooks=hooks
        )

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise EngineDown from error
        self._refuse(response)
        return response

    @contextmanager
    def _stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        try:
            with self._http.stream(method, path, **options) as response:
                if response.is_error:
                    response.read()
                self._refuse(response)
                yield response
        except httpx.TransportError as error:
            raise EngineDown from error

    def _refuse(self, response: httpx.Response) -> None:
        """Raises EngineError for an answer that is an error."""
        if response.is_error:
            try:
                detail = response.json()["detail"]
            except (ValueError, KeyError):
                detail = response.text
            raise EngineError(response.status_code, detail if isinstance(detail, str) else json.dumps(detail))

    def _arrow(self, response: httpx.Response) -> pa.Table:
        return pa.ipc.open_stream(io.BytesIO(response.content)).read_all()

    def _json(self, method: str, path: str, **options: Any) -> Any:
        return self._call(method, path, **options).json()


def _name_session(request: httpx.Request, name: str) -> None:
    request.headers["Concordance-Session"] = name
