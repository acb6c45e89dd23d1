"""How long a warm export of a figure takes, by format: to be ≤ 0.5 s. `python benchmarks/figure_export.py [--json out.json]`

A training curve of three seeds and a map of features, built as their pages do from made-up numbers and sent as their pages
send them. An engine of its own renders them with its one kept browser; times are those of the client, HTTP included, after
one export that is not counted.
"""

import argparse
import json
import os
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import psutil

from analyses.feature_map import map_figure
from analyses.sae_curves import training_curves
from data.files import write_json
from engine.client import Client, connect
from engine.figures import FORMATS

WIDTH = 720  # that of app/widgets.py
STEPS, FEATURES = 200, 5_000


def curve() -> go.Figure:
    falling = np.exp(-np.arange(STEPS) / 50)
    rows = [
        {"step": step, "seed": seed, "loss": value + 0.01 * seed}
        for seed in range(3)
        for step, value in enumerate(falling.tolist())
    ]
    return training_curves(rows, "loss")


def feature_map() -> go.Figure:
    x, y, stability = np.random.default_rng(0).random((3, FEATURES))
    columns = {"run": "made up", "seed": 0, "feature": range(FEATURES), "x": x, "y": y}
    return map_figure(pd.DataFrame({**columns, "stability": stability}))


def timed(client: Client, figure: go.Figure, format: str, n: int) -> dict[str, float]:
    """Median, 95th percentile and maximum in seconds of `n` warm exports."""
    taken = []
    for _ in range(n + 1):
        start = time.perf_counter()
        client.export_figure(figure.to_json(), format, WIDTH, int(figure.layout.height))
        taken.append(time.perf_counter() - start)
    warm = taken[1:]
    return {
        "median_s": round(float(np.median(warm)), 3),
        "p95_s": round(float(np.percentile(warm, 95)), 3),
        "max_s": round(max(warm), 3),
    }


def measure(n: int) -> dict[str, dict[str, dict[str, float]]]:
    with tempfile.TemporaryDirectory() as home:
        os.environ["CONCORDANCE_HOME"] = home
        client = connect()
        engine = psutil.Process(client.health()["pid"])
        try:
            drawn = {"curve": curve(), "feature_map": feature_map()}
            return {
                name: {format: timed(client, figure, format, n) for format in FORMATS}
                for name, figure in drawn.items()
            }
        finally:
            client.shutdown()
            engine.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=50, help="exports of each figure and format")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    found = {
        "n": options.n,
        **measure(options.n),
        "machine": {"cores": os.cpu_count(), "kaleido": version("kaleido")},
    }
    print(json.dumps(found, indent=2))
    if options.json:
        write_json(options.json, found)


if __name__ == "__main__":
    main()
