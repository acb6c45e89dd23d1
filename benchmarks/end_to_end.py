"""From corpus to heat map: three seeds in one Concordance run, and three sae-lens training runs matched afterwards.

Equal: the bundled SmolLM2, its hook point, the training documents of the English mix in windows of 128 tokens without
position 0, forward passes of eight windows, the activations trained on, each once (--tokens rounded down to whole
batches), TopK of 4,608 latents, k 32, batches of 4,096, Adam at 1e-3 with the same warm-up and decay, float32, threads.
Each side runs in a process of its own, and everything in it counts, from its imports to the PW-MCC of all three pairs.

Different: Concordance collects once for all seeds, masks massive activations (so it reads 2 % more), writes shuffled
hashed shards, evaluates on held-out text, matches the living latents once more, and leaves checkpoints, tables and
SAEs, with torch deterministic. sae-lens gets its tokens ready-made, loads the model and streams activations through a
buffer in memory for every seed, does not scale them, and leaves the decoders only, nothing evaluated, logged or
written. `--shared` also measures sae-lens' MultiSAETrainingRunner, which trains the three on one stream. Neither side
draws; the engine's server and worker are left out.

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
from collections.abc import Callable, Iterator
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
    """Seconds spent under each name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, name: str, function: Callable[..., Any], *given: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*given)
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given: self.run(name, function, *given)


def concordance(trained: int, threads: int, stages: Stages) -> dict[str, Any]:
    def imports() -> None:
        import torch
        import transformer_lens.model_bridge
        import transformers  # noqa: F401

        import engine.studies.sae_consistency.training  # noqa: F401

        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=True)  # as engine.worker does

    stages.run("importing", imports)
    import pyarrow.parquet as pq

    from data.files import read_json, write_json
    from engine import collecting
    from engine.language_model import load
    from engine.run import Run
    from engine.studies.sae_consistency import pairing
    from engine.studies.sae_consistency.config import Config
    from engine.studies.sae_consistency.training import train

    config = Config(
        hook_point=HOOK_POINT,
        n_tokens=round(trained * CONTEXT / (CONTEXT - 1) * (1 + MASKED)),
        context_size=CONTEXT,
        d_sae=D_SAE,
        k=K,
        batch_size=BATCH,
        n_steps=trained // BATCH,
        learning_rate=RATE,
        warmup_fraction=WARM_UP,
        decay_fraction=DECAY,
        n_match_points=0,
        functional_tokens=0,
        explained_pairs=0,
    )
    collecting.load = stages.timed("loading", load)
    pairing.match = stages.timed("matching", pairing.match)
    with tempfile.TemporaryDirectory() as home:
        os.environ["CONCORDANCE_HOME"] = home
        folder = Path(home) / "run"
        folder.mkdir()
        record = {"id": "b", "study": "sae_consistency", "seeds": SEEDS, "data_seed": 0}
        write_json(folder / "config.json", record)
        began = time.time()
        train([Run(folder, config)], Run.finish)
        ended = time.time()
        (collected,) = map(read_json, Path(home).glob("activations/*/manifest.json"))
        rows = sum(shard["rows"] for shard in collected["shards"] if shard["split"] == "train")
        if rows < trained:
            sys.exit(f"only {rows} activations were kept for {trained}; raise MASKED.")
        marks: dict[str, float] = {}
        for event in map(json.loads, (folder / "events.jsonl").read_text().splitlines()):
            marks.setdefault(event.get("stage", event["kind"]), event["t"])
        pairs = pq.read_table(folder / "tables" / "pairs.parquet").to_pylist()
    found = stages.seconds
    found["reading"] = marks["data"] - began - found["loading"]
    found["training"] = marks["evaluating"] - marks["data"]
    found["evaluating"] = marks["matching"] - marks["evaluating"]
    found["writing"] = ended - marks["matching"] - found["matching"]
    values = [pair["pw_mcc_abs"] for pair in pairs if pair["subset"] == "all"]
    return {"read": collected["counts"]["read"], "pw_mcc": values}


def windows(folder: Path, n: int) -> list[list[int]]:
    """The first `n` windows of tokens Concordance trains on: it holds out every 20th document."""
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


