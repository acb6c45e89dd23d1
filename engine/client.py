"""The one Python client of the engine: the app, the command line and notebooks use it. No torch, no DuckDB."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from data.paths import state_dir
from engine.client_bundles import BundleCalls
from engine.client_explore import ExploreCalls
from engine.client_figures import FigureCalls
from engine.client_sql import SqlCalls
from engine.client_triplets import TripletCalls
from engine.transport import TOKENS, EngineDown, EngineError

TERMINAL = ("done", "failed", "cancelled", "interrupted")
RESUMABLE = ("failed", "cancelled", "interrupted")
START_TIMEOUT = 60.0
LISTED = 1000  # runs looked through for a kind of run


def connect(start: bool = True, role: str = "launch", session: Callable[[], str] | None = None) -> "Client":
    """A client of this machine's engine; starts one in the background when none runs and `start` is true.

    `role` is launch or view, which may only look; `session` is that of Transport. Raises EngineDown when none answers.
    """
    client = _running(role, session)
    if client is None and start:
        start_engine()
        client = _running(role, session)
    if client is None:
        raise EngineDown
    return client


def _running(role: str = "launch", session: Callable[[], str] | None = None) -> "Client | None":
    home = state_dir()
    try:
        address = json.loads((home / "engine.json").read_text())["address"]
        token = (home / TOKENS[role]).read_text().strip()
        client = Client(address, token, session)
        client.health()
    except (OSError, ValueError, KeyError, EngineError):
        return None
    return client


def start_engine(*options: str) -> "subprocess.Popen[bytes]":
    """Start an engine process of its own session, with options of `engine.server`, and wait until it answers.

    Raises EngineError with the last line it left.
    """
    home = state_dir()
    with (home / "engine.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "engine.server", *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "CONCORDANCE_HOME": str(home)},
        )
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if _running() is not None:
            return process
        if process.poll() is not None:
            break
        time.sleep(0.1)
    tail = (home / "engine.log").read_text(errors="replace").strip().splitlines()[-1:]
    raise EngineError(503, f"The engine did not start; {home / 'engine.log'} ends with: {''.join(tail)}")


class Client(ExploreCalls, BundleCalls, FigureCalls, TripletCalls, SqlCalls):
    """Calls of the engine's HTTP API, one method each; tables come back as Arrow."""

    def health(self) -> dict[str, Any]:
        return self._json("GET", "/health", timeout=5)

    def system(self) -> dict[str, Any]:
        """Versions, devices, disk, paths and offline assets of the engine's machine."""
        return self._json("GET", "/system")

    def studies(self) -> list[dict[str, Any]]:
        """Name, title, paper, config schema, presets and claims of every study."""
        return self._json("GET", "/studies")

    def submit(
        self,
        study: str,
        config: dict[str, Any],
        seeds: list[int],
        preset: str | None = None,
        data_seed: int = 0,
        cards: bool = False,
    ) -> dict[str, Any]:
        """Queue a run, or return the one that exists with this identity; with `cards`, its feature cards after it.

        Raises EngineError (422) on bad input.
        """
        body = {"study": study, "config": config, "seeds": seeds, "preset": preset, "data_seed": data_seed}
        return self._json("POST", "/runs", json={**body, "cards": cards})

    def launch(
        self,
        study: str,
        settings: list[dict[str, Any]],
        seeds: list[int],
        data_seed: int = 0,
        sweep: str | None = None,
    ) -> list[dict[str, Any]]:
        """Queue one run per settings (config fields, and "preset"), trained together on one stream of data.

        With `sweep`, those of the study's named sweep, with the fields of `settings[0]`, if any, put over each.
        """
        body = {"study": study, "settings": settings, "seeds": seeds, "data_seed": data_seed, "sweep": sweep}
        return self._json("POST", "/launches", json=body)

    def estimate(
        self,
        study: str,
        config: dict[str, Any],
        seeds: list[int],
        preset: str | None = None,
        data_seed: int = 0,
    ) -> dict[str, Any]:
        """Expected seconds, memory_bytes and disk_bytes of a run, and the command that asks for it.

        `available_bytes` is what `memory_of` has; `memory_problem` is None, or a sentence where it will not do.
        """
        body = {"study": study, "config": config, "seeds": seeds, "preset": preset, "data_seed": data_seed}
        return self._json("POST", "/estimate", json=body)

    def runs(
        self, study: str | None = None, state: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[dict[str, Any]]:
        """Runs, newest first."""
        query = {"study": study, "state": state, "limit": limit, "offset": offset}
        return self._json("GET", "/runs", params={k: v for k, v in query.items() if v is not None})

    def run(self, run_id: str) -> dict[str, Any]:
        return self._json("GET", f"/runs/{run_id}")

    def events(self, run_id: str, cursor: int = 0, max_points: int = 2000) -> dict[str, Any]:
        """New event rows since `cursor`, thinned on the server, with the next cursor."""
        return self._json(
            "GET", f"/runs/{run_id}/events", params={"cursor": cursor, "max_points": max_points}
        )

    def log(self, run_id: str, cursor: int = 0) -> dict[str, Any]:
        """Text of the worker's output since byte `cursor` (at most the last 20 kB), with the next cursor."""
        return self._json("GET", f"/runs/{run_id}/log", params={"cursor": cursor})

    def cancel(self, run_id: str) -> dict[str, Any]:
        return self._json("POST", f"/runs/{run_id}/cancel")

    def resume(self, run_id: str) -> dict[str, Any]:
        return self._json("POST", f"/runs/{run_id}/resume")

    def stable_dictionary(self, run_id: str, min_seeds: int = 2, threshold: float = 0.7) -> dict[str, Any]:
        """Pool the features that at least `min_seeds` seeds of a run share (|cosine| ≥ threshold); the new run."""
        body = {"min_seeds": min_seeds, "threshold": threshold}
        return self._json("POST", f"/runs/{run_id}/stable-dictionary", json=body)

    def wait(self, run_id: str, poll: float = 0.3) -> dict[str, Any]:
        """Block until the run is over."""
        while (run := self.run(run_id))["state"] not in TERMINAL:
            time.sleep(poll)
        return run

    def table(
        self,
        run_id: str,
        name: str,
        columns: list[str] | None = None,
        where: dict[str, Any] | None = None,
        order: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> pa.Table:
        """Rows of a run's table; `where` holds equality filters, `order` a column, `-column` for descending."""
        body = {"columns": columns, "where": where or {}, "order": order, "limit": limit, "offset": offset}
        return self._arrow(self._call("POST", f"/runs/{run_id}/tables/{name}", json=body))

    def match(self, a: tuple[str, int], b: tuple[str, int], subset: str = "alive") -> dict[str, Any]:
        """Match two SAEs, each (run id, seed), of one run or of two: {"summary": dict, "matches": table}."""
        query = {"run_a": a[0], "seed_a": a[1], "run_b": b[0], "seed_b": b[1], "subset": subset}
        response = self._call("GET", "/match", params=query)
        table = self._arrow(response)
        metadata = table.schema.metadata or {}
        return {"summary": json.loads(metadata[b"summary"]), "matches": table}

    def solve_puzzle(self, run_id: str, seed: int, puzzle: str, blocks: int | None = None) -> dict[str, Any]:
        """Every board a finished sr2 run passes through on a puzzle; as `engine.studies.sr2.solving.solve` returns it."""
        body = {"seed": seed, "puzzle": puzzle, "blocks": blocks}
        found: dict[str, Any] = self._json("POST", f"/runs/{run_id}/puzzle", json=body)
        return found

    def denoise(self, run_id: str | None, prompt: str, **request: Any) -> dict[str, Any]:
        """A prompt, or a span of a completion again, denoised by a policy of a finished sapo run, or by the bundled base.

        `request` holds fields of `engine.studies.sapo.live_request.LiveRequest`; the answer is that of
        `engine.studies.sapo.live.answer`.
        """
        path = f"/runs/{run_id}/denoise" if run_id else "/denoise"
        found: dict[str, Any] = self._json("POST", path, json={"prompt": prompt, **request})
        return found

    def caption_mask(
        self, run_id: str, captions: list[str], seed: int = 0, arm: str = "smartclip", **sae: Any
    ) -> dict[str, Any]:
        """What one or two captions select in a finished smartclip run; as `engine.studies.smartclip.live` answers.

        `sae` may hold sae_run and sae_seed, SAEs on the run's image embedding: "features" then says how much of each
        feature a caption's mask keeps.
        """
        body = {"seed": seed, "arm": arm, "captions": captions, **sae}
        found: dict[str, Any] = self._json("POST", f"/runs/{run_id}/caption_mask", json=body)
        return found

    def counterfactual(self, run_id: str, domain: str, other: str, **request: Any) -> dict[str, Any]:
        """Style noise moved in a sentence or a row, in its domain and in another one, by a finished counterfactual_text run.

        `request` holds fields of `engine.counterfactuals.CounterfactualRequest`; the answer is that of
        `engine.studies.counterfactual_text.live`.
        """
        body = {"domain": domain, "other": other, **request}
        found: dict[str, Any] = self._json("POST", f"/runs/{run_id}/counterfactual", json=body)
        return found

    def extrapolate_target(self, run_id: str, **request: Any) -> dict[str, Any]:
        """One target explained by a finished extrapolation run on worlds; fields of `engine.extrapolator.TargetRequest`."""
        found: dict[str, Any] = self._json("POST", f"/runs/{run_id}/extrapolate_target", json=request)
        return found

    def extrapolate_picture(self, run_id: str, **request: Any) -> dict[str, Any]:
        """One corrupted picture answered by a finished extrapolation run; fields of `engine.extrapolator.PictureRequest`."""
        found: dict[str, Any] = self._json("POST", f"/runs/{run_id}/extrapolate_picture", json=request)
        return found

    def saes_reading(self, run_id: str, state: str | None = "done") -> list[dict[str, Any]]:
        """Runs of sae_consistency whose SAEs read a model of this run (`run:ID`), newest first."""
        found = self.runs("sae_consistency", state, limit=LISTED)
        return [run for run in found if run["config"]["model"].split("/")[0] == f"run:{run_id}"]

    def active_features(
        self,
        run_id: str,
        sae_run: str,
        sae_seed: int,
        tokens: list[int] | list[str],
        position: int,
        k: int = 10,
    ) -> dict[str, Any]:
        """Features of an SAE of `saes_reading` that are active at a position of an input of a finished sr2 or sapo run.

        `tokens` are the input's ids, or its words with "" for a masked one. {"model", "n_active", "is_massive", "features":
        [{"feature", "value", "label"}]}, the largest value first; as `engine.state_features.active_features` says.
        """
        asked = {"sae_run": sae_run, "sae_seed": sae_seed, "tokens": tokens, "position": position, "k": k}
        found: dict[str, Any] = self._json("POST", f"/runs/{run_id}/active_features", json=asked)
        return found

    def claims(self, study: str) -> pa.Table:
        """The newest measured figure of every claim of a study."""
        return self._arrow(self._call("GET", f"/studies/{study}/claims"))

    def claim_runs(
        self, study: str, preset: str, seeds: int, claims: Sequence[str] | None = None
    ) -> list[str]:
        """Queue every run the study's claims, or those named, need; their ids."""
        body = {"preset": preset, "seeds": seeds, "claims": claims}
        return self._json("POST", f"/studies/{study}/claims/runs", json=body)

    def measure_claims(
        self, study: str, preset: str, seeds: int, claims: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """Measure the claims, or those named, on the finished runs, store and return the rows."""
        body = {"preset": preset, "seeds": seeds, "claims": claims}
        return self._json("POST", f"/studies/{study}/claims/measure", json=body, timeout=600)

    def verify(
        self, study: str, preset: str = "standard", seeds: int = 5, claims: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """Train what the claims, or those named, need, measure them, store and return the rows."""
        for run in self.claim_runs(study, preset, seeds, claims):
            self.wait(run)
        return self.measure_claims(study, preset, seeds, claims)

    def export_figure(self, figure: str, format: str, width: int = 700, height: int = 450) -> bytes:
        """Render plotly JSON as svg, pdf or png with the engine's one kept browser."""
        query = {"format": format, "width": width, "height": height}
        return self._call("POST", "/figures", params=query, content=figure.encode()).content

    def store_check(self) -> dict[str, Any]:
        return self._json("POST", "/store/check", timeout=600)

    def store_rebuild(self) -> dict[str, Any]:
        return self._json("POST", "/store/rebuild", timeout=600)

    def shutdown(self) -> None:
        self._json("POST", "/shutdown")
