"""Agreement in meaning: the real MiniLM, and an LLM judge behind a real HTTP server."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from analyses.dictionaries import log_spaced_bins
from data import assets
from engine.errors import UserError
from engine.run import Stopped
from engine.studies.sae_consistency import explanations
from engine.studies.sae_consistency.explanations import (
    EMBEDDING,
    KEY,
    Context,
    derangement,
    embed,
    embedding_agreement,
    judge_agreement,
    near_text,
    read_rating,
    sample_pairs,
)

DOG: list[Context] = [("I took my", " dog", " for a walk"), ("she has a big", " dog", " at home")]
PUPPY: list[Context] = [("they bought a", " puppy", " last week"), ("a small, playful", " puppy", " barked")]
STOCKS: list[Context] = [
    ("prices on the stock", " market", " fell"),
    ("shares and the bond", " market", " rose"),
]
COURT: list[Context] = [
    ("the judge of the high", " court", " ruled"),
    ("he appealed to a", " court", " of law"),
]


def completion(text: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": text}}]}


class Server(ThreadingHTTPServer):
    """Answers each request with what `answer(body)` returns: (status, headers, JSON body)."""

    answer: Callable[[dict[str, Any]], tuple[int, dict[str, str], Any]]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """A client that hung up is part of the tests."""

    def prompts(self) -> list[str]:
        return [body["messages"][0]["content"] for _, _, body in self.seen]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, dict(self.headers), body))
        status, headers, reply = self.server.answer(body)
        data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def wise(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
    """Explains by the marked tokens, rates equal explanations 9 and others 2."""
    prompt = body["messages"][0]["content"]
    if "<<" in prompt:
        animal = "<< dog>>" in prompt or "<< puppy>>" in prompt
        return (
            200,
            {},
            completion(f"<think>hm, 10?</think>It responds to {'animals' if animal else 'other things'}."),
        )
    first, second = (line.split(": ")[1] for line in prompt.splitlines() if line.startswith("Feature "))
    return 200, {}, completion(f"Rating: **{9 if first == second else 2}**")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv(KEY, raising=False)
    with Server() as found:
        found.answer = wise
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(server: Server, **changes: Any) -> explanations.Agreement:
    return judge_agreement([DOG, STOCKS], [PUPPY, DOG], server.address, "m", backoff=0.01, **changes)


def test_dog_is_nearer_to_puppy_than_to_the_stock_market() -> None:
    found = embedding_agreement([DOG, DOG, DOG], [PUPPY, STOCKS, DOG])
    puppy, stocks, same = found.values
    assert puppy > stocks + 0.2 and same == pytest.approx(1, abs=1e-6)
    assert found.method == EMBEDDING and "substitute" in EMBEDDING and not found.explanations


def test_chance_is_the_mean_of_all_repairings() -> None:
    a, b = [DOG, STOCKS, COURT], [PUPPY, STOCKS, COURT]
    found = embedding_agreement(a, b)
    other = [embedding_agreement([a[i]], [b[j]]).values[0] for i in range(3) for j in range(3) if i != j]
    assert found.chance == pytest.approx(np.mean(other), abs=1e-6) and found.values.min() > found.chance
    lone = embedding_agreement([DOG, [], DOG], [PUPPY, DOG, []])
    assert np.isfinite(lone.values).tolist() == [True, False, False] and np.isnan(lone.chance)
    assert np.isnan(embedding_agreement([[]], [[]]).values).all()


def test_embeddings_are_unit_and_do_not_depend_on_their_batch() -> None:
    texts = ["a dog", "", "the stock market fell " * 40, *(f"number {i}" for i in range(100))]
    found = embed(texts)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[[0, 2]], [embed([texts[0]])[0], embed([texts[2]])[0]], atol=1e-5)
    with pytest.raises(Stopped):
        embed(texts, lambda: True)


@pytest.mark.parametrize(
    ("context", "text"),
    [
        (("one two three four", " five", " six"), "two three four five"),
        (("one two", "ish", ""), "one twoish"),
        (("", "\n", " after"), ""),
        (("a  b\nc d ", "e", ""), "b c d e"),
    ],
)
def test_the_near_text_is_the_token_and_three_words(context: Context, text: str) -> None:
    assert near_text(context) == text


def test_a_missing_minilm_ends_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise assets.AssetMissing(f"{name} is not installed; run `pip install it`.")

    monkeypatch.setattr(explanations, "locate", absent)
    explanations._minilm.cache_clear()
    with pytest.raises(UserError, match="not installed; run"):
        embed(["text"])


def test_samples_are_even_over_log_spaced_similarity() -> None:
    generator = np.random.default_rng(0)
    cosine = np.concatenate([[0.0], np.geomspace(0.05, 1, 1001) * np.where(np.arange(1001) % 2, 1, -1)])
    found = sample_pairs(cosine, 100, generator)
    assert len(np.unique(found)) == 100 and np.array_equal(found, np.sort(found))
    place = log_spaced_bins(np.abs(cosine))[1][found]
    assert np.bincount(place.clip(1)).tolist() == [0, 20, 20, 20, 20, 20]
    skewed = np.concatenate([np.full(3, 0.1), np.full(500, 0.99), [1.0]])
    chosen = sample_pairs(skewed, 50, generator)
    assert len(chosen) == 50 and {0, 1, 2} <= set(chosen)
    assert sample_pairs(skewed, 10_000, generator).tolist() == list(range(504))
    assert len(sample_pairs(np.zeros(0), 5, generator)) == 0 and len(sample_pairs(skewed, 0, generator)) == 0


@pytest.mark.parametrize("n", [2, 3, 50])
def test_a_derangement_leaves_nothing_in_place(n: int) -> None:
    for seed in range(20):
        found = derangement(n, np.random.default_rng(seed))
        assert (found != np.arange(n)).all() and np.array_equal(np.sort(found), np.arange(n))


@pytest.mark.parametrize(
    ("answer", "rating"),
    [
        ("7", 7), ("Rating: **8**", 8), ('{"rating": 6}', 6), ("I'd say 9/10.", 9), ("8 out of 10", 8), ("7.5", 7.5),
        ("On a scale of 1 to 10, this is a 4.", 4), ("On a scale from 1-10: 10", 10), ("<think>3 or 4?</think> 5", 5),
        ("The similarity is 3.", 3), ("none", None), ("42", None), ("0", None), ("", None), ("<think>8", None),
    ],
)  # fmt: skip
def test_ratings_are_read_from_many_answers(answer: str, rating: float | None) -> None:
    assert read_rating(answer) == rating


def test_a_judge_explains_once_rates_and_measures_chance(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "secret")
    found = judge_agreement([DOG, STOCKS, []], [PUPPY, STOCKS, DOG], server.address, "tiny", backoff=0.01)
    np.testing.assert_array_equal(found.values, [9, 9, np.nan])
    assert found.chance == 2 and found.method == "LLM judge tiny (1 to 10)"
    assert found.explanations[0] == ("It responds to animals.", "It responds to animals.")
    assert found.explanations[2] == ("", "")
    assert len(server.seen) == 3 + 2 + 2
    assert {path for path, _, _ in server.seen} == {"/v1/chat/completions"}
    assert {headers["Authorization"] for _, headers, _ in server.seen} == {"Bearer secret"}
    assert {body["model"] for _, _, body in server.seen} == {"tiny"}
    assert any("1. I took my<< dog>> for a walk" in prompt for prompt in server.prompts())


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_base_addresses_may_be_short_or_whole(server: Server, suffix: str) -> None:
    found = judge_agreement([DOG], [PUPPY], server.address + suffix, "m")
    assert found.values.tolist() == [9] and np.isnan(found.chance)
    assert {path for path, _, _ in server.seen} == {"/v1/chat/completions"}
    assert not any("Authorization" in headers for _, headers, _ in server.seen)


def test_overload_and_broken_answers_are_asked_again(server: Server) -> None:
    failures: list[tuple[int, dict[str, str], Any]] = [
        (500, {}, {"error": "busy"}), (429, {"Retry-After": "0.05"}, {}), (200, {}, b"not json"),
        (200, {}, {"choices": []}), (503, {"Retry-After": "soon"}, b""), (200, {}, completion(None)),
    ]  # fmt: skip
    lock = threading.Lock()

    def flaky(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        with lock:
            return failures.pop() if failures else wise(body)

    server.answer = flaky
    assert ask(server).values.tolist() == [9, 2] and not failures


def test_a_model_with_a_fixed_temperature_is_asked_without(server: Server) -> None:
    def strict(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        if "temperature" in body:
            return 400, {}, {"error": {"message": "Unsupported value: 'temperature'"}}
        text = wise(body)[2]["choices"][0]["message"]["content"]
        return 200, {}, completion([{"type": "text", "text": text}])

    server.answer = strict
    assert ask(server).values.tolist() == [9, 2]


def test_an_unreadable_rating_is_missing_and_none_at_all_an_error(server: Server) -> None:
    def shy(body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        status, headers, reply = wise(body)
        return status, headers, reply if "9" not in str(reply) else completion("I would rather not.")

    server.answer = shy
    np.testing.assert_array_equal(ask(server).values, [np.nan, 2])
    with pytest.raises(UserError, match="judge_model: 'm' never answered with a rating"):
        judge_agreement([DOG], [PUPPY], server.address, "m")


@pytest.mark.parametrize(
    ("status", "reply", "asked", "sentence"),
    [
        (401, {"error": {"message": "Incorrect key secret"}}, 1, "401 Incorrect key …"),
        (404, {"error": "model not found"}, 1, "404 model not found"),
        (301, b"", 1, "301"),
        (503, b"<html>", 5, "503"),
        (200, {}, 5, "its answers hold no text"),
    ],
)
def test_an_endpoint_that_does_not_answer_ends_in_a_sentence(
    server: Server, monkeypatch: pytest.MonkeyPatch, status: int, reply: Any, asked: int, sentence: str
) -> None:
    monkeypatch.setenv(KEY, "secret")
    server.answer = lambda body: (status, {"Location": "/elsewhere"}, reply)
    with pytest.raises(UserError) as caught:
        judge_agreement([DOG], [DOG], server.address.replace("//", "//user:hidden@"), "m", backoff=0.01)
    assert (
        caught.value.field == "judge_endpoint" and sentence in str(caught.value) and KEY in str(caught.value)
    )
    assert "secret" not in str(caught.value) and "hidden" not in str(caught.value)
    assert len(server.seen) == asked


def test_nobody_listening_slow_answers_and_no_address(server: Server) -> None:
    server.answer = lambda body: (time.sleep(0.5), wise(body))[1]
    with pytest.raises(UserError, match="timed out"):
        ask(server, timeout=0.05)
    with pytest.raises(UserError, match=r"http://127\.0\.0\.1:1/v1/chat/completions gave no answer"):
        judge_agreement([DOG], [PUPPY], "http://127.0.0.1:1", "m", backoff=0.01)
    for wrong in ("", "localhost:80", "ftp://host", "http://", "http://host:99999", "nonsense"):
        with pytest.raises(UserError, match="is not an address"):
            judge_agreement([DOG], [PUPPY], wrong, "m")


def test_a_key_that_cannot_be_sent_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-…")
    with pytest.raises(UserError, match="copy it again"):
        ask(server)


def test_a_stop_ends_waiting(server: Server) -> None:
    server.answer = lambda body: (429, {"Retry-After": "50"}, {})
    started = time.monotonic()
    with pytest.raises(Stopped):
        ask(server, should_stop=lambda: time.monotonic() > started + 0.3)
    assert time.monotonic() < started + 40
