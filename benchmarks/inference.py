#!/usr/bin/env python
"""From an image to scored nuclei: stock Detectron2 and nucleus in turn, on real images and on the dense ones alone.

    DETECTRON2_DATASETS=datasets python benchmarks/inference.py --weights output/quick/model_final.pth --json FILE

Stock is Detectron2 as it comes: GeneralizedRCNN with RPN and StandardROIHeads, its postprocessing, every mask encoded
by pycocotools as its COCOEvaluator does it, and a label image painted from whole masks, best score first. Ours is
`nucleus.load_model` with the same config and weights. Both end with boxes, scores, COCO RLEs and the same label image;
how many pixels of the masks differ is counted. Peak memory is that of a process of its own: how far its resident memory
rises above where it was before, image by image. Without weights the network is random, which says little about dense
images.

torchvision's maskrcnn_resnet50_fpn and configs/mask_rcnn_R50_FPN.yaml are compared with random weights, made to give
as many detections: the network alone decides there. bfloat16 is measured where the processor computes in it.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances
from measure import comparison, in_turn, print_rows, write_rows
from pycocotools import mask as coco_mask
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn

import nucleus.modeling  # noqa: F401  registers the model parts
from nucleus.config import load_config
from nucleus.data.catalog import register_all
from nucleus.data.geometry import enlarge
from nucleus.engine.refused_keys import check_model_keys
from nucleus.formats.image import read_image, to_rgb8
from nucleus.inference.predictor import Model, load_model
from nucleus.inference.weights import load_trained_weights
from nucleus.masks.resolve_overlaps import MIN_KEPT, label_image_from_box_masks
from nucleus.modeling.nucleus_rcnn import postprocess
from nucleus.modeling.precision import computes_in_bfloat16

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
STOCK = [
    *("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.PROPOSAL_GENERATOR.NAME", "RPN"),
    *("MODEL.ROI_HEADS.NAME", "StandardROIHeads", "MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead"),
    *("MODEL.CHANNELS_LAST", "False", "MODEL.DEVICE", "cpu", "MODEL.TIMM.WEIGHTS", ""),
]
DENSE = 100  # nuclei in an image, more than which make it dense
THRESHOLD = 0.5

Pixels = np.ndarray
Result = tuple[np.ndarray, list[dict[str, Any]]]  # label image, RLEs of all detections


def stock_masks(raw: Instances, height: int, width: int) -> Instances:
    """Detectron2's postprocessing: masks as whole images."""
    return detector_postprocess(raw, height, width)


def stock_rles(found: Instances) -> list[dict[str, Any]]:
    """As Detectron2's COCOEvaluator encodes them."""
    return [coco_mask.encode(np.array(mask[:, :, None], order="F", dtype="uint8"))[0] for mask in found.pred_masks]


def stock_labels(found: Instances) -> np.ndarray:
    """Whole masks painted in turn, by the rule of `nucleus.masks.resolve_overlaps`."""
    masks, scores = found.pred_masks.numpy(), found.scores.numpy()
    labels, count = np.zeros(found.image_size, dtype=np.int32), 0
    for index in np.argsort(-scores, kind="stable"):
        if scores[index] < THRESHOLD:
            break
        free = masks[index] & (labels == 0)
        kept = np.count_nonzero(free)
        if kept and kept >= MIN_KEPT * np.count_nonzero(masks[index]):
            count += 1
            labels[free] = count
    return labels


def our_masks(raw: Instances, height: int, width: int) -> Instances:
    """Masks inside their boxes."""
    return postprocess([raw], [{"height": height, "width": width}])[0]


def our_rles(found: Instances) -> list[dict[str, Any]]:
    """From the boxes."""
    return found.pred_masks.encode()


def our_labels(found: Instances) -> np.ndarray:
    """From the boxes."""
    return label_image_from_box_masks(found.pred_masks, found.scores.numpy(), score_threshold=THRESHOLD)[0]


WAYS: dict[str, tuple[Callable, Callable, Callable]] = {
    "stock": (stock_masks, stock_rles, stock_labels),
    "ours": (our_masks, our_rles, our_labels),
}


def after(way: str, raw: Instances, height: int, width: int) -> Result:
    """Label image and RLEs from raw detections."""
    masks, rles, labels = WAYS[way]
    found = masks(raw, height, width)
    return labels(found), rles(found)


def as_input(cfg: CfgNode, image: Pixels) -> dict[str, torch.Tensor]:
    """What GeneralizedRCNN takes."""
    pixels = enlarge(to_rgb8(image), cfg.INPUT.UPSCALE_SHORT_EDGE)
    pixels = pixels[..., ::-1] if cfg.INPUT.FORMAT == "BGR" else pixels
    return {"image": torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype("float32"))}


class StockModel:
    """GeneralizedRCNN on arrays, as Detectron2's DefaultPredictor runs it."""

    def __init__(self, cfg: CfgNode, network: nn.Module) -> None:
        self.cfg = cfg
        self.network = network.eval()

    @torch.no_grad()
    def raw(self, image: Pixels) -> Instances:
        """Raw detections."""
        return self.network.inference([as_input(self.cfg, image)], do_postprocess=False)[0]

    def __call__(self, image: Pixels) -> Result:
        return after("stock", self.raw(image), *image.shape[:2])


