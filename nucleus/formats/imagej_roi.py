"""ImageJ's ROI archives (`RoiSet.zip`), which Fiji's ROI Manager opens. Needs the package roifile, an extra.

Kept for each nucleus: its exact outline along the edges of the pixels, its label as the name of the ROI, its score as
the ROI's property `score`. A nucleus in one piece without holes is a traced ROI, as the wand makes them; one with holes
or several pieces a composite ROI, as ImageJ makes them of such selections.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.masks.nuclei import Nucleus, iterate_nuclei
from nucleus.masks.polygons import Polygon, label_image_from_outlines, trace_polygons

MOVE, LINE, CLOSE = 0.0, 1.0, 4.0  # of java.awt.geom.PathIterator
MOST_BYTES = 512 << 20  # of an archive, unpacked
AREAS = ("POLYGON", "FREEHAND", "TRACED", "RECT", "OVAL")


def write_imagej_rois(
    path: str | Path, label_image: np.ndarray, scores: Sequence[float] | np.ndarray | None = None
) -> None:
    """Write the nuclei of a label image in ascending order of their labels.

    Args:
        path: ends in .zip; a killed run leaves the old file or the new one.
        label_image: integers (H, W), 0 background; also an array on disk.
        scores: of label 1, 2, ..., in [0, 1]; None or NaN where unknown.

    Raises:
        InputError: roifile is not installed.
        ValueError: there are fewer scores than the largest label.
        OSError: the disk is full or not writable.
    """
    write_nuclei(path, iterate_nuclei(label_image, scores))


def write_nuclei(path: str | Path, nuclei: Iterable[Nucleus]) -> None:
    """Write nuclei as they come; of each, only its entry in the archive's table of contents stays in memory.

    Args:
        path: as for `write_imagej_rois`.
        nuclei: each with at least one pixel and a label of its own.

    Raises:
        InputError: roifile is not installed.
        OSError: the disk is full or not writable.
    """
    roifile = _roifile(path)
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for nucleus in nuclei:
            # A ZipInfo has no time of day, so that the same nuclei give the same file.
            archive.writestr(zipfile.ZipInfo(f"{nucleus.label}.roi"), _roi(roifile, nucleus), zipfile.ZIP_DEFLATED)


def _roifile(path: str | Path) -> Any:
    try:
        import roifile
    except ImportError:
        raise InputError(path, expected="the package roifile, for ImageJ ROIs", found="none",
                         remedy='Install it: pip install "nucleus[imagej]".') from None  # fmt: skip
    return roifile


def _roi(roifile: Any, nucleus: Nucleus) -> bytes:
    left, top = nucleus.box[:2]
    rings = [ring for polygon in trace_polygons(nucleus.mask, top, left) for ring in polygon]
    roi = roifile.ImagejRoi.frompoints(rings[0], name=str(nucleus.label))
    corners = np.concatenate(rings)
    roi.left, roi.top = corners.min(axis=0).tolist()
    roi.right, roi.bottom = corners.max(axis=0).tolist()
    roi.roitype = roifile.ROI_TYPE.TRACED
    if len(rings) > 1:
        roi.roitype = roifile.ROI_TYPE.RECT  # ImageJ's sign of a composite, with a path that is not empty
        roi.n_coordinates = 0
        roi.integer_coordinates = roi.subpixel_coordinates = None
        roi.options &= ~roifile.ROI_OPTIONS.SUB_PIXEL_RESOLUTION
        roi.multi_coordinates = np.concatenate([_path(ring) for ring in rings])
        roi.shape_roi_size = len(roi.multi_coordinates)
    if np.isfinite(nucleus.score):
        roi.props = f"score: {nucleus.score!r}\n"
    return roi.tobytes()


def _path(ring: np.ndarray) -> np.ndarray:
    steps = np.full((len(ring), 3), LINE, dtype=np.float32)
    steps[0, 0] = MOVE
    steps[:, 1:] = ring
    return np.append(steps.ravel(), np.float32(CLOSE))


def read_imagej_rois(path: str | Path, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the ROIs of an archive, or one .roi file, into a label image.

    A pixel belongs to a ROI if its centre lies inside. Where ROIs overlap, the earlier one keeps the pixel; what lies
    outside the image is cut off. Ovals are drawn with 32 corners.

    Args:
        path: a .zip of ROIs or a .roi file.
        height: H of the image in pixels.
        width: W of the image in pixels.

    Returns:
        The label image, int32 (H, W), in which the n-th ROI is n, and their scores, float64 (n,), from the property
        `score`, NaN where a ROI has none.

    Raises:
        InputError: roifile is not installed, the file is missing, broken or larger than 512 MiB unpacked, or holds
            ROIs that are no areas.
    """
    path = Path(path)
    roifile = _roifile(path)
    rois = [_decoded(roifile, path, name, content) for name, content in _contents(path)]
    try:
        labels = label_image_from_outlines([[roi.coordinates(multi=True)] for roi in rois], height, width)
    except ValueError as error:
        raise InputError(path, expected="outlines of single nuclei", found=str(error)) from error
    return labels, np.array([_score(roi) for roi in rois], dtype=np.float64)


def _contents(path: Path) -> list[tuple[str, bytes]]:
    try:
        if path.suffix.lower() == ".roi":
            return [(path.name, path.read_bytes())]
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename.lower().endswith(".roi")]
            size = sum(entry.file_size for entry in entries)
            if size > MOST_BYTES:
                raise InputError(path, expected=f"at most {MOST_BYTES >> 20} MiB of ROIs", found=f"{size >> 20} MiB")
            return [(entry.filename, archive.read(entry)) for entry in entries]
    except InputError:
        raise
    except OSError as error:
        raise InputError(path, expected="a readable file of ROIs", found=error.strerror or str(error)) from error
    except Exception as error:  # zipfile raises its own and those of the decompressor
        raise InputError(path, expected="a zip archive of ImageJ ROIs", found=str(error)[:120],
                         remedy="The file may be truncated: write or copy it again.") from error  # fmt: skip


def _decoded(roifile: Any, path: Path, name: str, content: bytes) -> Any:
    try:
        roi = roifile.ImagejRoi.frombytes(content)
        kind = roi.roitype.name
        rings: Polygon = roi.coordinates(multi=True)
        finite = all(len(ring) >= 3 and bool(np.isfinite(ring).all()) for ring in rings) and len(rings) > 0
    except Exception as error:  # of a damaged ROI, roifile raises what its parser meets
        raise InputError(path, expected=f"an ImageJ ROI in {name[:80]}", found=str(error)[:120]) from error
    if kind not in AREAS or not finite:
        raise InputError(path, expected=f"an area in {name[:80]}", found=f"a ROI of type {kind}",
                         remedy="Delete it from the archive, or draw it as a polygon.")  # fmt: skip
    return roi


def _score(roi: Any) -> float:
    """From the properties, which are lines of "key: value"."""
    for line in roi.props.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "score":
            with suppress(ValueError):
                return float(value)
    return float("nan")
