"""The settings file, section by section: which keys there are, what each may be, where it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from tallygate.core.errors import InvalidArgument, SettingsError
from tallygate.core.money import NANOS_PER_UNIT
from tallygate.pricing.book import PricingSettings
from tallygate.pricing.exchange import CONFIGURED, USD, ExchangeBook, Rate
from tallygate.pricing.overrides import Discount, PriceOverride
from tallygate.settings import checks
from tallygate.settings.checks import Check, Unfit
from tallygate.settings.declared import Setting, Table, table_of
from tallygate.settings.model import (
    ColdCacheSettings,
    EnforcementSettings,
    Ladder,
    LedgerSettings,
    LoopSettings,
    Paths,
    PolicySettings,
    PrivacySettings,
    ServerSettings,
    Settings,
    StatusLineSettings,
    UsageSettings,
)
from tallygate.settings.source import Document, KeyPath

Row = TypeVar("Row")

TOP: Table = table_of(Settings)
SECTIONS: Mapping[str, Table] = {
    "policy": table_of(PolicySettings),
    "ledger": table_of(LedgerSettings),
    "usage": table_of(UsageSettings),
    "server": table_of(ServerSettings),
    "privacy": table_of(PrivacySettings),
    "enforcement": table_of(EnforcementSettings),
    "statusline": table_of(StatusLineSettings),
    "cold_cache": table_of(ColdCacheSettings),
    "loops": table_of(LoopSettings),
}
# Every key with one value of its own, by section and name; those at the top have no section.
SCALARS: Mapping[tuple[str, str], Setting] = {
    (section, key): each for section, table in (("", TOP), *SECTIONS.items()) for key, each in table.items()
}
_MATCHED: Table = {
    "match": Setting(
        checks.text, '"claude-opus-*"',
        "A model id or a pattern with `*` and `?`; `bedrock:claude-*` names a provider too.",
        attribute="match", required=True,
    ),
    "provider": Setting(checks.text, '"bedrock"', "Only ids of this provider.", attribute="provider"),
    "from": Setting(checks.day, "2026-10-01", "First day (UTC).", attribute="valid_from"),
    "until": Setting(checks.day, "2027-01-01", "First day on which it no longer holds.", attribute="valid_to"),
    "note": Setting(checks.text, '"contract 17"', "For the reader of the file.", attribute="note"),
    "tenant": Setting(
        checks.tenant, '"acme"',
        "Only for sessions of this tenant. Of rows that hold, one for the session comes before one for the project, the"
        " tenant, everybody.",
        attribute="tenant",
    ),
    "project": Setting(
        checks.path_text, '"shop"', "Only in this project: its path or the end of it.", attribute="project"
    ),
    "session": Setting(
        checks.text, '"session_claude-code_2026-11-22_0f3a"', "Only in the session of this id.", attribute="session"
    ),
}  # fmt: skip
PRICE: Table = {
    **_MATCHED,
    "input": Setting(
        checks.rate, "4.50", "US dollars per million tokens read.", attribute="input", required=True
    ),
    "output": Setting(
        checks.rate, "22.50", "US dollars per million tokens written.", attribute="output", required=True
    ),
    "cache_read": Setting(
        checks.rate, "0.45", "Rate of tokens read from the cache. Without it: `input`.", attribute="cache_read"
    ),
    "cache_write_5m": Setting(
        checks.rate, "5.625", "Rate of five-minute cache writes. Without it: `input`, for Claude 1.25 times.",
        attribute="cache_write_5m",
    ),
    "cache_write_1h": Setting(
        checks.rate, "9", "Rate of one-hour cache writes. Without it: `input`, for Claude 2 times.",
        attribute="cache_write_1h",
    ),
}  # fmt: skip
DISCOUNT: Table = {
    **{key: replace(each, about="As in `[[price]]`.") for key, each in _MATCHED.items()},
    "multiplier": Setting(
        checks.above_zero(100), "0.85", "List prices are multiplied by it.", attribute="multiplier", required=True
    ),
}
_PRICING = PricingSettings()
UNKNOWN_PRICE: Table = {
    "input_per_thousand": Setting(
        checks.above_zero(1_000), "0.05",
        "Rate per 1,000 tokens read, for models without a known price and maker.",
        attribute="unknown_input_per_thousand", default=_PRICING.unknown_input_per_thousand,
    ),
    "output_per_thousand": Setting(
        checks.above_zero(1_000), "0.05", "Rate per 1,000 tokens written.",
        attribute="unknown_output_per_thousand", default=_PRICING.unknown_output_per_thousand,
    ),
    "currency": Setting(
        checks.currency, '"EUR"', "Currency of the two rates.",
        attribute="unknown_currency", default=_PRICING.unknown_currency,
    ),
    "usd_per_unit": Setting(
        checks.usd_per_unit_nanos, "1.16",
        "US dollars for one unit of that currency, for these two rates alone. Without it: the rate of `[exchange]`,"
        " else the European Central Bank's reference rate.",
        attribute="usd_per_unit_nanos", parts=NANOS_PER_UNIT,
    ),
    "usd_rate_day": Setting(
        checks.day, "2026-11-01", "Day of that exchange rate. The two go together.", attribute="day"
    ),
}  # fmt: skip
EXCHANGE: Table = {
    "usd_per_unit": Setting(
        checks.usd_per_unit_nanos, "1.31",
        "US dollars for one unit of the currency, kept to nine digits. Without a table: the European Central Bank's"
        " reference rate of the latest day, where it has one.",
        attribute="usd_per_unit_nanos", required=True, parts=NANOS_PER_UNIT,
    ),
    "day": Setting(
        checks.day, "2026-11-01", "The day the rate is of; answers name it. The rate counts at any time.",
        attribute="day", required=True,
    ),
}  # fmt: skip
PRICING: Table = {
    "local_channels": Setting(
        checks.names, '["ollama", "lmstudio"]',
        "Prefixes of model ids that run on this machine and cost nothing. Without it the usual runtimes are known, and"
        " free only where a client's own record names one.",
        attribute="local_channels",
    ),
}  # fmt: skip
PATHS: Table = table_of(Paths)
# Sections whose keys are names of the user's own, each with one that stands for them in the reference.
NAMED: Mapping[str, tuple[str, Setting]] = {
    "ladder": ("default", Setting(
        checks.names, '["claude-opus-4.7", "claude-haiku-4.5"]',
        "Models to switch to, dearest first. Any other key of `[ladder]` is the name of a client that has a ladder of"
        " its own.",
        default=(),
    )),
    "calibration": ("MODEL", Setting(
        checks.factor_micros, "1.25",
        "Factor on the estimates of a model. The name is the model's id, in quotes where it has a dot.",
    )),
    "alias": ("NAME", Setting(checks.text, '"claude-opus-4.7"', "Another name for a model id.")),
}  # fmt: skip
# Rows, of which there may be any number, and what else is no table of keys with one value each.
ROWS = ("price", "discount", "budget", "alert")
_OTHERS = ("paths", *NAMED, "price", "discount", "unknown_price", "pricing", "exchange", "budget", "alert")
# Keys of l6e-mcp's file about its cloud; a user who brings that file along is told, not turned away.
WITHOUT_EFFECT = ("api_key", "cloud_endpoint", "cloud_sync", "send_task_summaries")


def apply(settings: Settings, document: Document, *, project: bool) -> Settings:
    """Settings with what a file says on top; of equal rows the later one, a project's, counts."""
    for key in document.values:
        if key not in known_names():
            raise unknown(document, (key,), [*TOP, *SECTIONS, *_OTHERS])
    if project and "paths" in document.values:
        raise document.error(
            ("paths",),
            "paths may be set in the user's settings file or the environment, not by a project.",
            hint="Set TALLYGATE_HOME, TALLYGATE_DB or TALLYGATE_LOG_PATH.",
        )
    if project and "enforcement" in document.values:
        raise document.error(
            ("enforcement",),
            "enforcement may be set in the user's settings file only, not by a project.",
            hint="Put it into your own config.toml.",
        )
    if project and "alert" in document.values:
        raise document.error(
            ("alert",),
            "alert may be set in the user's settings file only, not by a project: it starts programs.",
            hint="Put it into your own config.toml.",
        )
    read_paths(document)  # checked also where another source wins
    given: dict[str, Any] = _values(document, (), {k: v for k, v in document.values.items() if k in TOP}, TOP)
    for section, rules in SECTIONS.items():
        values = _values(document, (section,), _table(document, section), rules)
        given[section] = replace(getattr(settings, section), **values)
    exchange, ladders = _exchange(settings.exchange, document), _named(document, "ladder")
    return replace(
        settings,
        **given,
        exchange=exchange,
        ladder=Ladder(ladders.pop("default", settings.ladder.default), {**settings.ladder.by_client, **ladders}),
        calibration_micros={
            **settings.calibration_micros,
            **_named(document, "calibration"),
        },
        pricing=_pricing(settings.pricing, document, exchange),
        notices=(*settings.notices, *_notices(document)),
    )


