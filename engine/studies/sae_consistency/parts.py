"""One dictionary over several processes: the run's own, which reads batches and writes everything, and one per further GPU.

The run's process says through a pipe what is next, and tensors go through torch's distributed package: NCCL between GPUs,
gloo between processors. A checkpoint holds whole tensors under the names they have without parts, so a run resumes on
one GPU, and what an SAE is found to be does not depend on where it was trained, but for the order of sums.
"""

import json
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from engine.errors import UserError
from engine.run import Run
from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.saes import Sae
from engine.studies.sae_consistency.saes.cut import CUT
from engine.studies.sae_consistency.trainer import Trainer

PATIENCE = 5.0  # seconds in which the end of another process is noticed
Named = dict[str, Tensor]


@contextmanager
def parts_of(runs: Sequence[Run]) -> "Iterator[Parts | None]":
    """The processes that the runs of a launch are cut over, ended afterwards; None where one holds all. Raises UserError."""
    n, device = runs[0].config.n_gpus, runs[0].device
    if n == 1:
        yield None
        return
    if device == "cuda" and torch.cuda.device_count() < n:
        raise UserError("n_gpus", f"{n} are set and this worker has {torch.cuda.device_count()}; lower it.")

    def lost(why: str) -> None:
        for run in runs:
            run.end("failed", why)

    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(n, device, Path(folder), lost)
        try:
            yield parts
        finally:
            parts.close()


class Parts:
    """The run's hold on the other processes; `lost` is called with a sentence when one of them fails."""

    def __init__(self, n: int, device: str, folder: Path, lost: Callable[[str], None]) -> None:
        self.n, self.device, self.n_made, self._lost, self._closing = n, device, 0, lost, False
        context, threads = get_context("spawn"), max(1, torch.get_num_threads() // n)
        torch.set_num_threads(threads)
        self._others = []
        for rank in range(1, n):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve, args=(theirs, rank, n, device, folder, threads), daemon=True
            )
            process.start()
            theirs.close()
            self._others.append((process, ours))
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        with self.all_there():
            _join(0, n, device, folder)

    def tell(self, rank: int, **message: Any) -> None:
        self._others[rank - 1][1].send_bytes(json.dumps(message).encode())

    def tell_all(self, **message: Any) -> None:
        for rank in range(1, self.n):
            self.tell(rank, **message)

    @contextmanager
    def all_there(self) -> Iterator[None]:
        """Around what is done together: where it fails because another process is gone, the watcher says so first."""
        try:
            yield
        except (RuntimeError, OSError):
            self._watcher.join(PATIENCE)
            raise

    def _watch(self) -> None:
        """End the run when another process does: this one may be waiting for it inside a collective."""
        pipes = [pipe for _, pipe in self._others]
        pipe = wait(pipes)[0]
        if self._closing:
            return
        assert isinstance(pipe, Connection)
        process = self._others[pipes.index(pipe)][0]
        try:
            self._lost(json.loads(pipe.recv_bytes())["error"])
        except EOFError:
            process.join()
            if process.exitcode == -signal.SIGKILL:
                os.kill(os.getpid(), signal.SIGKILL)
            self._lost(f"{process.name} of the dictionary ended ({process.exitcode}).")
        os._exit(1)

    def close(self) -> None:
        self._closing = True
        with suppress(OSError):
            self.tell_all(do="end")
        for process, _ in self._others:
            process.join(PATIENCE)
            process.kill()
        dist.destroy_process_group()


