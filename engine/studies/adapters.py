"""LoRA adapters of PEFT on a model that several seeds share."""

from collections.abc import Iterator
from typing import Any

from torch import nn


def adapter_parameters(model: Any, adapter: str | None) -> Iterator[tuple[str, nn.Parameter]]:
    """An adapter's matrices, by PEFT's names for them in a file."""
    mark = f".{adapter}."
    for name, parameter in model.named_parameters():
        if mark in name:
            yield name.replace(mark, "."), parameter