def sae_lens(trained: int, threads: int, stages: Stages, shared: bool = False) -> dict[str, Any]:
    def imports() -> None:
        import datasets
        import sae_lens
        import sae_lens.synthetic
        import torch
        import transformer_lens.model_bridge
        import transformers  # noqa: F401

        torch.set_num_threads(threads)

    stages.run("importing", imports)
    import sae_lens as lens
    import torch
    from datasets import Dataset
    from sae_lens.config import LoggingConfig
    from sae_lens.synthetic import mean_correlation_coefficient
    from transformer_lens.model_bridge import TransformerBridge

    from engine.language_model import prepare_bundled

    folder = prepare_bundled()
    n = -(-trained // (CONTEXT - 1)) + BUFFER + PROMPTS
    tokens = stages.run("reading", lambda: Dataset.from_dict({"tokens": windows(folder, n - n % -PROMPTS)}))
    warnings.filterwarnings("error", message="All samples in the training dataset")
    steps = trained // BATCH
    settings: dict[str, Any] = {
        "context_size": CONTEXT,
        "n_batches_in_buffer": BUFFER,
        "training_tokens": trained,
        "store_batch_size_prompts": PROMPTS,
        "seqpos_slice": (1, None),
        "streaming": False,
        "prepend_bos": False,
        "train_batch_size_tokens": BATCH,
        "lr": RATE,
        "lr_warm_up_steps": int(WARM_UP * steps),
        "lr_decay_steps": int(DECAY * steps),
        "device": "cpu",
        "dtype": "float32",
        "checkpoint_path": None,
        "output_path": None,
        "logger": LoggingConfig(log_to_wandb=False),
    }
    sae = lens.TopKTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, k=K, dtype="float32", device="cpu")

    def load() -> Any:
        return TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)

    def one(seed: int) -> tuple[Any, Any]:
        torch.manual_seed(seed)
        model: Any = stages.run("loading", load)
        if shared:
            saes = {str(seed): sae for seed in SEEDS}
            several = lens.MultiSAETrainingRunnerConfig(saes=saes, hook_names=HOOK_POINT, **settings)
            return lens.MultiSAETrainingRunner(several, tokens, model), "get_multi_hook_data_loader"
        single: Any = lens.LanguageModelSAERunnerConfig(
            sae=sae, hook_name=HOOK_POINT, verbose=False, **settings
        )
        return lens.LanguageModelSAETrainingRunner(single, tokens, model), "get_data_loader"

    def train(seed: int) -> list[Any]:
        nonlocal read
        runner, loader = one(seed)
        store = runner.activations_store
        batches = getattr(store, loader)

        def timed() -> Iterator[Any]:
            source = batches()
            while True:
                yield stages.run("activations", next, source)

        setattr(store, loader, timed)
        trained_saes = runner.run()
        read += (store.n_dataset_processed + 1) * CONTEXT
        found = list(trained_saes.values()) if shared else [trained_saes]
        return [each.W_dec.detach() for each in found]

    read = 0
    decoders: list[Any] = []
    for seed in SEEDS[:1] if shared else SEEDS:
        decoders += stages.run("training", train, seed)
    found = stages.seconds
    found["training"] -= found["loading"] + found["activations"]
    found["reading"] += found.pop("activations")
    pairs = combinations(decoders, 2)
    match = stages.timed("matching", mean_correlation_coefficient)
    return {"read": read, "pw_mcc": [match(a, b) for a, b in pairs]}


def measure(side: str, tokens: int, threads: int) -> dict[str, Any]:
    """One side, in this process."""
    trained = tokens // BATCH * BATCH
    stages = Stages()
    start = time.perf_counter()
    if side == "concordance":
        found = concordance(trained, threads, stages)
    else:
        found = sae_lens(trained, threads, stages, shared=side == "sae-lens-shared")
    return {
        "side": side,
        "trained": trained,
        "threads": threads,
        "tokens_read": found["read"],
        "seconds": round(time.perf_counter() - start, 2),
        "processor_seconds": round(time.process_time(), 2),
        "stages": {name: round(seconds, 2) for name, seconds in stages.seconds.items()},
        "pw_mcc": [round(value, 4) for value in found["pw_mcc"]],
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
