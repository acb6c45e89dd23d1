"""The figures of the multimodal study (arXiv 2411.06518) with the production trainer, against its claims' rules.

Worlds are drawn with world seed 1; everything was developed on world seed 0. Seeds 0, 1, … start the networks.

    python benchmarks/multimodal.py --json out.json            # about 25 minutes on one idle core
    python benchmarks/multimodal.py --only nhanes --seeds 3
    python benchmarks/multimodal.py --only textbook --world-seed 0
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pyarrow as pa
import pyarrow.parquet as pq

from data.files import write_json
from engine.run import Run
from engine.studies.base import parse_config
from engine.studies.multimodal_causal import MultimodalCausal

STUDY = MultimodalCausal()
Tables = Mapping[str, pa.Table]


def trained(request: dict[str, Any], seeds: int) -> tuple[Tables, float]:
    """The tables of one run and its seconds."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        record = {"id": "x", "study": STUDY.name, "seeds": list(range(seeds)), "data_seed": 0}
        write_json(folder / "config.json", record)
        STUDY.train(Run(folder, parse_config(STUDY, request["preset"], request["config"])))
        tables = {file.stem: pq.read_table(file) for file in (folder / "tables").glob("*.parquet")}
    return tables, round(time.perf_counter() - started, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", help="claims whose name holds this text")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--world-seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    known: dict[str, tuple[Tables, float]] = {}
    found = []
    for claim in STUDY.claims:
        if options.only not in claim.name:
            continue
        runs = []
        for request in claim.runs(options.preset):
            request = {**request, "config": {**request["config"], "world_seed": options.world_seed}}
            key = parse_config(STUDY, request["preset"], request["config"]).model_dump_json()
            if key not in known:
                known[key] = trained(request, options.seeds)
            runs.append(known[key])
        if runs:
            row = {"claim": claim.name, **asdict(claim.measure([tables for tables, _ in runs]))}
            row["seconds"] = [seconds for _, seconds in runs]
            found.append(row)
            print(json.dumps(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
