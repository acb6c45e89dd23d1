"""Train the base model of the sapo tour and write it with its card: `python -m benchmarks.sapo [seed]`."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from data.files import write_json
from engine.studies.sapo.base_models import BUNDLED
from engine.studies.sapo.config import Config
from engine.studies.sapo.evaluation import Evaluator
from engine.studies.sapo.learner import Learner
from engine.studies.sapo.policies import SmallPolicies, sampler_of
from engine.studies.sapo.presets import PRESETS


def main(seed: int = 0, path: Path = BUNDLED) -> None:
    torch.set_num_threads(1)
    config = Config(**{**PRESETS["chain"], "arms": ""})
    policies = SmallPolicies(config)
    learner = Learner(
        policies, seed, 0, lambda step, seed, **values: print(step, values) if step % 200 == 0 else None
    )
    while not learner.finished:
        learner.advance()
    weights = learner.ends["base"]
    sampler = sampler_of(policies, policies.loaded(weights))
    found = Evaluator(sampler, seed, "base", 0).run().rows["sapo_arms"][0]
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    shown = ("n", "exact", "exact_greedy", "junk", "junk_given_correct", "trace_valid")
    write_json(
        path.with_suffix(".json"),
        {
            "what": "masked-diffusion transformer for chains of three digit operations modulo 10",
            "data": "data/sapo.py, training split; half of the traces are filler by construction",
            "config": config.model_dump(mode="json"),
            "seed": seed,
            "parameters": sum(value.numel() for value in weights.values()),
            "test figures at temperature 1": {name: found[name] for name in shown},
            "made by": "python -m benchmarks.sapo",
            "licence": "Apache-2.0",
        },
    )
    print({name: found[name] for name in shown})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
