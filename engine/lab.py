"""The prompt lab's engine side: one warm child that holds a language model, a queue before it, and a time limit."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from data.files import read_json
from engine.activation_sources import names_run
from engine.errors import UserError

STUDY = "sae_consistency"
MAX_TOKENS = 512
HEARTBEAT = 0.5  # seconds between events while there is nothing new; a client that has gone is noticed then
GRACE = 5.0  # seconds a stopped child gets to end its forward pass
LOADING_GRACE = 60.0  # and to end loading its model, which the next request needs too
STARTING, LOADING = "Starting the lab", "Loading the model"
IDLE = 1800.0  # seconds without a request after which the child ends and its memory is free
STEER_MOST, PATCH_MOST = 20.0, 1000.0
Event = dict[str, Any]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class InterventionRequest(BaseModel):
    """What to do at the hook point, and where; the formulas are those of `engine.interventions.Intervention`.

    steer adds `strength` × the mean norm of activations along the direction, so strengths compare between features.
    ablate takes the feature's own contribution away (of a direction: the component along it). patch sets the feature's
    activation (the direction's component) to `strength`, in the units of the activations shown. The SAE's error stays.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["steer", "ablate", "patch"]
    feature: Seed | None = Field(None, description="Feature of the SAE.")
    minus: Seed | None = Field(None, description="Direction: decoder row of `feature` − that of this one.")
    vector: list[Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        None, description="An own direction, of any norm above 0."
    )
    strength: float = Field(0.0, allow_inf_nan=False, ge=-PATCH_MOST, le=PATCH_MOST)
    positions: str | list[int] = Field(
        "all",
        description="Tokens of the prompt to change: all, last or their numbers; 0, the start, never is.",
    )
    generated: bool = Field(True, description="Whether generated tokens are changed too.")

    @field_validator("positions")
    @classmethod
    def _are_positions(cls, value: str | list[int]) -> str | list[int]:
        numbers = isinstance(value, list) and all(1 <= place <= MAX_TOKENS for place in value)
        if not numbers and value not in ("all", "last"):
            raise ValueError(f'write "all", "last" or a list of token numbers from 1 to {MAX_TOKENS}')
        return value

    @model_validator(mode="after")
    def _names_one_direction(self) -> Self:
        if (self.feature is None) == (self.vector is None):
            raise ValueError("name either a feature or a vector")
        if self.minus is not None and self.feature is None:
            raise ValueError("minus needs a feature to subtract from")
        if self.minus is not None and self.minus == self.feature:
            raise ValueError("minus must be another feature")
        if self.kind == "steer" and abs(self.strength) > STEER_MOST:
            raise ValueError(f"strength must lie between −{STEER_MOST:g} and {STEER_MOST:g} to steer")
        if self.positions == [] and not self.generated:
            raise ValueError("choose at least one position")
        return self


class LabRequest(BaseModel):
    """A question to the prompt lab: a prompt, and what to change while the model reads and continues it.

    With an intervention there are three columns: baseline, intervention, and a control, a random direction with the
    same norm of change at every position. `n_controls` such directions are drawn from `control_seed`; the first is the
    column, the KL of each is given. Sampling (`temperature` above 0) draws the same noise in every column, from
    `sample_seed`; 0 takes the most probable token. `timeout_s` counts from the request's turn.
    """

    model_config = ConfigDict(extra="forbid")

    run: str = Field(pattern=r"^[0-9a-f]{12}$")
    seed: Seed
    prompt: str = Field(min_length=1, max_length=4000)
    intervention: InterventionRequest | None = None
    n_generate: int = Field(0, ge=0, le=128)
    temperature: float = Field(0.0, ge=0, le=5, allow_inf_nan=False)
    sample_seed: Seed = 0
    control_seed: Seed = 0
    n_controls: int = Field(5, ge=1, le=20)
    timeout_s: float = Field(120.0, gt=0, le=600, allow_inf_nan=False)


class Lab:
    """Owns the one child and answers requests one after the other, first come, first served.

    The child starts with the first request, keeps model and SAEs between requests, and ends with the engine, after
    `idle` seconds without a request, or when an answer takes too long.
    """

    def __init__(
        self, home: Path, *, heartbeat: float = HEARTBEAT, grace: float = GRACE, idle: float = IDLE
    ) -> None:
        self.home, self.heartbeat, self.grace, self.idle = home, heartbeat, grace, idle
        self._waiting: deque[object] = deque()
        self._turn = threading.Condition()
        self._child: _Child | None = None
        self._count = 0
        self._closed = False

    @property
    def child_id(self) -> int | None:
        """Process id of the child; None while there is none."""
        return self._child.process.pid if self._child is not None and self._child.alive else None

    def ask(self, request: LabRequest | dict[str, Any]) -> Generator[Event]:
        """The events of a request as they come; raises UserError at once where it cannot be asked.

        {"kind": "queue", "place"} (1: next) and {"kind": "status", "text", "seconds"} may come repeatedly; then
        "tokens" {tokens, read}, "features" {token, feature, value}, "next" {column, tokens: [{id, token, probability}]},
        "change" {kl, kl_controls, change_norm, changed, rows: [{id, token, baseline, intervention, control}]},
        "text" {column, token} and last "done" {seconds} or "error" {field, text}. `token` of "features" indexes the
        tokens; a token with `read` false has no features, since the SAE was not trained on such. KL(baseline ‖ changed)
        is in nats, of the token after the prompt; `rows` has the tokens of every column's top 10 and those of the
        largest change, which come first. Closing the iterator stops the work.
        """
        if isinstance(request, dict):
            request = _parsed(request)
        return self._events(request, checked(self.home, request))

    def close(self) -> None:
        """End the child; every later request ends with an error."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()
        if self._child is not None:
            self._child.kill()

    def _events(self, request: LabRequest, job: dict[str, Any]) -> Generator[Event]:
        ticket = object()
        self._waiting.append(ticket)
        try:
            while (place := self._waiting.index(ticket)) and not self._closed:
                yield {"kind": "queue", "place": place}
                with self._turn:
                    if self._waiting[0] is not ticket:
                        self._turn.wait(self.heartbeat)
            yield from self._answer(request, job)
        finally:
            with self._turn:
                self._waiting.remove(ticket)
                self._turn.notify_all()

    def _answer(self, request: LabRequest, job: dict[str, Any]) -> Generator[Event]:
        if self._closed:
            yield _error("", "The engine is stopping; ask again when it runs.")
            return
        started = heard = time.monotonic()
        text = LOADING if self.child_id else STARTING
        if self._child is None or not self._child.alive:
            self._child = _Child(self.home, self.idle)
        child, self._count = self._child, self._count + 1
        number, over = self._count, False
        child.send({"ask": number, **job})
        try:
            while not over:
                left = started + request.timeout_s - time.monotonic()
                if left <= 0:
                    child.kill()
                    over = True
                    yield _error(
                        "timeout_s",
                        f"No answer within {request.timeout_s:g} s; shorten the text, or wait longer.",
                    )
                    return
                event = child.receive(number, min(self.heartbeat, left))
                if event is None:
                    yield {"kind": "status", "text": text, "seconds": round(time.monotonic() - heard, 1)}
                    continue
                if event["kind"] == "status":
                    text, heard = event["text"], time.monotonic()
                over = event["kind"] in ("done", "error")
                yield event
        finally:
            if not over:
                child.stop(number, LOADING_GRACE if text in (STARTING, LOADING) else self.grace)


class _Child:
    """The process `python -m engine.lab_worker`, and a thread that reads its lines."""

    def __init__(self, home: Path, idle: float) -> None:
        with (home / "lab.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "engine.lab_worker", str(idle)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "CONCORDANCE_HOME": str(home), "OMP_WAIT_POLICY": "PASSIVE"},
            )
        self._lines: queue.Queue[Event] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))
        code = self.process.wait()
        self._lines.put(
            _error(
                "", f"The lab's process ended (code {code}); lab.log says why. Ask again to start a new one."
            )
        )

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            return  # it has ended, which `receive` tells

    def receive(self, number: int, timeout: float) -> Event | None:
        """The next event of request `number`; None when none came in time."""
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            try:
                event = self._lines.get(timeout=left)
            except queue.Empty:
                return None
            if event.pop("ask", number) == number:
                return event
        return None

    def stop(self, number: int, grace: float) -> None:
        """End the work on request `number`: between two blocks of a pass, or with the process."""
        self.send({"stop": number})
        until = time.monotonic() + grace
        while time.monotonic() < until and self.alive:
            event = self.receive(number, until - time.monotonic())
            if event is not None and event["kind"] in ("done", "error", "stopped"):
                return
        self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def _error(field: str, text: str) -> Event:
    return {"kind": "error", "field": field, "text": text}


def _parsed(request: dict[str, Any]) -> LabRequest:
    try:
        return LabRequest(**request)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "request"
        raise UserError(field, f"{first['msg'].removeprefix('Value error, ')}.") from None


def checked(home: Path, request: LabRequest) -> dict[str, Any]:
    """The request as the child takes it, with the folders it needs. Raises UserError."""
    folder = home / "runs" / request.run
    if not (folder / "config.json").exists():
        raise UserError("run", f"{request.run} does not exist; choose a finished run.")
    record, state = read_json(folder / "config.json"), read_json(folder / "state.json")["state"]
    if record["study"] != STUDY or record["config"].get("source") != "language_model":
        raise UserError("run", f"{request.run} read no language model; choose a run whose source is one.")
    if names_run(record["config"]["model"]):
        raise UserError(
            "run", f"the SAEs of {request.run} read a run's states; the lab needs a language model."
        )
    if state != "done":
        raise UserError("run", f"{request.run} is {state}; wait until it is done.")
    sae = folder / "saes" / f"seed-{request.seed}"
    if not sae.is_dir():
        raise UserError("seed", f"{request.seed} is not in this run; choose one of {record['seeds']}.")
    activations = home / "activations" / str(record["fingerprint"]).split()[0]
    if not (activations / "manifest.json").exists():
        raise UserError("run", "its activations are gone, and with them the scale; run it again.")
    if request.intervention is not None:
        _check_direction(request.intervention, read_json(sae / "cfg.json"))
    return {**request.model_dump(), "sae": str(sae), "activations": str(activations)}


def _check_direction(intervention: InterventionRequest, settings: dict[str, Any]) -> None:
    for name in ("feature", "minus"):
        feature = getattr(intervention, name)
        if feature is not None and feature >= settings["d_sae"]:
            raise UserError(name, f"{feature} is not a feature; they are 0 to {settings['d_sae'] - 1:,}.")
    if intervention.vector is not None:
        if len(intervention.vector) != settings["d_in"]:
            raise UserError(
                "vector", f"it holds {len(intervention.vector):,} numbers; the hook point's vectors have {settings['d_in']:,}."
            )  # fmt: skip
        if not any(intervention.vector):
            raise UserError("vector", "it is zero; give a direction.")
