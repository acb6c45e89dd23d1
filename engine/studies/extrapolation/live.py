"""A finished run's networks on demand: one target at a chosen place, or one picture under a chosen corruption, before and after.

`python -m engine.studies.extrapolation.live IDLE_SECONDS` answers requests, a line of JSON each, until stdin closes or nothing
comes for IDLE_SECONDS.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analyses.extrapolation import NEAREST, SOURCE
from analyses.streams import stream_seed
from data.class_pictures import noisy_block
from data.files import read_json
from engine.errors import UserError
from engine.studies.extrapolation.config import Config
from engine.studies.extrapolation.picture_results import changed_patches, data_uri, patch_rows, repair
from engine.studies.extrapolation.pictures import PictureLearner, block_side
from engine.studies.extrapolation.results import explained
from engine.studies.extrapolation.source import open_pictures
from engine.studies.extrapolation.worlds import WorldLearner, load_world
from engine.warm_child import serve

Answer = dict[str, Any]


def _record(folder: Path, seed: int) -> tuple[Config, int]:
    record = read_json(folder / "config.json")
    if seed not in record["seeds"]:
        raise UserError("seed", f"the run has no seed {seed}; it has {', '.join(map(str, record['seeds']))}.")
    return Config(**record["config"]), record["data_seed"]


def _weights(folder: Path, name: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    path = folder / "tensors" / f"{name}.safetensors"
    if not path.exists():
        raise UserError("regime", f"the run holds no weights of {name}; choose another.")
    return dict(load_file(path))


@lru_cache(maxsize=6)
def opened_world(folder: Path, regime: str, seed: int) -> WorldLearner:
    """A world of a finished run. Raises UserError where it has none."""
    config, data_seed = _record(folder, seed)
    if config.source != "world":
        raise UserError("distance", "the run is on pictures; ask for a scope and a severity.")
    return load_world(config, regime, data_seed, seed, _weights(folder, f"{regime}-{seed}"))


@lru_cache(maxsize=3)
def opened_pictures(folder: Path, seed: int) -> PictureLearner:
    """The network of a finished run on pictures, with its settings. Raises UserError where it has none."""
    config, data_seed = _record(folder, seed)
    if config.source == "world":
        raise UserError("scope", "the run is on worlds; ask for a class, a distance and an angle.")
    learner = PictureLearner(config, open_pictures(config), data_seed, seed)
    learner.net.load_state_dict(_weights(folder, f"pictures-{seed}"), strict=False)
    learner.done = learner.training + 1
    learner.settings = _settings(folder, learner, seed)
    return learner


def _settings(folder: Path, learner: PictureLearner, seed: int) -> Any:
    """The settings that the run chose, from its table."""
    import pyarrow.parquet as pq

    settings = learner.settings
    for row in pq.read_table(folder / "tables" / "extra_choices.parquet").to_pylist():
        if row["seed"] == seed and row["chosen"]:
            if row["setting"] == "quantile":
                settings.quantile = row["value"]
            else:
                settings.rates[row["arm"]] = row["value"]
    return settings


def in_world(asked: Answer) -> Answer:
    """One target of a class at a distance and angle, explained by every arm, with the knobs asked for."""
    learner = opened_world(Path(asked["folder"]), asked["regime"], asked["seed"])
    config = learner.config
    if not 0 <= asked["label"] < config.n_classes:
        raise UserError("label", f"the world has classes 0 to {config.n_classes - 1}; choose one.")
    if asked["changed"] is not None and asked["changed"] >= config.n_coordinates:
        raise UserError("changed", f"x has {config.n_coordinates} coordinates; leave out fewer.")
    rng = np.random.default_rng(stream_seed("extrapolation live target", learner.seed, asked["draw"]))
    rows = learner.world.target(asked["label"], asked["distance"], asked["angle"], rng)
    return explained(learner, rows, asked["distance"], -1, asked["changed"], asked["pull"])


def on_picture(asked: Answer) -> Answer:
    """One test picture with noise in a block, answered by every arm."""
    learner = opened_pictures(Path(asked["folder"]), asked["seed"])
    test = learner.pictures.splits["test"]
    if not 0 <= asked["picture"] < len(test):
        raise UserError("picture", f"there are test pictures 0 to {len(test) - 1}; choose one.")
    row = int(test[asked["picture"]])
    clean = learner.pictures.images[[row]]
    block = block_side(asked["scope"], learner.pictures.side)
    rng = np.random.default_rng(stream_seed("extrapolation live picture", learner.seed, asked["draw"]))
    images, _ = noisy_block(clean, block, asked["severity"], learner.config.clip, rng)
    met, was = torch.from_numpy(images), torch.from_numpy(clean)
    arms, settings = learner.arms, learner.settings
    quantile = settings.quantile if asked["quantile"] is None else asked["quantile"]
    judged = arms.judge(met, quantile)
    changed = changed_patches(was, met, arms.size)
    mine = {"picture": row, "scope": asked["scope"], "severity": asked["severity"]}
    pictures = []
    chosen = type(settings)(settings.rates, quantile)
    for arm in learner.arms_offered:
        prediction, probability = arms.answer(arm, met, chosen)
        label = int(learner.pictures.labels[row])
        certain = None if arm == NEAREST else float(probability)
        pictures.append(
            {**mine, "label": label, "arm": arm, "prediction": int(prediction), "confidence": certain}
        )
    repaired = repair(met, judged.rebuilt, judged.hidden, arms.size)
    kinds = {"as it was": was, "as it is met": met, "changed patches filled in": repaired}
    return {
        "extra_pictures": pictures,
        "extra_patches": patch_rows(mine, judged.error[0], judged.hidden[0], changed[0]),
        "extra_images": [{**mine, "kind": kind, "image": data_uri(one[0])} for kind, one in kinds.items()],
        "clean_prediction": int(arms.answer(SOURCE, was, settings)[0]),
    }


def main() -> None:
    torch.set_num_threads(1)
    serve(lambda asked: in_world(asked) if asked["kind"] == "world" else on_picture(asked), "sample")


if __name__ == "__main__":
    main()
