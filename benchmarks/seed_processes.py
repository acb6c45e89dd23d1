"""Seeds in threads against seeds in processes, the same run: seconds, and whether the results are the same bytes.

The first run of all also loads libraries and data; compare the later ones.

.venv/bin/python -m benchmarks.seed_processes counterfactual_text --preset tour --seeds 2
"""

import hashlib
import tempfile
import time
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import typer

from engine.studies import STUDIES
from engine.studies.base import parse_config
from engine.worker import prepare_torch
from tests.training import InProcess


def trained(study: str, preset: str, seeds: int) -> tuple[float, str]:
    """Seconds of a run without a GPU, and a digest of its results."""
    with tempfile.TemporaryDirectory() as folder:
        config = parse_config(STUDIES[study], preset, {}).model_dump(mode="json")
        start = time.perf_counter()
        InProcess(STUDIES[study]).train(Path(folder), config, list(range(seeds)))
        seconds = time.perf_counter() - start
        return seconds, hashlib.sha256((Path(folder) / "manifest.json").read_bytes()).hexdigest()[:12]


def main(
    study: Annotated[str, typer.Argument(help="counterfactual_text, sapo, smartclip or srf.")],
    preset: str = "tour",
    seeds: int = 2,
    repeats: int = 2,
) -> None:
    prepare_torch()
    for _ in range(repeats):
        seconds, digest = trained(study, preset, seeds)
        print(f"processes  {seconds:7.1f} s  {digest}", flush=True)
        threads = "engine.studies.seeds.in_processes"
        with patch(threads, lambda session, waiting, _: session.each(waiting, session.to_its_end)):
            seconds, digest = trained(study, preset, seeds)
        print(f"threads    {seconds:7.1f} s  {digest}", flush=True)


if __name__ == "__main__":
    typer.run(main)
