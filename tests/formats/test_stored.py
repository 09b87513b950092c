from nucleus.formats.stored import plausible


def test_a_microscopes_pixel_size_is_told_from_a_printers():
    assert plausible(0.25, 0.5) == (0.25, 0.5)
    assert plausible(10, 10) == (10, 10)
    assert plausible(25_400 / 300, 25_400 / 300) is None
    assert plausible(0, 0.5) is None and plausible(0.5, -1) is None and plausible(float("nan"), 1) is None
