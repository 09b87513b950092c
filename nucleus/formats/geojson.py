"""GeoJSON: nuclei as polygons, as QuPath (0.4 and later) imports and exports them.

Coordinates are x, y in pixels of the full image with (0, 0) at the outer corner of the first pixel, QuPath's own
convention. Polygons written here run along the edges of the pixels: filled, they give the label image back.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from nucleus.errors import InputError
from nucleus.formats.atomic import atomic_write
from nucleus.masks.nuclei import Nucleus, iterate_nuclei
from nucleus.masks.polygons import Polygon, label_image_from_outlines, trace_polygons

CLASSIFICATION = {"name": "Nucleus", "color": [0, 200, 255]}
OBJECT_TYPES = ("detection", "annotation")
SCORE_NAMES = ("score", "confidence", "probability", "detection probability")  # the last two as StarDist writes them
MOST_BYTES = 512 << 20  # a larger file does not fit the memory once parsed
FARTHEST = 1e9  # pixels; beyond it lies no image, and a product of coordinates loses its fraction


def write_geojson(
    path: str | Path,
    label_image: np.ndarray,
    scores: Sequence[float] | np.ndarray | None = None,
    *,
    object_type: str = "detection",
    downsample: tuple[float, float] = (1.0, 1.0),
) -> None:
    """Write the nuclei of a label image as a FeatureCollection, one a line, in ascending order of their labels.

    Args:
        path: the file to write; a killed run leaves the old file or the new one.
        label_image: integers (H, W), 0 background; also an array on disk.
        scores: of label 1, 2, ..., in [0, 1]; None or NaN where unknown.
        object_type: what the nuclei become in QuPath: "detection" (light, not editable) or "annotation" (editable).
        downsample: pixels of the full image for one of the label image, down and across.

    Raises:
        ValueError: there are fewer scores than the largest label.
        OSError: the disk is full or not writable.
    """
    write_nuclei(path, iterate_nuclei(label_image, scores), object_type=object_type, downsample=downsample)


def write_nuclei(
    path: str | Path,
    nuclei: Iterable[Nucleus],
    *,
    object_type: str = "detection",
    downsample: tuple[float, float] = (1.0, 1.0),
) -> None:
    """Write nuclei as they come; memory does not grow with their number.

    A nucleus is a Polygon with its holes, or a MultiPolygon if it has several pieces. Its label is its `name`, its
    score the measurement `score`.

    Args:
        path: the file to write; a killed run leaves the old file or the new one.
        nuclei: each with at least one pixel.
        object_type, downsample: as for `write_geojson`.

    Raises:
        OSError: the disk is full or not writable.
    """
    if object_type not in OBJECT_TYPES:
        raise ValueError(f"expected an object type of {', '.join(OBJECT_TYPES)}, found {object_type!r}")
    with atomic_write(path) as temporary, temporary.open("w", encoding="ascii") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for index, nucleus in enumerate(nuclei):
            feature = _feature(nucleus, object_type, downsample)
            file.write((",\n" if index else "\n") + json.dumps(feature, allow_nan=False))
        file.write("\n]}\n")


def _feature(nucleus: Nucleus, object_type: str, downsample: tuple[float, float]) -> dict[str, Any]:
    left, top = nucleus.box[:2]
    polygons = [
        [[*points, points[0]] for points in (_enlarged(ring, downsample).tolist() for ring in polygon)]
        for polygon in trace_polygons(nucleus.mask, top, left)
    ]
    geometry = (
        {"type": "Polygon", "coordinates": polygons[0]}
        if len(polygons) == 1
        else {"type": "MultiPolygon", "coordinates": polygons}
    )
    properties = {"objectType": object_type, "name": str(nucleus.label), "classification": CLASSIFICATION}
    if np.isfinite(nucleus.score):
        properties["measurements"] = {"score": nucleus.score}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _enlarged(ring: np.ndarray, downsample: tuple[float, float]) -> np.ndarray:
    return ring if downsample == (1, 1) else np.round(ring * downsample[::-1], 2)


def read_geojson(
    path: str | Path, height: int, width: int, *, object_type: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the outlines of a file into a label image.

    A pixel belongs to an outline if its centre lies inside. Where outlines overlap, one without a score has the pixel,
    then the one with the higher score, then the earlier; what lies outside the image is cut off. The nucleus of a
    QuPath cell is its nucleus, not the cell.

    Args:
        path: a FeatureCollection, a list of features, one feature or one geometry, with Polygons, MultiPolygons and
            GeometryCollections of these; x, y in pixels of the image, whole or not.
        height: H of the image in pixels.
        width: W of the image in pixels.
        object_type: QuPath's type of the objects to read ("detection", "annotation", "cell"); None for all, which a
            file that mixes annotations with detections or cells does not allow.

    Returns:
        The label image, int32 (H, W), in which the n-th of the features read is n (without a pixel if no centre lies
        inside), and their scores, float64 (n,), NaN where a feature has none.

    Raises:
        InputError: the file is missing, larger than 512 MiB, no GeoJSON, has another geometry than areas, has
            coordinates that are not finite or beyond a thousand million, has an outline wholly outside the image, or
            covers the image more than a hundred times.
    """
    path = Path(path)
    features = _chosen(path, _features(path, _load(path)), object_type)
    outlines = [_outline(path, number, feature, height, width) for number, feature in features]
    scores = np.array([_score(feature) for _, feature in features], dtype=np.float64)
    order = np.argsort(-np.nan_to_num(scores, nan=np.inf), kind="stable")  # what has no score comes first
    try:
        drawn = label_image_from_outlines([outlines[number] for number in order], height, width)
    except ValueError as error:
        raise InputError(path, expected="outlines of single nuclei", found=str(error)) from error
    return np.append(0, order + 1).astype(np.int32)[drawn], scores


