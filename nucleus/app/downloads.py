"""The nuclei at a threshold as a file of any format, or all formats in one archive."""

from __future__ import annotations

import io
import zipfile
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nucleus.app.refusals import PREFIX, RefusalError
from nucleus.app.result import Result
from nucleus.inference.exports import FORMATS, Format, Segmentation

ALL = "all"
TITLES = {
    "labels": ("Label image", "TIFF for Fiji, QuPath, napari, Python"),
    "measurements": ("Measurements", "CSV: area, shape, place, intensity"),
    "geojson": ("Outlines for QuPath", "GeoJSON with scores"),
    "imagej": ("Outlines for ImageJ", "ROI archive for Fiji's ROI manager"),
    "overlay": ("Picture", "PNG, outlines over the image"),
    "coco": ("COCO results", "JSON with run lengths"),
    "kaggle": ("Run lengths", "CSV as in the 2018 Data Science Bowl"),
}
MEDIA_TYPES = {".tif": "image/tiff", ".png": "image/png", ".csv": "text/csv", ".zip": "application/zip",
               ".json": "application/json", ".geojson": "application/geo+json"}  # fmt: skip


def available(kind: Format) -> bool:
    """Whether what a format needs is installed."""
    return kind.package is None or find_spec(kind.package[0]) is not None


def described_formats() -> list[dict[str, Any]]:
    """What the page lists: name, title, description, suffix, and whether it can be had; the common ones first."""
    order = [*TITLES, *(name for name in FORMATS if name not in TITLES)]
    listed = []
    for kind in (FORMATS[name] for name in order if name in FORMATS):
        title, description = TITLES.get(kind.name, (kind.name.capitalize(), kind.description))
        if not available(kind) and kind.package:
            description = f"needs: pip install “nucleus[{kind.package[1]}]”"
        listed.append({"name": kind.name, "title": title, "description": description, "suffix": kind.suffix,
                       "available": available(kind)})  # fmt: skip
    return listed


def make_download(result: Result, name: str, threshold: float) -> tuple[str, str, bytes]:
    """Write the nuclei of an image.

    Args:
        result: of the image.
        name: of a format, or "all".
        threshold: lowest score of a nucleus.

    Returns:
        File name, media type and content.

    Raises:
        RefusalError: there is no such format, or what it needs is not installed.
        InputError: the format cannot hold these nuclei.
    """
    if name == ALL:
        return _archive(result, threshold)
    kind = FORMATS.get(name)
    if kind is None:
        raise RefusalError(404, f"There is no such format; there are {', '.join(FORMATS)} and {ALL}.")
    if not available(kind) and kind.package:
        raise RefusalError(
            501, f"This format needs a package that is not installed: pip install “nucleus[{kind.package[1]}]”."
        )
    media_type = MEDIA_TYPES.get(Path(kind.suffix).suffix, "application/octet-stream")
    return f"{result.name}{kind.suffix}", media_type, _written(kind, result, threshold)


def _written(kind: Format, result: Result, threshold: float) -> bytes:
    labels, scores = result.at(threshold)
    with TemporaryDirectory(prefix=PREFIX) as folder:
        path = Path(folder) / f"nuclei{kind.suffix}"
        kind.write(path, Segmentation(result.name, labels, scores, result.source))
        return path.read_bytes()


def _archive(result: Result, threshold: float) -> tuple[str, str, bytes]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for kind in filter(available, FORMATS.values()):
            archive.writestr(f"{result.name}/{result.name}{kind.suffix}", _written(kind, result, threshold))
    return f"{result.name}_nuclei.zip", "application/zip", packed.getvalue()
