from __future__ import annotations

import numpy as np

from nucleus.inference.tile_store import TileNuclei, TileStore
from nucleus.inference.tiling import plan_tiles
from nucleus.masks.box_masks import BoxMasks

GRID = plan_tiles(30, 60, tile=40, margin=8)
FIRST, SECOND = GRID.tiles[:2]


def nuclei() -> TileNuclei:
    rng = np.random.default_rng(0)
    crops = [rng.random((5, 3)) > 0.5, rng.random((4, 7)) > 0.5]
    masks = BoxMasks(np.array([[1, 2, 4, 7], [10, 20, 17, 24]]), crops, FIRST.read.height, FIRST.read.width)
    return TileNuclei(masks, np.array([0.9, 0.123456789], dtype=np.float32), full=True)


def test_what_is_saved_comes_back(tmp_path):
    store = TileStore(tmp_path / "tiles", {"threshold": 0.5})
    assert store.load(FIRST) is None
    saved = nuclei()
    store.save(FIRST, saved)
    store.save(SECOND, TileNuclei(BoxMasks(np.zeros((0, 4)), [], 30, 28), np.zeros(0), blank=True))
    again = TileStore(tmp_path / "tiles", {"threshold": 0.5})
    found, blank = again.load(FIRST), again.load(SECOND)
    np.testing.assert_array_equal(found.masks.boxes, saved.masks.boxes)
    np.testing.assert_array_equal(np.asarray(found.masks), np.asarray(saved.masks))
    np.testing.assert_array_equal(found.scores, saved.scores)
    assert (found.full, found.blank, found.scores.dtype) == (True, False, np.float32)
    assert (len(blank.masks), blank.full, blank.blank) == (0, False, True)


def test_a_damaged_tile_is_not_there(tmp_path):
    store = TileStore(tmp_path / "tiles", {})
    store.save(FIRST, nuclei())
    path = next((tmp_path / "tiles").glob("tile_*.npz"))
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        assert store.load(FIRST) is None
    flipped = bytearray(whole)
    flipped[whole.index(np.packbits(nuclei().masks.pixels).tobytes())] ^= 255
    path.write_bytes(flipped)
    assert store.load(FIRST) is None
    path.write_bytes(whole)
    assert store.load(FIRST) is not None


def test_other_settings_begin_anew(tmp_path):
    TileStore(tmp_path / "tiles", {"threshold": 0.5}).save(FIRST, nuclei())
    assert TileStore(tmp_path / "tiles", {"threshold": 0.6}).load(FIRST) is None
    assert [path.name for path in (tmp_path / "tiles").iterdir()] == ["settings.json"]


def test_a_folder_without_settings_begins_anew(tmp_path):
    store = TileStore(tmp_path / "tiles", {})
    store.save(FIRST, nuclei())
    (tmp_path / "tiles" / "settings.json").unlink()
    assert TileStore(tmp_path / "tiles", {}).load(FIRST) is None


def test_remove(tmp_path):
    store = TileStore(tmp_path / "tiles", {})
    store.save(FIRST, nuclei())
    store.remove()
    assert not list(tmp_path.iterdir())
