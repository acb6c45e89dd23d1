"""Figures of trajectories against values worked out by hand."""

import numpy as np
import pytest

from analyses.sapo import (
    answer_lead,
    evenness,
    gini,
    given,
    is_junk,
    last_share,
    longest_run,
    order_agreement,
    rep3,
    statements,
    step_gains,
    wilson,
)


def test_wilson() -> None:
    low, high = wilson(8, 10)
    assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 0) == (0, 1)
    assert wilson(0, 20)[0] == 0 and wilson(20, 20)[1] == pytest.approx(1)


def test_gains_evenness_and_the_last_tenth() -> None:
    assert step_gains([0.1, 0.3, 0.2]).tolist() == pytest.approx([0.2, -0.1])
    assert evenness(np.linspace(0, 1, 11)) == pytest.approx(1)
    late = [0.0] * 10 + [1.0]
    assert evenness(late) == pytest.approx(0.1) and last_share(late) == 1
    assert last_share(np.linspace(0, 1, 11)) == pytest.approx(0.1)
    assert np.isnan(last_share([0.5, 0.5])) and np.isnan(evenness([0.5, 0.4]))


def test_gini() -> None:
    assert gini([1, 1, 1]) == pytest.approx(0) and gini([0, 0, 1]) == pytest.approx(2 / 3)
    assert gini([1, 3]) == pytest.approx(0.25)


def test_repetition() -> None:
    assert rep3(["we", "we", "we", "we", "we"]) == pytest.approx(1 - 1 / 3)
    assert rep3(["a", "b", "c", "d"]) == 0 and rep3(["a", "b"]) == 0
    assert is_junk(["we"] * 9) and not is_junk(["one", "two", "three", "four"])
    assert longest_run(["a", "b", "b", "b", "a", "a"]) == 3 and longest_run([]) == 0


def test_given() -> None:
    assert given([1, 0, 1], [1, 1, 0]) == 0.5
    assert np.isnan(given([1.0], [0.0]))


def test_answer_lead() -> None:
    order = np.array([3.0, 4.0, 1.0, 2.0])
    assert answer_lead(order, [0, 1], [3]) == 0.5
    assert answer_lead(order, [2], [1]) == -0.75
    assert np.isnan(answer_lead(order, [], [1]))


def test_order_agreement_has_a_null() -> None:
    rng = np.random.default_rng(0)
    orders = rng.permuted(np.tile(np.arange(1.0, 13), (20, 1)), axis=1)
    same = order_agreement(orders, orders, np.random.default_rng(1))
    assert same.spearman == pytest.approx(1) and same.kendall == pytest.approx(1) and same.n == 20
    assert abs(same.null_spearman) < 0.05 and 0 < same.null_high < 0.25
    reverse = order_agreement(orders, 13 - orders, np.random.default_rng(1))
    assert reverse.spearman == pytest.approx(-1)
    with pytest.raises(ValueError, match="alike"):
        order_agreement(orders, orders[:, :3], rng)


def test_statements_of_a_text() -> None:
    text = r"First 51 - 13 = 38, then 99 \times 2 = 198. So x = 5 and (1+2)*3 = 9"
    assert statements(text) == [("51 - 13", "38"), ("99 * 2", "198"), ("(1+2)*3", "9")]


@pytest.mark.timeout(20)
def test_a_run_of_digits_is_read_in_linear_time() -> None:
    assert statements("5" * 100_000) == []
    assert statements("5" * 60 + "-5++2+3") == []
    assert statements("1+" * 60 + "1=61") == [("1+" * 60 + "1", "61")]
