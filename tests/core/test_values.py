"""Values behave as frozen dataclasses do, but for the one thing that the type checker sees to."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import pytest

from tallygate.core.values import value


def made(decorator):
    @decorator(frozen=True, slots=True)
    class Point:
        x: int
        y: int = 2
        names: tuple[str, ...] = field(default_factory=tuple)

        @property
        def sum(self) -> int:
            return self.x + self.y

    return Point


@pytest.mark.parametrize("decorator", [dataclass, value], ids=["frozen", "value"])
def test_values_are_equal_hash_copy_and_print_as_frozen_ones_do(decorator):
    point = made(decorator)
    one, same, other = point(1), point(1, 2), point(1, 3)
    assert one == same
    assert one != other
    assert len({one, same, other}) == 2
    assert hash(one) == hash((1, 2, ()))
    assert (replace(one, x=5).sum, one.sum) == (7, 3)
    assert repr(one).endswith("Point(x=1, y=2, names=())")
    assert [each.name for each in fields(one)] == ["x", "y", "names"]
    with pytest.raises((AttributeError, TypeError)):
        one.z = 1
