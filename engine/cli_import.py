"""`concordance import`: SAEs that other tools saved become a run, evaluated and matched like one's own."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.client import connect
from engine.errors import UserError

USAGE_ERROR, RUN_FAILED = 2, 1


def import_command(
    folders: Annotated[
        list[Path],
        typer.Argument(help="One folder per seed, saved by sae-lens, dictionary_learning or sparsify."),
    ],
    hook_point: Annotated[str, typer.Option(help="Where the SAEs read, as a TransformerBridge hook name.")],
    model: Annotated[str | None, typer.Option(help="Language model; the bundled one unless named.")] = None,
    corpus: Annotated[str | None, typer.Option(help="Text they are evaluated on.")] = None,
    n_tokens: Annotated[int, typer.Option(help="Tokens read from it.")] = 200_000,
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = False,
) -> None:
    """Queue a run of zero training steps that starts from saved SAEs, all of one architecture and size."""
    from engine.studies.sae_consistency.checkpoints import read_checkpoint

    try:
        found = [read_checkpoint(folder) for folder in folders]
    except UserError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(USAGE_ERROR) from None
    settings: dict[str, Any] = {
        "architecture": found[0].architecture,
        "d_sae": found[0].d_sae,
        "start_from": ",".join(str(folder.resolve()) for folder in folders),
        "decoder_norm": "free",
        "n_steps": 0,
        "hook_point": hook_point,
        "n_tokens": n_tokens,
        **({"k": found[0].k} if found[0].k else {}),
        **({"model": model} if model else {}),
        **({"corpus": corpus} if corpus else {}),
    }
    client = connect()
    run = client.submit("sae_consistency", settings, list(range(len(found))))
    if wait:
        run = client.wait(run["id"])
    print(f"{run['id']}  {run['state']}  {run['error'] or ''}".rstrip())
    if wait and run["state"] != "done":
        raise typer.Exit(RUN_FAILED)
