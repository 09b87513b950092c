#!/usr/bin/env python
"""Do the scores agree with every outside reference? A table: score, reference, cases, largest difference.

    python benchmarks/agreement.py [--json FILE] [--predictions FILE] [--score-threshold S] [--skip-slow]

Three sets of pairs: random ones with empty images among them; tied ones, tiny, in which many an IoU equals a threshold;
and the 65 test images of BBBC038, if they are prepared under $DETECTRON2_DATASETS, with a model's predictions (COCO
results, as an evaluation writes them) or with the truth, perturbed. It takes two minutes, most of it pycocotools'.

`benchmarks/scorers.py` says which definition each reference uses. Where it is not ours the two differ on purpose, and
then the last column counts once more by their rule from our overlap table: what is left is the disagreement.

References that are not installed are skipped by name. All of them, without touching another environment:

    python3.11 -m venv peers
    peers/bin/pip install -e .[dev]                 # nucleus, scikit-image, pycocotools, cellseg-metrics
    peers/bin/pip install --no-deps stardist csbdeep cellpose numba llvmlite six fastremap fill-voids
    peers/bin/python tools/install_detectron2.py
    peers/bin/python benchmarks/agreement.py

`--no-deps` leaves out TensorFlow, which only stardist's networks need.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from label_pairs import Coco, Pair, coco_of_pairs, random_pairs, real_pairs, tied_pairs
from measure import describe_machine
from rules import THEIR_RULES, brute_force
from scorers import AJI, CONTESTANTS, OBJECTS, OURS, PQ, SEED, SLOW_CONTESTANTS, Scorer

from nucleus.evaluation.coco_ap import coco_average_precision
from nucleus.evaluation.image_scores import SCORES, score_image
from nucleus.masks.label_image import label_components
from nucleus.masks.overlap import overlap_table

BRUTE_FORCE = "brute force in fractions"
SAME = "the same"
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        score: what was compared.
        reference: with whom.
        pairs: which images.
        cases: how many values.
        largest: largest difference of a value, ours and theirs each by its own rule.
        differ: values that differ by more than TOLERANCE.
        by_their_rule: largest difference when their rule is applied to our overlap table; None where the rules are one.
        rule: where theirs departs from ours.
    """

    score: str
    reference: str
    pairs: str
    cases: int
    largest: float
    differ: int
    by_their_rule: float | None = None
    rule: str = SAME


def row(
    score: str,
    reference: str,
    pairs: str,
    found: Sequence[object],
    expected: Sequence[object],
    rule: str = SAME,
    by_their_rule: float | None = None,
) -> Row:
    """Compare values, NaN equal to NaN, and NaN against a number as that number against 0."""
    ours = np.concatenate([np.ravel(np.asarray(value, dtype=float)) for value in found])
    theirs = np.concatenate([np.ravel(np.asarray(value, dtype=float)) for value in expected])
    difference = np.abs(np.nan_to_num(ours) - np.nan_to_num(theirs))
    differ = int(np.count_nonzero(difference > TOLERANCE))
    return Row(score, reference, pairs, difference.size, float(difference.max()), differ, by_their_rule, rule)


def compare_scores(name: str, pairs: Sequence[Pair]) -> Iterator[Row]:
    """Label-image scores against brute force and against every reference that is installed."""
    truths = [brute_force(*pair) for pair in pairs]
    scored = [score_image(*pair) for pair in pairs]
    for score in ("DSB score", "object F1@0.70", "pixel Dice"):
        yield row(score, BRUTE_FORCE, name, [SCORES[score](one) for one in scored], [one[score] for one in truths])
    tables = [overlap_table(*pair) for pair in pairs]
    components = [overlap_table(*map(label_components, pair)) for pair in pairs]
    for score in (OBJECTS, AJI, PQ, SEED):
        ours = [CONTESTANTS[score][OURS]()(*pair) for pair in pairs]
        if score != SEED:
            yield row(score, BRUTE_FORCE, name, ours, [one[score] for one in truths])
        for reference, scorer in installed({**CONTESTANTS[score], **SLOW_CONTESTANTS.get(score, {})}):
            theirs = [scorer(*pair) for pair in pairs]
            text, rule = THEIR_RULES.get((score, reference), (SAME, None))
            left = None
            if rule is not None:
                counted = components if score == SEED else tables
                by_rule = [rule(table, truth.size) for table, (truth, _) in zip(counted, pairs, strict=True)]
                left = row(score, reference, name, by_rule, theirs).largest
            yield row(score, reference, name, ours, theirs, text, left)


def installed(contestants: Mapping[str, Callable[[], Scorer]]) -> Iterator[tuple[str, Scorer]]:
    """The references that can be imported."""
    for name, build in contestants.items():
        if name == OURS:
            continue
        try:
            yield name, build()
        except ImportError as error:
            print(f"skipped: {name} ({error})", file=sys.stderr)


