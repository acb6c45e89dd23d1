"""The prompt lab against plain transformers with hooks of the test's own, its queue, its time limit and its recovery."""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, BloomConfig, GPTNeoXConfig, LlamaConfig

from data.files import read_json
from engine.client import Client
from engine.errors import UserError
from engine.interventions import Edit, Intervention, direction_of, random_directions
from engine.lab import Lab, _Child
from engine.lab_passes import Passes
from engine.lab_session import _Text
from engine.language_model import load, prepare_bundled
from engine.studies.sae_consistency.checkpoints import read_checkpoint

LAYER, D_SAE, K = 2, 96, 6
PROMPT = "The capital of France is Paris, and the capital of Germany is"
Event = dict[str, Any]


@pytest.fixture(scope="module")
def run(engine: Client, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small TopK run on the bundled model."""
    corpus = tmp_path_factory.mktemp("corpus") / "texts.jsonl"
    texts = [
        f"Text {i} of many: the city of {i * 7} people lies {i * i} miles from Paris." for i in range(200)
    ]
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    config = {
        "source": "language_model", "hook_point": f"blocks.{LAYER}.hook_out", "corpus": str(corpus),
        "n_tokens": 2_000, "context_size": 32, "d_sae": D_SAE, "k": K, "n_steps": 40, "batch_size": 128,
        "n_match_points": 1, "functional_tokens": 0, "explained_pairs": 0,
    }  # fmt: skip
    submitted = engine.submit("sae_consistency", config, [0, 1])
    assert engine.wait(submitted["id"])["state"] == "done"
    return submitted["id"]


@pytest.fixture(scope="module")
def home(run: str) -> Path:
    return Path(os.environ["CONCORDANCE_HOME"])


@pytest.fixture(scope="module")
def lab(home: Path) -> Iterator[Lab]:
    lab = Lab(home, heartbeat=0.2)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def plain(run: str, home: Path) -> "Plain":
    return Plain(home, run)


def ask(lab: Lab, run: str, **request: Any) -> dict[str, Any]:
    """An answer's events by kind; "next" by column, "text" joined by column."""
    found: dict[str, Any] = {"next": {}, "text": {}}
    for event in lab.ask({"run": run, "seed": 0, "prompt": PROMPT, **request}):
        assert event["kind"] != "error", event
        if event["kind"] == "next":
            found["next"][event["column"]] = {t["id"]: t["probability"] for t in event["tokens"]}
        elif event["kind"] == "text":
            found["text"][event["column"]] = found["text"].get(event["column"], "") + event["token"]
        else:
            found[event["kind"]] = event
    assert found["done"]["seconds"] > 0
    return found


class Plain:
    """The bundled model in transformers, a hook on its layer, and the SAE of seed 0 written out by hand."""

    def __init__(self, home: Path, run: str) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(prepare_bundled())
        self.model: Any = AutoModelForCausalLM.from_pretrained(prepare_bundled(), dtype=torch.float32).eval()
        self.sae = read_checkpoint(home / "runs" / run / "saes" / "seed-0").tensors
        (folder,) = (home / "activations").glob("[0-9a-f]*")
        manifest = read_json(folder / "manifest.json")
        self.scale, self.limit = manifest["scale"], 3 * manifest["median_norm"]
        self.ids = [0, *self.tokenizer(PROMPT, add_special_tokens=False)["input_ids"]]

    def run(self, change: Any = lambda x: 0 * x) -> tuple[Tensor, Tensor]:
        """The hook's vectors (T × d) and the next token's log probabilities; what the SAE does not read stays."""
        seen: list[Tensor] = []

        def add(module: Any, inputs: Any, output: Tensor) -> Tensor:
            x = output[0]
            seen.append(x)
            new = x + change(x)
            return torch.where(self.read(x)[:, None], new, x)[None]

        handle = self.model.model.layers[LAYER].register_forward_hook(add)
        with torch.no_grad():
            logits = self.model(torch.tensor([self.ids])).logits[0, -1]
        handle.remove()
        return seen[0], logits.log_softmax(0)

    def read(self, x: Tensor) -> Tensor:
        """Which vectors the SAE was trained on: neither position 0 nor massive."""
        return (x.norm(dim=1) <= self.limit) & (torch.arange(len(x)) > 0)

    def encode(self, x: Tensor) -> Tensor:
        pre = (x - self.sae["b_dec"]) @ self.sae["encoder"].T + self.sae["b_enc"]
        top = pre.topk(K, dim=1)
        code = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
        return code * self.read(x)[:, None]

    def active_feature(self) -> int:
        """The feature that is active on the most tokens."""
        x, _ = self.run()
        return int((self.encode(x) > 0).sum(0).argmax())


def test_active_features_and_predictions_equal_a_plain_pass(lab: Lab, run: str, plain: Plain) -> None:
    found = ask(lab, run)
    x, expected = plain.run()
    assert "".join(found["tokens"]["tokens"]) == "<|endoftext|>" + PROMPT
    assert found["tokens"]["read"] == plain.read(x).tolist() and sum(found["tokens"]["read"]) >= 10
    z = plain.encode(x)
    got = torch.zeros_like(z)
    events = found["features"]
    got[events["token"], events["feature"]] = torch.tensor(events["value"])
    torch.testing.assert_close(got, z, rtol=1e-3, atol=1e-3)
    assert len(events["token"]) == int((z > 0).sum())
    baseline = found["next"]["baseline"]
    assert list(baseline) == expected.topk(10).indices.tolist()
    assert list(baseline.values()) == pytest.approx(expected.topk(10).values.exp().tolist(), rel=1e-3)


def test_nothing_changes_where_nothing_is_done(lab: Lab, run: str, plain: Plain) -> None:
    steer = {"kind": "steer", "feature": 3, "strength": 0.0}
    found = ask(lab, run, intervention=steer, n_generate=6, temperature=1.0)
    x, _ = plain.run()
    silent = int((plain.encode(x) == 0).all(dim=0).nonzero()[0])
    off = ask(lab, run, intervention={"kind": "ablate", "feature": silent, "generated": False}, n_generate=6)
    for answer in (found, off):
        assert answer["change"]["changed"] == [] and answer["change"]["change_norm"] == 0
        assert answer["change"]["kl"] < 1e-9 and max(answer["change"]["kl_controls"]) < 1e-9
        assert answer["next"]["baseline"] == answer["next"]["intervention"] == answer["next"]["control"]
        assert len(set(answer["text"].values())) == 1 and len(answer["text"]) == 3


def interventions(plain: Plain) -> dict[str, tuple[dict[str, Any], Any]]:
    """Requests, and what each adds to vectors x (T × d), written out by hand."""
    f, scale = plain.active_feature(), plain.scale
    g = (f + 5) % D_SAE
    d_f = plain.sae["decoder"][f]
    unit = d_f / d_f.norm()
    between = d_f - plain.sae["decoder"][g]
    between = between / between.norm()
    own = torch.randn(576, generator=torch.Generator().manual_seed(3))
    along = own / own.norm()

    def active(x: Tensor) -> Tensor:
        return plain.encode(x)[:, f : f + 1]

    return {
        "steer": (
            {"kind": "steer", "feature": f, "strength": 0.4},
            lambda x: (0.4 * 576**0.5 / scale * unit).expand_as(x),
        ),
        "ablate": ({"kind": "ablate", "feature": f}, lambda x: -active(x) * d_f),
        "patch": ({"kind": "patch", "feature": f, "strength": 30.0}, lambda x: (30 - active(x)) * d_f),
        "steer between": (
            {"kind": "steer", "feature": f, "minus": g, "strength": -0.7},
            lambda x: (-0.7 * 576**0.5 / scale * between).expand_as(x),
        ),
        "ablate direction": (
            {"kind": "ablate", "vector": own.tolist()},
            lambda x: -(x @ along)[:, None] * along,
        ),
        "patch direction": (
            {"kind": "patch", "vector": own.tolist(), "strength": 9.0},
            lambda x: (9 / scale - x @ along)[:, None] * along,
        ),
    }


@pytest.mark.parametrize("positions", ["all", "last", [2, 5]])
def test_interventions_and_controls_equal_hooks_in_transformers(
    lab: Lab, run: str, plain: Plain, positions: Any
) -> None:
    x, base = plain.run()
    chosen = {"all": slice(None), "last": [-1]}.get(str(positions), positions)
    mask = torch.zeros(len(x), 1)
    mask[chosen] = 1
    directions = random_directions(2, 576, 7, "cpu")
    for name, (request, change) in interventions(plain).items():
        found = ask(lab, run, intervention={**request, "positions": positions}, n_controls=2, control_seed=7)
        _, wanted = plain.run(lambda x, change=change: change(x) * mask)
        told = found["change"]
        assert told["kl"] == pytest.approx(float((base.exp() * (base - wanted)).sum()), rel=2e-3, abs=1e-6)
        got = found["next"]["intervention"]
        assert list(got.values()) == pytest.approx(wanted[list(got)].exp().tolist(), rel=2e-3), name
        norms = (change(x) * mask * plain.read(x)[:, None]).norm(dim=1)
        assert told["changed"] == norms.nonzero().flatten().tolist()
        assert told["change_norm"] == pytest.approx(float(norms[norms > 0].mean().nan_to_num()), rel=1e-4)
        for direction, kl in zip(directions, told["kl_controls"], strict=True):
            _, control = plain.run(
                lambda x, change=change, direction=direction: (
                    (change(x) * mask).norm(dim=1)[:, None] * direction
                )
            )
            assert kl == pytest.approx(float((base.exp() * (base - control)).sum()), rel=5e-3, abs=1e-6)
        row = told["rows"][0]
        assert abs(row["intervention"] - row["baseline"]) == pytest.approx(
            float((wanted.exp() - base.exp()).abs().max()), rel=2e-3
        )


def test_texts_are_those_of_plain_loops(lab: Lab, run: str, plain: Plain) -> None:
    request, change = interventions(plain)["steer"]
    found = ask(lab, run, intervention=request, n_generate=5)
    prompt = list(plain.ids)
    for column, add in (("baseline", lambda x: 0 * x), ("intervention", change)):
        plain.ids = list(prompt)
        for _ in range(5):
            plain.ids.append(int(plain.run(add)[1].argmax()))
        assert found["text"][column] == plain.tokenizer.decode(plain.ids[len(prompt) :])
    plain.ids = prompt


def test_sampling_repeats_with_its_seed(lab: Lab, run: str) -> None:
    texts = [
        ask(lab, run, n_generate=6, temperature=1.5, sample_seed=seed)["text"]["baseline"]
        for seed in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_a_second_user_waits_and_gets_their_own_answer(lab: Lab, run: str) -> None:
    first = lab.ask({"run": run, "seed": 0, "prompt": PROMPT, "n_generate": 4})
    assert any(event["kind"] == "text" for event in first)
    second = lab.ask({"run": run, "seed": 1, "prompt": "Other words"})
    third = lab.ask({"run": run, "seed": 1, "prompt": "Third"})
    assert next(second) == {"kind": "queue", "place": 1} and next(third) == {"kind": "queue", "place": 2}
    second.close()
    assert next(third) == {"kind": "queue", "place": 1}
    assert list(first)[-1]["kind"] == "done"
    tokens = [event for event in third if event["kind"] == "tokens"]
    assert tokens[0]["tokens"] == ["<|endoftext|>", "Third"]


def test_hanging_up_stops_the_work_and_frees_the_queue(lab: Lab, run: str) -> None:
    process = lab.child_id
    first = lab.ask({"run": run, "seed": 0, "prompt": PROMPT * 20, "n_generate": 128})
    assert next(event for event in first if event["kind"] == "status")
    first.close()
    assert ask(lab, run)["tokens"] and lab.child_id == process


def test_time_limit_and_crash_are_told_and_recovered_from(lab: Lab, run: str) -> None:
    request = {"run": run, "seed": 0, "prompt": PROMPT, "n_generate": 128}
    *_, last = lab.ask({**request, "timeout_s": 0.3})
    assert last["kind"] == "error" and last["field"] == "timeout_s" and "0.3 s" in last["text"]
    assert lab.child_id is None
    events = lab.ask(request)
    assert any(event["kind"] == "text" for event in events)
    assert lab.child_id
    os.kill(lab.child_id, signal.SIGKILL)
    last = list(events)[-1]
    assert last["kind"] == "error" and "ended (code -9)" in last["text"]
    assert ask(lab, run)["tokens"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"run": "0" * 12}, "run: 000000000000 does not exist; choose a finished run."),
        ({"run": "../.."}, r"run: String should match pattern"),
        ({"seed": 7}, r"seed: 7 is not in this run; choose one of \[0, 1\]."),
        ({"prompt": ""}, r"prompt: String should have at least 1 character."),
        ({"prompt": "a" * 4001}, r"prompt: String should have at most 4000 characters."),
        ({"n_generate": 129}, r"n_generate: Input should be less than or equal to 128."),
        ({"intervention": {"kind": "burn", "feature": 1}}, r"intervention.kind: Input should be 'steer'"),
        ({"intervention": {"kind": "steer"}}, "intervention: name either a feature or a vector."),
        ({"intervention": {"kind": "steer", "feature": 1, "strength": 21}}, "strength must lie between"),
        (
            {"intervention": {"kind": "steer", "feature": 96}},
            "feature: 96 is not a feature; they are 0 to 95.",
        ),
        ({"intervention": {"kind": "steer", "feature": 1, "minus": 1}}, "minus must be another feature"),
        ({"intervention": {"kind": "steer", "vector": [1.0]}}, "vector: it holds 1 numbers"),
        ({"intervention": {"kind": "steer", "vector": [0.0] * 576}}, "vector: it is zero; give a direction."),
        (
            {"intervention": {"kind": "steer", "feature": 1, "positions": [0]}},
            'write "all", "last" or a list',
        ),
        ({"intervention": {"kind": "steer", "feature": 1, "positions": "some"}}, 'write "all", "last" or a'),
    ],
)
def test_bad_requests_get_a_sentence_at_once(lab: Lab, run: str, request_: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        lab.ask({"run": run, "seed": 0, "prompt": PROMPT, **request_})


def test_what_only_the_model_knows_is_told_as_an_error(lab: Lab, run: str) -> None:
    far = {"kind": "steer", "feature": 1, "positions": [40]}
    for request, text in (
        ({"prompt": "a b " * 400}, r"prompt: it has 801 tokens; give 1 to 512."),
        ({"intervention": far}, r"positions: the last token of this prompt is 13."),
    ):
        *_, last = lab.ask({"run": run, "seed": 0, "prompt": PROMPT, **request})
        assert last["kind"] == "error" and last["text"] == text
    child = lab.child_id
    assert ask(lab, run, prompt="😀")["tokens"]["tokens"][1] == "😀" and lab.child_id == child


@dataclass
class ReluCode:
    """z = relu(x · encoderᵀ)."""

    encoder: Tensor
    decoder: Tensor

    def encode(self, x: Tensor) -> Tensor:
        return (x @ self.encoder.T).relu()


def edit(**changes: Any) -> Edit:
    matrix = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0))).Q
    sae = ReluCode(matrix, matrix)
    intervention = Intervention("patch", 2.5, direction_of(sae, 4, None, None), 0.5, sae, 4)
    controls = random_directions(3, 16, 0, "cpu")
    return replace(Edit(intervention, controls, "all", True, 6, 100.0), **changes)


