"""Numbers about masks: overlap, probes, unions, agreement between seeds, on embeddings whose blocks are known."""

import numpy as np
import pandas as pd
import pytest

from analyses.smartclip import (
    LinearProbe,
    agreement,
    attribute_masks,
    block_gap,
    iou,
    neighbour_accuracy,
    normalised,
    overlap,
    paired_iou,
    recall_at_1,
    same_size,
    satisfaction,
    variance_told,
)
from analyses.smartclip_figures import features_figure, line_styles
from analyses.smartclip_frames import dimension_order, shortened, uninformative

RNG = np.random.default_rng(0)


def blocks(n: int, noise: float = 0.1, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """z (n × 9): three dimensions each for attributes a (3 values), b (3) and one that is noise alone."""
    rng = np.random.default_rng(seed)
    labels = {name: rng.integers(3, size=n) for name in "ab"}
    centres = np.random.default_rng(9).standard_normal((2, 3, 3))
    parts = [centres[i][labels[name]] for i, name in enumerate("ab")]
    z = np.concatenate([*parts, np.zeros((n, 3))], axis=1)
    return z + noise * rng.standard_normal(z.shape), labels


def kept(*dimensions: int) -> np.ndarray:
    mask = np.zeros(9, dtype=bool)
    mask[list(dimensions)] = True
    return mask


def test_overlap_of_masks_by_hand() -> None:
    masks = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=bool)
    table = iou(masks, masks)
    assert table[0, 1] == pytest.approx(2 / 3) and table[0, 2] == 0 and table[3, 3] == 0
    assert paired_iou(masks[:2], masks[1:3]).tolist() == pytest.approx([2 / 3, 0])


def test_masks_of_one_attribute_overlap_and_their_bits_tell_it() -> None:
    own = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]], dtype=bool)
    found = overlap(own, ["a", "a", "b", "b"])
    assert (found.same, found.different, found.information) == (1, 0, pytest.approx(1))
    mixed = overlap(own, ["a", "b", "a", "b"])
    assert mixed.same == 0 and mixed.different == 0.5 and mixed.information == pytest.approx(0)
    assert overlap(np.ones((4, 3), dtype=bool), ["a", "a", "b", "b"]).information == 0


def test_an_attributes_mask_is_what_any_of_its_sentences_keeps() -> None:
    masks = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=bool)
    found = attribute_masks(masks, ["a", "a", "b"])
    assert found["a"].tolist() == [True, True, False] and found["b"].tolist() == [False, False, True]
    assert list(attribute_masks(masks, [None, "a", None])) == ["a"]


def test_linear_probe_reads_a_block_and_nothing_else() -> None:
    z, labels = blocks(600)
    test, truth = blocks(400, seed=1)
    probe = LinearProbe(z, labels["a"])
    assert probe.accuracy(test, truth["a"], kept(0, 1, 2)) > 0.97
    assert probe.accuracy(test, truth["a"], kept(3, 4, 5)) == pytest.approx(1 / 3, abs=0.08)
    assert probe.accuracy(test, truth["a"], kept()) == pytest.approx(1 / 3, abs=0.08)
    assert probe.accuracy(test, truth["a"], kept(*range(9))) > 0.97


def test_linear_probe_is_linear_discriminant_analysis() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    z, labels = blocks(500, noise=1.0)
    test, truth = blocks(500, noise=1.0, seed=1)
    reference = (
        LinearDiscriminantAnalysis(solver="lsqr").fit(z[:, :6], labels["a"]).score(test[:, :6], truth["a"])
    )
    assert LinearProbe(z, labels["a"]).accuracy(test, truth["a"], kept(*range(6))) == pytest.approx(
        reference, abs=0.01
    )


def test_rows_whose_value_is_not_told_are_left_out() -> None:
    z, labels = blocks(300)
    labels["a"][:100] = -1
    z[:100] = 1e3
    test, truth = blocks(100, seed=1)
    assert LinearProbe(z, labels["a"]).accuracy(test, truth["a"], kept(0, 1, 2)) > 0.97


