from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from nucleus.errors import InputError
from nucleus.evaluation.coco_ap import coco_average_precision
from nucleus.evaluation.groups import read_groups
from nucleus.evaluation.image_scores import score_image
from nucleus.evaluation.score_files import CHUNK, FileScores, score_files
from nucleus.evaluation.score_pair import read_labels
from nucleus.evaluation.sources import Source, open_source
from nucleus.evaluation.threshold import threshold_curve
from nucleus.formats.coco import write_coco
from nucleus.formats.geojson import write_geojson
from nucleus.formats.image import read_image
from nucleus.formats.kaggle_csv import write_kaggle_csv
from nucleus.formats.label_image import write_label_image
from nucleus.masks.kaggle_runs import encode_kaggle
from nucleus.masks.label_image import relabel_sequential
from nucleus.masks.resolve_overlaps import label_image_from_scored
from nucleus.masks.rle import coco_area, coco_box, decode_coco, rles_from_label_image


def folder_of(folder: Path, labels: list[np.ndarray]) -> Source:
    for number, image in enumerate(labels):
        write_label_image(folder / f"{number:03}.tif", image)
    return open_source(folder)


@pytest.fixture
def sides(tmp_path, random_pairs) -> tuple[Source, Source]:
    """120 images as folders of label images."""
    truths, predictions = zip(*random_pairs[:120], strict=True)
    return folder_of(tmp_path / "truth", truths), folder_of(tmp_path / "predicted", predictions)


def test_the_scores_are_those_of_the_label_images(sides, random_pairs):
    found = score_files(*sides)
    assert [image.scores for image in found.images] == [score_image(*pair) for pair in random_pairs[:120]]
    assert [image.name for image in found.images] == [f"{number:03}" for number in range(120)]
    assert {image.modality for image in found.images} == {"unknown"}
    assert (found.ranked, found.warnings) == ([], [])
    assert not any("COCO" in name for name in found.summaries["overall"].pooled)
    assert all((read_labels(job)[1] == pair[1]).all() for job, pair in zip(found.jobs, random_pairs, strict=False))


def test_any_division_gives_the_same_numbers(sides, tmp_path):
    """In one piece, in two processes, and in halves brought together: the same to the last digit."""
    whole = score_files(*sides)
    assert len(whole.images) >= 2 * CHUNK
    again = score_files(*sides, workers=2)
    assert (again.images, again.summaries) == (whole.images, whole.summaries)
    truth, prediction = sides
    parts = []
    for start in (0, 1):
        names = sorted(truth.entries)[start::2]
        parts.append(
            score_files(
                Source(truth.path, truth.kind, {name: truth.entries[name] for name in names}),
                Source(prediction.path, prediction.kind, {name: prediction.entries[name] for name in names}),
            )
        )
    together = sorted((image for part in parts for image in part.images), key=lambda image: image.name)
    assert together == whole.images


@pytest.fixture(scope="session")
def detections(random_pairs):
    """40 images: truth, and detections that overlap: (masks as RLE, scores)."""
    made = []
    for seed, (truth, prediction) in enumerate(random_pairs[:40]):
        rng = np.random.default_rng(seed)
        rles = rles_from_label_image(prediction) + rles_from_label_image(truth)[::2]
        made.append((truth, rles, rng.integers(1, 100, len(rles)) / 100))
    return made


def write_detections(folder: Path, detections, *, as_results: bool) -> tuple[Source, Source]:
    kinds = ["small_fluorescent", "purple_tissue"]
    images = [{"id": number, "file_name": f"x/{number:02}.png", "height": truth.shape[0], "width": truth.shape[1],
               "modality": kinds[number % 2], "group": f"g{number // 4}"}
              for number, (truth, _, _) in enumerate(detections)]  # fmt: skip
    truth = [{"image_id": number, "category_id": 1, "segmentation": rle, "bbox": coco_box(rle), "area": coco_area(rle),
              "iscrowd": 0}
             for number, (labels, _, _) in enumerate(detections) for rle in rles_from_label_image(labels)]  # fmt: skip
    found = [{"image_id": number, "category_id": 1, "segmentation": rle, "score": score, "bbox": coco_box(rle)}
             for number, (_, rles, scores) in enumerate(detections)
             for rle, score in zip(rles, scores.tolist(), strict=True)]  # fmt: skip
    folder.mkdir(exist_ok=True)
    write_coco(folder / "truth.json", {}, images, ({"id": n} | one for n, one in enumerate(truth, start=1)))
    source = open_source(folder / "truth.json")
    if as_results:
        (folder / "found.json").write_text(json.dumps(found))
    else:
        write_coco(folder / "found.json", {}, images, ({"id": n} | one for n, one in enumerate(found, start=1)))
    return source, open_source(folder / "found.json", truth=source)


