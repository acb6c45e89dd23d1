"""The matching of two dictionaries as a document: versioned JSON with every pair and where both came from.

Answers the request hijohnnylin/neuronpedia#230. The schema is `docs/match.schema.json`; `python -m
engine.match_report` prints it.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from analyses.dictionaries import DUPLICATE, neighbours
from analyses.matching import Match, Null, match, match_summary, random_direction_null
from data.files import read_json
from data.paths import state_dir
from engine.errors import UserError
from engine.sae_formats.common import Checkpoint, sha256_of
from engine.sae_formats.reading import read_checkpoint

Subset = Literal["all", "alive"]
SAME_FEATURE = 0.7
NAMED = 10
NEAR_CHANCE = 0.1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tool(_Part):
    """What computed the matching."""

    name: str = Field(description="Name of the program.")
    version: str = Field(description="Its version.")


class Method(_Part):
    """How features were paired."""

    similarity: Literal["absolute cosine"] = Field(description="Of two decoder rows.")
    assignment: Literal["linear sum assignment"] = Field(
        description="One-to-one pairs that maximise the summed similarity (the Hungarian problem)."
    )
    optimality_gap: float = Field(
        ge=0, description="The mean similarity lies at most this far below the optimum; 0 is the optimum."
    )
    subset: Subset = Field(description="Features that were matched: all, or those alive in their run.")


class Side(_Part):
    """One of the two dictionaries and where it came from."""

    source: str = Field(description="The folder, or RUN:SEED of a Concordance run.")
    format: Literal["sae-lens", "dictionary_learning", "sparsify", "gemma-scope"] = Field(
        description="Of the files."
    )
    architecture: str = Field(
        description="Of the SAE: relu, gated, jumprelu, topk, batch_topk or matryoshka_batch_topk."
    )
    d_in: int = Field(ge=1, description="Width of a decoder row.")
    d_sae: int = Field(ge=1, description="Decoder rows, that is features, of the dictionary.")
    n_features: int = Field(ge=1, description="Features of the subset that was matched.")
    decoder_sha256: str = Field(
        pattern="^[0-9a-f]{64}$",
        description="Of the whole decoder as read: d_sae × d_in, row by row, little-endian float32.",
    )
    metadata: dict[str, Any] = Field(description="What the files say of model, hook point, training and run.")


class Summary(_Part):
    """The matching in numbers."""

    n: int = Field(ge=1, description="Pairs: the smaller number of features.")
    pw_mcc_abs: float = Field(
        ge=0, le=1.0001, description="PW-MCC: mean |cosine| over the pairs (arXiv 2505.20254)."
    )
    pw_mcc_signed: float = Field(
        ge=-1.0001, le=1.0001, description="Mean cosine under the matching that maximises the signed sum."
    )
    null_mean: float = Field(ge=0, le=1.0001, description="PW-MCC of random directions of the same sizes.")
    null_std: float = Field(ge=0, description="Its standard deviation over the draws.")
    null_draws: int = Field(
        ge=0, description="Random pairs drawn; 0: the mean is analytic and has no deviation."
    )
    calibrated: float = Field(
        description="(pw_mcc_abs − null_mean) / (1 − null_mean): 0 at chance, 1 when identical."
    )
    max_cosine_ab: float = Field(
        ge=0, le=1.0001, description="Mean over features of a of the largest |cosine| in b."
    )
    max_cosine_ba: float = Field(
        ge=0, le=1.0001, description="Mean over features of b of the largest |cosine| in a."
    )
    shared_share: float = Field(ge=0, le=1, description="Share of pairs with |cosine| ≥ 0.7.")


class Pair(_Part):
    """Two matched features."""

    rank: int = Field(ge=0, description="0 for the pair of largest |cosine|.")
    feature_a: int = Field(ge=0, description="Decoder row in a.")
    feature_b: int = Field(ge=0, description="Decoder row in b.")
    cosine: float = Field(ge=-1.0001, le=1.0001, description="Signed.")


class MatchReport(_Part):
    """A one-to-one matching of the decoder rows of two sparse autoencoders."""

    schema_version: Literal["1.0"] = Field(description="Version of this layout.")
    tool: Tool
    created: AwareDatetime = Field(description="When it was computed.")
    method: Method
    a: Side
    b: Side
    summary: Summary
    pairs: list[Pair] = Field(description="Every pair, by falling |cosine|.")
    unmatched_a: list[int] = Field(description="Features of a without a partner, where a is larger.")
    unmatched_b: list[int] = Field(description="Features of b without a partner, where b is larger.")
    warnings: list[str] = Field(description="What a reader of the numbers should know.")


@dataclass(frozen=True)
class Dictionary:
    """Decoder rows (n × d_in) of the features `ids` (n) of a checkpoint."""

    source: str
    checkpoint: Checkpoint
    ids: NDArray[np.int64]
    metadata: dict[str, Any]

    @property
    def rows(self) -> NDArray[np.float32]:
        decoder: NDArray[np.float32] = self.checkpoint.tensors["decoder"].numpy()
        return decoder if len(self.ids) == len(decoder) else decoder[self.ids]

    def side(self) -> Side:
        found = self.checkpoint
        return Side(
            source=self.source,
            format=found.origin,
            architecture=found.architecture,
            d_in=found.d_in,
            d_sae=found.d_sae,
            n_features=len(self.ids),
            decoder_sha256=sha256_of([found.tensors["decoder"]]),
            metadata=self.metadata,
        )


def open_dictionary(source: str, subset: Subset = "all") -> Dictionary:
    """The dictionary a user named: a folder `read_checkpoint` reads, or RUN:SEED of a finished run.

    Raises UserError; also for `subset` "alive" of a folder, which does not say what is alive.
    """
    named_run = re.fullmatch(r"([0-9A-Za-z]+):(\d+)", source)
    if named_run is None or Path(source).is_dir():
        if not Path(source).is_dir():
            raise UserError("checkpoint", f"{source} is neither a folder nor RUN:SEED; name one of them.")
        if subset == "alive":
            raise UserError("subset", f"{source} does not say which features are alive; use --subset all.")
        found = read_checkpoint(Path(source))
        return Dictionary(source, found, np.arange(found.d_sae), found.metadata)
    run, seed = named_run[1], int(named_run[2])
    directory = _finished_run(run)
    record = read_json(directory / "config.json")
    if seed not in record["seeds"]:
        seeds = ", ".join(map(str, record["seeds"]))
        raise UserError("seed", f"{run} has no SAE of seed {seed}; it has {seeds}.")
    found = read_checkpoint(directory / "saes" / f"seed-{seed}")
    kept = ("id", "study", "preset", "data_seed", "fingerprint", "code_version")
    origin = {**{name: record.get(name) for name in kept}, "seed": seed}
    ids = np.arange(found.d_sae) if subset == "all" else _alive(directory, seed)
    if not len(ids):
        raise UserError("subset", f"{source} has no alive feature; use --subset all.")
    return Dictionary(source, found, ids, {**found.metadata, "run": origin})


def _finished_run(run: str) -> Path:
    directory = state_dir() / "runs" / run
    if not (directory / "state.json").exists():
        raise UserError("run", f"{run} does not exist; `concordance runs` lists them.")
    state = read_json(directory / "state.json")["state"]
    if state != "done":
        raise UserError("run", f"{run} is {state}; only a finished run has SAEs to match.")
    return directory


def _alive(directory: Path, seed: int) -> NDArray[np.int64]:
    columns = pq.read_table(directory / "tables" / "features.parquet", columns=["seed", "feature", "alive"])
    table = {name: columns[name].to_numpy() for name in columns.column_names}
    return np.sort(table["feature"][(table["seed"] == seed) & table["alive"]]).astype(np.int64)


def match_report(a: Dictionary, b: Dictionary, subset: Subset = "all") -> MatchReport:
    """Match two dictionaries that `open_dictionary` opened with `subset`. Raises UserError for unequal d_in."""
    width = a.checkpoint.d_in
    if width != b.checkpoint.d_in:
        raise UserError(
            "checkpoint", f"{a.source} has d_in = {width} and {b.source} d_in = {b.checkpoint.d_in}; "
            "match SAEs of vectors of one width."
        )  # fmt: skip
    found = match(a.rows, b.rows)
    null = random_direction_null(width, len(a.ids), len(b.ids))
    side_a, side_b = a.side(), b.side()
    summary = _summary(found, null)
    first, second = a.ids[found.pairs[:, 0]], b.ids[found.pairs[:, 1]]
    rows = zip(first.tolist(), second.tolist(), found.cosine.tolist(), strict=True)
    return MatchReport(
        schema_version="1.0",
        tool=Tool(name="concordance-workbench", version=version("concordance-workbench")),
        created=datetime.now(UTC).replace(microsecond=0),
        method=Method(
            similarity="absolute cosine",
            assignment="linear sum assignment",
            optimality_gap=found.gap,
            subset=subset,
        ),
        a=side_a,
        b=side_b,
        summary=summary,
        pairs=[Pair(rank=i, feature_a=x, feature_b=y, cosine=c) for i, (x, y, c) in enumerate(rows)],
        unmatched_a=np.setdiff1d(a.ids, first).tolist(),
        unmatched_b=np.setdiff1d(b.ids, second).tolist(),
        warnings=[*_notes("a", a), *_notes("b", b), *_comparison(side_a, side_b, summary)],
    )


def _summary(found: Match, null: Null) -> Summary:
    numbers = match_summary(found, null)
    known = {name: numbers[name] for name in Summary.model_fields if name in numbers}
    shared = float(np.mean(np.abs(found.cosine) >= SAME_FEATURE))
    return Summary.model_validate({**known, "null_draws": null.draws, "shared_share": shared})


def _notes(name: str, dictionary: Dictionary) -> list[str]:
    """Zero rows and near duplicates within one dictionary."""
    rows, ids, notes = dictionary.rows, dictionary.ids, []
    zero = ids[~rows.any(axis=1)]
    if len(zero):
        shown = ", ".join(map(str, zero[:NAMED])) + (", …" if len(zero) > NAMED else "")
        notes.append(
            f"{name}: {len(zero)} of {len(ids)} decoder rows are zero and count as cosine 0: {shown}."
        )
    duplicates = int(neighbours(rows).near_duplicates().sum())
    if duplicates:
        notes.append(
            f"{name}: {duplicates} of {len(ids)} features have another of the same dictionary at |cosine| ≥ "
            f"{DUPLICATE}; which of them is matched says little."
        )
    return notes


def _comparison(a: Side, b: Side, summary: Summary) -> list[str]:
    notes = []
    if a.decoder_sha256 == b.decoder_sha256:
        notes.append("a and b hold the same decoder.")
    for name in ("model_name", "hook_name"):
        values = [side.metadata.get(name) for side in (a, b)]
        if None not in values and values[0] != values[1]:
            notes.append(f"a and b differ in {name}: {values[0]} and {values[1]}.")
    if summary.calibrated < NEAR_CHANCE:
        notes.append("PW-MCC is near chance: random directions of these sizes agree nearly as much.")
    return notes


def schema_text() -> str:
    """The JSON schema of a report, as `docs/match.schema.json` holds it."""
    schema = MatchReport.model_json_schema(mode="serialization")
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
