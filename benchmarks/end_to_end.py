"""From corpus to heat map: three seeds in one Concordance run, and three sae-lens training runs matched afterwards.

Equal: the bundled SmolLM2 and its hook point, the training documents of the English mix in windows of 128 tokens
without position 0, forward passes of eight windows, the number of activations, each trained on once (--tokens, in whole
batches), TopK of 4,608 latents, k 32, batches of 4,096, Adam at 1e-3 with the same warm-up and decay, float32, threads.
Each side is a process of its own, and all of it counts, from its imports to the PW-MCC of the three pairs.

Different: Concordance reads once for all seeds, held-out text and 2 % more than it trains on, since it masks massive
activations; writes hashed shards shuffled as a whole; torch is deterministic; it evaluates every seed, matches the
living latents once more, and leaves a checkpoint, tables and SAEs. sae-lens tokenises once, then loads the model for
every seed and streams its activations, as they are, through a buffer in memory of which the last half goes unused; it
leaves decoders in memory, nothing evaluated, logged or written. `--shared` adds its MultiSAETrainingRunner: the three
on one stream. Neither side draws; Concordance's engine and worker processes are left out.

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
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from itertools import combinations, islice
from pathlib import Path
from typing import Any

SIDES = ("concordance", "sae-lens", "sae-lens-shared")
SEEDS = [0, 1, 2]
HOOK_POINT, D_IN, D_SAE, K, BATCH, RATE = "blocks.5.hook_out", 576, 4608, 32, 4096, 1e-3
WARM_UP, DECAY = 0.05, 0.2
CONTEXT, PROMPTS, MASKED, BUFFER = 128, 8, 0.02, 65


class Stages:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            found = function(*given, **named)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
            return found

        return run

    def imports(self, *modules: str) -> None:
        self.timed("importing", lambda: [import_module(module) for module in modules])()


def concordance(trained: int, stages: Stages) -> dict[str, Any]:
    stages.imports("transformer_lens.model_bridge", "transformers", "engine.studies.sae_consistency.training")
    import pyarrow.parquet as pq
    import torch

    from data.files import read_json, write_json
    from engine import collecting
    from engine.run import Run
    from engine.studies.sae_consistency import pairing
    from engine.studies.sae_consistency.config import Config
    from engine.studies.sae_consistency.training import train

    torch.use_deterministic_algorithms(True, warn_only=True)
    config = Config(
        hook_point=HOOK_POINT, n_tokens=round(trained * CONTEXT / (CONTEXT - 1) * (1 + MASKED)), context_size=CONTEXT,
        d_sae=D_SAE, k=K, batch_size=BATCH, n_steps=trained // BATCH, learning_rate=RATE, warmup_fraction=WARM_UP,
        decay_fraction=DECAY, n_match_points=0, functional_tokens=0, explained_pairs=0,
    )  # fmt: skip
    collecting.load = stages.timed("loading", collecting.load)
    pairing.match = stages.timed("matching", pairing.match)
    with tempfile.TemporaryDirectory() as home:
        os.environ["CONCORDANCE_HOME"] = home
        record = {"id": "b", "study": "sae_consistency", "seeds": SEEDS, "data_seed": 0}
        write_json(Path(home) / "config.json", record)
        began = time.time()
        train([Run(Path(home), config)], Run.finish)
        ended = time.time()
        (collected,) = map(read_json, Path(home).glob("activations/*/manifest.json"))
        marks: dict[str, float] = {}
        for event in map(json.loads, (Path(home) / "events.jsonl").read_text().splitlines()):
            marks.setdefault(event.get("stage", event["kind"]), event["t"])
        pairs = pq.read_table(Path(home) / "tables" / "pairs.parquet").to_pylist()
    if trained > (rows := sum(shard["rows"] for shard in collected["shards"] if shard["split"] == "train")):
        sys.exit(f"only {rows} activations were kept for {trained}; raise MASKED.")
    found = stages.seconds
    found["reading"] = marks["data"] - began - found["loading"]
    found["training"] = marks["evaluating"] - marks["data"]
    found["evaluating and writing"] = ended - marks["evaluating"] - found["matching"]
    values = [pair["pw_mcc_abs"] for pair in pairs if pair["subset"] == "all"]
    return {"tokens_read": collected["counts"]["read"], "pw_mcc": values}


def windows(folder: Path, n: int) -> list[list[int]]:
    """The first `n` windows of tokens that Concordance trains on: it holds out every 20th document."""
    from transformers import AutoTokenizer

    from data import corpora

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    documents = enumerate(corpora.documents(corpora.ENGLISH_MIX))
    texts = (document.text for number, document in documents if number % 20)
    ids: list[int] = []
    while len(ids) < n * CONTEXT:
        encoded = tokenizer(list(islice(texts, 256)), add_special_tokens=False, verbose=False)
        ids += [token for row in encoded["input_ids"] for token in [*row, 0]]
    return [ids[i * CONTEXT : (i + 1) * CONTEXT] for i in range(n)]


def sae_lens(trained: int, stages: Stages, shared: bool) -> dict[str, Any]:
    stages.imports("transformer_lens.model_bridge", "transformers", "datasets", "sae_lens.synthetic")
    import sae_lens as lens
    import torch
    from datasets import Dataset
    from sae_lens.config import LoggingConfig
    from sae_lens.synthetic import mean_correlation_coefficient
    from transformer_lens.model_bridge import TransformerBridge

    from engine.language_model import prepare_bundled

    warnings.filterwarnings("error", message="All samples in the training dataset")
    folder, steps, read = prepare_bundled(), trained // BATCH, 0
    n = (trained // (CONTEXT - 1) + BUFFER) // PROMPTS * PROMPTS + 2 * PROMPTS
    dataset = Dataset.from_dict({"tokens": stages.timed("reading", windows)(folder, n)})
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
            saes = {str(seed): sae for seed in SEEDS}
            several = lens.MultiSAETrainingRunnerConfig(saes=saes, hook_names=HOOK_POINT, **settings)
            return lens.MultiSAETrainingRunner(several, dataset, model)
        one: Any = lens.LanguageModelSAERunnerConfig(sae=sae, hook_name=HOOK_POINT, verbose=False, **settings)
        return lens.LanguageModelSAETrainingRunner(one, dataset, model)

    decoders: list[Any] = []
    for seed in SEEDS[:1] if shared else SEEDS:
        torch.manual_seed(seed)
        boot = stages.timed("loading", TransformerBridge.boot_transformers)
        model = boot(str(folder), device="cpu", dtype=torch.float32)
        model.run_with_cache = stages.timed("reading", model.run_with_cache)
        before = stages.seconds["reading"]
        made = runner(model)
        trained_saes = stages.timed("training", made.run)()
        stages.seconds["training"] -= stages.seconds["reading"] - before
        read += (made.activations_store.n_dataset_processed + 1) * CONTEXT
        decoders += [each.W_dec.detach() for each in (trained_saes.values() if shared else [trained_saes])]
    match = stages.timed("matching", mean_correlation_coefficient)
    return {"tokens_read": read, "pw_mcc": [match(a, b) for a, b in combinations(decoders, 2)]}


def measure(side: str, tokens: int, threads: int) -> dict[str, Any]:
    """One side, in this process."""
    stages, start, trained = Stages(), time.perf_counter(), tokens // BATCH * BATCH
    stages.imports("torch")
    sys.modules["torch"].set_num_threads(threads)
    is_ours = side == SIDES[0]
    found = concordance(trained, stages) if is_ours else sae_lens(trained, stages, side == SIDES[2])
    return {
        "side": side,
        "trained": trained,
        "threads": threads,
        "seconds": round(time.perf_counter() - start, 1),
        "processor_seconds": round(time.process_time(), 1),
        "stages": {name: round(seconds, 1) for name, seconds in stages.seconds.items()},
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shared", action="store_true", help="also measure sae-lens' MultiSAETrainingRunner")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tokens < BATCH:
        parser.error(f"--tokens must be at least one batch, {BATCH}")
    if options.side:
        print(json.dumps(measure(options.side, options.tokens, options.threads)))
        return
    from engine.language_model import prepare_bundled

    prepare_bundled()
    rows, ratios = [], {}
    for side in SIDES if options.shared else SIDES[:2]:
        rows.append(row := in_child(side, options.tokens, options.threads))
        stages = "  ".join(f"{name} {seconds}" for name, seconds in row["stages"].items())
        print(
            f"{side:16} {row['seconds']:7} s {row['processor_seconds']:7} processor s {row['peak_rss_mb']:6} MB peak   "
            f"load {row['machine_load_before']}   {row['tokens_read']} tokens read, PW-MCC {row['pw_mcc'][0]:.3f}\n    {stages}",
            flush=True,
        )
        names = ("seconds", "processor_seconds")
        ratios[side] = {name: round(row[name] / rows[0][name], 2) for name in names}
    print(f"Times over Concordance's: {ratios}")
    packages = {name: version(name) for name in ("torch", "transformers", "transformer-lens", "sae-lens")}
    machine = {"cpus": len(os.sched_getaffinity(0)), "processor": platform.machine(), "packages": packages}
    if options.json:
        options.json.write_text(
            json.dumps({"machine": machine, "rows": rows, "ratios": ratios}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
