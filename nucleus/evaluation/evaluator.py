"""Detectron2's evaluator for nuclei: every score of `nucleus.evaluation`, from the instances that a model gives."""

from __future__ import annotations

import json
import logging
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm

from nucleus.errors import InputError
from nucleus.evaluation.coco_ap import coco_average_precision
from nucleus.evaluation.detections import KeptDetections, keep_detections
from nucleus.evaluation.image_scores import INSTANCE_SCORES, SEED_PROTOCOL_SCORES, score_image
from nucleus.evaluation.panels import save_worst_to_best
from nucleus.evaluation.report import LabelPair
from nucleus.evaluation.score_pair import DROPPED
from nucleus.evaluation.scored_set import ScoredSet
from nucleus.evaluation.summary import OVERALL, ScoredImage, Summary, by_modality, summarize
from nucleus.evaluation.table import AGGREGATIONS, format_table
from nucleus.evaluation.threshold import choose_threshold, is_test_set
from nucleus.evaluation.write_evaluation import write_evaluation
from nucleus.formats.atomic import atomic_write
from nucleus.formats.coco import NUCLEUS, read_coco_rles
from nucleus.formats.image import read_image
from nucleus.masks.box_masks import BoxMasks
from nucleus.masks.mask_stack import box_masks_from_stack
from nucleus.masks.resolve_overlaps import MIN_KEPT, label_image_from_scored
from nucleus.masks.rle import coco_area, label_image_from_coco

logger = logging.getLogger(__name__)

RESULTS = "coco_instances_results.json"
PANELS = "panels.png"
NAMED_AT_MOST = 10  # images in an error message


