"""Prompts denoised live: one warm child of the engine that holds policies of finished runs, and its routes."""

from typing import Any

from fastapi import FastAPI

from engine.scheduler import Scheduler
from engine.studies.sapo.live_request import LiveRequest
from engine.warm_child import WarmChild, finished_run

STUDY = "sapo"


def add_denoising(app: FastAPI, guarded: list[Any], scheduler: Scheduler) -> WarmChild:
    """Add the routes that denoise a prompt, or a span of a completion again, with a finished run's policy or the bundled base; the child that answers."""
    child = WarmChild("engine.studies.sapo.live", "prompt")

    @app.post("/runs/{run_id}/denoise", dependencies=guarded)
    def denoise(run_id: str, request: LiveRequest) -> dict[str, Any]:
        folder = finished_run(scheduler, run_id, STUDY)
        return child.ask({"folder": str(folder), **request.model_dump()})

    @app.post("/denoise", dependencies=guarded)
    def denoise_bundled(request: LiveRequest) -> dict[str, Any]:
        return child.ask({"folder": None, **request.model_dump()})

    return child
