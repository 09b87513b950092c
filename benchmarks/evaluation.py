#!/usr/bin/env python
"""How fast are the scores, and in how much memory, next to the libraries that compute the same?

    python benchmarks/evaluation.py [--json FILE] [--images N] [--predictions FILE] [--rounds R] [--skip-memory]

Two sets: the 65 test images of BBBC038, if they are prepared under $DETECTRON2_DATASETS, with a model's predictions
(COCO results, as an evaluation writes them) or with the truth, perturbed; and N synthetic images of 256 x 256 pixels.
Everyone gets the same arrays in memory, is warmed up (numba compiles), and then all take turns, image by image:

- the matches at ten IoUs, of which the DSB score and object F1 are made: stardist, cellpose, scikit-image;
- AJI, PQ and the seed protocol: whoever of them computes it;
- all scores, which here is one call, against the fastest other one of each, added up;
- COCO AP of boxes and of masks, 1,000 detections an image: pycocotools and, for comparison, faster-coco-eval; of the
  real set from the two JSON files, too.

`benchmarks/scorers.py` says which definition each uses. Peak memory is taken in a child process for each, as the growth
of its resident memory over what it holds when the images are loaded and the library is warm; `*_process` in the JSON is
the whole process. With 2,000 images it takes ten minutes on two cores, most of it pycocotools'.

Libraries that are not installed are skipped by name. All of them, without touching another environment:

    python3.11 -m venv peers
    peers/bin/pip install -e .                     # nucleus, scikit-image, pycocotools
    peers/bin/pip install --no-deps stardist csbdeep cellpose numba llvmlite six fastremap fill-voids faster-coco-eval
    peers/bin/python benchmarks/evaluation.py

`--no-deps` leaves out TensorFlow, which only stardist's networks need.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from label_pairs import Coco, Pair, coco_of_pairs, real_pairs, synthetic_pairs
from measure import comparison, in_turn, print_rows, write_rows
from scorers import ALL, CONTESTANTS, OURS, Scorer

from nucleus.evaluation.coco_ap import coco_average_precision

PEERS = ("pycocotools", "hotcoco", "stardist", "cellpose", "numba", "scikit-image", "scipy", "faster-coco-eval")
Row = dict[str, Any]


@dataclass(frozen=True)
class Images:
    """One set of images, as label images and as COCO."""

    name: str
    pairs: Sequence[Pair]
    coco: Coco


# Label-image scores.


def installed(contestants: Mapping[str, Callable[[], Scorer]]) -> dict[str, Scorer]:
    """Those that can be imported."""
    found = {}
    for name, build in contestants.items():
        try:
            found[name] = build()
        except ImportError as error:
            print(f"skipped: {name} ({error})", file=sys.stderr)
    return found


def over_all(score: Scorer, pairs: Sequence[Pair]) -> Callable[[], None]:
    """Score image by image, keeping nothing."""

    def run() -> None:
        for truth, prediction in pairs:
            score(truth, prediction)

    return run


def time_scores(images: Images, rounds: int) -> Iterator[Row]:
    """A row a score and contestant: milliseconds an image."""
    cases = {}
    for score, contestants in CONTESTANTS.items():
        for name, scorer in installed(contestants).items():
            over_all(scorer, images.pairs[:2])()  # compiles
            cases[score, name] = over_all(scorer, images.pairs)
    seconds = in_turn(cases, rounds, warm_up=0)  # type: ignore[arg-type,type-var]
    fastest: list[list[float]] = []
    for score, contestants in CONTESTANTS.items():
        others = {name: seconds[score, name] for name in contestants if name != OURS and (score, name) in seconds}  # type: ignore[index]
        for name, theirs in others.items():
            yield comparison(f"{images.name}, {score}: {name}", theirs, seconds[score, OURS], divisor=len(images.pairs))  # type: ignore[index]
        if others:
            fastest.append(min(others.values(), key=np.median))
    yield comparison(
        f"{images.name}, {ALL}: the fastest other of each, added",
        [sum(parts) for parts in zip(*fastest, strict=True)],
        seconds[ALL, OURS],  # type: ignore[index]
        divisor=len(images.pairs),
    )


# COCO AP.


def ap_by_us(coco: Coco, kind: str) -> object:
    return coco_average_precision(*coco, kind)  # type: ignore[arg-type]


def ap_by_pycocotools(coco: Coco, kind: str) -> object:
    return coco_average_precision(*coco, kind, backend="pycocotools")  # type: ignore[arg-type]


def ap_by_faster_coco_eval(coco: Coco, kind: str) -> object:
    from faster_coco_eval import COCO, COCOeval_faster

    truth, results = coco
    results = [{key: value for key, value in result.items() if kind == "bbox" or key != "bbox"} for result in results]
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO({**truth, "annotations": list(map(dict, truth["annotations"]))})
        evaluation = COCOeval_faster(index, index.loadRes(results), kind)
        evaluation.params.maxDets = [1000]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"].mean()


AP_CONTESTANTS = {OURS: ap_by_us, "pycocotools": ap_by_pycocotools, "faster-coco-eval": ap_by_faster_coco_eval}


def time_coco_ap(images: Images, rounds: int) -> Iterator[Row]:
    """A row a kind and contestant: milliseconds for the whole set."""
    first = coco_of_pairs(images.pairs[:2])
    able = {}
    for name, run in AP_CONTESTANTS.items():
        try:
            run(first, "segm")
            able[name] = run
        except ImportError as error:
            print(f"skipped: {name} ({error})", file=sys.stderr)
    for kind, subject in (("segm", "masks"), ("bbox", "boxes")):
        cases = {name: (lambda run=run, kind=kind: run(images.coco, kind)) for name, run in able.items()}
        seconds = in_turn(cases, rounds, warm_up=0)
        for name in able:
            if name != OURS:
                yield comparison(f"{images.name}, COCO AP ({subject}): {name}", seconds[name], seconds[OURS])


def time_from_files(images: Images, rounds: int) -> Row:
    """COCO AP of masks and boxes from a COCO file and COCO results on disk, as each library reads them."""
    with tempfile.TemporaryDirectory() as folder:
        truth_file, results_file = Path(folder) / "truth.json", Path(folder) / "results.json"
        truth_file.write_text(json.dumps({**images.coco[0], "info": {}}), encoding="utf-8")
        results_file.write_text(json.dumps(images.coco[1]), encoding="utf-8")

        def ours() -> None:
            coco = json.loads(truth_file.read_bytes()), json.loads(results_file.read_bytes())
            for kind in ("segm", "bbox"):
                ap_by_us(coco, kind)

        def stock() -> None:
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval

            with contextlib.redirect_stdout(io.StringIO()):
                for kind in ("segm", "bbox"):
                    index = COCO(str(truth_file))
                    evaluation = COCOeval(index, index.loadRes(str(results_file)), kind)
                    evaluation.params.maxDets = [1000]
                    evaluation.evaluate()
                    evaluation.accumulate()

        seconds = in_turn({"stock": stock, "ours": ours}, rounds, warm_up=0)
    return comparison(f"{images.name}, COCO AP (both), from files: pycocotools", seconds["stock"], seconds["ours"])


# Peak memory.


def resident(field: str) -> float:
    """VmRSS (now) or VmHWM (the peak) of this process in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024


