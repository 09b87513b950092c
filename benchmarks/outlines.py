#!/usr/bin/env python
"""Where truth draws the edge of a nucleus, data set by data set, and what that costs a model.

    DETECTRON2_DATASETS=datasets python benchmarks/outlines.py --json outlines.json

First without any model: how far outside the drawn outline the mean brightness around the nuclei of an image is halfway
between theirs and that of what surrounds them. The same for all who draw at the same place; negative where outlines are
drawn wide. Then the DSB score of a model whose nuclei are drawn wider by some pixels (`nucleus predict --expand`), and,
so that no image has a say in how its own nuclei are drawn, with the width that is best on all other fields of view of
the set.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import write_rows
from scale import by_modality, dsb_score
from scipy.ndimage import distance_transform_edt
from tqdm import tqdm

import nucleus
from nucleus.data.catalog import register_all
from nucleus.data.decoded import decode
from nucleus.inference.predictor import Model
from nucleus.modeling.nucleus_rcnn import postprocess

SETS = ("bbbc038_train", "bbbc038_val", "bbbc038_test")
WIDTHS = (-0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # pixels
BANDS = range(-6, 8)  # from so many pixels outside the drawn outline to one more
FEWEST = 20  # pixels in a band, for their mean to say something


def half_height(image: np.ndarray, truth: np.ndarray) -> float:
    """Where the brightness is halfway: pixels outside the drawn outline; NaN where it is nowhere.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        truth: label image (H, W).
    """
    gray, inside = np.atleast_3d(image).mean(axis=2), truth > 0
    if not inside.any() or inside.all():
        return float("nan")
    distance = np.where(inside, 0.5 - distance_transform_edt(inside), distance_transform_edt(~inside) - 0.5)
    band = np.floor(distance).astype(int)
    bands = [band == one for one in BANDS]
    sign = 1 if gray[inside].mean() > gray[~inside].mean() else -1  # dark nuclei
    profile, places = (
        np.array([values[one].mean() if one.sum() > FEWEST else np.nan for one in bands])
        for values in (sign * gray, distance)
    )
    half = (np.nanmean(profile[:3]) + np.nanmin(profile[len(profile) // 2 :])) / 2
    below = np.flatnonzero((profile[:-1] >= half) & (profile[1:] < half))
    if not below.size:
        return float("nan")
    first, after = below[0], below[0] + 1
    part = (profile[first] - half) / (profile[first] - profile[after])
    return float(places[first] + part * (places[after] - places[first]))


@torch.inference_mode()
def scores_by_width(model: Model, image: np.ndarray, truth: np.ndarray) -> list[float]:
    """The DSB score of an image for each of WIDTHS, of one pass of the network."""
    records = [{"image": model._prepare(image, None), "height": truth.shape[0], "width": truth.shape[1]}]
    raw = model.network.inference(records, do_postprocess=False)
    margin = model.network.mask_margin
    drawn = (model._prediction(postprocess(raw, records, width, margin)[0]) for width in WIDTHS)
    return [dsb_score(truth, prediction.label_image) for prediction in drawn]


def without_own_field(scores: np.ndarray, groups: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The score of each image with the width of the best mean over the images of all other fields, and that width.

    Args:
        scores: (N, W), of images and widths.
        groups: field of view of each image.

    Returns:
        float (N,) and int (N,), numbers of columns.
    """
    field = np.array(groups)
    chosen = np.array([scores[field != own].mean(axis=0).argmax() for own in field])
    return scores[np.arange(len(scores)), chosen], chosen


def main() -> None:
    """Measure, predict, and print."""
    from detectron2.data import DatasetCatalog

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite", metavar="NAME")
    parser.add_argument("--no-model", action="store_true", help="only where the edges are drawn")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    args = parser.parse_args()
    register_all()
    rows: list[dict[str, Any]] = []
    for name in SETS:
        halves = defaultdict(list)
        for record in tqdm(DatasetCatalog.get(name), name, disable=None):
            decoded = decode(record)
            halves[record["modality"]].append(half_height(decoded.image, decoded.layers[0]))
        for modality, values in sorted(halves.items()):
            quartiles = np.nanpercentile(values, [25, 50, 75]).round(2).tolist()
            rows.append({"case": f"{name}: half height outside the outline", "modality": modality,
                         "images": len(values), "quartiles": quartiles})  # fmt: skip
            print(json.dumps(rows[-1]), flush=True)
    model = None if args.no_model else nucleus.load_model(args.model, precision="float32")
    for name in SETS[1:] if model else ():
        records = DatasetCatalog.get(name)
        scores = []
        for record in tqdm(records, name, disable=None):
            decoded = decode(record)
            scores.append(scores_by_width(model, decoded.image, decoded.layers[0]))
        table, modalities = np.array(scores), [record["modality"] for record in records]
        for width, column in zip(WIDTHS, table.T, strict=True):
            rows.append(_row(f"{name}: expanded by {width} px", column, modalities))
        crossed, chosen = without_own_field(table, [record["group"] for record in records])
        rows.append(_row(f"{name}: by what is best on all other fields", crossed, modalities))
        rows[-1]["widths"] = sorted({WIDTHS[column] for column in chosen})
        for row in rows[-len(WIDTHS) - 1 :]:
            print(json.dumps(row), flush=True)
    if args.json:
        write_rows(args.json, rows)


def _row(case: str, scores: np.ndarray, modalities: list[str]) -> dict[str, Any]:
    return {"case": case, "DSB score": round(float(scores.mean()), 4), **by_modality(scores, modalities)}


if __name__ == "__main__":
    main()
