"""What a dictionary's directions do by themselves: the tokens they promote, and the directions beside them."""

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from engine import schema
from engine.run import Run, Stopped
from engine.token_text import name

if TYPE_CHECKING:
    from engine.language_model import LanguageModel
    from engine.tools.feature_cards.of_run import OfRun

N_TOP = 10
CELLS = 16_777_216
ROWS = 1024
RESIDUAL = re.compile(
    r"blocks\.\d+\.(hook_(in|out|attn_in|mlp_in|resid_(pre|mid|post)|attn_out|mlp_out)|(attn|mlp)\.hook_out)"
)


def write_logits(run: Run, of: "OfRun", model: "LanguageModel") -> None:
    """Write `card_logits` of every seed; empty, with a message, where directions do not reach the unembedding."""
    reason = _unreachable(of, model)
    tables = [schema.run_columns("card_logits").empty_table()]
    if reason:
        run.message(f"Cards have no logits: {reason}")
    else:
        unembedding = direct_unembedding(model)
        names: dict[int, str] = {}
        for done, (seed, sae) in enumerate(of.saes.items()):
            run.progress(done, len(of.saes), "reading logits")
            tables.append(_logits(run, seed, sae.decoder, unembedding, model.tokenizer, names))
    run.write_table("card_logits", pa.concat_tables(tables))


def _unreachable(of: "OfRun", model: "LanguageModel") -> str | None:
    unembed = getattr(model.bridge, "unembed", None)
    if getattr(unembed, "W_U", None) is None:
        return "the model has no unembedding."
    if not RESIDUAL.fullmatch(of.hook_point):
        return f"{of.hook_point} is not written to the residual stream."
    if of.activations.manifest["d_in"] != model.d_model:
        return f"{of.hook_point} is not as wide as the residual stream."
    return None


def direct_unembedding(model: "LanguageModel") -> Tensor:
    """The matrix (d_model × vocabulary, float32) from the residual stream to logits, the final norm's scale left out.

    Its weight and, for a LayerNorm, the subtraction of the mean are in it.
    """
    unembedding = model.bridge.unembed.W_U.detach().float()
    norm = getattr(model.bridge, "ln_final", None)
    if norm is None:
        return unembedding
    weight, centres = _final_norm(norm, model)
    matrix = unembedding * weight[:, None]
    return matrix - matrix.mean(dim=0) if centres else matrix


def _final_norm(norm: Any, model: "LanguageModel") -> tuple[Tensor, bool]:
    """The weight by which a norm multiplies, and whether it subtracts the mean, found by asking it.

    On vectors of ±1 with mean 0, every norm gives weight · x + bias; on all ones, one that centres gives the bias.
    """
    d, device = model.d_model, model.device
    dtype = model.bridge.unembed.W_U.dtype
    signs = torch.ones(d, device=device)
    signs[1::2] = -1
    probes = torch.stack([signs, -signs, torch.ones_like(signs)]).to(dtype)
    with torch.no_grad():
        plus, minus, ones = norm(probes[None])[0].float()
    weight, bias = (plus - minus) / 2 * signs, (plus + minus) / 2
    return weight, bool((ones - bias).norm() < 0.5 * weight.norm())


def _logits(
    run: Run, seed: int, decoder: Tensor, unembedding: Tensor, tokenizer: Any, names: dict[int, str]
) -> pa.Table:
    """Both ends of each decoder row's logits, never more than CELLS of them at once."""
    n = min(N_TOP, unembedding.shape[1])
    ids, values = [], []
    for rows in decoder.split(max(1, CELLS // unembedding.shape[1])):
        if run.should_stop:
            raise Stopped
        found = rows.float() @ unembedding
        ends = [found.topk(n, dim=1), found.topk(n, dim=1, largest=False)]
        values.append(torch.cat([end.values for end in ends], dim=1).cpu())
        ids.append(torch.cat([end.indices for end in ends], dim=1).cpu())
    tokens = torch.cat(ids).flatten().tolist()
    for token in set(tokens) - set(names):
        names[token] = name(tokenizer, token)
    ranks = np.concatenate([np.arange(1, n + 1), -np.arange(1, n + 1)])
    columns = {
        "seed": np.full(len(tokens), seed),
        "feature": np.repeat(np.arange(len(decoder)), 2 * n),
        "rank": np.tile(ranks, len(decoder)),
        "token": pa.array([names[token] for token in tokens], pa.string()),
        "logit": torch.cat(values).flatten().numpy().astype(np.float64),
    }
    return pa.table(columns).cast(schema.run_columns("card_logits"))


def write_neighbours(run: Run, of: "OfRun") -> None:
    """Write `card_neighbours`: the ten decoder rows of the same SAE with the largest cosine to each."""
    tables = []
    for done, (seed, sae) in enumerate(of.saes.items()):
        run.progress(done, len(of.saes), "comparing directions")
        tables.append(_neighbours(run, seed, sae.decoder))
    run.write_table("card_neighbours", pa.concat_tables(tables))


def _neighbours(run: Run, seed: int, decoder: Tensor) -> pa.Table:
    unit = decoder / decoder.norm(dim=1, keepdim=True).clamp_min(1e-12)
    n = min(N_TOP, len(decoder) - 1)
    places, values = [], []
    for start in range(0, len(unit), ROWS):
        if run.should_stop:
            raise Stopped
        cosine = unit[start : start + ROWS] @ unit.T
        own = torch.arange(len(cosine), device=cosine.device)
        cosine[own, own + start] = -torch.inf
        found = cosine.topk(n, dim=1)
        places.append(found.indices.cpu())
        values.append(found.values.cpu())
    columns = {
        "seed": np.full(n * len(decoder), seed),
        "feature": np.repeat(np.arange(len(decoder)), n),
        "rank": np.tile(np.arange(1, n + 1), len(decoder)),
        "neighbour": torch.cat(places).flatten().numpy(),
        "cosine": torch.cat(values).flatten().numpy().astype(np.float64),
    }
    return pa.table(columns).cast(schema.run_columns("card_neighbours"))
