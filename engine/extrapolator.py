"""Adapting to one chosen sample, live: one warm child of the engine that holds networks of finished runs, and its routes."""

from typing import Any, Literal

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from engine.access import Access
from engine.scheduler import Scheduler
from engine.warm_child import WarmChild, finished_run

STUDY = "extrapolation"


class TargetRequest(BaseModel):
    """One target: its class, its place off the support, and the knobs of the two objectives (the run's where left out)."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(default=0, ge=0, lt=2**31)
    regime: Literal["dense", "sparse"] = "dense"
    label: int = Field(default=0, ge=0, lt=1_000)
    distance: float = Field(default=4.0, ge=0, le=1_000)
    angle: float = Field(default=0.0, ge=0, le=360)
    draw: int = Field(default=0, ge=0, lt=2**31)
    changed: int | None = Field(default=None, ge=0, le=199)
    pull: float | None = Field(default=None, ge=0, le=100)


class PictureRequest(BaseModel):
    """One test picture, by its place among them, and the noise in a block of it."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(default=0, ge=0, lt=2**31)
    picture: int = Field(default=0, ge=0)
    scope: float = Field(default=0.5, gt=0, le=1)
    severity: float = Field(default=1.0, ge=0, le=100)
    draw: int = Field(default=0, ge=0, lt=2**31)
    quantile: float | None = Field(default=None, ge=0.5, le=1)


def add_extrapolation(app: FastAPI, access: Access, scheduler: Scheduler) -> WarmChild:
    """Add the routes that adapt to one target or picture of a finished run; the child that answers."""
    child = WarmChild("engine.studies.extrapolation.live", "sample")

    @app.post("/runs/{run_id}/extrapolate_target", dependencies=access.live)
    def extrapolate_target(run_id: str, request: TargetRequest) -> dict[str, Any]:
        folder = finished_run(scheduler, run_id, STUDY)
        return child.ask({"kind": "world", "folder": str(folder), **request.model_dump()})

    @app.post("/runs/{run_id}/extrapolate_picture", dependencies=access.live)
    def extrapolate_picture(run_id: str, request: PictureRequest) -> dict[str, Any]:
        folder = finished_run(scheduler, run_id, STUDY)
        return child.ask({"kind": "pictures", "folder": str(folder), **request.model_dump()})

    return child
