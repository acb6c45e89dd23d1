"""What can be asked of a finished run's policy on demand. No torch: the engine checks requests with it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_REPEATS = 64


class LiveRequest(BaseModel):
    """What to denoise. `completion` and `span` (positions) ask for a span of it to be masked and denoised again;
    without them the prompt is denoised from the start. `repeats` tries share one answer; the first is shown step by step.
    """

    model_config = ConfigDict(extra="forbid")

    arm: str = Field(default="base", max_length=100)
    seed: int = Field(default=0, ge=0, lt=2**31)
    prompt: str = Field(max_length=10_000)
    completion: str | None = Field(default=None, max_length=10_000)
    span: list[int] = Field(default_factory=list, max_length=1_000)
    temperature: float | None = Field(default=None, ge=0, le=5)
    remasking: Literal["low_confidence", "random"] | None = None
    block_length: int | None = Field(default=None, ge=0)
    denoising_steps: int | None = Field(default=None, ge=0)
    repeats: int = Field(default=1, ge=1, le=MAX_REPEATS)
    sample: int = Field(default=0, ge=0, lt=2**31)
