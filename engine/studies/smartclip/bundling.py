"""Make the CLIP that comes with Concordance: `python -m engine.studies.smartclip.bundling`.

It is the one a seed of the standard preset would train, kept with a card of its data, seed, steps and validation figures.
"""

import time
from typing import Any

from data.files import write_json
from engine.studies.smartclip.config import BASE, Config
from engine.studies.smartclip.learner import MASK, Learner
from engine.studies.smartclip.models import open_model
from engine.studies.smartclip.source import BUNDLED, open_pictures

SEED = 1_000


def bundle(config: Config, seed: int) -> dict[str, Any]:
    """Train the CLIP of a config and write it beside its card, which is returned."""
    from safetensors.torch import save_file

    pictures = open_pictures(config)
    learner = Learner(
        config, pictures, open_model(config, pictures, "cpu"), seed, 0, lambda *step, **values: None
    )
    started = time.process_time()
    while learner.stage == 0:
        learner.advance()
    seconds = time.process_time() - started
    learner.network.load_state_dict(learner.ends[BASE])
    figures = learner.evaluator(BASE).run(seed, "validation").rows["smartclip_arms"][0]
    BUNDLED.parent.mkdir(parents=True, exist_ok=True)
    towers = {name: value for name, value in learner.ends[BASE].items() if not name.startswith(MASK)}
    save_file(towers, BUNDLED)
    card = {
        "what": "small CLIP (captioning, then contrast and captioning) over rendered scenes of two objects, without a mask network",
        "data": f"data/scenes.py, picture_seed {config.picture_seed}, training split of {config.n_train} pictures",
        "seed": seed,
        "steps": {"captioning": config.caption_steps, "contrast": config.clip_steps},
        "parameters": sum(value.numel() for value in towers.values()),
        "validation figures": {
            name: round(figures[name], 4)
            for name in ("long_plain", "short_1_plain", "probe_mean", "probe_least")
        },
        "seconds of one core": round(seconds),
        "licence": "Apache-2.0",
        "made by": "python -m engine.studies.smartclip.bundling",
        "config": config.model_dump(mode="json"),
    }
    write_json(BUNDLED.with_suffix(".json"), card)
    return card


def main() -> None:
    import torch

    torch.set_num_threads(1)
    print(bundle(Config(), SEED)["validation figures"])


if __name__ == "__main__":
    main()
