from __future__ import annotations

import numpy as np
import pytest

from nucleus.errors import InputError
from nucleus.evaluation.source_entries import ALL, CocoMasks, Content, GeoJsonFile, KaggleRows, Nothing
from nucleus.formats.geojson import write_geojson
from nucleus.masks.resolve_overlaps import label_image_from_scored
from nucleus.masks.rle import encode_coco, rles_from_label_image


def test_what_lies_below_a_threshold_is_left_out():
    every = np.array([0.9, 0.5, 0.1, 0.5])
    content = Content(np.array([[1, 2, 3, 0]], dtype=np.int32), scores=every[:3], mask_scores=every)
    labels, dropped = content.at_threshold(0.5)
    assert labels.tolist() == [[1, 2, 0, 0]]
    assert dropped == 1  # the fourth mask, which no label shows
    assert content.at_threshold(0.6)[1] == 0
    assert content.at_threshold(ALL)[0] is content.labels


def test_without_scores_everything_stays():
    labels = np.array([[1, 2]], dtype=np.int32)
    assert Content(labels).at_threshold(0.9) == (labels, 0)


def test_every_threshold_gives_what_drawing_at_it_gives(random_pairs):
    for seed, (truth, prediction) in enumerate(random_pairs[:40]):
        rles = rles_from_label_image(prediction) + rles_from_label_image(truth)
        scores = np.random.default_rng(seed).integers(0, 10, len(rles)) / 10  # many ties
        items = tuple({"segmentation": rle, "score": score} for rle, score in zip(rles, scores.tolist(), strict=True))
        content = CocoMasks("x", truth.shape, items).read(None, False)
        for threshold in (0.0, 0.3, 0.5, 0.95):
            labels, dropped = content.at_threshold(threshold)
            expected = label_image_from_scored(rles, scores, *truth.shape, score_threshold=threshold)
            assert (labels == expected[0]).all()
            if rles:
                assert dropped == expected[1]


def test_outlines_with_scores_for_some(tmp_path):
    labels = np.array([[1, 1, 0, 2, 2], [1, 1, 0, 2, 2]])
    write_geojson(tmp_path / "x.geojson", labels, [0.2, np.nan])
    content = GeoJsonFile(tmp_path / "x.geojson").read((2, 5), True)
    assert (content.at_threshold(0.5)[0] == np.where(labels == 2, 2, 0)).all()  # what has no score stays
    assert "score" not in content.annotations[0]


def test_outlines_without_a_pixel_get_no_label(tmp_path):
    squares = [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]], [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]],
               [[3, 0], [5, 0], [5, 2], [3, 2], [3, 0]]]  # fmt: skip
    features = ",".join(
        f'{{"type": "Feature", "properties": {{"measurements": {{"score": {score}}}}},'
        f' "geometry": {{"type": "Polygon", "coordinates": [{square}]}}}}'
        for square, score in zip(squares, (0.9, 0.8, 0.7), strict=True)
    )
    (tmp_path / "x.geojson").write_text(f'{{"type": "FeatureCollection", "features": [{features}]}}')
    content = GeoJsonFile(tmp_path / "x.geojson").read((2, 5), True)
    assert content.labels.tolist() == [[1, 1, 0, 2, 2]] * 2  # the second lies under the first
    assert content.scores.tolist() == [0.9, 0.7]
    assert [one["score"] for one in content.annotations] == [0.9, 0.7]
    assert content.at_threshold(0.75)[1] == 1


def test_a_polygon_of_a_coco_file():
    item = {"id": 4, "segmentation": [[1, 0, 3, 0, 3, 2, 1, 2]]}
    content = CocoMasks("x.json, image a", (2, 4), (item,)).read(None, True)
    assert content.labels.tolist() == [[0, 1, 1, 0]] * 2
    assert content.annotations[0]["segmentation"] == encode_coco(content.labels == 1)
    with pytest.raises(InputError, match=r"annotation 4 of x.json, image a: expected a COCO segmentation of 2 x 4"):
        CocoMasks("x.json, image a", (2, 4), (item | {"segmentation": "?"},)).read(None, False)


def test_sizes():
    rows = KaggleRows("x.csv", None, ((2, "1 2"),))
    assert (rows.size, rows.has_size) == (None, False)
    assert rows.read((2, 2), False).labels.tolist() == [[1, 0], [1, 0]]
    assert KaggleRows("x.csv", (2, 2), ()).has_size
    assert CocoMasks("x", (2, 2), ()).has_size
    assert not Nothing("x").read((2, 2), False).labels.any()
