"""From a finished run to the cards of its features: Concordance, and SAEDashboard's runner on the same tokens and SAE.

    python benchmarks/cards.py --run RUN --dashboard-python ENVIRONMENT/bin/python --tokens 16384 --features 256
    python benchmarks/cards.py --run RUN --full

`--full` measures Concordance alone on every seed and all training tokens of the run (up to a million), with loss
recovered and sparse probing if `--checks` is given. The comparison reads one seed and the run's first `--tokens`
training tokens on both sides, each in a process of its own, imports and loading included and also told apart.

What differs, all of it in the output: Concordance reads the activations the run stored and makes cards for every
feature of the SAE at once; SAEDashboard reads the text through the model (once, cached on disk; `forward` is the part of
its seconds spent on that) and makes `--features` dashboards in batches of 256, its default. Its runner's result
stays in memory and is not written; Concordance's is written and sorted for browsing. SAEDashboard 0.8.0 asks for
transformer-lens < 3 and transformers < 4.57; it is run here against transformer-lens 3.9's TransformerBridge and
sae-lens 6.54 from this repository's environment (pip install --no-deps sae-dashboard dataclasses-json
typing-inspect marshmallow eindex-callum). sae-lens refuses to fold decoder norms into a TopK SAE, which the runner
asks for without need, the norms being equal; that call is left out.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

SIDES = ("concordance", "sae-dashboard")


def concordance(options: argparse.Namespace) -> dict[str, Any]:
    """Cards of one seed and some tokens, or with `--full` of the whole run."""
    from data.files import write_json
    from engine.run import Run
    from engine.tools.feature_cards import FeatureCards
    from engine.tools.feature_cards.of_run import find_run

    seeds = json.loads((find_run(options.run, ())[0] / "config.json").read_text())["seeds"]
    checks = {} if options.checks else {"checks_tokens": 0, "probe_documents": 0}
    tokens = 1_000_000 if options.full else options.tokens
    stages: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        directory = Path(folder)
        mine = seeds if options.full else seeds[:1]
        write_json(
            directory / "config.json", {"id": "x", "study": "feature_cards", "seeds": mine, "data_seed": 0}
        )
        run = Run(directory, FeatureCards.Config(of=options.run, max_tokens=tokens, **checks))
        FeatureCards().train(run)
        events = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
        shown = [event for event in events if event["kind"] == "progress"]
        for event, following in pairwise(shown):
            stages[event["stage"]] = stages.get(event["stage"], 0) + following["t"] - event["t"]
        size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
        cards = json.loads((directory / "tensors" / "cards.json").read_text())
    return {
        "features": cards["d_sae"] * len(mine),
        "tokens": cards["n_tokens"],
        "stages": {name: round(seconds, 1) for name, seconds in stages.items()},
        "disk_mb": round(size / 1e6),
    }


def sae_dashboard(options: argparse.Namespace) -> dict[str, Any]:
    """Dashboards of the first features of one seed, on the tokens Concordance reads."""
    import torch
    from sae_dashboard.feature_data_generator import FeatureDataGenerator
    from sae_dashboard.sae_vis_data import SaeVisConfig
    from sae_dashboard.sae_vis_runner import SaeVisRunner
    from sae_lens import SAE

    from data.paths import state_dir
    from engine.activations import fingerprint
    from engine.language_model import load
    from engine.tools.feature_cards.of_run import find_run
    from engine.tools.feature_cards.tokens import read_tokens

    directory, config = find_run(options.run, ())
    seed = json.loads((directory / "config.json").read_text())["seeds"][0]
    found = read_tokens(
        state_dir() / "activations" / fingerprint(config), config.context_size, options.tokens
    )
    tokens = torch.from_numpy(found.ids.astype("int64")).reshape(-1, config.context_size)
    sae = SAE.load_from_disk(str(directory / "saes" / f"seed-{seed}"), device="cpu")
    sae.fold_W_dec_norm = lambda: None
    model = load(config.model, "cpu").bridge
    forward = [0.0]
    reading = FeatureDataGenerator.get_model_acts

    def timed(self: Any, *arguments: Any, **names: Any) -> Any:
        start = time.perf_counter()
        result = reading(self, *arguments, **names)
        forward[0] += time.perf_counter() - start
        return result

    FeatureDataGenerator.get_model_acts = timed
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        settings = SaeVisConfig(
            hook_point=config.hook_point,
            features=list(range(options.features)),
            ignore_positions=[0],
            cache_dir=Path(folder),
        )
        start = time.perf_counter()
        made = SaeVisRunner(settings).run(encoder=sae, model=model, tokens=tokens)
        seconds = time.perf_counter() - start
    assert len(made.feature_data_dict) == options.features
    stages = {"forward": round(forward[0], 1), "dashboards": round(seconds - forward[0], 1)}
    return {"features": options.features, "tokens": tokens.numel(), "stages": stages}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One side, in this process."""
    import torch

    torch.set_num_threads(options.threads)
    found = {"concordance": concordance, "sae-dashboard": sae_dashboard}[options.side](options)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "side": options.side,
        **found,
        "threads": options.threads,
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_rss_mb": round(used.ru_maxrss / 1024),
    }


def in_child(side: str, options: argparse.Namespace) -> dict[str, Any]:
    """The row of a side, with the seconds from the start of its process to the end."""
    python = options.dashboard_python if side == "sae-dashboard" else sys.executable
    root = str(Path(__file__).resolve().parent.parent)
    environment = os.environ | {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "PYTHONPATH": root}
    load_before, start = os.getloadavg()[0], time.perf_counter()
    child = subprocess.run(
        [str(python), __file__, "--side", side, *sys.argv[1:]],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if child.returncode:
        sys.exit(child.stderr)
    seconds = time.perf_counter() - start
    row = json.loads(child.stdout.splitlines()[-1])
    rates = {"seconds": round(seconds, 1), "features_per_second": round(row["features"] / seconds, 2)}
    return {**row, **rates, "machine_load_before": round(load_before, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="a finished run in CONCORDANCE_HOME")
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--features", type=int, default=256, help="dashboards SAEDashboard makes")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--checks", action="store_true")
    parser.add_argument("--dashboard-python", type=Path, help="an interpreter that has sae-dashboard")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--scratch", type=Path, help="folder for what is written and deleted again")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options)))
        return
    rows = []
    for side in SIDES if options.dashboard_python and not options.full else SIDES[:1]:
        rows.append(row := in_child(side, options))
        print(
            f"{side:14} {row['features']:6} features {row['tokens']:8,} tokens {row['seconds']:7} s ({row['processor_seconds']} of a processor) "
            f"{row['features_per_second']:8} features/s {row['peak_rss_mb']:6} MB peak   load "
            f"{row['machine_load_before']}   {row['stages']}",
            flush=True,
        )
    if len(rows) == 2:
        for name in ("seconds", "processor_seconds"):
            rates = [row["features"] / row[name] for row in rows]
            print(f"features per {name}, Concordance / SAEDashboard: {rates[0] / rates[1]:.1f}")
    if options.json:
        machine = {"cpus": len(os.sched_getaffinity(0)), "processor": platform.machine()}
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
