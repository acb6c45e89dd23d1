"""The prompt lab's answer over HTTP: events as lines of JSON, which end when the client hangs up."""

import json
import threading
from collections.abc import Generator
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class EventStream(StreamingResponse):
    """Streams events as NDJSON and closes their generator once nobody reads it.

    A cancelled response leaves its iterator in a reference cycle, so that by itself it would be closed only by some
    later garbage collection, and the lab would go on working for a client that has gone.
    """

    def __init__(self, events: Generator[dict[str, Any]]) -> None:
        self.events = events
        super().__init__((json.dumps(event) + "\n" for event in events), media_type="application/x-ndjson")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            threading.Thread(target=self.events.close, daemon=True).start()
