import cv2
import numpy as np
import pytest

from nucleus.data.decoded import decode, decode_image, draw_layers, label_type
from nucleus.errors import InputError
from nucleus.masks.rle import encode_coco


def rectangle(top, left, bottom, right):
    mask = np.zeros((30, 40), dtype=bool)
    mask[top:bottom, left:right] = True
    return encode_coco(mask)


def test_masks_that_do_not_overlap_are_one_label_image():
    (labels,) = draw_layers([rectangle(0, 0, 3, 4), rectangle(3, 0, 6, 4)], 30, 40)
    assert labels.dtype == np.int16
    assert np.bincount(labels.ravel()).tolist() == [1200 - 24, 12, 12]
    assert (labels[:3, :4] == 1).all() and (labels[3:6, :4] == 2).all()


def test_masks_that_hardly_overlap_are_one_label_image_too():
    (labels,) = draw_layers([rectangle(0, 0, 10, 10), rectangle(9, 5, 20, 15)], 30, 40)  # 5 of 110 pixels
    assert np.bincount(labels.ravel())[1:].tolist() == [100, 105]


def test_masks_that_overlap_are_kept_whole_in_as_few_layers_as_come_in_order():
    boxes = [(0, 0, 10, 10), (5, 5, 20, 20), (0, 12, 5, 20), (8, 8, 12, 12)]
    layers = draw_layers([rectangle(*box) for box in boxes], 30, 40)
    assert [np.unique(layer).tolist() for layer in layers] == [[0, 1, 3], [0, 2], [0, 4]]
    for label, (top, left, bottom, right) in enumerate(boxes, start=1):
        whole = sum((layer == label).astype(int) for layer in layers)
        assert whole.sum() == (bottom - top) * (right - left) and whole[top:bottom, left:right].all()


def test_a_nucleus_that_others_hide_needs_a_layer():
    assert len(draw_layers([rectangle(0, 0, 30, 40), rectangle(5, 5, 8, 8)], 30, 40)) == 2


def test_no_masks_are_an_empty_label_image():
    (labels,) = draw_layers([], 3, 4)
    assert labels.shape == (3, 4) and not labels.any()


def test_many_nuclei_are_counted_in_more_bits():
    assert label_type(2**15 - 1) is np.int16 and label_type(2**15) is np.int32


def test_alike_channels_are_kept_once(tmp_path):
    grey = np.arange(1200, dtype=np.uint8).reshape(30, 40)
    colour = np.dstack([grey, grey, grey])
    colour[7, 3, 2] += 1
    for name, pixels, expected in (("grey", np.dstack([grey] * 3), grey), ("colour", colour, colour[..., ::-1])):
        cv2.imwrite(str(tmp_path / f"{name}.png"), pixels)
        record = {"file_name": str(tmp_path / f"{name}.png"), "height": 30, "width": 40}
        assert np.array_equal(decode_image(record), expected)
        assert np.array_equal(decode(record | {"rles": []}).image, expected)
        with pytest.raises(InputError, match=r"40 x 30.*30 x 40"):
            decode_image(record | {"height": 40, "width": 30})
