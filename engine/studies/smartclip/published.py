"""CLIP with a vision transformer as OpenAI published it, stretched to long captions, with SmartCLIP's mask network.

The weights are those of `published_files`; a mask network is taken where the file has one and drawn anew otherwise.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from analyses.streams import stream_seed
from data.pictures import Pictures
from engine.errors import UserError
from engine.studies.smartclip.captions import Tokeniser
from engine.studies.smartclip.clip_layout import KEPT, SHORT_CONTEXT, stretched
from engine.studies.smartclip.config import Config
from engine.studies.smartclip.evaluation import as_tensor
from engine.studies.smartclip.models import Model
from engine.studies.smartclip.network import Captioner, Said
from engine.studies.smartclip.published_files import ClipFiles, converted, find_clip

HEAD_WIDTH = 64
MEAN, SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class QuickGelu(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class ResidualBlock(nn.Module):
    """Pre-norm attention and feed-forward part, named as OpenAI names them."""

    def __init__(self, width: int, quick: bool) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, max(1, width // HEAD_WIDTH), batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        act = QuickGelu() if quick else nn.GELU()
        parts = [
            ("c_fc", nn.Linear(width, 4 * width)),
            ("gelu", act),
            ("c_proj", nn.Linear(4 * width, width)),
        ]
        self.mlp = nn.Sequential(OrderedDict(parts))

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        inside = self.ln_1(x)
        x = x + self.attn(inside, inside, inside, need_weights=False, attn_mask=hidden)[0]
        return x + self.mlp(self.ln_2(x))


class Blocks(nn.Module):
    def __init__(self, layers: int, width: int, quick: bool) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualBlock(width, quick) for _ in range(layers))

    def forward(self, x: Tensor, hidden: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, hidden)
        return x


class Vision(nn.Module):
    """Patches, a class token, blocks; the class token projected is z."""

    def __init__(self, tensors: Mapping[str, Tensor], quick: bool) -> None:
        super().__init__()
        kernel = tensors["visual.conv1.weight"]
        width, patch = kernel.shape[0], kernel.shape[-1]
        places = tensors["visual.positional_embedding"].shape[0]
        self.side = patch * round((places - 1) ** 0.5)
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(places, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Blocks(_layers(tensors, "visual.transformer.resblocks."), width, quick)
        self.proj = nn.Parameter(torch.empty(tensors["visual.proj"].shape))

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv1(images).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding)
        return self.ln_post(self.transformer(x)[:, 0]) @ self.proj


class Text(nn.Module):
    """Tokens under a causal mask; the state of the end token, whose id is the largest, projected is t.

    The first 20 positions are frozen, those after them are a second table, as in Long-CLIP.
    """

    def __init__(self, tensors: Mapping[str, Tensor], quick: bool) -> None:
        super().__init__()
        words, width = tensors["token_embedding.weight"].shape
        length = tensors["positional_embedding"].shape[0]
        self.token_embedding = nn.Embedding(words, width)
        self.positional_embedding = nn.Parameter(torch.empty(length, width), requires_grad=False)
        self.positional_embedding_res = nn.Parameter(torch.empty(length, width))
        self.transformer = Blocks(_layers(tensors, "transformer.resblocks."), width, quick)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty(tensors["text_projection"].shape))

    def forward(self, ids: Tensor) -> Said:
        length = ids.shape[1]
        place = torch.cat([self.positional_embedding[:KEPT], self.positional_embedding_res[KEPT:]])[:length]
        later = torch.ones(length, length, dtype=torch.bool, device=ids.device).triu(1)
        x = self.ln_final(self.transformer(self.token_embedding(ids) + place, later))
        end = x[torch.arange(len(ids), device=ids.device), ids.argmax(dim=1)]
        return Said(end @ self.text_projection, x, torch.ones_like(ids, dtype=torch.bool))


class PublishedMask(nn.Module):
    """SmartCLIP's mask network over all positions, padding too."""

    def __init__(self, width: int) -> None:
        super().__init__()
        block, pool = ResidualBlock(width, True), nn.Linear(width, 1)
        self.resblocks = nn.ModuleList([block])
        self.attn_pool = nn.ModuleDict({"attention": pool})
        spread = width**-0.5
        nn.init.normal_(block.attn.in_proj_weight, std=spread)
        nn.init.normal_(block.attn.out_proj.weight, std=spread * 2**-0.5)
        for name, std in (("c_fc", (2 * width) ** -0.5), ("c_proj", spread * 2**-0.5)):
            nn.init.normal_(block.mlp.get_submodule(name).weight, std=std)  # type: ignore[arg-type]
        nn.init.normal_(pool.weight, std=spread)
        nn.init.zeros_(pool.bias)

    def forward(self, said: Said) -> Tensor:
        x = self.resblocks[0](said.tokens.detach())
        return (self.attn_pool["attention"](x).softmax(dim=1) * x).sum(dim=1)


