"""What every score means, in a sentence."""

from __future__ import annotations

from collections.abc import Iterable

DEFINITIONS: dict[str, str] = {
    "DSB score": "Score of the 2018 Data Science Bowl: the mean of TP / (TP + FP + FN) over the IoU thresholds "
    "0.50, 0.55 ... 0.95; 1 for an image without any nucleus, true or predicted.",
    "object F1": "Object F1@t = 2 TP / (2 TP + FP + FN): of nuclei found at an IoU above t, one to one.",
    "pixel Dice": "2 |A ∩ B| / (|A| + |B|) of the two foregrounds, whichever nucleus a pixel belongs to.",
    "AJI": "Aggregated Jaccard index (Kumar et al. 2017): the pixels that true nuclei share with the predictions of "
    "largest IoU, over the pixels of either and of all predictions that none took.",
    "PQ": "Panoptic quality (Kirillov et al. 2019): SQ x RQ, with matches at IoU > 0.5.",
    "SQ": "Segmentation quality: the mean IoU of the matches at IoU > 0.5.",
    "RQ": "Recognition quality: object F1 at IoU > 0.5.",
    "COCO AP": "Average precision as COCO takes it: detections of all images ranked by score, the mean of the "
    "interpolated precision over 101 recalls, over the IoUs 0.50, 0.55 ... 0.95 (COCO AP50 and COCO AP75: at that IoU "
    "alone), of boxes or of masks, with a detection cap that fits images of several hundred nuclei.",
    "COCO AR": "The largest recall that all detections up to the cap reach, the mean over the same IoUs.",
    "seed protocol": "The scores after all nuclei of an image are merged into one foreground and its 8-connected "
    "components taken as nuclei, in truth and prediction alike: touching nuclei count as one.",
    "true positives": "Matches: predicted nuclei that are a true one, at an IoU above the threshold, one to one.",
    "false positives": "Predicted nuclei without a match.",
    "false negatives": "True nuclei without a match: missed.",
    "split": "A true nucleus with which two or more predictions have an IoU above 0.1 (Caicedo et al. 2019).",
    "merge": "A prediction that has an IoU above 0.1 with two or more true nuclei.",
    "outline offset": "By how many pixels the radii of matched predictions (IoU > 0.5) exceed those of the true "
    "nuclei, the mean; a radius is that of the disc of the same area. Far from 0, two hands draw the edge differently.",
    "image mean": "The mean of the scores of the images: every image weighs the same.",
    "pooled": "The score of counts summed over all images: every nucleus (or pixel) weighs the same.",
    "interval": "95 % bootstrap interval over images, or over groups of images where groups are known: how far the "
    "score would move with other images of the same kind.",
    "IoU": "Intersection over union: pixels in both nuclei over pixels in either.",
}


def definitions_of(names: Iterable[str]) -> dict[str, str]:
    """The definitions that a reader of these score names needs, in the order of DEFINITIONS.

    Args:
        names: as in a Summary ("object F1@0.70", "COCO AP50 (masks)"), or keys of DEFINITIONS.
    """
    wanted = tuple(names)
    return {term: says for term, says in DEFINITIONS.items() if any(name.startswith(term) for name in wanted)}
