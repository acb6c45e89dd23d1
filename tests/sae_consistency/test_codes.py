"""Agreement of codes against numpy on dense ones, and the round trip of dictionaries whose answer is known."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from engine.studies.sae_consistency import codes as module
from engine.studies.sae_consistency.codes import CodeBuilder, code_consistency, round_trip, sparse_codes
from engine.studies.sae_consistency.source import MemoryRows


@dataclass
class TopCode:
    """The k largest of relu(x · encoderᵀ)."""

    encoder: Tensor
    decoder: Tensor
    k: int

    def encode(self, x: Tensor) -> Tensor:
        values, places = (x @ self.encoder.T).relu().topk(self.k, dim=1)
        return torch.zeros(len(x), len(self.encoder)).scatter_(1, places, values)

    def decode(self, z: Tensor) -> Tensor:
        return z @ self.decoder


def random_codes(n: int, d: int, density: float, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.gamma(2, size=(n, d)) * (generator.random((n, d)) < density)).astype(np.float32)


@pytest.mark.parametrize("columns", [3, 4096])
def test_sparse_figures_equal_dense_ones(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COLUMNS", columns)
    a, b = random_codes(500, 20, 0.2, 0), random_codes(500, 30, 0.2, 1)
    b[:, 5] = 3 * a[:, 2]
    b[:, 6] = a[:, 3] * (np.arange(500) < 300)
    a[:, 9] = 0
    a[:, 10] = 2
    pairs = np.array([[2, 5], [3, 6], [0, 0], [9, 1], [10, 2], [4, 7], [2, 5]])
    correlation, jaccard = code_consistency(sparse.csc_array(a), sparse.csc_array(b), pairs)
    for (i, j), rho, overlap in zip(pairs, correlation, jaccard, strict=True):
        fires_a, fires_b = a[:, i] > 0, b[:, j] > 0
        if i == 9:
            assert np.isnan(rho) and np.isnan(overlap)
            continue
        assert overlap == pytest.approx((fires_a & fires_b).sum() / (fires_a | fires_b).sum())
        if i == 10:
            assert np.isnan(rho)
        else:
            assert rho == pytest.approx(np.corrcoef(a[:, i], b[:, j])[0, 1], abs=1e-6)
    assert correlation[0] == pytest.approx(1, abs=1e-6) and jaccard[0] == 1


def test_a_stored_zero_is_no_activation() -> None:
    a = sparse.csc_array((np.array([1.0, 0.0]), (np.array([0, 1]), np.array([0, 0]))), shape=(3, 1))
    assert code_consistency(a, a, np.array([[0, 0]]))[1] == 1
    b = sparse.csc_array(np.array([[0.0], [1], [0]]))
    assert code_consistency(a, b, np.array([[0, 0]]))[1] == 0
    with pytest.raises(ValueError, match="3 and 2 vectors"):
        code_consistency(a, sparse.csc_array(np.ones((2, 1))), np.array([[0, 0]]))
    assert [len(part) for part in code_consistency(a, a, np.empty((0, 2), dtype=np.int64))] == [0, 0]


def test_collected_codes_are_the_dense_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 64)
    rows = np.random.default_rng(0).standard_normal((150, 8)).astype(np.float32)
    encoder, decoder = torch.randn(2, 20, 8, generator=torch.Generator().manual_seed(0))
    sae = TopCode(encoder, decoder, 3)
    wanted = sae.encode(torch.from_numpy(rows)).numpy()
    for limit in (None, 100):
        found = sparse_codes(sae, MemoryRows(rows), "cpu", limit)
        np.testing.assert_allclose(found.toarray(), wanted[:limit], atol=1e-6)
        assert found.nnz <= 3 * found.shape[0] and found.dtype == np.float32
    builder = CodeBuilder()
    builder.add(torch.zeros(2, 4))
    assert builder.codes().shape == (2, 4) and builder.codes().nnz == 0


def test_an_orthogonal_dictionary_returns_its_codes() -> None:
    basis = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(0)))[0]
    codes = sparse.csc_array(random_codes(300, 64, 5 / 64, 2))
    recovered, error = round_trip(TopCode(basis, basis, 5), codes, np.random.default_rng(0), 500)
    assert recovered == 1 and error < 1e-5


def test_an_overcomplete_dictionary_loses_some_and_a_wrong_encoder_all() -> None:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(200, 32, generator=generator)
    rows /= rows.norm(dim=1, keepdim=True)
    codes = sparse.csc_array(random_codes(400, 200, 4 / 200, 3))
    tied = round_trip(TopCode(rows, rows, 4), codes, np.random.default_rng(0))
    wrong = round_trip(
        TopCode(torch.randn(200, 32, generator=generator), rows, 4), codes, np.random.default_rng(0)
    )
    assert 0.3 < tied[0] < 0.9 and 0.2 < tied[1] < 1.5
    assert wrong[0] < 0.1 and wrong[1] > 1
    assert tied == round_trip(TopCode(rows, rows, 4), codes, np.random.default_rng(0))


def test_random_codes_look_like_the_saes_own() -> None:
    """Supports among firing latents only, mean L0 and values of the sample; seen through what is decoded."""
    sample = np.zeros((10, 6), dtype=np.float32)
    sample[:, 1], sample[:4, 4] = 2.0, 7.0
    seen: list[Tensor] = []

    class Watched(TopCode):
        def decode(self, z: Tensor) -> Tensor:
            seen.append(z)
            return super().decode(z)

    round_trip(
        Watched(torch.eye(6), torch.eye(6), 1), sparse.csc_array(sample), np.random.default_rng(0), 600
    )
    z = torch.cat(seen)
    assert z.shape == (600, 6) and (z > 0).sum(dim=1).unique().tolist() == [1]
    assert (z.sum(dim=0) > 0).tolist() == [False, True, False, False, True, False]
    assert z[z > 0].unique().tolist() == [2, 7] and 0.2 < float((z == 7).sum()) / 600 < 0.37
    assert np.isnan(
        round_trip(Watched(torch.eye(6), torch.eye(6), 1), sparse.csc_array((3, 6)), np.random.default_rng(0))
    ).all()
