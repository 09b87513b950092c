"""The layout of BBBC038: which file is the image of an ImageId, which are its masks, which lines of the CSV are its.

```
stage1_train/ImageId/images/ImageId.png      stage1_train/ImageId/masks/*.png, one a nucleus
stage1_test/ImageId/images/ImageId.png       stage1_solution.csv, one line a nucleus
```

Each part may be an archive `PART.zip` or a folder `PART`, and in either the ImageIds may lie one folder deeper.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nucleus.data.archives import Source
from nucleus.data.repairs import Repairs
from nucleus.errors import InputError
from nucleus.formats.kaggle_csv import RunRow, read_kaggle_csv

TRAIN, TEST, SOLUTION = "stage1_train", "stage1_test", "stage1_solution.csv"


@dataclass(frozen=True)
class ImageFiles:
    """The files of one image, by their names in their source.

    Attributes:
        image_id: the ImageId.
        image: the image.
        masks: the masks, ascending by file name; empty for a test image.
    """

    image_id: str
    image: str
    masks: tuple[str, ...]


def locate(source: Path, name: str) -> Path:
    """Find a part of the data set in a folder, or one folder deeper.

    An archive is preferred to a folder of the same name, which a killed run may have left half-filled.

    Args:
        source: the folder to look in.
        name: "stage1_train", "stage1_test" or "stage1_solution.csv".

    Returns:
        The archive, folder or file.

    Raises:
        InputError: it is not there.
    """
    wanted = [name] if name == SOLUTION else [f"{name}.zip", name]
    below = sorted(child for child in source.iterdir() if child.is_dir()) if source.is_dir() else []
    for folder in (source, *below):
        for candidate in wanted:
            if (folder / candidate).exists():
                return folder / candidate
    raise InputError(source, expected=" or ".join(wanted), found="none of them",
                     remedy="Name the folder that holds BBBC038 with --source, or fetch it with --download.",
                     )  # fmt: skip


def list_images(source: Source, part: str, repairs: Repairs) -> list[ImageFiles]:
    """List the images of one part of the data set.

    Args:
        source: the part.
        part: "stage1_train" or "stage1_test"; test images need no masks.
        repairs: takes folders without image, training images without masks, and doubled ids.

    Returns:
        The images, ascending by ImageId.
    """
    images: dict[str, list[str]] = defaultdict(list)  # folder of the ImageId -> names
    masks: dict[str, list[str]] = defaultdict(list)
    for name in source.names:
        above, _, file = name.rpartition("/")
        folder, _, kind = above.rpartition("/")
        if folder and file.lower().endswith(".png") and kind in ("images", "masks"):
            (images if kind == "images" else masks)[folder].append(name)
    empty = {PurePosixPath(name) for name in source.folders}
    with_masks = {*masks, *(path.parent.as_posix() for path in empty if path.name == "masks")}
    with_image = {*images, *(path.parent.as_posix() for path in empty if path.name == "images")}

    listed: dict[str, ImageFiles] = {}
    for folder in sorted({*with_image, *with_masks}, key=lambda folder: (PurePosixPath(folder).name, folder)):
        image_id, where = PurePosixPath(folder).name, f"{part}/{folder}"
        if folder not in images:
            repairs.add("missing_image", where, f"none, and {len(masks[folder])} masks")
        elif part == TRAIN and folder not in with_masks:
            repairs.add("missing_masks", where, "no such folder")
        elif image_id in listed:
            repairs.add("duplicated_id", where, f"it again, beside {part}/{listed[image_id].image}")
        else:
            image = _choose_image(image_id, images[folder], where, repairs)
            listed[image_id] = ImageFiles(image_id, image, tuple(masks[folder]) if part == TRAIN else ())
    return [listed[image_id] for image_id in sorted(listed)]


def _choose_image(image_id: str, names: Sequence[str], where: str, repairs: Repairs) -> str:
    named = [name for name in names if PurePosixPath(name).stem == image_id]
    chosen = (named or names)[0]
    if len(names) > 1:
        repairs.add("several_images", where, f"{len(names)}, {PurePosixPath(chosen).name} taken")
    return chosen


def read_solution(path: Path, test_images: Sequence[ImageFiles], repairs: Repairs) -> dict[str, list[RunRow]]:
    """Read the truth of the test images.

    Args:
        path: stage1_solution.csv.
        test_images: the test images that there are.
        repairs: takes lines without image and images without line.

    Returns:
        The lines of each test image that has any, in the order of the file.

    Raises:
        InputError: the file is no such CSV.
    """
    rows: dict[str, list[RunRow]] = defaultdict(list)
    for row in read_kaggle_csv(path):
        rows[row.image_id].append(row)
    known = {image.image_id for image in test_images}
    for image_id in sorted(set(rows) - known):
        lines = rows.pop(image_id)
        repairs.add("solution_without_image", f"{SOLUTION} line {lines[0].line}", f"{len(lines)} of {image_id!r}")
    for image_id in sorted(known - set(rows)):
        repairs.add("image_without_solution", f"{TEST}/{image_id}", "none")
    return dict(rows)
