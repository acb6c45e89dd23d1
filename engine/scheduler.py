"""The life of a run: queue, start, watch, cancel, resume, and recovery when the engine starts."""

import threading
import time
import traceback
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from data.files import atomic_folder, read_json, write_json
from engine.database import UnreadableTables, readable_runs
from engine.endings import SHUT_DOWN, UNREADABLE, death
from engine.entries import Entry
from engine.environments import interpreter
from engine.errors import UserError
from engine.executors import Executor, gpus_for
from engine.identity import code_version, environment_of, find_study, identity
from engine.store import Store
from engine.studies.base import parse_config
from engine.worker_lock import holder

POLL = 0.2
RESUMABLE = ("failed", "cancelled", "interrupted")


class Scheduler:
    """Owns every run's state; one thread moves runs along, API threads ask and command under one lock."""

    def __init__(self, home: Path, store: Store, executor: Executor) -> None:
        self.home, self.store, self.executor = home, store, executor
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._entries: dict[str, Entry] = {}
        self._unsaved: dict[str, Entry] = {}
        self._known_activations: set[str] = set()
        (home / "runs").mkdir(exist_ok=True)
        for directory, record, state in readable_runs(home):
            self._entries[directory.name] = Entry(directory, record, state)
        known = store.states()
        for entry in self._entries.values():
            self._recover(entry, known.get(entry.record["id"]))
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)

    @property
    def still(self) -> AbstractContextManager[object]:
        """Within it no run changes its state, neither on disk nor in the store."""
        return self._lock

    def start(self) -> None:
        self._thread.start()

    @property
    def is_moving(self) -> bool:
        """Whether the thread that moves runs along lives."""
        return self._thread.is_alive()

    def shutdown(self) -> None:
        """Let every running worker checkpoint and end; their runs become interrupted."""
        self._stop.set()
        self._thread.join()
        running = [entry for entry in self._entries.values() if entry.state["state"] == "running"]
        for entry in running:
            self.executor.stop(entry.state, force=False)
        deadline = time.monotonic() + self.executor.grace
        for entry in running:
            while self.executor.alive(entry.state) and time.monotonic() < deadline:
                time.sleep(0.05)
            self.executor.stop(entry.state, force=True)
            entry.read()
            self._settle(entry, "interrupted", SHUT_DOWN)
        self.executor.close()

    def record(
        self, study_name: str, preset: str | None, overrides: dict[str, Any], seeds: list[int], data_seed: int
    ) -> dict[str, Any]:
        """What makes a run the run it is, validated. Raises UserError."""
        study = find_study(study_name)
        config = parse_config(study, preset, overrides)
        record = {
            "study": study.name,
            "config": config.model_dump(mode="json"),
            "seeds": checked_seeds(seeds),
            "data_seed": data_seed,
            "fingerprint": study.fingerprint(config, seeds),
            "code_version": code_version(study.name),
        }
        if self.executor.gpus and gpus_for(record) > (most := self.executor.slots_of_one):
            raise UserError(
                "n_gpus", f"{gpus_for(record)} are set and one machine here has {most}; lower it."
            )
        return record

    def submit(
        self,
        study_name: str,
        preset: str | None,
        overrides: dict[str, Any],
        seeds: list[int],
        data_seed: int,
        cards: bool = False,
    ) -> str:
        """Queue a run, or return the id of the one with this identity (queued again if it had ended early).

        With `cards`, the job that makes its feature cards is queued once it is done.
        """
        run_id = self.submit_group(study_name, [{"preset": preset, **overrides}], seeds, data_seed)[0]
        if cards:
            with self._lock:
                entry = self._entries[run_id]
                self._change(entry, cards=True)
                if entry.state["state"] == "done":
                    self._make_cards(entry)
        return run_id

    def _make_cards(self, entry: Entry) -> None:
        self._change(entry, cards=False)
        try:
            self.submit("feature_cards", None, {"of": entry.record["id"]}, entry.record["seeds"], 0)
        except UserError:
            return

    def submit_group(
        self, study_name: str, settings: list[dict[str, Any]], seeds: list[int], data_seed: int
    ) -> list[str]:
        """Queue a launch: one run for each of `settings` (config fields, and "preset"), trained in one process.

        Nothing is queued unless every one is valid. Runs that exist keep what they have. Returns the ids in order.
        """
        if not settings:
            raise UserError("settings", "a launch needs at least one run; give one set of values.")
        records: dict[str, dict[str, Any]] = {}
        environments: dict[str, str | None] = {}
        for values in settings:
            preset, overrides = values.get("preset"), {k: v for k, v in values.items() if k != "preset"}
            record = self.record(study_name, preset, overrides, seeds, data_seed)
            run_id = identity(record)
            records[run_id] = {**record, "preset": preset, "created": time.time()}
            if not self.is_done(run_id):
                environments[run_id] = environment_of(record)
        if len(set(environments.values())) > 1:
            raise UserError(
                "settings",
                "runs launched together share a process; launch those of another environment apart.",
            )
        if len({gpus_for(record) for record in records.values()}) > 1:
            raise UserError(
                "settings", "runs launched together share GPUs; launch those of another n_gpus apart."
            )
        group = identity({"runs": list(records)}) if len(records) > 1 else None
        with self._lock:
            for run_id, record in records.items():
                if run_id not in self._entries:
                    self._create({**record, "id": run_id}, group, environments[run_id])
                elif self._entries[run_id].state["state"] in RESUMABLE:
                    self._entries[run_id].restore_record({**record, "id": run_id})
                    self._queue_again(self._entries[run_id], group)
        return list(records)

    def sweep(self, study_name: str, name: str | None, changes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The settings of a study's named sweep, each with the first of `changes` put over it; or `changes` alone."""
        sweeps = find_study(study_name).sweeps
        if name is None:
            return changes
        if name not in sweeps:
            raise UserError("sweep", f"{name!r} does not exist; choose one of {', '.join(sweeps) or 'none'}.")
        return [{**settings, **(changes[0] if changes else {})} for settings in sweeps[name]]

    def _create(self, record: dict[str, Any], group: str | None, environment: str | None) -> None:
        directory = self.home / "runs" / record["id"]
        state = {"state": "queued", "group": group, "created": record["created"], "queued": time.time()}
        state |= {"environment": environment} if environment else {}
        state |= {"started": None, "finished": None, "error": None}
        with atomic_folder(directory) as temporary:
            write_json(temporary / "config.json", record)
            write_json(temporary / "state.json", state)
        entry = self._entries[record["id"]] = Entry(directory, record, state)
        self.store.save_run(entry.record, entry.state)

    def is_done(self, run_id: str) -> bool:
        with self._lock:
            return run_id in self._entries and self._entries[run_id].state["state"] == "done"

    def knows(self, run_id: str) -> bool:
        with self._lock:
            return run_id in self._entries

    def adopt(self, directory: Path) -> None:
        """Take in a finished run whose directory was put under `runs/`. Raises duckdb.Error where its tables are unsound."""
        with self._lock:
            entry = Entry(
                directory, read_json(directory / "config.json"), read_json(directory / "state.json")
            )
            self.store.load_tables(directory)
            self.store.save_run(entry.record, entry.state)
            self._entries[entry.record["id"]] = entry

    def get(self, run_id: str) -> Entry:
        with self._lock:
            if run_id not in self._entries:
                raise UserError("run", f"{run_id!r} does not exist; `concordance runs` lists them.")
            return self._entries[run_id]

    def entries(self, study: str) -> list[Entry]:
        """Every run of a study or tool."""
        with self._lock:
            return [entry for entry in self._entries.values() if entry.record["study"] == study]

    def listing(self, study: str | None, state: str | None, limit: int, offset: int) -> list[dict[str, Any]]:
        with self._lock:
            chosen = [
                entry
                for entry in self._entries.values()
                if study in (None, entry.record["study"]) and state in (None, entry.state["state"])
            ]
            chosen.sort(key=lambda entry: (entry.record["created"], entry.record["id"]), reverse=True)
            places = {entry: place for place, entry in enumerate(self._queue(), 1)}
            return [entry.shown(places.get(entry)) for entry in chosen[offset : offset + limit]]

    def describe(self, entry: Entry) -> dict[str, Any]:
        """The run as the API shows it."""
        with self._lock:
            queue = self._queue()
            return entry.shown(queue.index(entry) + 1 if entry in queue else None)

    def cancel(self, run_id: str) -> None:
        """Stop a queued run at once, a running one within seconds with the runs it trains beside; they can be resumed."""
        entry = self.get(run_id)
        with self._lock:
            if entry.state["state"] == "queued":
                self._settle(entry, "cancelled", None)
            elif entry.state["state"] == "running" and entry.kill_at is None:
                for member in self._members(entry):
                    if member.state["state"] == "running" and member.worker == entry.worker:
                        member.kill_at = time.monotonic() + self.executor.grace
                self.executor.stop(entry.state, force=False)

    def resume(self, run_id: str) -> None:
        """Queue an ended run again, and those of its launch; each goes on from its last sound checkpoint."""
        entry = self.get(run_id)
        with self._lock:
            if entry.state["state"] not in RESUMABLE:
                raise UserError(
                    "run", f"{run_id} is {entry.state['state']}; only {', '.join(RESUMABLE)} runs resume."
                )
            if entry.state.get("environment"):
                environment_of(entry.record)
            group = entry.state.get("group")
            for member in self._members(entry):
                if member.state["state"] in RESUMABLE:
                    self._queue_again(member, group)

    def _queue_again(self, entry: Entry, group: str | None) -> None:
        entry.skip_events()
        self._change(entry, state="queued", group=group, queued=time.time(), finished=None, error=None)

    def _members(self, entry: Entry) -> list[Entry]:
        """The runs of an entry's launch, itself among them."""
        group = entry.state.get("group")
        return [
            other
            for other in self._entries.values()
            if other is entry or (group is not None and other.state.get("group") == group)
        ]

    def _queue(self) -> list[Entry]:
        queued = [entry for entry in self._entries.values() if entry.state["state"] == "queued"]
        return sorted(queued, key=lambda entry: entry.state["queued"])

    def _loop(self) -> None:
        said = ""
        while not self._stop.wait(POLL):
            try:
                with self._lock:
                    self._tick()
            except Exception as error:  # a full disk, mostly: the next round tries again
                if repr(error) != said:
                    said = repr(error)
                    with suppress(OSError):
                        traceback.print_exc()

    def _change(self, *entries: Entry, **changes: Any) -> None:
        """Change runs' states: in memory, on disk, in the store. What a full disk refuses is written at a later tick."""
        for entry in entries:
            entry.state.update(changes)
            self._unsaved[entry.record["id"]] = entry
        self._save()

    def _save(self) -> None:
        for run_id, entry in list(self._unsaved.items()):
            if entry.directory.exists():  # a directory somebody deleted must not hold back the other runs
                write_json(entry.directory / "state.json", entry.state)
            self.store.save_run(entry.record, entry.state)
            del self._unsaved[run_id]

    def _tick(self) -> None:
        self._save()
        running = [entry for entry in self._entries.values() if entry.state["state"] == "running"]
        for entry in running:
            self._watch(entry)
        still = [entry.state for entry in running if entry.state["state"] == "running"]
        busy = {slot for state in still for slot in state.get("slots", [state.get("slot")])}
        free = [slot for slot in range(self.executor.slots) if slot not in busy]
        while (queue := self._queue()) and (needed := self._slots_for(queue[0])) <= len(free):
            members = self._members(queue[0])
            waiting = [entry for entry in queue if entry in members]
            together = waiting[: -(-len(waiting) // (len(free) // needed))]
            self._start(together, [free.pop(0) for _ in range(needed)])

    def _slots_for(self, entry: Entry) -> int:
        """How many slots a run waits for; without a GPU its parts are processes of one worker."""
        return gpus_for(entry.record) if self.executor.gpus else 1

    def _start(self, together: list[Entry], slots: list[int]) -> None:
        """Start one worker for runs of a launch; a launch of several is spread over the slots that are free."""
        for entry in together:
            entry.skip_events()
        try:
            for entry in together:
                entry.require_record()
            environment = together[0].state.get("environment")
            python = interpreter(environment) if environment else None
            worker = self.executor.start([entry.directory for entry in together], slots, python)
        except UserError as error:
            for entry in together:
                self._settle(entry, "failed", str(error))
            return
        self._change(*together, state="running", slots=slots, started=time.time(), **worker)

    def _watch(self, entry: Entry) -> None:
        alive = self.executor.alive(entry.state)
        entry.read()
        if (entry.outcome or {}).get("state") in ("done", "failed"):
            self._settle(entry, "done", None)
        elif alive:
            if entry.kill_at is not None and time.monotonic() > entry.kill_at:
                self.executor.stop(entry.state, force=True)
        elif (worker := holder(entry.directory)) and self.executor.alive(worker):
            # An engine was killed before it noted this worker, and the one we started left the run to it.
            self._change(entry, **worker)
        elif entry.kill_at is not None:
            self._settle(entry, "cancelled", None)
        else:
            self._settle(entry, "interrupted", death(self.home, self.executor, entry))

    def _settle(self, entry: Entry, otherwise: str, error: str | None) -> None:
        """End a run: as its last event says (done or failed), or as `otherwise`."""
        told = entry.outcome or {}
        entry.kill_at = None
        if told.get("state") in ("done", "failed"):
            otherwise, error = told["state"], told.get("error")
        if otherwise == "done":
            try:
                self.store.load_tables(entry.directory)
            except UnreadableTables:
                otherwise, error = "failed", UNREADABLE
        self._register_activations()
        self._change(entry, state=otherwise, error=error, finished=told.get("t", time.time()))
        if otherwise == "done" and entry.state.get("cards"):
            self._make_cards(entry)

    def _register_activations(self) -> None:
        for manifest in (self.home / "activations").glob("*/manifest.json"):
            name = manifest.parent.name
            known = name.startswith(".") or name in self._known_activations
            if not known and self.store.register_activations(manifest.parent):
                self._known_activations.add(name)

    def _recover(self, entry: Entry, known: str | None) -> None:
        """Bring what an engine that died left into line: state with process and events, the store's row (`known`) with state."""
        if entry.state["state"] == "running":
            self._watch(entry)
            if entry.state["state"] != "running":
                return
        if entry.state["state"] != known:
            if entry.state["state"] == "done":
                with suppress(UnreadableTables):  # `store check` names them
                    self.store.load_tables(entry.directory)
            self.store.save_run(entry.record, entry.state)


def checked_seeds(seeds: list[int]) -> list[int]:
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0 or max(seeds) >= 2**31:
        raise UserError("seeds", "give at least one seed, each a different number from 0 to 2147483647.")
    return seeds
