"""A user's own image classifier: a transformers folder, or torchvision's ResNet as safetensors. Nothing that can run code is opened.

torchvision's ResNets are read into transformers' ResNet, whose layers are the same, so torchvision need not be installed.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from engine.errors import UserError
from engine.studies.extrapolation.classifier_files import find_classifier
from engine.studies.extrapolation.models import norm_parameters
from engine.studies.extrapolation.patches import GRID, to_images

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LAYER = re.compile(r"layer(\d)\.(\d+)\.(conv|bn|downsample)\.?(\d)\.?(.*)")
HEAD_WIDTH = 64


@dataclass(frozen=True)
class Classifier:
    """An opened classifier: its module, the names of its classes, the mean and std of its inputs, the side it reads (0: any)."""

    module: nn.Module
    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int


def open_classifier(named: str) -> Classifier:
    """Read a classifier, frozen. Raises UserError("classifier")."""
    path = find_classifier(named)
    try:
        return _torchvision(path) if path.is_file() else _transformers(path)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            "classifier",
            f"{path.name} could not be read as an image classifier ({type(error).__name__}); save it again.",
        ) from None


def _transformers(folder: Path) -> Classifier:
    from transformers import AutoConfig, AutoModelForImageClassification

    if json.loads((folder / "config.json").read_text()).get("auto_map"):
        raise UserError(
            "classifier", f"{folder.name} asks to run code of its own (auto_map); such models are not opened."
        )
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    model = AutoModelForImageClassification.from_pretrained(
        folder, config=config, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    names = tuple(str(config.id2label[i]) for i in range(config.num_labels))
    about = folder / "preprocessor_config.json"
    prepared: dict[str, Any] = json.loads(about.read_text()) if about.is_file() else {}
    mean, std = prepared.get("image_mean", IMAGENET[0]), prepared.get("image_std", IMAGENET[1])
    size = prepared.get("size", getattr(config, "image_size", 0))
    side = next(iter(size.values()), 0) if isinstance(size, dict) else size
    side = side[0] if isinstance(side, list | tuple) else side
    return Classifier(model, names, tuple(mean), tuple(std), int(side or 0))


def _torchvision(path: Path) -> Classifier:
    from safetensors.torch import load_file
    from transformers import ResNetConfig, ResNetForImageClassification

    tensors = load_file(path)
    if "conv1.weight" not in tensors or "fc.weight" not in tensors or "layer4.0.conv1.weight" not in tensors:
        raise UserError(
            "classifier",
            f"{path.name} has not the layers of torchvision's ResNet; save other models as a transformers folder.",
        )
    blocks = [match for name in tensors if (match := LAYER.match(name))]
    depths = [1 + max(int(m[2]) for m in blocks if int(m[1]) == stage) for stage in range(1, 5)]
    bottleneck = "layer1.0.conv3.weight" in tensors
    n_out = len(tensors["fc.weight"])
    last = "conv3" if bottleneck else "conv2"
    config = ResNetConfig(
        num_channels=tensors["conv1.weight"].shape[1], embedding_size=len(tensors["conv1.weight"]), depths=depths,
        hidden_sizes=[len(tensors[f"layer{stage}.0.{last}.weight"]) for stage in range(1, 5)],
        layer_type="bottleneck" if bottleneck else "basic", num_labels=n_out,  # type: ignore[call-arg]
    )  # fmt: skip
    model = ResNetForImageClassification(config)
    model.load_state_dict({_renamed(name): value for name, value in tensors.items()})
    return Classifier(model, tuple(str(i) for i in range(n_out)), *IMAGENET, 0)


def _renamed(name: str) -> str:
    """torchvision's name of a ResNet's tensor as transformers calls it."""
    if match := LAYER.match(name):
        stage, layer, kind, number, rest = match.groups()
        part = (
            "convolution" if kind == "conv" or (kind == "downsample" and number == "0") else "normalization"
        )
        where = "shortcut" if kind == "downsample" else f"layer.{int(number) - 1}"
        return f"resnet.encoder.stages.{int(stage) - 1}.layers.{layer}.{where}.{part}.{rest}"
    head, _, rest = name.partition(".")
    start = "resnet.embedder.embedder"
    return {"conv1": f"{start}.convolution", "bn1": f"{start}.normalization", "fc": "classifier.1"}[
        head
    ] + f".{rest}"


class OwnNetwork(nn.Module):
    """A user's classifier, frozen, with a head that rebuilds patches from its last hidden state; called as `PatchNetwork` is.

    A hidden patch is painted in the mean colour of the classifier's inputs.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, classifier: Classifier, side: int, channels: int, seed: int) -> None:
        super().__init__()
        self.size, self.n_patches, self.channels = side // GRID, GRID**2, channels
        self.input_side = classifier.side
        self.model = classifier.module.requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(classifier.mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(classifier.std).reshape(1, -1, 1, 1), persistent=False)
        with torch.no_grad():
            blank = torch.zeros(1, channels, side, side)
            try:
                width = self._features(blank)[1].shape[1]
            except Exception as error:
                raise UserError(
                    "classifier",
                    f"it does not take pictures of {channels} × {side} × {side} ({type(error).__name__}); change side.",
                ) from None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.inner = nn.Linear(width, HEAD_WIDTH)
            self.place = nn.Parameter(0.02 * torch.randn(self.n_patches, HEAD_WIDTH))
            self.outer = nn.Linear(HEAD_WIDTH, channels * self.size**2)

    def trained_at_test(self) -> list[str]:
        """Names of the parameters that test-time training moves: the classifier's norms, as everything would be too much."""
        return [name for name in norm_parameters(self) if name.startswith("model.")]

    def _features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n × K) and the last hidden state as a map (n × width × h × w)."""
        prepared = (images - self.mean) / self.std
        if self.input_side:
            prepared = interpolate(prepared, size=self.input_side, mode="bilinear", antialias=False)
        found = self.model(pixel_values=prepared, output_hidden_states=True)
        state = found.hidden_states[-1]
        if state.ndim == 3:
            cells = int(state.shape[1] ** 0.5) ** 2
            edge = int(cells**0.5)
            state = state[:, -cells:].transpose(1, 2).reshape(len(state), -1, edge, edge)
        return found.logits, state

    def forward(self, images: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        pixels = hidden[..., None].expand(*hidden.shape, self.channels * self.size**2)
        covered = torch.where(to_images(pixels, self.channels, self.size), self.mean, images)
        logits, state = self._features(covered)
        cells = interpolate(state, size=GRID, mode="bilinear").flatten(2).transpose(1, 2)
        rebuilt: Tensor = self.outer(torch.nn.functional.gelu(self.inner(cells) + self.place))
        return logits, rebuilt
