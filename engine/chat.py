"""A chat service with an OpenAI-compatible POST /v1/chat/completions, asked one prompt at a time."""

import os
import re
import time
from collections.abc import Callable
from typing import Self

import httpx

from engine.errors import UserError
from engine.run import Stopped

ATTEMPTS = 5
LONGEST_WAIT = 60.0
TRANSIENT = (408, 409, 425, 429)


class Chat:
    """A model behind an address, which may be the base, end in /v1 or be whole.

    The key, if any, is read from the environment variable `key_name` alone and stands in no sentence. `field` is
    what a UserError is about; `timeout` and the first `backoff` between attempts are in seconds. Raises UserError
    for an address or a key that cannot be one.
    """

    def __init__(
        self,
        endpoint: str,
        model: str,
        key_name: str,
        field: str,
        should_stop: Callable[[], bool] = lambda: False,
        timeout: float = 60.0,
        backoff: float = 1.0,
    ) -> None:
        self.field, self.key_name = field, key_name
        self.address = self._completions(endpoint)
        self.model, self.should_stop, self.backoff = model, should_stop, backoff
        self.key = os.environ.get(key_name, "").strip()
        if not self.key.isascii():
            raise UserError(field, f"the key in {key_name} is not one; copy it again.")
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        self.client = httpx.Client(headers=headers, timeout=timeout)
        self.fixed_temperature = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def ask(self, prompt: str) -> str:
        """The answer to a prompt; asked again after network errors, overload and empty answers.

        Raises UserError when none comes, Stopped once `should_stop` says so.
        """
        reason, asked_wait = "", 0.0
        for attempt in range(ATTEMPTS):
            if attempt:
                self._wait(min(max(self.backoff * 2 ** (attempt - 1), asked_wait), LONGEST_WAIT))
            if self.should_stop():
                raise Stopped
            try:
                answer = self._post(prompt)
            except httpx.HTTPError as error:
                reason, asked_wait = str(error) or type(error).__name__, 0.0
                continue
            if answer.is_success and (text := _content(answer)):
                return text
            reason, asked_wait = _reason(answer), _retry_after(answer)
            if 300 <= answer.status_code < 500 and answer.status_code not in TRANSIENT:
                break
        raise UserError(self.field, self._sentence(reason))

    def _post(self, prompt: str) -> httpx.Response:
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}]}
        if self.fixed_temperature:
            return self.client.post(self.address, json=body)
        answer = self.client.post(self.address, json={**body, "temperature": 0})
        if answer.status_code == 400 and "temperature" in answer.text:
            self.fixed_temperature = True
            return self.client.post(self.address, json=body)
        return answer

    def _sentence(self, reason: str) -> str:
        if self.key:
            reason = reason.replace(self.key, "…")
        return (
            f"{self.address.copy_with(username=None, password=None)} gave no answer ({reason[:160]}); check the "
            f"address, the model {self.model!r} and the key in {self.key_name}."
        )

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.should_stop():
                raise Stopped
            time.sleep(min(left, 0.2))

    def _completions(self, endpoint: str) -> httpx.URL:
        """The chat address of a base address, with or without /v1 or the whole path."""
        try:
            address = httpx.URL(endpoint.strip())
        except httpx.InvalidURL:
            address = httpx.URL("")
        if address.scheme not in ("http", "https") or not address.host or (address.port or 0) >= 2**16:
            raise UserError(
                self.field, f"{endpoint!r} is not an address; write for example http://localhost:11434/v1."
            )
        path = address.path.rstrip("/")
        if not path.endswith("/chat/completions"):
            path += "/chat/completions" if path.endswith("/v1") else "/v1/chat/completions"
        return address.copy_with(path=path)


def _content(answer: httpx.Response) -> str:
    """The text of a chat completion, "" when there is none."""
    try:
        content = answer.json()["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content.strip() if isinstance(content, str) else ""


def _reason(answer: httpx.Response) -> str:
    if answer.is_success:
        return "its answers hold no text"
    try:
        error = answer.json()["error"]
        said = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        said = answer.reason_phrase
    return " ".join(f"{answer.status_code} {said}".split())


def _retry_after(answer: httpx.Response) -> float:
    """Seconds the answer asks to wait; 0 when it names none, or a date."""
    try:
        return float(answer.headers.get("retry-after", 0))
    except ValueError:
        return 0.0


def without_thoughts(text: str) -> str:
    """The text without a reasoning model's <think> part."""
    return re.sub(r"<think>.*?(</think>|$)", "", text, flags=re.DOTALL).strip()
