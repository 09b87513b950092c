"""Example images for somebody who has none at hand: made, not taken, by nucleus.data.synthetic."""

from __future__ import annotations

from dataclasses import dataclass

import cv2

from nucleus.data.synthetic import make_field

LARGEST = 512  # pixels a side
MADE = (  # key, what the page calls it, seed, field
    ("fluorescence", "Fluorescence", 2, 0),
    ("large", "Large nuclei", 2, 1),
    ("purple", "Purple stain", 1, 2),
    ("tissue", "Pink and purple tissue", 0, 3),
    ("smear", "Grey smear", 0, 4),
)


@dataclass(frozen=True)
class Example:
    """One image.

    Attributes:
        key: in its address.
        title: on the page.
        png: the image.
    """

    key: str
    title: str
    png: bytes


def make_examples() -> list[Example]:
    """Make them, in about a second."""
    examples = []
    for key, title, seed, field in MADE:
        image = make_field(seed, "test", field, LARGEST)[0].image
        done, png = cv2.imencode(".png", image[..., ::-1])
        assert done
        examples.append(Example(key, title, png.tobytes()))
    return examples
