import numpy as np

from nucleus.evaluation.detections import keep_detections
from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.rle import decode_coco


def test_two_detections_of_one_nucleus_by_hand():
    """Both are results, with boxes XYWH and whole masks; the curve knows the one that was drawn, which is exact."""
    truth = np.zeros((6, 8), dtype=np.int32)
    truth[1:4, 2:6] = 1
    boxes = np.array([[2, 1, 6, 3], [2, 1, 6, 4]])
    masks = BoxMasks(boxes, [np.ones((2, 4), bool), np.ones((3, 4), bool)], 6, 8)
    kept = keep_detections(7, truth, masks, boxes.astype(np.float64), np.array([0.5, 0.75]))
    assert [(one["image_id"], one["category_id"], one["score"]) for one in kept.results] == [(7, 1, 0.5), (7, 1, 0.75)]
    assert [one["bbox"] for one in kept.results] == [[2, 1, 4, 2], [2, 1, 4, 3]]
    assert (decode_coco(kept.results[1]["segmentation"]) == truth).all()
    assert kept.ranked.truths == 1
    assert kept.ranked.scores.tolist() == [0.75] and kept.ranked.levels.tolist() == [10]
