"""What a person knows of images beside their pixels: modality and group, from a CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from nucleus.errors import InputError
from nucleus.evaluation.image_names import name_of
from nucleus.evaluation.summary import OVERALL

IMAGE_COLUMNS = ("image", "image_id", "ImageId", "file_name")


@dataclass(frozen=True)
class Groups:
    """Modality and group of images by name, where the file gives them.

    Attributes:
        path: the file.
        names: of all its images.
        modalities: kind of the image.
        groups: what images of one field of view, slide or patient share.
    """

    path: Path
    names: frozenset[str]
    modalities: dict[str, str]
    groups: dict[str, str]


def read_groups(path: str | Path) -> Groups:
    """Read modality and group of images.

    Args:
        path: a CSV file in UTF-8 with the column image (or image_id, ImageId, file_name) and one or both of modality
            and group; an empty cell says nothing.

    Raises:
        InputError: the file is missing, is no CSV, lacks a column, has an image twice, or a modality is
            called "overall".
    """
    path = Path(path)
    modalities: dict[str, str] = {}
    groups: dict[str, str] = {}
    names: set[str] = set()
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            image = next((column for column in IMAGE_COLUMNS if column in header), None)
            if image is None or not {"modality", "group"} & set(header):
                raise InputError(path, expected="the columns image and modality, group or both",
                                 found=f"the columns {', '.join(header)[:120]}")  # fmt: skip
            for row in reader:
                name = name_of((row[image] or "").strip())
                if name in names:
                    raise InputError(path, expected="each image once", found=f"{name} twice, again in line "
                                     f"{reader.line_num}")  # fmt: skip
                names.add(name)
                for column, values in (("modality", modalities), ("group", groups)):
                    value = (row.get(column) or "").strip()
                    if values is modalities and value == OVERALL:
                        raise InputError(path, expected=f"modalities not called {OVERALL}, which stands for all images",
                                         found=f"that in line {reader.line_num}")  # fmt: skip
                    if value:
                        values[name] = value
    except OSError as error:
        raise InputError(path, expected="a readable CSV file", found=error.strerror or str(error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, expected="a CSV file in UTF-8", found=str(error)[:120]) from error
    return Groups(path, frozenset(names), modalities, groups)
