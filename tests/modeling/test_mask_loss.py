"""Terms of the mask loss, by hand and against torch."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from nucleus.modeling.mask_loss import mask_loss


def test_without_terms_it_is_cross_entropy() -> None:
    logits, wanted = torch.randn(3, 14, 14), torch.rand(3, 14, 14) > 0.5
    assert mask_loss(logits, wanted) == F.binary_cross_entropy_with_logits(logits, wanted.float())


def test_dice_by_hand() -> None:
    """Probabilities of 0.5 on 4 pixels of which 2 are wanted: overlap 1, sums 2 and 2."""
    logits, wanted = torch.zeros(1, 2, 2), torch.tensor([[[True, True], [False, False]]])
    assert mask_loss(logits, wanted, dice=2.0).item() == pytest.approx(0.693147 + 2 * (1 - 3 / 5), abs=1e-5)


def test_edges_by_hand() -> None:
    """Half of 4 x 4 inside: the two rows in the middle are edges and count three times as much."""
    wanted = torch.zeros(1, 4, 4, dtype=torch.bool)
    wanted[:, 2:] = True
    logits = torch.zeros(1, 4, 4)
    logits[:, 0] = 2.0  # wrong, but not at the edge
    wrong, even = 2.126928, 0.693147
    expected = (4 * wrong + 4 * even + 8 * 3 * even) / (8 + 24)
    assert mask_loss(logits, wanted, edge=2.0).item() == pytest.approx(expected, abs=1e-5)
