import sys

import numpy as np
import pytest

from nucleus.errors import InputError
from nucleus.formats.image_source import open_image

zarr = pytest.importorskip("zarr", reason='OME-Zarr needs the extra: pip install "nucleus[zarr]"')
ZARR_3 = int(zarr.__version__.split(".")[0]) >= 3

PIXELS = np.random.default_rng(0).integers(0, 65536, (2, 3, 60, 80), dtype=np.uint16)  # C Z Y X


def write(path, levels, axes, *, unit="micrometer", scale=0.25, version=4, channels=()):
    """An image as the specification of OME-NGFF 0.4 or 0.5 has it."""
    options = {"zarr_format": 2 if version == 4 else 3} if ZARR_3 else {}
    group = zarr.open_group(str(path), mode="w", **options)
    described = [{"name": axis, "type": "space", "unit": unit} for axis in axes]
    datasets = []
    for number, level in enumerate(levels):
        array = group.create_array if hasattr(group, "create_array") else group.create_dataset
        array(name=str(number), shape=level.shape, chunks=(*(1,) * (level.ndim - 2), 16, 16), dtype=level.dtype)
        group[str(number)][...] = level
        step = [1.0] * (level.ndim - 2) + [scale * 2**number, 2 * scale * 2**number]
        datasets.append({"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": step}]})
    attributes = {"multiscales": [{"axes": described, "datasets": datasets}], "omero": {"channels": list(channels)}}
    group.attrs.update(attributes if version == 4 else {"ome": {"version": "0.5", **attributes}})
    return path


@pytest.mark.parametrize("version", [4, 5] if ZARR_3 else [4])
def test_levels_channels_and_pixel_size(tmp_path, version):
    names = [{"label": "DAPI"}, {"label": "GFP"}]
    path = write(tmp_path / "a.zarr", [PIXELS, PIXELS[..., ::2, ::2]], "czyx", version=version, channels=names)
    with pytest.raises(InputError, match="DAPI, GFP"):
        open_image(path)
    with open_image(path, channels=["GFP"], page=2) as source:
        assert source.shape == (60, 80) and source.dtype == np.uint16 and source.channel_names == ("GFP",)
        assert source.pixel_size_um == (0.25, 0.5)
        assert (source.read(7, 20, 33, 41) == PIXELS[1, 2, 7:33, 20:41]).all()
    with open_image(path, channels=[0], page=0, level=1) as source:
        assert source.pixel_size_um == (0.5, 1.0) and (source.read_all() == PIXELS[0, 0, ::2, ::2]).all()
    with pytest.raises(InputError, match="a level from 0 to 1"):
        open_image(path, level=2)


def test_stained_tissue_is_rgb(tmp_path):
    tissue = np.random.default_rng(1).integers(0, 256, (3, 40, 50), dtype=np.uint8)
    colours = [{"color": "FF0000"}, {"color": "00ff00"}, {"color": "0000FF"}]
    path = write(tmp_path / "a.zarr", [tissue], "cyx", channels=colours, unit="furlong")
    with open_image(path) as source:
        assert (source.read_all() == np.moveaxis(tissue, 0, -1)).all() and source.pixel_size_um is None


def test_several_images_and_plates(tmp_path):
    for name in ("0", "1"):
        write(tmp_path / "many.zarr" / name, [PIXELS[0, 0] + int(name)], "yx")
    zarr.open_group(str(tmp_path / "many.zarr"), mode="a", **({"zarr_format": 2} if ZARR_3 else {}))
    with pytest.raises(InputError, match=r"2 images.*--series, 0 to 1"):
        open_image(tmp_path / "many.zarr")
    assert (open_image(tmp_path / "many.zarr", series=1).read_all() == PIXELS[0, 0] + 1).all()
    with pytest.raises(InputError, match="found series 2"):
        open_image(tmp_path / "many.zarr", series=2)
    plate = zarr.open_group(str(tmp_path / "plate.zarr"), mode="w")
    plate.attrs["plate"] = {}
    with pytest.raises(InputError, match="Name one field"):
        open_image(tmp_path / "plate.zarr")
    zarr.open_group(str(tmp_path / "empty.zarr"), mode="w")
    with pytest.raises(InputError, match="without one"):
        open_image(tmp_path / "empty.zarr")


def test_plain_arrays(tmp_path):
    zarr.save_array(str(tmp_path / "a.zarr"), PIXELS[0, 0])
    assert (open_image(tmp_path / "a.zarr").read_all() == PIXELS[0, 0]).all()
    zarr.save_array(str(tmp_path / "b.zarr"), np.moveaxis(PIXELS[0], 0, -1))
    assert (open_image(tmp_path / "b.zarr").read_all() == np.moveaxis(PIXELS[0], 0, -1)).all()
    zarr.save_array(str(tmp_path / "c.zarr"), PIXELS[0, 0, 0])
    with pytest.raises(InputError, match="rows and columns"):
        open_image(tmp_path / "c.zarr")


def test_huge_chunks_and_broken_metadata_are_refused(tmp_path):
    for name, side, chunk in (("a", 1 << 16, 1 << 16), ("b", 1 << 30, 16)):
        make = zarr.create_array if ZARR_3 else zarr.create
        make(store=str(tmp_path / f"{name}.zarr"), shape=(side, side), chunks=(chunk, chunk), dtype="uint8")
        with pytest.raises(InputError, match=r"at most 1 GiB|a slide can have"):
            open_image(tmp_path / f"{name}.zarr")
    path = write(tmp_path / "c.zarr", [PIXELS], "czyx")
    zarr.open_group(str(path), mode="a").attrs["multiscales"] = [{"datasets": [{"path": "7"}]}]
    with pytest.raises(InputError, match=r"c\.zarr: expected an OME-Zarr image"):
        open_image(path)


def test_without_zarr_it_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "a.zarr", [PIXELS], "czyx")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(InputError, match=r"pip install .*zarr"):
        open_image(path)
