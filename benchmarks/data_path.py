"""The data path: Detectron2's mapper and mask targets against those of nucleus, on real images.

    python benchmarks/data_path.py --json data_path.json

Needs BBBC038, converted (`nucleus prepare`), in $DETECTRON2_DATASETS. One thread, in turn, on the same images and RLEs.

Stock is Detectron2's DatasetMapper: PIL reads the image, each RLE becomes a mask of the whole image, each mask goes
through every transform, BitMasks, boxes found again after the crop. Its augmentations here: enlarged by the same
factors as ours, a crop of the same size, flips left to right and upside down. Ours is what the training loader runs:

- plain: scale, crop and the eight symmetries, as stock, from the cache, as in every epoch but the first;
- augmented: with the photometric augmentation of the config, which stock does not have, from the cache;
- first epoch: augmented, with image and RLEs decoded.

"Through a worker" is the augmented way and stock, each in a data worker that sends batches of 4 to this process.

Targets are sampled for proposals like those of training: boxes of nuclei, each edge moved by a tenth of the side. "In
the heads" is what Detectron2's ROI heads do with the masks in a step: choose those of 256 proposals, keep the 64 of the
foreground, sample their 28 x 28 targets. `differing_pixels` counts the pixels of targets that differ from BitMasks'.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2.data import DatasetCatalog, DatasetMapper
from detectron2.structures import BoxMode, Instances
from measure import comparison, in_turn, print_rows, write_rows
from torch.utils.data import DataLoader, Dataset

from nucleus.config import load_config
from nucleus.data.catalog import register_all
from nucleus.data.geometry import base_scale
from nucleus.data.loader import PositionedSamples
from nucleus.data.mapper import NucleusMapper

ROOT = Path(__file__).parents[1]
DENSE = 100  # nuclei; an image with more is dense
BATCH = 4
CACHE = 2**31  # bytes
Record = dict[str, Any]


class SameScale(T.Augmentation):
    """Detectron2's resizing by the factors that NucleusMapper draws."""

    def __init__(self, mapper: NucleusMapper) -> None:
        super().__init__()
        self.mapper = mapper

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """See Detectron2."""
        height, width = image.shape[:2]
        low, high = np.log(self.mapper.scale_range)
        scale = base_scale(height, width, self.mapper.short_edge) * np.exp(np.random.uniform(low, high))
        return T.ResizeTransform(height, width, int(height * scale), int(width * scale))


def stock_mapper(mapper: NucleusMapper) -> DatasetMapper:
    """Detectron2's mapper with augmentations like those of `mapper`."""
    side = mapper.crop_size
    return DatasetMapper(
        is_train=True,
        augmentations=[
            SameScale(mapper),
            T.RandomCrop("absolute", (side, side)),
            T.RandomFlip(horizontal=True, vertical=False),
            T.RandomFlip(horizontal=False, vertical=True),
        ],
        image_format="RGB",
        use_instance_mask=True,
        instance_mask_format="bitmask",
        recompute_boxes=True,
    )


def stock_record(record: Record) -> Record:
    """A record of the catalog as Detectron2's COCO loader gives it."""
    annotations = [
        {"iscrowd": 0, "category_id": 0, "bbox": [0, 0, 1, 1], "bbox_mode": BoxMode.XYWH_ABS, "segmentation": rle}
        for rle in record["rles"]
    ]
    return {key: value for key, value in record.items() if key != "rles"} | {"annotations": annotations}


def mapper_rows(name: str, records: Sequence[Record], mapper: NucleusMapper, repeats: int) -> list[dict[str, Any]]:
    """Stock and the three ways of ours, in milliseconds an image."""
    stock, stock_records = stock_mapper(mapper), [stock_record(record) for record in records]
    plain = NucleusMapper(**{**vars(mapper), "photometric": {}})
    ways = {
        "plain": PositionedSamples(records, plain, 0, CACHE),
        "augmented": PositionedSamples(records, mapper, 0, CACHE),
        "first epoch": PositionedSamples(records, mapper, 0, 0),
    }
    turn = count()

    def map_stock() -> None:
        for record in stock_records:
            stock(record)

    def map_ours(samples: PositionedSamples) -> None:
        position = next(turn) * len(records)
        for index in range(len(records)):
            samples[index, position + index]

    cases = {way: partial(map_ours, samples) for way, samples in ways.items()}
    times = in_turn({"stock": map_stock, **cases}, repeats)
    return [
        comparison(f"{name}, {way}", times["stock"], times[way], divisor=len(records), images=len(records))
        for way in ways
    ]


class Mapped(Dataset):
    """Samples of a function, for a worker."""

    def __init__(self, function: Callable[[int], Any]) -> None:
        self.function = function

    def __len__(self) -> int:
        return 10**6

    def __getitem__(self, index: int) -> Any:
        return self.function(index)


