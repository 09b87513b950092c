"""Pairs of a true and a predicted label image for the benchmarks of scoring: real ones, synthetic ones, random ones.

Everything is made from seeds, so that two runs see the same pixels. Real predictions are COCO results, as an evaluation
writes them (`coco_instances_results.json`); without them a "prediction" is the truth with the errors that models make.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nucleus.data.synthetic.placement import Population, drop_fragments, place_nuclei
from nucleus.formats.coco import NUCLEUS, read_coco
from nucleus.masks.label_image import relabel_sequential
from nucleus.masks.resolve_overlaps import label_image_from_scored
from nucleus.masks.rle import coco_area, coco_box, label_image_from_coco, rles_from_label_image

Pair = tuple[np.ndarray, np.ndarray]
Coco = tuple[dict[str, Any], list[dict[str, Any]]]  # a COCO file and COCO results
FATES = ("kept", "lost", "merged", "split", "thinner", "thicker")
FATE_SHARES = (0.45, 0.1, 0.05, 0.1, 0.15, 0.15)


def real_truth() -> dict[str, Any] | None:
    """The COCO file of the 65 test images under $DETECTRON2_DATASETS, or None where it is not prepared."""
    root = Path(os.environ.get("DETECTRON2_DATASETS", "datasets"))
    path = root / "bbbc038" / "annotations" / "bbbc038_test.json"
    return read_coco(path) if path.is_file() else None


def truth_images(coco: dict[str, Any]) -> list[np.ndarray]:
    """The truth of a COCO file, one label image an image."""
    rles = defaultdict(list)
    for annotation in coco["annotations"]:
        rles[annotation["image_id"]].append(annotation["segmentation"])
    return [label_image_from_coco(rles[image["id"]], image["height"], image["width"]) for image in coco["images"]]


def predicted_images(coco: dict[str, Any], results: Sequence[dict[str, Any]], threshold: float) -> list[np.ndarray]:
    """Detections with a score of at least the threshold, one label image an image of the COCO file."""
    by_image = defaultdict(list)
    for result in results:
        by_image[result["image_id"]].append(result)
    return [
        label_image_from_scored(
            [result["segmentation"] for result in by_image[image["id"]]],
            [result["score"] for result in by_image[image["id"]]],
            image["height"],
            image["width"],
            score_threshold=threshold,
        )[0]
        for image in coco["images"]
    ]


def real_pairs(predictions: Path | None, threshold: float) -> tuple[list[Pair], Coco, str] | None:
    """The 65 test images of BBBC038.

    Args:
        predictions: COCO results of a model on them; None perturbs the truth.
        threshold: lowest score of a detection that becomes a nucleus.

    Returns:
        The pairs, the same as a COCO file and COCO results, and what the predictions are; None without the data.
    """
    coco = real_truth()
    if coco is None:
        return None
    truths = truth_images(coco)
    if predictions is not None:
        results = json.loads(predictions.read_bytes())
        pairs = list(zip(truths, predicted_images(coco, results, threshold), strict=True))
        return pairs, (coco, results), f"{len(results):,} detections of a model, label images of those from {threshold}"
    pairs = [(truth, perturbed(truth, seed)) for seed, truth in enumerate(truths)]
    ids = [image["id"] for image in coco["images"]]
    results = [
        result for image_id, (_, labels) in zip(ids, pairs, strict=True) for result in detections(image_id, labels)
    ]
    return pairs, (coco, results), "the truth, perturbed"


def synthetic_pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Truths of the BBBC038 look-alike and perturbed predictions: uint16 (count, 256, 256) each, 30 nuclei an image.

    The number of nuclei follows that of BBBC038: a median of 27, up to some 150 that fit into these pixels. Each field
    is seen in eight orientations, with errors of its own in each.
    """
    truths, predictions = np.zeros((2, count, 256, 256), dtype=np.uint16)
    for seed in range(count):
        field, orientation = divmod(seed, 8)
        if orientation == 0:
            rng = np.random.default_rng(field)
            nuclei = int(np.clip(rng.lognormal(np.log(30), 0.8), 1, 150))
            labels = place_nuclei(rng, (256, 256), nuclei, Population(radius=float(rng.uniform(5, 10)), clumping=0.3))
            drop_fragments(labels)
        turned = np.rot90(labels if orientation < 4 else labels.T, orientation)
        truths[seed] = relabel_sequential(turned)
        predictions[seed] = perturbed(truths[seed], seed)
    return truths, predictions


