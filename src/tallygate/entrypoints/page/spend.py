"""The page Spend: stacked days, what was spent on what, beside the days before, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from itertools import groupby

import htpy as h
from htpy import Element, Node

from tallygate.core.chosen import day_told
from tallygate.core.costing import Certainty
from tallygate.core.text import cleaned, plural
from tallygate.entrypoints.page import charts
from tallygate.entrypoints.page.document import PageAround, document, filter_note
from tallygate.entrypoints.page.labels import folder_label
from tallygate.entrypoints.page.look import Look
from tallygate.entrypoints.page.now import plans
from tallygate.entrypoints.page.parts import (
    ColumnHead,
    Figure,
    Row,
    TableCell,
    bar,
    figures,
    key,
    legend,
    section,
    table,
    title,
)
from tallygate.entrypoints.page.wording import NONE, count, money, parts, percent, signed
from tallygate.operations.views.spend import SPLITS, Spend
from tallygate.reports.usage import By, UsageLine

SERIES = 5
_ROWS = 50
_TABLE_ROWS = 12
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DOLLAR = 1_000_000_000
_NAMES = {
    **{by: by.value.capitalize() for by in SPLITS},
    By.MCP: "MCP server",
}
_REASONS = {
    "known": "listed price of the very model",
    "approximate": "price of the nearest listed relative",
    "assumed": "no list names the model: an assumed price",
}


def spend_page(look: Look, around: PageAround, seen: Spend) -> bytes:
    """The page as a whole."""
    head = title("Spend", *filter_note(look, seen.span))
    responses = seen.total.whole.responses + seen.total.whole.calls
    told = f"{money(seen.total.whole.nanos)} · {plural(responses, 'response')}"
    if not seen.lines:
        body: list[Node] = [head, _nothing(look, seen)]
    else:
        body = [
            head,
            figures([_spent(seen), _change(seen), _working_day(seen), _cached(seen)]),
            _by_day(look, seen),
            h.p(".foot")["Shares add up to the total. ▲ ▼ compare with the days before, where there are any."],
            h.div(".grid")[
                h.div(".w12")[_how_sure(seen)],
                [_table(look, seen, by, lines) for by, lines in seen.tables.items()],
                seen.hours is not None and h.div(".w12")[_hours(seen.hours)],
                len(seen.plans) > 0 and h.div(".w12")[plans(seen.plans, seen.frame.now_us, around.zone)],
            ],
        ]
    return document(look, around, "Spend", *body, frame=seen.frame, count=told)


def _nothing(look: Look, seen: Spend) -> Element:
    """Why there is nothing to show, and the nearest that shows something."""
    if look.filter.terms:
        last = look.filter.terms[-1]
        return h.p(".foot")[
            f"Nothing was spent in {seen.span.label} that matches ",
            h.span(".mono")[look.filter.text],
            ". ",
            h.a(href=look.href(filter=look.filter.without(last).text))[f"Without {last.text}"],
        ]
    return h.p(".foot")[
        f"Nothing was spent in {seen.span.label}. ", h.a(href=look.href(period="all"))["Everything on record"]
    ]


def name_of_line(by: By, line: UsageLine) -> str:
    """What a line stands for, as people call it."""
    name = line.key[-1]
    if not name:
        return "no project on record" if by in {By.PROJECT, By.FOLDER} else "not named"
    return folder_label(name) if by is By.PROJECT else cleaned(name, 120)


def _spent(seen: Spend) -> Figure:
    whole = seen.total.whole
    amounts = (whole.known_nanos, whole.approximate_nanos, whole.assumed_nanos)
    texts = parts(amounts, whole.nanos)
    told = [f"{name} {text}" for name, text, nanos in zip(_REASONS, texts, amounts, strict=True) if nanos]
    return Figure("Spent", money(whole.nanos), under=" · ".join(told) or "nothing yet")


def _change(seen: Spend) -> Figure:
    if seen.before is None:
        return Figure("To the period before", NONE, under="everything on record has none")
    now, then = seen.total.whole.nanos, seen.before.total.whole.nanos
    if not then:
        return Figure("To the period before", NONE, under=f"nothing on record in {seen.span.before_label}")
    moved = _most_moved(seen)
    return Figure(
        "To the period before",
        signed(now - then),
        under=[_arrow(now, then), f" from {money(then)}", moved and f"; most by {moved}"],
    )


def _most_moved(seen: Spend) -> str | None:
    """Which line explains most of the change."""
    if seen.before is None:
        return None
    then = {line.key: line.whole.nanos for line in seen.before.lines}
    now = {line.key: line.whole.nanos for line in seen.lines}
    moved = {name: now.get(name, 0) - then.get(name, 0) for name in {*now, *then}}
    grown = sum(moved.values()) >= 0
    name = (max if grown else min)(moved, key=lambda each: (moved[each], each[-1] or ""), default=None)
    if name is None or not moved[name]:
        return None
    return f"{name_of_line(seen.by, UsageLine(name, seen.total.whole))} {signed(moved[name])}"


def _arrow(now: int, then: int) -> Element:
    if now == then:
        return h.span["unchanged"]
    up = now > then
    return h.span(class_="up" if up else "down")[f"{'▲' if up else '▼'} {percent(abs(now - then), then)}"]


def _working_day(seen: Spend) -> Figure:
    if seen.every is not By.DAY:
        return Figure(
            "A month",
            money(seen.total.whole.nanos // max(len(seen.periods), 1)),
            under=plural(len(seen.periods), "month"),
        )
    sums = {name: sum(line.whole.nanos for line in lines) for name, lines in seen.periods.items()}
    worked = {name: nanos for name, nanos in sums.items() if nanos}
    if not worked:
        return Figure("A working day", NONE, under="no day with spending")
    dearest = max(worked, key=lambda name: worked[name])
    told = day_told(date.fromisoformat(dearest)) if _is_date(dearest) else dearest
    return Figure(
        "A working day",
        money(sum(worked.values()) // len(worked)),
        under=f"dearest {told} {money(worked[dearest])} · {plural(len(worked), 'working day')}",
    )


def _is_date(name: str) -> bool:
    return len(name) == 10 and name[4] == "-"


def _cached(seen: Spend) -> Figure:
    tokens = seen.total.whole.tokens
    kept = tokens.cache_write_5m + tokens.cache_write_1h
    return Figure(
        "Read from cache",
        percent(tokens.cache_read, tokens.context),
        under=f"of {count(tokens.context)} tokens read; {count(kept)} written to cache, {count(tokens.output)} output",
    )


# --- by day ----------------------------------------------------------------------------------------------------------


def _by_day(look: Look, seen: Spend) -> Element:
    tabs = h.nav(".tabs", aria_label="Split by")[
        (h.a(href=look.href(by=by.value), aria_current="true" if by is seen.by else None)[by.value] for by in SPLITS)
    ]
    period = "day" if seen.every is By.DAY else "month"
    drawn = _chart(seen, period) if len(_columns(seen)) > 1 else None
    return section(
        f"By {period} and {seen.by.value}", drawn is not None and h.div(".pad")[drawn], _lines(look, seen), aside=tabs
    )


def _columns(seen: Spend) -> list[str]:
    """The periods that are drawn, those without spending too."""
    if seen.every is By.DAY and seen.span.days:
        return [day.isoformat() for day in seen.span.days]
    return sorted(seen.periods)


def _chart(seen: Spend, period: str) -> list[Node]:
    columns, top = _columns(seen), [line.key for line in seen.lines[:SERIES]]
    stacks, sums = [], []
    for name in columns:
        of_key = {line.key: line.whole.nanos for line in seen.periods.get(name, [])}
        rest = sum(nanos for each, nanos in of_key.items() if each not in top)
        stacks.append([*((of_key.get(each, 0), f"f{n}") for n, each in enumerate(top, 1)), (rest, "f6")])
        sums.append(sum(of_key.values()))
    limit = seen.day_limit
    most = max(*sums, 10_000_000)
    # A limit far above all days would press them to the ground: then it is only told.
    shown = limit if limit is not None and limit <= 4 * most else None
    scale = charts.scale_to(max(most, shown or 0), 32, 210)
    dearest = sums.index(max(sums))
    finding = f"Stacked columns. Highest {period} {columns[dearest]}, {money(sums[dearest])}"
    above = sum(1 for each in sums if limit is not None and each > limit)
    finding += "." if limit is None else f"; {plural(above, 'day')} above the limit of {money(limit)}."
    names = [(f"f{n}", name_of_line(seen.by, line)) for n, line in enumerate(seen.lines[:SERIES], 1)]
    more = [("f6", "rest")] if len(seen.lines) > SERIES else []
    lim = [("lim", f"day limit {money(limit)}")] if shown is not None and limit is not None else []
    return [
        charts.chart(
            f"Spend by {period} and {seen.by.value}",
            f"{finding} The table below has the sums.",
            "ch-230",
            charts.grid(scale),
            shown is not None and charts.limit_line(scale, shown),
            charts.columns(stacks, scale, _labels(seen, columns)),
        ),
        legend([*names, *more, *lim]),
    ]


def _labels(seen: Spend, columns: Sequence[str]) -> list[tuple[int, str, str]]:
    """Names below the columns: few enough to be read."""
    if seen.every is not By.DAY:
        return [(n, name, "" if n % 3 == 0 else "minor") for n, name in enumerate(columns)]
    every = 1 if len(columns) <= 8 else 7
    found = []
    for number, name in enumerate(columns):
        last = number == len(columns) - 1
        if last or (number % every == 0 and number < len(columns) - every // 2):
            found.append((number, str(int(name[-2:])), "b" if last else ""))
    return found


def _lines(look: Look, seen: Spend) -> Element:
    name = _NAMES[seen.by]
    heads = [
        ColumnHead(name),
        ColumnHead("Cost", number=True),
        ColumnHead("Share", hidden=True),
        ColumnHead("Share", number=True),
        ColumnHead("To the days before", number=True, label="to before"),
        ColumnHead("Responses", number=True),
        ColumnHead("Fresh in", number=True, label="fresh input"),
        ColumnHead("Cache read", number=True),
        ColumnHead("Output", number=True),
        ColumnHead("Price"),
    ]
    total = seen.total.whole
    then = {} if seen.before is None else {line.key: line.whole.nanos for line in seen.before.lines}
    shown = seen.lines[:_ROWS]
    texts = parts([line.whole.nanos for line in shown], total.nanos) if len(shown) == len(seen.lines) else None
    rows: list[Row] = []
    for number, line in enumerate(shown):
        kind = f"f{min(number + 1, SERIES + 1)}"
        whole = line.whole
        rows.append(
            (
                [
                    TableCell([key(kind), _linked(look, seen.by, line)], "wide", names=True),
                    TableCell(h.b[texts[number] if texts else money(whole.nanos)]),
                    TableCell(bar((0, whole.nanos, kind), whole=total.nanos, size="s"), "bar-cell share"),
                    TableCell(percent(whole.nanos, total.nanos)),
                    TableCell(_arrow(whole.nanos, then[line.key]) if then.get(line.key) else NONE),
                    TableCell(f"{whole.responses + whole.calls:,}"),
                    TableCell(count(whole.tokens.fresh_input)),
                    TableCell(count(whole.tokens.cache_read)),
                    TableCell(count(whole.tokens.output)),
                    TableCell(whole.certainty.value),
                ],
                "",
            )
        )
    before = None if seen.before is None else seen.before.total.whole.nanos
    foot = [
        TableCell("total", "wide", names=True),
        TableCell(money(total.nanos)),
        TableCell("", "empty"),
        TableCell("100 %", "empty"),
        TableCell(_arrow(total.nanos, before) if before else NONE),
        TableCell(f"{total.responses + total.calls:,}"),
        TableCell(count(total.tokens.fresh_input)),
        TableCell(count(total.tokens.cache_read)),
        TableCell(count(total.tokens.output)),
        TableCell("", "empty"),
    ]
    more = len(seen.lines) - len(shown)
    return h.div[
        table(f"Spend by {seen.by.value}", heads, rows, foot, cards=True),
        more > 0 and h.p(".foot")[f"{plural(more, 'more line')}; the total has all of them."],
    ]


def _linked(look: Look, by: By, line: UsageLine) -> Node:
    name, text = line.key[-1], name_of_line(by, line)
    if not name or by is By.FOLDER:
        return text
    value = folder_label(name) if by is By.PROJECT else name
    return h.a(href=look.narrowed(by.value, value))[text]


def _table(look: Look, seen: Spend, by: By, lines: Sequence[UsageLine]) -> Element:
    heads = [
        ColumnHead(_NAMES[by]),
        ColumnHead("Share", hidden=True),
        ColumnHead("Cost", number=True),
        ColumnHead("Share", number=True),
    ]
    total = seen.total.whole.nanos
    shown, rest = lines[:_TABLE_ROWS], lines[_TABLE_ROWS:]
    left = sum(line.whole.nanos for line in rest)
    amounts = [line.whole.nanos for line in shown] + ([left] if rest else [])
    texts = parts(amounts, total)
    rows: list[Row] = [
        (
            [
                TableCell(_linked(look, by, line), names=True),
                TableCell(bar((0, line.whole.nanos, "f-spent"), whole=total, size="s"), "bar-cell share"),
                TableCell(texts[number]),
                TableCell(percent(line.whole.nanos, total)),
            ],
            "",
        )
        for number, line in enumerate(shown)
    ]
    if rest:
        name = TableCell(f"rest: {plural(len(rest), 'line')}", "faint", names=True)
        rows.append(([name, TableCell(""), TableCell(texts[-1]), TableCell(percent(left, total))], ""))
    foot = [TableCell("total", names=True), TableCell(""), TableCell(money(total)), TableCell("100 %")]
    return section(f"By {by.value}", table(f"By {by.value}", heads, rows, foot), extra="w6")


def _how_sure(seen: Spend) -> Element:
    whole = seen.total.whole
    heads = [
        ColumnHead("How sure", hidden=True),
        ColumnHead("Share of the total", hidden=True),
        ColumnHead("Amount", number=True),
        ColumnHead("Share", number=True),
        ColumnHead("Reason"),
    ]
    amounts = (whole.known_nanos, whole.approximate_nanos, whole.assumed_nanos)
    texts = parts(amounts, whole.nanos)
    kinds = ("f-known", "f-approx", "f-assumed")
    rows: list[Row] = [
        (
            [
                TableCell(name, names=True),
                TableCell(bar((0, nanos, kind), whole=whole.nanos, size="t"), "bar-cell xl"),
                TableCell(text),
                TableCell(percent(nanos, whole.nanos)),
                TableCell(f"{_REASONS[name]}{_models(seen, name)}", "faint"),
            ],
            "",
        )
        for name, nanos, text, kind in zip(_REASONS, amounts, texts, kinds, strict=True)
    ]
    partial = whole.nanos - whole.exact_nanos
    rows.append(
        (
            [
                TableCell("partial", names=True),
                TableCell(bar((0, partial, "f-partial"), whole=whole.nanos, size="t"), "bar-cell xl"),
                TableCell(money(partial)),
                TableCell(percent(partial, whole.nanos)),
                TableCell(
                    "beside the sum: in it, but without a final count of the client, or told by an agent", "faint"
                ),
            ],
            "",
        )
    )
    foot = [
        TableCell("total of the first three", names=True),
        TableCell(""),
        TableCell(money(whole.nanos)),
        TableCell("100 %"),
        TableCell(""),
    ]
    responses = whole.responses + whole.calls
    return section(
        "How sure",
        table("How sure each part of the total is", heads, rows, foot),
        note=plural(responses, "response"),
    )


def _models(seen: Spend, name: str) -> str:
    """The models that a part of the sum is of, where they are few and the part is not the rule."""
    wanted = {"approximate": Certainty.APPROXIMATE, "assumed": Certainty.ASSUMED}.get(name)
    found = [model for model, part in seen.total.models.items() if part.certainty is wanted]
    if not found:
        return ""
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return f": {', '.join(cleaned(model, 60) for model in found[:3])}{more}"


def _hours(found: list[list[int]]) -> Element:
    """Weekdays and hours, shaded; the number stays in the cell."""
    busy = [hour for hour in range(24) if any(day[hour] for day in found)]
    first, last = (min(busy), max(busy)) if busy else (8, 18)
    hours = range(first, last + 1)
    most = max(max(day) for day in found)
    body = [
        h.tr[
            h.th(scope="row")[_WEEKDAYS[number]],
            [h.td(class_=_shade(day[hour], most))[_dollars(day[hour])] for hour in hours],
        ]
        for number, day in enumerate(found)
    ]
    idle = [f"{a:02d}:00–{b + 1:02d}:00" for a, b in _runs([hour for hour in range(24) if hour not in hours])]
    quiet = f" {' and '.join(idle)} had nothing." if idle else ""
    return section(
        "By hour",
        h.div(".scroll", role="region", tabindex="0", aria_label="Spend by weekday and hour: table")[
            h.table(".heat")[
                h.caption(".vh")["Dollars by weekday and local hour; a dot is less than 50 cents"],
                h.thead[h.tr[h.td, (h.th(scope="col")[f"{hour:02d}"] for hour in hours)]],
                h.tbody[body],
            ]
        ],
        h.p(".foot")[f"Dollars, local time. A dot is less than $0.50.{quiet}"],
        note="weekdays × hours",
    )


def _runs(hours: Sequence[int]) -> list[tuple[int, int]]:
    index: Callable[[tuple[int, int]], int] = lambda pair: pair[1] - pair[0]  # noqa: E731
    found = []
    for _, run in groupby(enumerate(hours), key=index):
        each = [hour for _, hour in run]
        found.append((each[0], each[-1]))
    return found


def _dollars(nanos: int) -> str:
    if not nanos:
        return ""
    return "·" if 2 * nanos < _DOLLAR else f"{(2 * nanos + _DOLLAR) // (2 * _DOLLAR):,}"


def _shade(nanos: int, most: int) -> str:
    return "h0" if not nanos else f"h{min(1 + 5 * nanos // max(most, 1), 5)}"