def peak_of(score: str, name: str, data: Path) -> tuple[float, float]:
    """In a process of its own: growth of resident memory while scoring, and the peak of the process, in MiB."""
    warnings.simplefilter("ignore")
    with data.open("rb") as file:
        pairs, coco = pickle.load(file)
    if score in CONTESTANTS:
        scorer = CONTESTANTS[score][name]()
        run, warm_up = over_all(scorer, pairs), over_all(scorer, pairs[:2])
    else:
        first = coco_of_pairs(pairs[:2])
        run, warm_up = lambda: AP_CONTESTANTS[name](coco, score), lambda: AP_CONTESTANTS[name](first, score)  # type: ignore[assignment]
    warm_up()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
    before = resident("VmRSS")
    run()
    peak = resident("VmHWM")
    return max(peak - before, 0.0), peak


def measure_memory(images: Images) -> Iterator[Row]:
    """A row a score and contestant: MiB above the loaded images."""
    if not Path("/proc/self/clear_refs").exists():
        print("skipped: peak memory (needs Linux)", file=sys.stderr)
        return
    contests = {**CONTESTANTS, "segm": dict.fromkeys(AP_CONTESTANTS), "bbox": dict.fromkeys(AP_CONTESTANTS)}
    names = {"segm": "COCO AP (masks)", "bbox": "COCO AP (boxes)"}
    with tempfile.TemporaryDirectory() as folder:
        label_images, rles = Path(folder) / "label_images.pickle", Path(folder) / "rles.pickle"
        # Label images would weigh on a process that scores RLEs, and the reverse.
        for data, content in ((label_images, (images.pairs, None)), (rles, (images.pairs[:2], images.coco))):
            with data.open("wb") as file:
                pickle.dump(content, file)
        for score, contestants in contests.items():
            data = rles if score in names else label_images
            peaks = {}
            for name in contestants:
                with multiprocessing.get_context("spawn").Pool(1) as pool, contextlib.suppress(ImportError):
                    peaks[name] = pool.apply(peak_of, (score, name, data))
            ours = peaks.pop(OURS)
            for name, theirs in peaks.items():
                case = f"{images.name}, {names.get(score, score)}, peak memory: {name}"
                yield memory_row(case, theirs, ours)


