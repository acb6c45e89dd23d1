"""One request to the prompt lab: tokens, active features, next-token probabilities, their change, generated text."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from analyses.streams import stream_seed
from engine import token_text
from engine.activations import massive_limit
from engine.errors import UserError
from engine.interventions import Edit, Intervention, direction_of, random_directions, readable
from engine.lab import MAX_TOKENS
from engine.lab_passes import Passes
from engine.language_model import LanguageModel, load
from engine.sae_formats.reading import read_checkpoint
from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.saes import Sae, loaded

COLUMNS = ("baseline", "intervention", "control")
TOP, CHANGED = 10, 12
BEFORE = 8  # tokens of the prompt a generated token's text is read after


@lru_cache(maxsize=1)
def _model(name: str) -> LanguageModel:
    return load(name, "cuda" if torch.cuda.is_available() else "cpu")


@lru_cache(maxsize=1)
def open_passes(model: str, hook_point: str) -> Passes:
    """Passes of a language model on the GPU, or on the CPU where there is none. Raises UserError."""
    loaded = _model(model)
    loaded.check_hook_point(hook_point)
    return Passes(loaded, hook_point)


@lru_cache(maxsize=2)
def open_sae(folder: Path, device: str) -> Sae:
    """A saved SAE; it reads raw activations and gives latents in the units it was trained with. Raises UserError."""
    found = read_checkpoint(folder)
    config = Config(architecture=found.architecture, d_sae=found.d_sae, k=found.k or 1)  # type: ignore[arg-type]
    return loaded(config, {name: tensor.to(device) for name, tensor in found.tensors.items()})


class Session:
    """Answers a request (`engine.lab.LabRequest` as a dict) through `emit`, in the order of `engine.lab.Lab.ask`."""

    def __init__(
        self, passes: Passes, sae: Sae, manifest: dict[str, Any], request: dict[str, Any], emit: Callable[..., None]
    ) -> None:  # fmt: skip
        self.passes, self.sae, self.request, self.emit = passes, sae, request, emit
        self.tokenizer, self.device = passes.model.tokenizer, passes.model.device
        self.scale: float = manifest["scale"]
        self.limit = massive_limit(manifest)
        self.ids = [passes.model.separator, *self._tokens()]
        self.edit = self._edit()

    @torch.inference_mode()
    def run(self) -> None:
        """Raises UserError, or what `passes.interrupt` raises."""
        self.emit("status", text=f"Reading {len(self.ids) - 1} tokens")
        seen: list[Tensor] = []

        def change(x: Tensor, start: int) -> Tensor:
            seen.append(x[0])
            return torch.zeros_like(x) if self.edit is None else self.edit(x, start)

        n_rows = 1 if self.edit is None else 2 + len(self.edit.controls)
        rows = self.passes.begin(self.ids, change, n_rows)
        x = seen[0]
        self._show_tokens(x)
        log_probabilities = rows.logits.log_softmax(dim=1)
        columns = COLUMNS if self.edit is not None else COLUMNS[:1]
        for column, row in zip(columns, log_probabilities.exp(), strict=False):
            self.emit("next", column=column, tokens=self._top(row))
        if self.edit is not None:
            self._show_change(log_probabilities, self.edit(x[None], 0)[1])
            rows.keep(len(columns))
            rows.change = replace(self.edit, controls=self.edit.controls[:1])
        self._generate(rows, columns)

    def _tokens(self) -> list[int]:
        ids = self.passes.model.encode([self.request["prompt"]])[0]
        if not 1 <= len(ids) <= MAX_TOKENS:
            raise UserError("prompt", f"it has {len(ids)} tokens; give 1 to {MAX_TOKENS}.")
        most = getattr(self.passes.model.bridge.cfg, "n_ctx", None) or len(ids) + 129
        if 1 + len(ids) + self.request["n_generate"] > most:
            raise UserError("n_generate", f"the model reads {most} tokens at most; shorten prompt or text.")
        return ids

    def _edit(self) -> Edit | None:
        wanted = self.request["intervention"]
        if wanted is None:
            return None
        positions = wanted["positions"]
        if isinstance(positions, list) and max(positions, default=0) >= len(self.ids):
            raise UserError("positions", f"the last token of this prompt is {len(self.ids) - 1}.")
        direction = direction_of(self.sae, wanted["feature"], wanted["minus"], wanted["vector"])
        alone = wanted["feature"] if wanted["minus"] is None else None
        return Edit(
            Intervention(wanted["kind"], wanted["strength"], direction, self.scale, self.sae, alone),
            random_directions(
                self.request["n_controls"], len(direction), self.request["control_seed"], self.device
            ),
            positions,
            wanted["generated"],
            len(self.ids),
            self.limit,
        )

    def _show_tokens(self, x: Tensor) -> None:
        """Of the prompt's vectors x (T × d): which tokens the SAE reads, and their active latents."""
        read = readable(x, self.limit)
        read[0] = False
        self.emit("tokens", tokens=token_text.pieces(self.tokenizer, self.ids), read=read.tolist())
        code = self.sae.encode(x[read])
        token, feature = code.nonzero(as_tuple=True)
        self.emit(
            "features",
            token=read.nonzero().flatten()[token].tolist(),
            feature=feature.tolist(),
            value=[round(value, 5) for value in code[token, feature].tolist()],
        )

    def _top(self, probabilities: Tensor) -> list[dict[str, Any]]:
        values, ids = probabilities.topk(TOP)
        return [
            {"id": token, "token": token_text.name(self.tokenizer, token), "probability": value}
            for token, value in zip(ids.tolist(), values.tolist(), strict=True)
        ]

    def _show_change(self, log_probabilities: Tensor, change: Tensor) -> None:
        """Of the next token's log probabilities (2 + c × vocabulary) and the prompt's changes (T × d)."""
        base = log_probabilities[0].expand_as(log_probabilities[1:])
        kl = kl_div(log_probabilities[1:].double(), base.double(), reduction="none", log_target=True).sum(1)
        norms = change.norm(dim=1)
        changed = norms > 0
        rows = log_probabilities[:3].exp()
        difference = (rows[1] - rows[0]).abs()
        ids = torch.cat([difference.topk(CHANGED).indices, rows.topk(TOP, dim=1).indices.flatten()]).unique()
        ids = ids[difference[ids].argsort(descending=True, stable=True)]
        self.emit(
            "change",
            kl=max(float(kl[0]), 0.0),
            kl_controls=kl[1:].clamp_min(0).tolist(),
            change_norm=float(norms[changed].mean()) if bool(changed.any()) else 0.0,
            changed=changed.nonzero().flatten().tolist(),
            rows=[
                {
                    "id": token,
                    "token": token_text.name(self.tokenizer, token),
                    **dict(zip(COLUMNS, rows[:, token].tolist(), strict=True)),
                }
                for token in ids.tolist()
            ],
        )

    def _generate(self, rows: Any, columns: tuple[str, ...]) -> None:
        """Continue every column, with the same noise in each where tokens are sampled."""
        generator = torch.Generator().manual_seed(stream_seed("lab sampling", self.request["sample_seed"]))
        texts = {column: _Text(self.tokenizer, self.ids[-BEFORE:]) for column in columns}
        ends, temperature = self._ends(), self.request["temperature"]
        if self.request["n_generate"]:
            self.emit("status", text="Writing")
        for number in range(self.request["n_generate"]):
            scores = rows.logits
            if temperature > 0:
                noise = torch.rand(scores.shape[1], generator=generator).clamp_min(1e-20).log().neg().log()
                scores = scores / temperature - noise.to(scores.device)
            chosen = scores.argmax(dim=1).tolist()
            last = number + 1 == self.request["n_generate"]
            for (column, text), token in zip(texts.items(), chosen, strict=True):
                if not text.over:
                    text.over = last or token in ends
                    self.emit("text", column=column, token=text.add(token))
            if all(text.over for text in texts.values()):
                return
            rows.advance(chosen)

    def _ends(self) -> set[int]:
        """Ids of the tokens that end a text."""
        settings = getattr(self.passes.network, "generation_config", None)
        found = {self.passes.model.separator, self.tokenizer.eos_token_id}
        named = getattr(settings, "eos_token_id", None)
        return found | set(named if isinstance(named, list) else [named])


class _Text:
    """The text of a growing list of tokens; a character is given out once all its bytes are there."""

    def __init__(self, tokenizer: Any, before: list[int]) -> None:
        self.tokenizer, self.before = tokenizer, before
        self.ids: list[int] = []
        self.given = 0
        self.over = False

    def add(self, token: int) -> str:
        """What the token adds; with `over` set, also what is still unfinished."""
        self.ids.append(token)
        parts = token_text.pieces(self.tokenizer, [*self.before, *self.ids])
        text = "".join(parts[len(self.before) :])
        if text.endswith(token_text.REPLACEMENT) and not self.over:
            return ""
        new, self.given = text[self.given :], len(text)
        return new
