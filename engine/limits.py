"""How much one caller may ask: the size of a request, launches a minute, live answers at once."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import HTTPException
from fastapi.responses import JSONResponse
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION = "concordance-session"
MINUTE = 60.0
MEGABYTE = 1 << 20
MOST_BODY = 16 * MEGABYTE
BODIES = {
    "/figures": 33 * MEGABYTE,
    "/saved-figures": 80 * MEGABYTE,
    "/library": 80 * MEGABYTE,
    "/lists": 40 * MEGABYTE,
    "/bundles": 64 * 1024 * MEGABYTE,
}  # the paths that need more than MOST_BODY bytes


@dataclass(frozen=True)
class Limits:
    """Launches a minute and live answers at once, of one session (a page in a browser, a script) and of all together."""

    launches: int = 120
    launches_of_all: int = 600
    live: int = 8
    live_of_all: int = 24


class Counters:
    """Counts launches and live answers; `launch` and `live` are dependencies of the routes that are counted."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._launched: deque[tuple[float, str]] = deque()
        self._live: list[str] = []

    def launch(self, request: Request) -> None:
        """Count a launch. Raises HTTPException (429) when there were too many in the last minute."""
        session, now = _session(request), time.monotonic()
        with self._lock:
            while self._launched and self._launched[0][0] < now - MINUTE:
                self._launched.popleft()
            mine = sum(who == session for _, who in self._launched)
            if mine >= self._limits.launches or len(self._launched) >= self._limits.launches_of_all:
                raise HTTPException(429, "launch: too many launches within a minute; wait a little.")
            self._launched.append((now, session))

    def live(self, request: Request) -> Iterator[None]:
        """Hold one of the places of live answers until this one is given. Raises HTTPException (429) when all are taken."""
        session = _session(request)
        with self._lock:
            if self._live.count(session) >= self._limits.live or len(self._live) >= self._limits.live_of_all:
                raise HTTPException(
                    429, "live: too many answers are under way; wait until one of them is given."
                )
            self._live.append(session)
        try:
            yield
        finally:
            with self._lock:
                self._live.remove(session)


def _session(request: Request) -> str:
    """Who is counted: the role of the token, and the page or script that names itself."""
    return f"{request.state.role} {request.headers.get(SESSION, '')[:64]}"


class BodyLimit:
    """Middleware that refuses bodies larger than their route takes, by the declared length or while they come."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most, seen = BODIES.get(scope["path"], MOST_BODY), 0
        refusal = f"body: it is larger than {most // MEGABYTE} MB; send less at once."
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > most:
            await JSONResponse({"detail": refusal}, 413)(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413, refusal)
            return message

        await self.app(scope, counted, send)