def memory_row(case: str, theirs: tuple[float, float], ours: tuple[float, float]) -> Row:
    """A row of the form that `measure.comparison` gives."""
    grown, whole = ([round(value, 1) for value in values] for values in (theirs, ours))
    ratio = round(theirs[0] / ours[0], 2) if ours[0] else None
    more = {"stock_process": grown[1], "ours_process": whole[1]}
    return {"case": case, "stock": grown[0], "ours": whole[0], "ratio": ratio, "unit": "MiB", **more}


def image_sets(predictions: Path | None, threshold: float, count: int) -> Iterator[Images]:
    """The real set, if it is there, and the synthetic one."""
    real = real_pairs(predictions, threshold)
    if real is None:
        print("skipped: the real test set (no bbbc038_test under $DETECTRON2_DATASETS)", file=sys.stderr)
    else:
        print(f"Real predictions: {real[2]}.")
        yield Images(f"{len(real[0])} real images", real[0], real[1])
    if count:
        pairs = list(zip(*synthetic_pairs(count), strict=True))
        yield Images(f"{count:,} synthetic images", pairs, coco_of_pairs(pairs))


def versions() -> dict[str, str]:
    """Of the contestants that are installed."""
    found = {}
    for name in PEERS:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Race, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--images", type=int, default=2000, metavar="N", help="synthetic images (default: 2000)")
    parser.add_argument("--predictions", type=Path, metavar="FILE", help="COCO results on the test set")
    parser.add_argument("--score-threshold", type=float, default=0.5, metavar="S", help="of a nucleus (default: 0.5)")
    parser.add_argument("--rounds", type=int, default=5, metavar="R", help="of the real set; the synthetic one has 3")
    parser.add_argument("--skip-memory", action="store_true", help="time only")
    args = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # cellpose divides by 0
    np.seterr(all="ignore")
    print(", ".join(f"{name} {number}" for name, number in versions().items()))
    rows: list[Row] = []
    for images in image_sets(args.predictions, args.score_threshold, args.images):
        is_real = "real" in images.name
        rounds = args.rounds if is_real else min(args.rounds, 3)
        rows += time_scores(images, rounds)
        rows += time_coco_ap(images, rounds if is_real else 1)
        if is_real:
            rows.append(time_from_files(images, min(rounds, 3)))
        if not args.skip_memory:
            rows += measure_memory(images)
    print_rows(rows)
    if args.json:
        write_rows(args.json, [{**row, "versions": versions()} for row in rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