def our_prediction(model: Model, image: Pixels) -> Result:
    """Label image and RLEs of all detections."""
    prediction = model.predict(image).at(THRESHOLD)
    return prediction.label_image, prediction.detections.encode()


def copy_of(raw: dict[str, Any]) -> Instances:
    """Raw detections that may be changed, as Detectron2's postprocessing does."""
    return Instances(
        raw["size"],
        pred_boxes=Boxes(raw["boxes"].clone()),
        scores=raw["scores"],
        pred_classes=raw["classes"],
        pred_masks=raw["masks"],
    )


def keep_raw(model: StockModel, image: Pixels) -> dict[str, Any]:
    """Raw detections of an image as plain tensors."""
    found = model.raw(image)
    return {
        "size": tuple(found.image_size), "boxes": found.pred_boxes.tensor, "scores": found.scores,
        "classes": found.pred_classes, "masks": found.pred_masks, "height": image.shape[0], "width": image.shape[1],
    }  # fmt: skip


def after_the_network(name: str, raws: Sequence[dict[str, Any]], rounds: int) -> list[dict[str, Any]]:
    """Time masks, RLE and label image of some images, together and each, and count the pixels that differ."""

    def masks(way: str) -> list[Instances]:
        return [WAYS[way][0](copy_of(raw), raw["height"], raw["width"]) for raw in raws]

    def everything(way: str) -> list[Result]:
        return [after(way, copy_of(raw), raw["height"], raw["width"]) for raw in raws]

    found = {way: masks(way) for way in WAYS}
    parts: dict[str, Callable[[str], object]] = {
        "after the network": everything,
        "masks alone": masks,
        "RLE alone": lambda way: [WAYS[way][1](one) for one in found[way]],
        "label image alone": lambda way: [WAYS[way][2](one) for one in found[way]],
    }
    rows = []
    for part, run in parts.items():
        times = in_turn({way: lambda run=run, way=way: run(way) for way in WAYS}, rounds)
        rows.append(comparison(f"{part}, {name}", times["stock"], times["ours"], divisor=len(raws)))
    pairs = list(zip(found["stock"], found["ours"], strict=True))
    rows[0] |= {
        "images": len(raws),
        "detections": sum(len(raw["boxes"]) for raw in raws),
        "mask_pixels": sum(int(one.pred_masks.sum()) for one, _ in pairs),
        "mask_pixels_differing": sum(
            int((one.pred_masks.numpy() != np.asarray(two.pred_masks)).sum()) for one, two in pairs
        ),
        "label_pixels_differing": sum(int((stock_labels(one) != our_labels(two)).sum()) for one, two in pairs),
    }
    return rows


