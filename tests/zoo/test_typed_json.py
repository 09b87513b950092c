from __future__ import annotations

from dataclasses import dataclass

import pytest

from nucleus.zoo.typed_json import MismatchError, from_json


@dataclass(frozen=True)
class Inner:
    ratio: float
    low: float | None = None


@dataclass(frozen=True)
class Outer:
    name: str
    count: int
    inner: Inner
    many: tuple[Inner, ...]
    by_name: dict[str, Inner]
    sure: bool = True


GOOD = {
    "name": "a",
    "count": 2,
    "inner": {"ratio": 1},
    "many": [{"ratio": 0.5, "low": 0}],
    "by_name": {"x": {"ratio": 3}},
}


def test_a_whole_one():
    assert from_json(Outer, GOOD) == Outer("a", 2, Inner(1.0), (Inner(0.5, 0.0),), {"x": Inner(3.0)})
    assert isinstance(from_json(Outer, GOOD).inner.ratio, float)
    assert from_json(Outer, GOOD | {"inner": {"ratio": 1, "low": None}}).inner.low is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 5}, "name: expected text, found 5"),
        ({"name": None}, "name: expected text, found None"),
        ({"count": 2.0}, "count: expected a whole number, found 2.0"),
        ({"count": True}, "count: expected a whole number, found True"),
        ({"sure": 1}, "sure: expected true or false, found 1"),
        ({"inner": {"ratio": float("nan")}}, "inner.ratio: expected a finite number, found nan"),
        ({"inner": {"ratio": True}}, "inner.ratio: expected a finite number, found True"),
        ({"inner": {}}, "inner.ratio: expected a value, found none"),
        ({"inner": [1]}, r"inner: expected an object, found \[1\]"),
        ({"many": {"ratio": 1}}, "many: expected a list"),
        ({"many": [{"ratio": 1}, {"ratio": "1"}]}, r"many\[1\].ratio: expected a finite number, found '1'"),
        ({"by_name": {"x": {"ratio": 1, "hi": 2}}}, "by_name.x.hi: expected one of ratio, low, found another name"),
        ({"other": 1}, "other: expected one of name, count"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(MismatchError, match=message):
        from_json(Outer, GOOD | change)


def test_no_object_at_all():
    with pytest.raises(MismatchError, match="the file: expected an object, found 'text'"):
        from_json(Outer, "text")
