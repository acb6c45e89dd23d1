"""`concordance import-generations`: texts and trajectories that another tool generated become a finished run of study sapo."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.client import connect
from engine.errors import UserError

USAGE_ERROR, RUN_FAILED = 2, 1


def import_generations_command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE …",
            help="d1's *_generations.json (the files of all its GPUs make one evaluation), LLaDA's sample_process.txt "
            "(one line per step), or sapo_rollouts.parquet and sapo_tokens.parquet of a run.",
        ),
    ],
    task: Annotated[
        str | None,
        typer.Option(
            help="countdown, sudoku, gsm8k, math or text; read from names and questions unless given."
        ),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Say how many are right and how many are junk, then queue the run that keeps them; nothing is trained."""
    from engine.studies.sapo.foreign import evaluations, read_evaluation
    from engine.studies.sapo.importing import summary

    try:
        if any("," in str(file.absolute()) for file in files):
            raise UserError(
                "imported", "a path with a comma cannot be imported; rename the file or its folder."
            )
        groups = evaluations([file.expanduser().absolute() for file in files])
        found = [summary(read_evaluation(group, task)) for group in groups]
    except UserError as error:
        print(error.message, file=sys.stderr)
        raise typer.Exit(USAGE_ERROR) from None
    if not as_json:
        print("\n".join(map(described, found)), flush=True)
    paths = ",".join(str(file.expanduser().absolute()) for file in files)
    client = connect()
    run = client.submit("sapo", {"imported": paths, "import_task": task or ""}, list(range(len(groups))))
    if wait:
        run = client.wait(run["id"])
    line = f"{run['id']}  {run['state']}  {run['error'] or ''}".rstrip()
    print(json.dumps({"found": found, "run": run}, indent=2) if as_json else line)
    if wait and run["state"] != "done":
        raise typer.Exit(RUN_FAILED)


def described(found: dict[str, Any]) -> str:
    """One line of figures; cell and exact accuracy are always named as such."""
    shares = [
        f"{label} {100 * found[name]:.1f} %"
        for label, name in (
            ("exact", "exact"),
            ("blank cells" if found["task"] == "sudoku" else "", "cell"),
            ("junk (as the file says, else rep-3 above 0.3)", "junk"),
            ("junk among exact ones", "junk_given_correct"),
            ("valid traces", "trace_valid"),
        )
        if label and found[name] is not None
    ]
    return f"{found['file']}: {found['n']} generation{'s' if found['n'] > 1 else ''}, {found['task']} ({found['format']}); {', '.join(shares)}"
