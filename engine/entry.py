"""What the `concordance` script calls: an environment that lacks a package is told so in one sentence."""

import sys


def main() -> None:
    """Run the command line; where a package is missing, say which and what to do, with exit status 2."""
    try:
        from engine.cli import main as run
    except ModuleNotFoundError as error:
        sys.exit(f"packages: {error.name} is missing; remove .venv and run `make setup`.")
    run()
