"""A small real run of the bundled model, and cards of it, shared by the folder's tests."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from data import corpora
from data.files import write_json
from engine import collecting, language_model
from engine.language_model import BUNDLED, LanguageModel
from engine.run import Run, write_manifest
from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.training import train
from engine.tools.feature_cards import FeatureCards

SEEDS = [0, 3]
TOKENS, CONTEXT, D_SAE, K = 4_000, 64, 96, 8
TRAINING: dict[str, Any] = {
    "hook_point": "blocks.2.hook_out", "n_tokens": TOKENS, "context_size": CONTEXT, "d_sae": D_SAE, "k": K,
    "n_steps": 60, "batch_size": 256, "n_match_points": 2, "functional_tokens": 0, "explained_pairs": 0,
}  # fmt: skip


class WatchedRun(Run):
    """A real run that calls `watch(stage, calls so far in the stage)` at every report of progress."""

    watch: Callable[[str, int], None] = staticmethod(lambda stage, calls: None)

    def progress(self, done: float, total: float, stage: str) -> None:
        super().progress(done, total, stage)
        self.calls = getattr(self, "calls", {})
        self.calls[stage] = self.calls.get(stage, 0) + 1
        self.watch(stage, self.calls[stage])


@dataclass
class Workplace:
    """A state folder with one finished run per architecture that was asked for."""

    home: Path
    corpus: Path
    model: LanguageModel

    def trained(self, architecture: str) -> str:
        """Id of the finished run of an architecture."""
        name = "run" + architecture.replace("_", "")
        directory = self.home / "runs" / name
        if not directory.exists():
            directory.mkdir(parents=True)
            config = Config(**TRAINING, corpus=str(self.corpus), architecture=architecture)
            record = {"id": name, "study": "sae_consistency", "seeds": SEEDS, "data_seed": 0}
            write_json(directory / "config.json", {**record, "config": config.model_dump(mode="json")})
            train([Run(directory, config)])
            write_manifest(directory)
            write_json(directory / "state.json", {"state": "done"})
        return name

    def run(self, name: str, of: str, **changes: Any) -> WatchedRun:
        """A feature_cards run of that name, new or begun."""
        directory = self.home / "runs" / name
        directory.mkdir(exist_ok=True)
        record = {"id": name, "study": "feature_cards", "seeds": SEEDS, "data_seed": 0}
        write_json(directory / "config.json", record)
        values = {"of": of, "checks_tokens": 0, "probe_documents": 0, **changes}
        return WatchedRun(directory, FeatureCards.Config(**values))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    home = tmp_path_factory.mktemp("home")
    corpus = home / "texts.jsonl"
    rows = [{"text": document.text} for document in islice(corpora.documents(corpora.ENGLISH_MIX), 100)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = language_model.load(BUNDLED, "cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONCORDANCE_HOME", str(home))
        for module in (collecting, language_model):
            patch.setattr(module, "load", lambda name, device: model)
        yield Workplace(home, corpus, model)


@pytest.fixture(scope="module")
def cards(place: Workplace) -> Path:
    """Directory of the finished cards of the TopK run."""
    run = place.run("cards", place.trained("topk"))
    FeatureCards().train(run)
    return run.directory
