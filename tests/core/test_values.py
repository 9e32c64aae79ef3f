"""Values behave as frozen dataclasses do, but for the one thing that the type checker sees to."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, replace

import pytest

from tallygate.core.regex import regex
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


def test_fields_are_taken_in_the_order_of_a_dataclass():
    def made_by(decorator):
        @decorator(slots=True)
        class Kept:
            by_name: int = field(default=7, kw_only=True)
            one: str
            many: list[int] = field(default_factory=list)
            said: str = ""

            def __post_init__(self) -> None:
                self.said = self.said or self.one * 2

        return Kept

    for decorator in (dataclass, value):
        kept = made_by(decorator)
        one = kept("a", by_name=1)
        one.many.append(5)
        assert (one.one, one.many, one.said, one.by_name) == ("a", [5], "aa", 1)
        assert (kept("b", [1], "c").many, kept("b").many, kept("b").by_name) == ([1], [], 7)
        for wrong in ((), ("a", [], "", 1)):
            with pytest.raises(TypeError):
                kept(*wrong)
        with pytest.raises(TypeError, match=r"Kept\.__init__\(\) missing 1 required positional argument: 'one'"):
            kept()


def test_an_expression_is_compiled_once_it_is_used():
    wrong, word = regex("("), regex(r"a(b)", re.IGNORECASE)
    assert (wrong.pattern, word.pattern) == ("(", "a(b)")
    with pytest.raises(re.error):
        wrong.match("x")
    found = word.search("xAB")
    assert found is not None
    assert (found[1], word.flags & re.IGNORECASE, word.search is word.search) == ("B", re.IGNORECASE, True)


def test_a_value_with_a_field_that_nobody_gives_is_refused_where_it_is_written():
    with pytest.raises(TypeError, match="every field of a value is given"):

        @value(slots=True)
        class Left:
            left: int = field(init=False, default=3)
