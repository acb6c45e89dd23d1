"""Functional weight: what the language model loses when an SAE's stable or unstable features are ablated.

After Gerasimov et al., arXiv 2606.12138 (stable features carry most of the reconstruction and prediction signal).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.activations import Activations
from engine.language_model import LanguageModel
from engine.run import Stopped
from engine.studies.sae_consistency.saes import Sae

Mask = NDArray[np.bool_]
TOKENS = 2048
FORWARD_TOKENS = 512
STABLE_SHARE = 0.5
LEVEL = 1_000_001
SAME = 1e-4


@dataclass(frozen=True)
class Windows:
    """Token ids (W × T) and which positions the SAE was trained on (W × T): not position 0, not massive."""

    tokens: Tensor
    kept: Tensor


def held_out_windows(activations: Activations, n_tokens: int = TOKENS) -> Windows:
    """The first held-out windows in reading order: as many whole ones as `n_tokens` holds, one at least."""
    size = activations.manifest["context_size"]
    table = pq.read_table(activations.folder / "tokens-heldout.parquet", columns=["token_id", "kept"])
    table = table.slice(0, max(n_tokens // size, 1) * size)
    tokens = torch.from_numpy(table["token_id"].to_numpy().astype(np.int64))
    kept = torch.from_numpy(table["kept"].to_numpy(zero_copy_only=False).astype(np.bool_))
    return Windows(tokens.reshape(-1, size), kept.reshape(-1, size))


def ablation_groups(
    stability: NDArray[np.float64], frequency: NDArray[np.float64], generator: np.random.Generator
) -> dict[str, Mask]:
    """Which features (d_sae) to ablate together; features that never fire are in no group.

    "stable": at least half of the other seeds hold a partner (`stability`, a share of them, ≥ 0.5).
    "unstable": none does. "random" and "frequency-matched" are controls of the smaller of these two that is not
    empty: as many features, drawn uniformly from all that fire; and for each of its features the one outside it
    with the nearest log frequency that is still free, most frequent first.
    """
    fires = frequency > 0
    stable, unstable = fires & (stability >= STABLE_SHARE), fires & (stability == 0)
    sized = [group for group in (stable, unstable) if group.any()] or [stable]
    smaller = min(sized, key=lambda group: int(group.sum()))
    random = np.zeros_like(fires)
    random[generator.choice(np.flatnonzero(fires), int(smaller.sum()), replace=False)] = True
    matched = _matched(np.flatnonzero(smaller), np.flatnonzero(fires & ~smaller), frequency)
    return {"stable": stable, "unstable": unstable, "random": random, "frequency-matched": matched}


def _matched(
    wanted: NDArray[np.int64], free: NDArray[np.int64], frequency: NDArray[np.float64]
) -> NDArray[np.bool_]:
    chosen = np.zeros(len(frequency), dtype=bool)
    left = sorted((float(np.log(frequency[i])), int(i)) for i in free)
    for target in sorted(np.log(frequency[wanted]).tolist(), reverse=True)[: len(free)]:
        place = bisect_left(left, (target, -1))
        if place == len(left) or (place > 0 and target - left[place - 1][0] <= left[place][0] - target):
            place -= 1
        chosen[left.pop(place)[1]] = True
    return chosen


class SplicedModel:
    """A language model with other vectors in place of a hook point's.

    TransformerBridge cannot start at a layer, so the blocks below the hook's hand their input through instead of
    computing, and the hook's block is given the input it had in the original pass. Whether a model stands this is
    tried once: when its logits change, every pass runs from the first layer.
    """

    def __init__(self, model: LanguageModel, hook_point: str) -> None:
        self.bridge, self.device = model.bridge, model.device
        layer = int(hook_point.split(".")[1])
        self.point = model.bridge.hook_dict[hook_point]
        self.entry = model.bridge.hook_dict.get(f"blocks.{layer}.hook_in")
        self.below = list(model.bridge.blocks)[:layer]
        self.skips: bool | None = None if self.below and self.entry is not None else False
        self._entered = self._tokens = torch.empty(0)

    def original(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B × T × vocabulary) and the hook point's vectors (B × T × d) of token ids (B × T)."""
        seen: dict[str, Tensor] = {}
        self._tokens = tokens.to(self.device)
        with self._hooked(self.point, lambda value: seen.update(x=value.clone())):
            if self.entry is None:
                logits = self._forward()
            else:
                with self._hooked(self.entry, lambda value: seen.update(entered=value.clone())):
                    logits = self._forward()
                self._entered = seen["entered"]
        if self.skips is None:
            self.skips = self._can_skip(seen["x"], logits)
        return logits, seen["x"]

    def _can_skip(self, vectors: Tensor, logits: Tensor) -> bool:
        outputs: list[Any] = []
        handle = self.below[-1].register_forward_hook(lambda block, inputs, output: outputs.append(output))
        self.skips = False
        try:
            self.replaced(vectors)
        finally:
            handle.remove()
        if not isinstance(outputs[0], Tensor):
            return False
        self.skips = True
        return bool((self.replaced(vectors) - logits).float().norm() < SAME * logits.float().norm())

    def replaced(self, vectors: Tensor) -> Tensor:
        """Logits of the last original pass' tokens with `vectors` (B × T × d) at the hook point."""
        if not self.skips:
            with self._hooked(self.point, lambda value: vectors.to(value.dtype)):
                return self._forward()
        with (
            self._skipping(),
            self._hooked(self.entry, lambda value: self._entered),
            self._hooked(self.point, lambda value: vectors.to(value.dtype)),
        ):
            return self._forward()

    def _forward(self) -> Tensor:
        with torch.inference_mode():
            return self.bridge(self._tokens, return_type="logits")

    @contextmanager
    def _hooked(self, point: Any, change: Callable[[Tensor], Tensor | None]) -> Iterator[None]:
        point.add_hook(lambda value, hook: change(value), level=LEVEL)
        try:
            yield
        finally:
            point.remove_hooks(level=LEVEL)

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """The blocks' own attribute is set past their __setattr__, which would pass it on to the block inside."""
        for block in self.below:
            vars(block)["forward"] = _hand_through
        try:
            yield
        finally:
            for block in self.below:
                del vars(block)["forward"]


