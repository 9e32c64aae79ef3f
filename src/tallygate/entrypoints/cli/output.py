"""How answers look: aligned tables for people, one JSON document for programs, nothing raw from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from textwrap import fill
from typing import Any, Literal

import click

from tallygate.core import typed
from tallygate.core.costing import Split
from tallygate.core.gate.wording import short_name
from tallygate.core.loops import SeenLoop
from tallygate.core.moments import as_datetime
from tallygate.core.money import adding_up, exact_text, format_amount, json_number
from tallygate.core.text import cleaned
from tallygate.entrypoints.runnable import runnable
from tallygate.settings import Settings
from tallygate.settings.zones import zone_shown

NOTHING = "-"
ID_END = 8
CELL_MAX = 120
_PROSE_MAX = 1000
_LOOSE_MIN = 8
_GAP = 2
_WIDTH_WITHOUT_TERMINAL = 1000
_NOTE_MIN = 40
_STYLES = {
    **dict.fromkeys(("ok", "allow", "low", "exact", "reconciled"), "green"),
    **dict.fromkeys(("warn", "reroute", "moderate", "high", "pending"), "yellow"),
    **dict.fromkeys(("fail", "halt", "critical", "denied"), "red"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, its cells made safe; cells that are not `tight` are cut first on a narrow terminal.

    Where that is not enough, the column with the highest `goes` is left out first. What is `whole` is never cut. What
    `wraps` is a sentence, which goes on in the next line; of a path its end is kept, which tells most.
    """

    title: str
    cells: list[str]
    right: bool = False
    tight: bool = True
    goes: int = 0
    floor: int = _LOOSE_MIN
    whole: bool = False
    is_amount: bool = False
    wraps: bool = False
    is_path: bool = False

    @property
    def width(self) -> int:
        return max(map(len, [self.title, *self.cells]))

    @property
    def least(self) -> int:
        return self.width if self.tight else min(self.width, max(len(self.title), self.floor))


def words(title: str, values: Iterable[object], *, tight: bool = True) -> Column:
    """A column of text from anywhere."""
    return Column(title, [safe(value) for value in values], tight=tight)


def names(title: str, values: Iterable[object], floor: int = 20) -> Column:
    """A column of names, such as models; on a narrow terminal their beginnings, as long as most of them are."""
    return Column(title, [safe(value) for value in values], tight=False, floor=floor)


def paths(title: str, values: Iterable[object]) -> Column:
    """A column of folders; on a narrow terminal their ends."""
    return Column(title, [safe(value) for value in values], tight=False, floor=16, is_path=True)


def prose(title: str, values: Iterable[object], floor: int = 24) -> Column:
    """A column of sentences, in as many lines as they need."""
    return Column(title, [safe(value, _PROSE_MAX) for value in values], tight=False, floor=floor, wraps=True)


def going(goes: int, column: Column) -> Column:
    """A column that is left out where the terminal is too narrow, before those of a lower number."""
    return replace(column, goes=goes)


def numbers(title: str, values: Iterable[int]) -> Column:
    """A column of whole numbers."""
    return Column(title, [f"{value:,}" for value in values], right=True)


def counts(title: str, values: Iterable[int]) -> Column:
    """A column of numbers that may be very large, cut to what tells them apart."""
    return Column(title, [short_count(value) for value in values], right=True)