def known_names() -> frozenset[str]:
    """Everything that may stand at the top of a settings file."""
    return frozenset((*TOP, *SECTIONS, *_OTHERS, *WITHOUT_EFFECT))


def read_paths(document: Document) -> dict[str, Any]:
    """The paths a file names, as they are written."""
    return _values(document, ("paths",), _table(document, "paths"), PATHS)


def unknown(document: Document, path: KeyPath, known: list[str]) -> SettingsError:
    """The refusal of a key that means nothing, with the one that was probably meant."""
    return document.error(path, f"unknown setting {dotted(path)!r}.{meant(str(path[-1]), known)}")


def meant(name: str, known: list[str]) -> str:
    """A question that names the nearest known word, or the known words where none is near."""
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(known)}."


def dotted(path: KeyPath) -> str:
    """A key as a person would write it: price[2].input."""
    parts = [f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).removeprefix(".")


def _table(document: Document, section: str) -> Mapping[str, Any]:
    value = document.values.get(section, {})
    if not isinstance(value, dict):
        raise document.error((section,), f"{section} must be a table, not {checks.short(value)}.")
    return value


def _values(document: Document, path: KeyPath, table: Mapping[str, Any], rules: Table) -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        if key not in rules:
            raise unknown(document, (*path, key), list(rules))
        values[rules[key].attribute] = _checked(document, (*path, key), value, rules[key].check)
    for key, rule in rules.items():
        if rule.required and key not in table:
            raise document.error(path, f"{dotted(path)} lacks {key!r}.")
    return values


