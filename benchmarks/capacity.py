"""A row of docs/capacity.md: training one SAE on this machine's device, vectors a second and the most memory it takes.

Concordance's own trainer on normal vectors, BatchTopK by default; reading activations from disk is left out. On a GPU the
memory is what torch allocated there, on a processor the process's largest resident size, libraries included.

    python benchmarks/capacity.py --d-in 4096 --d-sae 65536 131072 --batch 8192
"""

import argparse
import json
import multiprocessing
import resource
import time
from typing import Any


def measure(d_in: int, d_sae: int, batch: int, architecture: str, steps: int) -> dict[str, Any]:
    """Seconds and bytes of `steps` steps after two that warm up; `model_bytes` is what a checkpoint holds."""
    import torch

    from engine.studies.sae_consistency.config import Config
    from engine.studies.sae_consistency.trainer import Trainer, make_saes

    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(0)
    config = Config(architecture=architecture, d_sae=d_sae, k=min(32, d_sae), batch_size=batch)
    x = torch.randn(batch, d_in, device=device, generator=generator)
    with torch.no_grad():
        ((seeds, sae),) = make_saes(config, x, [0], [0], torch.zeros(d_in, device=device))
        trainer = Trainer(config, seeds, sae)
        for step in range(2):
            trainer.step(x, step, 1e-4)
        _wait(device)
        start = time.perf_counter()
        for step in range(2, 2 + steps):
            trainer.step(x, step, 1e-4)
        _wait(device)
        seconds = time.perf_counter() - start
    used = torch.cuda.max_memory_allocated() if device == "cuda" else _resident()
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads",
        **{"d_in": d_in, "d_sae": d_sae, "batch": batch, "architecture": architecture},
        "vectors_per_second": round(steps * batch / seconds),
        "memory_bytes": used,
        "model_bytes": sum(value.nbytes for value in trainer.tensors().values()),
    }


def _wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--d-in", type=int, default=576)
    parser.add_argument("--d-sae", type=int, nargs="+", default=[4608])
    parser.add_argument("--batch", type=int, nargs="+", default=[4096])
    parser.add_argument("--architecture", default="batch_topk")
    parser.add_argument("--steps", type=int, default=20)
    asked = parser.parse_args()
    fresh = multiprocessing.get_context("spawn")
    for d_sae in asked.d_sae:
        for batch in asked.batch:
            with fresh.Pool(1) as pool:
                row = pool.apply(measure, (asked.d_in, d_sae, batch, asked.architecture, asked.steps))
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
