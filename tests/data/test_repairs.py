"""The list of what can be wrong."""

import pytest

from nucleus.data.repairs import KINDS, Repair, Repairs
from nucleus.errors import InputError


def test_counts_come_in_the_order_of_the_list():
    repairs = Repairs()
    repairs.add("empty_mask", "a.png", "nothing")
    repairs.extend([Repair("duplicated_id", "b", "twice"), Repair("empty_mask", "c.png", "nothing")])
    assert list(repairs.counts().items()) == [("duplicated_id", 1), ("empty_mask", 2)]


@pytest.mark.parametrize("kind", KINDS)
def test_strict_stops_and_says_what_would_be_done(kind):
    with pytest.raises(InputError) as raised:
        Repairs(strict=True).add(kind, "there", "this")
    assert str(raised.value) == (
        f"there: expected {KINDS[kind].expected}, found this. Mend it, or run without --strict: {KINDS[kind].action}."
    )
