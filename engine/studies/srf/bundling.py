"""Make the model that comes with Concordance: `python -m engine.studies.srf.bundling`.

It stands for what a published model knows before it is tuned: an image tower, a projector and a language model that were
pre-trained on captions and on conversations about scenes which no run labels, generates for or tests on.
"""

import sys
import time
from typing import Any

import numpy as np
import torch

from data import scene_questions
from data.files import write_json
from data.scenes import render
from engine.studies.srf import generation
from engine.studies.srf.config import Config
from engine.studies.srf.learner import Learner
from engine.studies.srf.optimise import Optimiser
from engine.studies.srf.policy import ASSISTANT, END, USER, Size, SmallPolicy, pixels
from engine.studies.srf.similarity import token_f1
from engine.studies.srf.small import bundled_start, scene_words
from engine.studies.srf.source import GENERATOR, WEIGHTS, open_material

FOLDER = WEIGHTS.parent
SEED = 1_000
N_IMAGES = 12_000
GENERATOR_STEPS = 1_500
CAPTIONS, CONVERSATIONS = 500, 4_000
RATE = 2e-3
Encoded = list[tuple[list[int], int]]


def conversation(policy: SmallPolicy, turns: list[tuple[str, str]]) -> tuple[list[int], list[bool]]:
    """Several questions and answers on one image, as LLaVA's data has them, and which tokens are learnt: those of answers."""
    ids, learnt = (
        policy.encode("", "")[0][: policy.size.image_tokens + 1],
        [False] * (policy.size.image_tokens + 1),
    )
    for number, (question, answer) in enumerate(turns):
        asked = policy.words.encode(f"{USER if number else ''} {question} {ASSISTANT}")
        said = policy.words.encode(f"{answer} {END}")
        ids, learnt = [*ids, *asked, *said], [*learnt, *[False] * len(asked), *[True] * len(said)]
    return ids, learnt


def pretrain(
    policy: SmallPolicy, rng: np.random.Generator, captions: int, conversations: int, report: Any
) -> None:
    """Captions only, then captions and conversations in turn; tower, projector and language model all learn."""
    states = scene_questions.split_states()["pretraining"]
    states = states[rng.integers(0, len(states), N_IMAGES)]
    images = render(states, rng)
    captioned = [policy.encode(scene_questions.DESCRIBE, scene_questions.caption(s)) for s in states.tolist()]
    total = captions + conversations
    optimiser = Optimiser(policy.model.parameters(), RATE, total)
    for step in range(total):
        if step < captions or step % 5 == 0:
            chosen = rng.integers(0, N_IMAGES, 64)
            tokens = policy.tower(pixels(images[chosen]))
            loss = policy.loss(tokens, [captioned[i] for i in chosen])
        else:
            chosen = rng.integers(0, N_IMAGES, 32)
            tokens = policy.tower(pixels(images[chosen]))
            loss = policy.masked_loss(
                tokens, [conversation(policy, _turns(states[i].tolist(), rng)) for i in chosen]
            )
        report(step + 1, optimiser.step(loss))


def _turns(state: list[int], rng: np.random.Generator) -> list[tuple[str, str]]:
    kinds = rng.permutation([kind for kind in scene_questions.TYPES if kind != "caption"])
    made = [scene_questions.ask(state, str(kind), rng) for kind in kinds]
    return [one for one in made if one is not None]


def accuracy(policy: SmallPolicy, split: str, many: int, rng: np.random.Generator) -> dict[str, float]:
    """Share of right answers by type, and of all, on scenes of a split."""
    states = scene_questions.split_states()[split][:many]
    asked = scene_questions.pairs(states, 3, rng)
    tokens = policy.see(render(states, rng))
    said = policy.write(tokens[[pair.image for pair in asked]], [pair.question for pair in asked], 16)
    right = np.array([one.text == pair.answer for one, pair in zip(said, asked, strict=True)])
    kinds = np.array([pair.type for pair in asked])
    return {
        "all": float(right.mean()),
        **{kind: float(right[kinds == kind].mean()) for kind in scene_questions.TYPES},
    }


