"""`concordance cards`: the feature cards of a finished run, as Explore shows them."""

import json
from typing import Annotated

import typer

from engine.client import connect

RUN_FAILED = 1


def cards_command(
    run_id: Annotated[str, typer.Argument(help="A finished run on a language model.")],
    max_tokens: Annotated[
        int, typer.Option(min=1_000, help="Training tokens read for the cards.")
    ] = 1_000_000,
    wait: Annotated[bool, typer.Option(help="Wait until they are made.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """Queue the job that makes every feature's card: examples, logits, neighbours, functional checks."""
    client = connect()
    job = client.make_cards(run_id, max_tokens=max_tokens)
    if wait:
        job = client.wait(job["id"])
    line = f"{job['id']}  {job['state']}  feature cards of {run_id}  {job['error'] or ''}".rstrip()
    print(json.dumps(job, indent=2) if as_json else line)
    if wait and job["state"] != "done":
        raise typer.Exit(RUN_FAILED)
