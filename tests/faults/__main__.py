"""Break Concordance on purpose and see that nothing is lost.

    python -m tests.faults                       # everything; about half an hour of two cores
    python -m tests.faults kills --kills 100 --seed 3
    python -m tests.faults damage | disk | clock

It works in a folder of its own, ends every process it started, and exits with 1 at the first thing lost.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from data.files import read_json, write_json
from tests.faults.damage import damage
from tests.faults.kills import kills, reference
from tests.faults.pressure import full_disk, full_disk_at_the_end, stopped_clock

PARTS = ("kills", "damage", "disk", "clock")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to break; all by default")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--reference", type=Path, help="a file to keep the undisturbed results in, or to read them from"
    )
    options = parser.parse_args()
    parts = options.parts or PARTS
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        folder = Path(name)
        expected = _expected(folder, options.reference)
        if "kills" in parts:
            fallen = kills(folder, expected, options.kills, options.seed, say)
            say(f"kills: {fallen.total()} ({json.dumps(fallen)}); every result as without one")
        if "damage" in parts:
            say(f"damage: {damage(folder, expected, options.seed, say)} cases survived")
        if "disk" in parts:
            say(f"full disk: {full_disk(folder, expected)}; then resumed to the same bytes")
            say(f"full disk at a run's end: taken in {full_disk_at_the_end(folder, expected)}")
        if "clock" in parts:
            say(f"stopped clock: {stopped_clock(folder, expected)}")


def _expected(folder: Path, kept: Path | None) -> dict[str, dict[str, str]]:
    if kept is not None and kept.exists():
        return dict(read_json(kept))
    start = time.monotonic()
    found = reference(folder / "reference")
    say(f"{len(found)} undisturbed runs took {time.monotonic() - start:.0f} s")
    if kept is not None:
        write_json(kept, found)
    return found


if __name__ == "__main__":
    main()
