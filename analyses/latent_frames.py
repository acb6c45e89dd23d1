"""Tidy frames of a graph over learnt latents: its nodes, how often each link was found, and what a second graph says.

Input frames have the columns of the tables `latents`, `true_latents`, `latent_edges` and `true_edges`
(engine/schema.py). A node is a latent's name; a learnt latent of a known world is named after the true latent that it
was matched with.
"""

from collections.abc import Iterable
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd

Frame = Any
Edge = tuple[str, str]
BOTH, ONLY_FOUND, ONLY_REFERENCE, FOUND, REFERENCE = (
    "both",
    "only found",
    "only reference",
    "found",
    "reference",
)
SEEDS, BOOTSTRAPS = "seeds", "bootstraps"


def natural(name: str) -> tuple[Any, ...]:
    """Sorting key that puts "a2" before "a10"."""
    parts, digits = [], ""
    for character in [*str(name), ""]:
        if character.isdigit():
            digits += character
            continue
        parts += [(0, int(digits), "")] if digits else []
        digits = ""
        parts += [(1, 0, character)] if character else []
    return tuple(parts)


def graph_nodes(latents: Frame, true_latents: Frame, method: str) -> pd.DataFrame:
    """Every latent of a method and of the truth once: columns name, modality; by modality, then by name."""
    learnt = latents[latents["method"] == method][["name", "modality"]]
    known = true_latents.rename(columns={"latent": "name"})[["name", "modality"]]
    both = pd.concat([known, learnt]).drop_duplicates("name")
    order = {modality: place for place, modality in enumerate(dict.fromkeys(both["modality"]))}
    rows = sorted(both.to_dict("records"), key=lambda row: (order[row["modality"]], natural(row["name"])))
    return pd.DataFrame(rows, columns=["name", "modality"])


def edge_shares(edges: Frame, method: str, confidence: str) -> pd.DataFrame:
    """How sure each link of a method is: columns source, target, share (0 to 1), strength (mean), seeds.

    `confidence` is "seeds" (share of the method's seeds that found it) or "bootstraps" (share of bootstraps that found
    it, mean over seeds). Links that were never found are left out.
    """
    table = edges[edges["method"] == method]
    n_seeds = max(table["seed"].nunique(), 1)
    grouped = table.assign(found=table["present"].astype(float)).groupby(["source", "target"], sort=False)
    frame = grouped.agg(
        seeds=("found", "sum"), strength=("strength", "mean"), drawn=("bootstrap_share", "sum")
    ).reset_index()
    share = frame["seeds"] / n_seeds if confidence == SEEDS else frame["drawn"] / n_seeds
    frame = frame.assign(share=share, seeds=frame["seeds"].astype(int)).drop(columns="drawn")
    return frame[frame["share"] > 0].reset_index(drop=True)


def has_bootstraps(edges: Frame, method: str) -> bool:
    """Whether the links of a method were drawn again on bootstrap samples."""
    return bool(edges.loc[edges["method"] == method, "bootstrap_share"].notna().any())


def pairs_of(edges: Frame) -> list[Edge]:
    """The (source, target) of a frame's rows."""
    return list(zip(edges["source"], edges["target"], strict=True))


def overlay(found: Frame, reference: Iterable[Edge]) -> pd.DataFrame:
    """Found links beside a reference graph's: the columns of `edge_shares` and status ("both", "only found", "only
    reference"); what only the reference has gets share 1."""
    wanted = list(dict.fromkeys(reference))
    known, have = set(wanted), pairs_of(found)
    status = [BOTH if edge in known else ONLY_FOUND for edge in have]
    missed = [edge for edge in wanted if edge not in set(have)]
    extra = pd.DataFrame(
        [
            {"source": a, "target": b, "share": 1.0, "strength": np.nan, "seeds": 0, "status": ONLY_REFERENCE}
            for a, b in missed
        ]
    )
    shown = found.assign(status=status)
    return pd.concat([part for part in (shown, extra) if len(part)] or [shown], ignore_index=True)


def alone(edges: Frame | Iterable[Edge], status: str) -> pd.DataFrame:
    """One graph by itself: a frame of found links, or (source, target) pairs with share 1."""
    if isinstance(edges, pd.DataFrame):
        return edges.assign(status=status)
    columns = ["source", "target", "share", "strength", "seeds", "status"]
    return pd.DataFrame([(a, b, 1.0, np.nan, 0, status) for a, b in edges], columns=columns)


def scores_text(frame: Frame) -> str:
    """Counts of an overlay in words, with the F1 of the links that are shown."""
    both, extra, missed = (int((frame["status"] == s).sum()) for s in (BOTH, ONLY_FOUND, ONLY_REFERENCE))
    f1 = f"; F1 {2 * both / (2 * both + extra + missed):.3f}" if len(frame) else ""
    return f"{both} in both, {extra} only found, {missed} missed{f1}"


def to_graph(nodes: Frame, edges: Frame) -> nx.DiGraph:
    """The shown graph, for export: nodes with `modality`; edges with `weight` (the share) and `status`."""
    graph: nx.DiGraph = nx.DiGraph()
    for row in nodes.to_dict("records"):
        graph.add_node(row["name"], modality=row["modality"])
    for row in edges.to_dict("records"):
        graph.add_edge(row["source"], row["target"], weight=float(row["share"]), status=row["status"])
    return graph


def by_modality(edges: Frame, place: dict[str, str], directed: bool = True) -> pd.DataFrame:
    """The links with every modality's latents taken together: a pair's strongest link stands for all of them.

    `place` holds the modality of every latent, in the order of the columns. Links within a modality are left out; when
    not `directed`, a pair is named in that order whichever way its links run.
    """
    order = {modality: i for i, modality in enumerate(dict.fromkeys(place.values()))}
    table = edges.assign(source=edges["source"].map(place), target=edges["target"].map(place))
    table = table[table["source"] != table["target"]].dropna(subset=["source", "target"])
    if not directed:
        back = table["source"].map(order) > table["target"].map(order)
        table.loc[back, ["source", "target"]] = table.loc[back, ["target", "source"]].to_numpy()
    strongest = table.sort_values("share", ascending=False, kind="stable")
    return strongest.drop_duplicates(["source", "target"]).reset_index(drop=True)


def modality_nodes(nodes: Frame) -> pd.DataFrame:
    """One node a modality, in the order of the columns."""
    names = list(dict.fromkeys(nodes["modality"]))
    return pd.DataFrame({"name": names, "modality": names})
