"""The engine's HTTP API on loopback; every call but /health needs the token. `python -m engine.server`."""

import argparse
import errno
import fcntl
import io
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import uvicorn
from fastapi import Body, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

from data.files import write_json
from data.paths import state_dir
from engine import claims, memory, system
from engine.access import Access, TokenFirst, read_tokens
from engine.active_features import add_active_features
from engine.caption_masks import add_caption_masks
from engine.cards import CardReader
from engine.counterfactuals import add_counterfactuals
from engine.denoiser import add_denoising
from engine.errors import UserError
from engine.events import read_events, thin
from engine.executors import Executor, LocalExecutor
from engine.explore_api import add_explore
from engine.extrapolator import add_extrapolation
from engine.figures import FigureServer
from engine.identity import command, find_study
from engine.lab import Lab
from engine.limits import BodyLimit, Limits
from engine.plain_text import one_line
from engine.pooling import pool
from engine.puzzle_solver import add_puzzles
from engine.sae_matching import SaeMatcher
from engine.saved_figures import add_saved_figures
from engine.scheduler import Scheduler
from engine.sql_api import add_sql
from engine.store import Store
from engine.studies import STUDIES
from engine.triplet_api import add_triplets
from engine.warm_child import WarmChild

ARROW = "application/vnd.apache.arrow.stream"
LOG_TAIL = 20_000
LONGEST = 1_000  # characters of a refusal
UNUSABLE_PATH = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class RunRequest(BaseModel):
    study: str
    config: dict[str, Any] = Field(default_factory=dict)
    seeds: list[int]
    preset: str | None = None
    data_seed: int = Field(default=0, ge=0, lt=2**31)
    cards: bool = False


class LaunchRequest(BaseModel):
    study: str
    settings: list[dict[str, Any]] = Field(default_factory=list)
    sweep: str | None = None
    seeds: list[int]
    data_seed: int = Field(default=0, ge=0, lt=2**31)


class PoolRequest(BaseModel):
    min_seeds: int = Field(default=2, ge=2)
    threshold: float = Field(default=0.7, gt=0, le=1)


class TableRequest(BaseModel):
    columns: list[str] | None = None
    where: dict[str, str | int | float | bool] = Field(default_factory=dict)
    order: str | None = None
    limit: int | None = Field(default=None, ge=1)
    offset: int = Field(default=0, ge=0)


class ClaimsRequest(BaseModel):
    preset: str = "standard"
    seeds: int = Field(default=5, ge=1, le=100)
    claims: list[str] | None = None


def create_app(
    home: Path,
    tokens: Mapping[str, str],
    stop: Callable[[], None],
    limits: Limits | None = None,
    executor: Executor | None = None,
) -> FastAPI:
    """The API over a state folder. `tokens` by role; `stop` ends the serving process; runs go to `executor`, or stay here."""
    store = Store(home)
    scheduler = Scheduler(home, store, executor or LocalExecutor())
    matcher = SaeMatcher(home, store)
    figures = FigureServer()
    lab = Lab(home)
    children: dict[str, WarmChild] = {}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        scheduler.start()
        yield
        lab.close()
        for child in children.values():
            child.close()
        scheduler.shutdown()
        figures.close()
        store.close()

    app = FastAPI(title="Concordance engine", lifespan=lifespan, openapi_url=None)
    access = Access(tokens, limits or Limits())
    app.add_middleware(BodyLimit)
    app.add_middleware(TokenFirst, access=access)
    _handle_errors(app)

    @app.get("/health")
    def health() -> dict[str, Any]:
        """`scheduler`: whether the thread that moves runs along lives."""
        place = scheduler.executor.place
        return {"status": "ok", "pid": os.getpid(), "place": place, "scheduler": scheduler.is_moving}

    @app.get("/openapi.json", dependencies=access.view)
    def schema() -> dict[str, Any]:
        return app.openapi()

    @app.get("/system", dependencies=access.view)
    def get_system() -> dict[str, Any]:
        return system.report(home)

    @app.post("/shutdown", dependencies=access.change)
    def shutdown() -> dict[str, str]:
        threading.Timer(0.1, stop).start()
        return {"status": "stopping"}

    add_saved_figures(app, access, scheduler)
    _add_studies(app, access, scheduler, store)
    _add_runs(app, access, scheduler, store)
    children |= {
        "sr2": add_puzzles(app, access, scheduler),
        "sapo": add_denoising(app, access, scheduler),
        "smartclip": add_caption_masks(app, access, scheduler),
        "counterfactual_text": add_counterfactuals(app, access, scheduler),
        "extrapolation": add_extrapolation(app, access, scheduler),
    }
    reading = {study: children[study] for study in ("sr2", "sapo", "smartclip")}
    add_active_features(app, access, scheduler, CardReader(scheduler, store, matcher), reading)
    add_explore(app, access, scheduler, store, matcher, lab, _arrow)
    add_triplets(app, access, scheduler, store, _arrow)
    add_sql(app, access, store)

    @app.get("/match", dependencies=access.live)
    def get_match(run_a: str, seed_a: int, run_b: str, seed_b: int, subset: str = "alive") -> Response:
        return _arrow(matcher.match((run_a, seed_a), (run_b, seed_b), subset).to_reader())

    @app.post("/figures", dependencies=access.live)
    def export_figure(
        figure: Annotated[bytes, Body()], format: str, width: int = 700, height: int = 450
    ) -> Response:
        content = figures.render(figure, format, width, height)
        return Response(content, media_type="application/octet-stream")

    @app.post("/store/check", dependencies=access.change)
    def store_check() -> dict[str, Any]:
        problems = store.check(scheduler.still)
        return {"sound": not problems, "problems": problems}

    @app.post("/store/rebuild", dependencies=access.change)
    def store_rebuild() -> dict[str, int]:
        return {"runs": store.rebuild()}

    return app


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(UserError)
    def user_error(request: Request, error: UserError) -> JSONResponse:
        return JSONResponse({"detail": one_line(str(error), LONGEST), "field": error.field}, 422)

    @app.exception_handler(OSError)
    def unreadable(request: Request, error: OSError) -> JSONResponse:
        """A path of the request that cannot be opened, or a disk that fails."""
        told = one_line(error.strerror or str(error), LONGEST).rstrip(".")
        detail = f"file: it cannot be read or written ({told})."
        return JSONResponse({"detail": detail, "field": "file"}, 422 if error.errno in UNUSABLE_PATH else 500)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or "body"
        return JSONResponse({"detail": f"{field}: {first['msg']}.", "field": field}, 422)


