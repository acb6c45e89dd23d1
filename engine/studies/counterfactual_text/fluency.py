"""How surprising the bundled SmolLM2 finds a sentence."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from data.assets import AssetMissing
from data.domain_texts import Tokens
from engine.errors import UserError
from engine.language_model import BUNDLED, load
from engine.run import Stopped

Floats = NDArray[np.float64]
BATCH = 16


@torch.no_grad()
def surprise(
    texts: Sequence[Tokens], should_stop: Callable[[], bool], progress: Callable[[int, int], None]
) -> Floats:
    """Mean negative log-likelihood (nats) of a token of each text, given an end-of-text token; NaN for an empty text.

    Raises UserError where the model is not installed, Stopped when asked to stop.
    """
    try:
        model = load(BUNDLED, "cpu")
    except AssetMissing as error:
        raise UserError("fluency", str(error)) from error
    ids = model.encode([" ".join(text) for text in texts])
    found = np.full(len(texts), np.nan)
    order = sorted((row for row in range(len(texts)) if ids[row]), key=lambda row: len(ids[row]))
    for start in range(0, len(order), BATCH):
        if should_stop():
            raise Stopped
        rows = order[start : start + BATCH]
        longest = max(len(ids[row]) for row in rows)
        padded = torch.full((len(rows), longest + 1), model.separator)
        for place, row in enumerate(rows):
            padded[place, 1 : len(ids[row]) + 1] = torch.tensor(ids[row])
        logits = model.bridge(padded[:, :-1], return_type="logits").float()
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), padded[:, 1:], reduction="none")
        for place, row in enumerate(rows):
            found[row] = float(losses[place, : len(ids[row])].mean())
        progress(start + len(rows), len(order))
    return found