def _hand_through(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return hidden_states


@dataclass(frozen=True)
class Functional:
    """`ablations`: rows of that table; `saes`: per seed its cross_entropy, cross_entropy_sae and kl_sae."""

    ablations: list[dict[str, Any]]
    saes: dict[int, dict[str, float]]


@dataclass
class _Sums:
    """Over tokens: next-token cross-entropy, KL from the original, squared error, active latents of the group."""

    cross_entropy: float = 0.0
    kl: float = 0.0
    error: float = 0.0
    active: float = 0.0


@dataclass
class _Totals:
    """Over tokens of the model without an SAE, and the moments of the vectors."""

    predicted: int = 0
    cross_entropy: float = 0.0
    vectors: int = 0
    square: float = 0.0
    mean: Tensor | float = 0.0

    @property
    def variance(self) -> float:
        return self.square - float(torch.as_tensor(self.mean).square().sum()) / max(self.vectors, 1)


def ablations(
    model: LanguageModel,
    hook_point: str,
    windows: Windows,
    saes: Mapping[int, Sae],
    scale: float,
    groups: Mapping[int, Mapping[str, Mask]],
    should_stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Functional:
    """Cross-entropy, KL and FVU with each seed's SAE in the model, and with each group of its features set to 0.

    Kept positions get the reconstruction of `scale` · activation, divided by `scale`; the others keep their
    activation. Cross-entropy and KL(original ‖ spliced) are in nats, means over all positions that predict a
    token of their window but position 0, which nothing replaced precedes. FVU is over the kept positions, and
    `frequency_sum`, the group's mean number of active features, too. `fvu_change` and `cross_entropy_change` are
    against the whole SAE, `kl` against the original model. An empty group's figures are None.
    `progress` is told forward passes. Raises Stopped once `should_stop` says so.
    """
    spliced = SplicedModel(model, hook_point)
    sums = {(seed, name): _Sums() for seed in saes for name in ("", *groups[seed])}
    totals = _Totals()
    step = max(FORWARD_TOKENS // windows.tokens.shape[1], 1)
    starts = range(0, len(windows.tokens), step)
    done, total = 0, len(starts) * (1 + len(sums))
    for start in starts:
        tokens = windows.tokens[start : start + step].to(model.device)
        kept = windows.kept[start : start + step].to(model.device)
        _proceed(should_stop)
        logits, activation = spliced.original(tokens)
        reference = _predictions(logits)
        x = activation[kept].float() * scale
        _count(totals, x, reference, tokens)
        progress(done := done + 1, total)
        for seed, sae in saes.items():
            z = sae.encode(x)
            for name, mask in (("", None), *groups[seed].items()):
                _proceed(should_stop)
                if mask is None or mask.any():
                    code = z if mask is None else z.masked_fill(torch.from_numpy(mask).to(z.device), 0)
                    found = sae.decode(code)
                    vectors = activation.clone()
                    vectors[kept] = (found / scale).to(vectors.dtype)
                    own = sums[seed, name]
                    _compare(own, _predictions(spliced.replaced(vectors)), reference, tokens)
                    own.error += float((found - x).square().sum(dtype=torch.float64))
                    own.active += float(((z > 0) & (code == 0)).sum())
                progress(done := done + 1, total)
    return _summary(totals, sums, groups)


def _proceed(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Stopped


def _predictions(logits: Tensor) -> Tensor:
    """Log probabilities of the next token (B × T − 2 × vocabulary) at every position but the first and the last."""
    return logits[:, 1:-1].float().log_softmax(dim=-1)


def _cross_entropy(predictions: Tensor, tokens: Tensor) -> float:
    return -float(predictions.gather(2, tokens[:, 2:, None]).sum(dtype=torch.float64))


def _count(totals: _Totals, x: Tensor, reference: Tensor, tokens: Tensor) -> None:
    totals.predicted += tokens[:, 2:].numel()
    totals.cross_entropy += _cross_entropy(reference, tokens)
    totals.vectors += len(x)
    totals.square += float(x.square().sum(dtype=torch.float64))
    totals.mean = totals.mean + x.sum(dim=0, dtype=torch.float64)


def _compare(own: _Sums, predictions: Tensor, reference: Tensor, tokens: Tensor) -> None:
    own.cross_entropy += _cross_entropy(predictions, tokens)
    divergence = torch.nn.functional.kl_div(predictions, reference, reduction="none", log_target=True)
    own.kl += float(divergence.sum(dim=-1).sum(dtype=torch.float64))


def _summary(
    totals: _Totals, sums: dict[tuple[int, str], _Sums], groups: Mapping[int, Mapping[str, Mask]]
) -> Functional:
    rows, columns = [], {}
    for (seed, name), own in sums.items():
        whole = sums[seed, ""]
        if not name:
            columns[seed] = {
                "cross_entropy": totals.cross_entropy / totals.predicted,
                "cross_entropy_sae": own.cross_entropy / totals.predicted,
                "kl_sae": own.kl / totals.predicted,
            }
            continue
        size = int(groups[seed][name].sum())
        figures = {
            "frequency_sum": own.active / totals.vectors,
            "fvu": own.error / totals.variance,
            "fvu_change": (own.error - whole.error) / totals.variance,
            "cross_entropy_change": (own.cross_entropy - whole.cross_entropy) / totals.predicted,
            "kl": own.kl / totals.predicted,
        }
        measured: dict[str, Any] = dict(figures) if size else dict.fromkeys(figures)
        rows.append({"seed": seed, "ablated": name, "n_features": size, **measured})
    return Functional(rows, columns)
