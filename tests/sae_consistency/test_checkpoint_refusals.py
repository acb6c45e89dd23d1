"""Checkpoints that cannot be read are refused with one sentence, and no code in them is run."""

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import UserError
from engine.sae_formats.reading import read_checkpoint
from tests.sae_consistency.test_checkpoints import (
    D_IN,
    D_SAE,
    dictionary_learning_folder,
    dl_linear,
    sae_lens_sae,
    sparsify_folder,
)


def refuses(folder: Path, words: str) -> None:
    with pytest.raises(UserError) as caught:
        read_checkpoint(folder)
    assert caught.value.field == "checkpoint"
    assert words in caught.value.message and "\n" not in caught.value.message
    assert caught.value.message.endswith(".")


def test_folders_without_an_sae_are_refused(tmp_path: Path) -> None:
    refuses(tmp_path / "nowhere", "is not a folder")
    refuses(tmp_path, "name the folder of one SAE")
    folder, _ = sparsify_folder(tmp_path / "sparsify")
    (folder / "cfg.json").write_text("{")
    refuses(folder, "unreadable cfg.json")
    (folder / "cfg.json").write_text("[]")
    refuses(folder, "not a JSON object")
    (folder / "cfg.json").unlink()
    refuses(folder, "has no cfg.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transcode": True}, "transcoder"),
        ({"skip_connection": True}, "skip connection"),
        ({"activation": "groupmax"}, "groupmax"),
        ({"k": None}, "k = None"),
        ({"k": D_SAE + 1}, "k = 25"),
        ({"k": float("nan")}, "k = nan"),
        ({"d_in": 11}, "d_in = 11"),
        ({"num_latents": 7}, "d_sae = 7"),
    ],
)
def test_sparsify_settings_we_cannot_follow_are_refused(tmp_path: Path, changes: Any, words: str) -> None:
    refuses(sparsify_folder(tmp_path, **changes)[0], words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "transcoder"}, "'transcoder'"),
        ({"architecture": "temporal"}, "'temporal'"),
        ({"architecture": ["topk"]}, "['topk']"),
        ({"activation_fn": "tanh-relu"}, "tanh-relu"),
        ({"normalize_activations": "layer_norm"}, "layer_norm"),
        ({"normalize_activations": "covariance_whitening"}, "covariance_whitening"),
        ({"metadata": 3}, "metadata"),
        ({"d_sae": 7}, "d_sae = 7"),
    ],
)
def test_sae_lens_settings_we_cannot_follow_are_refused(tmp_path: Path, changes: Any, words: str) -> None:
    sae_lens_sae("topk", False).save_model(tmp_path)
    settings = json.loads((tmp_path / "cfg.json").read_text())
    (tmp_path / "cfg.json").write_text(json.dumps({**settings, **changes}))
    refuses(tmp_path, words)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("encoder.weight", None, "lacks the tensors encoder.weight"),
        ("W_skip", torch.zeros(D_IN, D_IN), "W_skip"),
        ("encoder.bias", torch.zeros(D_SAE + 1), "shape (25,), expected (24,)"),
        ("W_dec", torch.zeros(D_IN, D_SAE), "shape (10, 24), expected (24, 10)"),
        ("encoder.weight", torch.zeros(D_SAE), "must be a matrix"),
        ("encoder.weight", torch.zeros(0, D_IN), "must be a matrix"),
        ("b_dec", torch.full((D_IN,), float("nan")), "NaN or infinite values in its b_dec"),
        ("W_dec", torch.zeros(D_SAE, D_IN, dtype=torch.int8), "torch.int8"),
    ],
)
def test_wrong_tensors_are_refused(tmp_path: Path, name: str, value: Tensor | None, words: str) -> None:
    folder, state = sparsify_folder(tmp_path)
    changed = {k: v for k, v in {**state, name: value}.items() if v is not None}
    save_file(changed, folder / "sae.safetensors")
    refuses(folder, words)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    folder, _ = sparsify_folder(tmp_path / "sparsify")
    content = (folder / "sae.safetensors").read_bytes()
    (folder / "sae.safetensors").write_bytes(content[:-8])
    refuses(folder, "damaged sae.safetensors")
    other = dictionary_learning_folder(tmp_path / "dl", "AutoEncoder", dl_linear("bias"))
    for bad in (b"", b"nonsense", (other / "ae.pt").read_bytes()[:-40]):
        (other / "ae.pt").write_bytes(bad)
        refuses(other, "not a plain state dict")
    torch.save({"weights": [1, 2]}, other / "ae.pt")
    refuses(other, "not a plain state dict")
    shutil.rmtree(other)
    refuses(dictionary_learning_folder(other, "CrossCoder", dl_linear("bias")), "dict_class 'CrossCoder'")
    settings = json.loads((other / "config.json").read_text())
    settings["trainer"]["dict_class"] = "AutoEncoder"
    (other / "config.json").write_text(json.dumps({**settings, "buffer": {"io": "in_and_out"}}))
    refuses(other, "transcoder")


