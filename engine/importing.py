"""Placeholder until its owner writes it."""

from typing import Any

from pydantic import BaseModel


class Found(BaseModel):
    origin: str


def inspect_sae(source: str) -> Found:
    raise NotImplementedError


def import_settings(
    found: list[Found], hook_point: str | None, model: str | None, corpus: str | None, n_tokens: int
) -> dict[str, Any]:
    raise NotImplementedError
