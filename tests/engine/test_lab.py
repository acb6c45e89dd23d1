"""The prompt lab against plain transformers with hooks of the test's own, its queue, its time limit and its recovery."""

import json
import os
import signal
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
import uvicorn
from fastapi import FastAPI
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from data.files import read_json
from engine.client import Client
from engine.errors import UserError
from engine.interventions import random_directions
from engine.lab import Lab, LabRequest, _Child
from engine.lab_http import EventStream
from engine.lab_session import _Text
from engine.language_model import prepare_bundled
from engine.sae_formats.reading import read_checkpoint

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


@contextmanager
def serving(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of a real server of the app."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=address, timeout=60, trust_env=False) as client:
            yield client
        server.should_exit = True
        thread.join(10)


def lines(client: httpx.Client, request: dict[str, Any]) -> Generator[Event]:
    with client.stream("POST", "/lab", json=request) as response:
        for line in response.iter_lines():
            yield json.loads(line)


def test_hanging_up_stops_the_work_and_frees_the_queue(lab: Lab, run: str) -> None:
    process = lab.child_id
    first = lab.ask({"run": run, "seed": 0, "prompt": PROMPT * 20, "n_generate": 128})
    assert next(event for event in first if event["kind"] == "status")
    first.close()
    assert ask(lab, run)["tokens"] and lab.child_id == process


def test_a_client_that_hangs_up_frees_the_lab_for_the_next(lab: Lab, run: str) -> None:
    app = FastAPI()

    @app.post("/lab")
    def answer(request: LabRequest) -> EventStream:
        return EventStream(lab.ask(request))

    with serving(app) as client:
        request = {"run": run, "seed": 0, "prompt": PROMPT * 20, "n_generate": 128}
        process = lab.child_id
        first, waiting = lines(client, request), lines(client, {**request, "n_generate": 0})
        assert any(event["kind"] == "text" for event in first)
        assert [event["kind"] for event in islice(waiting, 3)] == ["queue"] * 3
        first.close()
        kinds = [event["kind"] for event in waiting]
        assert kinds.count("queue") < 60 and kinds[-1] == "done" and lab.child_id == process


def test_time_limit_and_crash_are_told_and_recovered_from(lab: Lab, run: str) -> None:
    request = {"run": run, "seed": 0, "prompt": PROMPT, "n_generate": 128}
    *_, last = lab.ask({**request, "timeout_s": 0.05})
    assert last["kind"] == "error" and last["field"] == "timeout_s" and "0.05 s" in last["text"]
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
    assert idle.process.wait(120) == orphan.process.wait(120) == 0