class CutTrainer(Trainer):
    """A trainer of one seed whose SAE `whole`, on the processor, is cut over `parts`; this process trains the first."""

    def __init__(self, config: Config, seeds: Sequence[int], whole: Sae, parts: Parts) -> None:
        self.parts, self.whole, self.key = parts, whole, parts.n_made
        parts.n_made += 1
        d_in = len(whole.b_dec)
        made = {"config": config.model_dump(mode="json"), "seed": seeds[0], "d_in": d_in}
        mine = self._share_out(whole.tensors, do="make", **made)
        super().__init__(config, seeds, _part(config, seeds[0], d_in, _device(parts.device, 0), mine))
        self._whole_dead: Tensor | None = None
        self._is_current = True

    def step(self, x: Tensor, number: int, learning_rate: float) -> dict[int, dict[str, float]]:
        self._is_current = False
        self.parts.tell_all(do="step", key=self.key, rows=len(x), number=number, rate=learning_rate)
        with self.parts.all_there():
            dist.broadcast(x, 0)
            return super().step(x, number, learning_rate)

    def saes(self) -> dict[int, Sae]:
        """The whole SAE as it is now."""
        if not self._is_current:
            self.whole.load(self._gather(list(self.sae.tensors)))
            self._is_current = True
        return {self.seeds[0]: self.whole}

    def dead_of(self, seed: int) -> Tensor:
        if self._whole_dead is None:
            return self._gather(["silent"])["silent"] >= self.config.dead_after
        return self._whole_dead

    def finish(self) -> None:
        """Free what training needed and bring the whole SAE to the run's device."""
        self._whole_dead = self.dead_of(self.seeds[0])
        self.whole = self.saes()[self.seeds[0]].to(self.parts.device)
        self.parts.tell_all(do="drop", key=self.key)
        del self.sae, self.optimiser, self.silent

    def tensors(self) -> Named:
        found = self._gather(list(self.named()))
        return {f"seed-{self.seeds[0]}.{name}": value for name, value in found.items()}

    def load(self, tensors: Named) -> None:
        self._is_current = False
        prefix = f"seed-{self.seeds[0]}."
        mine = {name: value for name, value in tensors.items() if name.startswith(prefix)}
        super().load(self._share_out(mine, do="load"))

    def _share_out(self, tensors: Named, **message: Any) -> Named:
        """Send every process its part of whole tensors; this one's own."""
        here = _device(self.parts.device, 0)
        shares = [
            {name: _rows(name, value, rank, self.parts.n).contiguous() for name, value in tensors.items()}
            for rank in range(self.parts.n)
        ]
        with self.parts.all_there():
            for rank in range(1, self.parts.n):
                shapes = {
                    name: (tuple(value.shape), str(value.dtype)) for name, value in shares[rank].items()
                }
                self.parts.tell(rank, key=self.key, tensors=shapes, **message)
                for value in shares[rank].values():
                    dist.send(value.to(here), rank)
        return {name: value.to(here) for name, value in shares[0].items()}

    def _gather(self, names: Sequence[str]) -> Named:
        """Whole tensors, on the processor, from the parts of every process."""
        mine = self.named()
        self.parts.tell_all(do="send", key=self.key, names=names)
        found = {}
        with self.parts.all_there():
            for name in names:
                value = mine[name]
                if not _is_cut(name, value):
                    found[name] = value.cpu().clone()
                    continue
                d_sae = self.config.d_sae
                whole = torch.empty((d_sae, *value.shape[1:]), dtype=value.dtype)
                whole[:: self.parts.n] = value.cpu()
                for rank in range(1, self.parts.n):
                    rows = len(range(rank, d_sae, self.parts.n))
                    part = torch.empty((rows, *value.shape[1:]), dtype=value.dtype, device=value.device)
                    dist.recv(part, rank)
                    whole[rank :: self.parts.n] = part.cpu()
                found[name] = whole
        return found


def _is_cut(name: str, value: Tensor) -> bool:
    """Whether a tensor (of an SAE, its optimiser or `silent`) has a row for each latent."""
    return value.ndim > 0 and "b_dec" not in name.split(".")


def _rows(name: str, value: Tensor, rank: int, n: int) -> Tensor:
    return value[rank::n] if _is_cut(name, value) else value


def _device(kind: str, rank: int) -> torch.device:
    return torch.device(kind, rank) if kind == "cuda" else torch.device(kind)


def _part(config: Config, seed: int, d_in: int, device: torch.device, tensors: Named) -> Sae:
    sae = CUT[config.architecture](config, d_in, [seed], torch.zeros(d_in, device=device))
    sae.load(tensors)
    return sae


def _join(rank: int, n: int, device: str, folder: Path) -> None:
    """Meet the other processes, through a file and this machine's own network only."""
    for library in ("GLOO", "NCCL"):
        os.environ.setdefault(f"{library}_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    if device == "cuda":
        torch.cuda.set_device(rank)
    store = dist.FileStore(str(folder / "meeting"), n)
    dist.init_process_group("nccl" if device == "cuda" else "gloo", store=store, rank=rank, world_size=n)


def _serve(pipe: Connection, rank: int, n: int, kind: str, folder: Path, threads: int) -> None:
    """What another process does: hold its parts and do as it is told."""
    from engine.worker import prepare_torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        prepare_torch()
        torch.set_num_threads(threads)
        _join(rank, n, kind, folder)
        hands = Hands(_device(kind, rank))
        with torch.no_grad():
            while True:
                message = json.loads(pipe.recv_bytes())
                getattr(hands, message.pop("do"))(**message)
    except EOFError:
        return
    except Exception as error:
        traceback.print_exc()
        with suppress(OSError):
            said = f"Part {rank + 1} of the dictionary failed: {type(error).__name__}: {error}"[:500]
            pipe.send_bytes(json.dumps({"error": said}).encode())
        os._exit(1)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class Hands:
    """What another process can be told to do; a method each."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.trainers: dict[int, Trainer] = {}

    def make(self, key: int, config: dict[str, Any], seed: int, d_in: int, tensors: dict[str, Any]) -> None:
        parsed = Config(**config)
        sae = _part(parsed, seed, d_in, self.device, self._received(tensors))
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
            if _is_cut(name, mine[name]):
                dist.send(mine[name], 0)

    def drop(self, key: int) -> None:
        del self.trainers[key]

    def end(self) -> None:
        raise EOFError

    def _received(self, tensors: dict[str, Any]) -> Named:
        found = {}
        for name, (shape, dtype) in tensors.items():
            kind = getattr(torch, dtype.removeprefix("torch."))
            found[name] = torch.empty(shape, dtype=kind, device=self.device)
            dist.recv(found[name], 0)
        return found
