"""Scenes: every modality gives a truth and a picture of it, from its generator alone."""

from __future__ import annotations

import numpy as np
import pytest

from nucleus.data.modality import MODALITIES
from nucleus.data.synthetic.scenes import MAKERS

SHAPE = (200, 260)


def test_every_modality_has_its_maker() -> None:
    assert set(MAKERS) == set(MODALITIES)


@pytest.mark.parametrize("modality", MODALITIES)
def test_truth_and_picture_are_of_the_size_asked_for_and_follow_from_the_generator(modality: str) -> None:
    scenes = [MAKERS[modality](np.random.default_rng(5), SHAPE) for _ in range(2)]
    (labels, image), (again, image_again) = [(labels, render(labels)) for labels, render in scenes]
    assert labels.shape == SHAPE and labels.max() >= 2
    assert image.shape == (*SHAPE, 3) and image.dtype == np.uint8
    assert (labels == again).all() and (image == image_again).all()


@pytest.mark.parametrize("modality", ["small_fluorescent", "purple_tissue"])
def test_the_picture_is_that_of_the_truth_it_is_given(modality: str) -> None:
    """A nucleus that is taken out of the truth, as a fragment is, is not in the picture."""
    pictures = []
    for leave_out in (False, True):
        labels, render = MAKERS[modality](np.random.default_rng(5), SHAPE)
        largest = labels == np.bincount(labels[labels > 0]).argmax()
        if leave_out:
            labels[largest] = 0
        pictures.append(render(labels)[largest].astype(float).mean())
    assert abs(pictures[0] - pictures[1]) > 5
