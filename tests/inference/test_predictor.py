"""Prediction on arrays with a small model of random weights, against Detectron2 on what the test loader gives."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from nucleus.config import load_config
from nucleus.data.mapper import NucleusMapper
from nucleus.errors import InputError
from nucleus.inference.frames import Frame
from nucleus.inference.predictor import LowPrecision, Model, load_model
from nucleus.inference.tiling import Region
from nucleus.masks.mask_stack import box_masks_from_stack
from nucleus.masks.resolve_overlaps import label_image_from_box_masks
from nucleus.modeling.precision import computes_in_bfloat16
from nucleus.modeling.score_threshold import record_score_threshold

CONFIG = Path(__file__).parents[2] / "configs" / "quick" / "mask_rcnn_lite0_FPN.yaml"
OVERRIDES = [
    *("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.TIMM.WEIGHTS", "", "MODEL.TIMM.NORM", "BN"),
    *("INPUT.UPSCALE_SHORT_EDGE", "96", "TEST.DETECTIONS_PER_IMAGE", "60", "SOLVER.AUTOCAST", ""),
]


@pytest.fixture(scope="module")
def folder(random_run) -> Path:
    return random_run(OVERRIDES)


@pytest.fixture(scope="module")
def model(folder) -> Model:
    return load_model(weights=folder / "model.pth", device="cpu")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """64 x 80 pixels of RGB with some structure."""
    noise = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    return cv2.resize(noise, (80, 64), interpolation=cv2.INTER_CUBIC)


@torch.no_grad()
def test_equal_to_detectron2_on_the_test_loader(folder, model, image, tmp_path):
    """The same pixels go in, bit by bit, and the same nuclei come out, but for the rounding of folded norms."""
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), image[..., ::-1])
    cfg = load_config(folder / "config.yaml")
    record = NucleusMapper(cfg, is_train=False)({"file_name": str(path), "height": 64, "width": 80})
    assert torch.equal(model._prepare(image, None), record["image"])
    stock = build_model(cfg).eval()
    stock.load_state_dict(torch.load(folder / "model.pth")["model"])
    expected = stock([record])[0]["instances"]
    found = model.predict(image)
    assert len(found.detections) == len(expected) == 60
    np.testing.assert_allclose(found.detection_scores, expected.scores.numpy(), atol=1e-4)
    masks = box_masks_from_stack(expected.pred_masks.numpy(), expected.pred_boxes.tensor.numpy())
    labels, _, _ = label_image_from_box_masks(masks, expected.scores.numpy(), score_threshold=found.threshold)
    assert labels.max() == len(found) > 3
    assert (labels != found.label_image).mean() < 0.005


def test_a_batch_is_its_images_one_by_one(model, image):
    assert model.predict_batch([]) == []
    other = np.ascontiguousarray(image[:, ::-1])
    for one, alone in zip(model.predict_batch([image, other]), map(model.predict, (image, other)), strict=True):
        assert abs(len(one) - len(alone)) <= 1
        assert ((one.label_image > 0) != (alone.label_image > 0)).mean() < 0.01


def test_grey_16_bit_and_sizes(model, image):
    grey = image[..., 0]
    np.testing.assert_array_equal(
        model.predict(grey).label_image, model.predict(np.repeat(grey[..., None], 3, axis=2)).label_image
    )
    deep = model.predict(grey.astype(np.uint16) * 100 + 7)
    assert deep.label_image.shape == (64, 80)
    for shape in ((1, 1), (300, 3), (97, 150)):
        assert model.predict(np.zeros(shape, dtype=np.uint8)).label_image.shape == shape


def test_the_scale_of_an_image(model, image):
    assert model.scale_of(64, 80) == 1.5
    assert model.scale_of(480, 640) == 1
    tile = image[:32, :32]
    assert model._prepare(tile, 1.5).shape == (3, 48, 48)
    assert model._prepare(tile, None).shape == (3, 96, 96)
    assert model.predict(tile, scale=1.0).label_image.shape == (32, 32)


def test_a_frame_of_an_enlarged_image_is_placed_in_its_tile(model, image):
    """One of the whole image finds what the image gives; in a tile that begins further right, the same further left."""
    (whole,) = model.predict_batch([image], scale=1.5)
    region = Region(0, 0, 64, 80)
    frame = Frame(region, Region(0, 0, 96, 120), region, (1.5, 1.5))
    (found,) = model.predict_batch([image], frames=[frame])
    np.testing.assert_allclose(found.detection_scores, whole.detection_scores, atol=1e-2)
    assert (found.label_image != whole.label_image).mean() < 0.05
    inside = Frame(Region(0, 10, 64, 80), frame.seen, region, frame.scale)  # the same view, of a tile from column 10 on
    (shifted,) = model.predict_batch([image], frames=[inside])
    assert shifted.label_image.shape == (64, 70)
    assert ((shifted.label_image > 0) != (found.label_image > 0)[:, 10:]).mean() < 0.03  # boxes end at the tile's edge


def test_the_channels_of_a_bgr_model(folder, image, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(load_config(CONFIG, [*OVERRIDES, "INPUT.FORMAT", "BGR"]).dump())
    model = load_model(weights=folder / "model.pth", config_file=config, device="cpu")
    blue_first = model._prepare(image, 1.0).numpy()
    np.testing.assert_array_equal(blue_first, image[..., ::-1].transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(4,), (4, 4, 4), (4, 4, 1), (0, 4), (2, 4, 4, 3)])
def test_arrays_that_are_no_image(model, shape):
    with pytest.raises(ValueError, match="expected an image"):
        model.predict(np.zeros(shape, dtype=np.uint8))


def test_where_the_threshold_comes_from(folder, tmp_path):
    weights = tmp_path / "model.pth"
    weights.write_bytes((folder / "model.pth").read_bytes())
    config = tmp_path / "config.yaml"
    config.write_text(load_config(CONFIG, [*OVERRIDES, "TEST.SCORE_THRESHOLD", "-1.0"]).dump())
    assert load_model(weights=weights, device="cpu").threshold == 0.5
    record_score_threshold(weights, {"value": 0.65, "data set": "some_val"})
    assert load_model(weights=weights, device="cpu").threshold == 0.65
    config.write_text(load_config(CONFIG, [*OVERRIDES, "TEST.SCORE_THRESHOLD", "0.4"]).dump())
    assert load_model(weights=weights, device="cpu").threshold == 0.4
    assert load_model(weights=weights, device="cpu", threshold=0.3).threshold == 0.3


def test_precision(folder, image):
    single = load_model(weights=folder / "model.pth", device="cpu", precision="float32")
    half = load_model(weights=folder / "model.pth", device="cpu", precision="bfloat16")
    tensor = torch.linspace(-2, 2, 3 * 64 * 64).view(1, 3, 64, 64)
    maps, rounded = (model.network.backbone(tensor)["p2"] for model in (single, half))
    assert maps.dtype == rounded.dtype == torch.float32
    assert 0 < (maps - rounded).abs().max() < 0.1 * maps.abs().max()
    found = half.predict(image)
    assert found.detection_scores.dtype == np.float32
    assert found.label_image.shape == (64, 80)
    with pytest.raises(InputError, match="precision: expected float32, bfloat16 on cpu, found float16"):
        load_model(weights=folder / "model.pth", device="cpu", precision="float16")


@pytest.mark.parametrize("name", ["", "auto", "bfloat16", "float16"])
def test_the_precision_of_the_config_where_the_processor_has_it(folder, tmp_path, name):
    config = tmp_path / "config.yaml"
    config.write_text(load_config(CONFIG, [*OVERRIDES, "SOLVER.AUTOCAST", name]).dump())
    backbone = load_model(weights=folder / "model.pth", config_file=config, device="cpu").network.backbone
    lowers = isinstance(backbone, LowPrecision)
    assert lowers == (name in ("auto", "bfloat16") and computes_in_bfloat16("cpu"))
    assert not lowers or backbone.dtype == torch.bfloat16


def test_what_cannot_be_loaded(folder, tmp_path):
    (tmp_path / "model.pth").touch()
    with pytest.raises(InputError, match=r"config.yaml: expected the config that the weights were trained with"):
        load_model(weights=tmp_path / "model.pth")
    with pytest.raises(InputError, match=r"no.pth: expected a trained checkpoint, found nothing there"):
        load_model(weights=folder / "no.pth", device="cpu")
    with pytest.raises(InputError, match=r"MODEL.WEIGHTS: expected a trained checkpoint"):
        load_model(weights="", config_file=CONFIG, device="cpu")
    with pytest.raises(InputError, match="expected weights of the model that the config describes"):
        load_model(
            weights=folder / "model.pth", config_file=CONFIG.parents[1] / "mask_rcnn_lite0_FPN.yaml", device="cpu"
        )
    with pytest.raises(InputError, match="device: expected cpu, cuda"):
        load_model(weights=folder / "model.pth", device="toaster")
    with pytest.raises(InputError, match=r"threshold: expected a score from 0 to 1, found 1.5"):
        load_model(weights=folder / "model.pth", device="cpu", threshold=1.5)
    without_masks = tmp_path / "config.yaml"
    without_masks.write_text(load_config(CONFIG, [*OVERRIDES, "MODEL.MASK_ON", "False"]).dump())
    with pytest.raises(InputError, match="META_ARCHITECTURE: expected NucleusRCNN"):
        load_model(weights=folder / "model.pth", config_file=without_masks, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu(folder, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(load_config(CONFIG, [*OVERRIDES, "MODEL.DEVICE", "cuda"]).dump())
    assert load_model(weights=folder / "model.pth", config_file=config).device == torch.device("cpu")
    with pytest.raises(InputError, match="device: expected a GPU that torch can use, found none"):
        load_model(weights=folder / "model.pth", device="cuda")


def test_a_turned_image_gives_the_turned_nuclei_in_eight_views():
    """What one view cannot, eight can, since every turn of an image has the same eight; with the model that ships, on
    blurred discs in noise. Sides are whole strides of the network, so that nothing is padded."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((224, 256), dtype=np.float32)
    for number in range(12):
        centre = 32 + 64 * (number % 4) + int(rng.integers(-9, 9)), 36 + 72 * (number // 4) + int(rng.integers(-9, 9))
        cv2.circle(pixels, centre, int(rng.integers(9, 20)), float(rng.uniform(80, 200)), -1)
    pixels = cv2.GaussianBlur(pixels, (0, 0), 2) + rng.normal(10, 3, pixels.shape)
    pixels = pixels.clip(0, 255).astype(np.uint8)
    turned = np.ascontiguousarray(np.rot90(pixels))
    differing = {}
    for count in (1, 8):
        model = load_model(device="cpu", views=count)
        found, again = (model.predict(one, scale=1.0).label_image for one in (pixels, turned))
        assert found.max() == again.max() == 12
        differing[count] = int((np.rot90(found > 0) != (again > 0)).sum())
    assert 10 * differing[8] < differing[1], differing
