"""Images by what they are like: by modality and by how densely they hold true nuclei.

Scores by the size of the nuclei are another matter, since an image holds nuclei of all sizes: see `nucleus_sizes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nucleus.evaluation.image_scores import ImageScores
from nucleus.evaluation.nucleus_sizes import bin_names
from nucleus.evaluation.summary import ScoredImage, Summary, summarize_groups

MEGAPIXEL = 1_000_000
# The bins, by their upper edges. Of 729 images of BBBC038 89, 301, 263 and 76 fall into the first bins by number, and
# 363, 166, 146 and 54 into those by density.
DENSITIES: dict[str, tuple[tuple[int, ...], Callable[[ImageScores], float]]] = {
    "true nuclei an image": ((10, 30, 100), lambda scores: scores.objects.truths),
    "true nuclei a megapixel": (
        (250, 500, 1000),
        lambda scores: scores.objects.truths * MEGAPIXEL / max(scores.image_pixels, 1),
    ),
}


def density_strata(images: Sequence[ScoredImage]) -> dict[str, dict[str, list[int]]]:
    """Sort images into bins of density.

    Args:
        images: with their counts.

    Returns:
        For each of DENSITIES the positions of the images of each bin, from sparse to dense; bins without images are
        left out. A bin holds its upper edge: 10 nuclei are "to 10".
    """
    strata = {}
    for what, (edges, density) in DENSITIES.items():
        bins = np.searchsorted(edges, [density(image.scores) for image in images])
        positions = {name: np.flatnonzero(bins == number).tolist() for number, name in enumerate(bin_names(edges))}
        strata[what] = {name: members for name, members in positions.items() if members}
    return strata


def summarize_densities(images: Sequence[ScoredImage]) -> dict[str, dict[str, Summary]]:
    """Bring the scores of images of like density together.

    Args:
        images: at least one.

    Returns:
        For each of DENSITIES the summary of each of its bins.
    """
    strata = density_strata(images)
    flat = {f"{what}: {name}": members for what, bins in strata.items() for name, members in bins.items()}
    summaries = summarize_groups(images, flat)  # at once, so that the scores of each image are taken once
    return {what: {name: summaries[f"{what}: {name}"] for name in bins} for what, bins in strata.items()}
