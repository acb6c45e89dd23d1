"""`concordance env`: the environments beside Concordance's own, and the command that makes one."""

import json
import sys
from typing import Annotated, Any

import typer

from engine.errors import UserError

USAGE_ERROR = 2


def env_command(
    name: Annotated[
        str | None, typer.Argument(help="The environment to make; without it all are listed.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """List the Python environments that some models need, or make one; a broken-off making goes on where it stopped."""
    from engine import environments

    try:
        found = (
            [environments.make(name, lambda text: print(text, file=sys.stderr, flush=True))]
            if name
            else [environments.describe(each) for each in environments.ENVIRONMENTS]
        )
    except UserError as error:
        print(error.message, file=sys.stderr)
        raise typer.Exit(USAGE_ERROR) from None
    print(json.dumps(found, indent=2) if as_json else "\n".join(map(_line, found)))


def _line(found: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    told = packages or f"make it with `concordance env {found['name']}`"
    place = f"{found['name']}  {found['state']:<10}  {found['folder']}"
    return f"{place}\n  {found['purpose']}; {told}\n  {found['notice']}"
