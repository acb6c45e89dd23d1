"""Prompts denoised live: one warm child of the engine that holds policies of finished runs, and its routes."""

from typing import Any

from fastapi import FastAPI

from data.files import read_json
from engine.access import Access
from engine.scheduler import Scheduler
from engine.studies import STUDIES
from engine.studies.base import parse_config
from engine.studies.sapo.base_models import BUNDLED
from engine.studies.sapo.live_request import LiveRequest
from engine.warm_child import WarmChild, finished_run

STUDY = "sapo"
SAMPLER = ("temperature", "remasking", "block_length", "denoising_steps")


def add_denoising(app: FastAPI, access: Access, scheduler: Scheduler) -> WarmChild:
    """Add the routes that denoise a prompt, or a span of a completion again, with a finished run's policy or the bundled base; the child that answers."""
    child = WarmChild("engine.studies.sapo.live", "prompt")

    @app.post("/runs/{run_id}/denoise", dependencies=access.live)
    def denoise(run_id: str, request: LiveRequest) -> dict[str, Any]:
        folder = finished_run(scheduler, run_id, STUDY)
        _check(scheduler.get(run_id).record["config"], request)
        return child.ask({"folder": str(folder), **request.model_dump()})

    @app.post("/denoise", dependencies=access.live)
    def denoise_bundled(request: LiveRequest) -> dict[str, Any]:
        _check(read_json(BUNDLED.with_suffix(".json"))["config"], request)
        return child.ask({"folder": None, **request.model_dump()})

    return child


def _check(config: dict[str, Any], request: LiveRequest) -> None:
    """Raises UserError where the request's sampler settings do not fit the policy's config."""
    asked = request.model_dump(include=set(SAMPLER), exclude_none=True)
    parse_config(STUDIES[STUDY], None, {**config, **asked})
