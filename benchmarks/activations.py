"""Collecting activations: Concordance, sae-lens' ActivationsStore, and a bare truncated transformers model.

The same texts, model, hook point, context size and number of tokens; each side in a process of its own, one
after the other, model loading left out of the time. Concordance also masks, shuffles over the whole data set
and writes hashed shards to disk; sae-lens mixes within a buffer in memory and keeps nothing; the bare model
only computes, which makes it the ceiling.

    python benchmarks/activations.py --tokens 20000 --hook-point blocks.5.hook_out --json out.json

`--device cuda` reads on a GPU, in bfloat16 on every side.
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
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

CONTEXT = 128
PROMPTS = 8
SIDES = ("concordance", "sae-lens", "transformers")
Measured = tuple[int, float, float]


class Clock:
    """Wall and processor seconds since it was made."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self.wall, time.process_time() - self.processor


def texts(n_tokens: int) -> list[str]:
    """Enough documents of the English mix for `n_tokens` and a held-out share (over 50 tokens each)."""
    from data import corpora

    return [row.text for row in islice(corpora.documents(corpora.ENGLISH_MIX), n_tokens // 25 + 2_000)]


def concordance(hook_point: str, n_tokens: int, device: str) -> Measured:
    from data.files import write_json
    from engine import collecting
    from engine.activations import open_activations
    from engine.language_model import BUNDLED, load
    from engine.run import Run
    from engine.studies.sae_consistency.config import Config

    model = load(BUNDLED, device)
    collecting.load = lambda name, device: model
    with tempfile.TemporaryDirectory() as home:
        os.environ["CONCORDANCE_HOME"] = home
        write_json(Path(home) / "config.json", {"id": "b", "study": "b", "seeds": [0], "data_seed": 0})
        config = Config(hook_point=hook_point, n_tokens=n_tokens, context_size=CONTEXT)
        clock = Clock()
        found = open_activations(Run(Path(home), config, device))
        return found.manifest["counts"]["read"], *clock.read()


def sae_lens(hook_point: str, n_tokens: int, device: str) -> Measured:
    import torch
    from datasets import Dataset
    from sae_lens import ActivationsStore
    from sae_lens.analysis.sae_transformer_bridge import SAETransformerBridge

    from engine.language_model import prepare_bundled

    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = SAETransformerBridge.boot_transformers(str(prepare_bundled()), device=device, dtype=dtype)
    dataset = Dataset.from_dict({"text": texts(n_tokens)})
    clock = Clock()
    store = ActivationsStore(
        model=model,
        dataset=dataset,
        streaming=False,
        hook_name=hook_point,
        hook_head_index=None,
        context_size=CONTEXT,
        d_in=model.cfg.d_model,
        n_batches_in_buffer=64,
        total_training_tokens=n_tokens,
        store_batch_size_prompts=PROMPTS,
        train_batch_size_tokens=1024,
        prepend_bos=False,
        normalize_activations="none",
        device=torch.device(device),
        dtype="float32",
        sequence_separator_token=0,
    )
    read = 0
    original = store.get_activations

    def counted(tokens: torch.Tensor) -> torch.Tensor:
        nonlocal read
        read += tokens.numel()
        return original(tokens)

    store.get_activations = counted
    while read < n_tokens:
        store.next_batch()
    return read, *clock.read()


def transformers(hook_point: str, n_tokens: int, device: str) -> Measured:
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    from engine.language_model import prepare_bundled

    folder = prepare_bundled()
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model: Any = LlamaForCausalLM.from_pretrained(folder, dtype=dtype).eval().to(device).model
    model.layers, model.norm = model.layers[: int(hook_point.split(".")[1]) + 1], torch.nn.Identity()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    documents = texts(n_tokens)
    clock = Clock()
    ids = [token for row in tokenizer(documents)["input_ids"] for token in [*row, 0]]
    step = CONTEXT * PROMPTS
    read = 0
    with torch.inference_mode():
        while read < n_tokens:
            model(torch.tensor(ids[read : read + step], device=device).reshape(-1, CONTEXT), use_cache=False)
            read += step
    if device == "cuda":
        torch.cuda.synchronize()
    return read, *clock.read()


def measure(side: str, hook_point: str, n_tokens: int, threads: int, device: str) -> dict[str, Any]:
    """One side, in this process."""
    import torch

    torch.set_num_threads(threads)
    read, seconds, processor = {
        "concordance": concordance,
        "sae-lens": sae_lens,
        "transformers": transformers,
    }[side](hook_point, n_tokens, device)
    return {
        "side": side,
        "hook_point": hook_point,
        "threads": threads,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "tokens": read,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(read / seconds, 1),
        "tokens_per_processor_second": round(read / processor, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def in_child(side: str, hook_point: str, n_tokens: int, threads: int, device: str) -> dict[str, Any]:
    environment = os.environ | {
        "WANDB_MODE": "disabled",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(threads),
    }
    command = [
        sys.executable,
        __file__,
        "--side",
        side,
        "--hook-point",
        hook_point,
        "--tokens",
        str(n_tokens),
    ]
    command += ["--threads", str(threads), "--device", device]
    load_before = os.getloadavg()[0]
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if found.returncode:
        sys.exit(found.stderr)
    return {**json.loads(found.stdout.splitlines()[-1]), "machine_load_before": round(load_before, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--hook-point", action="append", help="may be given several times")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    hook_points = options.hook_point or ["blocks.5.hook_out", "blocks.11.hook_out"]
    if options.side:
        sizes = options.tokens, options.threads, options.device
        print(json.dumps(measure(options.side, hook_points[0], *sizes)))
        return
    sizes = options.tokens, options.threads, options.device
    rows = [in_child(side, hook, *sizes) for hook in hook_points for side in SIDES]
    for row in rows:
        print(
            f"{row['hook_point']:20} {row['side']:14} {row['tokens_per_second']:8.0f} tokens/s "
            f"{row['tokens_per_processor_second']:8.0f} per processor second "
            f"{row['peak_rss_mb']:6} MB peak   load {row['machine_load_before']}"
        )
    packages = {name: version(name) for name in ("torch", "transformers", "transformer-lens", "sae-lens")}
    machine = {"cpus": len(os.sched_getaffinity(0)), "processor": platform.machine(), "packages": packages}
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
