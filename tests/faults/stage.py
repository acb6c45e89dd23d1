"""A state folder with a real engine, a real app and small runs of every study, to be broken and put right."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from data.files import read_json
from engine import client as engine_client
from engine.client import Client
from engine.transport import EngineError

Launch = tuple[str, dict[str, Any], list[int]]
# Each takes some ten seconds of a core and leaves a checkpoint every second or so.
LAUNCHES: tuple[Launch, ...] = (
    (
        "sae_consistency",
        {"source": "synthetic", "d_in": 8, "n_true_features": 12, "true_sparsity": 2, "n_samples": 2000, "d_sae": 12, "k": 2,
         "n_steps": 6000, "batch_size": 128, "checkpoint_every": 400, "n_match_points": 4},
        [0, 1],
    ),
    (
        "concept_hierarchy",
        {"n_samples": 4_000, "checkpoint_every": 20, "n_bootstraps": 6},
        [0, 1],
    ),
    (
        "multimodal_causal",
        {"n_latents": 2, "width": 5, "n_samples": 300, "n_modalities": 2, "hidden": 8, "batch_size": 64, "subspace_steps": 900,
         "component_steps": 600, "baseline_steps": 100, "n_bootstraps": 2, "checkpoint_every": 100},
        [0, 1],
    ),
    (
        "extrapolation",
        {"n_targets": 40, "n_source": 200, "n_classes": 2, "n_coordinates": 8, "changed": 3, "steps": 1500, "fit_steps": 20,
         "distances": [0.0, 2.0, 8.0], "batch_size": 32, "adapt_steps": 4, "checkpoint_every": 2},
        [0, 1],
    ),
    (
        "counterfactual_text",
        {"n_domains": 3, "n_rows": 300, "n_test": 120, "hidden": 12, "n_steps": 400, "batch_size": 32, "warm_up": 4,
         "jacobian_rows": 8, "checkpoint_every": 40, "probe_rows": 20, "arms": "matte,beta_vae", "embedding": 3},
        [0, 1],
    ),
    (
        "label_shift",
        {"rounds": 60, "swap_rounds": 10, "labels": 60, "test_rows": 200, "decisions": 5, "hidden": 8, "steps_per_round": 10,
         "source": "mixture", "n_classes": 4, "n_samples": 400, "checkpoint_every": 5},
        [0, 1],
    ),
    (
        "sapo",
        {"task": "chain", "chain_length": 2, "width": 16, "layers": 1, "heads": 2, "base_steps": 600, "base_batch": 16,
         "iterations": 12, "prompts": 4, "group_size": 4, "inner_iterations": 2, "eval_prompts": 8, "value_prompts": 4,
         "value_rollouts": 2, "kept": 2, "eval_every": 4, "checkpoint_every": 2},
        [0, 1],
    ),
    (
        "sr2",
        {"side": 4, "clues": 8, "blocks": 3, "recurrences": 2, "d_model": 16, "heads": 2, "d_inner": 32, "batch_size": 16,
         "n_train": 60, "n_validation": 20, "n_test": 30, "budget": "steps", "n_steps": 600, "evaluations": 4,
         "checkpoint_every": 40, "kept_puzzles": 3},
        [0, 1],
    ),
    (
        "srf",
        {"n_labelled": 40, "n_pool": 40, "n_test": 20, "generator": "bundled", "arm_steps": 8, "batch_size": 8, "keep": 0.25,
         "noise": False, "checkpoint_every": 10, "arms": "base,random,triangle_tied,oracle,recap,bottom", "sweep": [0.5]},
        [0, 1],
    ),
    (
        "smartclip",
        {"n_train": 120, "n_validation": 50, "n_test": 60, "width": 16, "heads": 2, "caption_steps": 20, "clip_steps": 40,
         "arm_steps": 30, "batch_size": 8, "clip_batch_size": 8, "lambda_sweep": [2.0], "n_pairs": 12, "control_draws": 2,
         "kept": 4, "checkpoint_every": 10},
        [0, 1],
    ),
)  # fmt: skip
PATIENCE = 600.0


class Stage:
    """One state folder and the processes on it. Use as a context manager: everything started is killed at the end."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        os.environ["CONCORDANCE_HOME"] = str(home)
        self.app: subprocess.Popen[bytes] | None = None
        self.port = 18_000 + os.getpid() % 10_000

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        for pid in [self.engine_pid(), *self.worker_pids(), *([self.app.pid] if self.app else [])]:
            kill(pid)

    def client(self) -> Client:
        """The engine's client; starts one where none answers."""
        os.environ["CONCORDANCE_HOME"] = str(self.home)
        return engine_client.connect()

    def launch(self, launches: tuple[Launch, ...] = LAUNCHES) -> list[str]:
        """Ids of the runs, submitted; those that had ended early are queued again by it."""
        return [str(self.client().submit(study, config, seeds)["id"]) for study, config, seeds in launches]

    def open_app(self) -> None:
        """Start Streamlit where it does not run, and ask its page."""
        if self.app is None or self.app.poll() is not None:
            with (self.home / "app.log").open("ab") as log:
                self.app = subprocess.Popen(
                    [sys.executable, "-m", "streamlit", "run", "serve.py", f"--server.port={self.port}",
                     "--server.address=127.0.0.1", "--server.headless=true", "--browser.gatherUsageStats=false"],
                    cwd=Path(__file__).parents[2] / "app", stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
        until(self.app_answers, "the app answers")

    def app_answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return (
                httpx.get(f"http://127.0.0.1:{self.port}/_stcore/health", trust_env=False).status_code == 200
            )
        return False

    def engine_pid(self) -> int:
        """0 where no engine wrote its address."""
        with suppress(OSError, ValueError):
            return int(read_json(self.home / "engine.json")["pid"])
        return 0

    def stop_engine(self) -> None:
        """Ask the engine to end and wait until it has."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.engine_pid())
            process.terminate()
            process.wait(30)

    def worker_pids(self) -> list[int]:
        """Process ids of the workers of runs that state.json calls running."""
        pids = []
        for path in self.home.glob("runs/*/state.json"):
            with suppress(OSError, ValueError):
                state = read_json(path)
                if state["state"] == "running":
                    pids.append(int(state["pid"]))
        return pids

    def states(self) -> dict[str, str]:
        return {run["id"]: run["state"] for run in self.client().runs()}

    def finish(self) -> None:
        """Resume what ended early until every run is done. Raises AssertionError with a run's own words when it failed."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            runs = self.client().runs()
            if all(run["state"] == "done" for run in runs):
                return
            for run in runs:
                assert run["state"] != "failed", f"{run['study']} failed: {run['error']}"
                if run["state"] in ("interrupted", "cancelled"):
                    self.client().resume(run["id"])
            time.sleep(0.5)
        raise AssertionError(f"not finished after {PATIENCE:.0f} s: {self.states()}")

    def manifests(self) -> dict[str, dict[str, str]]:
        """sha256 of every result file of every finished run."""
        return {path.parent.name: read_json(path) for path in self.home.glob("runs/[!.]*/manifest.json")}

    def problems(self) -> list[str]:
        """What `concordance store check` finds."""
        found: list[str] = self.client().store_check()["problems"]
        return found


def kill(pid: int) -> bool:
    """SIGKILL to a process and its children; whether it was there."""
    if not pid:
        return False
    try:
        process = psutil.Process(pid)
        for member in [*process.children(recursive=True), process]:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGKILL)
        process.wait(20)
    except psutil.NoSuchProcess:
        return False
    return True


def until(holds: Any, what: str, seconds: float = 60.0) -> None:
    """Wait until `holds()`. Raises AssertionError naming `what` when it never does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return
        time.sleep(0.1)
    raise AssertionError(f"after {seconds:.0f} s it does not hold that {what}")


def patiently(action: Any) -> Any:
    """An answer of the engine, asked again while it starts."""
    for _ in range(20):
        with suppress(EngineError):
            return action()
        time.sleep(0.5)
    return action()
