from __future__ import annotations

import numpy as np
import pytest
import tifffile

from nucleus.errors import InputError
from nucleus.evaluation.label_checks import BINARY, CUT, TWO_PLACES, check_stored_labels, labels_in_two_places


def grid(nuclei: int, size: int = 3, gap: int = 2) -> np.ndarray:
    """Squares numbered 1..n in rows of 30."""
    labels = np.zeros((-(-nuclei // 30) * (size + gap), 30 * (size + gap)), dtype=np.int32)
    for number in range(nuclei):
        top, left = (number // 30) * (size + gap), (number % 30) * (size + gap)
        labels[top : top + size, left : left + size] = number + 1
    return labels


@pytest.fixture
def check(tmp_path):
    """Checks labels as they would be read from a file of so many bits."""

    def checked(labels: np.ndarray, dtype: type = np.uint8) -> str | None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, labels.astype(dtype), compression="zlib")
        ids = np.unique(labels)
        return check_stored_labels(labels, ids[ids > 0], path)

    return checked


def test_what_is_nothing_to_worry_about(check):
    assert check(np.zeros((4, 4), dtype=int)) is None
    assert check(grid(1)) is None
    assert check(grid(40)) is None
    assert check(grid(254)) is None
    assert check(grid(300)) is None


def test_labels_that_wrapped_around_are_refused(check):
    with pytest.raises(InputError, match=r"a.tif: .* all of 1..255 used, 44 of them in two places.*16 or 32 bits"):
        check(grid(300).astype(np.uint8).astype(np.int32))  # 256 became background, 257..300 became 1..44


def test_labels_that_were_cut_off_at_255_are_refused(check):
    with pytest.raises(InputError, match=r"all of 1..255 used, 1 of them in two places"):
        check(np.minimum(grid(260), 255))


def test_255_nuclei_are_allowed_and_mentioned(check):
    assert check(grid(255)) == CUT
    assert check(grid(256).astype(np.uint8).astype(np.int32)) == CUT  # the 256th has become background without a trace


def test_wrapped_labels_with_gaps_are_mentioned(check):
    labels = grid(400) % 256
    labels[(labels >= 200) & (labels < 240)] = 0  # so that not all of 1..255 are used
    assert check(labels) == TWO_PLACES


def test_a_binary_mask_of_0_and_255_is_refused(check):
    with pytest.raises(InputError, match=r"a.tif: .* a binary mask \(0 and 255\).*connected components"):
        check((grid(20) > 0) * 255)


def test_one_label_in_pieces_is_mentioned(check):
    assert check((grid(20) > 0).astype(int)) == BINARY


def test_one_nucleus_saved_as_255_is_a_nucleus(check):
    assert check((grid(1) > 0) * 255) is None


def test_16_bits_cut_nothing(check):
    labels = grid(255)
    labels[-3:, -3:] = 1  # a nucleus in two pieces
    assert check(labels, np.uint16) == TWO_PLACES
    assert check((grid(20) > 0) * 255, np.uint16) == BINARY


def test_two_places():
    labels = np.zeros((40, 40), dtype=int)
    labels[0:6, 0:6] = 1
    labels[0:6, 8:14] = 1  # cut in two by another: near
    labels[20:26, 0:6] = 2
    labels[20:21, 20:23] = 2  # far, but a few stray pixels
    labels[30:36, 30:36] = 3
    assert labels_in_two_places(labels) == 0
    labels[10:15, 30:35] = 3
    assert labels_in_two_places(labels) == 1
    assert labels_in_two_places(np.zeros((3, 3), dtype=int)) == 0


def test_real_truth_raises_no_suspicion(check, real_pairs):
    assert [check(truth) for truth, _ in real_pairs] == [None] * len(real_pairs)
