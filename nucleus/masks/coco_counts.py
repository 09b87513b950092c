"""COCO's run lengths as numbers and in their string form, and the checks of what comes from a file.

COCO counts runs of background and foreground in turn, down the columns. In the string form a count stands as its
difference to the one two before (but for the first three), five bits a character from the lowest, from '0' on,
sign-extended; the sixth bit is set in all but the last character of a count. Source: `rleToString` and `rleFrString` in
the COCO API's maskApi.c.

pycocotools reads and writes beyond its memory where counts lie, so that they are checked here before it sees them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from nucleus.masks.runs import count_up

# Eight characters hold any count of an image; 'P' to 'o' say that it goes on. A string that ends within a count would
# send pycocotools' decoder past its end.
COUNTS = re.compile("(?:[P-o]{0,7}[0-O])*")


def strings_from_counts(counts: np.ndarray, lengths: np.ndarray) -> list[str]:
    """The string form of N lists of counts: the inverse of `counts_from_strings`.

    Args:
        counts: int64 (C,), all lists one after the other.
        lengths: (N,), how many counts each list has, at least 1.
    """
    place = count_up(lengths)
    later = np.flatnonzero(place > 2)
    values = counts.copy()
    values[later] -= counts[later - 2]
    # k characters hold values of -2**(5k - 1) to 2**(5k - 1) - 1.
    magnitude = np.where(values < 0, ~values, values)
    width = np.searchsorted(np.int64(1) << np.arange(4, 60, 5), magnitude, side="right") + 1
    code = (np.repeat(values, width) >> (5 * count_up(width))) & 0x1F
    ends = np.cumsum(width)
    more = np.full(code.size, 0x20)
    more[ends - 1] = 0
    text = (code + more + 48).astype(np.uint8).tobytes().decode("ascii")
    stops = ends[np.cumsum(lengths) - 1].tolist()
    return [text[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]


def counts_from_strings(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The counts of N strings, read together.

    Args:
        texts: at least one, none empty.

    Returns:
        int64 (C,), the counts of all strings one after the other, and int64 (N,), how many each has.

    Raises:
        ValueError: a string is none of counts.
    """
    for text in texts:
        checked_string(text)
    codes = np.frombuffer("".join(texts).encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    firsts = np.concatenate([[0], np.cumsum([len(text) for text in texts])[:-1]])  # first character of each string
    values = _numbers(codes)
    lengths = np.add.reduceat((codes & 0x20) == 0, firsts, dtype=np.int64)
    place = count_up(lengths)
    # As in `_counts_from_string`, every sum beginning anew with each string.
    odd = place % 2 == 1
    counts = np.where(place == 0, values, 0)
    for chain in (odd, ~odd & (place > 0)):
        counts = np.where(chain, sums_of_each(np.where(chain, values, 0), lengths), counts)
    return counts, lengths


def sums_of_each(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Running sums of N lists that stand one after the other, beginning anew with each.

    Args:
        values: int64 (C,).
        lengths: (N,), how many values each list has, at least 1.

    Returns:
        int64 (C,).
    """
    begins = np.cumsum(lengths) - lengths
    sums = np.cumsum(values)
    return sums - np.repeat(sums[begins] - values[begins], lengths)


def checked_counts(counts: Any) -> np.ndarray:
    """The counts of one mask as a file gives them, a string or a list, as int64 (C,).

    Raises:
        ValueError: they are no string or list of whole numbers; a list's are at least 0.
    """
    return _counts_from_list(counts) if isinstance(counts, list) else _counts_from_string(checked_string(counts))


def checked_string(counts: Any) -> str:
    """The string form, str or bytes, as str; ValueError if it is none."""
    text = counts.decode("ascii", "replace") if isinstance(counts, bytes) else counts
    if not isinstance(text, str) or not COUNTS.fullmatch(text):
        raise ValueError(f"expected counts as a COCO string, found {str(text)[:40]!r}")
    return text


def check_inside(counts: np.ndarray, edges: np.ndarray, size: int | np.ndarray) -> None:
    """Refuse counts of which one is negative, or whose sums leave the image.

    A sum that wrapped around has passed the size before, since no count can be larger than 2**40.

    Args:
        counts: int64 (C,).
        edges: their sums up to each.
        size: pixels of the image, or of that of each count.

    Raises:
        ValueError: they do.
    """
    if counts.size and (counts.min() < 0 or (edges > size).any()):
        raise ValueError("expected runs inside the image, found one that leaves it")


def _counts_from_list(counts: list[Any]) -> np.ndarray:
    if not all(isinstance(count, int) and 0 <= count < 1 << 40 for count in counts):
        raise ValueError("expected counts that are whole numbers of at least 0, found others")
    return np.array(counts, dtype=np.int64)


def _counts_from_string(text: str) -> np.ndarray:
    codes = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    if codes.size == 0:
        return np.zeros(0, dtype=np.int64)
    values = _numbers(codes)
    # counts[i] += counts[i - 2] for i > 2: a running sum over each parity, the very first count standing alone.
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _numbers(codes: np.ndarray) -> np.ndarray:
    """The signed numbers that characters stand for: five bits each, the sixth set in all but a number's last."""
    is_last = (codes & 0x20) == 0
    starts = np.concatenate([[0], np.flatnonzero(is_last)[:-1] + 1])
    lengths = np.diff(np.concatenate([starts, [codes.size]]))
    values = np.add.reduceat((codes & 0x1F) << (5 * count_up(lengths)), starts)
    negative = (codes[starts + lengths - 1] & 0x10) != 0
    values[negative] -= np.int64(1) << (5 * lengths[negative])
    return values
