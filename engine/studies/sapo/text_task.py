"""A task as a language model sees it: chat-formatted questions, its tokens, and answers read out of free text."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from analyses.sapo import is_junk
from data.sapo import FORMAT_REWARD, Examples, Ints, Scores, Split, Task
from data.sapo_text import answer, problem, question, truth
from engine.errors import UserError
from engine.studies.sapo.foreign_scores import Scored, answer_span, score

PAD = -1  # before a prompt that is shorter than others; no model ever sees it
SCORED_AS = {"chain": "gsm8k"}
N_PARTS = 4


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    chat_template: Any
    eos_token_id: int | None

    def __call__(self, text: str, *, add_special_tokens: bool) -> Any: ...
    def apply_chat_template(self, messages: list[dict[str, str]], **options: Any) -> Any: ...
    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str: ...


class TextTask(Task):
    """A task of `data.sapo` asked in words. Prompts are padded on the left with −1 to the longest of a batch.

    A completion ends at its first end-of-text token. Rewards are d1's: Countdown 1 for the target in exact rationals, 0.1
    for any other marked answer; Sudoku the share of blank cells; chain 1 for the last digit. An answer outside its tags
    (or \\boxed) counts as none. Junk is rep-3 above 0.3 of the words.
    """

    is_text = True

    def __init__(self, inner: Task, tokenizer: Tokenizer, mask: int, completion_length: int) -> None:
        self.inner, self.tokenizer, self._mask = inner, tokenizer, mask
        self.name, self.completion_length = inner.name, completion_length
        quarters = np.array_split(np.arange(completion_length), N_PARTS)
        self.parts = {f"quarter {number + 1}": part.tolist() for number, part in enumerate(quarters)}
        self._check()

    def _check(self) -> None:
        """Raises UserError where the tokenizer does not give a question back as it was."""
        found = self.inner.examples(np.random.default_rng(0), 1, "train").prompts[0]
        try:
            same = np.array_equal(self._problem(np.array(self._encode(self._asked(found)))), found)
        except ValueError:
            same = False
        if not same:
            raise UserError(
                "policy_model", "its tokenizer does not give questions back as they were; name another model."
            )

    @property
    def mask(self) -> int:
        return self._mask

    def examples(self, rng: np.random.Generator, n: int, split: Split) -> Examples:
        found = self.inner.examples(rng, n, split)
        prompts = [self._encode(self._asked(prompt)) for prompt in found.prompts]
        answers = [self._encode(answer(self.inner, completion)) for completion in found.completions]
        return Examples(_padded(prompts), _padded(answers))

    def check_prompt(self, prompt: Ints) -> None:
        self.inner.check_prompt(self._problem(prompt))

    def scores(self, prompts: Ints, completions: Ints) -> Scores:
        pairs = list(zip(prompts, completions, strict=True))
        found = [self._score(prompt, self.text(completion)) for prompt, completion in pairs]
        reward, exact, cell, junk, valid = (
            np.array(column, dtype=np.float64) for column in zip(*found, strict=True)
        )
        correctness = cell if self.name == "sudoku" else exact
        return Scores(reward, correctness, exact, cell, junk, valid)

    def _score(self, prompt: Ints, text: str) -> tuple[float, float, float, float, float]:
        """Reward, exact, cell, junk and trace validity of one completion."""
        asked = self._problem(prompt)
        given = question(self.inner, asked)
        marked = answer_span(text) is not None
        kind = SCORED_AS.get(self.name, self.name)
        scored = score(kind, given, text, truth(self.inner, asked)) if marked else Scored(False, 0.0, None)
        exact, cell = float(scored.exact or 0), scored.cell or 0.0
        reward = FORMAT_REWARD if self.name == "countdown" and marked and not exact else cell
        has_trace = self.name == "countdown"
        valid = float(scored.trace_valid or 0) if has_trace else np.nan
        return reward, exact, cell, float(is_junk(text.split())), valid

    def text(self, tokens: Ints) -> str:
        """The text up to the first end-of-text token, masks and other special tokens left out."""
        ids = tokens[tokens != PAD]
        return self.tokenizer.decode(
            ids[: _length(ids, self.tokenizer.eos_token_id)].tolist(), skip_special_tokens=True
        )

    def word(self, token: int) -> str:
        return self.tokenizer.decode([token], skip_special_tokens=False)

    def units(self, completion: Ints) -> list[Any]:
        return self.text(completion).split()

    def counted(self, completions: Ints) -> NDArray[np.bool_]:
        """Tokens up to the first end-of-text token, which counts too."""
        ends = np.array([_length(row, self.tokenizer.eos_token_id) for row in completions])
        return np.arange(completions.shape[1]) <= ends[:, None]

    def _asked(self, prompt: Ints) -> str:
        """The question as a chat, or alone where the tokenizer knows no chat."""
        text = question(self.inner, prompt)
        if not self.tokenizer.chat_template:
            return f"{text}\n"
        messages = [{"role": "user", "content": text}]
        options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        return str(self.tokenizer.apply_chat_template(messages, **options))

    def _problem(self, prompt: Ints) -> Ints:
        ids = prompt[prompt != PAD].tolist()
        return problem(self.inner, self.tokenizer.decode(ids, skip_special_tokens=False))

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def _length(ids: Ints, end: int | None) -> int:
    """How many tokens stand before the first end-of-text token."""
    places = np.flatnonzero(ids == end) if end is not None else ids[:0]
    return int(places[0]) if len(places) else len(ids)


def _padded(rows: list[list[int]]) -> Ints:
    """Rows of token ids as one array, padded on the left."""
    width = max(map(len, rows))
    return np.array([[PAD] * (width - len(row)) + row for row in rows])
