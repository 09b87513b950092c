import numpy as np
from PIL import Image

from nucleus.evaluation.panels import error_panel, worst_to_best
from nucleus.visualization.colors import FALSE, MATCHED, MISSED


def test_images_are_chosen_from_the_worst_to_the_best():
    assert worst_to_best([0.3, 0.1, 0.9, 0.5, 0.7], 3) == [1, 3, 2]
    assert worst_to_best([0.3, 0.1], 5) == [1, 0]
    assert worst_to_best([], 2) == []


def colours_of(picture):
    return {tuple(colour) for colour in np.unique(picture.reshape(-1, 3), axis=0)}


def test_matched_missed_and_false_nuclei_have_their_colours(tmp_path):
    truth = np.zeros((60, 60), int)
    truth[5:20, 5:20], truth[35:50, 5:20] = 1, 2
    prediction = np.zeros((60, 60), int)
    prediction[5:20, 6:21], prediction[30:50, 40:55] = 1, 2
    Image.fromarray((truth > 0).astype(np.uint8) * 200).save(tmp_path / "image.png")
    all_three = colours_of(error_panel(tmp_path / "image.png", truth, prediction, "image"))
    assert {MATCHED, MISSED, FALSE} <= all_three
