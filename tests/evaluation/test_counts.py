from __future__ import annotations

from dataclasses import dataclass

from nucleus.evaluation.counts import pool, share


@dataclass(frozen=True)
class Inner:
    value: float


@dataclass(frozen=True)
class Outer:
    number: int
    row: tuple[int, ...]
    inner: Inner


def test_share():
    assert share(1, 4) == 0.25
    assert share(0, 4) == 0.0
    assert share(0, 0) == 1.0  # nothing to find, nothing found


def test_pool_sums_every_field():
    pooled = pool([Outer(1, (2, 3), Inner(0.5)), Outer(10, (20, 30), Inner(0.25))])
    assert pooled == Outer(11, (22, 33), Inner(0.75))


def test_pool_of_one_is_that_one():
    one = Outer(1, (2, 3), Inner(0.1))
    assert pool([one]) == one


def test_the_order_does_not_change_the_last_digit():
    values = [0.1] * 10 + [1e16, -1e16]  # a plain sum of these is 0.0 or 2.0, depending on the order
    assert pool([Inner(value) for value in values]) == pool([Inner(value) for value in reversed(values)]) == Inner(1.0)