def _add_studies(app: FastAPI, access: Access, scheduler: Scheduler, store: Store) -> None:
    @app.get("/studies", dependencies=access.view)
    def studies() -> list[dict[str, Any]]:
        return [system.describe_study(study) for study in STUDIES.values()]

    @app.get("/studies/{name}/claims", dependencies=access.view)
    def get_claims(name: str) -> Response:
        return _arrow(store.claims(find_study(name).name).to_reader())

    @app.post("/studies/{name}/claims/runs", dependencies=access.launch)
    def start_claims(name: str, request: ClaimsRequest) -> list[str]:
        return claims.claim_runs(scheduler, name, request.preset, request.seeds, request.claims)

    @app.post("/studies/{name}/claims/measure", dependencies=access.launch)
    def measure_claims(name: str, request: ClaimsRequest) -> list[dict[str, Any]]:
        return claims.measure(scheduler, store, name, request.preset, request.seeds, request.claims)

    @app.post("/estimate", dependencies=access.change)
    def estimate(request: RunRequest) -> dict[str, Any]:
        record = scheduler.record(
            request.study, request.preset, request.config, request.seeds, request.data_seed
        )
        study = find_study(request.study)
        config = study.Config(**record["config"])
        return {
            **study.estimate(config, len(record["seeds"])),
            **memory.outlook(study, config, len(record["seeds"])),
            "command": command({**record, "preset": request.preset}),
        }