def _load(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(path, expected=f"at most {MOST_BYTES >> 20} MiB of GeoJSON", found=f"{size >> 20} MiB",
                             remedy="Export the image in parts.")  # fmt: skip
        return json.loads(path.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        raise InputError(path, expected="a GeoJSON file", found=error.strerror or str(error)) from error
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        found = "brackets nested without end" if isinstance(error, RecursionError) else str(error)[:120]
        raise InputError(path, expected="JSON", found=found,
                         remedy="The file may be truncated: write or copy it again.") from error  # fmt: skip


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"the number {constant}, which JSON does not have")


Numbered = tuple[int, dict[str, Any]]  # a feature and its place in the file, from 1


def _features(path: Path, content: Any) -> list[Numbered]:
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        content = content.get("features")
    elif isinstance(content, dict) and content.get("type") == "Feature":
        content = [content]
    elif isinstance(content, dict) and ("coordinates" in content or "geometries" in content):
        content = [{"type": "Feature", "geometry": content}]
    if not isinstance(content, list):
        raise InputError(path, expected="a GeoJSON FeatureCollection, a list of features or one feature",
                         found=f"JSON with {_kind(content)}")  # fmt: skip
    for number, feature in enumerate(content, start=1):
        if not isinstance(feature, dict) or feature.get("type") != "Feature":
            raise InputError(path, expected=f"a GeoJSON feature in place {number}", found=_kind(feature))
    return list(enumerate(content, start=1))


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return f'an object of type "{str(value["type"])[:40]}"' if "type" in value else "an object without a type"
    return {list: "a list", type(None): "nothing"}.get(type(value), type(value).__name__)


def _chosen(path: Path, features: list[Numbered], object_type: str | None) -> list[Numbered]:
    types = [str(_properties(feature).get("objectType", "unknown")) for _, feature in features]
    if object_type is not None:
        return [feature for feature, found in zip(features, types, strict=True) if found == object_type]
    if "annotation" in types and ("detection" in types or "cell" in types):
        raise InputError(path, expected="nuclei alone", found="annotations beside detections or cells",
                         remedy="Select the nuclei in QuPath and export the selected objects.")  # fmt: skip
    return features


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _score(feature: dict[str, Any]) -> float:
    """The score among the properties or QuPath's measurements: an object since 0.4, a list of pairs before."""
    properties = _properties(feature)
    measurements = properties.get("measurements")
    if isinstance(measurements, list):
        pairs = [item for item in measurements if isinstance(item, dict)]
        measurements = {str(item.get("name")): item.get("value") for item in pairs}
    if not isinstance(measurements, dict):
        measurements = {}
    values = {name.lower(): value for name, value in (measurements | properties).items()}
    for name in SCORE_NAMES:
        if isinstance(values.get(name), int | float) and not isinstance(values[name], bool):
            return float(values[name]) if abs(values[name]) <= FARTHEST else math.nan
    return float("nan")


def _outline(path: Path, number: int, feature: dict[str, Any], height: int, width: int) -> list[Polygon]:
    geometry = feature.get("nucleusGeometry") or feature.get("geometry")
    try:
        polygons = _polygons(geometry)
    except ValueError as error:
        raise InputError(path, expected=f"the outline of a nucleus in feature {number}", found=str(error)) from error
    points = np.concatenate([ring for polygon in polygons for ring in polygon])
    low, high = points.min(axis=0), points.max(axis=0)
    if (high <= 0).any() or (low >= (width, height)).any():
        found = f"one from ({low[0]:g}, {low[1]:g}) to ({high[0]:g}, {high[1]:g})"
        raise InputError(path, expected=f"feature {number} inside the image of {height} x {width} pixels", found=found,
                         remedy="Is the file of this image, in pixels of its full size?")  # fmt: skip
    return polygons


def _polygons(geometry: Any, nested: bool = False) -> list[Polygon]:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind == "GeometryCollection" and not nested:
        return [
            polygon
            for member in _list(geometry.get("geometries"), "geometries")
            for polygon in _polygons(member, nested=True)
        ]
    if kind not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"{_kind(geometry)}, which is no Polygon or MultiPolygon")
    polygons = geometry.get("coordinates") if kind == "MultiPolygon" else [geometry.get("coordinates")]
    return [[_ring(ring) for ring in _list(polygon, "rings")] for polygon in _list(polygons, "polygons")]


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"no list of {name}")
    return value


def _ring(points: Any) -> np.ndarray:
    try:  # as numbers from the start: of texts NumPy would make an array as wide as the longest of them
        ring = np.array(points, dtype=np.float64)
    except (ValueError, TypeError):
        ring = np.array(None)  # points of different lengths, or no numbers
    except OverflowError:
        ring = np.full((3, 2), np.inf)
    if ring.ndim != 2 or ring.shape[0] < 3 or ring.shape[1] < 2:
        raise ValueError("a ring that is no list of three or more points [x, y]")
    ring = ring[:, :2]
    if not (np.abs(ring) <= FARTHEST).all():
        raise ValueError("coordinates that no image has")
    return ring