class Trap:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_code_in_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    folder = dictionary_learning_folder(tmp_path / "dl", "AutoEncoder", dl_linear("bias"))
    torch.save({"bias": Trap(tmp_path / "ran")}, folder / "ae.pt")
    refuses(folder, "not a plain state dict")
    assert not (tmp_path / "ran").exists()


def test_safetensors_whose_header_lies_are_refused(tmp_path: Path) -> None:
    folder, _ = sparsify_folder(tmp_path)
    file = folder / "sae.safetensors"
    content = file.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for claimed in (2**63, 2**31, 900_000_000, len(content)):
        file.write_bytes(claimed.to_bytes(8, "little") + content[8:])
        refuses(folder, "its header claims")
    for short in (b"", b"\x01", content[:8], content[: 8 + length // 2]):
        file.write_bytes(short)
        refuses(folder, "damaged sae.safetensors")
    for change in (
        {"shape": [2**40, 2**40]}, {"shape": [2**63, 2]}, {"shape": [-1, 5]}, {"dtype": "P7"},
        {"data_offsets": [0, 2**60]}, {"data_offsets": [2**62, 2**62 + 960]},
    ):  # fmt: skip
        changed = json.dumps({**header, "W_dec": {**header["W_dec"], **change}}).encode()
        file.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])
        refuses(folder, "damaged sae.safetensors")


def test_settings_that_are_no_settings_are_refused(tmp_path: Path) -> None:
    folder, _ = sparsify_folder(tmp_path)
    for content, words in (
        ("[" * 100_000, "unreadable cfg.json"),
        ('{"k": ' + "9" * 5_000 + "}", "unreadable cfg.json"),
        ("{}" + " " * 4_000_000, "more than 4 MB"),
        ('{"activation": "' + "x" * 10_000 + '\\n\\ud800"}', "has activation"),
    ):
        (folder / "cfg.json").write_text(content)
        refuses(folder, words)
    (folder / "cfg.json").unlink()
    (folder / "cfg.json").mkdir()
    refuses(folder, "has no cfg.json")


def test_pipes_and_devices_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "ae.pt")
    refuses(tmp_path, "name the folder of one SAE")
    (tmp_path / "sae_weights.safetensors").symlink_to("/dev/zero")
    refuses(tmp_path, "name the folder of one SAE")


def test_a_sparse_file_of_many_gigabytes_is_refused(tmp_path: Path) -> None:
    folder, _ = sparsify_folder(tmp_path)
    os.truncate(folder / "sae.safetensors", 2**40)
    refuses(folder, "at most 17 GB")


def test_tensors_that_show_more_than_they_store_are_refused(tmp_path: Path) -> None:
    folder = dictionary_learning_folder(tmp_path, "AutoEncoder", dl_linear("bias"))
    for bad in (
        torch.zeros(1).expand(10**7, 10**7),
        torch.zeros(3, 3).to_sparse(),
        torch.empty(10**7, 10**7, device="meta"),
    ):
        torch.save({**dl_linear("bias"), "encoder.weight": bad}, folder / "ae.pt")
        refuses(folder, "not a plain state dict")


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "archive/../../evil", "C:evil"])
def test_archives_of_torch_with_paths_or_compression_are_refused(tmp_path: Path, name: str) -> None:
    folder = dictionary_learning_folder(tmp_path / "dl", "AutoEncoder", dl_linear("bias"))
    content = (folder / "ae.pt").read_bytes()
    with zipfile.ZipFile(folder / "ae.pt", "a") as archive:
        archive.writestr(name, "x")
    refuses(folder, "unsafe member name")
    (folder / "ae.pt").write_bytes(content)
    with zipfile.ZipFile(folder / "ae.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/99", bytes(10**7))
    refuses(folder, "unpacks to more than its size")


def test_names_of_tensors_cannot_break_the_sentence(tmp_path: Path) -> None:
    folder, state = sparsify_folder(tmp_path)
    extra = {f"{i}\n\x1b[31m<b>\u202e{'x' * 500}": torch.zeros(1) for i in range(30)}
    save_file({**state, **extra}, folder / "sae.safetensors")
    with pytest.raises(UserError, match="and 24 more") as caught:
        read_checkpoint(folder)
    assert caught.value.message.isprintable() and len(caught.value.message) < 700
