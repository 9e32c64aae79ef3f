"""Charts, drawn here as SVG: x in per cent and y in pixels, so that text stays as large at every width.

Lines are drawn in a nested picture that is stretched, points and words outside of it. Each chart has a title and says
what is to be seen in it; its figures stand in a table beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import htpy as h
from htpy import Element, Node

from tallygate.core.values import value
from tallygate.entrypoints.page.parts import name_of, share
from tallygate.entrypoints.page.wording import money

_NANOS = 1_000_000_000
_GRID = 4


@value(frozen=True, slots=True)
class Scale:
    """Money up a chart: `top` is drawn at `above` pixels, zero at `zero`."""

    top: int
    step: int
    above: int
    zero: int

    def y(self, amount: int) -> str:
        """How far down an amount is drawn, in pixels to the tenth."""
        tenths = self.zero * 10 - max(min(amount, self.top), 0) * (self.zero - self.above) * 10 // self.top
        return _tenths(tenths)

    def height(self, amount: int) -> str:
        """How tall a column of an amount is."""
        return _tenths(max(min(amount, self.top), 0) * (self.zero - self.above) * 10 // self.top)

    def within(self, amount: int) -> str:
        """How far down it is in the stretched picture, of a hundred."""
        return _hundredths(10_000 - max(min(amount, self.top), 0) * 10_000 // self.top)


def scale_to(most: int, above: int, zero: int) -> Scale:
    """A scale with at most four lines at round amounts, the largest of them above everything.

    >>> [scale_to(n * _NANOS, 20, 200).step // _NANOS for n in (3, 21, 36, 300)]
    [1, 10, 10, 100]
    """
    step = 1_000_000
    while True:
        for factor in (1, 2, 5):
            if most <= _GRID * step * factor:
                top = max(-(-most // (step * factor)), 1) * step * factor
                return Scale(top, step * factor, above, zero)
        step *= 10


def chart(name: str, finding: str, height: str, *body: Node) -> Element:
    """A chart as a whole; `finding` is what somebody who does not see it is told."""
    own = name_of(name)
    return h.svg(class_=f"chart {height}", role="img", aria_labelledby=f"t-{own} d-{own}")[
        h.title(id=f"t-{own}")[name], h.desc(id=f"d-{own}")[finding], *body
    ]


def stretched(scale: Scale, *body: Node) -> Element:
    """The picture for lines: a hundred by a hundred, as wide as the chart."""
    return h.svg(
        {"viewBox": "0 0 100 100", "preserveAspectRatio": "none"},
        x="0",
        y=str(scale.above),
        width="100%",
        height=str(scale.zero - scale.above),
    )[body]


def grid(scale: Scale) -> list[Element]:
    """Lines across at round amounts, with what they are; zero is always one."""
    found = []
    for amount in range(0, scale.top + 1, scale.step):
        y = scale.y(amount)
        found += [
            h.line(x1="0", x2="100%", y1=y, y2=y, class_="ax" if amount else "ax0"),
            label(_axis(amount), "-6", int(y.partition(".")[0]) + 4, "e"),
        ]
    return found


def _axis(amount: int) -> str:
    return money(amount).removesuffix(".00")


def label(text: Node, x: str, y: int, tone: str = "") -> Element:
    """A word on the drawing."""
    return h.text(x=x, y=str(y), class_=tone or None)[text]


def limit_line(scale: Scale, limit: int) -> list[Element]:
    """A limit across the whole chart, where it is not above it."""
    if limit > scale.top:
        return []
    y = scale.y(limit)
    return [h.line(x1="0", x2="100%", y1=y, y2=y, class_="lim")]


def stepped(points: Iterable[tuple[int, int]], scale: Scale, whole: int, last: int | None = None) -> str:
    """A line that goes on as it is until the next point: `x` of a whole, and the amount from there on."""
    drawn = ""
    for x, amount in points:
        at, y = _hundredths(x * 10_000 // whole), scale.within(amount)
        drawn += f"M{at} {y}" if not drawn else f"H{at}V{y}"
    return drawn if last is None or not drawn else f"{drawn}H{_hundredths(last * 10_000 // whole)}"


def columns(
    stacks: Sequence[Sequence[tuple[int, str]]], scale: Scale, labels: Sequence[tuple[int, str, str]]
) -> list[Element]:
    """Columns beside one another, each of pieces from the ground up; `labels` are below: which, what, its class."""
    number = max(len(stacks), 1)
    found: list[Element] = []
    for place, stack in enumerate(stacks):
        left = _percent((place * 100 + 16) * 100, number)
        below = 0
        for amount, kind in stack:
            if amount > 0:
                # Between two pieces is a gap of a pixel, as wide as anything has to be to be seen.
                tall = max(int(scale.height(amount).partition(".")[0]), 1)
                top = scale.y(below + amount)
                found.append(h.rect(x=left, width=_percent(6_800, number), y=top, height=str(tall), class_=kind))
            below += amount
    for place, text, tone in labels:
        found.append(label(text, _percent((place * 100 + 50) * 100, number), scale.zero + 16, f"m {tone}".strip()))
    return found


def both_ways(amounts: Sequence[int], kinds: tuple[str, str], labels: Sequence[tuple[int, str, str]]) -> list[Element]:
    """Columns up and down from a line of nothing: what is above it in the first class, what is below in the other."""
    scale = scale_to(max(map(abs, amounts), default=0), 16, 92)
    found: list[Element] = []
    for amount in range(-scale.top, scale.top + 1, scale.top):
        across = str(scale.zero - (scale.zero - scale.above) * amount // scale.top)
        sign = "+" if amount > 0 else ""
        found.append(h.line(x1="0", x2="100%", y1=across, y2=across, class_="ax" if amount else "ax0"))
        found.append(label(f"{sign}{_axis(amount)}", "-6", int(across) + 4, "e"))
    number = max(len(amounts), 1)
    for place, amount in enumerate(amounts):
        if amount:
            left, y = _percent((place * 100 + 16) * 100, number), scale.y(amount) if amount > 0 else str(scale.zero)
            tall, kind = scale.height(abs(amount)), kinds[amount < 0]
            found.append(h.rect(x=left, width=_percent(6_800, number), y=y, height=tall, class_=kind))
    below = 2 * scale.zero - scale.above + 16
    found += [
        label(text, _percent((p * 100 + 50) * 100, number), below, f"m {tone}".strip()) for p, text, tone in labels
    ]
    return found


def place_of(place: int, number: int, within: int) -> str:
    """Where something is drawn that lies so far, of a hundred, within one of as many columns."""
    return _percent((place * 100 + within) * 100, number)


def whole_share(part: int, whole: int) -> str:
    """A place on a chart as a part of its width."""
    return share(part, whole)


def _percent(hundredths: int, number: int) -> str:
    return f"{_hundredths(hundredths // number)}%"


def _hundredths(value: int) -> str:
    whole, rest = divmod(value, 100)
    return f"{whole}.{rest:02d}".rstrip("0").rstrip(".") if rest else str(whole)


def _tenths(value: int) -> str:
    whole, rest = divmod(value, 10)
    return f"{whole}.{rest}" if rest else str(whole)
