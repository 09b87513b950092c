"""Fields of view from the borders of their tiles: cut by hand."""

import cv2
import numpy as np

from nucleus.data.groups import find_groups
from nucleus.data.seams import SHORTEST_BORDER, borders_of


def field(seed, height=256, width=256):
    """Smooth bright blobs on a dark ground with fine noise, uint8 (H, W, 3)."""
    random = np.random.default_rng(seed)
    blobs = cv2.GaussianBlur(random.normal(size=(height, width)), (0, 0), 6)
    noise = cv2.GaussianBlur(random.normal(size=(height, width)), (0, 0), 0.7)
    grey = np.clip(blobs / blobs.std() * 50 + noise * 4 + 60, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def tiles(image, rows, columns):
    return [tile for band in np.array_split(image, rows) for tile in np.array_split(band, columns, axis=1)]


def groups_of(**images):
    names = find_groups(list(images), [borders_of(image) for image in images.values()])
    return dict(zip(images, names, strict=True))


def test_two_and_four_tiles_are_found_among_strangers():
    a, b, c, d = tiles(field(1), 2, 2)
    e, f = tiles(field(2, 128, 256), 1, 2)
    found = groups_of(a=a, b=b, c=c, d=d, e=e, f=f, g=field(3, 128, 128), h=field(4, 128, 128))
    assert found == {"a": "a", "b": "a", "c": "a", "d": "a", "e": "e", "f": "e", "g": "g", "h": "h"}


def test_a_large_field_and_one_with_a_missing_tile():
    found = groups_of(**{f"{i:02}": tile for i, tile in enumerate(tiles(field(5, 400, 400), 4, 4))})
    assert set(found.values()) == {"00"}
    found = groups_of(**{f"{i:02}": tile for i, tile in enumerate(tiles(field(5, 400, 400), 4, 4)) if i not in (0, 6)})
    assert set(found.values()) == {"01"}


def test_tiles_of_unequal_width():
    left, middle, right = np.split(field(6, 128, 300), [90, 200], axis=1)
    assert set(groups_of(a=left, b=middle, c=right).values()) == {"a"}


def test_the_order_of_the_images_does_not_matter():
    images = {f"{i:02}": tile for i, tile in enumerate(tiles(field(7, 384, 384), 3, 3) + tiles(field(8), 2, 2))}
    shuffled = {name: images[name] for name in np.random.default_rng(0).permutation(list(images))}
    assert groups_of(**images) == groups_of(**shuffled)


def test_empty_borders_join_nothing():
    dark = np.zeros((128, 128), np.uint8)
    spots = [dark.copy() for _ in range(6)]
    for index, spot in enumerate(spots):
        spot[40 + index : 60, 50:70] = 200
    assert groups_of(**{str(i): spot for i, spot in enumerate(spots)}) == {str(i): str(i) for i in range(6)}
    noisy = [np.random.default_rng(i).integers(0, 3, (128, 128), dtype=np.uint8) for i in range(30)]
    assert len(set(groups_of(**{f"{i:02}": image for i, image in enumerate(noisy)}).values())) == 30
    assert len(set(groups_of(a=spots[0], b=spots[1]).values())) == 2  # no third one as a rival


def test_a_tile_with_an_empty_seam_is_found_by_the_square():
    image = field(9)
    image[:110, 124:132] = 20  # the upper two of four tiles touch in an empty strip
    image[:110, 124:132, :] += np.random.default_rng(0).integers(0, 2, (110, 8, 1), dtype=np.uint8)
    upper_left, upper_right, lower_left, lower_right = tiles(image, 2, 2)
    strangers = {f"x{i}": field(20 + i, 128, 128) for i in range(8)}
    for stranger in strangers.values():
        stranger[:, :4] = stranger[:, -4:] = 20
    found = groups_of(a=upper_left, b=upper_right, c=lower_left, d=lower_right, **strangers)
    assert [found[name] for name in "abcd"] == ["a"] * 4
    assert all(found[name] == name for name in strangers)


def test_equal_images_are_one_group_and_still_find_their_neighbour():
    left, right = tiles(field(10, 128, 256), 1, 2)
    assert groups_of(z=left, b=left.copy(), c=right) == {"z": "b", "b": "b", "c": "b"}
    assert len(set(groups_of(a=left, b=left.astype(np.uint16)).values())) == 2


def test_grey_sixteen_bit_and_tiny_images():
    grey = field(11)[..., 0]
    assert set(groups_of(**{str(i): tile for i, tile in enumerate(tiles(grey, 2, 2))}).values()) == {"0"}
    deep = field(12)[..., 0].astype(np.uint16) * 200
    assert set(groups_of(**{str(i): tile for i, tile in enumerate(tiles(deep, 2, 2))}).values()) == {"0"}
    small = field(13, SHORTEST_BORDER - 1, 2 * SHORTEST_BORDER)
    assert len(set(groups_of(**dict(zip("ab", tiles(small, 1, 2), strict=True))).values())) == 2
    assert groups_of(a=np.zeros((1, 1), np.uint8), b=np.ones((1, 70), np.uint8)) == {"a": "a", "b": "b"}
    assert find_groups([], []) == []
