"""A long hunt by coverage with atheris: `python -m tests.fuzz.hunt texts.jsonl -max_total_time=600` (`pip install atheris`)."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["analyses", "data", "engine"]):
    from tests.fuzz.importers import IMPORTERS, attempt


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in IMPORTERS:
        sys.exit(f"Name one of {', '.join(IMPORTERS)}; options of libFuzzer follow.")
    which = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as name:
        folder, seeds = Path(name) / "files", Path(name) / "seeds"
        folder.mkdir()
        seeds.mkdir()
        for number, content in enumerate(IMPORTERS[which].sound):
            (seeds / str(number)).write_bytes(content)
        atheris.Setup([*sys.argv, str(seeds)], lambda content: attempt(which, content, folder) and None)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
