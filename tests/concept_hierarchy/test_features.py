"""Features of a finished run as bottom concepts: which are read, how they are named, what is shown of them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from data.files import write_json
from engine.errors import UserError
from engine.run import Run
from engine.studies import STUDIES
from engine.studies.base import parse_config
from engine.studies.concept_hierarchy.features import open_features
from engine.studies.concept_hierarchy.training import train
from tests.feature_cards.conftest import Workplace, place

__all__ = ["place"]
STUDY = STUDIES["concept_hierarchy"]


def make_run(place: Workplace, name: str, **changes: Any) -> Run:
    folder = place.home / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    values = {"source": "features", "of": place.trained("topk"), "of_seed": 3, "n_features": 8, **changes}
    off = {"linear_rank": False, "latent_classes": False, "pairwise_clustering": False}
    config = parse_config(STUDY, None, {**off, **values})
    record = {"id": name, "study": STUDY.name, "seeds": [0], "data_seed": 0}
    write_json(folder / "config.json", {**record, "config": config.model_dump(mode="json")})
    return Run(folder, config)


@pytest.mark.parametrize("chosen_by", ["frequency", "variance"])
def test_features_are_named_by_their_card_and_vary(place: Workplace, chosen_by: str) -> None:
    source = open_features(make_run(place, f"of{chosen_by}", chosen_by=chosen_by))
    assert len(source.names) == 8 and all(re.fullmatch(r"f\d+", name) for name in source.names)
    sample = source.draw(0)
    assert set(np.unique(sample.states)) == {0, 1}
    assert len(np.unique(sample.rows)) == len(sample.rows) > 100


def test_examples_show_the_token_and_the_active_features(place: Workplace) -> None:
    run = make_run(place, "hfeatures")
    train(run)
    tables = {path.stem: pq.read_table(path).to_pandas() for path in Path(run.directory / "tables").iterdir()}
    nodes = tables["hierarchy_nodes"]
    assert nodes[nodes["kind"] == "observed"]["node"].str.match(r"f\d+").all()
    assert tables["concept_examples"]["text"].str.contains("⟦").all()
    assert tables["hierarchy_scores"]["skeleton_f1"].isna().all()


def test_the_other_run_is_part_of_the_identity(place: Workplace) -> None:
    run = make_run(place, "hidentity")
    before = STUDY.fingerprint(run.config, [0])
    manifest = place.home / "runs" / run.config.of / "manifest.json"
    content = manifest.read_text()
    manifest.write_text(content + " ")
    assert STUDY.fingerprint(run.config, [0]) != before
    manifest.write_text(content)


def test_refusals(place: Workplace) -> None:
    with pytest.raises(UserError, match="n_features"):
        open_features(make_run(place, "hmany", n_features=100))
    with pytest.raises(UserError, match="has no seed 1"):
        STUDY.fingerprint(
            parse_config(STUDY, None, {"source": "features", "of": place.trained("topk"), "of_seed": 1}), [0]
        )
