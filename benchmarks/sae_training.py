"""Training one SAE of every architecture: Concordance, and sae-lens' training class of that name with its SAETrainer.

The same activations array, starting weights, width, batch size, learning rate, steps and number of threads; each side in
a process of its own, one after the other in every round, warm-up steps and imports left out of the time. Both sides
train: forward, backward, Adam and the auxiliary loss of their own defaults; neither logs nor evaluates. The work is that
of L0 = k: thresholds (JumpReLU) and biases (ReLU, Gated) start where k latents are active on average, on both sides.
sae-lens clips gradients, Concordance keeps decoder rows at norm 1.

    python benchmarks/sae_training.py --d-sae 4608 --architectures topk gated --rounds 3 --json out.json
    python benchmarks/sae_training.py --device cuda --d-in 2304 --d-sae 65536 --rounds 1

On a GPU both sides hold the vectors there, and memory is what torch allocated on it. `--tf32` lets both multiply in TF32.
`matmul_share` is the multiplications of the dense encoder alone, over what this machine's float32 matmul of the same
shape does in the same time: the ceiling of any trainer that encodes densely.
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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

K, BATCH, N_ROWS, RATE = 32, 4096, 40_960, 1e-4
SIDES = ("concordance", "sae-lens")
ARCHITECTURES = ("topk", "batch_topk", "matryoshka_batch_topk", "jumprelu", "gated", "relu")
WARM_UP = 2


class Clock:
    """Wall and processor seconds since it was made; what was sent to a GPU counts as done when it is."""

    def __init__(self) -> None:
        _wait()
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        _wait()
        return time.perf_counter() - self.wall, time.process_time() - self.processor


def _wait() -> None:
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def vectors(d_in: int) -> Any:
    """Sparse sums of 4,096 random directions, mean norm about √d_in (40,960 × d_in float32)."""
    import numpy as np
    from scipy import sparse

    generator = np.random.default_rng(0)
    features = generator.standard_normal((4096, d_in), dtype=np.float32)
    codes = sparse.random_array((N_ROWS, 4096), density=20 / 4096, rng=generator, dtype=np.float32)
    x = codes @ features
    return x * np.float32(d_in**0.5 / np.linalg.norm(x, axis=1).mean())


def start(architecture: str, d_sae: int, steps: int, x: "Tensor") -> Any:
    """Concordance's trainer at its starting weights, k latents active on average."""
    from engine.studies.sae_consistency.config import Config
    from engine.studies.sae_consistency.saes.jumprelu import cutoff_of_sample
    from engine.studies.sae_consistency.trainer import Trainer, make_saes

    config = Config(
        architecture=architecture, d_sae=d_sae, k=K, l1_coefficient=1.0, batch_size=BATCH, n_steps=steps
    )
    sample = x[:1024]
    ((seeds, sae),) = make_saes(config, sample, [0], [0], sample.mean(dim=0))
    trainer = Trainer(config, seeds, sae)
    if architecture in ("relu", "gated"):
        cutoff = cutoff_of_sample(trainer.sae, sample)
        trainer.sae.b_enc -= cutoff
        if architecture == "gated":
            trainer.sae.b_mag -= cutoff
    return trainer


def concordance(architecture: str, d_sae: int, steps: int, x: "Tensor") -> tuple[float, float]:
    import torch

    from engine.studies.sae_consistency.source import BatchOrder

    order = BatchOrder(len(x), BATCH, 0)
    with torch.no_grad():
        trainer = start(architecture, d_sae, steps, x)
        for step in range(WARM_UP + steps):
            if step == WARM_UP:
                clock = Clock()
            trainer.step(x[torch.from_numpy(order.indices(step)).to(x.device)], step, RATE)
    return clock.read()


def sae_lens_sae(architecture: str, d_sae: int, x: "Tensor") -> Any:
    """sae-lens' training SAE at the weights Concordance starts from."""
    import sae_lens as lens
    import torch

    with torch.no_grad():
        mine = start(architecture, d_sae, 1, x).sae
    common = {"d_in": x.shape[1], "d_sae": d_sae, "dtype": "float32", "device": str(x.device)}
    topk = {**common, "k": K}
    widths = [round(share * d_sae / 32) for share in (1, 3, 7, 15, 32)]
    made = {
        "topk": lambda: lens.TopKTrainingSAE(lens.TopKTrainingSAEConfig(**topk)),
        "batch_topk": lambda: lens.BatchTopKTrainingSAE(lens.BatchTopKTrainingSAEConfig(**topk)),
        "matryoshka_batch_topk": lambda: lens.MatryoshkaBatchTopKTrainingSAE(
            lens.MatryoshkaBatchTopKTrainingSAEConfig(**topk, matryoshka_widths=widths)
        ),
        "jumprelu": lambda: lens.JumpReLUTrainingSAE(
            lens.JumpReLUTrainingSAEConfig(
                **common, jumprelu_bandwidth=0.1, jumprelu_sparsity_loss_mode="quadratic", target_l0=K
            )
        ),
        "gated": lambda: lens.GatedTrainingSAE(lens.GatedTrainingSAEConfig(**common)),
        "relu": lambda: lens.StandardTrainingSAE(lens.StandardTrainingSAEConfig(**common)),
    }[architecture]()
    weights = {"W_enc": mine.encoder.T, "W_dec": mine.decoder, "b_dec": mine.b_dec}
    weights |= (
        {"b_gate": mine.b_enc, "b_mag": mine.b_mag} if architecture == "gated" else {"b_enc": mine.b_enc}
    )
    weights |= {"threshold": mine.threshold} if architecture == "jumprelu" else {}
    for name, value in weights.items():
        getattr(made, name).data = value.clone().contiguous()
    return made


