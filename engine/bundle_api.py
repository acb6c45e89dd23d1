"""The part of the API that exports a run as a bundle and takes bundles in."""

import os
import tempfile
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool

from engine.access import Access
from engine.bundles import read_bundle, write_bundle
from engine.library import Library
from engine.scheduler import Scheduler


def add_bundles(app: FastAPI, access: Access, scheduler: Scheduler, library: Library) -> None:
    @app.get("/runs/{run_id}/bundle", dependencies=access.live)
    def export_bundle(run_id: str) -> FileResponse:
        path = _temporary(scheduler.home)
        try:
            write_bundle(scheduler, library, run_id, path)
        except BaseException:
            path.unlink()
            raise
        return FileResponse(path, filename=f"{run_id}.zip", background=BackgroundTask(path.unlink))

    @app.post("/bundles", dependencies=access.launch)
    async def import_bundle(request: Request) -> dict[str, Any]:
        path = _temporary(scheduler.home)
        try:
            with path.open("wb") as file:
                async for chunk in request.stream():
                    file.write(chunk)
            return await run_in_threadpool(read_bundle, scheduler, library, path)
        finally:
            path.unlink()


def _temporary(home: Path) -> Path:
    handle, name = tempfile.mkstemp(dir=home, prefix=".bundle-", suffix=".zip")
    os.close(handle)
    return Path(name)
