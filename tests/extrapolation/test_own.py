"""Your own pictures and classifier: read, adapted to without being changed, or refused with one sentence."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

from data.class_pictures import ClassPictures, block_mask, covered_block, noisy_block, read_class_folder
from engine.errors import UserError
from engine.studies.base import parse_config
from engine.studies.extrapolation import Extrapolation
from engine.studies.extrapolation.classifiers import LAYER, OwnNetwork, open_classifier
from engine.studies.extrapolation.config import Config
from engine.studies.extrapolation.source import open_pictures
from engine.studies.extrapolation.training import train
from tests.extrapolation.conftest import MakeRun

STUDY = Extrapolation()
EVIL = "<img src=x>"


def write_pictures(folder: Path, names: tuple[str, ...], each: int = 14) -> Path:
    rng = np.random.default_rng(0)
    for k, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 90, (20, 24, 3)) + np.array([150, 0, 0]) * k
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
    return folder


def vit(folder: Path, names: tuple[str, ...]) -> Path:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=4,
        id2label=dict(enumerate(names)),
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(folder)
    return folder


def resnet() -> ResNetForImageClassification:
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 2, 1, 1], layer_type="basic", num_labels=3
    )  # type: ignore[call-arg]
    return ResNetForImageClassification(config).eval()


def as_torchvision(name: str) -> str:
    """A tensor of transformers' ResNet by its name in torchvision."""
    for old, new in (
        ("resnet.embedder.embedder.convolution", "conv1"),
        ("resnet.embedder.embedder.normalization", "bn1"),
        ("classifier.1", "fc"),
    ):
        if name.startswith(old):
            return name.replace(old, new)
    parts = name.split(".")
    stage, layer = int(parts[3]) + 1, parts[5]
    rest = parts[-1]
    kind = parts[-2]
    if parts[6] == "shortcut":
        return f"layer{stage}.{layer}.downsample.{0 if kind == 'convolution' else 1}.{rest}"
    return f"layer{stage}.{layer}.{'conv' if kind == 'convolution' else 'bn'}{int(parts[7]) + 1}.{rest}"


class TestClassifier:
    def test_torchvision_s_resnet_gives_the_same_answers(self, tmp_path: Path) -> None:
        model, path = resnet(), tmp_path / "mine.safetensors"
        for name, value in model.named_buffers():
            if name.endswith("running_mean"):
                value.normal_()
        tensors = {as_torchvision(name): value.contiguous() for name, value in model.state_dict().items()}
        assert "layer2.0.downsample.1.running_var" in tensors and LAYER.match("layer2.1.bn2.weight")
        save_file(tensors, path)
        images = torch.rand(2, 3, 32, 32)
        found = open_classifier(str(path))
        with torch.no_grad():
            assert torch.allclose(found.module.eval()(images).logits, model(images).logits)
        assert found.names == ("0", "1", "2")

    def test_a_transformers_folder_is_read_and_stays_as_it_is(self, tmp_path: Path) -> None:
        found = open_classifier(str(vit(tmp_path, ("cat", "dog"))))
        net = OwnNetwork(found, 16, 3, seed=0).eval()
        images, hidden = torch.rand(2, 3, 16, 16), torch.zeros(2, 64, dtype=torch.bool)
        logits, rebuilt = net(images, hidden)
        mean, std = (torch.tensor(one).reshape(1, 3, 1, 1) for one in (found.mean, found.std))
        assert torch.allclose(logits, found.module((images - mean) / std).logits, atol=1e-6)
        assert rebuilt.shape == (2, 64, 12) and found.names == ("cat", "dog")
        other = images.clone()
        other[:, :, :2, :2] = 9.0
        hidden[:, 0] = True
        assert torch.equal(net(images, hidden)[0], net(other, hidden)[0])
        assert all(not one.requires_grad for name, one in net.named_parameters() if name.startswith("model."))

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("m.pt", "can run code"),
            ("m.bin", "can run code"),
            ("m.txt", "no .safetensors"),
            ("gone", "neither a folder nor a file"),
        ],
    )
    def test_what_can_run_code_is_refused(self, tmp_path: Path, name: str, words: str) -> None:
        if name != "gone":
            (tmp_path / name).write_bytes(b"\x80\x04.")
        with pytest.raises(UserError, match=words) as caught:
            open_classifier(str(tmp_path / name))
        assert caught.value.field == "classifier"

    def test_folders_without_safetensors_or_with_code_are_refused(self, tmp_path: Path) -> None:
        folder = vit(tmp_path / "vit", ("a", "b"))
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text.replace("{", '{"auto_map": {"AutoConfig": "evil.py"},', 1))
        with pytest.raises(UserError, match="code of its own"):
            open_classifier(str(folder))
        (folder / "config.json").write_text(text)
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(UserError, match=r"no \.safetensors weights"):
            open_classifier(str(folder))
        with pytest.raises(UserError, match=r"has no config\.json"):
            open_classifier(str(tmp_path))

    def test_other_weights_are_no_classifier(self, tmp_path: Path) -> None:
        save_file({"a": torch.zeros(2)}, tmp_path / "a.safetensors")
        with pytest.raises(UserError, match="torchvision's ResNet"):
            open_classifier(str(tmp_path / "a.safetensors"))
        damaged = tmp_path / "b.safetensors"
        damaged.write_bytes(b"\x00" * 40)
        with pytest.raises(UserError, match="could not be read"):
            open_classifier(str(damaged))


