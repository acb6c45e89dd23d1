"""SAE checkpoints as the study reads and writes them; the formats are in `engine.sae_formats`."""

from engine.sae_formats.common import Checkpoint, rescaled, sha256_of
from engine.sae_formats.reading import read_checkpoint
from engine.sae_formats.sae_lens import write_checkpoint

__all__ = ["Checkpoint", "read_checkpoint", "rescaled", "sha256_of", "write_checkpoint"]
