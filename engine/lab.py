"""Placeholder until its owner writes it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel


class LabRequest(BaseModel):
    run: str
    seed: int
    prompt: str


class Lab:
    def __init__(self, home: Path) -> None:
        self.home = home

    def ask(self, request: LabRequest) -> Iterator[dict[str, Any]]:
        yield {"kind": "error", "text": "not built yet"}

    def close(self) -> None:
        return
