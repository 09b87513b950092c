#!/usr/bin/env python
"""At which scale a model should see an image: validation images enlarged more and less than in training.

    DETECTRON2_DATASETS=datasets python benchmarks/scale.py --dataset bbbc038_val

For each factor on top of the model's own scale: the mean DSB score, overall and by modality. Then what a choice for
each image would bring: the best factor of each, which only the truth knows; and the rule of a second look, which
enlarges an image so that the median nucleus found in a first look gets a given width (as in Hollandi et al. 2020,
NucleAIzer).
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from measure import write_rows
from tqdm import tqdm

import nucleus
from nucleus.data.catalog import register_all
from nucleus.data.decoded import decode
from nucleus.evaluation.matching import matches_by_threshold
from nucleus.masks.overlap import overlap_table

FACTORS = (0.71, 1.0, 1.41, 2.0)
LARGEST = 2900  # network pixels a side; beyond, an image keeps its own scale
WIDTHS = (20, 24, 28, 32, 36, 40)  # network pixels, of the median nucleus at the second look


def dsb_score(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Of one image; see `nucleus.evaluation.object_scores`."""
    both = int(truth.max() + predicted.max())
    matches = np.array(matches_by_threshold(overlap_table(truth, predicted)), dtype=float)
    return float((matches / (both - matches)).mean()) if both else 1.0


def main() -> None:
    """Predict, and print the tables."""
    from detectron2.data import DatasetCatalog

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="bbbc038_val", metavar="NAME", help="never a test set: this is a choice")
    parser.add_argument("--model", default="lite", metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    args = parser.parse_args()
    register_all()
    model = nucleus.load_model(args.model, precision="float32")
    scores, widths, modalities = [], [], []
    for record in tqdm(DatasetCatalog.get(args.dataset), "images", disable=None):
        decoded = decode(record)
        own = model.scale_of(record["height"], record["width"])
        row = []
        for factor in FACTORS:
            fits = max(record["height"], record["width"]) * own * factor <= LARGEST
            found = model.predict(decoded.image, scale=own * (factor if fits else 1.0))
            row.append(dsb_score(decoded.layers[0], found.label_image))
            if factor == 1.0:
                widths.append(float(np.median(np.sqrt(found.masks.areas))) * own if len(found) else np.inf)
        scores.append(row)
        modalities.append(record["modality"])
    table = np.array(scores)
    rows = [{"case": f"factor {factor}", "DSB score": round(float(column.mean()), 4), **by_modality(column, modalities)}
            for factor, column in zip(FACTORS, table.T, strict=True)]  # fmt: skip
    best = table.max(axis=1)
    rows.append({"case": "best of each image", "DSB score": round(float(best.mean()), 4),
                 **by_modality(best, modalities)})  # fmt: skip
    for width in WIDTHS:
        wanted = np.clip(width / np.array(widths), 1.0, max(FACTORS))
        nearest = np.abs(np.log(np.array(FACTORS)) - np.log(wanted)[:, None]).argmin(axis=1)
        chosen = table[np.arange(len(table)), nearest]
        rows.append({"case": f"median nucleus {width} wide", "DSB score": round(float(chosen.mean()), 4),
                     **by_modality(chosen, modalities)})  # fmt: skip
    for row in rows:
        print(json.dumps(row))
    if args.json:
        write_rows(args.json, rows)


def by_modality(values: np.ndarray, modalities: list[str]) -> dict[str, float]:
    """The mean of each modality."""
    groups: dict[str, list[float]] = defaultdict(list)
    for value, modality in zip(values.tolist(), modalities, strict=True):
        groups[modality].append(value)
    return {modality: round(float(np.mean(some)), 4) for modality, some in sorted(groups.items())}


if __name__ == "__main__":
    main()
