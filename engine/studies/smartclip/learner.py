"""One seed: its CLIP (contrast and captioning), then one arm after the other, each from that CLIP.

Every step draws from a stream named by stage and step, so a resume needs weights, moments and counters only.
"""

from collections.abc import Callable, Iterator, Mapping
from math import cos, isfinite, pi
from typing import Any

import torch
from torch import Tensor, nn

from analyses.streams import stream_seed
from data.pictures import Pictures
from engine.errors import UserError
from engine.studies.smartclip.captions import Caption, CaptionDraw, Tokeniser, texts_of
from engine.studies.smartclip.config import BASE, Config
from engine.studies.smartclip.evaluation import Evaluator
from engine.studies.smartclip.losses import (
    LONG_CLIP_SHORT,
    contrastive,
    own_mask_similarities,
    principal_part,
    similarities,
)
from engine.studies.smartclip.masking import masks_of, random_masks
from engine.studies.smartclip.models import Model

UNIT = 20
BETAS = (0.9, 0.98)
MOST_GRADIENT = 10.0
WARM_UP = 50
CURVE_POINTS = 12
VALIDATION_ROWS = 250
CAPTIONS = {"clip_short": "short", "clip_long": "long", "long_clip": "long"}
MASK = "mask."
Log = Callable[..., None]
Row = dict[str, Any]


