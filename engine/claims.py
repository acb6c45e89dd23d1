"""Claims of a study: which runs they need, and their measured figures."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from engine.errors import UserError
from engine.identity import find_study, identity
from engine.scheduler import Scheduler
from engine.store import Store
from engine.studies.base import NOT_TESTED, Claim


def claim_runs(
    scheduler: Scheduler, study: str, preset: str, seeds: int, names: Sequence[str] | None = None
) -> list[str]:
    """Submit every run the claims (or those named) need at a preset; the distinct ids. Runs of the same data and seeds train together."""
    launches: dict[tuple[str, tuple[int, ...], int], list[dict[str, Any]]] = {}
    for claim in _chosen(study, names):
        for start, config, needed, data_seed in _requests(claim, preset, seeds):
            data = scheduler.record(study, start, config, needed, data_seed)["fingerprint"]
            launches.setdefault((data, tuple(needed), data_seed), []).append({"preset": start, **config})
    ids: list[str] = []
    for (_, chosen, data_seed), settings in launches.items():
        ids += scheduler.submit_group(study, settings, list(chosen), data_seed)
    return list(dict.fromkeys(ids))


def _requests(claim: Claim, preset: str, seeds: int) -> list[tuple[str, dict[str, Any], list[int], int]]:
    """Preset, config, seeds and data seed of every run a claim needs."""
    needed = list(range(max(seeds, claim.min_seeds)))
    return [(request["preset"], request["config"], needed, 0) for request in claim.runs(preset)]


def measure(
    scheduler: Scheduler,
    store: Store,
    study: str,
    preset: str,
    seeds: int,
    names: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Measure the claims (or those named) on their finished runs; store and return the rows. An unfinished run means *not tested*."""
    rows = []
    for claim in _chosen(study, names):
        requests = _requests(claim, preset, seeds)
        runs = [identity(scheduler.record(study, *request)) for request in requests]
        done = runs and all(map(scheduler.is_done, runs))
        measured = claim.measure([RunTables(store, run) for run in runs]) if done else NOT_TESTED
        rows.append(
            {
                "study": study,
                "claim": claim.name,
                "sentence": claim.sentence,
                "paper": claim.paper,
                "rule": claim.rule,
                **asdict(measured),
                "baseline_name": claim.baseline_name,
                "preset": preset,
                "runs": json.dumps(runs),
                "created": time.time(),
            }
        )
    store.save_claims(study, _beside_others(store, study, rows))
    return rows


def _chosen(study: str, names: Sequence[str] | None) -> list[Claim]:
    """The study's claims, or those named, in its order. Raises UserError for a name it does not have."""
    known = {claim.name: claim for claim in find_study(study).claims}
    for name in names or ():
        if name not in known:
            raise UserError("claim", f"{name!r} is not a claim of {study}; it has {', '.join(known)}.")
    return [claim for name, claim in known.items() if names is None or name in names]


def _beside_others(store: Store, study: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The new rows and the stored ones of the claims that were not measured now, in the study's order."""
    kept = {row["claim"]: row for row in [*store.claims(study).to_pylist(), *rows]}
    return [kept[claim.name] for claim in find_study(study).claims if claim.name in kept]


class RunTables(dict[str, pa.Table]):
    """The tables of a run by name, read when asked for."""

    def __init__(self, store: Store, run: str) -> None:
        super().__init__()
        self.store, self.run = store, run

    def __missing__(self, name: str) -> pa.Table:
        self[name] = self.store.rows(self.run, name, None, {}, None, None, 0).read_all()
        return self[name]
