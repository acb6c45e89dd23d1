"""Style moved live: one warm child of the engine that holds arms of finished counterfactual_text runs, and its route."""

from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from engine.access import Access
from engine.scheduler import Scheduler
from engine.warm_child import WarmChild, finished_run

STUDY = "counterfactual_text"


class CounterfactualRequest(BaseModel):
    """What is moved (a sentence, or a test row of a world) and how: to a style or a donor's noise, then by `moves` spreads."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(default=0, ge=0, lt=2**31)
    arm: str = Field(default="matte", pattern=r"^[a-z_]+$", max_length=40)
    text: str = Field(default="", max_length=10_000)
    row: int = Field(default=0, ge=0)
    domain: str = Field(max_length=200)
    other: str = Field(max_length=200)
    target: int | None = Field(default=None, ge=0, le=1)
    donor: int | None = Field(default=None, ge=0)
    moves: list[Annotated[float, Field(ge=-100, le=100)]] = Field(default_factory=list, max_length=64)


def add_counterfactuals(app: FastAPI, access: Access, scheduler: Scheduler) -> WarmChild:
    """Add the route that moves the style noise of a sentence or a row with an arm of a finished run; the child that answers."""
    child = WarmChild("engine.studies.counterfactual_text.live", "text")

    @app.post("/runs/{run_id}/counterfactual", dependencies=access.live)
    def counterfactual(run_id: str, request: CounterfactualRequest) -> dict[str, Any]:
        folder = finished_run(scheduler, run_id, STUDY)
        return child.ask({"folder": str(folder), **request.model_dump()})

    return child
