"""The client's calls that export a run as a bundle and take bundles in."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.transport import Transport

CHUNK = 1 << 20


class BundleCalls(Transport):
    """Every call raises EngineError where the engine refuses."""

    def export_bundle(self, run_id: str, target: Path) -> None:
        """Write the bundle of a finished run (`engine.bundles`) to a file, which appears whole or not at all."""
        unfinished = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            with (
                self._stream("GET", f"/runs/{run_id}/bundle", timeout=3600) as response,
                unfinished.open("wb") as file,
            ):
                for chunk in response.iter_bytes(CHUNK):
                    file.write(chunk)
            os.replace(unfinished, target)
        finally:
            unfinished.unlink(missing_ok=True)

    def import_bundle(self, source: Path) -> dict[str, Any]:
        """Take in the runs of a bundle: {"run": its run, "added": ids, "present": ids that were here}."""
        found: dict[str, Any] = self._json("POST", "/bundles", content=_chunks(source), timeout=3600)
        return found


def _chunks(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
