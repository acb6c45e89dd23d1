"""Sparse probing: do a few of an SAE's features tell the labels of texts, beside a probe on the raw activations?

Tasks and labels are those of `data.labelled`; the SAEs may have seen the texts, without labels, in the bundled mix.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from analyses.streams import stream_seed
from data.assets import AssetMissing
from data.labelled import TASKS, Labelled, labelled
from engine import schema
from engine.activations import massive_limit
from engine.run import Run, Stopped
from engine.studies.sae_consistency.saes import Sae
from engine.tools.feature_cards.sparse_probes import (
    Floats,
    Ints,
    Probe,
    Split,
    bootstrap_accuracy,
    features_by_difference,
    fit_probe,
    majority_share,
    stratified_split,
)

if TYPE_CHECKING:
    from engine.language_model import LanguageModel
    from engine.tools.feature_cards.of_run import OfRun

K = (1, 2, 5, 20)
DENSE = 0
DOCUMENT_TOKENS = 64
FORWARD_TOKENS = 1024
DOCUMENTS_AT_ONCE = 32
POOLINGS = ("max", "mean")
Pooled = dict[str, Floats]


@dataclass(frozen=True)
class Texts:
    """n sampled documents: raw activations (tokens × d_in) of the kept tokens of each, `labels` (n) and the split."""

    activations: list[Tensor]
    labels: Ints
    split: Split


def write_probes(run: Run, of: "OfRun", model: "LanguageModel") -> None:
    """Write the table `probes`: for each seed and task a probe on 1, 2, 5 and 20 features, and a dense one (k = 0).

    `run.config.probe_documents` documents of a task, one of each group, evenly over domains and labels, are split
    50 : 20 : 30 into train, validation and test by the stream "probes" of the data seed. Of each the first 64 tokens
    are read behind the separator; position 0 and massive tokens are left out, as in collecting. Codes are pooled over
    tokens by maximum or mean, whichever has the higher mean validation accuracy over seeds and k. Features are chosen
    on train by the difference of class means, the regularisation on validation, and test is looked at once;
    `low` and `high` are a 95 % bootstrap interval over its documents. `chance` is the share of the majority class.
    The dense probe reads the pooled raw activations, so its rows are alike for all seeds. A corpus that is not
    installed is left out, with a message. Raises Stopped.
    """
    rows = []
    for task in TASKS if run.config.probe_documents else ():
        try:
            corpus = labelled(task)
        except AssetMissing as error:
            run.message(f"Probing of {task} was left out: {error}")
            continue
        texts = read_texts(run, of, model, corpus, task)
        rows += probe_rows(run, task, texts, of.saes, of.scale)
    run.write_table("probes", pa.Table.from_pylist(rows, schema=schema.run_columns("probes")))


def read_texts(run: Run, of: "OfRun", model: "LanguageModel", corpus: Labelled, task: str) -> Texts:
    """Sample documents of a corpus, split them and read them through the model. Raises Stopped."""
    generator = np.random.default_rng(stream_seed("probes", run.data_seed))
    kinds = [f"{domain} {label}" for domain, label in zip(corpus.domains, corpus.labels, strict=True)]
    strata = np.unique(kinds, return_inverse=True)[1]
    chosen = sample(corpus.groups, strata, run.config.probe_documents, generator)
    split = stratified_split(strata[chosen], generator)
    manifest = of.activations.manifest
    limit = massive_limit(manifest)
    tokens = [ids[:DOCUMENT_TOKENS] for ids in model.encode([corpus.texts[i] for i in chosen])]
    found: list[Tensor] = [torch.empty(0)] * len(tokens)
    read = document_activations(model, manifest["hook_point"], tokens)
    for done, (place, vectors) in enumerate(read, start=1):
        _proceed(run)
        found[place] = vectors[vectors.norm(dim=1) <= limit].cpu()
        run.progress(done, len(tokens), f"reading texts of {task}")
    return Texts(found, corpus.labels[chosen], split)


def sample(groups: Ints, strata: Ints, n: int, generator: np.random.Generator) -> Ints:
    """Up to `n` rows, sorted, no two of one group, as evenly as can be over the strata."""
    order = generator.permutation(len(groups))
    alone = order[np.sort(np.unique(groups[order], return_index=True)[1])]
    members = sorted((alone[strata[alone] == stratum] for stratum in np.unique(strata)), key=len)
    chosen: list[Ints] = []
    for number, rows in enumerate(members):
        chosen.append(rows[: (n - sum(map(len, chosen))) // (len(members) - number)])
    return np.sort(np.concatenate(chosen))


def document_activations(
    model: "LanguageModel", hook_point: str, documents: Sequence[Sequence[int]]
) -> Iterator[tuple[int, Tensor]]:
    """(place, activations (tokens × d)) of every document of token ids, read behind the separator, longest first.

    Padding stands behind the text, where no token of the text attends to it.
    """
    order = sorted(range(len(documents)), key=lambda place: len(documents[place]))
    while order:
        longest = 1 + len(documents[order[-1]])
        size = max(FORWARD_TOKENS // longest, 1)
        batch, order = order[-size:], order[:-size]
        tokens = torch.full((len(batch), longest), model.separator)
        for row, place in enumerate(batch):
            tokens[row, 1 : 1 + len(documents[place])] = torch.tensor(documents[place])
        found = model.activations(tokens, hook_point)
        yield from ((place, found[row, 1 : 1 + len(documents[place])]) for row, place in enumerate(batch))


def pool(parts: Sequence[Tensor]) -> Pooled:
    """Maximum and mean over the tokens of each document (n × d); zeros where a document has none."""
    kept = [part if len(part) else part.new_zeros(1, part.shape[1]) for part in parts]
    return {
        "max": torch.stack([part.amax(dim=0) for part in kept]).cpu().numpy(),
        "mean": torch.stack([part.mean(dim=0) for part in kept]).cpu().numpy(),
    }


def pooled_codes(run: Run, sae: Sae, texts: Texts, scale: float) -> Pooled:
    """The documents' codes, pooled (n × d_sae). Raises Stopped."""
    found: list[Pooled] = []
    for start in range(0, len(texts.activations), DOCUMENTS_AT_ONCE):
        _proceed(run)
        parts = texts.activations[start : start + DOCUMENTS_AT_ONCE]
        z = sae.encode(torch.cat(parts).to(run.device) * scale)
        found.append(pool(z.split([len(part) for part in parts])))
    return {name: np.concatenate([part[name] for part in found]) for name in POOLINGS}


