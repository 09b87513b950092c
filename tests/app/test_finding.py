"""That the first n nuclei are those at a higher threshold, which the slider of the page relies on."""

import json

import numpy as np
import pytest
import tifffile

from nucleus.app.finding import LOWEST, find_nuclei
from nucleus.app.limits import Limits
from nucleus.app.reading import Choice, Choices, Picture, read_picture
from nucleus.app.result import make_result
from nucleus.formats.image_source import open_array
from nucleus.inference.prediction import Prediction
from nucleus.masks.box_masks import BoxMasks


def picture_of(pixels):
    source = open_array(pixels)
    return Picture(source, source.read_rgb8(0, 0, *pixels.shape[:2]), 8, Choices(), Choice())


def nothing(done, total):
    pass


def assert_as_prediction(result, prediction):
    """At every threshold, also at the scores themselves."""
    for threshold in [*np.linspace(LOWEST, 1, 20), *result.scores]:
        labels, scores = result.at(threshold)
        expected = prediction.at(threshold)
        assert np.array_equal(labels, expected.label_image)
        assert np.array_equal(scores, expected.scores)


def test_overlaps_by_hand():
    """Four squares in a row of 12 pixels: the second loses to the first at every threshold at which it counts."""
    boxes = np.array([[0, 0, 4, 4], [1, 0, 5, 4], [4, 0, 8, 4], [7, 0, 11, 4]])
    masks = BoxMasks(boxes, [np.ones((4, 4), dtype=bool)] * 4, 4, 12)
    scores = np.array([0.9, 0.8, 0.3, 0.5], dtype=np.float32)
    prediction = Prediction(masks, scores, LOWEST)
    result = make_result("row", picture_of(np.zeros((4, 12), dtype=np.uint8)), prediction, 0.0)
    assert result.at(0.6)[0][0].tolist() == [1] * 4 + [0] * 8
    assert result.at(0.4)[0][0].tolist() == [1] * 4 + [0] * 3 + [2] * 4 + [0]
    assert result.at(0.2)[0][0].tolist() == [1] * 4 + [3] * 3 + [2] * 4 + [0]
    assert_as_prediction(result, prediction)


def test_the_network_runs_once(model, image):
    tiles = []
    found = find_nuclei(picture_of(image), model, lambda done, total: tiles.append((done, total)))
    assert tiles == [(0, 1)]
    assert len(found) > len(found.at(0.5)) > 2
    assert_as_prediction(make_result("one", picture_of(image), found, 0.0), model.predict(image))


def test_more_nuclei_than_the_model_can_give_are_found_in_tiles(model, image, monkeypatch):
    large = np.tile(image, (4, 4, 1))
    whole = model.predict(large)
    monkeypatch.setattr(model, "max_detections", len(whole.detection_scores))  # as if there were more
    monkeypatch.setattr(model, "threshold", 0.0)
    tiles = []
    find_nuclei(picture_of(large), model, lambda done, total: tiles.append((done, total)))
    assert tiles[0] == (0, 1) and tiles[1][1] > 1 and tiles[-1][0] == tiles[-1][1]


def test_large_images_in_tiles(model, image):
    large = np.tile(image, (2, 13, 1))  # 192 x 1664
    tiles = []
    found = find_nuclei(picture_of(large), model, lambda done, total: tiles.append((done, total)))
    assert tiles == [(0, 2), (1, 2), (2, 2)]
    assert found.label_image.shape == (192, 1664)
    assert (found.boxes[:, 2] > 1024).any() and (found.boxes[:, 0] < 900).any()
    assert_as_prediction(make_result("large", picture_of(large), found, 0.0), found)


def test_progress_can_end_a_run(model, image):
    def stop(done, total):
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        find_nuclei(picture_of(image), model, stop)


def test_what_is_read_is_what_is_predicted(model, image, png, tmp_path):
    (tmp_path / "file").write_bytes(png)
    picture = read_picture(tmp_path / "file", Choice(), Limits())
    assert np.array_equal(picture.rgb, image)
    found = find_nuclei(picture, model, nothing)
    assert np.array_equal(found.at(0.5).label_image, model.predict(image).label_image)


def test_grey_images_have_an_intensity(model, image):
    """Stored as grey or as RGB, as those of BBBC038 are; the mean of its pixels."""
    grey = np.ascontiguousarray(image[..., 0])
    for pixels in (grey, np.repeat(grey[..., None], 3, axis=2)):
        picture = picture_of(pixels)
        result = make_result("grey", picture, find_nuclei(picture, model, nothing), 0.0)
        column = json.loads(result.nuclei)["columns"][-1]
        assert column["title"] == "Mean intensity"
        assert column["values"] == [grey[result.labels == label].mean() for label in range(1, len(result.scores) + 1)]
    colour = json.loads(
        make_result("rgb", picture_of(image), find_nuclei(picture_of(image), model, nothing), 0.0).nuclei
    )
    assert colour["columns"][-1]["title"] == "Solidity"


def test_one_channel_as_three_colours_has_an_intensity(model, image, tmp_path):
    """Also where the image is too large to be kept with all its channels."""
    pixels = np.stack([image[..., 0], image[..., 1]])
    tifffile.imwrite(
        tmp_path / "file", pixels, ome=True, metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}}
    )
    picture = read_picture(tmp_path / "file", Choice(channels=(0, 0, 0)), Limits(kept_bytes=1000))
    result = make_result("same", picture, find_nuclei(picture, model, nothing), 0.0)
    means = [pixels[0][result.labels == label].mean() for label in range(1, len(result.scores) + 1)]
    assert json.loads(result.nuclei)["columns"][-1]["values"] == means