@pytest.mark.parametrize("as_results", [True, False])
@pytest.mark.parametrize("threshold", [None, 0.3])
def test_detections(tmp_path, detections, as_results, threshold):
    found = score_files(*write_detections(tmp_path, detections, as_results=as_results), score_threshold=threshold)
    expected, dropped = [], 0
    for truth, rles, scores in detections:
        labels, lost = label_image_from_scored(rles, scores, *truth.shape, score_threshold=threshold or 0.5)
        expected.append(score_image(truth, labels))
        dropped += lost
    assert [image.scores for image in found.images] == expected
    assert dropped > 10
    assert found.settings["score threshold"] == (threshold or 0.5)
    assert found.settings["detections dropped as parts of others"] == dropped
    assert found.settings["detections"] == sum(len(scores) for _, _, scores in detections)
    assert list(found.summaries) == ["overall", "purple_tissue", "small_fluorescent"]
    assert found.images[5].group == "g1"
    curve = threshold_curve(found.ranked, [threshold or 0.5])
    assert curve["DSB score (image mean)"][0] == pytest.approx(found.summaries["overall"].image_mean["DSB score"])


def test_coco_ap_is_that_of_the_files(tmp_path, detections):
    sides = write_detections(tmp_path, detections, as_results=True)
    found = score_files(*sides, max_detections=20)
    truth, results = (json.loads((tmp_path / name).read_text()) for name in ("truth.json", "found.json"))
    for kind, subject in (("bbox", "boxes"), ("segm", "masks")):
        for group, parity in (("overall", None), ("small_fluorescent", 0), ("purple_tissue", 1)):
            ids = [number for number in range(40) if parity is None or number % 2 == parity]
            expected = coco_average_precision(truth, results, kind, subsets={"x": ids}, max_detections=20)["x"]
            pooled = found.summaries[group].pooled
            assert {name: pooled[name] for name in expected} == pytest.approx(expected, nan_ok=True, abs=1e-12)
            assert 0 < pooled[f"COCO AP ({subject})"] < 1
    assert not any("COCO" in name for name in score_files(*sides, coco_ap=False).summaries["overall"].pooled)


def test_coco_ap_of_label_images_as_truth(tmp_path, detections):
    """The masks of the truth are encoded on the way: the same AP as from the COCO file."""
    truth, found = write_detections(tmp_path, detections, as_results=False)
    labels = folder_of(tmp_path / "labels", [labels for labels, _, _ in detections])
    renamed = Source(labels.path, labels.kind, {name[1:]: entry for name, entry in labels.entries.items()})
    expected, again = score_files(truth, found), score_files(renamed, found)
    assert again.summaries["overall"].pooled == pytest.approx(expected.summaries["overall"].pooled, nan_ok=True)


def every_form(folder: Path, labels: list[np.ndarray], pictures: Path) -> list[Source]:
    """The same nuclei in all forms that hold no scores."""
    sources = [folder_of(folder / "labels", labels)]
    rows = [
        (f"{number:03}", encode_kaggle(decode_coco(rle)))
        for number, image in enumerate(labels)
        for rle in rles_from_label_image(image) or [None]
        if rle is not None
    ]
    rows += [(f"{number:03}", "") for number, image in enumerate(labels) if not image.any()]
    write_kaggle_csv(folder / "runs.csv", rows)
    sources.append(open_source(folder / "runs.csv"))
    (folder / "outlines").mkdir()
    for number, image in enumerate(labels):
        write_geojson(folder / "outlines" / f"{number:03}.geojson", relabel_sequential(image))
        write_label_image(pictures / f"{number:03}.png", (image > 0) * 200)
    sources.append(open_source(folder / "outlines"))
    images = [{"id": number, "file_name": f"{number:03}.png", "height": image.shape[0], "width": image.shape[1]}
              for number, image in enumerate(labels)]  # fmt: skip
    items = [{"image_id": number, "category_id": 1, "segmentation": rle}
             for number, image in enumerate(labels) for rle in rles_from_label_image(image)]  # fmt: skip
    write_coco(folder / "coco.json", {}, images, ({"id": n} | one for n, one in enumerate(items)))
    return [*sources, open_source(folder / "coco.json")]


def test_all_forms_of_truth_and_predictions_score_alike(tmp_path, random_pairs):
    truths = [relabel_sequential(truth) for truth, _ in random_pairs[:12]]
    predictions = [relabel_sequential(prediction) for _, prediction in random_pairs[:12]]
    expected = [score_image(*pair) for pair in zip(truths, predictions, strict=True)]
    for side in ("truth", "found"):
        (tmp_path / side).mkdir()
    pictures = tmp_path / "pictures"
    sources = [every_form(tmp_path / "truth", truths, pictures), every_form(tmp_path / "found", predictions, pictures)]
    for truth in sources[0]:
        for prediction in sources[1]:
            found = score_files(truth, prediction, pictures=pictures)
            scores = [image.scores for image in sorted(found.images, key=lambda image: image.name)]
            assert scores == expected, (truth.kind, prediction.kind)
            assert read_image(found.jobs[0].picture).shape == truths[0].shape


def test_nobody_knows_the_size(tmp_path, random_pairs):
    for side, labels in zip(("truth", "found"), random_pairs[3], strict=True):
        (tmp_path / side).mkdir()
        write_geojson(tmp_path / side / "a.geojson", labels)
    with pytest.raises(InputError, match=r"a.geojson: expected a source that knows the size.*--images"):
        score_files(open_source(tmp_path / "truth"), open_source(tmp_path / "found"))


