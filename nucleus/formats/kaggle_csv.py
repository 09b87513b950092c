"""Masks in the competition's CSV: one line a nucleus, `ImageId,EncodedPixels` and, in solutions, `Height,Width,Usage`.

`EncodedPixels` is described in `nucleus.masks.kaggle_runs`. An image without nuclei has one line with no pixels.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.masks.nuclei import in_batches, iterate_nuclei

LONGEST_FIELD = 1 << 30  # characters; the csv module's own limit of 131,072 is short for a mask of a large image


@dataclass(frozen=True)
class RunRow:
    """One line of the file, its runs not yet decoded.

    Attributes:
        line: number of the line in the file, the header being line 1.
        image_id: the image.
        runs: EncodedPixels; empty for an image without nuclei.
        height: H of the image in pixels, or None where the file does not say.
        width: W of the image in pixels, or None.
        fault: what is wrong with the line, or None.
    """

    line: int
    image_id: str
    runs: str
    height: int | None = None
    width: int | None = None
    fault: str | None = None


def read_kaggle_csv(path: str | Path) -> list[RunRow]:
    """Read all lines, in the order of the file.

    Args:
        path: a CSV file in UTF-8 with at least the columns ImageId and EncodedPixels.

    Returns:
        A row a line. Lines with a wrong number of fields, or a height or width that is no whole number above 0, carry
        a `fault`; runs are not checked here.

    Raises:
        InputError: the file is missing, is no text, or lacks a column.
    """
    path = Path(path)
    csv.field_size_limit(LONGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            missing = [name for name in ("ImageId", "EncodedPixels") if name not in header]
            if missing:
                found = f"the columns {', '.join(header)[:120]}"
                raise InputError(path, expected=f"a column {missing[0]}", found=found)
            return [_row(reader.line_num, header, fields) for fields in reader if fields]
    except OSError as error:
        raise InputError(path, expected="a readable CSV file", found=error.strerror or str(error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, expected="a CSV file in UTF-8", found=str(error)[:120]) from error


def _row(line: int, header: list[str], fields: list[str]) -> RunRow:
    if len(fields) != len(header):
        return RunRow(line, fields[0].strip(), "", fault=f"{len(fields)} fields where the header has {len(header)}")
    values = dict(zip(header, fields, strict=True))
    image_id, runs = values["ImageId"].strip(), values["EncodedPixels"].strip()
    if "Height" not in values or "Width" not in values:
        return RunRow(line, image_id, runs)
    try:
        height, width = int(values["Height"]), int(values["Width"])
    except ValueError:
        height = width = 0
    if height < 1 or width < 1:
        return RunRow(line, image_id, runs, fault=f"the size {values['Height'][:20]!r} x {values['Width'][:20]!r}")
    return RunRow(line, image_id, runs, height, width)


def write_kaggle_csv(path: str | Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write a submission: `ImageId,EncodedPixels`.

    Args:
        path: the file to write; a killed run leaves the old file or the new one.
        rows: ImageId and runs, as `kaggle_rows` gives them; empty runs for an image without nuclei.

    Raises:
        OSError: the disk is full or not writable.
    """
    with atomic_write(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("ImageId", "EncodedPixels"))
        writer.writerows(rows)


def kaggle_rows(image_id: str, label_image: np.ndarray) -> Iterator[tuple[str, str]]:
    """The lines of one image in a submission, in ascending order of its labels; one without runs if it has no nuclei.

    Args:
        image_id: name of the image.
        label_image: integers (H, W), 0 background; also an array on disk.

    Yields:
        ImageId and runs, for `write_kaggle_csv`.
    """
    height, width = label_image.shape
    empty = True
    for _, masks in in_batches(iterate_nuclei(label_image), height, width):
        runs, runs_of_mask = masks.runs()
        for own in np.split(runs, np.cumsum(runs_of_mask)[:-1]):
            empty = False
            yield image_id, " ".join(f"{start + 1} {stop - start}" for start, stop in own.tolist())
    if empty:
        yield image_id, ""
