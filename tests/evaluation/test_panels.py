import numpy as np
from PIL import Image

from nucleus.evaluation.image_scores import score_image
from nucleus.evaluation.panels import error_panel, save_worst_to_best, worst_to_best
from nucleus.evaluation.report import LabelPair
from nucleus.evaluation.summary import ScoredImage
from nucleus.visualization.colors import FALSE, MATCHED, MISSED


def test_images_are_chosen_from_the_worst_to_the_best():
    assert worst_to_best([0.3, 0.1, 0.9, 0.5, 0.7], 3) == [1, 3, 2]
    assert worst_to_best([0.3, 0.1], 5) == [1, 0]
    assert worst_to_best([], 2) == []


def colours_of(picture):
    return {tuple(colour) for colour in np.unique(picture.reshape(-1, 3), axis=0)}


def test_matched_missed_and_false_nuclei_have_their_colours():
    truth = np.zeros((60, 60), int)
    truth[5:20, 5:20], truth[35:50, 5:20] = 1, 2
    prediction = np.zeros((60, 60), int)
    prediction[5:20, 6:21], prediction[30:50, 40:55] = 1, 2
    all_three = colours_of(error_panel((truth > 0).astype(np.uint8) * 200, truth, prediction, "image"))
    assert {MATCHED, MISSED, FALSE} <= all_three


def test_the_pictures_stand_one_below_the_other(tmp_path):
    labels = np.zeros((60, 60), int)
    labels[5:20, 5:20] = 1
    exact, empty = labels, np.zeros((60, 60), int)
    scored = [
        ScoredImage(f"{number}.png", "purple_tissue", score_image(labels, one))
        for number, one in enumerate((exact, empty))
    ]
    asked = []

    def picture(position):
        asked.append(position)
        return LabelPair(labels, (exact, empty)[position], np.full((60, 60), 90, np.uint8))

    for count in (1, 2):
        save_worst_to_best(tmp_path / f"{count}.png", scored, picture, count, "a set")
    assert asked == [1, 1, 0]  # the worst alone, then both, the worst first
    one, both = (np.asarray(Image.open(tmp_path / f"{count}.png")) for count in (1, 2))
    assert both.shape[0] > 1.5 * one.shape[0] and both.shape[1] == one.shape[1]
