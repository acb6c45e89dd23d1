"""Active features of an input of a run, by an SAE trained on the run's states; asked of the warm child that holds the run.

A request (`engine.active_features`) names the folder of the SAE, the model and hook point it reads, and the input.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from data.files import read_json
from engine.activation_sources import RunSource, find_source
from engine.activations import massive_limit
from engine.errors import UserError
from engine.lab_session import open_sae
from engine.studies.sae_consistency.saes import Sae

Message = dict[str, Any]


def active_features(message: Message) -> Message:
    """{"model" (its label), "n_active", "is_massive", "features": [{"feature", "value"}]}, the largest first.

    Values are in the units the SAE was trained in. `is_massive` says that the vector's norm is one that training left out.
    Raises UserError.
    """
    source, sae = _source(message["model"]), _sae(Path(message["sae"]))
    tokens = message["tokens"]
    ids = source.checked(source.ids(tokens) if isinstance(tokens[0], str) else tokens)
    position = message["position"]
    if position >= len(ids):
        raise UserError("position", f"{position} is beyond the last, {len(ids) - 1}.")
    manifest = Path(message["manifest"])
    limit = massive_limit(read_json(manifest)) if manifest.exists() else float("inf")
    with torch.no_grad():
        vector = source.activations(torch.tensor([ids]), message["hook_point"])[0, position]
        z = sae.encode(vector[None])[0]
    active = int((z > 0).sum())
    values, features = z.topk(min(message["k"], active))
    rows = zip(features.tolist(), values.tolist(), strict=True)
    return {
        "model": source.label,
        "n_active": active,
        "is_massive": bool(vector.norm() > limit),
        "features": [{"feature": feature, "value": value} for feature, value in rows],
    }


@lru_cache(maxsize=8)
def _source(model: str) -> RunSource:
    return find_source(model).on("cpu")


@lru_cache(maxsize=8)
def _sae(folder: Path) -> Sae:
    return open_sae(folder, "cpu")
