"""Automatic labels: what is asked of a real HTTP server, and what becomes of its answers."""

from collections.abc import Iterator
from typing import Any

import pytest

from engine.errors import UserError
from engine.labelling import KEY, MODEL, URL, Endpoint, clean, endpoint, label_features, prompt
from engine.run import Stopped
from tests.sae_consistency.test_explanations import Server, completion
from tests.sae_consistency.test_explanations import server as server


def example(band: str, rank: int, text: str, peak: int) -> dict[str, Any]:
    tokens = [f" {word}" for word in text.split()]
    return {
        "band": band,
        "rank": rank,
        "value": 1.0,
        "token": 0,
        "peak": peak,
        "tokens": tokens,
        "values": [],
    }


def card(word: str) -> dict[str, Any]:
    examples = [example("top", i, f"text {i} about the {word} of today", 4) for i in range(12)]
    for band in ("75–100 %", "50–75 %", "25–50 %", "0–25 %"):
        examples += [example(band, i, f"{band} number {i} with {word} in it", 5) for i in range(5)]
    return {"examples": examples, "logits": {"top": [{"token": " house\n", "logit": 3.0}], "bottom": []}}


@pytest.fixture
def service(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    for name in (URL, MODEL, KEY):
        monkeypatch.delenv(name, raising=False)

    def answer(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        asked = body["messages"][0]["content"]
        return (
            200,
            {},
            completion(f'<think>a dog?</think>"The word {"dog" if "⟦ dog⟧" in asked else "cat"}."'),
        )

    server.answer = answer
    yield Endpoint(server.address, "tiny")


def test_every_feature_gets_its_phrase_in_order(server: Server, service: Endpoint) -> None:
    found = label_features(service, [card("dog"), card("cat"), {"examples": []}, card("dog")])
    assert found == ["The word dog", "The word cat", "", "The word dog"]
    assert len(server.seen) == 3 and {path for path, _, _ in server.seen} == {"/v1/chat/completions"}
    assert {body["model"] for _, _, body in server.seen} == {"tiny"}
    assert not any("Authorization" in headers for _, headers, _ in server.seen)


def test_the_prompt_shows_top_and_quantile_examples_with_the_peak_marked() -> None:
    asked = prompt(card("dog"))
    assert "1. text 0 about the⟦ dog⟧ of today" in asked and "10. text 9" in asked and "11. " not in asked
    assert all(
        f"{band} number 0 with⟦ dog⟧" in asked for band in ("75–100 %", "50–75 %", "25–50 %", "0–25 %")
    )
    assert asked.count("number") == 5 and "' house\\n'" in asked and "at most 12 words" in asked
    long = example("top", 0, " ".join(map(str, range(100))), 50)
    shown = prompt({"examples": [long]})
    assert "33 34" not in shown and "34 35" in shown and "49⟦ 50⟧ 51" in shown and "58\n" in shown
    assert "weaker" not in shown and "next" not in shown
    broken = {"examples": [{**long, "tokens": ["a\n", "\x1b[31m", "{top}\u202e"], "peak": 2}]}
    assert "1. a [31m⟦{top}⟧" in prompt(broken)


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("words about dogs", "words about dogs"),
        ('"Words about dogs."', "Words about dogs"),
        ("**Label:** dogs", "dogs"),
        ("Label: dogs", "dogs"),
        ("\n\n  the first\tline \nand another", "the first line"),
        ("<think>cats\nor dogs</think>\ndogs", "dogs"),
        ("<b>bold\x00\x07\u202e</b> 🐶", "<b>bold</b> 🐶"),
        ("x" * 500, "x" * 120),
        ("<think>never ends", ""),
        (" \n ", ""),
    ],
)
def test_answers_are_cleaned(answer: str, label: str) -> None:
    assert clean(answer) == label


def test_the_endpoint_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (URL, MODEL):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=f"{URL} and {MODEL}") as caught:
        endpoint()
    assert caught.value.field == "endpoint"
    monkeypatch.setenv(URL, " http://localhost:11434/v1 ")
    with pytest.raises(UserError, match=f"set {MODEL} "):
        endpoint()
    monkeypatch.setenv(MODEL, "qwen")
    assert endpoint() == Endpoint("http://localhost:11434/v1", "qwen")


def test_a_key_is_sent_and_never_shown(
    server: Server, service: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "secret")
    assert label_features(service, [card("dog")]) == ["The word dog"]
    assert server.seen[0][1]["Authorization"] == "Bearer secret"
    server.answer = lambda body: (401, {}, {"error": {"message": "bad key secret"}})
    with pytest.raises(UserError, match=f"401 bad key ….*{KEY}") as caught:
        label_features(service, [card("dog")], backoff=0.01)
    assert caught.value.field == "endpoint" and "secret" not in str(caught.value)


def test_no_address_nobody_there_and_a_stop(server: Server, service: Endpoint) -> None:
    with pytest.raises(UserError, match="endpoint: 'nonsense' is not an address"):
        label_features(Endpoint("nonsense", "m"), [card("dog")])
    with pytest.raises(UserError, match="gave no answer"):
        label_features(Endpoint("http://127.0.0.1:1", "m"), [card("dog")], backoff=0.001)
    with pytest.raises(Stopped):
        label_features(service, [card("dog")], lambda: True)
    assert not server.seen
