"""One of the processes that hold a dictionary together: `python -m engine.studies.sae_consistency.part RANK N DEVICE FOLDER THREADS`.

Standard input says, a JSON object a line, what is next (a method of `Hands`); when it ends, so does this. Standard output
is for one line, why this ended.
"""

import json
import os
import queue
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from engine.errors import UserError
from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.saes import Sae
from engine.studies.sae_consistency.saes.cut import CUT
from engine.studies.sae_consistency.trainer import Trainer

Named = dict[str, Tensor]


def main() -> None:
    from engine.worker import prepare_torch

    rank, n, kind, folder, threads = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    said = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    orders: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    try:
        prepare_torch()
        torch.set_num_threads(int(threads))
        join(int(rank), int(n), kind, Path(folder))
        hands = Hands(device_of(kind, int(rank)))
        with torch.no_grad():
            while (do := (message := orders.get()).pop("do")) != "end":
                getattr(hands, do)(**message)
    except Exception as error:
        traceback.print_exc()
        why = f"Part {int(rank) + 1} of the dictionary failed: {type(error).__name__}: {error}"
        with suppress(OSError):
            said.write(why[:500].replace("\n", " ").encode() + b"\n")
            said.flush()
        os._exit(1)


def _listen(orders: "queue.SimpleQueue[dict[str, Any]]") -> None:
    """Hand on what the run's process says, and end with it: this one may be waiting for it inside a collective."""
    for line in sys.stdin.buffer:
        orders.put(json.loads(line))
    os._exit(1)


def join(rank: int, n: int, device: str, folder: Path) -> None:
    """Meet the other processes, through a file and this machine's own network only."""
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    if device == "cuda":
        torch.cuda.set_device(rank)
    store = dist.FileStore(str(folder / "meeting"), n)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", store=store, rank=rank, world_size=n)


def device_of(kind: str, rank: int) -> torch.device:
    return torch.device(kind, rank) if kind == "cuda" else torch.device(kind)


def is_cut(name: str, value: Tensor) -> bool:
    """Whether a tensor (of an SAE, its optimiser or `silent`) has a row for each latent."""
    return value.ndim > 0 and "b_dec" not in name.split(".")


def make_part(config: Config, seed: int, d_in: int, device: torch.device, tensors: Named) -> Sae:
    """This process's part of an SAE, holding its share of the whole's tensors."""
    sae = CUT[config.architecture](config, d_in, [seed], torch.zeros(d_in, device=device))
    sae.load(tensors)
    return sae


class Hands:
    """What another process can be told to do; a method each."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.trainers: dict[int, Trainer] = {}

    def make(self, key: int, config: dict[str, Any], seed: int, d_in: int, tensors: dict[str, Any]) -> None:
        parsed = Config(**config)
        sae = make_part(parsed, seed, d_in, self.device, self._received(tensors))
        self.trainers[key] = Trainer(parsed, [seed], sae)

    def load(self, key: int, tensors: dict[str, Any]) -> None:
        self.trainers[key].load(self._received(tensors))

    def step(self, key: int, rows: int, number: int, rate: float) -> None:
        trainer = self.trainers[key]
        x = torch.empty(rows, len(trainer.sae.b_dec), device=self.device)
        dist.broadcast(x, 0)
        with suppress(UserError):  # the run's own process finds the same and says it
            trainer.step(x, number, rate)

    def send(self, key: int, names: list[str]) -> None:
        mine = self.trainers[key].named()
        for name in names:
            if is_cut(name, mine[name]):
                dist.send(mine[name], 0)

    def drop(self, key: int) -> None:
        del self.trainers[key]

    def _received(self, tensors: dict[str, Any]) -> Named:
        found = {}
        for name, (shape, dtype) in tensors.items():
            kind = getattr(torch, dtype.removeprefix("torch."))
            found[name] = torch.empty(shape, dtype=kind, device=self.device)
            dist.recv(found[name], 0)
        return found


if __name__ == "__main__":
    main()
