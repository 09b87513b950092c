"""Run lengths of the Kaggle competition: pairs of a 1-based start and a length, down the columns (Fortran order)."""

from __future__ import annotations

import numpy as np

from nucleus.masks.runs import mask_from_runs, runs_from_mask


def encode_kaggle(mask: np.ndarray) -> str:
    """Encode one mask as the competition's runs: "start length start length ...", 1-based, down the columns.

    Args:
        mask: boolean or 0/1 array (H, W).

    Returns:
        The runs; an empty string for an empty mask.
    """
    return " ".join(f"{start + 1} {stop - start}" for start, stop in runs_from_mask(mask).tolist())


def decode_kaggle(runs: str, height: int, width: int) -> np.ndarray:
    """Decode the competition's runs to a mask.

    Args:
        runs: "start length ..." with 1-based starts, down the columns, strictly increasing and not overlapping.
        height: H in pixels.
        width: W in pixels.

    Returns:
        bool (H, W).

    Raises:
        ValueError: the runs are not pairs of positive whole numbers, do not increase, or leave the image.
    """
    return mask_from_runs(runs_from_kaggle(runs, height, width), height, width)


def runs_from_kaggle(runs: str, height: int, width: int) -> np.ndarray:
    """Half-open foreground runs of the competition's form, as 0-based offsets down the columns.

    Args:
        runs: as `decode_kaggle` takes them.
        height: H in pixels.
        width: W in pixels.

    Returns:
        int64 (R, 2): start and stop of each run.

    Raises:
        ValueError: see `decode_kaggle`.
    """
    words = runs.split()
    if len(words) % 2:
        raise ValueError(f"expected pairs of start and length, found {len(words)} numbers")
    try:
        numbers = np.array([int(word) for word in words], dtype=np.int64).reshape(-1, 2)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"expected whole numbers, found {str(error)[:80]}") from None
    starts, lengths = numbers[:, 0] - 1, numbers[:, 1]
    stops = starts + lengths
    if (starts < 0).any() or (lengths < 1).any():
        raise ValueError("expected starts and lengths of at least 1")
    if (starts[1:] < stops[:-1]).any():
        raise ValueError("expected runs that increase without overlap")
    # Compared before the addition could matter: a start or a length near 2**63 would wrap around.
    if (starts >= height * width).any() or (lengths > height * width - starts).any():
        raise ValueError(f"expected runs inside {height} x {width} pixels, found one that leaves the image")
    return np.stack([starts, stops], axis=1)