def _checked(document: Document, path: KeyPath, value: object, check: Check) -> Any:
    try:
        return check(value)
    except Unfit as error:
        raise document.error(path, f"{dotted(path)} {error}.") from None


def _named(document: Document, section: str) -> dict[str, Any]:
    """A table whose keys are names of the user's own."""
    check = NAMED[section][1].check
    values = {}
    for name, value in _table(document, section).items():
        path = (section, name)
        if isinstance(value, dict):
            raise document.error(
                path,
                f"{section} has a table {name!r} where a value belongs.",
                hint=f'A name with a dot stands in quotes: "{name}.1" = ...',
            )
        values[_checked(document, path, name, checks.text)] = _checked(document, path, value, check)
    return values


def _exchange(rates: Mapping[str, Rate], document: Document) -> Mapping[str, Rate]:
    """A table for each currency; a rate counts as a whole, with its day."""
    given = {}
    for code, table in _table(document, "exchange").items():
        path = ("exchange", code)
        if not isinstance(table, dict):
            raise document.error(path, f"{dotted(path)} must be a table that begins with [exchange.GBP].")
        if _checked(document, path, code, checks.currency) == USD:
            raise document.error(path, "exchange.USD has no rate: rates are dollars for one unit of another currency.")
        values = _values(document, path, table, EXCHANGE)
        given[code] = Rate(**values, source=CONFIGURED, code=code)
    return {**rates, **given}


def _unknown_price(pricing: PricingSettings, document: Document, exchange: Mapping[str, Rate]) -> dict[str, Any]:
    """The price of unknown models; in a currency of its own it needs an exchange rate from somewhere."""
    table = _table(document, "unknown_price")
    values = _values(document, ("unknown_price",), table, UNKNOWN_PRICE)
    nanos, day = values.pop("usd_per_unit_nanos", None), values.pop("day", None)
    code = values.get("unknown_currency", pricing.unknown_currency)
    if (nanos is None) != (day is None):
        missing = "usd_per_unit" if nanos is None else "usd_rate_day"
        raise document.error(("unknown_price",), f"unknown_price lacks {missing!r}: a rate and its day go together.")
    if nanos is not None and day is not None:
        if code == USD:
            raise document.error(("unknown_price", "usd_per_unit"), "unknown_price in USD takes no 'usd_per_unit'.")
        values["unknown_exchange"] = Rate(nanos, day, CONFIGURED, code)
    elif code != pricing.unknown_currency:
        try:
            ExchangeBook(exchange).rate(code, datetime.max.replace(tzinfo=UTC))
        except InvalidArgument as unlisted:
            raise document.error(("unknown_price", "currency"), unlisted.message, hint=unlisted.hint) from None
        values["unknown_exchange"] = None
    return values


def _pricing(pricing: PricingSettings, document: Document, exchange: Mapping[str, Rate]) -> PricingSettings:
    aliases = {**dict(pricing.aliases), **_named(document, "alias")}
    said = _values(document, ("pricing",), _table(document, "pricing"), PRICING)
    return replace(
        pricing,
        **said,
        local_is_said=pricing.local_is_said or "local_channels" in said,
        **_unknown_price(pricing, document, exchange),
        overrides=(*pricing.overrides, *rows(document, "price", PRICE, PriceOverride)),
        discounts=(*pricing.discounts, *rows(document, "discount", DISCOUNT, Discount)),
        aliases=tuple(aliases.items()),
    )


def rows(document: Document, section: str, rules: Table, row: Callable[..., Row]) -> list[Row]:
    """The rows of a section that may have any number of them."""
    tables = document.values.get(section, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise document.error((section,), f"{section} must be rows that begin with [[{section}]].")
    rows = []
    for number, table in enumerate(tables):
        path: KeyPath = (section, number)
        values = _values(document, path, table, rules)
        begin, end = values.get("valid_from"), values.get("valid_to")
        if begin and end and end <= begin:
            raise document.error(path, f"{dotted(path)} ends on {end}, not after it begins on {begin}.")
        rows.append(row(**values))
    return rows


def _notices(document: Document) -> list[str]:
    return [
        f"{document.where((key,))}: {key} has no effect: Tallygate keeps everything on this machine."
        for key in WITHOUT_EFFECT
        if key in document.values
    ]
