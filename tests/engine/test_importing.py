"""SAEs from elsewhere: what the engine says of them, what it refuses, and the run that they become."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine import importing
from engine.client import Client, EngineError
from engine.errors import UserError
from engine.hub import HubFolder, parse_hub_id
from engine.importing import Found, import_settings, inspect_sae
from engine.language_model import BUNDLED
from engine.sae_formats.__main__ import answer
from engine.sae_names import expected_width, hook_point_named, model_named
from tests.engine.hub_server import HubServer
from tests.sae_consistency.test_checkpoint_refusals import Trap
from tests.sae_consistency.test_checkpoints import (
    D_IN,
    D_SAE,
    dictionary_learning_folder,
    dl_linear,
    sae_lens_sae,
    sparsify_folder,
)
from tests.sae_consistency.test_gemma_scope import archive_of, gemma_folder


def sae_lens_folder(folder: Path, **metadata: Any) -> Path:
    sae_lens_sae("topk", False).save_model(folder)
    settings = json.loads((folder / "cfg.json").read_text())
    settings["metadata"] |= metadata
    (folder / "cfg.json").write_text(json.dumps(settings))
    return folder


def refused(source: str | Path, words: str) -> str:
    with pytest.raises(UserError) as caught:
        inspect_sae(str(source))
    message = caught.value.message
    assert caught.value.field == "checkpoint" and words in message, message
    assert message.endswith(".") and message.isprintable()
    return message


class TestFound:
    @pytest.fixture(autouse=True)
    def in_this_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importing, "_facts", lambda folder, stamp: answer(folder))

    def test_sae_lens(self, tmp_path: Path) -> None:
        found = inspect_sae(f" {sae_lens_folder(tmp_path)} ")
        assert found.sentence == (
            "A sae-lens TopK SAE, 24 latents on 10-wide vectors, k 4, read at blocks.3.hook_out of openai-community/gpt2."
        )
        assert (found.hook_point, found.model) == ("blocks.3.hook_out", "openai-community/gpt2")
        assert found.metadata["hook_name"] == "blocks.3.hook_resid_post" and found.notes == []
        assert Found.model_validate_json(found.model_dump_json()) == found

    def test_dictionary_learning(self, tmp_path: Path) -> None:
        folder = dictionary_learning_folder(tmp_path, "AutoEncoder", dl_linear("bias"))
        found = inspect_sae(str(folder / "ae.pt"))
        assert (found.origin, found.architecture, found.k) == ("dictionary_learning", "relu", None)
        assert (found.hook_point, found.model) == ("blocks.3.hook_out", "EleutherAI/pythia-70m")

    def test_sparsify(self, tmp_path: Path) -> None:
        folder, _ = sparsify_folder(tmp_path / "layers.10.mlp")
        assert inspect_sae(str(folder)).hook_point == "blocks.10.mlp.hook_out"
        (tmp_path / "config.json").write_text(json.dumps({"model": "EleutherAI/pythia-160m"}))
        assert inspect_sae(str(folder)).model == "EleutherAI/pythia-160m"

    def test_gemma_scope(self, tmp_path: Path) -> None:
        found = inspect_sae(str(gemma_folder(tmp_path)))
        assert (found.hook_point, found.model) == ("blocks.20.hook_out", "google/gemma-2-2b")
        bare = inspect_sae(str(gemma_folder(tmp_path, "mine/layer_7/width_16k")))
        assert bare.hook_point == "blocks.7.hook_out" and "assumed" in " ".join(bare.notes)

    def test_files_that_say_little(self, tmp_path: Path) -> None:
        folder = sae_lens_folder(tmp_path, hook_name="elsewhere", model_name="my model")
        found = inspect_sae(str(folder))
        assert found.hook_point is None and found.model is None
        assert len(found.notes) == 2 and "my model" in found.notes[0] and "hook point" in found.notes[1]

    def test_a_width_that_the_model_does_not_have_is_noted(self, tmp_path: Path) -> None:
        folder = sae_lens_folder(tmp_path, hook_name="blocks.3.hook_mlp_out", model_name=BUNDLED)
        assert "576 wide" in inspect_sae(str(folder)).notes[0]

    def test_metadata_of_any_kind_can_be_sent(self, tmp_path: Path) -> None:
        odd = {
            "a": float("nan"),
            "b": 10**400,
            "c": "\ud800\u202e\n<b>" * 99,
            "d": {"e": 1},
            "f": [1],
            "hook_name": 3,
        }
        found = inspect_sae(str(sae_lens_folder(tmp_path, **odd)))
        sent = json.loads(found.model_dump_json())["metadata"]
        assert set(sent) & set("abdf") == set() and len(sent["c"]) <= 300 and sent["c"].isprintable()
        assert found.hook_point is None


class TestRefused:
    def test_files_are_read_again_when_they_change(self, tmp_path: Path) -> None:
        folder, state = sparsify_folder(tmp_path)
        assert inspect_sae(str(folder)) == inspect_sae(str(folder))
        assert importing._facts.cache_info().hits > 0
        save_file({**state, "b_dec": torch.full((D_IN + 1,), 1.0)}, folder / "sae.safetensors")
        refused(folder, "expected (10,)")

    def test_what_is_no_folder(self, tmp_path: Path) -> None:
        refused("", "name a folder")
        refused("/nowhere", "neither a folder")
        refused("~nobody-here/x", "cannot be opened")
        refused("/" + "x" * 5_000, "cannot be opened")
        refused("a\0b", "name a folder")
        refused("owner/name/../../etc", "neither a folder")
        (tmp_path / "notes.txt").write_text("x")
        refused(tmp_path / "notes.txt", "not an SAE's weights")

    def test_archives(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "sae.zip", "w") as archive:
            archive.writestr("../../escaped", "x")
        refused(tmp_path / "sae.zip", "is an archive; unpack it and name the folder of one SAE")
        refused(archive_of(tmp_path / "g", {"../../escaped.npy": b"x"}), "no array's name")
        assert not list(tmp_path.parent.rglob("escaped*"))

    def test_a_folder_of_folders_names_them(self, tmp_path: Path) -> None:
        for layer in range(7):
            sparsify_folder(tmp_path / f"layers.{layer}")
        message = refused(tmp_path, "its folders do; name one of layers.0, layers.1")
        assert message.endswith("and 2 more.")
        (tmp_path / "empty").mkdir()
        refused(tmp_path / "empty", "holds no SAE's file")

    def test_code_is_not_run(self, tmp_path: Path) -> None:
        folder = dictionary_learning_folder(tmp_path / "dl", "AutoEncoder", dl_linear("bias"))
        torch.save({"bias": Trap(tmp_path / "ran")}, folder / "ae.pt")
        refused(folder, "not a plain state dict")
        assert not (tmp_path / "ran").exists()

    def test_damage_and_nan(self, tmp_path: Path) -> None:
        folder, state = sparsify_folder(tmp_path)
        save_file({**state, "b_dec": torch.full((D_IN,), float("nan"))}, folder / "sae.safetensors")
        refused(folder, "NaN or infinite values in its b_dec")
        content = (folder / "sae.safetensors").read_bytes()
        (folder / "sae.safetensors").write_bytes((2**40).to_bytes(8, "little") + content[8:])
        refused(folder, "its header claims")

    def test_a_reader_that_dies_or_hangs_is_one_sentence(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder, _ = sparsify_folder(tmp_path)
        monkeypatch.setattr(importing, "SECONDS", 0.01)
        refused(folder, "took too long")
        monkeypatch.setattr(importing, "SECONDS", 30)
        monkeypatch.setattr(sys, "executable", "/bin/false")
        refused(folder, "ended without an answer")

    def test_the_reader_has_little_memory_and_writes_nothing(self, tmp_path: Path) -> None:
        code = (
            "import numpy, sys\nfrom engine.sae_formats.__main__ import confine\nconfine(0)\n"
            "try:\n    numpy.ones(600_000_000)\nexcept MemoryError:\n    print('no memory')\n"
            "try:\n    with open(sys.argv[1], 'w') as f:\n        f.write('x')\nexcept OSError:\n    print('no file')\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "x")], capture_output=True, text=True
        )
        assert done.stdout.split("\n")[:2] == ["no memory", "no file"], done.stderr
        assert (tmp_path / "x").stat().st_size == 0


def found(**changes: Any) -> Found:
    plain = {
        "source": "a", "folder": "/a", "origin": "sae-lens", "architecture": "topk", "d_in": 576, "d_sae": 24, "k": 4,
        "hook_point": "blocks.3.hook_out", "model": BUNDLED, "metadata": {}, "sentence": "", "notes": [],
    }  # fmt: skip
    return Found(**{**plain, **changes})


class TestSettings:
    def test_of_several(self) -> None:
        settings = import_settings([found(), found(folder="/b")], corpus="c.txt", n_tokens=5_000)
        assert settings == {
            "model": BUNDLED, "hook_point": "blocks.3.hook_out", "n_tokens": 5_000, "architecture": "topk",
            "d_sae": 24, "k": 4, "start_from": "/a,/b", "decoder_norm": "free", "n_steps": 0, "corpus": "c.txt",
        }  # fmt: skip

    def test_what_is_given_comes_first(self) -> None:
        settings = import_settings([found()], hook_point="blocks.5.hook_resid_pre", model="owner/name")
        assert (settings["hook_point"], settings["model"]) == ("blocks.5.hook_in", "owner/name")

    def test_a_small_jumprelu_has_a_k_that_fits(self) -> None:
        assert import_settings([found(architecture="jumprelu", k=None)])["k"] == 24

    @pytest.mark.parametrize(
        ("changes", "given", "field"),
        [
            ([{}, {"architecture": "relu"}], {}, "architecture"),
            ([{}, {"d_sae": 25}], {}, "d_sae"),
            ([{}, {"d_in": 577}], {}, "d_in"),
            ([{}, {"k": 5}], {}, "k"),
            ([{}, {"hook_point": "blocks.4.hook_out"}], {}, "hook_point"),
            ([{}, {"model": "owner/name"}], {}, "model"),
            ([{"hook_point": None}], {}, "hook_point"),
            ([{"hook_point": "blocks.30.hook_out"}], {}, "hook_point"),
            ([{}], {"hook_point": "nonsense"}, "hook_point"),
            ([{"d_in": 768}], {}, "hook_point"),
            ([{"d_in": 768, "hook_point": "blocks.3.mlp.hook_out"}], {}, "hook_point"),
            ([{"model": None, "metadata": {"model_name": "my model"}}], {}, "model"),
            ([{}], {"model": "/nowhere"}, "model"),
            ([{"folder": "/a,b"}], {}, "checkpoint"),
            ([], {}, "checkpoint"),
        ],
    )
    def test_what_does_not_fit_names_its_field(self, changes: list[Any], given: Any, field: str) -> None:
        with pytest.raises(UserError) as caught:
            import_settings([found(**change) for change in changes], **given)
        assert caught.value.field == field and caught.value.message.endswith(".")


@pytest.mark.parametrize(
    ("metadata", "model", "hook"),
    [
        ({"hook_name": "blocks.3.hook_resid_pre"}, None, "blocks.3.hook_in"),
        ({"hook_name": "blocks.3.attn.hook_z"}, None, "blocks.3.attn.o.hook_in"),
        ({"hook_name": "blocks.3.hook_mlp_out"}, None, "blocks.3.mlp.hook_out"),
        ({"hook_name": "blocks.3.hook_mlp_out"}, "google/gemma-2-2b", "blocks.3.ln2_post.hook_out"),
        ({"hook_name": "blocks.3.hook_out"}, None, "blocks.3.hook_out"),
        ({"hook_name": "resid_post_layer_12"}, None, "blocks.12.hook_out"),
        ({"hook_name": "attention_out_layer_2"}, None, "blocks.2.attn.hook_out"),
        ({"hook_name": "gpt_neox.layers.4"}, None, "blocks.4.hook_out"),
        ({"module": "model.layers.10.self_attn"}, None, "blocks.10.attn.hook_out"),
        ({"module": "layers.10"}, None, "blocks.10.hook_out"),
        ({"module": "layers.10", "module_input": True}, None, "blocks.10.hook_in"),
        ({"module": "h.3.mlp"}, None, "blocks.3.mlp.hook_out"),
        ({"layer": 6}, None, "blocks.6.hook_out"),
        ({"layer": True}, None, None),
        ({"hook_name": "embed", "module": "sae"}, None, None),
    ],
)
def test_hook_points_are_known_by_the_names_others_give(
    metadata: Any, model: str | None, hook: str | None
) -> None:
    named, assumed = hook_point_named(metadata, model)
    assert named == hook and bool(assumed) == ("layer" in metadata and hook is not None)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("gpt2-small", "openai-community/gpt2"), ("gemma-2-2b", "google/gemma-2-2b"), (BUNDLED, BUNDLED),
        ("SmolLM2-135M-Instruct (instruct model, 4-bit origin)", BUNDLED), ("own/er", "own/er"), ("mine", None),
        (3, None), ("/nowhere", None), ("pythia-<b>", None),
    ],
)  # fmt: skip
def test_models_are_known_by_the_names_others_give(name: Any, model: str | None) -> None:
    assert model_named(name) == model


def test_widths_are_read_from_the_models_settings() -> None:
    assert expected_width(BUNDLED, "blocks.3.hook_out") == 576
    assert expected_width(BUNDLED, "blocks.3.mlp.out.hook_in") is None
    assert expected_width("nobody/nothing", "blocks.3.hook_out") is None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("owner/name", HubFolder("owner/name", ".", None)),
        ("owner/name/layer_5/width_16k", HubFolder("owner/name", "layer_5/width_16k", None)),
        ("https://huggingface.co/owner/name/tree/v2/a", HubFolder("owner/name", "a", "v2")),
        ("owner", None), ("owner/../x", None), ("./a/b", None), ("a/b/*", None), ("/a/b", None),
    ],
)  # fmt: skip
def test_hub_ids(text: str, wanted: HubFolder | None) -> None:
    assert parse_hub_id(text) == wanted


def files_of(folder: Path, inside: str) -> dict[str, bytes]:
    return {f"{inside}{path.name}": path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """A hub of one released SAE beside a large file that nobody should fetch; the engine is pointed to it."""
    folder = tmp_path_factory.mktemp("released")
    sparse, _ = sparsify_folder(folder / "layers.2")
    files = files_of(sparse, "layers.2/") | {
        "layers.2/optimizer.pt": b"x" * 10_000, "layers.3/sae.safetensors": b"y" * 10_000, "README.md": b"z",
        "config.json": json.dumps({"model": "EleutherAI/pythia-70m"}).encode(),
    }  # fmt: skip
    server = HubServer({"owner/released": files, "owner/text": {"README.md": b"x"}})
    settings = {"HF_ENDPOINT": server.address, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "hf")}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    yield server
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})
    server.shutdown()


@pytest.fixture(scope="module")
def client(hub: HubServer, engine: Client) -> Client:
    return engine


class TestHub:
    def test_a_folder_is_fetched_alone(self, hub: HubServer, client: Client) -> None:
        found = client.inspect_sae("owner/released/layers.2")[0]
        assert (found["hook_point"], found["model"]) == ("blocks.2.hook_out", "EleutherAI/pythia-70m")
        assert found["source"] == "owner/released/layers.2" and found["d_sae"] == D_SAE
        assert sorted(hub.asked) == ["config.json", "layers.2/cfg.json", "layers.2/sae.safetensors"]
        again = client.inspect_sae(f"https://huggingface.co/{found['source']}")[0]
        assert again["folder"] == found["folder"] and len(hub.asked) == 3

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("owner/released", "its folders do; name one of layers.2, layers.3."),
            ("owner/released/layers.9", "its folders do; name one of layers.2, layers.3."),
            ("owner/text", "holds no SAE's file"),
            ("owner/nothing", "neither a folder on this machine nor a repository"),
            ("gated/sae", "accept its terms"),
        ],
    )
    def test_what_is_not_there_is_one_sentence(self, client: Client, name: str, words: str) -> None:
        with pytest.raises(EngineError) as caught:
            client.inspect_sae(name)
        assert caught.value.status == 422 and caught.value.message.startswith("checkpoint: ")
        assert words in caught.value.message and caught.value.message.isprintable()

    def test_offline_says_what_to_do_and_uses_what_is_here(self, client: Client) -> None:
        code = "import sys\nfrom engine.importing import locate_sae\nprint(locate_sae(sys.argv[1]))"
        for offline in ({"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}):
            words = [sys.executable, "-c", code]
            environment = {**os.environ, **offline}
            kept = subprocess.run(
                [*words, "owner/released/layers.2"], capture_output=True, text=True, env=environment
            )
            assert kept.stdout.strip().endswith("layers.2"), kept.stderr
            lost = subprocess.run(
                [*words, "owner/other/layers.2"], capture_output=True, text=True, env=environment
            )
            last = lost.stderr.strip().splitlines()[-1]
            assert "Hugging Face cannot be reached; go online" in last, last


def test_the_engine_reads_files_without_torch() -> None:
    code = "import sys, engine.importing, engine.explore_api; assert not {'torch', 'huggingface_hub'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
