"""The study contract: what a published method must bring to work in Concordance."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from engine.errors import UserError

if TYPE_CHECKING:
    from engine.activation_sources import RunSource
    from engine.run import Run

Verdict = Literal["shown", "not shown", "not tested"]


class ConfigError(UserError, ValueError):
    """A wrong value, raised inside pydantic validation."""


class StudyConfig(BaseModel):
    """Base of every study's Config: unknown fields are refused, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Measurement:
    """A claim's figure: mean and 95 % interval over `seeds`, with chance and the best simple baseline."""

    value: float | None
    low: float | None
    high: float | None
    seeds: int
    chance: float | None
    baseline: float | None
    verdict: Verdict


NOT_TESTED = Measurement(None, None, None, 0, None, None, "not tested")


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, its figure there, and the rule that decides it here.

    `runs` maps a preset name to the configs to train; `measure` gets one dict of tables per config
    (table name → Arrow table) in that order and applies the rule written in `rule`.
    """

    name: str
    sentence: str
    paper: str
    rule: str
    baseline_name: str
    runs: Callable[[str], list[dict[str, Any]]]
    measure: Callable[[list[Mapping[str, pa.Table]]], Measurement]
    min_seeds: int = 3


class Study(ABC):
    """A published method. One folder under `engine/studies/`, one line in the registry.

    A tool, which works on finished runs, is one too, without a paper.
    `presets` are named starting values; `sweeps` named grids, each a list of settings (with a "preset" to start from)
    that are launched together as one group of runs.
    """

    name: str
    title: str
    paper: str = ""
    bibtex: str = ""
    Config: type[StudyConfig]
    presets: Mapping[str, dict[str, Any]] = {}
    tables: tuple[str, ...]
    sweeps: Mapping[str, Sequence[dict[str, Any]]] = {}
    claims: tuple[Claim, ...] = ()

    @abstractmethod
    def train(self, run: "Run") -> None:
        """Train everything `run` asks for; the only place that trains."""

    def train_together(self, runs: "Sequence[Run]") -> None:
        """Train and finish the runs of one launch; a study overrides it where they can share a stream of data."""
        for run in runs:
            self.train(run)
            run.finish()

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        """Identity of the data the config names; part of the run's identity. Raises UserError."""
        return ""

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        """Expected `seconds`, `memory_bytes` and `disk_bytes` of a run on this machine."""
        return {}

    def environment(self, config: Any) -> str | None:
        """The environment (`engine.environments`) whose Python a run's worker needs; None is the engine's own.

        Asked when a run is queued. Raises UserError that names what this machine lacks for it.
        """
        return None

    def activation_source(self, directory: Path, name: str) -> "RunSource | None":
        """The model of a finished run that `run:ID/name` reads, made without torch; None where there is none to read.

        `directory` is the run's, `name` may be empty. Raises UserError("model").
        """
        return None


def listed(value: Any) -> Any:
    """Numbers typed as a text, "1, 2 4", as a list; anything else as it is."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


Numbers = Annotated[tuple[float, ...], BeforeValidator(listed)]


def form_field(
    description: str,
    *,
    group: str,
    default: Any,
    unit: str | None = None,
    advanced: bool = False,
    only_if: dict[str, Any] | None = None,
    **bounds: Any,
) -> Any:
    """A config field that carries everything the launch form, the docs and the validation need."""
    extra: dict[str, Any] = {"group": group, "unit": unit, "advanced": advanced, "only_if": only_if or {}}
    return Field(default, description=description, json_schema_extra=extra, **bounds)


def parse_config(study: Study, preset: str | None, overrides: dict[str, Any]) -> StudyConfig:
    """Preset plus overrides, validated. Raises UserError with one sentence that names the field."""
    if preset is not None and preset not in study.presets:
        raise UserError("preset", f"{preset!r} is not one of {', '.join(study.presets)}.")
    try:
        return study.Config(**{**(study.presets[preset] if preset else {}), **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or str(
            first.get("ctx", {}).get("field", "config")
        )
        if first["type"] == "extra_forbidden":
            known = ", ".join(study.Config.model_fields)
            raise UserError(name, f"{study.name} has no such field; it has {known}.") from None
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, UserError):
            raise cause from None
        given = first.get("input")
        shown = f" (got {given!r})" if isinstance(given, str | int | float | bool) else ""
        raise UserError(name, f"{first['msg']}{shown}.") from None
