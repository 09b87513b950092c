import cv2
import numpy as np
import pytest
from PIL import Image

from nucleus.config import load_config
from nucleus.data.augmentation_sheet import DRAWS, SIDE, augmentation_sheet, busiest_part, choose_one_of_each_kind
from nucleus.data.mapper import NucleusMapper
from nucleus.data.photometric import AUGMENTATIONS
from nucleus.data.synthetic import make_field
from nucleus.errors import InputError
from nucleus.masks.rle import encode_coco


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A look-alike of seven images of several modalities: COCO content and folder."""
    root = tmp_path_factory.mktemp("images")
    images, annotations = [], []
    for number in (0, 5, 6, 8, 10, 2, 4):
        tile = make_field(1, "train", number, max_size=96)[0]
        cv2.imwrite(str(root / f"{number}.png"), tile.image[..., ::-1])
        height, width = tile.labels.shape
        images.append(
            {"id": number, "file_name": f"{number}.png", "height": height, "width": width, "modality": tile.modality}
        )
        for label in range(1, tile.labels.max() + 1):
            rle = encode_coco(tile.labels == label)
            annotations.append({"id": len(annotations), "image_id": number, "segmentation": rle, "area": 30})
    return {"images": images, "annotations": annotations}, root


@pytest.fixture
def mapper(pytestconfig):
    return NucleusMapper(load_config(pytestconfig.rootpath / "configs/quick/mask_rcnn_lite0_FPN.yaml"), is_train=True)


def test_one_image_of_each_kind(small):
    coco, root = small
    kinds = [one.kind for one in choose_one_of_each_kind(coco, root)]
    assert len(kinds) == len(set(kinds)) <= 4
    assert kinds[0] == "fluorescent" and {"purple tissue", "pink purple tissue"} & set(kinds)


def test_images_without_nuclei_are_no_examples_where_there_are_others(small):
    coco, root = small
    with_nuclei = coco["images"][0]
    coco = {"images": [{**image, "modality": "x"} for image in coco["images"]],
            "annotations": [one for one in coco["annotations"] if one["image_id"] == with_nuclei["id"]]}  # fmt: skip
    (example,) = choose_one_of_each_kind(coco, root)
    assert example.record["file_name"].endswith(with_nuclei["file_name"])


def test_the_sheet_has_a_row_for_each_augmentation_the_view_and_the_training(small, mapper, tmp_path):
    coco, root = small
    path = augmentation_sheet(coco, root, tmp_path / "out", "mine", mapper, "my.yaml")
    assert path == tmp_path / "out" / "mine_augmented.png"
    picture = Image.open(path)
    kinds = len(choose_one_of_each_kind(coco, root))
    assert picture.height > (len(AUGMENTATIONS) + 2) * SIDE and picture.width > kinds * (1 + DRAWS) * SIDE


def test_the_same_seed_gives_the_same_sheet_and_another_another(small, mapper, tmp_path):
    coco, root = small
    sheets = [
        np.asarray(Image.open(augmentation_sheet(coco, root, tmp_path / str(n), "mine", mapper, seed=seed)))
        for n, seed in enumerate((3, 3, 4))
    ]
    assert (sheets[0] == sheets[1]).all() and (sheets[0] != sheets[2]).any()


def test_a_missing_image_is_named(small, mapper, tmp_path):
    coco, _ = small
    with pytest.raises(InputError, match=r"\.png"):
        augmentation_sheet(coco, tmp_path, tmp_path / "out", "mine", mapper)


def test_the_busiest_part_by_hand():
    labels = np.zeros((6, 8), np.int32)
    labels[3:5, 5:7] = 1
    image = np.repeat(labels[..., None], 3, axis=2)
    assert (busiest_part(image, labels, 2) == 1).all()
    assert busiest_part(image, labels, 100).shape == (6, 8, 3)
