"""From corpus to heat map: three seeds in one Concordance run, and three sae-lens runs matched afterwards.

Equal: the bundled SmolLM2 and its hook point, the training documents of the English mix in windows of 128
tokens without position 0, forward passes of eight windows, the number of activations, each trained on once
(--tokens, in whole batches), TopK of 4,608 latents, k 32, batches of 4,096, Adam at 1e-3 with the same
warm-up and decay, float32, threads. Each side is a process of its own, and all of it counts, from its imports
to the PW-MCC of the three pairs.

Different: Concordance reads once for all seeds, with held-out text and 4 % to spare, since it masks massive
activations (2 % here); writes hashed shards, shuffled as a whole; has torch deterministic; evaluates every
seed, matches the living latents once more, and leaves a checkpoint, tables and SAEs. sae-lens tokenises once,
then loads the model for every seed and streams its activations, massive ones too and unscaled, through a
buffer in memory of which the last half goes unused; it leaves decoders in memory, nothing evaluated, logged
or written. So the PW-MCC say that both ran, not which is better. `--shared` adds sae-lens'
MultiSAETrainingRunner, the three on one stream. Neither side draws; Concordance's engine process is left out.

    python benchmarks/end_to_end.py --tokens 100000 --json out.json
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
import warnings
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from itertools import combinations, islice
from pathlib import Path
from typing import Any

from data import corpora
from data.files import read_json, write_json
from engine.language_model import prepare_bundled

SIDES = ("concordance", "sae-lens", "sae-lens-shared")
HOOK_POINT, D_IN, D_SAE, K, BATCH, RATE = "blocks.5.hook_out", 576, 4608, 32, 4096, 1e-3
SEEDS, WARM_UP, DECAY = [0, 1, 2], 0.05, 0.2
CONTEXT, PROMPTS, SPARE, BUFFER = 128, 8, 0.04, 65
OURS = ("transformer_lens.model_bridge", "transformers", "engine.studies.sae_consistency.training")
THEIRS = ("transformer_lens.model_bridge", "transformers", "datasets", "sae_lens.synthetic")
Seconds = defaultdict[str, float]


def timed(seconds: Seconds, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, adding the time of every call to `seconds[name]`."""

    def run(*given: Any, **named: Any) -> Any:
        start = time.perf_counter()
        found = function(*given, **named)
        seconds[name] += time.perf_counter() - start
        return found

    return run


def concordance(trained: int, seconds: Seconds) -> dict[str, Any]:
    import pyarrow.parquet as pq
    import torch

    from engine import collecting
    from engine.run import Run
    from engine.studies.sae_consistency import pairing
    from engine.studies.sae_consistency.config import Config
    from engine.studies.sae_consistency.training import train

    torch.use_deterministic_algorithms(True, warn_only=True)
    config = Config(
        hook_point=HOOK_POINT, n_tokens=round(trained / (1 - 1 / CONTEXT) * (1 + SPARE)), d_sae=D_SAE, k=K,
        context_size=CONTEXT, batch_size=BATCH, n_steps=trained // BATCH, n_match_points=0, explained_pairs=0,
        functional_tokens=0, learning_rate=RATE, warmup_fraction=WARM_UP, decay_fraction=DECAY,
    )  # fmt: skip
    collecting.load = timed(seconds, "loading", collecting.load)
    pairing.match = timed(seconds, "matching", pairing.match)
    with tempfile.TemporaryDirectory() as home:
        os.environ["CONCORDANCE_HOME"] = home
        write_json(Path(home) / "config.json", {"id": "b", "study": "b", "seeds": SEEDS, "data_seed": 0})
        began = time.time()
        train([Run(Path(home), config)], Run.finish)
        ended = time.time()
        (collected,) = map(read_json, Path(home).glob("activations/*/manifest.json"))
        marks: dict[str, float] = {}
        for event in map(json.loads, (Path(home) / "events.jsonl").read_text().splitlines()):
            marks.setdefault(event.get("stage", event["kind"]), event["t"])
        pairs = pq.read_table(Path(home) / "tables" / "pairs.parquet").to_pylist()
    if trained > (rows := sum(shard["rows"] for shard in collected["shards"] if shard["split"] == "train")):
        sys.exit(f"only {rows} activations were kept for {trained}; raise SPARE.")
    seconds["reading"] = marks["data"] - began - seconds["loading"]
    seconds["training"] = marks["evaluating"] - marks["data"]
    seconds["evaluating and writing"] = ended - marks["evaluating"] - seconds["matching"]
    values = [pair["pw_mcc_abs"] for pair in pairs if pair["subset"] == "all"]
    return {"tokens_read": collected["counts"]["read"], "pw_mcc": values}