class PublishedClip(nn.Module):
    """Both towers and the mask network, from weights in OpenAI's layout. Raises ValueError where they do not fit together."""

    def __init__(self, tensors: Mapping[str, Tensor], quick: bool) -> None:
        super().__init__()
        self.image, self.text = Vision(tensors, quick), Text(tensors, quick)
        width, d = tensors["text_projection"].shape
        if width != d:
            raise ValueError(
                f"its text is {width} wide and its embedding {d}; the mask network needs them equal"
            )
        self.mask = PublishedMask(width)
        named: dict[str, Tensor] = {}
        for name, value in tensors.items():
            if name.startswith("visual."):
                named["image." + name.removeprefix("visual.")] = value
            elif name.startswith("mask_net."):
                named["mask." + name.removeprefix("mask_net.")] = value
            elif name != "logit_scale":
                named[f"text.{name}"] = value
        if not any(name.startswith("mask.") for name in named):
            named |= {f"mask.{name}": value for name, value in self.mask.state_dict().items()}
        try:
            self.load_state_dict(named)
        except RuntimeError as error:
            raise ValueError(
                f"its weights do not fit together ({str(error).splitlines()[-1].strip()[:160]})"
            ) from None


def _layers(tensors: Mapping[str, Tensor], prefix: str) -> int:
    numbers = {name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)}
    return len(numbers)


def long_context(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with both tables of positions, stretched where they are for 77 tokens."""
    found = dict(tensors)
    if "positional_embedding_res" not in found:
        table = found["positional_embedding"]
        found["positional_embedding"] = stretched(table) if len(table) == SHORT_CONTEXT else table
        found["positional_embedding_res"] = found["positional_embedding"].clone()
    return found


class BytePairs:
    """CLIP's own tokenizer from its files; ids padded with 0 to the whole context, as upstream does."""

    def __init__(self, files: ClipFiles, length: int) -> None:
        whole, parts = (
            files.folder / "tokenizer.json",
            [files.folder / name for name in ("vocab.json", "merges.txt")],
        )
        if not whole.exists() and not all(part.exists() for part in parts):
            raise UserError(
                "clip",
                f"{files.folder} has no tokenizer.json or vocab.json and merges.txt; put CLIP's there.",
            )
        try:
            self.ids = _whole_tokenizer(whole) if whole.exists() else _tokenizer_of_parts(*parts)
            self.ids("a")
        except Exception as error:
            raise UserError(
                "clip", f"the tokenizer of {files.folder} cannot be read ({type(error).__name__})."
            ) from None
        self.length = length

    def __call__(self, texts: Sequence[str]) -> Tensor:
        found = torch.zeros(len(texts), self.length, dtype=torch.long)
        for row, text in enumerate(texts):
            ids = self.ids(text)
            ids = ids if len(ids) <= self.length else [*ids[: self.length - 1], ids[-1]]
            found[row, : len(ids)] = torch.tensor(ids)
        return found


def _whole_tokenizer(path: Path) -> Callable[[str], list[int]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda text: list(tokenizer.encode(text).ids)


def _tokenizer_of_parts(vocabulary: Path, merges: Path) -> Callable[[str], list[int]]:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer(str(vocabulary), str(merges))
    return lambda text: list(tokenizer(text)["input_ids"])


class Published(Model):
    """A CLIP of published weights. Raises UserError("clip") where its files cannot be used."""

    def __init__(self, config: Config, pictures: Pictures, device: str) -> None:
        from safetensors.torch import load_file

        self.config, self.device = config, device
        files = find_clip(config.clip)
        self.tensors, self.quick = long_context(load_file(converted(files))), files.quick_gelu
        try:
            self.side = PublishedClip(self.tensors, self.quick).image.side
        except (ValueError, KeyError, RuntimeError) as error:
            raise UserError("clip", f"{files.weights.name} cannot be used: {str(error)[:200]}.") from None
        self.pairs = BytePairs(files, self.tensors["positional_embedding"].shape[0])

    @property
    def tokenise(self) -> Tokeniser:
        return self.pairs

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        x = F.interpolate(as_tensor(images), (self.side, self.side), mode="bicubic", antialias=True).clamp(
            0, 1
        )
        return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(SPREAD).view(3, 1, 1)

    def network(self, seed: int) -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed("smartclip init", seed))
            return PublishedClip(self.tensors, self.quick).to(self.device)

    def captioner(self, seed: int) -> Captioner:
        raise NotImplementedError("published weights are not trained from a random start")
