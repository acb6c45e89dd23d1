"""The small model: what it writes is what it would read, nothing depends on the batch, training learns, and a published one fits in."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.scene_questions import DESCRIBE, Pair
from data.scenes import Look, all_states, render
from engine.studies.srf.config import Config
from engine.studies.srf.optimise import Optimiser
from engine.studies.srf.policy import END_ID, TOWER, Size, SmallPolicy
from engine.studies.srf.small import SmallModel, scene_words

PROMPTS = ["what colour is the circle", DESCRIBE, "where is the red circle", "is there any cross"]


@pytest.fixture(scope="module")
def policy() -> SmallPolicy:
    return SmallPolicy(Size(), scene_words(), 3)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return render(all_states()[:4], np.random.default_rng(0), Look())


@torch.no_grad()
def spelt_out(policy: SmallPolicy, tokens: torch.Tensor, prompt: str, text: str) -> float:
    """Mean log-probability of a text by one forward pass over all of it, through the published model's own forward."""
    ids, start = policy.encode(prompt, text)
    embedded = policy._embed(torch.tensor([ids]), tokens)
    logp = torch.log_softmax(policy.model(inputs_embeds=embedded).logits[0, start - 1 : -1], dim=-1)
    return float(logp.gather(1, torch.tensor(ids[start:])[:, None]).mean())


def test_sampled_texts_carry_the_log_probability_of_reading_them(
    policy: SmallPolicy, images: np.ndarray
) -> None:
    seen, prompts = policy.see(images).repeat(10, 1, 1), PROMPTS * 10
    written = policy.write(seen, prompts, 12, torch.Generator().manual_seed(0))
    ended = [place for place, one in enumerate(written) if len(one.text.split()) < 12]
    assert 0 < len(ended) < 40
    for place in ended:
        read = spelt_out(policy, seen[[place]], prompts[place], written[place].text)
        assert written[place].logp == pytest.approx(read, abs=1e-4)


def test_greedy_texts_do_not_depend_on_the_batch(policy: SmallPolicy, images: np.ndarray) -> None:
    seen = policy.see(images)
    together = [one.text for one in policy.write(seen, PROMPTS, 12)]
    assert together == [policy.write(seen[[i]], [prompt], 12)[0].text for i, prompt in enumerate(PROMPTS)]


def test_sampling_repeats_with_its_stream_and_leaves_torchs_alone(
    policy: SmallPolicy, images: np.ndarray
) -> None:
    seen, state = policy.see(images), torch.random.get_rng_state()
    first = policy.write(seen, PROMPTS, 8, torch.Generator().manual_seed(1))
    again = policy.write(seen, PROMPTS, 8, torch.Generator().manual_seed(1))
    other = policy.write(seen, PROMPTS, 8, torch.Generator().manual_seed(2))
    assert first == again != other and torch.equal(state, torch.random.get_rng_state())


def test_weights_follow_the_seed(policy: SmallPolicy) -> None:
    same, other = SmallPolicy(Size(), scene_words(), 3), SmallPolicy(Size(), scene_words(), 4)
    name = "lm_head.weight"
    assert torch.equal(policy.model.state_dict()[name], same.model.state_dict()[name])
    assert not torch.equal(policy.model.state_dict()[name], other.model.state_dict()[name])


def test_training_learns_answers_and_leaves_the_tower(images: np.ndarray) -> None:
    policy = SmallPolicy(Size(), scene_words(), 3)
    tower = {
        name: value.clone() for name, value in policy.model.state_dict().items() if name.startswith(TOWER)
    }
    model = SmallModel(policy, policy.see(images))
    rows = [model.encode(DESCRIBE, word) for word in ("red", "blue", "green", "white")]
    optimiser = Optimiser(model.parameters(), 5e-3, 60)
    losses = [optimiser.step(model.loss_on(np.arange(4), rows)) for _ in range(60)]
    assert losses[-1] < 0.1 < losses[0]
    assert [one.text for one in model.write_on(np.arange(4), [DESCRIBE] * 4)] == [
        "red",
        "blue",
        "green",
        "white",
    ]
    assert all(torch.equal(value, policy.model.state_dict()[name]) for name, value in tower.items())


def test_only_targets_are_learnt(policy: SmallPolicy, images: np.ndarray) -> None:
    seen = policy.see(images)
    ids, start = policy.encode(DESCRIBE, "red")
    assert ids[-1] == END_ID and len(ids) - start == 2
    by_hand = -2 * spelt_out(policy, seen[[0]], DESCRIBE, "red") / 2
    assert float(policy.loss(seen[[0]], [(ids, start)]).detach()) == pytest.approx(by_hand, abs=1e-4)


def save_published(folder: Path) -> None:
    """A tiny model of the published architecture with tokenizer, image processor and chat template, as transformers saves them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPImageProcessor, LlavaProcessor, PreTrainedTokenizerFast

    words = scene_words()
    extra = ["USER", "ASSISTANT", "<s>"]
    vocabulary = {word: number for number, word in enumerate([*words.words, *extra])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="</s>",
        additional_special_tokens=["<image>"],
    )
    template = (
        "{% for m in messages %}USER {% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }} "
        "{% endif %}{% endfor %}{% endfor %}ASSISTANT "
    )
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}), tokenizer, patch_size=12,
        vision_feature_select_strategy="default", chat_template=template, image_token="<image>", num_additional_image_tokens=1,
    )  # fmt: skip
    from engine.studies.srf.policy import make_model

    make_model(Size(), len(vocabulary), 1).save_pretrained(folder)
    processor.save_pretrained(folder)


def test_a_published_model_goes_the_same_way(tmp_path: Path, images: np.ndarray) -> None:
    from data.pictures import Origin
    from engine.studies.srf.large import LargeModels
    from engine.studies.srf.source import Material

    save_published(tmp_path / "llava")
    pair = Pair(0, "colour", "what colour is the circle", "red")
    material = Material(
        Origin("scenes", "rendered", ""),
        images,
        ["a"] * 4,
        [""] * 4,
        {},
        {"labelled": [pair]},
        lambda *_: "unknown",
        lambda *_: "vqa",
    )
    config = Config(model="large", model_id=str(tmp_path / "llava"), lora_rank=4)
    models = LargeModels(config, material, "cpu")
    model, other = models.model(0), models.model(1)
    model.most = 3
    start = model.weights()
    assert start and all("language_model" in name for name in start), "the tower has no adapter"
    rows = [model.encode("what colour is the circle", "red")] * 2
    optimiser = Optimiser(model.parameters(), 5e-2, 30)
    losses = [optimiser.step(model.loss_on(np.array([0, 1]), rows)) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]
    written = model.write_on(np.array([0, 1]), ["what colour is the circle", "where is the red circle"])
    assert written[0].text == "red" and written[0].logp < 0
    sampled = [
        model.write_on(np.array([2]), [DESCRIBE], torch.Generator().manual_seed(seed)) for seed in (1, 1)
    ]
    assert sampled[0] == sampled[1]
    assert all(float(value.abs().max()) == 0 for name, value in other.weights().items() if "lora_B" in name)
    model.load(start)
    assert all(torch.equal(value, model.weights()[name]) for name, value in start.items())
