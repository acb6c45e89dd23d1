"""Prompts denoised live: one warm child of the engine that holds policies of finished runs, and its routes."""

from typing import Any

from fastapi import FastAPI

from engine.errors import UserError
from engine.scheduler import Scheduler
from engine.studies.sapo.live_request import LiveRequest
from engine.warm_child import WarmChild

STUDY = "sapo"


class Denoiser(WarmChild):
    """`engine.studies.sapo.live`, kept warm."""

    def __init__(self) -> None:
        super().__init__("engine.studies.sapo.live", "prompt")


def add_denoising(app: FastAPI, guarded: list[Any], scheduler: Scheduler, denoiser: Denoiser) -> None:
    """Add the routes that denoise a prompt, or a span of a completion again, with a finished run's policy or the bundled base."""

    @app.post("/runs/{run_id}/denoise", dependencies=guarded)
    def denoise(run_id: str, request: LiveRequest) -> dict[str, Any]:
        entry = scheduler.get(run_id)
        if entry.record["study"] != STUDY:
            raise UserError("run", f"{run_id} is a run of {entry.record['study']}; choose one of {STUDY}.")
        if not scheduler.is_done(run_id):
            raise UserError("run", f"{run_id} is {entry.state['state']}; wait until it is done.")
        return denoiser.ask({"folder": str(entry.directory), **request.model_dump()})

    @app.post("/denoise", dependencies=guarded)
    def denoise_bundled(request: LiveRequest) -> dict[str, Any]:
        return denoiser.ask({"folder": None, **request.model_dump()})
