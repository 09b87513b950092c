"""What the nuclei of an image can be written as: one table of all formats, for the command line and the page.

Nothing here needs torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nucleus.errors import InputError
from nucleus.formats.coco import coco_results, write_coco_results
from nucleus.formats.geojson import write_geojson
from nucleus.formats.image_source import ImageSource
from nucleus.formats.imagej_roi import write_imagej_rois
from nucleus.formats.kaggle_csv import kaggle_rows, read_kaggle_csv, write_kaggle_csv
from nucleus.formats.label_image import write_label_image
from nucleus.formats.measurements_csv import write_measurements_csv
from nucleus.formats.stored import PixelSize
from nucleus.visualization.overlay_file import write_overlay_png


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The nuclei of one image, found or drawn.

    Attributes:
        name: of the image; COCO's image_id and the competition's ImageId.
        labels: integers (H, W), 0 background, 1..n nuclei; also an array on disk.
        scores: of label 1, 2, ..., in [0, 1]; None where unknown.
        image: of the same size; None where it is not at hand (no overlay then, and no intensities).
        pixel_size_um: height and width of a pixel in micrometres; None for the image's own, if it has one.
    """

    name: str
    labels: np.ndarray
    scores: Sequence[float] | np.ndarray | None = None
    image: ImageSource | None = None
    pixel_size_um: PixelSize | None = None

    @property
    def pixel_size(self) -> PixelSize | None:
        """The one given, else the image's own."""
        return self.pixel_size_um or (self.image.pixel_size_um if self.image else None)


@dataclass(frozen=True)
class Format:
    """One way to write nuclei.

    Attributes:
        name: what a user types.
        suffix: what a file's name has after the image's.
        description: one line.
        write: writes one image. Memory stays bounded for label images on disk.
        join: brings the files of several images together into one; None for a format of one image a file.
        package: what has to be installed, and the extra of this project that brings it; None for nothing.
    """

    name: str
    suffix: str
    description: str
    write: Callable[[Path, Segmentation], None]
    join: Callable[[Path, Iterable[Path]], None] | None = None
    package: tuple[str, str] | None = None


def _labels(path: Path, one: Segmentation) -> None:
    write_label_image(path, one.labels, pixel_size_um=one.pixel_size)


def _geojson(path: Path, one: Segmentation) -> None:
    write_geojson(path, one.labels, one.scores, downsample=one.image.downsample if one.image else (1.0, 1.0))


def _imagej(path: Path, one: Segmentation) -> None:
    write_imagej_rois(path, one.labels, one.scores)


def _measurements(path: Path, one: Segmentation) -> None:
    write_measurements_csv(path, one.labels, one.scores, image=one.image, pixel_size_um=one.pixel_size)


def _coco(path: Path, one: Segmentation) -> None:
    write_coco_results(path, coco_results(one.name, one.labels, one.scores))


def _join_coco(path: Path, parts: Iterable[Path]) -> None:
    write_coco_results(path, (result for part in parts for result in json.loads(part.read_bytes())))


def _kaggle(path: Path, one: Segmentation) -> None:
    try:
        one.name.encode()
    except UnicodeEncodeError:
        raise InputError(ascii(one.name), expected="a file name in UTF-8, for the format kaggle", found="another one",
                         remedy="Rename it.") from None  # fmt: skip
    write_kaggle_csv(path, kaggle_rows(one.name, one.labels))


def _join_kaggle(path: Path, parts: Iterable[Path]) -> None:
    rows = (row for part in parts for row in read_kaggle_csv(part))
    write_kaggle_csv(path, ((row.image_id, row.runs) for row in rows))


def _overlay(path: Path, one: Segmentation) -> None:
    if one.image is None:
        raise InputError(path, expected="the image to draw over", found="none")
    write_overlay_png(path, one.labels, one.image)


_TABLE = (
    Format(
        "labels", "_labels.tif", "label image, TIFF of 16 or 32 bit, for Fiji, QuPath, napari, scikit-image", _labels
    ),
    Format("geojson", ".geojson", "polygons with scores, for QuPath 0.4 and later", _geojson),
    Format("imagej", "_rois.zip", "ROI archive, for ImageJ and Fiji", _imagej, package=("roifile", "imagej")),
    Format("measurements", "_measurements.csv", "table of area, shape, place and intensity", _measurements),
    Format(
        "coco", "_coco.json", "COCO results with run lengths, all images in one file: pycocotools", _coco, _join_coco
    ),
    Format(
        "kaggle",
        "_kaggle.csv",
        "run lengths as in the 2018 Data Science Bowl, all images in one file",
        _kaggle,
        _join_kaggle,
    ),
    Format("overlay", "_overlay.png", "outlines over the image, to look at", _overlay),
)
FORMATS: dict[str, Format] = {one.name: one for one in _TABLE}
DEFAULT = ("labels",)


def formats_named(names: str | Iterable[str]) -> list[Format]:
    """Look up formats, and see that what they need is installed.

    Args:
        names: of formats, or one string with commas between them.

    Returns:
        The formats in the order given, each once.

    Raises:
        InputError: there is no such format, none is named, or a package is missing.
    """
    wanted = [name.strip().lower() for name in (names.split(",") if isinstance(names, str) else names) if name.strip()]
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown or not wanted:
        raise InputError("--format", expected=f"some of {', '.join(FORMATS)}", found=", ".join(unknown) or "none")
    chosen = [FORMATS[name] for name in dict.fromkeys(wanted)]
    for one in chosen:
        if one.package is not None and find_spec(one.package[0]) is None:
            package, extra = one.package
            raise InputError("--format", expected=f"the package {package}, for {one.name}", found="none",
                             remedy=f'Install it: pip install "nucleus[{extra}]".')  # fmt: skip
    return chosen