def tune(report: Any) -> tuple[Config, Learner]:
    """A generator tuned from the bundled model as the standard preset tunes one, with more labelled images and steps."""
    config = Config(
        n_labelled=1_500,
        n_pool=600,
        n_test=100,
        arms="",
        contrast=False,
        sweep=(),
        noise=False,
        generator_steps=GENERATOR_STEPS,
    )
    material = open_material(config)
    model = bundled_start(config, material, "cpu").model(SEED)
    learner = Learner(config, material, model, token_f1, SEED, SEED, report)
    while not learner.finished:
        learner.advance()
    return config, learner


def bundle_generator() -> None:
    """Write the generator and its card; its figures are of validation questions and of its own triplets, judged by the oracle."""
    from safetensors.torch import save_file

    started = time.process_time()
    config, learner = tune(
        lambda step, seed, **values: print(step, values, f"{time.process_time() - started:.0f} s", flush=True)
    )
    triplets = learner.triplets[1]
    learner.model.load(learner.ends["generator-1"])
    vqa, types = generation.accuracy(learner.model, learner.material, learner.material.pairs["validation"])
    told = generation.about("multi_task", triplets, learner.scores(1), vqa)
    save_file(learner.ends["generator-1"], GENERATOR)
    card = {
        "what": "projector and language model of scenes.safetensors, tuned to write questions and answers (I→QA, IA→Q, IQ→A)",
        "data": f"data/scenes.py and data/scene_questions.py, split tuning, {config.n_labelled:,} labelled pictures",
        "seed": SEED,
        "steps": GENERATOR_STEPS,
        "parameters": sum(value.numel() for value in learner.ends["generator-1"].values()),
        "validation accuracy": {
            "all": round(vqa, 4),
            **{name: round(value, 4) for name, (value, _) in types.items()},
        },
        "share true of what it writes on shifted pictures": told["precision"],
        "seconds of one core": round(time.process_time() - started),
        "licence": "Apache-2.0",
        "made by": "python -m engine.studies.srf.bundling generator",
    }
    write_json(GENERATOR.with_suffix(".json"), card)
    print(card, told)


def bundle_scenes() -> None:
    from safetensors.torch import save_file

    rng = np.random.default_rng(SEED)
    policy = SmallPolicy(Size(), scene_words(), SEED)
    started = time.process_time()

    def report(step: int, loss: float) -> None:
        if step % 300 == 0:
            found = accuracy(policy, "validation", 250, np.random.default_rng(0))
            shown = " ".join(f"{name} {value:.2f}" for name, value in found.items())
            print(f"{step} loss {loss:.3f} {shown} {time.process_time() - started:.0f} s", flush=True)

    pretrain(policy, rng, CAPTIONS, CONVERSATIONS, report)
    seconds = time.process_time() - started
    found = accuracy(policy, "validation", 1_000, np.random.default_rng(1))
    FOLDER.mkdir(parents=True, exist_ok=True)
    save_file({name: value.contiguous() for name, value in policy.model.state_dict().items()}, WEIGHTS)
    card = {
        "what": "LlavaForConditionalGeneration (CLIP tower, projector, Llama) over rendered scenes, before any tuning to write questions",
        "data": f"data/scenes.py and data/scene_questions.py, split pretraining, {N_IMAGES:,} pictures",
        "seed": SEED,
        "steps": {"captions": CAPTIONS, "captions and conversations": CONVERSATIONS},
        "parameters": sum(value.numel() for value in policy.model.parameters()),
        "validation accuracy": {name: round(value, 4) for name, value in found.items()},
        "seconds of one core": round(seconds),
        "licence": "Apache-2.0",
        "made by": "python -m engine.studies.srf.bundling",
        "words": policy.words.words,
    }
    write_json(WEIGHTS.with_suffix(".json"), card)
    print(found)


def main() -> None:
    torch.set_num_threads(1)
    (bundle_generator if sys.argv[1:] == ["generator"] else bundle_scenes)()


if __name__ == "__main__":
    main()
