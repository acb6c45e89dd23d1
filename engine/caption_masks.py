"""Masks of typed captions, live: one warm child of the engine that holds arms of finished runs, and its route."""

from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from engine.access import Access
from engine.errors import UserError
from engine.scheduler import Scheduler
from engine.warm_child import WarmChild, finished_run

STUDY, SAES = "smartclip", "sae_consistency"


class CaptionMaskRequest(BaseModel):
    """One or two captions, and the arm and seed whose masks are asked for.

    With `sae_run`, a finished run of SAEs on this run's image embedding, it is told too how much of each feature of its
    seed `sae_seed` a mask keeps.
    """

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(default=0, ge=0, lt=2**31)
    arm: str = Field(default="smartclip", pattern=r"^[a-z_]+[0-9.e+-]*$", max_length=40)
    captions: list[Annotated[str, StringConstraints(max_length=2_000)]] = Field(min_length=1, max_length=2)
    sae_run: str | None = Field(default=None, pattern=r"^[0-9a-f]{12}$")
    sae_seed: int = Field(default=0, ge=0, lt=2**31)


def add_caption_masks(app: FastAPI, access: Access, scheduler: Scheduler) -> WarmChild:
    """Add the route that gives captions' masks, their overlap and the nearest test pictures of a finished run; the child that answers."""
    child = WarmChild("engine.studies.smartclip.live", "captions")

    @app.post("/runs/{run_id}/caption_mask", dependencies=access.live)
    def caption_mask(run_id: str, request: CaptionMaskRequest) -> dict[str, Any]:
        folder = finished_run(scheduler, run_id, STUDY)
        asked = {"folder": str(folder), **request.model_dump(include={"seed", "arm", "captions"})}
        if request.sae_run is not None:
            asked |= _features(scheduler, run_id, request.sae_run, request.sae_seed)
        return child.ask(asked)

    return child


def _features(scheduler: Scheduler, run_id: str, sae_run: str, seed: int) -> dict[str, str]:
    """The folder of an SAE and the model it reads. Raises UserError where that is not this run."""
    folder, record = finished_run(scheduler, sae_run, SAES), scheduler.get(sae_run).record
    model = str(record["config"]["model"])
    if record["config"]["source"] != "language_model" or model.split("/")[0] != f"run:{run_id}":
        raise UserError("sae_run", f"the SAEs of {sae_run} do not read run {run_id}.")
    if seed not in record["seeds"]:
        raise UserError(
            "sae_seed", f"run {sae_run} has no seed {seed}; it has {', '.join(map(str, record['seeds']))}."
        )
    return {"features_of": str(folder / "saes" / f"seed-{seed}"), "model": model.partition("/")[2]}
