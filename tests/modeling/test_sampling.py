"""Samples of all images at once are what Detectron2 draws from each."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling.sampling import subsample_labels

from nucleus.modeling.sampling import draw

LABELS = torch.tensor([[1, 0, -1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, -1, -1, 0], [-1] * 8, [1] * 8])


@pytest.mark.parametrize(("size", "fraction"), [(4, 0.5), (4, 0.25), (6, 0.5), (20, 0.25), (20, 1.0), (4, 0.0)])
def test_the_first_of_each_kind_as_detectron2(size, fraction, drawn_in_order):
    with drawn_in_order():
        sample = draw(LABELS == 1, LABELS == 0, size, fraction)
        expected = [subsample_labels(row, size, fraction, 0) for row in LABELS]
    for index, valid, (positive, negative) in zip(sample.index, sample.valid, expected, strict=True):
        some = sample.positives
        assert index[:some][valid[:some]].tolist() == positive.tolist()
        assert index[some:][valid[some:]].tolist() == negative.tolist()


def test_every_element_is_drawn_equally_often():
    torch.manual_seed(0)
    positive = torch.zeros(4000, 10, dtype=torch.bool)
    positive[:, :4] = True
    sample = draw(positive, ~positive, 6, 0.5)
    chosen = torch.bincount(sample.index[sample.valid], minlength=10) / 4000
    assert (sample.valid.sum(dim=1) == 6).all()
    # Three of four, then three of six: within five standard deviations of a share of 4,000.
    assert chosen.tolist() == pytest.approx([0.75] * 4 + [0.5] * 6, abs=5 * (0.25 / 4000) ** 0.5)
    pairs = zip(sample.index, sample.valid, strict=True)
    assert all(len(set(row[valid].tolist())) == 6 for row, valid in pairs)
