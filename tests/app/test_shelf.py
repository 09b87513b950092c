"""What is kept, by hand: results of one byte each."""

import pytest

from nucleus.app.refusals import RefusalError
from nucleus.app.shelf import Shelf


class OneByte:
    nbytes = 1


def test_the_one_used_longest_ago_goes_first():
    shelf = Shelf(2)
    first, second = OneByte(), OneByte()
    key_1, key_2 = shelf.put(first), shelf.put(second)
    assert shelf.get(key_1) is first
    key_3 = shelf.put(OneByte())
    assert (len(shelf), shelf.nbytes) == (2, 2)
    with pytest.raises(RefusalError, match="no longer kept"):
        shelf.get(key_2)
    assert shelf.get(key_1) is first
    shelf.drop(key_3)
    shelf.drop("unknown")
    assert len(shelf) == 1


def test_the_newest_is_kept_in_any_case():
    shelf = Shelf(0)
    shelf.put(OneByte())
    newest = OneByte()
    assert shelf.get(shelf.put(newest)) is newest and len(shelf) == 1