def windows(folder: Path, n: int) -> list[list[int]]:
    """The first `n` windows of tokens that Concordance trains on: it holds out every 20th document."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    documents = enumerate(corpora.documents(corpora.ENGLISH_MIX))
    texts = (document.text for number, document in documents if number % 20)
    ids: list[int] = []
    while len(ids) < n * CONTEXT:
        encoded = tokenizer(list(islice(texts, 256)), add_special_tokens=False, verbose=False)
        ids += [token for row in encoded["input_ids"] for token in [*row, 0]]
    return [ids[i * CONTEXT : (i + 1) * CONTEXT] for i in range(n)]


def sae_lens(trained: int, seconds: Seconds, shared: bool) -> dict[str, Any]:
    import sae_lens as lens
    import torch
    from datasets import Dataset
    from sae_lens.config import LoggingConfig
    from sae_lens.synthetic import mean_correlation_coefficient
    from transformer_lens.model_bridge import TransformerBridge

    warnings.filterwarnings("error", message="All samples in the training dataset")
    folder, steps, read = prepare_bundled(), trained // BATCH, 0
    n = (trained // (CONTEXT - 1) + BUFFER) // PROMPTS * PROMPTS + 2 * PROMPTS
    dataset = Dataset.from_dict({"tokens": timed(seconds, "reading", windows)(folder, n)})
    sae = lens.TopKTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K, dtype="float32", device="cpu")
    settings: dict[str, Any] = {
        "context_size": CONTEXT, "seqpos_slice": (1, None), "prepend_bos": False, "streaming": False,
        "n_batches_in_buffer": BUFFER, "store_batch_size_prompts": PROMPTS, "training_tokens": trained,
        "train_batch_size_tokens": BATCH, "lr": RATE, "lr_warm_up_steps": int(WARM_UP * steps),
        "lr_decay_steps": int(DECAY * steps), "device": "cpu", "dtype": "float32", "checkpoint_path": None,
        "output_path": None, "logger": LoggingConfig(log_to_wandb=False),
    }  # fmt: skip

    def runner(model: Any) -> Any:
        if shared:
            several = lens.MultiSAETrainingRunnerConfig({str(s): sae for s in SEEDS}, HOOK_POINT, **settings)
            return lens.MultiSAETrainingRunner(several, dataset, model)
        one: Any = lens.LanguageModelSAERunnerConfig(sae=sae, hook_name=HOOK_POINT, verbose=False, **settings)
        return lens.LanguageModelSAETrainingRunner(one, dataset, model)

    decoders: list[Any] = []
    boot = timed(seconds, "loading", TransformerBridge.boot_transformers)
    for seed in SEEDS[:1] if shared else SEEDS:
        torch.manual_seed(seed)
        model = boot(str(folder), device="cpu", dtype=torch.float32)
        model.run_with_cache = timed(seconds, "reading", model.run_with_cache)
        made, before = runner(model), seconds["reading"]
        saes = timed(seconds, "training", made.run)()
        seconds["training"] -= seconds["reading"] - before
        read += (made.activations_store.n_dataset_processed + 1) * CONTEXT
        decoders += [each.W_dec.detach() for each in (saes.values() if shared else [saes])]
    match = timed(seconds, "matching", mean_correlation_coefficient)
    return {"tokens_read": read, "pw_mcc": [match(a, b) for a, b in combinations(decoders, 2)]}


def measure(side: str, tokens: int, threads: int) -> dict[str, Any]:
    """One side, in this process."""
    start, seconds, trained = time.perf_counter(), Seconds(float), tokens // BATCH * BATCH
    ours = side == "concordance"
    timed(seconds, "importing", lambda: list(map(import_module, OURS if ours else THEIRS)))()
    sys.modules["torch"].set_num_threads(threads)
    found = concordance(trained, seconds) if ours else sae_lens(trained, seconds, side.endswith("shared"))
    return {
        "side": side,
        "trained": trained,
        "threads": threads,
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time(), 1),
        "stages": {name: round(value, 1) for name, value in seconds.items()},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        **found,
    }


def in_child(side: str, tokens: int, threads: int) -> dict[str, Any]:
    environment = os.environ | {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, __file__, "--side", side, "--tokens", str(tokens), "--threads", str(threads)]
    load_before = os.getloadavg()[0]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if found.returncode:
        sys.exit(found.stderr)
    return {**json.loads(found.stdout.splitlines()[-1]), "machine_load_before": round(load_before, 2)}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shared", action="store_true", help="also measure sae-lens' MultiSAETrainingRunner")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.tokens, options.threads)))
        return
    prepare_bundled()
    rows, ratios = [], {}
    for side in SIDES if options.shared else SIDES[:2]:
        rows.append(row := in_child(side, options.tokens, options.threads))
        print(
            f"{side:16} {row['seconds']:7} s {row['processor_seconds']:7} processor s "
            f"{row['peak_rss_mb']:6} MB peak   load {row['machine_load_before']}   "
            f"{row['tokens_read']} tokens read, PW-MCC {row['pw_mcc'][0]:.3f}\n    "
            + "  ".join(f"{name} {value}" for name, value in row["stages"].items()),
            flush=True,
        )
        ratios[side] = {n: round(row[n] / rows[0][n], 2) for n in ("seconds", "processor_seconds")}
    print(f"Times over Concordance's: {ratios}")
    packages = {name: version(name) for name in ("torch", "transformers", "transformer-lens", "sae-lens")}
    machine = {"cpus": len(os.sched_getaffinity(0)), "processor": platform.machine(), "packages": packages}
    if options.json:
        write_json(options.json, {"machine": machine, "rows": rows, "ratios": ratios})


if __name__ == "__main__":
    main()
