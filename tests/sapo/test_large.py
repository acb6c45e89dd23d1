"""Large policies on a tiny random Qwen3: attention to both sides, adapters alone, and the small policies' trainer."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from engine.errors import UserError
from engine.studies.sapo import live
from engine.studies.sapo.config import Config
from engine.studies.sapo.large import LargePolicies, LargePolicy, _require_both_sides
from engine.studies.sapo.large_loading import Loaded
from engine.studies.sapo.live_request import LiveRequest
from engine.studies.sapo.policies import sampler_of
from engine.studies.sapo.policy import log_probabilities, weights
from engine.studies.sapo.rollouts import generator_of, rng_of
from tests.sapo.conftest import train, train_with_stops
from tests.sapo.tiny_models import LARGE, tiny_qwen
from tests.training import results


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tiny_qwen(tmp_path_factory.mktemp("large") / "model")
    return {**LARGE, "policy": "qwen", "policy_model": str(folder)}


@pytest.fixture(scope="module")
def policies(config: dict[str, Any]) -> LargePolicies:
    return LargePolicies(Config(**config), "cpu")


def prompts_of(policies: LargePolicies, n: int) -> torch.Tensor:
    return torch.from_numpy(policies.task.examples(rng_of("test", 0), n, "train").prompts)


def test_every_prediction_sees_every_token(policies: LargePolicies) -> None:
    policy = policies.loaded(weights(policies.trainable(0)))
    tokens = torch.randint(0, 200, (1, 20), generator=torch.Generator().manual_seed(0))
    before = policy(tokens)
    for changed in (0, 12, 15, 19):
        other = tokens.clone()
        other[0, changed] += 1
        moved = (policy(other) - before).abs().amax(dim=-1)[0]
        assert before.shape[1] == 8 and (moved > 1e-6).all()


def test_a_causal_model_is_refused(policies: LargePolicies) -> None:
    found = policies.found
    causal = Loaded(
        found.model,
        found.tokenizer,
        found.mask,
        "cpu",
        "",
        lambda model, tokens, n: model(tokens).logits[:, -n:],
    )
    with pytest.raises(UserError, match="do not depend on later tokens"):
        _require_both_sides(LargePolicy(policies.model, causal, None, 8))


def test_padding_changes_no_prediction(policies: LargePolicies) -> None:
    policy = policies.loaded(weights(policies.trainable(0)))
    prompts = prompts_of(policies, 6)
    rows = torch.cat([prompts, torch.full((6, 8), policies.task.mask)], dim=1)
    padding = (prompts < 0).sum(dim=1)
    assert len(padding.unique()) > 1
    together = policy(rows)
    for row in range(6):
        alone = policy(rows[row : row + 1, int(padding[row]) :])
        assert torch.allclose(together[row], alone[0], atol=1e-5)
    hidden = torch.ones_like(prompts, dtype=torch.bool)
    assert torch.isfinite(log_probabilities(policy, prompts, rows[:, -8:], hidden, policies.task.mask)).all()


def test_a_new_adapter_changes_nothing_and_the_reference_has_none(policies: LargePolicies) -> None:
    policy, reference = policies.trainable(3), policies.reference({})
    tokens = torch.arange(40).view(2, 20)
    assert torch.equal(policy(tokens), reference(tokens))
    kept = reference(tokens)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.1)
    assert not torch.allclose(policy(tokens), kept) and torch.equal(reference(tokens), kept)
    assert torch.equal(policies.loaded(weights(policy))(tokens), policy(tokens))
    assert not any(
        parameter.requires_grad for name, parameter in policies.model.named_parameters() if "lora" not in name
    )


def test_how_rows_are_split_does_not_matter(policies: LargePolicies) -> None:
    sampler = sampler_of(policies, policies.loaded(weights(policies.trainable(0))))
    prompts = prompts_of(policies, 5)
    whole = sampler.sample(prompts, generator_of("test", 0), greedy=True, record=True)
    sampler.rows = 2
    parts = sampler.sample(prompts, generator_of("test", 0), greedy=True, record=True)
    assert torch.equal(whole.states, parts.states) and whole.passes == parts.passes == 5 * 4
    assert whole.entropy is not None and parts.entropy is not None
    assert torch.allclose(whole.entropy, parts.entropy) and (whole.states[:, -1] != policies.task.mask).all()


def test_a_run_trains_adapters_and_resumes_to_the_same_bytes(config: dict[str, Any], tmp_path: Path) -> None:
    run = train(tmp_path / "whole", config, [0])
    assert train_with_stops(tmp_path / "parts", config, [0], every=2) >= 1
    assert results(tmp_path / "parts") == results(run)
    ends = {arm: load_file(run / "tensors" / f"policy-seed-0-{arm}.safetensors") for arm in ("base", "sapo")}
    assert all("lora_" in name for name in ends["sapo"])
    moved = {name: not torch.equal(value, ends["base"][name]) for name, value in ends["sapo"].items()}
    assert all(moved.values())
    arms = pq.read_table(run / "tables" / "sapo_arms.parquet").to_pandas().set_index("arm")
    assert (arms.loc[["diffu_grpo", "sapo"], "informative"] > 0).all() and arms["trace_valid"].isna().all()
    assert (
        arms["source"].str.contains("LoRA rank 2").all()
        and arms["source"].str.contains("transformers 5").all()
    )
    with pytest.raises(UserError, match="only small policies open here"):
        live.answer(run, LiveRequest(arm="sapo", prompt="3 + 4 * 2"))
    tokens = pq.read_table(run / "tables" / "sapo_tokens.parquet").to_pandas()
    assert tokens.groupby("position")["block"].first().tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert set(pq.read_table(run / "tables" / "sapo_spans.parquet")["span"].to_pylist()) == {
        f"quarter {number}" for number in range(1, 5)
    }


def test_models_that_cannot_be_policies_are_refused(config: dict[str, Any], tmp_path: Path) -> None:
    nameless = tiny_qwen(tmp_path / "nameless")
    for name in ("tokenizer_config.json", "tokenizer.json"):
        path = nameless / name
        path.write_text(path.read_text().replace('"mask_token"', '"other_token"'))
    with pytest.raises(UserError, match="tells no mask token"):
        LargePolicies(Config(**{**config, "policy_model": str(nameless)}), "cpu")
    path = nameless / "config.json"
    path.write_text(path.read_text().replace('"a2d-qwen3"', '"gpt2"'))
    with pytest.raises(UserError, match="is of type gpt2"):
        LargePolicies(Config(**{**config, "policy_model": str(nameless)}), "cpu")
    with pytest.raises(UserError, match="need an NVIDIA GPU"):
        LargePolicies(Config(**{**config, "four_bit": True}), "cpu")