def random_pairs(count: int) -> list[Pair]:
    """Small images of 1 x 1 to 70 x 90 pixels with up to 30 disks, some with one side empty, some with both."""
    pairs = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        labels = np.zeros(rng.integers(1, [71, 91]), dtype=np.int32)
        for label in range(1, 1 + int(rng.integers(0, 31))):
            centre = rng.integers(labels.shape[1]), rng.integers(labels.shape[0])
            cv2.circle(labels, tuple(map(int, centre)), int(rng.integers(1, 9)), label, cv2.FILLED)
        truth = relabel_sequential(labels)
        prediction = perturbed(truth, seed)
        empty = np.zeros_like(truth)
        pairs.append(((empty if seed % 20 == 0 else truth), (empty if seed % 30 == 10 else prediction)))
    return pairs


def tied_pairs(count: int) -> list[Pair]:
    """Images of 5 x 8 pixels with up to three nuclei a side, of which many have an IoU that equals a threshold."""
    pairs = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        truth = rng.integers(0, 4, size=(5, 8), dtype=np.int32)
        prediction = np.where(
            rng.random(truth.shape) < 0.7, truth, rng.integers(0, 4, size=truth.shape, dtype=np.int32)
        )
        pairs.append((relabel_sequential(np.sort(truth)), relabel_sequential(np.sort(prediction))))
    return pairs


def perturbed(truth: np.ndarray, seed: int) -> np.ndarray:
    """Draw the nuclei again with errors: kept, lost, merged, split, a pixel thinner or thicker, and all shifted by one.

    Args:
        truth: integers (H, W), 0 background, 1..n.
        seed: of the errors.

    Returns:
        The same type, labels 1..m.
    """
    rng = np.random.default_rng(seed)
    count = int(truth.max(initial=0))
    fate = rng.choice(len(FATES), size=count + 1, p=FATE_SHARES)
    is_fate = {name: (fate == number)[truth] & (truth > 0) for number, name in enumerate(FATES)}
    names = np.arange(count + 1)
    names[fate == FATES.index("lost")] = 0
    merged = np.flatnonzero(fate == FATES.index("merged"))
    names[merged] = np.maximum(merged - 1, 0)  # with the one before, wherever it lies
    predicted = names[truth]
    columns = np.broadcast_to(np.arange(truth.shape[1]), truth.shape)
    areas = np.maximum(np.bincount(truth.ravel(), minlength=count + 1), 1)
    centre = np.bincount(truth.ravel(), weights=columns.ravel(), minlength=count + 1) / areas
    predicted[is_fate["split"] & (columns > centre[truth])] += count  # halves, left and right
    whole = truth.astype(np.uint16)
    predicted[is_fate["thinner"] & (cv2.erode(whole, np.ones((3, 3))) != cv2.dilate(whole, np.ones((3, 3))))] = 0
    thick = cv2.dilate(np.where(is_fate["thicker"], predicted, 0).astype(np.uint16), np.ones((3, 3)))
    predicted = np.where(predicted > 0, predicted, thick)
    return relabel_sequential(np.roll(predicted, rng.integers(-1, 2, size=2), axis=(0, 1))).astype(truth.dtype)


def detections(image_id: int, labels: np.ndarray) -> list[dict[str, Any]]:
    """COCO results of a label image, with scores of three decimals, some of them equal."""
    rng = np.random.default_rng(image_id)
    return [
        {"image_id": image_id, "category_id": NUCLEUS["id"], "score": round(float(rng.random()), 3),
         "bbox": coco_box(rle), "segmentation": rle}
        for rle in rles_from_label_image(labels)
    ]  # fmt: skip


def coco_of_pairs(pairs: Sequence[Pair]) -> Coco:
    """Pairs of label images as a COCO file and COCO results."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results = []
    for image_id, (truth, prediction) in enumerate(pairs, start=1):
        images.append(
            {"id": image_id, "file_name": f"{image_id}.png", "height": truth.shape[0], "width": truth.shape[1]}
        )
        for rle in rles_from_label_image(truth):
            fixed = {"id": len(annotations) + 1, "image_id": image_id, "category_id": NUCLEUS["id"], "iscrowd": 0}
            annotations.append({**fixed, "bbox": coco_box(rle), "area": coco_area(rle), "segmentation": rle})
        results += detections(image_id, prediction)
    return {"images": images, "annotations": annotations, "categories": [NUCLEUS]}, results