def short_count(value: int) -> str:
    """A number in full up to a hundred thousand, then to three digits with its unit.

    >>> [short_count(n) for n in (0, 99_999, 100_000, 1_234_567, 999_999_999, 3_898_667_330)]
    ['0', '99,999', '100 K', '1.23 M', '999 M', '3.89 G']
    """
    if value < 100_000:
        return f"{value:,}"
    scale, unit = next(
        (scale, unit) for scale, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "K")) if value >= scale
    )
    whole, digits = str(value // scale), str(value % scale).rjust(len(str(scale)) - 1, "0")
    fraction = digits[: max(3 - len(whole), 0)]
    return f"{int(whole):,}.{fraction} {unit}" if fraction else f"{int(whole):,} {unit}"


def shares(title: str, texts: Iterable[str]) -> Column:
    """A column of parts of a whole, in per cent."""
    return Column(title, list(texts), right=True)


def money(title: str, amounts: Iterable[tuple[int | None, str]]) -> Column:
    """A column of amounts with their decimal points below one another."""
    return _by_the_point(title, [NOTHING if nanos is None else format_amount(nanos, unit) for nanos, unit in amounts])


def amounts(title: str, texts: Iterable[str]) -> Column:
    """A column of amounts that are written out already."""
    return _by_the_point(title, list(texts))


def rates(title: str, dollars: Iterable[int]) -> Column:
    """A column of prices, which are shown to the last digit."""
    return _by_the_point(title, [rate(nanos) for nanos in dollars])


def split_amount(total_nanos: int, split: Split, unit: str = "USD") -> str:
    """A sum by how sure its prices are, which adds up to it as it is shown; one that is known as a whole is just a sum.

    >>> split_amount(712_180_000_000, Split(3_620_000_000, 0)), split_amount(1_520_000_000, Split(905_000_000, 0))
    ('$708.56 + $3.62 approximate', '$0.62 + $0.90 approximate')
    """
    known = total_nanos - split.unsure_nanos
    texts = adding_up([known, split.approximate_nanos, split.assumed_nanos], total_nanos, unit)
    parts = zip((split.approximate_nanos, split.assumed_nanos), texts[1:], ("approximate", "assumed"), strict=True)
    return " + ".join([texts[0], *(f"{text} {word}" for nanos, text, word in parts if nanos)])


def unsure(splits: Sequence[Split], units: Iterable[str]) -> list[Column]:
    """A column of what of the sums beside it is not sure; none where all of it is."""
    if not any(split.unsure_nanos for split in splits):
        return []
    return [words("OF WHICH", [" + ".join(_unsure(*each)) for each in zip(splits, units, strict=True)])]


def split_json(total_nanos: int, split: Split, noun: str = "cost") -> dict[str, Any]:
    """A sum by how sure its prices are, for programs."""
    return {
        f"known_{noun}": json_number(total_nanos - split.unsure_nanos),
        f"approximate_{noun}": json_number(split.approximate_nanos),
        f"assumed_{noun}": json_number(split.assumed_nanos),
    }


def _unsure(split: Split, unit: str) -> list[str]:
    parts = ((split.approximate_nanos, "approximate"), (split.assumed_nanos, "assumed"))
    return [f"{format_amount(nanos, unit)} {word}" for nanos, word in parts if nanos]


def rate(nanos: int) -> str:
    """A price in dollars, exactly.

    >>> rate(5_000_000_000), rate(3_125_000_000), rate(0)
    ('$5.00', '$3.125', '$0.00')
    """
    whole, _, fraction = exact_text(nanos).partition(".")
    return f"${whole}.{fraction:0<2}"


def _by_the_point(title: str, texts: list[str]) -> Column:
    ends = [len(text) - text.rfind(".") if "." in text else 0 for text in texts]
    longest = max(ends, default=0)
    padded = [text + " " * (longest - end) for text, end in zip(texts, ends, strict=True)]
    width = max(map(len, [title, *padded]))
    return Column(title.rjust(width), [text.rjust(width) for text in padded], whole=True, is_amount=True)


def fitting(columns: Sequence[Column], width: int) -> tuple[list[Column], list[Column]]:
    """The columns that a width has room for, and those that are left out.

    After those that may go text is cut, and then what stands furthest to the right is left out, but amounts never.
    """
    kept = list(columns)

    def too_wide() -> bool:
        return _least(kept) > width

    while too_wide() and any(column.goes for column in kept):
        kept.remove(max(kept, key=lambda column: column.goes))
    while too_wide() and (long := [column for column in kept if _may_shrink(column)]):
        longest = max(long, key=lambda column: column.width)
        kept[kept.index(longest)] = replace(longest, tight=False)
    while too_wide() and (others := [column for column in kept[1:] if not column.is_amount]):
        kept.remove(others[-1])
    titles = [column.title for column in kept]
    return kept, [column for column in columns if column.title not in titles]


def _least(columns: Sequence[Column]) -> int:
    return sum(column.least for column in columns) + _GAP * (len(columns) - 1)


def _may_shrink(column: Column) -> bool:
    return column.tight and not column.right and not column.whole and column.width > _LOOSE_MIN


# With one of these set rich takes a pipe for a terminal.
_COLOURED = ("FORCE_COLOR", "TTY_COMPATIBLE")
_FILLED = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)


