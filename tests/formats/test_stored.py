import os

import pytest

from nucleus.errors import InputError
from nucleus.formats.image import read_image
from nucleus.formats.label_image import read_label_image
from nucleus.formats.stored import plausible


def test_a_microscopes_pixel_size_is_told_from_a_printers():
    assert plausible(0.25, 0.5) == (0.25, 0.5)
    assert plausible(10, 10) == (10, 10)
    assert plausible(25_400 / 300, 25_400 / 300) is None
    assert plausible(0, 0.5) is None and plausible(0.5, -1) is None and plausible(float("nan"), 1) is None


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("read", [read_image, read_label_image])
def test_pipes_and_devices_are_not_opened(tmp_path, name, read):
    """Opening the one waits for a writer, reading the other never ends."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="a pipe or a device"):
        read(tmp_path / name)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match="a pipe or a device"):
        read(tmp_path / name)
