"""Own puzzles, solved live: one warm child of the engine that holds reasoners of finished runs, and its route."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from engine.access import Access
from engine.scheduler import Scheduler
from engine.warm_child import WarmChild, finished_run

STUDY = "sr2"


class PuzzleRequest(BaseModel):
    """A puzzle in text, and how many alignment blocks to run on it; None runs those trained."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(default=0, ge=0, lt=2**31)
    puzzle: str = Field(max_length=10_000)
    blocks: int | None = Field(default=None, ge=1, le=512)


def add_puzzles(app: FastAPI, access: Access, scheduler: Scheduler) -> WarmChild:
    """Add the route that solves a puzzle with a finished run; the child that answers."""
    child = WarmChild("engine.studies.sr2.solving", "puzzle")

    @app.post("/runs/{run_id}/puzzle", dependencies=access.live)
    def solve_puzzle(run_id: str, request: PuzzleRequest) -> dict[str, Any]:
        folder = finished_run(scheduler, run_id, STUDY)
        return child.ask({"folder": str(folder), **request.model_dump()})

    return child
