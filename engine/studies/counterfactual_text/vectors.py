"""Word vectors to start from: the bundled language model's token embeddings, as the authors start from GloVe."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from data.assets import AssetMissing
from engine.errors import UserError
from engine.language_model import prepare_bundled

EMBEDDING = "model.embed_tokens.weight"


def word_vectors(words: Sequence[str], width: int) -> Tensor:
    """Vectors (n × width) of words: mean embedding of each one's tokens, on its principal axes, of mean length √width.

    Raises UserError where the model is not installed, and for a width of more than the words or the model allow.
    """
    from safetensors import safe_open
    from transformers import AutoTokenizer

    try:
        folder = prepare_bundled()
    except AssetMissing as error:
        raise UserError("word_vectors", str(error)) from error
    with safe_open(folder / "model.safetensors", "pt") as file:
        table = file.get_tensor(EMBEDDING).float().numpy()
    most = min(table.shape[1], len(words))
    if width > most:
        raise UserError(
            "embedding", f"word vectors of the language model have {most} axes; choose {most // 2} or less."
        )
    pieces = AutoTokenizer.from_pretrained(folder)([f" {word}" for word in words], add_special_tokens=False)[
        "input_ids"
    ]
    raw = np.stack([table[ids].mean(axis=0) for ids in pieces])
    raw = raw - raw.mean(axis=0)
    left, size, right = np.linalg.svd(raw, full_matrices=False)
    sign = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    found = (left * size * sign)[:, :width]
    length = np.linalg.norm(found, axis=1).mean()
    return torch.from_numpy((found * np.sqrt(width) / length).astype(np.float32))
