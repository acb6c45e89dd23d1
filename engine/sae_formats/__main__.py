"""The child process in which a folder of unknown origin is parsed: `python -m engine.sae_formats FOLDER` prints JSON."""

import json
import resource
import sys
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.plain_text import one_line
from engine.sae_formats.common import brief, refused
from engine.sae_formats.reading import read_checkpoint

SPARE_MEMORY, COPIES = 2 << 30, 6
ENTRIES, TEXT = 40, 300
Plain = str | int | float | bool


def answer(folder: Path) -> dict[str, Any]:
    """The facts of the checkpoint in a folder, or its refusal."""
    try:
        found = read_checkpoint(folder)
    except Exception as error:
        unforeseen = refused(folder, f"cannot be read ({brief(error)}); copy or save it again")
        known = error if isinstance(error, UserError) else unforeseen
        return {"field": known.field, "message": known.message}
    facts = {name: getattr(found, name) for name in ("origin", "architecture", "d_in", "d_sae", "k")}
    return {**facts, "metadata": _plain(found.metadata)}


def confine(size: int) -> None:
    """From here on: memory in proportion to the files, no file written, no core dumped."""
    in_use = Path("/proc/self/statm")
    if in_use.exists():
        pages = int(in_use.read_text().split()[0])
        limit = pages * resource.getpagesize() + COPIES * size + SPARE_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(kind, (0, 0))


def _plain(metadata: dict[str, Any]) -> dict[str, Plain]:
    """The numbers and short texts of a file's metadata."""
    kept: dict[str, Plain] = {}
    for name, value in list(metadata.items())[:ENTRIES]:
        if isinstance(value, str):
            kept[one_line(name, 60)] = one_line(value, TEXT)
        elif isinstance(value, bool | int | float) and abs(value) < 2**53:
            kept[one_line(name, 60)] = value
    return kept


if __name__ == "__main__":
    given = Path(sys.argv[1])
    confine(sum(path.stat().st_size for path in given.iterdir() if path.is_file()))
    print(json.dumps(answer(given)))
