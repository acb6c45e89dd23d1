"""`concordance verify`: train what claims need, say of each whether it is shown, and write that into a document."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from analyses.claims_markdown import claims_markdown, studies_markdown
from data.files import atomic_write
from engine.cli_progress import follow
from engine.client import connect

USAGE_ERROR = 2
START, END = "<!-- concordance verify -->", "<!-- end of concordance verify -->"


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    raise typer.Exit(USAGE_ERROR)


def verify_command(
    study: Annotated[str | None, typer.Argument(help="Study name; or --all.")] = None,
    preset: Annotated[str, typer.Option(help="Preset the claims are tested at.")] = "standard",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds per run; a claim may ask for more.")] = 5,
    all_: Annotated[bool, typer.Option("--all", help="Every study.")] = False,
    claim: Annotated[list[str] | None, typer.Option(help="Only this claim of the study; repeatable.")] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            help=f"Write the table between the lines {START} and {END} of this file, or to a new one."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Train what the claims of a study need, and say of each whether it is shown."""
    if (study is None) == (not all_):
        _fail("study: name one study or pass --all.")
    if claim and all_:
        _fail("claim: name the one study whose claims these are, without --all.")
    around = _around(markdown) if markdown else ("", "")
    client, started = connect(), time.time()
    titles = {item["name"]: item["title"] for item in client.studies()}
    names = list(titles) if all_ else [str(study)]
    runs, rows = [], []
    for name in names:
        for run_id in client.claim_runs(name, preset, seeds, claim or None):
            runs.append(follow(client, run_id, as_json))
            _say_lost(runs[-1])
        rows += client.measure_claims(name, preset, seeds, claim or None)
    if markdown:
        table = studies_markdown(rows, titles) if all_ else claims_markdown(rows)
        atomic_write(markdown.absolute(), f"{around[0]}{_made(runs, started)}\n\n{table}{around[1]}")
    print(json.dumps({"claims": rows}, indent=2) if as_json else "\n".join(map(_line, rows)))


def _around(path: Path) -> tuple[str, str]:
    """What stands in a file before and after the table, with the two lines; leaves with one sentence without them."""
    if not path.absolute().parent.is_dir():
        _fail(f"markdown: {path.absolute().parent} is not a folder; name one that exists.")
    if not path.exists():
        return f"{START}\n", f"{END}\n"
    before, start, rest = path.read_text().partition(f"{START}\n")
    _, end, after = rest.partition(END)
    if not (start and end):
        _fail(
            f"markdown: {path} has no lines {START} and {END}; put them where the table belongs, or name a new file."
        )
    return before + start, end + after


def _say_lost(run: dict[str, Any]) -> None:
    if run["state"] != "done":
        why = f" ({run['error']})" if run["error"] else ""
        print(f"Run {run['id']} {run['state']}{why}; claims that need it are not tested.", file=sys.stderr)


def _made(runs: list[dict[str, Any]], started: float) -> str:
    """The command behind a table, the day, and how long the runs that it trained took on this machine."""
    command = " ".join(["concordance", *sys.argv[1:]])
    trained = sum((run["finished"] or 0) > started for run in runs)
    minutes, cores = (time.time() - started) / 60, len(os.sched_getaffinity(0))
    return (
        f"`{command}`, {time.strftime('%-d %B %Y')}: trained {trained} of its {len(runs)} runs anew, "
        f"{minutes:.1f} minutes on {cores} processor cores."
    )


def _line(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return f"{row['verdict']:<10}  {row['claim']}: paper {row['paper']}"
    interval = "" if row["low"] is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
    beside = [f"{name} {row[name]:.3f}" for name in ("chance", "baseline") if row[name] is not None]
    figures = "; ".join(
        [f"{row['value']:.3f}{interval}, {row['seeds']} seeds", *beside, f"paper {row['paper']}"]
    )
    return f"{row['verdict']:<10}  {row['claim']}: {figures}"
