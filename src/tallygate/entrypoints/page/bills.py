"""The page Bills: what providers have billed, held against the record; bills are added and taken back here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date

import htpy as h
from htpy import Element, Node

from tallygate.core.bills.drift import DriftCause, DriftPart
from tallygate.core.chosen import day_told, range_told
from tallygate.core.lock import LockStanding
from tallygate.core.moments import as_datetime
from tallygate.core.money import format_amount
from tallygate.core.statements import Bill
from tallygate.core.text import cleaned, plural
from tallygate.entrypoints.page import charts
from tallygate.entrypoints.page.billing import BillsTold
from tallygate.entrypoints.page.document import PageAround, document
from tallygate.entrypoints.page.look import Look
from tallygate.entrypoints.page.parts import (
    NOTHING,
    ColumnHead,
    Figure,
    Row,
    TableCell,
    banner,
    command,
    figures,
    legend,
    section,
    table,
    title,
)
from tallygate.entrypoints.page.wording import MINUS, NONE, count, money, parts, percent, signed, when
from tallygate.operations.views.bills import BILLS_MAX, BillsSeen
from tallygate.reports.drift import Review
from tallygate.statements.files import FORMATS

_NAME_MAX = 120
_DAYS_DRAWN, _ROWS, _CAUSES = 62, 12, 20
# How each cause is called, and what mends it.
_CAUSES_TOLD = {
    DriftCause.PRICE: ("Another price for the same tokens", "the lines below, where it is so on all days"),
    DriftCause.OTHER_MODEL: ("Another model was billed than was named", "nothing: the bill says what ran"),
    DriftCause.HIDDEN: ("Output that nobody saw, such as reasoning", "tallygate drift --apply"),
    DriftCause.PARTIAL: ("Responses without a final count", "nothing: the bill counts"),
    DriftCause.CREDIT: ("Given back by the bill", "nothing"),
    DriftCause.ROUNDING: ("Rounding of the bills", "nothing"),
    DriftCause.LEDGER_ONLY: ("Recorded, in no bill", "the bill of another key, account or day"),
    DriftCause.BILL_ONLY: ("Billed, and not recorded here", "another machine or client on this key: tallygate init"),
    DriftCause.UNTOLD: ("Classes of tokens that the bill does not tell apart", "an export by class"),
}


def bills_page(look: Look, around: PageAround, seen: BillsSeen, form: str, told: BillsTold | None) -> bytes:
    """The page as a whole; `form` is the token of its forms, `told` what became of the last one."""
    head = title("Bills", h.p["the record against what providers billed"])
    found, locked = seen.review, seen.frame.lock
    if found is None:
        middle: list[Node] = [_first_step(seen), h.div(".grid")[h.div(".w12")[_add(form)], _listed(seen, around, form)]]
    elif not found.has_bills:
        middle = [_none_here(look, seen), h.div(".grid")[h.div(".w12")[_add(form)], _listed(seen, around, form)]]
    else:
        middle = [
            figures([_drift(found), _explained(found), _without_call(found), _unbilled(found)]),
            h.div(".grid")[
                h.div(".w12")[_add(form)],
                h.div(".w7")[_by_day(found)],
                _listed(seen, around, form, "w5"),
                h.div(".w12")[_causes(found)],
                h.div(".w12")[_by_model(found)],
                h.div(".w6")[_prices(found)],
                h.div(".w6")[_unmatched(found)],
                h.div(".w12")[_not_compared(found)],
            ],
        ]
    body = [
        head,
        told is not None and _told(told, form, locked),
        len(seen.other) > 0 and banner(h.p[h.b["Not filtered by "], ", ".join(seen.other), ": bills do not tell it."]),
        *middle,
        h.p(".foot")["Days are those of UTC, as bills have them. The same figures: ", _command_of(seen)],
    ]
    return document(
        look, around, "Bills", *body, frame=seen.frame, count=plural(seen.counting, "bill"), scripts=("bills.js",)
    )


def _command_of(seen: BillsSeen) -> Element:
    """The command that tells the same."""
    words = "tallygate drift"
    if seen.wanted is not None:
        words += f" --since {as_datetime(seen.wanted.from_us):%Y-%m-%d}"
        if seen.span.days:
            words += f" --until {seen.span.days[-1]:%Y-%m-%d}"
        if seen.wanted.model is not None and seen.wanted.model.isprintable() and '"' not in seen.wanted.model:
            words += f' --model "{cleaned(seen.wanted.model, _NAME_MAX)}"'
    return h.code(".mono")[words]


def _first_step(seen: BillsSeen) -> Element:
    why = "No bill yet" if not seen.bills else "No bill counts any more"
    return h.p(".say")[
        f"{why}: nothing is said of what was billed. ",
        "Export usage or cost from your provider’s console, and add the file.",
    ]


def _none_here(look: Look, seen: BillsSeen) -> Element:
    if look.filter.of("model") is not None:
        away = look.filter.without(next(term for term in look.filter.terms if term.key == "model")).text
        return h.p(".say")[
            f"No bill has a line in {seen.span.label}, of this model or another. ",
            h.a(href=look.href(filter=away))["Without the model"],
        ]
    return h.p(".say")[
        f"No bill has a line in {seen.span.label}; providers bill a day or more late. ",
        h.a(href=look.href(period="all"))["Every day that bills tell of"],
    ]


def _told(told: BillsTold, form: str, lock: LockStanding) -> Element:
    if told.fault:
        return banner(h.p[h.b["Nothing was changed. "], cleaned(told.fault, 2_000)], tone="warn")
    undo = [] if lock.lock is not None else [_undo(bill, form, f"Take back {_name(bill)}") for bill in told.fresh]
    return banner(h.p[cleaned(told.done, 4_000)], *undo, tone="good")


# --- bills -----------------------------------------------------------------------------------------------------------


def _add(form: str) -> Element:
    return h.form(".drop", id="add", method="post", enctype="multipart/form-data", action="bills")[
        h.input(type="hidden", name="token", value=form),
        h.p[
            h.label(for_="bill")[h.b["Add a bill"]],
            h.br,
            h.span(".note")[
                "A usage or cost export of a provider’s console, CSV or JSON, also zipped. Drop it here or choose it; "
                "it is read on this machine and sent nowhere. It is kept whole or not at all, and can be taken back."
            ],
        ],
        h.input(id="bill", type="file", name="bill", multiple=True, required=True),
        h.button(type="submit")["Read bill"],
        h.details(".full")[
            h.summary["Format and currency, where the file does not tell"],
            h.div(".form.pad")[
                h.label(for_="format")["Format"],
                h.select(id="format", name="format")[
                    h.option(value="")["as its header says"],
                    [h.option(value=each.name)[each.title] for each in FORMATS],
                ],
                h.label(for_="currency")["Currency"],
                h.input(".short", id="currency", name="currency", maxlength="3", placeholder="USD", autocomplete="off"),
            ],
        ],
    ]


def _undo(bill: Bill, form: str, text: str) -> Element:
    return h.form(method="post", action="bills")[
        h.input(type="hidden", name="token", value=form),
        h.input(type="hidden", name="take", value=bill.bill_id),
        h.button(type="submit", aria_label=f"Take back {_name(bill)}, {bill.bill_id}")[text],
    ]


def _name(bill: Bill) -> str:
    return cleaned(bill.name, _NAME_MAX)


def days_of(bill: Bill) -> str:
    """The days that a bill tells of."""
    if bill.from_us is None or bill.until_us is None:
        return NONE
    return range_told(as_datetime(bill.from_us).date(), as_datetime(max(bill.from_us, bill.until_us - 1)).date())


def _listed(seen: BillsSeen, around: PageAround, form: str, width: str = "w12") -> Element | None:
    """Every bill, those too that count no more; one that counts can be taken back."""
    if not seen.bills:
        return None
    is_locked = seen.frame.lock.lock is not None
    heads = [ColumnHead("Bill", label=""), ColumnHead("Lines", number=True), ColumnHead("Sum", number=True)]
    heads += [ColumnHead("State"), ColumnHead("Take back", hidden=True)]
    rows: list[Row] = []
    for bill in seen.bills:
        below = f"{bill.format}, {days_of(bill)}, added {when(bill.imported_us, seen.frame.now_us, around.zone)}"
        state = "unfinished" if bill.complete_us is None else "counts" if bill.counts else "taken back"
        amount = NOTHING if bill.total_nanos is None else _amount(bill)
        undo = _undo(bill, form, "Take back") if bill.counts and not is_locked else None
        rows.append(
            (
                [
                    TableCell([_name(bill), h.span(".sub")[below]], "wide", names=True),
                    TableCell(f"{bill.lines:,}"),
                    TableCell(amount),
                    TableCell(state),
                    TableCell(undo),
                ],
                "" if bill.counts else "faint",
            )
        )
    cut = f"The newest {BILLS_MAX}. " if seen.is_cut else ""
    beside = is_locked and [
        h.p(".foot")["The limits are locked: taking one back needs your passphrase, in a terminal:"],
        command("tallygate import delete BILL"),
    ]
    note = f"{cut}newest first"
    return h.div(f".{width}")[section("Bills added", table("Bills", heads, rows, cards=True), beside, note=note)]


def _amount(bill: Bill) -> str:
    nanos = 0 if bill.total_nanos is None else bill.total_nanos
    return money(nanos) if bill.currency == "USD" else format_amount(nanos, bill.currency).replace("-", MINUS)


# --- figures ---------------------------------------------------------------------------------------------------------


def _recorded(found: Iterable[DriftPart]) -> int:
    return sum(part.recorded_nanos for part in found)


def _billed(found: Iterable[DriftPart]) -> int:
    return sum(part.billed_nanos for part in found)


def _days_span(found: Review) -> str:
    days = [part.day for part in found.parts]
    return range_told(min(days), max(days)) if days else found.span


def _drift(found: Review) -> Figure:
    recorded, billed = _recorded(found.parts), _billed(found.parts)
    if not found.parts:
        return Figure("Drift", NONE, under="nothing of these bills could be compared; the reasons are below")
    under = f"recorded {money(recorded)}, billed {money(billed)}: {_tenths(recorded - billed, billed)}"
    return Figure(f"Drift, {_days_span(found)}", signed(recorded - billed), under=under)


def _tenths(part: int, whole: int) -> str:
    """A difference in per cent with two digits, as small as they are here.

    >>> _tenths(82, 32504), _tenths(-1, 3), _tenths(1, 0)
    ('0.25 %', '−33.33 %', '–')
    """
    if whole <= 0:
        return NONE
    found = (20_000 * abs(part) + whole) // (2 * whole)
    return f"{MINUS if part < 0 and found else ''}{found // 100:,}.{found % 100:02d} %"


def _explained(found: Review) -> Figure:
    sizes = _by_cause(found.parts)
    whole = sum(abs(nanos) for nanos in sizes.values())
    named = sum(abs(nanos) for cause, nanos in sizes.items() if cause.is_explained)
    if not whole:
        return Figure("Explained", NONE, under="there is no difference to explain")
    return Figure("Explained", percent(named, whole), under=f"of {money(whole)} of differences have a named cause")


def _by_cause(found: Iterable[DriftPart]) -> dict[DriftCause, int]:
    sums: dict[DriftCause, int] = {}
    for part in found:
        sums[part.cause] = sums.get(part.cause, 0) + part.nanos
    return sums


def _alone(found: Review) -> list[DriftPart]:
    """What bills have and nobody recorded, the dearest first."""
    return sorted(
        (part for part in found.parts if part.cause is DriftCause.BILL_ONLY),
        key=lambda part: (-part.billed_nanos, part.day, part.model),
    )


def _without_call(found: Review) -> Figure:
    alone = _alone(found)
    under = f"{money(_billed(alone))} billed, nothing here used it" if alone else "each was recorded here"
    return Figure(
        "Billed without a call",
        f"{len(alone):,}",
        small=("model day" if len(alone) == 1 else "model days") if alone else None,
        under=under,
    )


def _unbilled(found: Review) -> Figure:
    if not found.unbilled:
        return Figure("No bill yet", money(0), under="each day with spending is billed")
    days = [*found.unbilled]
    told = range_told(days[0], days[-1]) if len(days) == (days[-1] - days[0]).days + 1 else plural(len(days), "day")
    return Figure("No bill yet", money(sum(found.unbilled.values())), under=f"recorded, {told}: no bill covers it")


# --- drift -----------------------------------------------------------------------------------------------------------


def _summed(found: Iterable[DriftPart], key: Callable[[DriftPart], str]) -> dict[str, list[DriftPart]]:
    groups: dict[str, list[DriftPart]] = {}
    for part in found:
        groups.setdefault(key(part), []).append(part)
    return groups


def _money_columns(groups: Sequence[Sequence[DriftPart]]) -> tuple[list[list[str]], list[str]]:
    """Recorded, billed and drift of each group as texts, and of all; each column adds up to what stands below."""
    columns, totals = [], []
    for of in (_recorded, _billed, lambda found: _recorded(found) - _billed(found)):
        amounts = [of(group) for group in groups]
        columns.append(parts(amounts, sum(amounts)))
        totals.append(money(sum(amounts)))
    drift = [_recorded(group) - _billed(group) for group in groups]
    columns[2] = [_signed(text, nanos) for text, nanos in zip(columns[2], drift, strict=True)]
    totals[2] = signed(sum(drift))
    return [[text.replace("-", MINUS) for text in column] for column in columns], totals


def _by_day(found: Review) -> Element:
    own = [part for part in found.parts if not part.is_span]
    by_month = len({part.day for part in own}) > _DAYS_DRAWN
    period = "month" if by_month else "day"
    groups = _summed(own, lambda part: f"{part.day:%Y-%m}" if by_month else part.day.isoformat())
    spans = [part for part in found.parts if part.is_span]
    names = {key: key if by_month else day_told(date.fromisoformat(key)) for key in groups}
    listed = [*groups.values(), *([spans] if spans else [])]
    columns, totals = _money_columns(listed)
    labels = [*names.values(), *(["bills of several days"] if spans else [])]
    heads = [ColumnHead(period.capitalize()), *_MONEY_HEADS]
    rows: list[Row] = [
        ([TableCell(label, names=True), *(TableCell(column[at]) for column in columns)], "")
        for at, label in enumerate(labels)
    ]
    foot = [TableCell("total", names=True), *(TableCell(text) for text in totals)]
    name = f"Recorded less billed, by {period}"
    listing = table(f"Recorded and billed by {period}", heads, rows, foot)
    drawn = _chart(name, groups, names) if groups else None
    return section(
        name,
        drawn is not None and h.div(".pad")[drawn],
        h.details[h.summary[f"The figures, by {period}"], listing] if len(rows) > _ROWS else listing,
    )


_MONEY_HEADS = [
    ColumnHead("Recorded", number=True),
    ColumnHead("Billed", number=True),
    ColumnHead("Drift", number=True),
]


def _chart(name: str, groups: dict[str, list[DriftPart]], names: dict[str, str]) -> list[Node]:
    amounts = [sum(part.nanos for part in group) for group in groups.values()]
    most = max(zip(amounts, names.values(), strict=True), key=lambda each: abs(each[0]))
    finding = f"The furthest apart is {most[1]}: {signed(most[0])}. The table has each."
    every = max(-(-len(amounts) // 8), 1)
    labels = [(at, names[key], "minor") for at, key in enumerate(groups) if at % every == every // 2]
    return [
        charts.chart(name, finding, "ch-200", charts.both_ways(amounts, ("f1", "f2"), labels)),
        legend([("f1", "recorded more than billed"), ("f2", "recorded less than billed")]),
    ]


def _by_model(found: Review) -> Element:
    groups = _summed(found.parts, lambda part: part.model)
    ordered = sorted(groups, key=lambda model: (-abs(_recorded(groups[model]) - _billed(groups[model])), model))
    columns, totals = _money_columns([groups[model] for model in ordered])
    rows: list[Row] = []
    for at, model in enumerate(ordered):
        drift, billed = _recorded(groups[model]) - _billed(groups[model]), _billed(groups[model])
        share = TableCell(_tenths(drift, billed))
        rows.append(([TableCell(_model(model), names=True), *(TableCell(c[at]) for c in columns), share], ""))
    recorded, billed = _recorded(found.parts), _billed(found.parts)
    foot = [
        TableCell("total", names=True),
        *(TableCell(text) for text in totals),
        TableCell(_tenths(recorded - billed, billed)),
    ]
    heads = [ColumnHead("Model"), *_MONEY_HEADS, ColumnHead("Of billed", number=True)]
    return section("By model", table("Recorded and billed by model", heads, rows, foot), note="furthest apart first")


def _model(name: str) -> str:
    return cleaned(name, _NAME_MAX) or "no model is named"


def _causes(found: Review) -> Element:
    """Each nano-dollar of the drift under one cause, so that the causes add up to it."""
    groups: dict[tuple[DriftCause, str], list[DriftPart]] = {}
    for part in found.parts:
        # What is rounded is small and of every model.
        model = "" if part.cause is DriftCause.ROUNDING else part.model
        groups.setdefault((part.cause, model), []).append(part)
    amounts = {key: sum(part.nanos for part in group) for key, group in groups.items()}
    ordered = sorted((key for key in groups if amounts[key]), key=lambda key: (-abs(amounts[key]), key))
    shown, rest = ordered[:_CAUSES], ordered[_CAUSES:]
    listed = [amounts[key] for key in shown] + ([sum(amounts[key] for key in rest)] if rest else [])
    total = sum(listed)
    texts = [_signed(text, nanos) for text, nanos in zip(parts(listed, total), listed, strict=True)]
    rows: list[Row] = []
    for (cause, model), text in zip(shown, texts, strict=False):
        name, mend = _CAUSES_TOLD[cause]
        cells = [
            TableCell(name, "wide", names=True),
            TableCell("all" if cause is DriftCause.ROUNDING else _model(model)),
        ]
        cells += [TableCell(_when(groups[cause, model])), TableCell(h.b[text]), TableCell(mend, "faint")]
        rows.append((cells, ""))
    if rest:
        cells = [TableCell(f"{len(rest):,} smaller ones", "wide", names=True), TableCell(NOTHING), TableCell(NOTHING)]
        rows.append(([*cells, TableCell(h.b[texts[-1]]), TableCell(h.code(".mono")["tallygate drift --json"])], ""))
    if not rows:
        return section("Causes", h.p(".foot")["No difference: what was recorded is what was billed."])
    heads = [ColumnHead("Cause", label=""), ColumnHead("Model"), ColumnHead("When"), ColumnHead("Drift", number=True)]
    blank = TableCell(None, "empty")
    foot = [TableCell("total", "wide", names=True), blank, blank, TableCell(signed(total)), blank]
    return section(
        "Causes",
        table("Causes of the drift", [*heads, ColumnHead("Mend")], rows, foot, cards=True),
        note="largest first",
    )


def _signed(text: str, nanos: int) -> str:
    """A change with its sign; of what is less than can be shown only that."""
    return f"+{text}" if nanos > 0 and not text.startswith("<") else text.replace("-", MINUS)


def _when(group: Sequence[DriftPart]) -> str:
    days = sorted({part.day for part in group})
    return day_told(days[0]) if len(days) == 1 else plural(len(days), "day")


# --- prices, and what is not compared --------------------------------------------------------------------------------


def _prices(found: Review) -> Element:
    """Rates that bills have otherwise in the same way on all days, and the lines that settle it."""
    name, note = "Price drift", "dollars a million tokens"
    if not found.apart:
        return section(
            name, h.p(".foot")["No model is billed at another price in the same way on all days."], note=note
        )
    heads = [ColumnHead("Model"), ColumnHead("Class"), ColumnHead("Ledger", number=True)]
    heads += [ColumnHead("Billed", number=True), ColumnHead("Seen on", number=True)]
    rows: list[Row] = [
        (
            [
                TableCell(_model(each.model), names=True),
                TableCell(each.part.value.replace("_", " ")),
                TableCell(money(each.listed_nanos)),
                TableCell(money(each.billed_nanos)),
                TableCell(plural(each.days, "day")),
            ],
            "",
        )
        for each in found.apart
    ]
    pastes: list[Node] = []
    for each in found.pastes:
        pastes.append(h.p(".foot")[f"{each.why}. If that is what you pay, add to config.toml:"])
        pastes.append(command(each.text, setting=True))
    return section(name, table("Price drift, dollars a million tokens", heads, rows), pastes, note=note)


def _unmatched(found: Review) -> Element:
    name, alone = "Bill lines without a call", _alone(found)
    if not alone:
        return section(name, h.p(".foot")["None: all that was billed was recorded here."])
    seen = {(part.day, part.model) for part in found.parts if part.recorded_nanos}
    heads = [ColumnHead("Model"), ColumnHead("Day"), ColumnHead("Tokens", number=True)]
    heads += [ColumnHead("Billed", number=True), ColumnHead("Why")]
    rows: list[Row] = []
    shown, rest = alone[:_CAUSES], alone[_CAUSES:]
    listed = [part.billed_nanos for part in shown] + ([_billed(rest)] if rest else [])
    texts = parts(listed, sum(listed))
    for part, text in zip(shown, texts, strict=False):
        day = f"from {day_told(part.day)}" if part.is_span else day_told(part.day)
        why = "more than was recorded" if (part.day, part.model) in seen else "no call of it was recorded that day"
        cells = [TableCell(_model(part.model), names=True), TableCell(day, "nw")]
        cells += [TableCell(count(part.tokens) if part.tokens else NOTHING), TableCell(text), TableCell(why, "faint")]
        rows.append((cells, ""))
    if rest:
        cells = [TableCell(f"{len(rest):,} more", names=True), TableCell(NOTHING), TableCell(NOTHING)]
        rows.append(([*cells, TableCell(texts[-1]), TableCell(NOTHING)], ""))
    blank = TableCell(None, "empty")
    foot = [TableCell("total", names=True), blank, blank, TableCell(money(sum(listed))), blank]
    return section(name, table("Billed without a call", heads, rows, foot), note="dearest first")


def _not_compared(found: Review) -> Element | None:
    if not found.gaps:
        return None
    heads = [ColumnHead("Why"), ColumnHead("How often", number=True)]
    heads += [ColumnHead("Recorded", number=True), ColumnHead("Billed", number=True)]
    rows: list[Row] = [
        (
            [
                TableCell(each.text, names=True),
                TableCell(f"{each.count:,}"),
                TableCell(money(each.recorded_nanos) if each.recorded_nanos else NOTHING),
                TableCell(money(each.billed_nanos) if each.billed_nanos else NOTHING),
            ],
            "",
        )
        for each in found.gaps
    ]
    plan = found.total.included_nanos
    covered = plan is not None and h.p(".foot")[f"A plan covers {money(plan)} at API prices, which nobody bills."]
    return section("Not compared, or not wholly", table("What is not compared, and why", heads, rows), covered)
