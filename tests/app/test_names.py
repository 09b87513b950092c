"""Names of users' files, which may be anything."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nucleus.app.names import attachment, safe_name


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("cells.png", "cells"),
        ("slide 3.ome.tif", "slide 3"),
        ("../../etc/passwd", "passwd"),
        ("C:\\data\\a.tif", "a"),
        ("=cmd()|x.png", "cmd()_x"),
        ("<b>bold</b>.png", "b"),
        ("Zellkerne Größe.tif", "Zellkerne Größe"),
        ("核.tiff", "核"),
        ('a"b\r\nSet-Cookie: x.png', "a_b__Set-Cookie_ x"),
        ("", "image"),
        ("...", "image"),
    ],
)
def test_by_hand(given_name, expected):
    assert safe_name(quote(given_name)) == expected


@given(st.text())
def test_any_text(name):
    for safe in (safe_name(name), safe_name(quote(name, errors="replace"))):
        assert 0 < len(safe) <= 80 and safe[0].isalnum()
        assert not set(safe) & set("/\\\"'<>&\r\n\0;,=%")
        assert attachment(safe + ".csv").isascii()
