"""The map of triplets: like ones share a place, refusals, and a job that lays every triplet out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data.files import write_json
from engine.errors import UserError
from engine.run import Run
from engine.studies.base import parse_config
from engine.tools.triplet_map import TripletMap
from engine.tools.triplet_map.mapping import text_vectors, vectors
from engine.tools.triplet_map.reading import drawn, identity
from tests.app.srf_tables import write_run

OF = "aaaaaaaaaaa1"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_run(folder, OF, seeds=(0, 1), n=60)
    return folder


@pytest.fixture(autouse=True)
def state(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCORDANCE_HOME", str(home))


def test_texts_with_the_same_words_lie_together_and_others_apart() -> None:
    a, b, c = text_vectors(
        ["what colour is the circle red", "what colour is the circle red", "how many squares two"]
    )
    assert np.allclose(a, b) and a @ c < 0.1 and np.linalg.norm(a) == pytest.approx(1, abs=1e-5)


def test_both_holds_texts_beside_images() -> None:
    config = TripletMap.Config(of=OF)
    found = drawn(config, 0)
    both, text, image = (vectors(TripletMap.Config(of=OF, by=by), found) for by in ("both", "text", "image"))
    assert np.array_equal(both, np.concatenate([text, image], axis=1)) and image.shape == (120, 432)
    same = found["image"] == found["image"][0]
    assert np.allclose(image[same], image[0]) and not np.allclose(image[~same][0], image[0])


def test_too_many_triplets_are_drawn_at_random_the_same_for_the_same_seed() -> None:
    config = TripletMap.Config(of=OF, max_points=100)
    first, again, other = (drawn(config, seed)["triplet"] for seed in (0, 0, 1))
    assert len(first) == 100 and np.array_equal(first, again) and not np.array_equal(first, other)


def test_the_job_lays_every_triplet_out(home: Path, tmp_path: Path) -> None:
    settings = TripletMap.Config(of=OF, by="text", n_neighbors=5)
    record = {"id": "f" * 12, "study": "triplet_map", "seeds": [0], "data_seed": 0}
    write_json(tmp_path / "config.json", record)
    run = Run(tmp_path, settings)
    TripletMap().train(run)
    points = pd.read_parquet(tmp_path / "tables" / "triplet_points.parquet")
    assert points["triplet"].tolist() == list(range(120)) and set(points["of_run"]) == {OF}
    assert np.isfinite(points[["x", "y"]]).all().all() and len(points.drop_duplicates(["x", "y"])) == 120
    triplets = pd.read_parquet(home / "runs" / OF / "tables" / "srf_triplets.parquet")
    same = triplets.groupby(["question", "answer"])["triplet"].transform("size") > 1
    place = points.set_index("triplet")[["x", "y"]]
    spread = [
        place.loc[part].std().max() for _, part in triplets[same].groupby(["question", "answer"])["triplet"]
    ]
    assert np.median(spread) < 0.2 * place.std().min(), "the same text stays together"


@pytest.mark.parametrize(
    ("config", "seeds", "word"),
    [
        ({"of": "no/id"}, [0], "no/id"),
        ({"of": "b" * 12}, [0], "does not exist"),
        ({"of": OF}, [0, 1], "one seed"),
    ],
)
def test_refusals_name_the_field(config: dict[str, str], seeds: list[int], word: str) -> None:
    with pytest.raises(UserError, match=word):
        identity(parse_config(TripletMap(), None, config), seeds)  # type: ignore[arg-type]
