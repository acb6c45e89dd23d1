"""Forward passes of one prompt in several rows that differ only from a hook point on, and the tokens after it.

The blocks before the hook point compute one row; there the batch grows to as many rows as there are changes. Whether
a model stands this, and whether its cache of keys and values serves, is tried once; where not, every row runs from the
first block, or every pass from the first token.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from engine.language_model import LanguageModel

LEVEL = 1_000_002
TRIAL_TOKENS = 5
SAME = {"float32": 1e-4, "bfloat16": 3e-2}
Change = Callable[[Tensor, int], Tensor]


class Passes:
    """Runs a language model with changes at one hook point.

    A change is a function of the hook's vectors x (B × T × d, float32) of the tokens from position `start` on, which
    returns what to add: rows × T × d. `interrupt` is called before each block and may raise to end a pass.
    """

    def __init__(self, model: LanguageModel, hook_point: str) -> None:
        self.model = model
        self.interrupt: Callable[[], None] = lambda: None
        self.point = model.bridge.hook_dict[hook_point]
        self.network = model.bridge.original_model
        self.blocks = list(model.bridge.blocks)
        known = inspect.signature(self.network.forward).parameters
        self.options = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self.grows = self.caches = True
        self._try()

    def begin(self, ids: list[int], change: Change, rows: int) -> "Rows":
        """A pass of the prompt `ids` (T) in `rows` rows."""
        return Rows(self, ids, change, rows)

    @contextmanager
    def hooked(self, change: Change, start: int) -> Iterator[None]:
        """Within it the hook point's vectors get the change added, and every block asks for an interrupt first."""

        def add(value: Tensor, hook: Any) -> Tensor:
            return value + change(value.float(), start).to(value.dtype)

        handles = [
            block.register_forward_pre_hook(lambda *_: self.interrupt(), prepend=True)
            for block in self.blocks
        ]
        self.point.add_hook(add, level=LEVEL)
        try:
            yield
        finally:
            self.point.remove_hooks(level=LEVEL)
            for handle in handles:
                handle.remove()

    def forward(self, tokens: Tensor, cache: Any = None) -> Any:
        """The underlying model's output for tokens (B × T); where it can, with the last position's logits only."""
        with torch.inference_mode():
            return self.network(
                input_ids=tokens.to(self.model.device),
                past_key_values=cache,
                use_cache=self.caches,
                **self.options,
            )

    def _try(self) -> None:
        """Set `grows` and `caches` to what gives the logits of plain passes."""
        ids = [self.model.separator, *range(100, 100 + TRIAL_TOKENS)]
        with self.hooked(_nothing, 0):
            plain = self.forward(torch.tensor([ids])).logits[0, -1].float()
        for self.grows, self.caches in ((True, True), (False, True), (False, False)):
            if not self.caches or self._equals(ids, plain):
                return

    def _equals(self, ids: list[int], wanted: Tensor) -> bool:
        try:
            rows = self.begin(ids[:-1], lambda x, start: _nothing(x, start).expand(3, -1, -1), 3)
            rows.keep(2)
            rows.change = _nothing
            rows.advance([ids[-1], ids[-1]])
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError):
            return False
        tolerance = SAME["bfloat16" if self.model.device != "cpu" else "float32"]
        return bool((rows.logits - wanted).norm(dim=1).max() < tolerance * wanted.norm())


class Rows:
    """The rows of one request: `logits` (rows × vocabulary, float32) of the next token, kept up to date."""

    def __init__(self, passes: Passes, ids: list[int], change: Change, rows: int) -> None:
        self.passes, self.change = passes, change
        self.ids = torch.tensor([ids]).repeat(rows, 1)
        self._run(self.ids if rows > 1 and not passes.grows else self.ids[:1], None, 0)

    def _run(self, tokens: Tensor, cache: Any, start: int) -> None:
        with self.passes.hooked(self.change, start):
            found = self.passes.forward(tokens, cache)
        self.logits = found.logits[:, -1].float()
        self._cache = found.past_key_values if self.passes.caches else None

    def keep(self, rows: int) -> None:
        """Go on with the first `rows` rows; `change` must be for as many from here on."""
        self.ids, self.logits = self.ids[:rows], self.logits[:rows]
        for layer in self._cache.layers if self._cache is not None else ():
            if len(layer.keys) == 1:
                layer.batch_repeat_interleave(rows)
            else:
                layer.batch_select_indices(torch.arange(rows, device=layer.keys.device))

    def advance(self, tokens: list[int]) -> None:
        """One more token in every row."""
        new = torch.tensor(tokens)[:, None]
        self.ids = torch.cat([self.ids, new], dim=1)
        if self._cache is None:
            self._run(self.ids, None, 0)
        else:
            self._run(new, self._cache, self.ids.shape[1] - 1)


def _nothing(x: Tensor, start: int) -> Tensor:
    return torch.zeros_like(x)
