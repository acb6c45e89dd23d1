"""The route that says which features of an SAE trained on a run's states (`run:ID`) are active in an input of that run.

The children that already hold models of finished runs answer (`engine.state_features`), so a model is loaded once.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from engine.access import Access
from engine.cards import CardReader
from engine.errors import UserError
from engine.scheduler import Scheduler
from engine.warm_child import Message, WarmChild, finished_run

STUDY = "sae_consistency"
MOST = 100


class ActiveRequest(BaseModel):
    """An input of the run, as token ids or as words ("" for a masked one), and the position to look at, from 0.

    `sae_run` is a finished run of sae_consistency whose model is one of this run; at most `k` features are given.
    """

    model_config = ConfigDict(extra="forbid")

    sae_run: str = Field(pattern=r"^[0-9a-f]{12}$")
    sae_seed: int = Field(ge=0, lt=2**31)
    tokens: list[int] | list[str] = Field(min_length=1, max_length=10_000)
    position: int = Field(ge=0)
    k: int = Field(default=10, ge=1, le=MOST)


def add_active_features(
    app: FastAPI,
    access: Access,
    scheduler: Scheduler,
    reader: CardReader,
    children: Mapping[str, WarmChild],
) -> None:
    """Add the route; `children` holds the child that answers for runs of each study."""

    @app.post("/runs/{run_id}/active_features", dependencies=access.live)
    def active_features(run_id: str, request: ActiveRequest) -> dict[str, Any]:
        study = scheduler.get(run_id).record["study"]
        if study not in children:
            known = " or ".join(children)
            raise UserError("run", f"{run_id} is a run of {study}; choose one of {known}.")
        finished_run(scheduler, run_id, study)
        found = children[study].ask(_message(scheduler, run_id, request))
        labels = reader.labels(
            request.sae_run, request.sae_seed, [row["feature"] for row in found["features"]]
        )
        rows = [{**row, "label": labels[row["feature"]]} for row in found["features"]]
        return {**found, "features": rows}


def _message(scheduler: Scheduler, run_id: str, request: ActiveRequest) -> Message:
    """What the child is asked. Raises UserError where the SAE does not read this run."""
    folder = finished_run(scheduler, request.sae_run, STUDY)
    record = scheduler.get(request.sae_run).record
    model = str(record["config"]["model"])
    if record["config"]["source"] != "language_model" or model.split("/")[0] != f"run:{run_id}":
        raise UserError("sae_run", f"the SAEs of {request.sae_run} do not read run {run_id}.")
    if request.sae_seed not in record["seeds"]:
        known = ", ".join(map(str, record["seeds"]))
        raise UserError("sae_seed", f"run {request.sae_run} has no seed {request.sae_seed}; it has {known}.")
    return {
        "sae": str(folder / "saes" / f"seed-{request.sae_seed}"),
        "model": model,
        "hook_point": record["config"]["hook_point"],
        "manifest": str(scheduler.home / "activations" / record["fingerprint"].split()[0] / "manifest.json"),
        **request.model_dump(include={"tokens", "position", "k"}),
    }