class Learner:
    """The state machine of a seed. `stage` counts the CLIP and its arms, `step` the steps done in the stage.

    `ends` holds the weights after each finished stage, `fixed` the masks of random_mask, `curve` the rows of that table.
    """

    def __init__(
        self, config: Config, pictures: Pictures, model: Model, seed: int, data_seed: int, log: Log
    ) -> None:
        self.config, self.pictures, self.seed, self.log = config, pictures, seed, log
        self.key, self.data_seed = str(seed), data_seed
        self.model = model
        self.network: Any = model.network(seed)
        self.draw = CaptionDraw(pictures, config.captions, config.tied_factors, data_seed)
        self.captioner = (
            model.captioner(seed)
            if config.trains_clip and (config.caption_steps or config.caption_weight)
            else None
        )
        self.stages = (BASE, *config.chosen_arms)
        self.stage, self.step = 0, 0
        self.ends: dict[str, dict[str, Tensor]] = {}
        self.fixed: Tensor | None = None
        self.curve: list[Row] = []
        self.optimiser = self._clip_optimiser()

    @property
    def tokenise(self) -> Tokeniser:
        return self.model.tokenise

    @property
    def finished(self) -> bool:
        return self.stage == len(self.stages)

    @property
    def arm(self) -> str:
        return self.stages[self.stage]

    def start_from(self, tensors: Mapping[str, Tensor] | None) -> None:
        """Take a trained CLIP instead of training one, the mask network being the seed's own; None takes the network as it is.

        Raises UserError where it does not fit.
        """
        if tensors is not None:
            own = {name: value for name, value in weights(self.network).items() if name.startswith(MASK)}
            try:
                self.network.load_state_dict({**tensors, **own})
            except RuntimeError:
                raise UserError(
                    "start_from", "that CLIP has another width or other words; train one or name another."
                ) from None
        self._next_stage()

    def steps_of(self, stage: str) -> int:
        """Optimiser steps of a stage."""
        if stage == BASE:
            return self.config.caption_steps + self.config.clip_steps if self.config.trains_clip else 0
        return self.config.arm_steps

    def work(self) -> tuple[int, int]:
        """Steps done and in all."""
        steps = [self.steps_of(stage) for stage in self.stages]
        return sum(steps[: self.stage]) + self.step, sum(steps)

    def advance(self) -> None:
        """Up to 20 steps of the stage, and its end where it is reached. Raises UserError where the loss is no longer finite."""
        for _ in range(min(UNIT, self.steps_of(self.arm) - self.step)):
            self._one_step()
        if self.step >= self.steps_of(self.arm):
            self._next_stage()

    # Steps

    def _one_step(self) -> None:
        stage = "captioning" if self._is_captioning else "clip" if self.arm == BASE else "arm"
        size = self.config.batch_size if stage == "arm" else self.config.clip_batch_size
        rows = self.draw.rows(stage, self.step, size)
        images = self.model.prepare(self.pictures.images[rows]).to(self.model.device)
        shown = self._descend(self._losses(stage, rows, images))
        self.step += 1
        total = self.steps_of(self.arm)
        if stage != "captioning" and self.step in {
            round(total * (i + 1) / CURVE_POINTS) for i in range(CURVE_POINTS)
        }:
            self._record(shown)
        elif self.step % UNIT == 0 or self.step == total:
            self._log(shown)

    @property
    def _is_captioning(self) -> bool:
        """Whether the CLIP is still at captioning alone."""
        return self.arm == BASE and self.step < self.config.caption_steps

    def _losses(self, stage: str, rows: Any, images: Tensor) -> dict[str, Tensor]:
        """The parts of a step's loss; "loss" is their sum."""
        kind = "mixed" if stage == "clip" else CAPTIONS.get(self.arm, "some")
        captions = self.draw.draw(kind, stage, self.step, rows)
        if self.captioner is not None:
            return self._with_captioning(stage, rows, images, captions)
        z, said = self.network.image(images), self.network.text(self._ids(captions))
        masks = masks_of(self.arm, self.network.mask, said, captions, self.fixed)
        scale = self.config.scale
        if masks is None:
            align = contrastive(similarities(z, said.vector), scale)
            if self.arm == "long_clip":
                short = self.network.text(self._ids(self.draw.draw("short", "long-clip", self.step, rows)))
                align = align + LONG_CLIP_SHORT * contrastive(
                    similarities(principal_part(z), short.vector), scale
                )
            return {"loss": align}
        score = own_mask_similarities if self.arm == "naive_negatives" else similarities
        align = contrastive(score(z, said.vector, masks.used), scale)
        size = masks.used.abs().mean()
        sparsity = self.config.sparsity_of(self.arm) or 0.0
        return {
            "loss": self.config.lambda_align * align + sparsity * size,
            "align": align,
            "mask_share": size,
        }

    def _with_captioning(
        self, stage: str, rows: Any, images: Tensor, captions: list[Caption]
    ) -> dict[str, Tensor]:
        """Words of the whole captions from the image's tokens, and beside it, or later, the contrast."""
        assert self.captioner is not None
        tokens = self.network.image.tokens(images)
        words = self._ids(self.draw.draw("long", "words", self.step, rows))
        captioning = self.captioner.loss(words, tokens)
        if stage == "captioning":
            return {"loss": captioning, "captioning": captioning}
        vectors = self.network.text(self._ids(captions)).vector
        align = contrastive(similarities(self.network.image.pooled(tokens), vectors), self.config.scale)
        return {
            "loss": align + self.config.caption_weight * captioning,
            "align": align,
            "captioning": captioning,
        }

    def _ids(self, captions: list[Caption]) -> Tensor:
        return self.tokenise(texts_of(self.pictures, captions)).to(self.model.device)

    def _descend(self, parts: dict[str, Tensor]) -> dict[str, float]:
        field = "clip_learning_rate" if self.arm == BASE else "learning_rate"
        shown = {name: float(value.detach()) for name, value in parts.items()}
        if not isfinite(shown["loss"]):
            raise UserError(field, f"the loss is no longer finite; lower {field}.")
        self.optimiser.zero_grad(set_to_none=True)
        parts["loss"].backward()
        nn.utils.clip_grad_norm_(
            [p for group in self.optimiser.param_groups for p in group["params"]], MOST_GRADIENT
        )
        done, total = self._schedule()
        share = min(1.0, (done + 1) / WARM_UP) * 0.5 * (1 + cos(pi * done / total))
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * share
        self.optimiser.step()
        return shown

    def _schedule(self) -> tuple[int, int]:
        """Steps done and in all of what has a learning rate of its own: captioning, contrast or an arm."""
        config = self.config
        if self._is_captioning:
            return self.step, config.caption_steps
        return (
            (self.step - config.caption_steps, config.clip_steps)
            if self.arm == BASE
            else (self.step, config.arm_steps)
        )

    # Stages

    def _clip_optimiser(self) -> torch.optim.Optimizer:
        parameters = [*self.network.image.parameters(), *self.network.text.parameters()]
        if self.captioner is not None:
            parameters += list(self.captioner.parameters())
        return _adam([(parameters, self.config.clip_learning_rate, self.config.weight_decay)])

    def _arm_optimiser(self) -> torch.optim.Optimizer:
        """Towers, and the mask network at a rate of its own without weight decay, as upstream."""
        towers = [*self.network.image.parameters(), *self.network.text.parameters()]
        parts = [(towers, self.config.learning_rate, self.config.weight_decay)]
        if self.config.sparsity_of(self.arm) is not None:
            parts.append((list(self.network.mask.parameters()), self.config.mask_learning_rate, 0.0))
        return _adam(parts)

    def _next_stage(self) -> None:
        """Keep the weights of the stage that is over and get the next one ready."""
        self.ends[self.arm] = weights(self.network)
        self.stage, self.step = self.stage + 1, 0
        self._prepare_stage()

    def _prepare_stage(self) -> None:
        if self.finished:
            return
        if self.arm != BASE:
            self.captioner = None
            self.network.load_state_dict(self.ends[BASE])
            self.optimiser = self._arm_optimiser()
        if self.arm == "random_mask" and self.fixed is None:
            self.fixed = self._fixed_masks()

    def _fixed_masks(self) -> Tensor:
        """Random masks of single sentences, as dense as those that smartclip learnt for them."""
        self.network.load_state_dict(self.ends["smartclip"])
        _, found = self.evaluator("smartclip").say(
            [(number,) for number in range(len(self.pictures.phrases))]
        )
        self.network.load_state_dict(self.ends[BASE])
        generator = torch.Generator().manual_seed(stream_seed("smartclip random masks", self.seed))
        share = float(found.bits.float().mean())
        return random_masks(len(self.pictures.phrases), found.bits.shape[1], share, generator).to(
            self.model.device
        )

    def evaluator(self, arm: str) -> Evaluator:
        """What evaluates the network as it is now, as an arm."""
        return Evaluator(
            self.config,
            self.pictures,
            self.tokenise,
            self.network,
            arm,
            self.fixed,
            self.model.device,
            self.model.prepare,
        )

    def _record(self, shown: dict[str, float]) -> None:
        """A point of the curve, with recall at 1 of whole captions on validation pictures."""
        evaluator = self.evaluator(self.arm)
        rows = self.pictures.splits["validation"][:VALIDATION_ROWS]
        found = evaluator.long_retrieval(rows, evaluator.embed(rows))
        values = {**shown, "validation_recall": found["long_plain"]}
        row = {"seed": self.seed, "arm": self.arm, "step": self.step}
        row |= {name: values.get(name) for name in ("loss", "align", "mask_share", "validation_recall")}
        self.curve.append({**row, "validation_masked": found.get("long_masked")})
        self._log(values)

    def _log(self, values: Mapping[str, float]) -> None:
        names = ("loss", "captioning", "mask_share", "validation_recall")
        shown = {f"{self.arm}.{name}": values[name] for name in names if name in values}
        self.log(self.step, self.seed, **shown)

    # Checkpoints

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resume needs besides `state`, under `<seed>/<group>/<name>`."""
        groups = {"network": weights(self.network), "moments": self._moments()}
        groups |= {f"end:{arm}": ended for arm, ended in self.ends.items()}
        if self.captioner is not None:
            groups["captioner"] = weights(self.captioner)
        if self.fixed is not None:
            groups["fixed"] = {"masks": self.fixed.cpu().clone()}
        return {
            f"{self.seed}/{group}/{name}": value
            for group, held in groups.items()
            for name, value in held.items()
        }

    def state(self) -> dict[str, Any]:
        return {"stage": self.stage, "step": self.step, "curve": self.curve}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        groups: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            seed, group, name = key.split("/")
            if int(seed) == self.seed:
                groups.setdefault(group, {})[name] = value
        self.ends = {arm: groups[f"end:{arm}"] for arm in self.stages if f"end:{arm}" in groups}
        if "fixed" in groups:
            self.fixed = groups["fixed"]["masks"].to(self.model.device)
        self.stage, self.curve = state["stage"], list(state["curve"])
        self._prepare_stage()
        self.step = state["step"]
        self.network.load_state_dict(groups["network"])
        if self.captioner is not None and "captioner" in groups:
            self.captioner.load_state_dict(groups["captioner"])
        if not self.finished:
            self._set_moments(groups.get("moments", {}))

    def _moments(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for index, held in self.optimiser.state_dict()["state"].items():
            found |= {
                f"{index}.{name}": value.to("cpu", copy=True).contiguous() for name, value in held.items()
            }
        return found

    def _set_moments(self, moments: Mapping[str, Tensor]) -> None:
        held: dict[int, dict[str, Tensor]] = {}
        for key, value in moments.items():
            index, name = key.split(".")
            held.setdefault(int(index), {})[name] = value.clone()
        if held:
            self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": held})


def weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's weights on the CPU."""
    return {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in network.state_dict().items()
    }


def _adam(parts: list[tuple[list[nn.Parameter], float, float]]) -> torch.optim.Optimizer:
    groups: Iterator[dict[str, Any]] = (
        {"params": parameters, "lr": rate, "peak": rate, "weight_decay": decay}
        for parameters, rate, decay in parts
    )
    return torch.optim.AdamW(list(groups), betas=BETAS, foreach=True)
