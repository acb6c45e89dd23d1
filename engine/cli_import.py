"""`concordance import-sae`: SAEs that other tools saved become a run, evaluated and matched like one's own."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.client import connect

RUN_FAILED = 1


def import_command(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH|HF-ID …",
            help="One folder or Hugging Face id (owner/name/folder) per SAE, all of one architecture and size: "
            "sae-lens, dictionary_learning, sparsify or Gemma Scope.",
        ),
    ],
    hook_point: Annotated[
        str | None, typer.Option(help="Where the SAEs read; needed when their files do not tell.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Language model; the files' own unless named, else the bundled one.")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Text they are evaluated on.")] = None,
    n_tokens: Annotated[int, typer.Option(min=1_000, help="Tokens read from it.")] = 200_000,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Say what the SAEs are, then queue the run that evaluates and matches them; nothing is trained."""
    paths = [_absolute(source) for source in sources]
    client = connect()
    found = client.inspect_sae(*paths)
    if not as_json:
        print("\n".join(described(one) for one in found), flush=True)
    settings = {"hook_point": hook_point, "model": model, "corpus": corpus, "n_tokens": n_tokens}
    run = client.import_sae(paths, **settings)
    if wait:
        run = client.wait(run["id"])
    line = f"{run['id']}  {run['state']}  {run['error'] or ''}".rstrip()
    print(json.dumps({"found": found, "run": run}, indent=2) if as_json else line)
    if wait and run["state"] != "done":
        print(run["error"] or run["state"], file=sys.stderr)
        raise typer.Exit(RUN_FAILED)


def _absolute(source: str) -> str:
    """A path as the engine sees it, whatever folder it was started in; Hugging Face ids stay."""
    try:
        path = Path(source).expanduser()
        return str(path.absolute()) if path.exists() else source
    except (OSError, RuntimeError):
        return source


def described(found: dict[str, Any]) -> str:
    """What was found, and under it what a reader should know."""
    return "\n".join([f"{found['source']}: {found['sentence']}", *(f"  {note}" for note in found["notes"])])