@pytest.mark.parametrize("workers", [1, 2])
def test_sizes_that_differ(tmp_path, sides, workers):
    write_label_image(tmp_path / "predicted" / "070.tif", np.ones((7, 9), dtype=int))
    message = r"predicted/070.tif: expected \d+ x \d+ pixels, as .*truth/070.tif, found 7 x 9"
    with pytest.raises(InputError, match=message):
        score_files(*sides, workers=workers)


def test_modality_and_group_from_a_csv(tmp_path, sides):
    path = tmp_path / "groups.csv"
    path.write_text("image,modality,group\n" + "".join(f"some/{n:03}.png,kind {n % 2},{n // 2}\n" for n in range(110)))
    found = score_files(*sides, groups=read_groups(path))
    assert list(found.summaries) == ["overall", "kind 0", "kind 1", "unknown"]
    assert [found.summaries[name].images for name in ("kind 0", "kind 1", "unknown")] == [55, 55, 10]
    assert (found.images[7].group, found.images[115].group) == ("3", "")
    path.write_text("image,group\nsomething else,1\n")
    with pytest.raises(InputError, match=r"groups.csv: expected images of .*truth, found others: something else"):
        score_files(*sides, groups=read_groups(path))


def test_a_missing_prediction_counts_as_an_image_without_nuclei(tmp_path, sides):
    (tmp_path / "predicted" / "004.tif").unlink()
    found = score_files(sides[0], open_source(tmp_path / "predicted"), allow_missing=True)
    assert found.images[4].scores.objects.predictions == 0
    assert found.images[4].scores.objects.truths > 0
    assert found.warnings == ["Images without prediction, which count as images without predicted nuclei: 1"]


def scattered(count: int) -> np.ndarray:
    labels = np.zeros((40, 200), dtype=np.int32)
    for number in range(count):
        labels[5:15, 40 * number : 40 * number + 8] = number + 1
    return labels


def score_all(folder: Path, truths, predictions) -> FileScores:
    return score_files(folder_of(folder / "truth", truths), folder_of(folder / "found", predictions))


def test_binary_masks_are_refused(tmp_path):
    truths = [scattered(count) for count in (3, 5, 1, 0)]
    with pytest.raises(InputError, match=r"found: .*binary masks: one label an image, .* in 2 of 3 images"):
        score_all(tmp_path, truths, [(truth > 0).astype(np.int32) for truth in truths])


def test_one_image_that_looks_like_a_binary_mask_is_mentioned(tmp_path):
    truths = [scattered(count) for count in (3, 5)]
    found = score_all(tmp_path, truths, [truths[0], (truths[1] > 0).astype(np.int32)])
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("Label images in which all nuclei have one label")
    assert found.warnings[0].endswith(f": 1: {tmp_path / 'found' / '001.tif'}")


def test_what_overlapping_truth_lost_is_mentioned(tmp_path):
    lines = ["ImageId,EncodedPixels,Height,Width", "000,1 4,2,3", "000,3 4,2,3", "000,1 2,2,3"]
    (tmp_path / "truth.csv").write_text("\n".join(lines))
    found = score_files(open_source(tmp_path / "truth.csv"), folder_of(tmp_path / "x", [np.ones((2, 3), dtype=int)]))
    assert found.warnings == [
        "Pixels claimed by several true nuclei, which the first in the file keeps: 4",
        "True nuclei without a pixel of their own, which do not count: 1",
    ]


def test_scores_below_the_threshold_in_outlines_count_unless_asked(tmp_path, random_pairs):
    truth = relabel_sequential(random_pairs[3][0])
    assert truth.any()
    (tmp_path / "found").mkdir()
    write_geojson(tmp_path / "found" / "000.geojson", truth, [0.2] * int(truth.max()))
    sides = folder_of(tmp_path / "truth", [truth]), open_source(tmp_path / "found")
    every = score_files(*sides)
    assert every.images[0].scores == score_image(truth, truth)
    assert every.settings["score threshold"] is None
    assert every.summaries["overall"].pooled["COCO AP (masks)"] == pytest.approx(1)
    assert score_files(*sides, score_threshold=0.3).images[0].scores.objects.predictions == 0


def test_all_real_test_images(bbbc038_source, tmp_path, real_pairs):
    """The competition's own solution against label images of the same nuclei, and against perturbed ones."""
    truth = open_source(bbbc038_source / "stage1_solution.csv")
    names = sorted(truth.entries)
    for name, (_, prediction) in zip(names, real_pairs[:65], strict=True):
        write_label_image(tmp_path / "perturbed" / f"{name}.tif", prediction)
    found = score_files(truth, open_source(tmp_path / "perturbed"))
    expected = {name: score_image(*pair) for name, pair in zip(names, real_pairs, strict=False)}
    assert {image.name: image.scores for image in found.images} == expected
    assert found.summaries["overall"].counts["true nuclei"] == 4152
    with (bbbc038_source / "stage1_solution.csv").open() as file:
        assert len({row["ImageId"] for row in csv.DictReader(file)}) == len(found.images)