class TestFolder:
    def test_your_classifier_meets_your_pictures(self, tmp_path: Path, make_run: MakeRun) -> None:
        folder = write_pictures(tmp_path / "pictures", ("dog", "cat"))
        (folder / "dog" / "broken.png").write_bytes(b"no picture")
        model = vit(tmp_path / "vit", ("cat", EVIL, "dog"))
        before = load_file(model / "model.safetensors")
        make = {
            "source": "folder",
            "folder": str(folder),
            "classifier": str(model),
            "side": 16,
            "steps": 25,
            "n_pictures": 4,
        }
        run = make_run(tmp_path / "run", (0,), **make)
        train(run)
        cells = pq.read_table(tmp_path / "run" / "tables" / "extra_map.parquet").to_pandas()
        assert cells["accuracy"].notna().all() and len(cells) == 7 * 5
        data = pq.read_table(tmp_path / "run" / "tables" / "extra_data.parquet").to_pandas()
        assert (
            list(data["name"].unique()) == ["cat", EVIL, "dog"]
            and data[data["name"] == EVIL]["rows"].sum() == 0
        )
        assert "broken.png" in (tmp_path / "run" / "events.jsonl").read_text()
        after = load_file(model / "model.safetensors")
        assert all(torch.equal(before[name], after[name]) for name in before)
        kept = load_file(tmp_path / "run" / "tensors" / "pictures-0.safetensors")
        assert kept and not any(name.startswith("model.") for name in kept)

    def test_pictures_without_classes_have_no_accuracy(self, tmp_path: Path, make_run: MakeRun) -> None:
        folder = write_pictures(tmp_path / "pictures", (".",), each=24)
        model = vit(tmp_path / "vit", ("cat", "dog"))
        make = {
            "source": "folder",
            "folder": str(folder),
            "classifier": str(model),
            "side": 16,
            "steps": 25,
            "scopes": [0.5],
        }
        train(make_run(tmp_path / "run", (0,), **make))
        cells = pq.read_table(tmp_path / "run" / "tables" / "extra_map.parquet").to_pandas()
        assert cells["accuracy"].isna().all() and cells["moved"].between(0, 1).all()
        assert pd.isna(
            pq.read_table(tmp_path / "run" / "tables" / "extra_models.parquet").to_pandas()["accuracy"][0]
        )

    def test_classes_are_matched_by_name_or_by_order_or_not_at_all(self, tmp_path: Path) -> None:
        folder = write_pictures(tmp_path / "pictures", ("cat", "dog"))

        def opened(name: str, names: tuple[str, ...]) -> ClassPictures:
            model = vit(tmp_path / name, names)
            return open_pictures(Config(source="folder", folder=str(folder), classifier=str(model), side=16))

        by_name, by_order = opened("a", ("Dog", "bird", "CAT")), opened("b", ("LABEL_0", "LABEL_1"))
        assert set(by_name.labels[:14]) == {2} and set(by_name.labels[14:]) == {0}
        assert by_order.names == ("cat", "dog") and set(by_order.labels[:14]) == {0}
        strange = opened("c", ("cat", "bird", "fish"))
        assert not strange.labelled and "dog is no class of the classifier" in strange.skipped[-1]

    @pytest.mark.parametrize(
        ("names", "each", "words"),
        [((), 0, "no sub-folders"), (("cat",), 30, "one class"), (("cat", "dog"), 3, "6 readable pictures")],
    )
    def test_too_little_is_refused_before_a_run_is_queued(
        self, tmp_path: Path, names: tuple[str, ...], each: int, words: str
    ) -> None:
        folder = write_pictures(tmp_path / "few", names, each)
        folder.mkdir(exist_ok=True)
        with pytest.raises(UserError, match=words) as caught:
            STUDY.fingerprint(parse_config(STUDY, None, {"source": "folder", "folder": str(folder)}), [0])
        assert caught.value.field == "folder" and caught.value.message.endswith(".")

    def test_a_missing_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no folder on this machine"):
            read_class_folder(tmp_path / "gone", 16, np.random.default_rng(0), True)


class TestCorruption:
    def test_noise_stays_in_its_block_and_within_black_and_white(self) -> None:
        images = np.full((50, 3, 8, 8), 0.5, dtype=np.float32)
        changed, mask = noisy_block(images, 3, 2.0, True, np.random.default_rng(0))
        assert (mask.sum(axis=(1, 2)) == 9).all() and (changed[~np.repeat(mask[:, None], 3, 1)] == 0.5).all()
        assert changed.min() == 0 and changed.max() == 1
        free, _ = noisy_block(images, 3, 2.0, False, np.random.default_rng(0))
        assert free.max() > 2 and free[np.repeat(mask[:, None], 3, 1)].std() == pytest.approx(2.0, rel=0.1)

    def test_blocks_lie_anywhere_and_the_covered_one_is_another_corruption(self) -> None:
        rng = np.random.default_rng(0)
        assert block_mask(500, 8, 2, rng).mean(axis=0).min() > 0
        changed, mask = covered_block(np.zeros((5, 1, 8, 8), dtype=np.float32), 4, rng)
        assert all(len(np.unique(changed[i, 0][mask[i]])) == 1 for i in range(5))