def table(*columns: Column) -> list[str]:
    """Print columns side by side; rich is imported only where a terminal or a strange sign needs it.

    On a narrow terminal loose columns are cut, with a sign of it, and others left out; both are said below. Returns the
    titles of those that are shown.
    """
    width = terminal_width()
    kept, left_out = fitting(columns, width)
    widths = _widths(kept, width)
    text = _plain(kept, widths)
    click.echo(_styled(kept, widths, width) if text is None else text, nl=False)
    cut = [column for column, wide in zip(kept, widths, strict=True) if column.width > wide and not column.wraps]
    said = [
        f"{what}: {_titles(those)}" for what, those in (("Left out for want of room", left_out), ("Cut", cut)) if those
    ]
    if said:
        click.echo(fill(f"{'. '.join(said)}. A wider terminal or --json shows them.", max(width, _NOTE_MIN)))
    return [column.title for column in kept]


def _plain(kept: Sequence[Column], widths: Sequence[int]) -> str | None:
    """The table as bare text; None where it is for a terminal, or a cell takes more than padding."""
    if sys.stdout.isatty() or any(os.environ.get(name) for name in _COLOURED):
        return None
    parts = [[column.title, *_cells(column, wide)] for column, wide in zip(kept, widths, strict=True)]
    for cells, wide in zip(parts, widths, strict=True):
        if not all(cell.isascii() and cell.isprintable() and len(cell) <= wide for cell in cells):
            return None
    padded = [
        [cell.rjust(wide) if column.right else cell.ljust(wide) for cell in cells]
        for column, wide, cells in zip(kept, widths, parts, strict=True)
    ]
    lines = (f"{' ' * _GAP}".join(row).rstrip(" ") for row in zip(*padded, strict=True))
    return "".join(f"{line}\n" for line in lines)


def _styled(kept: Sequence[Column], widths: Sequence[int], width: int) -> str:
    """The table as rich draws it: titles and words that stand out, cells folded or cut with a sign of it."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, width=max(width, _least(kept)), markup=False, highlight=False, emoji=False)
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column, wide in zip(kept, widths, strict=True):
        justify: Literal["left", "right"] = "right" if column.right else "left"
        shown.add_column(Text(column.title), justify=justify, no_wrap=not column.wraps, width=wide)
    for row in zip(*(_cells(*each) for each in zip(kept, widths, strict=True)), strict=True):
        shown.add_row(
            *(
                Text(
                    cell,
                    _STYLES.get(cell.strip(), ""),
                    no_wrap=not column.wraps,
                    overflow="fold" if column.wraps else "ellipsis",
                )
                for column, cell in zip(kept, row, strict=True)
            )
        )
    with console.capture() as printed:
        console.print(shown)
    # The last column is filled up, too, which is in the way of whoever copies or compares lines.
    return _FILLED.sub(r"\1", printed.get())


def terminal_width() -> int:
    """How many columns there are; to a file or a pipe a line may be as long as it is."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL


def _titles(columns: Sequence[Column]) -> str:
    return ", ".join(" ".join(column.title.split()) for column in columns)


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """How wide each column is shown: of those that may be cut the widest gives first."""
    found = [column.width for column in columns]
    over = sum(found) + _GAP * (len(columns) - 1) - width
    while over > 0:
        giving = [at for at, column in enumerate(columns) if not column.tight and found[at] > column.least]
        if not giving:
            break
        found[max(giving, key=lambda at: found[at])] -= 1
        over -= 1
    return found


def _cells(column: Column, wide: int) -> list[str]:
    if not column.is_path:
        return column.cells
    return [cell if len(cell) <= wide else f"…{cell[len(cell) - wide + 1 :]}" for cell in column.cells]


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one pair a line."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {safe(value, 1000)}")


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: one, two and three."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def heading(text: str) -> None:
    """Print the title of the part that follows."""
    click.echo(f"\n{click.style(safe(text), bold=True)}")


def document(value: Any) -> None:
    """Print one JSON document; everything outside ASCII is escaped, so nothing in it acts on a terminal."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=True))


def line(value: Any) -> str:
    """One JSON document on one line, safe as `document`."""
    return json.dumps(value, ensure_ascii=True)


def aside(text: str) -> None:
    """Say something on stderr that is not the answer."""
    click.echo(f"tallygate: {cleaned(runnable(text), 2000)}", err=True)


def hint(text: str) -> None:
    """Print what to do next, in words of ours alone."""
    click.echo(runnable(text))


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say what takes a while, where somebody is looking, and take it back afterwards."""
    looking = sys.stderr.isatty()
    if looking:
        click.echo(f"{what} ...", err=True, nl=False)
    try:
        yield
    finally:
        if looking:
            click.echo("\r\x1b[K", err=True, nl=False)


