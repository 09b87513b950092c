"""The evaluator's scores do not depend on the form in which a model gives its masks."""

from __future__ import annotations

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances

from nucleus.evaluation.evaluator import NucleusEvaluator
from nucleus.formats.coco import write_coco
from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.rle import coco_area, coco_box, encode_coco, rles_from_label_image

NAME = "test_evaluator_box_masks"


def test_stack_and_box_masks_score_the_same(random_pairs, tmp_path):
    """Predictions with scores, some of them twice, one shifted onto the other; written results are the same bytes."""
    pairs = random_pairs[:60]
    images = [{"id": i, "file_name": f"{i}.png", "height": one.shape[0], "width": one.shape[1], "modality": "a"}
              for i, (one, _) in enumerate(pairs)]  # fmt: skip
    rles = [(i, rle) for i, (truth, _) in enumerate(pairs) for rle in rles_from_label_image(truth)]
    annotations = [
        {"id": n, "image_id": i, "category_id": 1, "iscrowd": 0, "bbox": coco_box(rle), "area": coco_area(rle),
         "segmentation": rle}
        for n, (i, rle) in enumerate(rles, start=1)
    ]  # fmt: skip
    write_coco(tmp_path / "truth.json", {}, images, annotations)
    MetadataCatalog.get(NAME).set(json_file=str(tmp_path / "truth.json"))

    rng = np.random.default_rng(0)
    forms = {form: NucleusEvaluator(NAME, tmp_path / form) for form in ("stack", "boxes")}
    for image_id, (_, prediction) in enumerate(pairs):
        stack = prediction == np.unique(prediction[prediction != 0])[:, None, None]
        stack = np.concatenate([stack, np.roll(stack, 2, axis=2)])
        boxes = torch.tensor([coco_box(encode_coco(mask)) for mask in stack]).reshape(-1, 4).float()
        boxes[:, 2:] += boxes[:, :2]
        fields = {"pred_boxes": Boxes(boxes), "scores": torch.from_numpy(rng.random(len(stack)))}
        masks = {
            "stack": torch.from_numpy(stack),
            "boxes": BoxMasks.from_coco([encode_coco(mask) for mask in stack], *prediction.shape),
        }
        for form, evaluator in forms.items():
            found = Instances(prediction.shape, **fields, pred_masks=masks[form])
            evaluator.process([{"image_id": image_id}], [{"instances": found}])
    results = {form: evaluator.evaluate() for form, evaluator in forms.items()}
    MetadataCatalog.remove(NAME)
    assert 0 < results["stack"]["nucleus"]["DSB score (image mean)"] < 1
    for file in ("coco_instances_results.json", "scores.json", "images.csv"):
        assert (tmp_path / "stack" / file).read_bytes() == (tmp_path / "boxes" / file).read_bytes()
    np.testing.assert_equal(results["boxes"], results["stack"])