class NucleusEvaluator(DatasetEvaluator):
    """Scores a data set that is registered with a COCO file.

    The label-image scores see the detections at or above the score threshold, each pixel owned by the highest-scored
    one; COCO AP sees all detections. Each image is reduced to RLEs when it is processed, so that memory does not grow
    with pixels. In a distributed run every process calls `evaluate`; the first one has the result.

    Args:
        dataset_name: a name in MetadataCatalog that has `json_file`.
        output_dir: gets scores.json, scores.csv, images.csv, coco_instances_results.json, and the scores against the
            score threshold as threshold.csv and threshold.png; None writes nothing.
        score_threshold: lowest score, in [0, 1], of a detection that becomes a nucleus; None chooses it on this data
            set (see `nucleus.evaluation.threshold`), which then is no test set.
        max_detections: highest-scored detections of an image that count for COCO AP.
        min_kept: see `nucleus.masks.resolve_overlaps`.
        panels: how many images, from the worst to the best, are drawn in panels.png.

    Attributes:
        score_threshold: as given, or, after `evaluate` in the first process, as chosen.

    Raises:
        InputError: the data set has no COCO file, or it cannot be read; or a threshold is to be chosen on a test set.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | os.PathLike[str] | None = None,
        *,
        score_threshold: float | None = 0.5,
        max_detections: int = 1000,
        min_kept: float = MIN_KEPT,
        panels: int = 0,
    ) -> None:
        json_file = MetadataCatalog.get(dataset_name).get("json_file")
        if json_file is None:
            raise InputError(dataset_name, expected="a data set registered with a COCO file", found="none",
                             remedy="Register it with nucleus.data.catalog.register.")  # fmt: skip
        self.choose = score_threshold is None
        if self.choose and not may_choose_threshold(dataset_name):
            raise InputError(dataset_name, expected="a data set to choose the score threshold on",
                             found="a test set, by its name or that of its file",
                             remedy="Choose it on a validation set, or set TEST.SCORE_THRESHOLD.")  # fmt: skip
        self.dataset_name = dataset_name
        self.json_file = json_file
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.score_threshold = score_threshold
        self.max_detections = max_detections
        self.min_kept = min_kept
        self.panels = panels

        coco = read_coco_rles(json_file)
        self._images = {image["id"]: image for image in coco["images"]}
        self._annotations = [_as_nucleus(annotation) for annotation in coco["annotations"]]
        self._truth_rles: dict[int, list[dict[str, Any]]] = {image_id: [] for image_id in self._images}
        for annotation in self._annotations:
            if not annotation["iscrowd"]:
                self._truth_rles[annotation["image_id"]].append(annotation["segmentation"])
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._processed: dict[int, KeptDetections] = {}

    def process(self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]) -> None:
        """Take a batch in.

        Args:
            inputs: Detectron2's records; `image_id` says which image of the COCO file each is.
            outputs: in the same order, each with "instances": pred_boxes, scores and pred_masks, BoxMasks or bool
                (N, H, W) at the size of the original image, on any device.

        Raises:
            InputError: an image is not in the COCO file, has another size there, or has no masks.
        """
        for record, output in zip(inputs, outputs, strict=True):
            image_id = record["image_id"]
            if image_id not in self._images:
                raise InputError(self.json_file, expected=f"an image with id {image_id}", found="no such id",
                                 remedy="Load the images from the same data set that is evaluated.")  # fmt: skip
            self._processed[image_id] = self._process_image(image_id, output["instances"].to("cpu"))

    def _process_image(self, image_id: int, instances: Instances) -> KeptDetections:
        image = self._images[image_id]
        size = (image["height"], image["width"])
        if not instances.has("pred_masks"):
            raise InputError(image["file_name"], expected="instances with pred_masks", found="none",
                             remedy="Evaluate a model with MODEL.MASK_ON True.")  # fmt: skip
        if tuple(instances.image_size) != size:
            raise InputError(image["file_name"], expected=f"masks of {size[0]} x {size[1]} pixels, as in the data set",
                             found=f"{instances.image_size[0]} x {instances.image_size[1]}")  # fmt: skip
        boxes = instances.pred_boxes.tensor.numpy().astype(np.float64)
        masks = instances.pred_masks
        if not isinstance(masks, BoxMasks):
            masks = box_masks_from_stack(np.asarray(masks, dtype=bool).reshape(-1, *size), boxes)
        scores = instances.scores.numpy().astype(np.float64)
        truth = label_image_from_coco(self._truth_rles[image_id], *size)
        return keep_detections(image_id, truth, masks, boxes, scores, min_kept=self.min_kept)

    def _label_images(
        self, image_id: int, results: Sequence[Mapping[str, Any]], threshold: float
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Truth and prediction of one image, and how many detections were dropped as parts of others."""
        size = (self._images[image_id]["height"], self._images[image_id]["width"])
        rles, scores = [one["segmentation"] for one in results], [one["score"] for one in results]
        predicted, dropped = label_image_from_scored(
            rles, scores, *size, score_threshold=threshold, min_kept=self.min_kept
        )
        return label_image_from_coco(self._truth_rles[image_id], *size), predicted, dropped

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Bring the images of all processes together, log the table and write the files.

        Returns:
            In the first process "nucleus", "seed_protocol", "coco_bbox" and "coco_segm", each with scores in [0, 1] by
            name (NaN where one is undefined), and "threshold", the score threshold; in the others nothing.

        Raises:
            InputError: images of the data set were not processed.
        """
        comm.synchronize()
        gathered = comm.gather(self._processed)
        if not comm.is_main_process():
            return OrderedDict()
        processed = {image_id: one for part in gathered for image_id, one in part.items()}  # samplers may repeat images
        self._check_complete(processed)

        ranked = [processed[image_id].ranked for image_id in self._images]
        if self.choose:
            self.score_threshold = choose_threshold(ranked)
            logger.info("Score threshold chosen on %s: %.2f", self.dataset_name, self.score_threshold)
        assert self.score_threshold is not None
        scored, dropped = self._score_images(processed, self.score_threshold)
        results = [result for image_id in self._images for result in processed[image_id].results]
        coco_ap = self._coco_average_precision(results, [image.modality for image in scored])
        coco_columns = {group: coco_ap["bbox"][group] | coco_ap["segm"][group] for group in coco_ap["bbox"]}
        summaries = summarize(scored, coco_columns)
        logger.info("Scores of %s, detections with a score of %g or more (%d lost to others and dropped):\n%s",
                    self.dataset_name, self.score_threshold, dropped, format_table(summaries))  # fmt: skip
        if self.output_dir is not None:
            settings = self._settings(len(results), dropped)
            found = ScoredSet(scored, summaries, settings, [], ranked, self.score_threshold)
            self._write(found, self.output_dir, processed, results)
        overall = summaries[OVERALL]
        return OrderedDict(
            nucleus=_flat(overall, INSTANCE_SCORES),
            seed_protocol=_flat(overall, SEED_PROTOCOL_SCORES),
            coco_bbox=coco_ap["bbox"][OVERALL],
            coco_segm=coco_ap["segm"][OVERALL],
            threshold={"score threshold": self.score_threshold},
        )

    def _score_images(self, processed: Mapping[int, KeptDetections], threshold: float) -> tuple[list[ScoredImage], int]:
        """All images at the score threshold, and how many detections were dropped as parts of others."""
        scored, dropped = [], 0
        for image_id, image in self._images.items():
            truth, predicted, parts = self._label_images(image_id, processed[image_id].results, threshold)
            modality, group = image.get("modality") or "unknown", image.get("group") or ""
            scored.append(ScoredImage(image["file_name"], modality, score_image(truth, predicted), group))
            dropped += parts
        return scored, dropped

    def _check_complete(self, processed: Mapping[int, KeptDetections]) -> None:
        missing = [image["file_name"] for image_id, image in self._images.items() if image_id not in processed]
        if missing or not self._images:
            named = ", ".join(missing[:NAMED_AT_MOST]) + (" ..." if len(missing) > NAMED_AT_MOST else "")
            raise InputError(self.json_file, expected=f"predictions for all {len(self._images)} images (at least one)",
                             found=f"none for {len(missing)}: {named}",
                             remedy=f"Run the model on all of {self.dataset_name}.")  # fmt: skip

    def _coco_average_precision(
        self, results: list[dict[str, Any]], modalities: list[str]
    ) -> dict[str, dict[str, dict[str, float]]]:
        """COCO AP of boxes and masks ("bbox", "segm"), overall and by modality."""
        truth = {"images": list(self._images.values()), "annotations": self._annotations, "categories": [NUCLEUS]}
        ids = list(self._images)
        subsets = {group: [ids[position] for position in members] for group, members in by_modality(modalities).items()}
        return {
            "bbox": coco_average_precision(truth, results, "bbox", subsets=subsets, max_detections=self.max_detections),
            "segm": coco_average_precision(truth, results, "segm", subsets=subsets, max_detections=self.max_detections),
        }

    def _settings(self, detections: int, dropped: int) -> dict[str, Any]:
        return {
            "data set": self.dataset_name,
            "score threshold": self.score_threshold,
            **({"score threshold chosen on": self.dataset_name} if self.choose else {}),
            "detections counted by COCO AP at most": self.max_detections,
            "detections": detections,
            DROPPED: dropped,
            "share of its pixels that a detection must keep": self.min_kept,
        }

    def _write(
        self, found: ScoredSet, folder: Path, processed: Mapping[int, KeptDetections], results: list[dict[str, Any]]
    ) -> None:
        ids, root = list(self._images), Path(MetadataCatalog.get(self.dataset_name).get("image_root", ""))

        def pair(position: int) -> LabelPair:
            one = ids[position]
            truth, predicted, _ = self._label_images(one, processed[one].results, found.score_threshold)
            return LabelPair(truth, predicted, read_image(root / self._images[one]["file_name"]))

        tables, files = write_evaluation(found, folder, self.dataset_name, report=bool(self.panels), pictures=pair)
        with atomic_write(folder / RESULTS) as temporary:
            temporary.write_text(json.dumps(results), encoding="utf-8")
        names = [file.name for file in files] + [RESULTS]
        if self.panels:
            save_worst_to_best(folder / PANELS, found.images, pair, self.panels, self.dataset_name)
            names.append(PANELS)
        logger.info("In parts and with intervals:\n%s", tables.partition("\n\n")[2])
        logger.info("Written to %s: %s", folder, ", ".join(names))


def may_choose_threshold(dataset_name: str) -> bool:
    """Whether a score threshold may be chosen on a data set: not if its name or that of its file is of a test set."""
    json_file = MetadataCatalog.get(dataset_name).get("json_file") or ""
    return not (is_test_set(dataset_name) or is_test_set(Path(json_file).stem))


def _as_nucleus(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """Of the one class there is, whatever classes a file tells apart, and with what COCO AP asks for."""
    area = annotation["area"] if "area" in annotation else coco_area(annotation["segmentation"])
    return {**annotation, "category_id": NUCLEUS["id"], "area": area}


def _flat(summary: Summary, names: Mapping[str, Any]) -> dict[str, float]:
    """Scores by one flat name, as Detectron2 keeps them: "DSB score (image mean)"."""
    return {
        f"{name} ({title})": getattr(summary, attribute)[name]
        for title, attribute in AGGREGATIONS.items()
        for name in names
    }
