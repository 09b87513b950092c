"""What is kept of an image, and what the browser is given of it: once, enough for every threshold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from nucleus.app.finding import LOWEST
from nucleus.app.reading import Picture
from nucleus.formats.image_source import ImageSource
from nucleus.formats.measurements_csv import measure
from nucleus.inference.prediction import Prediction

FASTEST = 1  # of PNG's levels of compression; the picture goes over the loopback


@dataclass(frozen=True, eq=False)
class Result:
    """The nuclei of one image from the lowest threshold of the page up.

    Attributes:
        name: of the image, safe in files and tables.
        source: the image in memory.
        labels: uint16 or int32 (H, W); nuclei numbered from the highest score down.
        scores: float64 (n,), descending.
        picture: what the user sees, as PNG.
        nuclei: what the browser draws and lists, as JSON.
    """

    name: str
    source: ImageSource
    labels: np.ndarray
    scores: np.ndarray
    picture: bytes
    nuclei: bytes
    image_bytes: int

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.labels.nbytes + self.scores.nbytes + len(self.picture) + len(self.nuclei) + self.image_bytes

    def at(self, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Label image and scores at a threshold; as `Prediction.at` gives them."""
        count = int(np.count_nonzero(self.scores >= threshold))
        return np.where(self.labels <= count, self.labels, 0), self.scores[:count]


def make_result(name: str, picture: Picture, found: Prediction, seconds: float) -> Result:
    """Measure and outline the nuclei.

    Args:
        name: of the image.
        picture: the image.
        found: its nuclei at threshold LOWEST.
        seconds: that finding them took.
    """
    source = picture.source
    labels, scores = found.label_image, found.scores.astype(np.float64)
    height, width = labels.shape
    pixel_size = source.pixel_size_um
    is_grey = bool((picture.rgb == picture.rgb[..., :1]).all())  # also if it is stored as RGB
    columns = _columns(measure(labels, scores, image=source), source, is_grey)
    facts = {
        "width": width,
        "height": height,
        "bits": picture.bits,
        "pixelSize": pixel_size and [*pixel_size],
        "seconds": seconds,
        "lowest": LOWEST,
        "columns": columns,
        "scores": scores.tolist(),
        "outlines": [[ring.ravel().tolist() for polygon in one for ring in polygon] for one in found.contours],
        "choices": picture.choices.as_dict(),
        "choice": {"series": picture.choice.series, "channels": picture.choice.channels, "page": picture.choice.page},
    }
    done, png = cv2.imencode(".png", picture.rgb[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, FASTEST])
    if not done:
        raise RuntimeError("the picture could not be encoded")
    return Result(
        name,
        source,
        labels.astype(np.uint16) if len(scores) <= np.iinfo(np.uint16).max else labels,
        scores,
        png.tobytes(),
        json.dumps(facts, allow_nan=False, separators=(",", ":")).encode(),
        height * width * len(source.every_channel) * source.dtype.itemsize,
    )


def _columns(measured: Mapping[str, np.ndarray], source: ImageSource, is_grey: bool) -> list[dict[str, Any]]:
    """The columns of the table on the page: some of the measurements file, in micrometres if they are known."""
    micro = source.pixel_size_um is not None
    unit, area, end = ("µm", "µm²", "um") if micro else ("px", "px", "px")
    wanted = [
        ("score", "Score", "", 2),
        ("area_um2" if micro else "area_px", "Area", area, 1 if micro else 0),
        ("centroid_x_px", "x", "px", 1),
        ("centroid_y_px", "y", "px", 1),
        (f"axis_major_{end}", "Length", unit, 1),
        (f"axis_minor_{end}", "Width", unit, 1),
        ("eccentricity", "Eccentricity", "", 2),
        ("solidity", "Solidity", "", 2),
    ]
    if is_grey:  # of colours, the file of measurements has all three
        names = [name for name in source.channel_names if name in source.every_channel] or source.every_channel
        channel = names[0]
        wanted.append((f"intensity_mean_{channel}", "Mean intensity", "", 1))
    return [
        {"key": key, "title": title, "unit": unit, "digits": digits, "values": _numbers(measured[key])}
        for key, title, unit, digits in wanted
    ]


def _numbers(values: np.ndarray) -> list[float | None]:
    """For JSON, which has no NaN and no infinity."""
    return [value if np.isfinite(value) else None for value in np.asarray(values, dtype=np.float64).tolist()]
