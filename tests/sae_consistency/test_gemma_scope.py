"""Gemma Scope folders compute here what they compute there; .npz files that numpy.savez did not write are refused."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.lib import format as npy
from safetensors.torch import save_file

from engine.sae_formats.reading import read_checkpoint
from tests.sae_consistency.test_checkpoint_refusals import refuses
from tests.sae_consistency.test_checkpoints import (
    D_IN,
    D_SAE,
    JUMP_STATE,
    assert_close,
    dl_jump,
    our_code,
    our_output,
    vectors,
)

RELEASED = "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"
ARRAYS = {name: tensor.numpy() for name, tensor in JUMP_STATE.items()}


def gemma_folder(tmp_path: Path, name: str = RELEASED, **arrays: Any) -> Path:
    folder = tmp_path / name
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "params.npz", **{**ARRAYS, **arrays})
    return folder


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("<f4", 0.0), (">f8", 0.0), ("<f2", 1e-3)])
def test_params_compute_what_gemma_scope_computes(
    tmp_path: Path, order: Any, dtype: str, tolerance: float
) -> None:
    arrays = {name: np.array(value, dtype=dtype, order=order) for name, value in ARRAYS.items()}
    found = read_checkpoint(gemma_folder(tmp_path, **arrays))
    assert (found.origin, found.architecture, found.d_in, found.d_sae, found.k) == (
        "gemma-scope", "jumprelu", D_IN, D_SAE, None,
    )  # fmt: skip
    assert np.abs(found.tensors["decoder"].numpy() - ARRAYS["W_dec"]).max() <= tolerance
    state = {name: torch.tensor(np.asarray(value, dtype=np.float32)) for name, value in arrays.items()}
    x, code = vectors(), dl_jump(state, vectors())
    assert_close(our_code(found, "jumprelu", x, None), code)
    assert_close(our_output(found, x), code @ state["W_dec"] + state["b_dec"])


@pytest.mark.parametrize(
    ("name", "model", "hook"),
    [
        (RELEASED, "google/gemma-2-2b", "blocks.20.hook_resid_post"),
        ("models--google--gemma-scope-9b-it-res/snapshots/ab/layer_9/width_16k/average_l0_14",
         "google/gemma-2-9b-it", "blocks.9.hook_resid_post"),
        ("gemma-scope-2b-pt-mlp/layer_3/width_65k/average_l0_5", "google/gemma-2-2b", "blocks.3.hook_mlp_out"),
        ("gemma-scope-27b-pt-att/layer_3/width_65k/average_l0_5", "google/gemma-2-27b", "blocks.3.attn.hook_z"),
        ("mine/layer_7", None, "blocks.7.hook_resid_post"),
        ("mine", None, None),
    ],
)  # fmt: skip
def test_the_folders_name_the_hook_point(
    tmp_path: Path, name: str, model: str | None, hook: str | None
) -> None:
    metadata = read_checkpoint(gemma_folder(tmp_path, name)).metadata
    assert (metadata.get("model_name"), metadata.get("hook_name")) == (model, hook)
    assert ("assumed" in metadata) == (name == "mine/layer_7")


def test_the_second_gemma_scope(tmp_path: Path) -> None:
    folder = tmp_path / "resid_post" / "layer_12_width_16k_l0_small"
    folder.mkdir(parents=True)
    state = {name.replace("W_", "w_"): tensor for name, tensor in JUMP_STATE.items()}
    save_file(state, folder / "params.safetensors")
    settings = {"architecture": "jump_relu", "model_name": "gemma-v3-1b-pt"}
    (folder / "config.json").write_text(json.dumps(settings))
    found = read_checkpoint(folder)
    assert found.metadata == {"model_name": "gemma-3-1b-pt", "hook_name": "blocks.12.hook_resid_post"}
    assert_close(our_code(found, "jumprelu", vectors(), None), dl_jump(JUMP_STATE, vectors()))
    (folder / "config.json").write_text(json.dumps({**settings, "architecture": "relu"}))
    refuses(folder, "architecture 'relu'")
    save_file({**state, "affine_skip_connection": torch.zeros(D_IN, D_IN)}, folder / "params.safetensors")
    (folder / "config.json").unlink()
    refuses(folder, "affine_skip_connection")


@pytest.mark.parametrize(
    ("name", "arrays", "words"),
    [
        ("gemma-scope-2b-pt-transcoders/layer_3/width_16k", {}, "transcoder"),
        ("gemma-scope-2b-pt-res/embedding/width_4k", {}, "token embedding"),
        (RELEASED, {"scaling_factor": np.full(D_SAE, 2.0, np.float32)}, "scaling_factor"),
        (RELEASED, {"W_enc": np.zeros((D_IN + 1, D_SAE), np.float32)}, "expected (24, 11)"),
        (RELEASED, {"threshold": np.zeros(3, np.float32)}, "shape (3,), expected (24,)"),
        (RELEASED, {"b_enc": np.zeros(D_SAE, np.int64)}, "b_enc as 'int64'"),
        (RELEASED, {"b_enc": np.full(D_SAE, np.nan, np.float32)}, "NaN or infinite values in its b_enc"),
        (RELEASED, {"b_enc": np.array([{}] * D_SAE, dtype=object)}, "b_enc as 'object'"),
        (RELEASED, {"W_enc": np.zeros((2, 2, 2), np.float32)}, "must be a matrix or a vector"),
        (RELEASED, {"b_enc": np.zeros(D_SAE, np.complex64)}, "complex64"),
    ],
)
def test_arrays_we_cannot_use_are_refused(tmp_path: Path, name: str, arrays: Any, words: str) -> None:
    refuses(gemma_folder(tmp_path, name, **arrays), words)


def test_a_scaling_factor_of_one_and_compression_are_fine(tmp_path: Path) -> None:
    folder = gemma_folder(tmp_path)
    np.savez_compressed(folder / "params.npz", **ARRAYS, scaling_factor=np.ones(D_SAE, np.float32))
    assert read_checkpoint(folder).d_sae == D_SAE


def member(shape: tuple[int, ...], content: bytes, descr: str = "<f4") -> bytes:
    """An .npy file whose header declares `shape`, whatever `content` is."""
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def archive_of(folder: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "params.npz", "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return folder


GOOD = {f"{name}.npy": member(value.shape, value.tobytes()) for name, value in ARRAYS.items()}


def test_members_written_by_hand_are_read(tmp_path: Path) -> None:
    assert read_checkpoint(archive_of(tmp_path, GOOD)).d_sae == D_SAE


@pytest.mark.parametrize(
    "name",
    [
        "../W_extra.npy",
        "/etc/cron.d/x.npy",
        "a/b.npy",
        "..\\x.npy",
        "C:\\x.npy",
        "x.pkl",
        "W enc.npy",
        ".npy",
    ],
)
def test_a_path_in_a_members_name_is_refused(tmp_path: Path, name: str) -> None:
    refuses(archive_of(tmp_path / "deep" / "sae", {**GOOD, name: GOOD["b_enc.npy"]}), "no array's name")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["params.npz"]


@pytest.mark.parametrize("side", [10**6, 2**40, 2**63, 10**30])
def test_a_shape_larger_than_the_member_is_refused_before_it_is_allocated(tmp_path: Path, side: int) -> None:
    huge = {**GOOD, "W_enc.npy": member((side, side), b"\0" * 64)}
    refuses(archive_of(tmp_path, huge), "not what is there")


def test_a_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    side = 2_000
    bomb = {**GOOD, "W_enc.npy": member((side, side), bytes(4 * side * side))}
    folder = archive_of(tmp_path, bomb, zipfile.ZIP_DEFLATED)
    assert (folder / "params.npz").stat().st_size < 30_000
    refuses(folder, "hardly compress")


def test_a_member_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    folder = archive_of(tmp_path, GOOD, zipfile.ZIP_DEFLATED)
    content = bytearray((folder / "params.npz").read_bytes())
    entry = content.rindex(b"W_enc.npy") - 46
    claimed = 128 + 4 * 40_000 * D_SAE
    content[entry + 24 : entry + 28] = struct.pack("<I", claimed)
    (folder / "params.npz").write_bytes(content)
    refuses(folder, "not what is there")


@pytest.mark.parametrize("keep", [0, 10, 400, -30])
def test_truncated_files_are_refused(tmp_path: Path, keep: int) -> None:
    folder = gemma_folder(tmp_path)
    (folder / "params.npz").write_bytes((folder / "params.npz").read_bytes()[:keep])
    refuses(folder, "damaged params.npz")


def test_too_many_members_encryption_and_bad_headers_are_refused(tmp_path: Path) -> None:
    many = {f"a{i}.npy": GOOD["b_enc.npy"] for i in range(40)}
    refuses(archive_of(tmp_path / "many", many), "40 members")
    pickled = {**GOOD, "b_enc.npy": b"\x80\x04cos\nsystem\n"}
    refuses(archive_of(tmp_path / "pickled", pickled), "damaged params.npz")
    long = {**GOOD, "b_enc.npy": member((D_SAE,), b"").replace(b"descr", b"descr" + b" " * 40)}
    refuses(archive_of(tmp_path / "long", long), "damaged params.npz")
    code = {
        **GOOD,
        "b_enc.npy": b"\x93NUMPY\x01\x00\x20\x00" + b"__import__('os').system('true')\n" + bytes(96),
    }
    refuses(archive_of(tmp_path / "code", code), "damaged params.npz")
    folder = archive_of(tmp_path / "locked", GOOD)
    content = bytearray((folder / "params.npz").read_bytes())
    for signature, flag in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = content.find(signature)
        while start >= 0:
            content[start + flag] |= 1
            start = content.find(signature, start + 4)
    (folder / "params.npz").write_bytes(content)
    refuses(folder, "damaged params.npz")