def test_neighbours_read_what_no_line_tells() -> None:
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, (2_000, 2))
    labels = {"xor": (z[:, 0] * z[:, 1] > 0).astype(int)}
    train, test = slice(0, 1_500), slice(1_500, 2_000)
    everything = np.ones(2, dtype=bool)
    found = neighbour_accuracy(
        z[train], z[test], {"xor": labels["xor"][train]}, {"xor": labels["xor"][test]}, everything
    )
    assert found["xor"] > 0.93
    linear = LinearProbe(z[train], labels["xor"][train]).accuracy(z[test], labels["xor"][test], everything)
    assert linear < 0.65


def test_random_masks_have_the_same_size() -> None:
    found = same_size(kept(1, 4, 7), 50, RNG)
    assert (found.sum(axis=1) == 3).all() and len(np.unique(found, axis=0)) > 20


def test_gap_of_a_table() -> None:
    assert block_gap([[1.0, 0.2], [0.4, 0.8]]) == pytest.approx((0.9, 0.3))
    assert normalised([0.5, 0.75], 0.5).tolist() == [0, 0.5] and normalised(1.0, 1.0) == 0


def test_variance_told_is_that_between_classes() -> None:
    z, labels = blocks(4_000, noise=0.5)
    told = variance_told(z, labels["b"])
    assert (told[:3] < 0.02).all() and (told[6:] < 0.02).all() and told[3:6].max() > 0.5


def test_retrieval_by_hand() -> None:
    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.1], [0.0, 0.2, 0.7]])
    assert recall_at_1(scores, np.eye(3, dtype=bool)) == pytest.approx((2 / 3, 1))
    right = np.array([[True, False], [False, True], [True, True], [False, False]])
    order = np.array([[4.0, 1.0], [3.0, 2.0], [2.0, 3.0], [1.0, 4.0]])
    assert satisfaction(order, right, top=2) == pytest.approx((0.5 + 0.5) / 2)


def test_a_seed_whose_dimensions_are_permuted_agrees_fully_and_another_does_not() -> None:
    z, _ = blocks(400, noise=0.6)
    masks = np.random.default_rng(1).random((12, 9)) < 0.4
    turn = np.random.default_rng(2).permutation(9)
    same = agreement(z, -2.0 * z[:, turn], masks, masks[:, turn], np.random.default_rng(3))
    assert (
        same.mcc == pytest.approx(1) and same.masks == pytest.approx(1) and same.structure == pytest.approx(1)
    )
    assert same.mcc_null < 0.2 and same.masks_null < 0.5 and abs(same.structure_null) < 0.2
    other = agreement(z, z, masks, np.random.default_rng(5).random((12, 9)) < 0.4, np.random.default_rng(3))
    assert other.masks < 0.5 and abs(other.structure) < 0.4


def test_dimensions_stand_with_the_attribute_that_keeps_them_most() -> None:
    kept = {"a": [0.0, 1.0, 0.5], "b": [0.0, 0.2, 1.0]}
    rows = [
        {"attribute": name, "dimension": d, "kept": share, "variance": 0.9 if (name, d) == ("b", 0) else 0.0}
        for name, shares in kept.items()
        for d, share in enumerate(shares)
    ]
    found = dimension_order(pd.DataFrame(rows))
    assert found["dimension"].tolist() == [1, 2, 0] and found["attribute"].tolist() == ["a", "b", "b"]


def test_masks_that_are_empty_or_another_attributes_tell_nothing() -> None:
    masks = {"a": ["110", "011"], "b": ["110", "000"], "c": ["000", "000"]}
    rows = [{"attribute": name, "mask": mask} for name, both in masks.items() for mask in both]
    assert uninformative(pd.DataFrame(rows)) == ["b", "c"]


def test_features_in_a_mask_are_counted_and_captions_shown_as_text() -> None:
    caption = "<b>left</b> " + "x" * 40
    figure = features_figure(pd.DataFrame({"feature": [0, 1, 2], "kept": [0.95, 0.9, 0.2]}), 0.3, caption)
    subtitle = figure.layout.title.subtitle.text.replace("<br>", " ")
    assert "2 of 3 features" in subtitle and "<b>" not in subtitle and "&lt;b&gt;left" in subtitle
    assert shortened("x" * 40) == "x" * 33 + "…" and shortened("short") == "short"


def test_weights_of_the_sweep_have_lines_of_their_own() -> None:
    styles = line_styles(["smartclip", "lambda_40", "lambda_2", "random_mask"])
    assert len({str(style) for style in styles.values()}) == 4
