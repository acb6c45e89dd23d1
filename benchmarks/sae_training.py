"""Training one TopK SAE: Concordance and sae-lens' TopKTrainingSAE with its SAETrainer.

The same activations array, width, k, batch size, learning rate, steps and number of threads; each side in a
process of its own, one after the other in every round, warm-up steps and imports left out of the time. Both
sides train: forward, backward, Adam and the auxiliary loss of their own defaults; neither logs nor evaluates.
sae-lens rescales latents by decoder norms and clips gradients, Concordance keeps decoder rows at norm 1.

    python benchmarks/sae_training.py --d-sae 4608 --rounds 3 --json out.json
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

D_IN, K, BATCH, N_ROWS, RATE = 576, 32, 4096, 40_960, 1e-3
SIDES = ("concordance", "sae-lens")
WARM_UP = 2


class Clock:
    """Wall and processor seconds since it was made."""

    def __init__(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return time.perf_counter() - self.wall, time.process_time() - self.processor


def vectors() -> Any:
    """Sparse sums of 4,096 random directions, mean norm about √576 (40,960 × 576 float32)."""
    import numpy as np

    from data.sae_consistency import make_world

    generator = np.random.default_rng(0)
    world = make_world(4096, D_IN, 20, generator)
    x = np.concatenate([world.sample(BATCH, generator) for _ in range(N_ROWS // BATCH)])
    return x * (D_IN**0.5 / np.linalg.norm(x, axis=1).mean())


def concordance(d_sae: int, steps: int) -> tuple[float, float]:
    import torch

    from engine.studies.sae_consistency.config import Config
    from engine.studies.sae_consistency.source import BatchOrder, MemoryRows
    from engine.studies.sae_consistency.training import SeedTrainer, decoder_bias

    rows = MemoryRows(vectors())
    config = Config(d_sae=d_sae, k=K, batch_size=BATCH, learning_rate=RATE, n_steps=steps)
    order = BatchOrder(rows.n_rows, BATCH, 0)
    with torch.no_grad():
        trainer = SeedTrainer(config, D_IN, 0, decoder_bias(rows, "geometric_median"))
        for step in range(WARM_UP + steps):
            if step == WARM_UP:
                clock = Clock()
            trainer.step(torch.from_numpy(rows.gather(order.indices(step))), RATE)
    return clock.read()


def sae_lens(d_sae: int, steps: int) -> tuple[float, float]:
    import torch
    from sae_lens import SAETrainer, TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig

    x = torch.from_numpy(vectors())
    marks: list[Clock] = []
    taken: list[tuple[float, float]] = []

    def batches() -> Iterator[torch.Tensor]:
        """Shuffled batches; asked for number n, the n batches before are trained on."""
        step = 0
        while True:
            for rows in torch.randperm(len(x)).split(BATCH):
                if step == WARM_UP:
                    marks.append(Clock())
                if step == WARM_UP + steps:
                    taken.append(marks[0].read())
                step += 1
                yield x[rows]

    total = (WARM_UP + steps + 1) * BATCH
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=D_IN, d_sae=d_sae, k=K, dtype="float32", device="cpu"))
    settings = SAETrainerConfig(
        n_checkpoints=0,
        checkpoint_path=None,
        save_final_checkpoint=False,
        total_training_samples=total,
        device="cpu",
        autocast=False,
        lr=RATE,
        lr_end=RATE,
        lr_scheduler_name="constant",
        lr_warm_up_steps=0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        lr_decay_steps=0,
        n_restart_cycles=1,
        train_batch_size_samples=BATCH,
        dead_feature_window=1000,
        feature_sampling_window=2000,
        logger=LoggingConfig(log_to_wandb=False),
    )
    SAETrainer(cfg=settings, sae=sae, data_provider=batches()).fit()
    return taken[0]


def measure(side: str, d_sae: int, steps: int, threads: int) -> dict[str, Any]:
    """One side, in this process."""
    import torch

    torch.set_num_threads(threads)
    seconds, processor = {"concordance": concordance, "sae-lens": sae_lens}[side](d_sae, steps)
    return {
        "side": side,
        "d_sae": d_sae,
        "threads": threads,
        "activations_per_second": round(steps * BATCH / seconds),
        "activations_per_processor_second": round(steps * BATCH / processor),
        "ms_per_step": round(1000 * seconds / steps, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def in_child(side: str, options: argparse.Namespace) -> dict[str, Any]:
    environment = os.environ | {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    sizes = {"--d-sae": options.d_sae, "--steps": options.steps, "--threads": options.threads}
    arguments = [str(part) for pair in sizes.items() for part in pair]
    load_before = os.getloadavg()[0]
    found = subprocess.run(
        [sys.executable, __file__, "--side", side, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if found.returncode:
        sys.exit(found.stderr)
    return {**json.loads(found.stdout.splitlines()[-1]), "machine_load_before": round(load_before, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--d-sae", type=int, default=4608)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.d_sae, options.steps, options.threads)))
        return
    rows = []
    for _ in range(options.rounds):
        for side in SIDES:
            rows.append(row := in_child(side, options))
            print(
                f"{side:12} {row['activations_per_second']:7} activations/s "
                f"{row['activations_per_processor_second']:7} per processor second "
                f"{row['ms_per_step']:8} ms/step {row['peak_rss_mb']:6} MB peak   load {row['machine_load_before']}",
                flush=True,
            )
    ratios = {
        name: round(
            statistics.median(row[name] for row in rows[::2])
            / statistics.median(row[name] for row in rows[1::2]),
            2,
        )
        for name in ("activations_per_second", "activations_per_processor_second")
    }
    print(
        "Concordance / sae-lens, medians: " + ", ".join(f"{name} {value}" for name, value in ratios.items())
    )
    packages = {name: version(name) for name in ("torch", "sae-lens")}
    machine = {"cpus": len(os.sched_getaffinity(0)), "processor": platform.machine(), "packages": packages}
    if options.json:
        result = {"machine": machine, "rows": rows, "ratios": ratios}
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
