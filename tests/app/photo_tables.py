"""A state folder with a small made run for every page, and the addresses that show them."""

from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from analyses.figures import finish
from engine.client import Client
from engine.studies.concept_hierarchy import ConceptHierarchy
from tests.app import (
    causal_tables,
    counterfactual_tables,
    denoising_tables,
    extrapolation_tables,
    hierarchy_tables,
    label_shift_tables,
    mask_tables,
    reasoner_tables,
    srf_tables,
)
from tests.conftest import TINY_WORLD

HIERARCHY, CAUSAL, TRIPLETS, PUZZLES = "c10000000000", "ca0000000000", "5f0000000000", "520000000000"
DENOISER, SHIFTED, SHIFTED_BRIEFLY = "5a0000000000", "150000000000", "150000000001"
EXTRAPOLATED, COUNTERFACTUAL, MASKS = "e00000000000", "cf0000000000", "5c0000000000"
ON_TEXT: dict[str, Any] = {
    "hook_point": "blocks.1.hook_out", "n_tokens": 2_000, "context_size": 32, "d_sae": 64, "k": 6, "n_steps": 40,
    "batch_size": 128, "n_match_points": 1, "functional_tokens": 0, "explained_pairs": 0,
}  # fmt: skip


def write_runs(home: Path) -> None:
    """One finished run of every study but SAE consistency, and a second of label shift to compare it with."""
    rows = hierarchy_tables.world_rows(hierarchy_tables.DEEP, (0, 1, 2))
    settings = ConceptHierarchy.Config(**hierarchy_tables.CONFIG).model_dump(mode="json")
    hierarchy_tables.write_run(home, HIERARCHY, settings, (0, 1, 2), rows)
    causal_tables.write_run(home, CAUSAL, {"n_latents": 2}, (0, 1, 2), 0.3)
    srf_tables.write_run(home, TRIPLETS)
    reasoner_tables.write_run(home, PUZZLES, {"n_steps": 40})
    denoising_tables.write_run(home, DENOISER, denoising_tables.TINY)
    label_shift_tables.write_run(home, SHIFTED, {}, (0, 1, 2))
    label_shift_tables.write_run(home, SHIFTED_BRIEFLY, {"swap_rounds": 0}, (0, 1, 2))
    extrapolation_tables.write_run(home, EXTRAPOLATED)
    counterfactual_tables.write_run(home, COUNTERFACTUAL)
    mask_tables.write_run(home, MASKS, mask_tables.TINY)


def train_saes(client: Client) -> None:
    """SAEs of a world, SAEs on the bundled model with their cards, and a figure kept."""
    runs = [
        client.submit("sae_consistency", TINY_WORLD, [0, 1, 2])["id"],
        client.submit("sae_consistency", ON_TEXT, [0, 1])["id"],
    ]
    assert [client.wait(run)["state"] for run in runs] == ["done", "done"]
    cards = client.make_cards(runs[1], max_tokens=2_000, checks_tokens=0, probe_documents=0)
    assert client.wait(cards["id"])["state"] == "done"
    figure = finish(
        go.Figure(go.Scatter(x=[1, 2, 3], y=[1, 4, 9])),
        alt="A curve that rises from 1 to 9 over three steps.",
    )
    client.save_figure("A curve", f"label-shift?run={SHIFTED}", figure.to_json(), "x,y\n1,1\n2,4\n3,9\n")
