"""A run's policies at work on demand: denoise a prompt, or mask a span of a completion again and denoise it.

`python -m engine.studies.sapo.live IDLE_SECONDS` answers requests, a line of JSON each, until stdin closes or nothing
comes for IDLE_SECONDS.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.files import read_json
from engine.errors import UserError
from engine.studies.sapo.base_models import BUNDLED, weights_name
from engine.studies.sapo.config import Config
from engine.studies.sapo.evaluation import remask, rollout_row, step_rows
from engine.studies.sapo.live_request import LiveRequest
from engine.studies.sapo.policy import Policy, blank_policy, load
from engine.studies.sapo.rollouts import Sampler, generator_of
from engine.warm_child import serve


@lru_cache(maxsize=8)
def open_policy(directory: Path | None, seed: int, arm: str) -> tuple[Config, Policy]:
    """Config and policy of a finished run; without one the bundled base. Raises UserError where there are no such weights."""
    from safetensors.torch import load_file

    if directory is None:
        config = Config(**read_json(BUNDLED.with_suffix(".json"))["config"])
        return config, load(blank_policy(config), load_file(BUNDLED)).eval()
    config = Config(**read_json(directory / "config.json")["config"])
    path = directory / "tensors" / f"{weights_name(seed, arm)}.safetensors"
    if not path.exists():
        raise UserError("arm", f"run {directory.name} holds no policy {arm} of seed {seed}.")
    policy = load(blank_policy(config), load_file(path)).eval()
    return config, policy


@torch.no_grad()
def answer(directory: Path | None, request: LiveRequest) -> dict[str, Any]:
    """Denoise as asked; {"steps": rows like `sapo_tokens`, "rollout": its scores, "success", "tries"}. Raises UserError."""
    config, policy = open_policy(directory, request.seed, request.arm)
    sampler = Sampler(_changed(config, request), config.make_task(), policy)
    task = sampler.task
    prompt = _tokens(sampler, "prompt", request.prompt, task.prompt_length)
    try:
        task.check_prompt(prompt[0].numpy())
    except ValueError as error:
        raise UserError("prompt", str(error)) from None
    prompts = prompt.repeat(request.repeats, 1)
    generator = generator_of("live", request.sample)
    if request.completion is None:
        ended = sampler.sample(prompts, generator, record=True)
    else:
        completion = _tokens(sampler, "completion", request.completion, task.completion_length)
        span = _span(request.span, task.completion_length)
        rows = completion.repeat(request.repeats, 1)
        ended = remask(sampler, prompts, rows, span, generator, record=True)
    scores = sampler.scores(prompts, ended.completions)
    return {
        "steps": step_rows(sampler, ended, 0),
        "rollout": rollout_row(task, prompts[0].numpy(), ended.completions[0].numpy(), scores, 0),
        "success": float(np.mean(scores.exact)),
        "tries": request.repeats,
        "completions": [task.text(row.numpy()) for row in ended.completions],
    }


def _changed(config: Config, request: LiveRequest) -> Config:
    names = ("temperature", "remasking", "block_length", "denoising_steps")
    changes = {name: getattr(request, name) for name in names if getattr(request, name) is not None}
    try:
        return Config(**{**config.model_dump(), **changes})
    except ValueError as error:
        raise UserError("denoising_steps", f"these sampler settings do not fit: {error}") from None


def _tokens(sampler: Sampler, field: str, text: str, length: int) -> Tensor:
    try:
        ids = sampler.task.ids(text, length)
    except ValueError as error:
        raise UserError(field, str(error)) from None
    if sampler.task.mask in ids:
        raise UserError(field, "it holds the mask itself; name the positions to mask in span.")
    return torch.from_numpy(ids).unsqueeze(0)


def _span(span: list[int], length: int) -> list[int]:
    if not span or min(span) < 0 or max(span) >= length:
        raise UserError("span", f"give positions of the completion, from 0 to {length - 1}.")
    return sorted(set(span))


def main() -> None:
    torch.set_num_threads(1)
    serve(_answer_message, "prompt")


def _answer_message(message: dict[str, Any]) -> dict[str, Any]:
    if "sae" in message:
        from engine.state_features import active_features

        return active_features(message)
    folder = message.pop("folder")
    return answer(Path(folder) if folder else None, LiveRequest(**message))


if __name__ == "__main__":
    main()