def sae_lens(architecture: str, d_sae: int, steps: int, x: "Tensor") -> tuple[float, float]:
    import torch
    from sae_lens import SAETrainer
    from sae_lens.config import LoggingConfig, SAETrainerConfig

    marks: list[Clock] = []
    taken: list[tuple[float, float]] = []

    def batches() -> Iterator[torch.Tensor]:
        """Shuffled batches; asked for number n, the n batches before are trained on."""
        step = 0
        while True:
            for rows in torch.randperm(len(x), device=x.device).split(BATCH):
                if step == WARM_UP:
                    marks.append(Clock())
                if step == WARM_UP + steps:
                    taken.append(marks[0].read())
                step += 1
                yield x[rows]

    total = (WARM_UP + steps + 1) * BATCH
    sae = sae_lens_sae(architecture, d_sae, x)
    settings = SAETrainerConfig(
        n_checkpoints=0,
        checkpoint_path=None,
        save_final_checkpoint=False,
        total_training_samples=total,
        device=str(x.device),
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


def matmul_seconds(d_sae: int, rows: "Tensor") -> float:
    """Of one dense encode (4,096 × d_in by d_in × d_sae), the best of eight."""
    import torch

    x, weights = rows[:BATCH], torch.randn(rows.shape[1], d_sae, device=rows.device)
    out = torch.empty(BATCH, d_sae, device=rows.device)
    times = []
    for _ in range(8):
        clock = Clock()
        torch.mm(x, weights, out=out)
        times.append(clock.read()[0])
    return min(times)


def measure(side: str, architecture: str, options: argparse.Namespace) -> dict[str, Any]:
    """One side, in this process."""
    import torch

    torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = options.tf32
    d_sae, steps = options.d_sae, options.steps
    x = torch.from_numpy(vectors(options.d_in)).to(options.device)
    matmul = matmul_seconds(d_sae, x)
    sides = {"concordance": concordance, "sae-lens": sae_lens}
    seconds, processor = sides[side](architecture, d_sae, steps, x)
    cuda = options.device == "cuda"
    peak = (
        torch.cuda.max_memory_allocated()
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    )
    return {
        "side": side,
        "architecture": architecture,
        **{"d_in": options.d_in, "d_sae": d_sae, "threads": options.threads, "tf32": options.tf32},
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "activations_per_second": round(steps * BATCH / seconds),
        "activations_per_processor_second": round(steps * BATCH / processor),
        "ms_per_step": round(1000 * seconds / steps, 1),
        "matmul_share": round(matmul * steps / seconds, 2),
        "peak_mb": round(peak / 2**20),
    }


def in_child(side: str, architecture: str, options: argparse.Namespace) -> dict[str, Any]:
    environment = os.environ | {"WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    asked = {name: getattr(options, name) for name in ("d_in", "d_sae", "steps", "threads", "device")}
    arguments = [
        part for name, value in asked.items() for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    arguments += ["--tf32"] if options.tf32 else []
    load_before = os.getloadavg()[0]
    found = subprocess.run(
        [sys.executable, __file__, "--side", side, "--architectures", architecture, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if found.returncode:
        sys.exit(found.stderr)
    return {**json.loads(found.stdout.splitlines()[-1]), "machine_load_before": round(load_before, 2)}


def ratios(rows: list[dict[str, Any]], architecture: str) -> dict[str, float]:
    """Concordance over sae-lens, of the medians of the rounds."""

    def median(side: str, name: str) -> float:
        mine = [row[name] for row in rows if (row["side"], row["architecture"]) == (side, architecture)]
        return statistics.median(mine)

    names = ("activations_per_second", "activations_per_processor_second")
    return {name: round(median(SIDES[0], name) / median(SIDES[1], name), 2) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--tf32", action="store_true")
    parser.add_argument("--d-in", type=int, default=576)
    parser.add_argument("--d-sae", type=int, default=4608)
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options.side, options.architectures[0], options)))
        return
    rows = []
    for architecture in options.architectures:
        for _ in range(options.rounds):
            for side in SIDES:
                rows.append(row := in_child(side, architecture, options))
                print(
                    f"{architecture:22} {side:12} {row['activations_per_second']:7} activations/s "
                    f"{row['activations_per_processor_second']:7} per processor second {row['ms_per_step']:8} ms/step "
                    f"{row['matmul_share']:5.0%} of matmul {row['peak_mb']:6} MB peak   load {row['machine_load_before']}",
                    flush=True,
                )
        print(f"{architecture}: Concordance / sae-lens {ratios(rows, architecture)}", flush=True)
    packages = {name: version(name) for name in ("torch", "sae-lens")}
    machine = {"cpus": len(os.sched_getaffinity(0)), "processor": platform.machine(), "packages": packages}
    if options.json:
        found = {architecture: ratios(rows, architecture) for architecture in options.architectures}
        options.json.write_text(
            json.dumps({"machine": machine, "rows": rows, "ratios": found}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
