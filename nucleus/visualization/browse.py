"""Looking at a data set: contact sheets of images with their truth, plots and a table of sizes and counts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nucleus.formats.coco import rle_from_segmentation
from nucleus.formats.image import read_image
from nucleus.masks.rle import label_image_from_coco
from nucleus.visualization.canvas import GAP, above, beside, framed, line_of_text, resized, save_picture
from nucleus.visualization.colors import TRUTH
from nucleus.visualization.overlay import for_display, overlay_outlines
from nucleus.visualization.plots import sizes_and_counts
from nucleus.visualization.statistics import (
    areas_by_image,
    by_modality,
    modality_of,
    place_of,
    statistics_table,
    write_statistics,
)

SIDE = 400  # pixels of the longer side of a picture on a sheet
COLUMNS = 5  # pictures a row
Image = Mapping[str, Any]  # an entry of "images" in a COCO file


@dataclass(frozen=True)
class Browsed:
    """What `browse` wrote.

    Attributes:
        sheets: the contact sheets.
        plot: the figure of sizes and counts.
        statistics: the CSV file.
        table: its rows, see `nucleus.visualization.statistics`.
    """

    sheets: list[Path]
    plot: Path
    statistics: Path
    table: list[tuple]


def browse(coco: Mapping[str, Any], root: str | Path, output: str | Path, name: str, examples: int = 5) -> Browsed:
    """Write contact sheets, the plot and the statistics of a data set.

    A sheet has a row for each modality and up to five images in it; more examples make more sheets. Of each modality
    the examples go from the image with the fewest nuclei to the one with the most, at even distances in that order.

    Args:
        coco: the content of a COCO file with compressed RLE.
        root: the folder that "file_name" is relative to.
        output: folder to write into; made if missing.
        name: of the data set; begins the file names.
        examples: images of each modality.

    Returns:
        The files and the table.

    Raises:
        InputError: an image is missing or broken.
        OSError: the output cannot be written.
    """
    output, root = Path(output), Path(root)
    annotations = defaultdict(list)
    for annotation in coco["annotations"]:
        annotations[annotation["image_id"]].append(annotation)
    chosen = choose_examples(coco, examples)
    sheets = []
    for page, start in enumerate(range(0, max((len(images) for images in chosen.values()), default=0), COLUMNS), 1):
        rows = [
            above(
                line_of_text(modality.replace("_", " "), size=18, bold=True),
                beside(*(_example(root, image, annotations[image["id"]]) for image in images[start : start + COLUMNS])),
            )
            for modality, images in chosen.items()
            if images[start:]
        ]
        sheet = above(line_of_text(f"{name}: images with their truth", size=22, bold=True), *rows, gap=2 * GAP)
        sheets.append(save_picture(output / f"{name}_sheet_{page}.png", framed(sheet)))
    data = by_modality(coco)
    title = f"{name}: {len(coco['images'])} images, {len(coco['annotations'])} nuclei"
    plot = save_picture(output / f"{name}_statistics.png", sizes_and_counts(data, title))
    table = statistics_table(data)
    return Browsed(sheets, plot, write_statistics(output / f"{name}_statistics.csv", table), table)


def choose_examples(coco: Mapping[str, Any], examples: int) -> dict[str, list[Image]]:
    """Choose images of each modality, from few nuclei to many.

    Args:
        coco: the content of a COCO file.
        examples: images of each modality; all of them where there are fewer.

    Returns:
        Modality to images; BBBC038's five first, in their order.
    """
    areas = areas_by_image(coco)
    groups: dict[str, list[Image]] = defaultdict(list)
    for image in sorted(coco["images"], key=lambda image: (len(areas[image["id"]]), image["file_name"])):
        groups[modality_of(image)].append(image)
    return {
        modality: [images[index] for index in _evenly(len(images), examples)]
        for modality, images in sorted(groups.items(), key=lambda group: place_of(group[0]))
    }


def _evenly(available: int, wanted: int) -> list[int]:
    """Positions at even distances from the first to the last of those available."""
    return np.unique(np.rint(np.linspace(0, available - 1, min(available, wanted))).astype(int)).tolist()


def _example(root: Path, image: Image, annotations: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """One image with the outlines of its truth and a caption."""
    height, width = image["height"], image["width"]
    masks = [rle_from_segmentation(one["segmentation"], height, width) for one in annotations]
    labels = label_image_from_coco(masks, height, width)
    picture, labels = resized(for_display(read_image(root / image["file_name"])), labels, SIDE)
    picture = overlay_outlines(picture, labels, TRUTH)
    stem = Path(image["file_name"]).stem
    short = stem if len(stem) <= 20 else f"{stem[:16]}\N{HORIZONTAL ELLIPSIS}"
    caption = f"{short}  {height} x {width}, {len(annotations)} nuclei"
    return above(line_of_text(caption, size=13, width=picture.shape[1]), picture)
