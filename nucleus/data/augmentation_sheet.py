"""A picture of what training sees: each augmentation by itself, and all of them together as a config asks for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from nucleus.data.geometry import View, enlarge, random_view
from nucleus.data.photometric import AUGMENTATIONS, ONLY_ON_COLOUR, augment_photometrically, is_coloured
from nucleus.formats.coco import rle_from_segmentation
from nucleus.formats.image import read_image, to_rgb8
from nucleus.masks.rle import label_image_from_coco
from nucleus.visualization.browse import choose_examples
from nucleus.visualization.canvas import save_picture
from nucleus.visualization.picture_table import Cell, Row, picture_table

if TYPE_CHECKING:
    from nucleus.data.mapper import NucleusMapper

SIDE = 176  # pixels of a picture; photometric augmentation is shown pixel for pixel
DRAWS = 3  # of each augmentation and image, beside the original
EXAMPLES = 4  # images
CANDIDATES = 7  # images of a kind, of which the one with the most contrast is shown


@dataclass(frozen=True)
class Example:
    """An image of the data set.

    Attributes:
        kind: its modality in words.
        record: what the mapper takes.
        image: uint8 (H, W, 3), RGB.
        labels: int32 (H, W), 0 background.
    """

    kind: str
    record: dict[str, Any]
    image: np.ndarray
    labels: np.ndarray


def augmentation_sheet(
    coco: Mapping[str, Any],
    root: str | Path,
    output: str | Path,
    name: str,
    mapper: NucleusMapper,
    source: str = "defaults",
    seed: int = 0,
) -> Path:
    """Write the sheet of a data set and a training mapper.

    A row for each photometric augmentation, applied for sure, at the scale and with the pixels that the network sees;
    a row of random views; a row of what the mapper gives. One image of each kind, the original first.

    Args:
        coco: the content of a COCO file.
        root: the folder that "file_name" is relative to.
        output: folder to write into; made if missing.
        name: of the data set; begins the file name.
        mapper: for training, as the config has it built.
        source: where the mapper's settings come from, for the reader.
        seed: of the random draws.

    Returns:
        The picture's path, NAME_augmented.png.

    Raises:
        InputError: an image is missing or broken.
        OSError: the output cannot be written.
    """
    examples = choose_one_of_each_kind(coco, Path(root))
    rows = [
        *(_photometric_row(key, examples, mapper, seed + number) for number, key in enumerate(AUGMENTATIONS)),
        _view_row(examples, mapper, seed),
        _training_row(examples, mapper, source, seed),
    ]
    sheet = picture_table(f"{name}: what training sees", [one.kind for one in examples], rows, SIDE)
    return save_picture(Path(output) / f"{name}_augmented.png", sheet)


def choose_one_of_each_kind(coco: Mapping[str, Any], root: Path) -> list[Example]:
    """Choose an image with nuclei and contrast of each modality, small and large fluorescent counting as one.

    Args:
        coco: the content of a COCO file.
        root: the folder that "file_name" is relative to.

    Returns:
        At most `EXAMPLES`, in the order of the modalities.
    """
    annotations = defaultdict(list)
    for one in coco["annotations"]:
        annotations[one["image_id"]].append(one)
    kinds: dict[str, list[Example]] = defaultdict(list)
    for modality, images in choose_examples(coco, CANDIDATES).items():
        kind = modality.removeprefix("small_").removeprefix("large_").replace("_", " ")
        for image in images:
            kinds[kind].append(_read(kind, image, annotations[image["id"]], root))
    return [max(members, key=_liveliness) for members in list(kinds.values())[:EXAMPLES]]


def _read(kind: str, image: Mapping[str, Any], annotations: Sequence[Mapping[str, Any]], root: Path) -> Example:
    height, width = image["height"], image["width"]
    rles = [rle_from_segmentation(one["segmentation"], height, width) for one in annotations if not one.get("iscrowd")]
    record = {"file_name": str(root / image["file_name"]), "height": height, "width": width, "rles": rles}
    pixels = to_rgb8(read_image(record["file_name"]))
    return Example(kind, record, pixels, label_image_from_coco(rles, height, width))


def _liveliness(example: Example) -> float:
    """Difference of dark and bright in grey levels; images without nuclei last."""
    low, high = np.percentile(example.image, (1, 99))
    return float(high - low) if example.labels.any() else -1.0


def _photometric_row(key: str, examples: Sequence[Example], mapper: NucleusMapper, seed: int) -> Row:
    rng = np.random.default_rng(seed)
    groups = []
    for example in examples:
        image = busiest_part(enlarge(example.image, mapper.short_edge), _enlarged_labels(example, mapper), SIDE)
        if key in ONLY_ON_COLOUR and not is_coloured(image):
            cells = [Cell(caption="grey: unchanged")] * DRAWS
        else:
            draws = [augment_photometrically(image, {key: 1.0}, rng) for _ in range(DRAWS)]
            cells = [
                Cell(caption="the same again") if any((draw == other).all() for other in draws[:number]) else Cell(draw)
                for number, draw in enumerate(draws)
            ]
        groups.append([Cell(image), *cells])
    summary = (AUGMENTATIONS[key].__doc__ or "").splitlines()[0]
    probability = mapper.photometric.get(key, 0.0)
    return Row(key, f"{summary} {f'Probability {probability:g}.' if probability else 'Switched off.'}", groups)


def _enlarged_labels(example: Example, mapper: NucleusMapper) -> np.ndarray:
    height, width = enlarge(example.image, mapper.short_edge).shape[:2]
    return cv2.resize(example.labels.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)


def busiest_part(image: np.ndarray, labels: np.ndarray, side: int) -> np.ndarray:
    """Cut out the square with the most nuclear pixels.

    Args:
        image: (H, W, 3).
        labels: (H, W), 0 background.
        side: in pixels; a smaller image is cut less.

    Returns:
        (side, side, 3) at most.
    """
    height, width = min(side, labels.shape[0]), min(side, labels.shape[1])
    sums = cv2.integral((labels > 0).astype(np.uint8))
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(np.argmax(inside), inside.shape)
    return image[top : top + height, left : left + width]


def _view_row(examples: Sequence[Example], mapper: NucleusMapper, seed: int) -> Row:
    rng = np.random.default_rng(seed)
    groups = []
    for example in examples:
        cells = [Cell(example.image, example.labels, f"{example.labels.shape[0]} x {example.labels.shape[1]}")]
        for _ in range(DRAWS):
            view = random_view(
                *example.labels.shape,
                short_edge=mapper.short_edge,
                scale_range=mapper.scale_range,
                crop_size=mapper.crop_size,
                flip_and_turn=mapper.flip_and_turn,
                rng=rng,
            )
            labels = view.apply(example.labels, nearest=True)
            cells.append(Cell(view.apply(example.image), labels, _describe(view)))
        groups.append(cells)
    low, high = mapper.scale_range
    note = (
        f"Short side to {mapper.short_edge} pixels, times {low:g} to {high:g}; a crop of {mapper.crop_size}; "
        "one of the square's eight symmetries. The truth goes along."
    )
    return Row("VIEW", note, groups)


def _describe(view: View) -> str:
    turned = f", {90 * view.quarter_turns}\N{DEGREE SIGN}" if view.quarter_turns else ""
    return f"x {view.scale:.2f}{turned}{', flipped' if view.flip else ''}"


def _training_row(examples: Sequence[Example], mapper: NucleusMapper, source: str, seed: int) -> Row:
    rng = np.random.default_rng(seed)
    groups = []
    for example in examples:
        cells = [Cell(example.image, example.labels, f"{np.count_nonzero(np.unique(example.labels))} nuclei")]
        for _ in range(DRAWS):
            sample = mapper(example.record, rng)
            pixels = sample["image"].numpy().transpose(1, 2, 0)
            masks = sample["instances"].gt_masks.tensor.numpy()
            # Truth never overlaps, so that the largest index is the only one.
            labels = (masks * np.arange(1, len(masks) + 1, dtype=np.int32)[:, None, None]).max(axis=0, initial=0)
            cells.append(Cell(pixels[..., ::-1] if mapper.bgr else pixels, labels, f"{len(masks)} nuclei"))
        groups.append(cells)
    return Row("TRAINING", f"All of it with its probabilities: what the network gets with {source}.", groups)