def peak_memory(name: str, raws: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The rise of resident memory of a process for each way, image by image."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "raw.pth"
        torch.save(list(raws), path)
        rises = {way: _rises_in_a_process(way, path) for way in WAYS}
    stock, ours = (statistics.median(rises[way]) for way in ("stock", "ours"))
    return {
        "case": f"peak memory after the network, {name}", "stock": round(stock, 1), "ours": round(ours, 1),
        "ratio": round(stock / max(ours, 0.1), 1), "unit": "MiB", "images": len(raws),
        "stock_most": round(max(rises["stock"]), 1), "ours_most": round(max(rises["ours"]), 1),
    }  # fmt: skip


def _rises_in_a_process(way: str, path: Path) -> list[float]:
    command = [sys.executable, __file__, "--peak-of", way, "--raw", str(path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # the same nucleus, installed or not
    finished = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(finished.stdout.splitlines()[-1])


def measure_rises(way: str, path: Path) -> list[float]:
    """MiB by which the resident memory of this process rises above where it was, for each image."""
    raws = torch.load(path, weights_only=True)
    few = {key: value[:2] if isinstance(value, torch.Tensor) else value for key, value in raws[0].items()}
    after(way, copy_of({**few, "height": 32, "width": 32}), 32, 32)  # loads what is loaded at the first use
    rises = []
    for raw in raws:
        instances = copy_of(raw)
        _give_back_freed_memory()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        before = _status("VmRSS")
        result = after(way, instances, raw["height"], raw["width"])
        rises.append((_status("VmHWM") - before) / 1024)
        del result
    return rises


def _give_back_freed_memory() -> None:
    ctypes.CDLL(None).malloc_trim(0)


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def whole(
    name: str, stock: StockModel, ours: Model, images: Sequence[Pixels], rounds: int, precision: str = "float32"
) -> dict[str, Any]:
    """Time everything from the array to label image and RLEs."""
    times = in_turn(
        {
            "stock": lambda: [stock(image) for image in images],
            "ours": lambda: [our_prediction(ours, image) for image in images],
        },
        rounds,
    )
    return comparison(
        f"whole prediction, {name}, ours in {precision}",
        times["stock"],
        times["ours"],
        divisor=len(images),
        images=len(images),
    )


def torchvision_row(ours: Model, images: Sequence[Pixels], rounds: int) -> dict[str, Any]:
    """torchvision's ResNet-50 model against ours, both with random weights."""
    torch.manual_seed(0)
    network = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2, min_size=ours.short_edge, max_size=1333,
        rpn_post_nms_top_n_test=1500, rpn_pre_nms_top_n_test=2000, box_nms_thresh=0.4, box_detections_per_img=500,
    ).eval()  # fmt: skip

    @torch.inference_mode()
    def theirs() -> list[torch.Tensor]:
        tensors = [torch.from_numpy(to_rgb8(image).transpose(2, 0, 1) / np.float32(255)) for image in images]
        return [network([one])[0]["masks"] > 0.5 for one in tensors]

    times = in_turn({"stock": theirs, "ours": lambda: [our_prediction(ours, image) for image in images]}, rounds)
    found = [len(ours.predict(image).detections) for image in images]
    return comparison(
        "whole prediction, torchvision's maskrcnn_resnet50_fpn (no RLE, no label image) and ours with R50-FPN",
        times["stock"], times["ours"], divisor=len(images), images=len(images),
        detections=[[len(masks) for masks in theirs()], found],
    )  # fmt: skip


@torch.no_grad()
def random_weights(config_file: Path, folder: Path, image: Pixels) -> Path:
    """A file of random weights that give many detections: norms get the statistics of an image, as training would."""
    torch.manual_seed(0)
    norms = ["MODEL.TIMM.NORM", "BN", "MODEL.RESNETS.NORM", "BN"]
    cfg = load_config(config_file, [*STOCK, *norms])
    network = build_model(cfg)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all that was seen
    network.backbone.train()
    network.backbone(network.preprocess_image([as_input(cfg, image)]).tensor)
    nn.init.normal_(network.roi_heads.mask_head.predictor.weight, std=1.0)
    path = folder / f"{config_file.stem}.pth"
    state = {name: value for name, value in network.state_dict().items() if "num_batches" not in name}
    torch.save({"model": state}, path)
    return path


def choose(records: Sequence[dict[str, Any]], count: int) -> list[Pixels]:
    """Images spread evenly over the records, in the order of their number of nuclei."""
    ordered = sorted(records, key=lambda record: len(record["rles"]))
    picked = np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)
    return [read_image(ordered[index]["file_name"]) for index in picked]


def stock_model(config_file: Path, weights: Path) -> StockModel:
    """Detectron2's parts with the weights."""
    cfg = load_config(config_file, STOCK)
    check_model_keys(cfg)  # no key that Detectron2's parts would leave out
    network = build_model(cfg)
    load_trained_weights(network, str(weights))
    return StockModel(cfg, network)


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """All rows."""
    register_all(args.root)
    records = {name: DatasetCatalog.get(f"bbbc038_{name}") for name in ("trainval", "test")}
    every = [*records["trainval"], *records["test"]]
    sets = {
        f"images with more than {DENSE} nuclei": choose(
            [one for one in every if len(one["rles"]) > DENSE], args.images
        ),
        "test images": choose(records["test"], args.images),
    }
    weights = args.weights or random_weights(args.config_file, folder, sets["test images"][-1])
    stock = stock_model(args.config_file, weights)
    load = {"weights": weights, "config_file": args.config_file, "device": "cpu"}
    rows = []
    for name, images in sets.items():
        raws = [keep_raw(stock, image) for image in images]
        rows += after_the_network(name, raws, args.rounds)
        rows.append(peak_memory(name, raws))
    for precision in ("float32", "bfloat16") if computes_in_bfloat16("cpu") else ("float32",):
        ours = load_model(**load, precision=precision)
        rows += [whole(name, stock, ours, images, args.rounds, precision) for name, images in sets.items()]
    if args.large:
        config = CONFIGS / "mask_rcnn_R50_FPN.yaml"
        few, rounds = sets["test images"][-2:], max(1, args.rounds // 2)
        weights = random_weights(config, folder, few[0])
        ours = load_model(weights=weights, config_file=config, device="cpu", precision="float32")
        rows.append(whole("R50-FPN with random weights", stock_model(config, weights), ours, few, rounds))
        rows.append(torchvision_row(ours, few, rounds))
    return [{**row, "weights": "trained" if args.weights else "random"} for row in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--config-file", type=Path, default=CONFIGS / "quick" / "mask_rcnn_lite0_FPN.yaml")
    parser.add_argument("--weights", type=Path, help="trained with that config; without: random ones")
    parser.add_argument("--root", type=Path, help="of the data sets; without: $DETECTRON2_DATASETS or datasets")
    parser.add_argument("--images", type=int, default=8, help="of each set (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="timed (default: %(default)s)")
    parser.add_argument("--no-large", dest="large", action="store_false", help="leave ResNet-50 and torchvision out")
    parser.add_argument("--peak-of", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--raw", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", module="pycocotools", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="__array__ implementation doesn't accept a copy keyword")
    if args.peak_of:
        print(json.dumps(measure_rises(args.peak_of, args.raw)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(args, Path(folder))
    print_rows(rows)
    if args.json:
        write_rows(args.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
