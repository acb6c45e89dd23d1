"""Labelled texts as features: states of a language model averaged over each text, and sentence embeddings of MiniLM."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from analyses.streams import stream_seed
from data.assets import ASSETS, AssetMissing, locate
from data.files import atomic_folder
from data.labelled import SENTIMENT, TOPIC, Labelled, labelled
from data.paths import cache_dir
from engine.errors import UserError
from engine.language_model import canonical_hook_point, model_identity
from engine.run import Run, Stopped
from engine.studies.label_shift.config import Config
from engine.studies.label_shift.source import Source

Floats = NDArray[np.float64]
STATES, SENTENCES = "language model", "sentence embedding"
TASKS = {"topics": (TOPIC, "bbc-news"), "sentiment": (SENTIMENT, "rated-snippets")}
VERSION = 1
MOST_TOKENS = 256


def read_texts(run: Run) -> Source:
    """The same texts of a task every time, in both views, read once and kept in the cache. Raises UserError, Stopped."""
    from engine.tools.feature_cards.probing import sample

    config: Config = run.config
    run.progress(0, 1, "loading texts")
    try:
        corpus = labelled(TASKS[config.source][0])
    except AssetMissing as error:
        raise UserError("source", str(error)) from error
    rng = np.random.default_rng(stream_seed("label shift texts"))
    chosen = sample(corpus.groups, corpus.labels, config.n_texts, rng)
    texts = [" ".join(corpus.texts[i].split()[: config.words]) for i in chosen]
    return Source(_views(run, texts), corpus.labels[chosen], _names(corpus))


def _names(corpus: Labelled) -> tuple[str, ...]:
    return tuple(corpus.names)


def _views(run: Run, texts: list[str]) -> dict[str, Floats]:
    """Both views of the texts (n × d each), from the cache where they have been read before."""
    config: Config = run.config
    hook_point = canonical_hook_point(config.model, config.hook_point)
    key = "\n".join([str(VERSION), model_identity(config.model), hook_point, ASSETS["minilm"].sha256, *texts])
    folder = cache_dir() / "features" / hashlib.sha256(key.encode(errors="replace")).hexdigest()[:24]
    if not folder.is_dir():
        found = {STATES: _states(run, texts, hook_point), SENTENCES: _sentences(run, texts)}
        with atomic_folder(folder) as temporary:
            for name, values in found.items():
                np.save(temporary / f"{name}.npy", values.astype(np.float32))
    return {
        name: np.load(folder / f"{name}.npy", allow_pickle=False).astype(np.float64)
        for name in (STATES, SENTENCES)
    }


def _states(run: Run, texts: list[str], hook_point: str) -> Floats:
    """Mean over each text's tokens of the model's states at a hook point (n × d_model)."""
    from engine.language_model import load
    from engine.tools.feature_cards.probing import document_activations

    run.progress(0, 1, "loading the language model")
    model = load(run.config.model, run.device)
    model.check_hook_point(hook_point)
    tokens = [ids[:MOST_TOKENS] for ids in model.encode(texts)]
    found = np.zeros((len(texts), model.width(hook_point)))
    for done, (place, vectors) in enumerate(document_activations(model, hook_point, tokens), start=1):
        if run.should_stop:
            raise Stopped
        if len(vectors):
            found[place] = vectors.mean(dim=0).cpu().numpy()
        run.progress(done, len(texts), "reading texts")
    return found


def _sentences(run: Run, texts: list[str]) -> Floats:
    from engine.studies.sae_consistency.explanations import embed

    run.progress(0, 1, "embedding sentences")
    try:
        locate("minilm")
    except AssetMissing as error:
        raise UserError("source", str(error)) from error
    return embed(texts, lambda: run.should_stop)


def texts_identity(config: Config) -> str:
    """What the features are made of. Raises UserError."""
    hook_point = canonical_hook_point(config.model, config.hook_point)
    assets = " ".join(ASSETS[name].sha256 for name in (TASKS[config.source][1], "minilm"))
    return f"{model_identity(config.model)} {hook_point} {assets}"
