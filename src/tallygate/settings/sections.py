"""The settings file, section by section: which keys there are, what each may be, where it goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from tallygate.core.authority import Loosening
from tallygate.core.errors import InvalidArgument, SettingsError
from tallygate.core.words import BudgetMode, CalibrationMode, ExpireAs, UnknownPrice
from tallygate.pricing.book import PricingSettings
from tallygate.pricing.exchange import CONFIGURED, USD, ExchangeBook, Rate
from tallygate.pricing.overrides import Discount, PriceOverride
from tallygate.settings import checks
from tallygate.settings.checks import Check, Unfit
from tallygate.settings.model import (
    Durability,
    Keep,
    Ladder,
    LogLevel,
    OnFault,
    Settings,
    Stop,
    Telemetry,
    Transcripts,
)
from tallygate.settings.source import Document, KeyPath

MINUTE_US = 60_000_000
# Logs of what an automated system did are kept for six months where the law asks for them.
RETENTION_DAYS_MIN = 183
RETENTION_WHY = "; what an AI system did is to be kept for six months at least"


Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Rule:
    """One key: the attribute it sets, and what its value may be."""

    attribute: str
    check: Check


Rules = Mapping[str, Rule]

TOP: Rules = {
    "currency": Rule("currency", checks.currency),
    "time_zone": Rule("time_zone", checks.time_zone),
    "log_level": Rule("log_level", checks.choice(LogLevel)),
    "tenant": Rule("tenant", checks.tenant),
}
SECTIONS: Mapping[str, Rules] = {
    "policy": {
        "reroute_threshold": Rule("reroute_at_percent", checks.share_percent),
        "warn_threshold": Rule("warn_at_percent", checks.share_percent),
        "pressure_bands": Rule("pressure_percents", checks.pressure_bands),
        "budget_mode": Rule("budget_mode", checks.choice(BudgetMode)),
        "on_fault": Rule("on_fault", checks.choice(OnFault)),
        "expire_as": Rule("expire_as", checks.choice(ExpireAs)),
        "reservation_ttl_minutes": Rule("reservation_ttl_us", checks.whole(1, 1_440, times=MINUTE_US)),
        "abandon_after_minutes": Rule("abandon_after_us", checks.whole(5, 43_200, times=MINUTE_US)),
        "unknown_price": Rule("unknown_price", checks.choice(UnknownPrice)),
        "local_model": Rule("local_model", checks.text),
        "calibration": Rule("calibration", checks.choice(CalibrationMode)),
        "calibration_quantile": Rule("quantile_percent", checks.quantile_percent),
    },
    "ledger": {
        "durability": Rule("durability", checks.choice(Durability)),
        "lock_timeout_ms": Rule("lock_timeout_ms", checks.whole(50, 60_000)),
        "retention_days": Rule("retention_days", checks.whole(RETENTION_DAYS_MIN, 36_500, why=RETENTION_WHY)),
    },
    "usage": {
        "transcripts": Rule("transcripts", checks.choice(Transcripts)),
        "telemetry": Rule("telemetry", checks.choice(Telemetry)),
        "telemetry_port": Rule("telemetry_port", checks.whole(1_024, 65_535)),
    },
    "privacy": {
        "task_summaries": Rule("task_summaries", checks.choice(Keep)),
    },
    "enforcement": {
        "agents_may": Rule("agents_may", checks.words_of(Loosening)),
        "stop": Rule("stop", checks.choice(Stop)),
    },
}
_MATCHED: Rules = {
    "match": Rule("match", checks.text),
    "provider": Rule("provider", checks.text),
    "from": Rule("valid_from", checks.day),
    "until": Rule("valid_to", checks.day),
    "note": Rule("note", checks.text),
    "tenant": Rule("tenant", checks.tenant),
    "project": Rule("project", checks.path_text),
    "session": Rule("session", checks.text),
}
PRICE: Rules = {
    **_MATCHED,
    "input": Rule("input", checks.rate),
    "output": Rule("output", checks.rate),
    "cache_read": Rule("cache_read", checks.rate),
    "cache_write_5m": Rule("cache_write_5m", checks.rate),
    "cache_write_1h": Rule("cache_write_1h", checks.rate),
}
DISCOUNT: Rules = {**_MATCHED, "multiplier": Rule("multiplier", checks.above_zero(100))}
UNKNOWN_PRICE: Rules = {
    "input_per_thousand": Rule("unknown_input_per_thousand", checks.above_zero(1_000)),
    "output_per_thousand": Rule("unknown_output_per_thousand", checks.above_zero(1_000)),
    "currency": Rule("unknown_currency", checks.currency),
    "usd_per_unit": Rule("usd_per_unit_nanos", checks.usd_per_unit_nanos),
    "usd_rate_day": Rule("day", checks.day),
}
EXCHANGE: Rules = {
    "usd_per_unit": Rule("usd_per_unit_nanos", checks.usd_per_unit_nanos),
    "day": Rule("day", checks.day),
}
PRICING: Rules = {"local_channels": Rule("local_channels", checks.names)}
PRICE_KEYS, DISCOUNT_KEYS = ("match", "input", "output"), ("match", "multiplier")
PATHS: Rules = {name: Rule(name, checks.path_text) for name in ("data_dir", "database", "key_dir", "run_log")}
_OTHERS = (
    "paths",
    "ladder",
    "calibration",
    "alias",
    "price",
    "discount",
    "unknown_price",
    "pricing",
    "exchange",
    "budget",
)
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
    read_paths(document)  # checked also where another source wins
    given: dict[str, Any] = _values(document, (), {k: v for k, v in document.values.items() if k in TOP}, TOP)
    for section, rules in SECTIONS.items():
        values = _values(document, (section,), _table(document, section), rules)
        given[section] = replace(getattr(settings, section), **values)
    exchange = _exchange(settings.exchange, document)
    return replace(
        settings,
        **given,
        exchange=exchange,
        ladder=_ladder(settings.ladder, document),
        calibration_micros={
            **settings.calibration_micros,
            **_named(document, "calibration", checks.factor_micros),
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


def _values(document: Document, path: KeyPath, table: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    values = {}
    for key, value in table.items():
        if key not in rules:
            raise unknown(document, (*path, key), list(rules))
        values[rules[key].attribute] = _checked(document, (*path, key), value, rules[key].check)
    return values


def _checked(document: Document, path: KeyPath, value: object, check: Check) -> Any:
    try:
        return check(value)
    except Unfit as error:
        raise document.error(path, f"{dotted(path)} {error}.") from None


def _named(document: Document, section: str, check: Check) -> dict[str, Any]:
    """A table whose keys are names of models."""
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


def _ladder(ladder: Ladder, document: Document) -> Ladder:
    lists = _named(document, "ladder", checks.names)
    default = lists.pop("default", ladder.default)
    return Ladder(default, {**ladder.by_client, **lists})


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
        for key in EXCHANGE:
            if key not in table:
                raise document.error(path, f"{dotted(path)} lacks {key!r}.")
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
    aliases = {**dict(pricing.aliases), **_named(document, "alias", checks.text)}
    said = _values(document, ("pricing",), _table(document, "pricing"), PRICING)
    return replace(
        pricing,
        **said,
        local_is_said=pricing.local_is_said or "local_channels" in said,
        **_unknown_price(pricing, document, exchange),
        overrides=(*pricing.overrides, *rows(document, "price", PRICE, PriceOverride, PRICE_KEYS)),
        discounts=(*pricing.discounts, *rows(document, "discount", DISCOUNT, Discount, DISCOUNT_KEYS)),
        aliases=tuple(aliases.items()),
    )


def rows(
    document: Document,
    section: str,
    rules: Rules,
    row: Callable[..., Row],
    required: tuple[str, ...],
) -> list[Row]:
    """The rows of a section that may have any number of them."""
    tables = document.values.get(section, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise document.error((section,), f"{section} must be rows that begin with [[{section}]].")
    rows = []
    for number, table in enumerate(tables):
        path: KeyPath = (section, number)
        values = _values(document, path, table, rules)
        for key in required:
            if key not in table:
                raise document.error(path, f"{dotted(path)} lacks {key!r}.")
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