def safe(value: object, longest: int = CELL_MAX) -> str:
    """Text from anywhere as it may reach a terminal; nothing is shown as a dash."""
    if value is None:
        return NOTHING
    text = cleaned(str(value), longest + 1)
    return (text if len(text) <= longest else text[: longest - 1] + "…") or NOTHING


def short_id(text: str) -> str:
    """The end of a session's id, which stands for it on the command line; other ids in full.

    >>> short_id("session_codex_2026-09-21_0123456789abcdef01234567:tokens"), short_id("global:all:day:2026-09-21")
    ('01234567:tokens', 'global:all:day:2026-09-21')
    """
    if (short := short_name(text)) != text:
        return short
    return text[-ID_END:] if text.startswith("session_") and len(text) > 2 * ID_END else text


def short_ids(texts: Sequence[str]) -> list[str]:
    """Ids of clients by their beginnings, as long as tells them apart; one of ours by its end.

    >>> short_ids(["0dbce46f-7b2e-4563-9a1c-1", "0dbce46f-8a11-4563-9a1c-2", "total", "-"])
    ['0dbce46f-7', '0dbce46f-8', 'total', '-']
    """
    whole = {text for text in texts if short_id(text) == text}
    at = ID_END
    while at < max(map(len, whole), default=0) and len({text[:at] for text in whole}) < len(whole):
        at += 1
    return [text[:at].rstrip("-") or text if text in whole else short_id(text) for text in texts]


def when(at_us: int | None, time_zone: str = "UTC") -> str:
    """A moment to the minute, in the user's time zone."""
    if at_us is None:
        return NOTHING
    return f"{_local(at_us, time_zone):%Y-%m-%d %H:%M}"


def zoned(title: str, moments: Iterable[int | None], time_zone: str) -> str:
    """The title of a column of times with the zone they are shown in, by its names at those times.

    >>> zoned("DAY", [None], "UTC"), zoned("DAY", [0, 86_400_000_000], "America/Los_Angeles")
    ('DAY', 'DAY (PST)')
    """
    names = dict.fromkeys(zone_at(each, time_zone) for each in moments if each is not None)
    return f"{title} ({'/'.join(names)})" if names else title


def zone_at(at_us: int, time_zone: str) -> str:
    """What a zone is called at a moment; one that has but an offset is called by that."""
    name = f"{_local(at_us, time_zone):%Z}"
    return f"UTC{name}" if name[:1] in "+-" else name


def _local(at_us: int, time_zone: str) -> datetime:
    at = as_datetime(at_us)
    if time_zone != "UTC":
        from zoneinfo import ZoneInfo

        with suppress(OverflowError):  # at either end of the calendar there is no other zone
            at = at.astimezone(ZoneInfo(time_zone))
    return at


def size(count: int) -> str:
    """A number of bytes in the largest unit that leaves it above one."""
    tenths, unit = count * 10, "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if tenths < 10_240:
            break
        tenths, unit = tenths // 1024, larger
    return f"{count} B" if unit == "B" else f"{tenths // 10}.{tenths % 10} {unit}"


def are(count: int) -> str:
    """The verb that stands after so many."""
    return "is" if count == 1 else "are"


# --- moments ---------------------------------------------------------------------------------------------------------
# Moments as people write them on the command line: a date, a time, or how long ago.


def say_loops(seen: Iterable[SeenLoop], zone: str) -> None:
    """Where an agent went round in circles, a line each: when, what, and what was done."""
    for each in seen:
        click.echo(safe(f"{when(each.at_us, zone)}  {each.told} ({each.done})", 1000))


def shown_zone(settings: Settings) -> str:
    """The time zone that dates are read and shown in: the user's own, else the machine's."""
    return zone_shown(settings, os.environ)


def zone_of(name: str) -> tzinfo:
    """A time zone of the settings or the machine, whose name was checked."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def moment_us(text: str, now_us: int, zone: tzinfo, *, end: bool = False) -> int:
    """The moment that `--since` names, or with `end` the one that `--until` does."""
    return typed.moment_us("--until" if end else "--since", text, now_us, zone, end=end)


def since_option(what: str) -> Callable[[Any], Any]:
    """The option `--since`."""
    return click.option("--since", metavar="MOMENT", help=f"{what} since {typed.MOMENTS}.")