def _add_runs(app: FastAPI, access: Access, scheduler: Scheduler, store: Store) -> None:
    @app.post("/runs", dependencies=access.launch)
    def submit(request: RunRequest) -> dict[str, Any]:
        wanted = (request.study, request.preset, request.config, request.seeds, request.data_seed)
        return scheduler.describe(scheduler.get(scheduler.submit(*wanted, cards=request.cards)))

    @app.post("/launches", dependencies=access.launch)
    def launch(request: LaunchRequest) -> list[dict[str, Any]]:
        """Queue several runs that train together: a named sweep of the study, `settings`, or each on the sweep's."""
        settings = scheduler.sweep(request.study, request.sweep, request.settings)
        ids = scheduler.submit_group(request.study, settings, request.seeds, request.data_seed)
        return [scheduler.describe(scheduler.get(run_id)) for run_id in ids]

    @app.get("/runs", dependencies=access.view)
    def runs(
        study: str | None = None, state: str | None = None, limit: int = 100, offset: int = 0
    ) -> list[dict[str, Any]]:
        return scheduler.listing(study, state, limit, offset)

    @app.get("/runs/{run_id}", dependencies=access.view)
    def get_run(run_id: str) -> dict[str, Any]:
        return scheduler.describe(scheduler.get(run_id))

    @app.get("/runs/{run_id}/events", dependencies=access.view)
    def events(run_id: str, cursor: int = 0, max_points: int = 2000) -> dict[str, Any]:
        rows, cursor = read_events(scheduler.get(run_id).directory / "events.jsonl", max(cursor, 0))
        return {"cursor": cursor, "rows": thin(rows, max_points)}

    @app.get("/runs/{run_id}/log", dependencies=access.view)
    def log(run_id: str, cursor: int = 0) -> dict[str, Any]:
        path = scheduler.get(run_id).directory / "worker.log"
        content = path.read_bytes() if path.exists() else b""
        new = content[max(cursor, len(content) - LOG_TAIL, 0) :]
        return {"cursor": len(content), "text": new.decode(errors="replace")}

    @app.post("/runs/{run_id}/cancel", dependencies=access.change)
    def cancel(run_id: str) -> dict[str, Any]:
        scheduler.cancel(run_id)
        return get_run(run_id)

    @app.post("/runs/{run_id}/resume", dependencies=access.launch)
    def resume(run_id: str) -> dict[str, Any]:
        scheduler.resume(run_id)
        return get_run(run_id)

    @app.post("/runs/{run_id}/stable-dictionary", dependencies=access.launch)
    def stable_dictionary(run_id: str, request: PoolRequest) -> dict[str, Any]:
        """Pool the features that several seeds share into a new SAE, and queue the run that evaluates it."""
        entry = scheduler.get(run_id)
        if not scheduler.is_done(run_id):
            raise UserError("run", f"{run_id} is {entry.state['state']}; wait until it is done.")
        matches = store.rows(run_id, "matches", None, {}, None, None, 0).read_all()
        settings = pool(scheduler.home, entry.record, matches, request.min_seeds, request.threshold)
        made = scheduler.submit(entry.record["study"], None, settings, [0], entry.record["data_seed"])
        return scheduler.describe(scheduler.get(made))

    @app.post("/runs/{run_id}/tables/{name}", dependencies=access.view)
    def table(run_id: str, name: str, request: TableRequest) -> Response:
        scheduler.get(run_id)
        wanted = (request.columns, dict(request.where), request.order, request.limit, request.offset)
        return _arrow(store.rows(run_id, name, *wanted))


def _arrow(reader: pa.RecordBatchReader) -> Response:
    """Record batches as Arrow IPC: one at once, more as a stream that holds two at most."""
    first = list(islice(reader, 2))
    is_small, batches = len(first) < 2, chain(first, reader)
    del first

    def chunks() -> Iterator[bytes]:
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, reader.schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                yield sink.getvalue()
                sink.seek(0)
                sink.truncate()
        yield sink.getvalue()

    if is_small:
        return Response(b"".join(chunks()), media_type=ARROW)
    return StreamingResponse(chunks(), media_type=ARROW)


def main() -> None:
    parser = argparse.ArgumentParser(prog="engine.server")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind; loopback unless --allow-remote")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free port")
    parser.add_argument("--allow-remote", action="store_true", help="permit a --host other than loopback")
    parser.add_argument(
        "--ray", metavar="ADDRESS", help="send runs to the Ray cluster whose head is at HOST:PORT"
    )
    parser.add_argument(
        "--storage", metavar="URL", help="where runs travel if the nodes do not mount the state folder"
    )
    options = parser.parse_args()
    if options.storage and not options.ray:
        sys.exit("storage: it is for the nodes of a cluster; give --ray too, or leave --storage out.")
    if options.host not in LOOPBACK and not options.allow_remote:
        sys.exit(
            f"host: {options.host} is not loopback; put a TLS proxy in front and add --allow-remote, or drop --host."
        )
    home = state_dir()
    lock = (home / "engine.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"An engine already runs on {home}.")
    try:
        executor = _ray_executor(home, options.ray, options.storage) if options.ray else LocalExecutor()
    except UserError as error:
        sys.exit(str(error))
    serve(home, options.host, options.port, executor)


def _ray_executor(home: Path, address: str, storage: str | None) -> Executor:
    from engine.ray_executor import RayExecutor

    return RayExecutor(home, address, storage)


def serve(home: Path, host: str, port: int, executor: Executor) -> None:
    """Bind, announce the address in engine.json, serve until SIGTERM or SIGINT."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it every call waits some 45 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    app = create_app(home, read_tokens(home), lambda: os.kill(os.getpid(), signal.SIGTERM), executor=executor)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3))
    shown = f"[{host}]" if ":" in host else host
    write_json(
        home / "engine.json", {"address": f"http://{shown}:{listener.getsockname()[1]}", "pid": os.getpid()}
    )
    server.run(sockets=[listener])
    (home / "engine.json").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