def worker_row(name: str, records: Sequence[Record], mapper: NucleusMapper, repeats: int) -> dict[str, Any]:
    """Both mappers in one worker process each, in milliseconds an image; the start of the worker is left out."""
    stock, stock_records = stock_mapper(mapper), [stock_record(record) for record in records]
    samples = PositionedSamples(records, mapper, 0, CACHE)
    functions: dict[str, Callable[[int], Any]] = {
        "stock": lambda index: stock(stock_records[index % len(records)]),
        "ours": lambda index: samples[index % len(records), index],
    }
    batches = max(1, len(records) // BATCH)
    times = {}
    for way, function in functions.items():  # not in turn: a worker that nobody reads from would run ahead, unmeasured
        loader = iter(DataLoader(Mapped(function), BATCH, num_workers=1, collate_fn=list))
        times |= in_turn({way: lambda loader=loader: [next(loader) for _ in range(batches)]}, repeats, warm_up=2)
    return comparison(f"{name}, through a worker", times["stock"], times["ours"], divisor=batches * BATCH)


def proposals_of(instances: Instances, count: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of nuclei and boxes near theirs, like sampled proposals."""
    index = torch.from_numpy(rng.integers(0, len(instances), count))
    boxes = instances.gt_boxes[index]
    sides = (boxes.tensor[:, 2:] - boxes.tensor[:, :2]).repeat(1, 2)
    boxes.tensor = boxes.tensor + sides * torch.from_numpy(rng.normal(0, 0.1, (count, 4)).astype(np.float32))
    boxes.clip(instances.image_size)
    return index, boxes.tensor


def target_rows(records: Sequence[Record], mapper: NucleusMapper, repeats: int) -> list[dict[str, Any]]:
    """BitMasks against LabelMasks on crops of dense images, in milliseconds an image."""
    rng = np.random.default_rng(0)
    samples = [mapper(record, np.random.default_rng(number)) for number, record in enumerate(records)]
    instances = [sample["instances"] for sample in samples if len(sample["instances"])]
    ours = [one.gt_masks for one in instances]
    stock = [masks.to_bit_masks() for masks in ours]
    proposals = [proposals_of(one, 256, rng) for one in instances]

    def sample(structures: Sequence[Any], boxes: int) -> list[torch.Tensor]:
        pairs = zip(structures, proposals, strict=True)
        return [masks[:boxes].crop_and_resize(its_boxes[:boxes], 28) for masks, (_, its_boxes) in pairs]

    def as_heads_do(structures: Sequence[Any], boxes: int) -> list[torch.Tensor]:
        chosen = [masks[index] for masks, (index, _) in zip(structures, proposals, strict=True)]
        foreground = torch.arange(256) < boxes
        return sample([masks[foreground] for masks in chosen], boxes)

    def matched(structures: Sequence[Any]) -> list[Any]:
        return [masks[index] for masks, (index, _) in zip(structures, proposals, strict=True)]

    pairs = {"sampled": (matched(stock), matched(ours)), "in the heads": (stock, ours)}
    rows = []
    for boxes, case, function in ((64, "sampled", sample), (256, "sampled", sample), (64, "in the heads", as_heads_do)):
        one, other = (partial(function, structures, boxes) for structures in pairs[case])
        times = in_turn({"stock": one, "ours": other}, repeats)
        differing = sum(int((x != y).sum()) for x, y in zip(one(), other(), strict=True))
        rows.append(
            comparison(
                f"targets of {boxes} boxes, {case}",
                times["stock"],
                times["ours"],
                divisor=len(instances),
                differing_pixels=differing,
                pixels=len(instances) * boxes * 28 * 28,
            )
        )
    return rows


def spread_out(items: Sequence[Any], count: int) -> list[Any]:
    """At most so many, at even distances."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="rows are written here")
    parser.add_argument("--config-file", default=str(ROOT / "configs/Base-Nucleus.yaml"))
    parser.add_argument("--dataset", default="bbbc038_trainval")
    parser.add_argument("--images", type=int, default=48, help="of a case, at even distances")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    register_all()
    mapper = NucleusMapper(load_config(args.config_file), is_train=True)
    records = [record for record in DatasetCatalog.get(args.dataset) if record["rles"]]
    sets = {
        f"more than {DENSE} nuclei": [record for record in records if len(record["rles"]) > DENSE],
        "whole set": records,
    }
    rows = []
    for name, members in sets.items():
        rows += mapper_rows(name, spread_out(members, args.images), mapper, args.repeats)
        rows.append(worker_row(name, spread_out(members, args.images), mapper, args.repeats))
    rows += target_rows(spread_out(next(iter(sets.values())), 8), mapper, args.repeats)
    print_rows(rows)
    write_rows(args.json, rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