def probe_rows(
    run: Run, task: str, texts: Texts, saes: Mapping[int, Sae], scale: float
) -> list[dict[str, Any]]:
    """Rows of the table `probes` of one task. Raises Stopped."""
    labels, split = texts.labels, texts.split
    raw = pool(texts.activations)
    everything = np.arange(raw["max"].shape[1])
    dense = {name: {DENSE: fit_probe(raw[name], labels, split, everything)} for name in POOLINGS}
    sparse: dict[int, dict[str, dict[int, Probe]]] = {}
    tested: dict[int, Pooled] = {}
    for done, (seed, sae) in enumerate(saes.items()):
        run.progress(done, len(saes), f"probing {task}")
        codes = pooled_codes(run, sae, texts, scale)
        sparse[seed] = {name: _sparse_probes(run, codes[name], labels, split) for name in POOLINGS}
        tested[seed] = {name: codes[name][split.test] for name in POOLINGS}
    how = _better_pooling(list(sparse.values()))
    how_dense = _better_pooling([dense])
    run.message(f"Probing of {task}: codes are pooled by {how}, raw activations by {how_dense} (validation).")
    return [
        _row(seed, task, k, probe, x, texts)
        for seed in saes
        for k, probe, x in (
            (DENSE, dense[how_dense][DENSE], raw[how_dense][split.test]),
            *((k, probe, tested[seed][how]) for k, probe in sparse[seed][how].items()),
        )
    ]


def _sparse_probes(run: Run, x: Floats, labels: Ints, split: Split) -> dict[int, Probe]:
    _proceed(run)
    features = features_by_difference(x[split.train], labels[split.train])
    return {k: fit_probe(x, labels, split, features[:k]) for k in K if k <= len(features)}


def _better_pooling(probes: Sequence[dict[str, dict[int, Probe]]]) -> str:
    """The pooling with the highest mean validation accuracy."""
    scores = {
        name: np.mean([probe.validation for one in probes for probe in one[name].values()])
        for name in POOLINGS
    }
    return max(scores, key=lambda name: scores[name])


def _row(seed: int, task: str, k: int, probe: Probe, x: Floats, texts: Texts) -> dict[str, Any]:
    """`x` (test documents × d) holds what the probe reads."""
    correct = probe.correct(x, texts.labels[texts.split.test], np.arange(len(x)))
    low, high = bootstrap_accuracy(correct, np.random.default_rng(stream_seed("probe-bootstrap", seed, k)))
    return {
        "seed": seed,
        "task": task,
        "k": k,
        "accuracy": float(correct.mean()),
        "low": low,
        "high": high,
        "chance": majority_share(texts.labels, texts.split),
        "n_train": len(texts.split.train),
        "n_test": len(texts.split.test),
    }


def _proceed(run: Run) -> None:
    if run.should_stop:
        raise Stopped
