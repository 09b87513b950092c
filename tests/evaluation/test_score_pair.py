from __future__ import annotations

import pickle

import numpy as np
import pytest

from nucleus.errors import InputError
from nucleus.evaluation.image_scores import score_image
from nucleus.evaluation.score_pair import Job, ScoreChunk, read_labels, read_pair
from nucleus.evaluation.source_entries import ALL, CocoMasks, GeoJsonFile, KaggleRows, LabelFile
from nucleus.evaluation.sources import Pair
from nucleus.evaluation.threshold import rank_nuclei
from nucleus.formats.geojson import write_geojson
from nucleus.formats.label_image import write_label_image
from nucleus.masks.overlap import overlap_table
from nucleus.masks.rle import rles_from_label_image

TRUTH = np.array([[1, 1, 0, 2], [1, 1, 0, 2]], dtype=np.int32)


@pytest.fixture
def files(tmp_path):
    write_label_image(tmp_path / "a.png", TRUTH)
    write_geojson(tmp_path / "a.geojson", TRUTH)
    return tmp_path


def test_a_label_image_on_either_side_tells_the_size(files):
    labels, outlines = LabelFile(files / "a.png"), GeoJsonFile(files / "a.geojson")
    for pair in (Pair("a", labels, outlines), Pair("a", outlines, labels)):
        assert all((side == TRUTH).all() for side in read_labels(Job(pair)))


def test_a_picture_tells_the_size_if_nobody_else_does(files):
    pair = Pair("a", GeoJsonFile(files / "a.geojson"), KaggleRows("x.csv", None, ((2, "1 4"),)))
    truth, prediction = read_pair(Job(pair, files / "a.png"))
    assert (truth.labels == TRUTH).all()
    assert prediction.labels.tolist() == [[1, 1, 0, 0]] * 2
    with pytest.raises(InputError, match=r"a.geojson: .*Name the folder of the images with --images"):
        read_pair(Job(pair))


def test_the_size_of_the_truth_binds_the_prediction(files):
    pair = Pair("a", LabelFile(files / "a.png"), KaggleRows("x.csv, image a", (4, 2), ()))
    with pytest.raises(InputError, match=r"x.csv, image a: expected 2 x 4 pixels, as .*a.png, found 4 x 2"):
        read_pair(Job(pair))


def test_a_chunk_in_another_process(files):
    masks = CocoMasks("x", (2, 4), tuple({"segmentation": rle, "score": score} for rle, score in
                                         zip(rles_from_label_image(TRUTH), (0.3, 0.7), strict=True)))  # fmt: skip
    chunk = [Job(Pair("a", LabelFile(files / "a.png"), masks)), Job(Pair("a", masks, LabelFile(files / "a.png")))]
    score = ScoreChunk(0.5, with_masks=True)
    first, second = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(score))(chunk)))
    assert first.scores == score_image(TRUTH, np.where(TRUTH == 2, 2, 0))
    assert first.scored
    assert [one["score"] for one in first.detections] == [0.3, 0.7]
    assert len(first.truth) == 2
    expected = rank_nuclei(overlap_table(TRUTH, 3 - TRUTH * (TRUTH > 0) - 3 * (TRUTH == 0)), [0.7, 0.3])
    assert first.ranked.scores.tolist() == expected.scores.tolist() == [0.7, 0.3]
    assert first.ranked.levels.tolist() == expected.levels.tolist() == [10, 10]
    assert second.scores == score_image(TRUTH, TRUTH)  # of the truth, all masks count
    assert (second.scored, second.ranked) == (False, None)


def test_what_a_label_image_cannot_be_is_found_on_the_way(files):
    binary = np.zeros((20, 60), dtype=np.int32)
    binary[2:8, 2:8] = binary[2:8, 40:46] = 255
    write_label_image(files / "b.png", binary)
    with pytest.raises(InputError, match=r"b.png: .*binary mask"):
        ScoreChunk(ALL, with_masks=False)([Job(Pair("b", LabelFile(files / "b.png"), LabelFile(files / "b.png")))])
