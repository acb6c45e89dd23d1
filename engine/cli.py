"""The `concordance` command."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
import webbrowser
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

import typer

from engine import client as engine_client
from engine.cli_cards import cards_command
from engine.cli_env import env_command
from engine.cli_generations import import_generations_command
from engine.cli_import import import_command
from engine.cli_match import match_command
from engine.cli_progress import follow
from engine.cli_share import export_command, report_command, reproduce_command
from engine.cli_share import import_command as import_bundle_command
from engine.cli_sql import sql_command
from engine.cli_verify import verify_command
from engine.client import Client, EngineError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Concordance: do the same variables come back?"
)
store_app = typer.Typer(no_args_is_help=True, help="Check the store, or rebuild it from the run directories.")
app.add_typer(store_app, name="store")
app.command("cards")(cards_command)
app.command("env")(env_command)
app.command("match")(match_command)
app.command("export")(export_command)
app.command("import")(import_bundle_command)
app.command("reproduce")(reproduce_command)
app.command("report")(report_command)
app.command("verify")(verify_command)
app.command("sql")(sql_command)
app.command("import-sae")(import_command)
app.command("import-generations")(import_generations_command)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
RunId = Annotated[str, typer.Argument(help="A run's id; `concordance runs` lists them.")]
USAGE_ERROR, RUN_FAILED = 2, 1
LOOPBACK = ("127.0.0.1", "localhost")


def main() -> None:
    """Entry point: an engine's refusal becomes one sentence on stderr and exit status 2."""
    try:
        app()
    except EngineError as error:
        print(error.message, file=sys.stderr)
        sys.exit(USAGE_ERROR)


def _show(value: Any, as_json: bool, text: str) -> None:
    print(json.dumps(value, indent=2) if as_json else text)


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(USAGE_ERROR)


def _line(run: dict[str, Any]) -> str:
    progress = run["progress"]
    share = f"{100 * progress['done'] / progress['total']:3.0f} % {progress['stage']}" if progress else ""
    place = f"place {run['queue_place']} in the queue" if run["queue_place"] else ""
    return f"{run['id']}  {run['state']:<11}  {run['study']}  {run['preset'] or '-':<8}  seeds {','.join(map(str, run['seeds']))}  {share}{place}{run['error'] or ''}"


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the app.")] = 8501,
    browser: Annotated[bool, typer.Option(help="Open the app in a browser.")] = True,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Send runs to the Ray cluster whose head is at HOST:PORT."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="With --ray: where runs travel (any fsspec URL) if the nodes do not mount the state folder.",
        ),
    ] = None,
) -> None:
    """Start the engine and the app, print and open the address; Ctrl-C stops both."""
    address = f"http://127.0.0.1:{port}"
    if _app_answers(address):
        print(f"Concordance already runs at {address}")
        return
    _require_free(port)
    _prepare()
    cluster = {"--ray": ray, "--storage": storage}
    engine = _engine_process([word for name, value in cluster.items() if value for word in (name, value)])
    streamlit = _start_app(port)
    try:
        _wait_for_app(address, streamlit)
        print(f"Concordance is running at {address}  (Ctrl-C stops it)", flush=True)
        if browser and (os.environ.get("DISPLAY") or sys.platform == "darwin" or os.name == "nt"):
            webbrowser.open(address)
        for stop in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop, _interrupt)
        streamlit.wait()
    except KeyboardInterrupt:
        print("Stopping; running jobs are checkpointed and can be resumed.")
    finally:
        streamlit.terminate()
        streamlit.wait()
        if engine is not None:
            engine.terminate()
            engine.wait()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _prepare() -> None:
    from data.assets import AssetMissing
    from engine.language_model import bundled_is_prepared, prepare_bundled

    if bundled_is_prepared():
        return
    print("Preparing the bundled language model and corpora, once (about half a minute) …", flush=True)
    try:
        prepare_bundled()
    except AssetMissing as error:
        print(f"{error} Worlds and your own models work without it.", file=sys.stderr)


