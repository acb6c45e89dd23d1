"""Words for the runs of the two causal studies, from their settings."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

Config = dict[str, Any]
REAL = {
    "nhanes": "NHANES phenotypes",
    "nhefs": "NHEFS follow-up",
    "cells": "cell images",
    "bfi": "personality items",
}


def multimodal(config: Config) -> str:
    """The data, the blocks and the sparsity weights of a run across modalities."""
    weights = "λ " + ", ".join(f"{weight:g}" for weight in config["lambda_grid"])
    source, block = config["source"], f"{config['n_latents']} latents each"
    if source == "world":
        data = f"{config['graph']} world, {config['n_modalities']} modalities × {config['n_latents']} latents"
        return f"{data} · N {config['n_samples']:,} · {weights}"
    if source == "digits":
        return f"coloured and rotated digits · N {config['n_samples']:,} · {weights}"
    return f"{_real(config)} · {block} · {weights}"


def hierarchy(config: Config) -> str:
    """The data, their size and the level of the test of a search for a hierarchy."""
    source = config["source"]
    if source == "images":
        return f"diffusion on {config['images'].replace('_', ' and ')}"
    test = f"N {config['n_samples']:,} · α {config['alpha']:g}"
    if source == "world":
        seen = "" if config["observed"] == "states" else ", seen through mixing"
        return f"{config['shape']} world, {config['n_states']} states{seen} · {test}"
    if source == "features":
        return f"{config['n_features']} features of run {config['of'][:6]} · {test}"
    return f"{_real(config)} · {test}"


def _real(config: Config) -> str:
    return REAL.get(config["source"]) or PurePath(config["table"]).name


CAUSAL_SETTINGS: dict[str, Callable[[Config], str]] = {
    "multimodal_causal": multimodal,
    "concept_hierarchy": hierarchy,
}