# COCO AP.


def compare_coco_ap(name: str, coco: Coco) -> Iterator[Row]:
    """COCO AP by hotcoco, as we compute it, against pycocotools and against Detectron2's evaluator."""
    truth, results = coco
    for kind, subject in (("bbox", "boxes"), ("segm", "masks")):
        ours = coco_average_precision(truth, results, kind, backend="hotcoco")["overall"]  # type: ignore[arg-type]
        theirs = coco_average_precision(truth, results, kind, backend="pycocotools")["overall"]  # type: ignore[arg-type]
        yield row(
            f"COCO AP and AR ({subject})",
            "pycocotools, 1,000 detections",
            name,
            list(ours.values()),
            list(theirs.values()),
        )
        try:
            percent = detectron2_scores(truth, results, kind)
        except ImportError as error:
            print(f"skipped: Detectron2's COCOEvaluator ({error})", file=sys.stderr)
            continue
        values = [value / 100 for value in percent]
        yield row(f"COCO AP ({subject})", "Detectron2 COCOEvaluator", name, list(ours.values())[:6], values)


def detectron2_scores(truth: dict, results: list[dict], kind: str) -> list[float]:
    """AP, AP50, AP75, small, medium, large in percent, NaN where undefined."""
    from detectron2.data import MetadataCatalog
    from detectron2.evaluation import COCOEvaluator

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "truth.json"
        path.write_text(json.dumps({**truth, "info": {}}), encoding="utf-8")
        metadata = MetadataCatalog.get(f"agreement {folder}")
        metadata.set(json_file=str(path), thing_classes=["nucleus"], thing_dataset_id_to_contiguous_id={1: 0})
        evaluator = COCOEvaluator(metadata.name, (kind,), max_dets_per_image=1000, use_fast_impl=False)
        instances: dict[int, list[dict]] = {image["id"]: [] for image in truth["images"]}
        for result in results:
            instances[result["image_id"]].append({**result, "category_id": 0})  # it counts classes from 0
        evaluator.reset()
        evaluator._predictions = [{"image_id": key, "instances": value} for key, value in instances.items()]
        return list(evaluator.evaluate()[kind].values())[:6]


def print_table(rows: Sequence[Row]) -> None:
    """The rows as Markdown, the sets of pairs of a score and a reference together in one line."""
    print("| score | reference | cases | largest difference | differ | by their rule | their rule |")
    print("| --- | --- | ---: | ---: | --- | ---: | --- |")
    for (score, reference), group in groupby(rows, key=lambda r: (r.score, r.reference)):
        lines = list(group)
        cases = sum(r.cases for r in lines)
        largest = max(r.largest for r in lines)
        differ = ", ".join(f"{r.pairs} {r.differ}" for r in lines if r.differ) or "none"
        left = [r.by_their_rule for r in lines if r.by_their_rule is not None]
        by_rule = f"{max(left):.1e}" if left else ""
        print(f"| {score} | {reference} | {cases:,} | {largest:.1e} | {differ} | {by_rule} | {lines[0].rule} |")


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare everything that is installed; 1 if what should agree does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--predictions", type=Path, metavar="FILE", help="COCO results on the test set")
    parser.add_argument("--score-threshold", type=float, default=0.5, metavar="S", help="of a nucleus (default: 0.5)")
    parser.add_argument("--skip-slow", action="store_true", help="no COCO AP of the real images")
    args = parser.parse_args(arguments)
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")  # cellpose divides by 0
    np.seterr(all="ignore")

    sets: dict[str, tuple[Sequence[Pair], Coco]] = {}
    for name, pairs in (("random", random_pairs(200)), ("tied", tied_pairs(300))):
        sets[name] = pairs, coco_of_pairs(pairs)
    real = real_pairs(args.predictions, args.score_threshold)
    if real is None:
        print("skipped: the real pairs (no bbbc038_test under $DETECTRON2_DATASETS)", file=sys.stderr)
    else:
        sets["real"] = real[0], real[1]
        print(f"Real predictions: {real[2]}.\n")
    rows: list[Row] = []
    for name, (pairs, coco) in sets.items():
        rows += compare_scores(name, pairs)
        if not (name == "real" and args.skip_slow):
            rows += compare_coco_ap(name, coco)
    rows.sort(key=lambda r: (r.score, r.reference))
    print_table(rows)
    if args.json:
        table = {"machine": describe_machine(), "rows": [asdict(r) for r in rows]}
        args.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    wrong = [r for r in rows if (r.largest if r.by_their_rule is None else r.by_their_rule) > TOLERANCE]
    for r in wrong:
        print(f"disagrees: {r.score}, {r.reference}, {r.pairs}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