def test_patch_sets_the_activation_and_controls_have_its_norm_everywhere() -> None:
    x = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(1))
    x[0, 3] *= 1000
    change = edit()(x, 0)
    norms = change.norm(dim=-1)
    assert (change[0] == 0).all() and (change[:, [0, 3]] == 0).all()
    assert (norms[1, [1, 2, 4, 5]] > 0).all()
    torch.testing.assert_close(norms[2:], norms[1].expand(3, -1))
    sae = edit().intervention.sae
    before, after = sae.encode(x[0])[:, 4], sae.encode((x + change)[1])[:, 4]
    active = (before > 0) & (torch.arange(6) > 0) & (torch.arange(6) != 3)
    assert active.any()
    torch.testing.assert_close(after[active], torch.full_like(after[active], 2.5))
    torch.testing.assert_close(change[1, 1:3], (2.5 - before[1:3])[:, None] * sae.decoder[4])
    flat = torch.nn.functional.cosine_similarity(change[2], change[3], dim=-1)
    assert flat[1].abs() < 0.9 and torch.equal(change[2:], edit()(x, 0)[2:])


def test_positions_and_generated_tokens() -> None:
    x = torch.randn(5, 8, 16, generator=torch.Generator().manual_seed(2))
    for changes, expected in (
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"generated": False}, [1, 2, 3, 4, 5]),
        ({"positions": "last"}, [5, 6, 7]),
        ({"positions": [2, 4], "generated": False}, [2, 4]),
    ):
        whole = edit(**changes)(x, 0)
        assert whole[1].norm(dim=-1).nonzero().flatten().tolist() == expected
        torch.testing.assert_close(edit(**changes)(x[:, 6:], 6), whole[:, 6:])


