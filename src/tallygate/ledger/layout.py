"""How a dataclass stands in its table: its columns, a value as its row and a row as its value, all from its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from enum import Enum
from operator import attrgetter
from types import NoneType, UnionType
from typing import Any, Generic, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from tallygate.core.errors import ensure
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.values import value
from tallygate.ledger.port import Value

T = TypeVar("T")
Row = tuple[Any, ...]


class Form(NamedTuple):
    """How a field stands in its column that takes more than its own value: from the whole value, from the whole row.

    An empty column is `absent` and not read; without `read` the value is what stands there.
    """

    stated: Callable[[Any], Value]
    read: Callable[[Any, Row], Any] | None = None
    absent: Any = None


class _Members(dict[Any, Any]):
    """The members of an enumeration by their value: quicker to ask than the enumeration, and with its own refusal."""

    def __init__(self, of: type[Enum]) -> None:
        super().__init__((member.value, member) for member in of)
        self._of = of

    def __missing__(self, value: Any) -> Any:
        return self._of(value)


@value(slots=True)
class _Leaf:
    """One column, and the way to its value from the outermost one."""

    column: str
    path: str
    kind: Any
    may_be_none: bool

    @property
    def is_member(self) -> bool:
        """Whether it is always a member of an enumeration, whose value is then asked for with all other values."""
        return _is_enum(self.kind) and not self.may_be_none


@value(slots=True)
class _Group:
    """The columns of a value inside another one: where they begin and end once the groups before are values."""

    start: int
    end: int
    of: Any
    path: str
    # What stands for a column that is empty, where the value may be missing as a whole: its first column tells.
    defaults: tuple[Any, ...] | None


class Layout(Generic[T]):
    """A dataclass as rows of its table, one column for each field.

    The column is named like the field, or as `metadata={"column": ...}` beside the field says; None is a field that is
    not kept, and those come last. A field that is a dataclass itself stands in its own fields' columns. Enumerations
    stand as their value, truth as 0 and 1, moments in microseconds; what needs more has a `Form`, by the field's name.

    Rows are read by the hundred thousand: all that can be found out once is found out here, and `value` and `row` do
    nothing but take apart and put together.
    """

    def __init__(self, of: type[T], **forms: Form) -> None:
        self._of = of
        groups: list[_Group] = []
        leaves = list(_leaves(of, groups))
        self.columns = tuple(leaf.column for leaf in leaves)
        # As they stand in the table: whose row it is, then the rest.
        self.in_table = ("tenant", *(column for column in self.columns if column != "tenant"))
        places = {leaf.path: at for at, leaf in enumerate(leaves)}
        self._groups = [(group.start, group.end, group.of, group.defaults) for group in groups]
        self._reads = [(at, read) for at, leaf in enumerate(leaves) if (read := _reader(leaf.kind)) is not None]
        self._formed = [
            (places[path], form.read, form.absent) for path, form in _by_path(places, forms) if form.read is not None
        ]
        self._stated = [(leaves[places[path]].column, form.stated) for path, form in _by_path(places, forms)]

        apart = [group.path for group in groups if group.defaults is not None]
        formed = {path for path, _ in _by_path(places, forms)}
        plain = [leaf for leaf in leaves if leaf.path not in formed and leaf.column != "tenant"]
        for leaf in leaves:
            ensure(leaf.path in formed or get_origin(leaf.kind) is not tuple, f"{leaf.path} takes a form")
        whole = [leaf for leaf in plain if not any(leaf.path.startswith(f"{path}.") for path in apart)]
        self._names = tuple(leaf.column for leaf in whole)
        self._values = attrgetter(*(f"{leaf.path}._value_" if leaf.is_member else leaf.path for leaf in whole))
        writers = [(leaf.column, _writer(leaf.kind)) for leaf in whole if not leaf.is_member]
        self._writes = [(column, write) for column, write in writers if write is not None]
        self._apart = [
            (attrgetter(path), tuple(leaf.column for leaf in inner), attrgetter(*(leaf.path for leaf in inner)))
            for path in apart
            if (inner := [leaf for leaf in plain if leaf.path.startswith(f"{path}.")])
        ]

    def row(self, value: T) -> dict[str, Value]:
        """A value as the columns of its row, but for the tenant, which every change has."""
        row: dict[str, Value] = dict(zip(self._names, self._values(value), strict=True))
        for column, write in self._writes:
            if (plain := row[column]) is not None:
                row[column] = write(plain)
        for column, stated in self._stated:
            row[column] = stated(value)
        # A part that is not there has no columns to ask for.
        for part, columns, values in self._apart:
            if part(value) is not None:
                row.update(zip(columns, values(value), strict=True))
        return row

    def value(self, row: Row) -> T:
        """A row of `columns` as a value."""
        values = list(row)
        for at, read in self._reads:
            if (stated := values[at]) is not None:
                values[at] = read(stated)
        for at, of_row, absent in self._formed:
            values[at] = absent if (stated := row[at]) is None else of_row(stated, row)
        for start, end, of, defaults in self._groups:
            inner = values[start:end]
            if defaults is None:
                values[start:end] = [of(*inner)]
            # The first column of an optional group is never empty where there is one.
            elif inner[0] is None:
                values[start:end] = [None]
            else:
                values[start:end] = [of(*(d if v is None else v for v, d in zip(inner, defaults, strict=True)))]
        return self._of(*values)

    def select(self, alias: str) -> str:
        """A select list of `columns` under the table's alias."""
        return ", ".join(f"{alias}.{column}" for column in self.columns)


def _by_path(places: dict[str, int], forms: dict[str, Form]) -> Iterator[tuple[str, Form]]:
    """Forms by the whole way to their field: they are named by its last part."""
    for name, form in forms.items():
        [path] = [path for path in places if path.rpartition(".")[2] == name]
        yield path, form


def _leaves(of: Any, groups: list[_Group], before: str = "", start: int = 0) -> Iterator[_Leaf]:
    """The columns of a dataclass from its first field to its last; groups are noted from the inside out."""
    hints = get_type_hints(of)
    is_over = False
    for at, field in enumerate(fields(of), start):
        column, path = field.metadata.get("column", field.name), f"{before}{field.name}"
        # Rows are read by place: a field without a column in between would move all behind it.
        is_over = is_over or column is None
        ensure(is_over == (column is None), f"{path} is kept and stands behind a field that is not")
        if column is None:
            continue
        kind = hints[field.name]
        is_optional = get_origin(kind) in (Union, UnionType)
        if is_optional:
            rest = [each for each in get_args(kind) if each is not NoneType]
            kind = rest[0] if len(rest) == 1 else kind
        if is_dataclass(kind):
            yield from _leaves(kind, groups, f"{path}.", at)
            inner = fields(kind)
            defaults = tuple(None if each.default is MISSING else each.default for each in inner)
            groups.append(_Group(at, at + len(inner), kind, path, defaults if is_optional else None))
        else:
            yield _Leaf(column, path, kind, is_optional)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _reader(kind: Any) -> Callable[[Any], Any] | None:
    if _is_enum(kind):
        return _Members(kind).__getitem__
    if kind is bool:
        return bool
    return as_datetime if kind is datetime else None


def _writer(kind: Any) -> Callable[[Any], Value] | None:
    if _is_enum(kind):
        return attrgetter("_value_")
    if kind is bool:
        return int
    return microseconds if kind is datetime else None
