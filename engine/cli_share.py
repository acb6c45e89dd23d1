"""`concordance export`, `import`, `reproduce` and `report`: a run as a file and trained once more, a study as a page."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from data.files import atomic_write
from data.paths import state_dir
from engine.client import connect
from engine.errors import UserError

USAGE_ERROR, DIFFERS = 2, 1
RunId = Annotated[str, typer.Argument(help="A run's id; `concordance runs` lists them.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


def _target(path: Path) -> Path:
    """The file to write; leaves with one sentence where its folder does not exist."""
    target = path.expanduser()
    if not target.absolute().parent.is_dir():
        print(f"to: {target.absolute().parent} is not a folder; name one that exists.", file=sys.stderr)
        raise typer.Exit(USAGE_ERROR)
    return target


def export_command(
    run_id: RunId,
    to: Annotated[Path | None, typer.Option(help="The file to write; RUN.zip here unless given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a finished run, with its cards, maps, labels and the runs it reads, to one zip file."""
    target = _target(to or Path(f"{run_id}.zip"))
    connect().export_bundle(run_id, target)
    size = target.stat().st_size
    print(json.dumps({"file": str(target), "bytes": size}) if as_json else f"{target}: {size / 1e6:.1f} MB")


def import_command(
    bundle: Annotated[Path, typer.Argument(help="A file that `concordance export` wrote.")],
    as_json: AsJson = False,
) -> None:
    """Take in the runs of a bundle; their pages then show what they show where they were trained."""
    if not bundle.is_file():
        print(f"bundle: {bundle} is not a file; name one that `concordance export` wrote.", file=sys.stderr)
        raise typer.Exit(USAGE_ERROR)
    found = connect().import_bundle(bundle)
    text = f"{found['run']}: {len(found['added'])} runs added, {len(found['present'])} were here."
    print(json.dumps(found, indent=2) if as_json else text)


def reproduce_command(run_id: RunId, as_json: AsJson = False) -> None:
    """Train a finished run again and say whether the bytes agree, or the figures, or neither (exit status 1)."""
    from engine.reproduce import reproduce

    def follow(row: dict[str, Any]) -> None:
        if not as_json:
            left = f", {row['eta_s']:.0f} s left" if row["eta_s"] else ""
            print(
                f"\r{row['stage']}: {100 * row['done'] / row['total']:.0f} %{left:<50}",
                end="",
                file=sys.stderr,
            )

    try:
        found = reproduce(state_dir(), run_id, follow)
    except UserError as error:
        print(f"\n{error}" if not as_json else str(error), file=sys.stderr)
        raise typer.Exit(USAGE_ERROR) from None
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        print(file=sys.stderr)
        print(found.sentence)
    if found.verdict == "differs":
        raise typer.Exit(DIFFERS)


def report_command(
    study: Annotated[str, typer.Argument(help="Study name; `concordance studies` lists them.")],
    to: Annotated[Path | None, typer.Option(help="The file to write; STUDY.html here unless given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write a study's claims, the figures kept of its runs and the runs behind them to one HTML file."""
    target = _target(to or Path(f"{study}.html"))
    page = connect().study_report(study)
    atomic_write(target.absolute(), page)
    print(
        json.dumps({"file": str(target), "bytes": len(page)})
        if as_json
        else f"{target}: {len(page) / 1e6:.1f} MB"
    )