SIZES: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 2, "vocab_size": 49_152}
CONFIGS: dict[str, Any] = {
    "llama": LlamaConfig(
        intermediate_size=48, num_hidden_layers=4, num_key_value_heads=1, initializer_range=0.3, **SIZES
    ),
    "neox": GPTNeoXConfig(intermediate_size=48, num_hidden_layers=4, initializer_range=0.3, **SIZES),
    "bloom": BloomConfig(n_layer=4, n_head=2, hidden_size=32, vocab_size=49_152, initializer_range=0.3),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("hook_point", ["blocks.2.hook_out", "blocks.1.hook_in", "blocks.2.mlp.hook_out"])
def test_hooks_fire_in_a_cached_loop_with_the_logits_of_whole_passes(
    name: str, hook_point: str, tmp_path: Path
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(prepare_bundled())
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(CONFIGS[name]).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    passes = Passes(load(str(tmp_path), "cpu"), hook_point)
    assert passes.caches
    assert passes.grows == (name != "bloom")
    steps: list[tuple[int, ...]] = []

    def change(rows: int) -> Any:
        def add(x: Tensor, start: int) -> Tensor:
            steps.append((*x.shape[:2], start))
            return (torch.arange(rows) % 3 - 1)[:, None, None] * (1 + x.abs())

        return add

    found = []
    for caches, grows in ((True, passes.grows), (True, False), (False, False)):
        passes.caches, passes.grows = caches, grows
        rows = passes.begin([0, 5, 9, 11, 40], change(6), 6)
        rows.keep(3)
        rows.change = change(3)
        logits = [rows.logits]
        for token in (7, 8):
            rows.advance([token, token + 1, token + 2])
            logits.append(rows.logits)
        found.append(torch.stack(logits))
    assert (3, 1, 5) in steps and (3, 1, 6) in steps and (3, 7, 0) in steps
    assert (found[0][:, 0] - found[0][:, 1]).norm() > 1e-2 * found[0][:, 0].norm()
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[2], found[0], rtol=1e-4, atol=1e-4)
    assert not passes.model.bridge.list_hooks()


def test_an_interrupt_ends_a_pass_and_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(prepare_bundled())
    AutoModelForCausalLM.from_config(CONFIGS["llama"]).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    passes = Passes(load(str(tmp_path), "cpu"), "blocks.2.hook_out")
    reached: list[int] = []

    def interrupt() -> None:
        reached.append(1)
        if len(reached) == 2:
            raise KeyboardInterrupt

    passes.interrupt = interrupt
    with pytest.raises(KeyboardInterrupt):
        passes.begin([0, 5], lambda x, start: 0 * x, 1)
    assert len(reached) == 2 and not passes.model.bridge.list_hooks()
    assert all(not block._forward_pre_hooks for block in passes.blocks)


def test_a_character_of_several_tokens_comes_whole() -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(prepare_bundled())
    ids = tokenizer("a 🦜 b", add_special_tokens=False)["input_ids"]
    text = _Text(tokenizer, [0])
    parts = [text.add(token) for token in ids]
    assert "".join(parts) == "a 🦜 b" and "�" not in "".join(parts) and "" in parts


def test_the_child_ends_with_its_engine_and_when_idle(tmp_path: Path) -> None:
    idle, orphan = _Child(tmp_path, 0.1), _Child(tmp_path, 60)
    assert orphan.process.stdin
    orphan.process.stdin.close()
    assert idle.process.wait(30) == orphan.process.wait(30) == 0