def _app_answers(address: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{address}/_stcore/health", trust_env=False).text == "ok"
    except httpx.TransportError:
        return False


def _require_free(port: int) -> None:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            _fail(f"port: {port} is in use; close that program or choose another with --port.")


def _engine_process(options: list[str]) -> "subprocess.Popen[bytes] | None":
    """Start an engine; None when one runs already (it then outlives this command)."""
    try:
        engine_client.connect(start=False)
    except EngineError:
        return engine_client.start_engine(*options)
    if options:
        _fail("ray: an engine runs already, and only a new one joins a cluster; stop it first.")
    return None


def _start_app(port: int) -> "subprocess.Popen[bytes]":
    folder = Path(__file__).resolve().parent.parent / "app"
    options = {
        "server.port": port,
        "server.address": "127.0.0.1",
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    if (secrets := engine_client.state_dir() / "secrets.toml").exists():
        flags += [f"--secrets.files={secrets}", *_host_flags(secrets)]
    command = [sys.executable, "-m", "streamlit", "run", "serve.py", *flags]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)


def _host_flags(secrets: Path) -> list[str]:
    """With sign-in, the app answers to the host of its redirect address too; `.streamlit/config.toml` has the others."""
    try:
        redirect = tomllib.loads(secrets.read_text()).get("auth", {}).get("redirect_uri", "")
    except tomllib.TOMLDecodeError as error:
        _fail(f"secrets.toml: it is not TOML ({error}); mend it in the state folder.")
    host = urlsplit(redirect).hostname
    return [f"--server.allowedHosts={name}" for name in (*LOOPBACK, host)] if host else []


def _wait_for_app(address: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if process.poll() is not None:
            _fail("The app did not start; its message stands above.")
        if _app_answers(address):
            return
        time.sleep(0.1)
    _fail("The app did not answer within a minute.")


@app.command()
def run(
    study: Annotated[str, typer.Argument(help="Study name, for example sae_consistency.")],
    preset: Annotated[str | None, typer.Option(help="Named starting values: tour, standard, paper …")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many initialisation seeds: 0, 1, … N-1.")] = 3,
    seed_list: Annotated[str | None, typer.Option(help="Explicit seeds, for example 4,5,6.")] = None,
    data_seed: Annotated[int, typer.Option(min=0, help="Seed of the data order.")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="A config field, name=value; repeatable.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="A field and its values, name=v1,v2; every combination trains on one stream."),
    ] = None,
    sweep: Annotated[
        str | None, typer.Option(help="A named sweep of the study, such as architectures.")
    ] = None,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue a run, a grid of them or a sweep (starting an engine if none runs); a run that exists is returned."""
    chosen = _seed_list(seed_list) if seed_list else list(range(seeds))
    client = engine_client.connect()
    settings = _settings(set_ or [])
    if grid and sweep:
        _fail("grid: a sweep brings its own settings; give --grid or --sweep.")
    if preset or not sweep:
        settings = {"preset": preset, **settings}
    points = _grid(settings, grid or [])
    asked = _swept(client, study, sweep, settings) if sweep else points
    _warn_of_memory(client, study, asked, chosen, data_seed)
    queued = client.launch(study, points, chosen, data_seed, sweep)
    if wait:
        queued = [follow(client, run["id"], quiet=as_json) for run in queued]
    shown = [{**run, "results": _results(client, run)} for run in queued]
    _show(shown if grid or sweep else shown[0], as_json, "\n".join(map(_line, queued)))
    if wait and any(run["state"] != "done" for run in queued):
        raise typer.Exit(RUN_FAILED)


def _warn_of_memory(
    client: Client, study: str, settings: list[dict[str, Any]], seeds: list[int], data_seed: int
) -> None:
    """Say once what does not fit of a launch, with what sets those settings apart where others do."""
    told: dict[str, list[str]] = {}
    for one in settings:
        config = {name: value for name, value in one.items() if name != "preset"}
        cost = client.estimate(study, config, seeds, one.get("preset"), data_seed)
        if cost["memory_problem"]:
            own = [f"{k}={v}" for k, v in one.items() if any(other.get(k) != v for other in settings)]
            told.setdefault(cost["memory_problem"], []).append(" ".join(own))
    for problem, points in told.items():
        apart = f" ({'; '.join(points)})" if len(points) < len(settings) else ""
        print(f"Warning: {problem}{apart}", file=sys.stderr)


def _swept(client: Client, study: str, sweep: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """A sweep's settings with others put over them; none where there is no such sweep, which the launch refuses."""
    known = {one["name"]: one["sweeps"] for one in client.studies()}
    return [{**one, **settings} for one in known.get(study, {}).get(sweep, [])]


def _grid(settings: dict[str, Any], grid: list[str]) -> list[dict[str, Any]]:
    """Settings with every combination of the grid's values put over them."""
    values = {name: text.split(",") for name, text in _settings(grid).items()}
    return [{**settings, **dict(zip(values, chosen, strict=True))} for chosen in product(*values.values())]


def _seed_list(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        _fail(f"seed-list: {text!r} is not a list of whole numbers; write for example 4,5,6.")


def _settings(pairs: list[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            _fail(f"set: {pair!r} is not name=value; write for example --set d_sae=2304.")
        settings[name] = value
    return settings


def _results(client: Client, run: dict[str, Any]) -> dict[str, Any] | None:
    """The small result tables of a finished run."""
    if run["state"] != "done":
        return None
    tables = next(study["tables"] for study in client.studies() if study["name"] == run["study"])
    return {
        name: client.table(run["id"], name, limit=1000).drop_columns(["run_id"]).to_pylist()
        for name in tables
        if name in ("saes", "pairs")
    }


@app.command()
def runs(
    study: Annotated[str | None, typer.Option(help="Only this study.")] = None,
    state: Annotated[str | None, typer.Option(help="Only this state.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    found = engine_client.connect().runs(study, state, limit)
    _show(
        found,
        as_json,
        "\n".join(map(_line, found))
        or "No runs yet; start one with `concordance run sae_consistency --preset tour`.",
    )


@app.command()
def logs(run_id: RunId, as_json: AsJson = False) -> None:
    """Print a run's messages, latest metrics and worker output."""
    client = engine_client.connect()
    rows = client.events(run_id)["rows"]
    text = client.log(run_id)["text"]
    lines = [row["text"] for row in rows if row["kind"] == "message"]
    lines += [
        str({k: v for k, v in row.items() if k not in ("t", "kind")}) for row in rows if row["kind"] == "log"
    ][-10:]
    _show({"events": rows, "output": text}, as_json, "\n".join([*lines, text]).strip())


@app.command()
def cancel(run_id: RunId, as_json: AsJson = False) -> None:
    """Stop a run; it keeps its checkpoint."""
    client = engine_client.connect()
    client.cancel(run_id)
    stopped = client.wait(run_id)
    _show(stopped, as_json, _line(stopped))


@app.command()
def resume(
    run_id: RunId,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Go on with a cancelled, interrupted or failed run from its last checkpoint."""
    client = engine_client.connect()
    resumed = client.resume(run_id)
    if wait:
        resumed = follow(client, run_id, quiet=as_json)
    _show(resumed, as_json, _line(resumed))


@app.command()
def studies(
    bibtex: Annotated[bool, typer.Option("--bibtex", help="Print the entries to cite.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the studies, their papers and presets."""
    found = engine_client.connect().studies()
    lines = (
        [study["bibtex"] for study in found]
        if bibtex
        else [
            f"{study['name']:<20} {study['paper']:<11} {study['title']}: {', '.join(study['presets'])}"
            for study in found
        ]
    )
    _show(found, as_json, "\n".join(lines))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look at Python, packages, folders, memory, GPU, browser, offline assets, engine and store; say how to mend each."""
    from engine.doctor import as_json as as_report
    from engine.doctor import examine

    found = examine()
    marks = {"sound": "ok     ", "warning": "warning", "error": "ERROR  "}
    _show(as_report(found), as_json, "\n".join(f"{marks[f.level]} {f.name}: {f.text}" for f in found))
    if any(finding.level == "error" for finding in found):
        raise typer.Exit(RUN_FAILED)


@store_app.command("check")
def store_check(as_json: AsJson = False) -> None:
    """Compare the database with the run directories and their hashes."""
    found = engine_client.connect().store_check()
    _show(found, as_json, "\n".join(found["problems"]) or "The store is sound.")
    if not found["sound"]:
        raise typer.Exit(RUN_FAILED)


@store_app.command("rebuild")
def store_rebuild(as_json: AsJson = False) -> None:
    """Build the database anew from the run directories."""
    found = engine_client.connect().store_rebuild()
    _show(found, as_json, f"Rebuilt from {found['runs']} runs.")


if __name__ == "__main__":
    main()
