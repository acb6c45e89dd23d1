"""SAE checkpoints of other tools, read into our layout; our own, written for sae-lens.

Ours: x̂ = z · decoder + b_dec with pre = (x − b_dec) · encoderᵀ + b_enc and, by architecture,
relu z = max(pre, 0); topk the k largest of those; jumprelu, batch_topk and matryoshka_batch_topk z = pre where
pre > threshold ≥ 0 (a threshold per latent, or one for all); gated z = max(exp(r_mag) · (pre − b_enc) + b_mag, 0)
where pre > 0. What another tool does otherwise is folded into the tensors, or refused.
"""

from collections.abc import Callable
from pathlib import Path

from engine import sae_formats
from engine.errors import UserError
from engine.sae_formats.common import Checkpoint, refused
from engine.sae_formats.dictionary_learning import read_dictionary_learning
from engine.sae_formats.gemma_scope import read_gemma_scope
from engine.sae_formats.sae_lens import read_sae_lens
from engine.sae_formats.sparsify import read_sparsify

READERS: dict[str, Callable[[Path], Checkpoint]] = {
    sae_formats.DICTIONARY_LEARNING: read_dictionary_learning,
    sae_formats.SPARSIFY: read_sparsify,
    sae_formats.SAE_LENS: read_sae_lens,
    sae_formats.GEMMA_SCOPE: read_gemma_scope,
    sae_formats.GEMMA_SCOPE_2: read_gemma_scope,
}


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a folder saved by sae-lens (training or inference), dictionary_learning, sparsify, Gemma Scope or us.

    Raises UserError("checkpoint") where files are missing or damaged, a shape or value is wrong, or the SAE
    computes what our architectures cannot.
    """
    if not folder.is_dir():
        raise UserError("checkpoint", f"{folder} is not a folder; name one that holds an SAE's files.")
    for file, read in READERS.items():
        if (folder / file).is_file():
            return read(folder)
    raise refused(
        folder, "holds no sae_weights.safetensors (sae-lens), ae.pt (dictionary_learning), sae.safetensors "
        "(sparsify) or params.npz (Gemma Scope); name the folder of one SAE"
    )  # fmt: skip
