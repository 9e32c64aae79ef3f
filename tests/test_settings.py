"""Settings: which source wins, what a file may say, and how a mistake is told."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.errors import LedgerUnavailable, SettingsError
from tallygate.core.loops import LoopMode
from tallygate.core.plan import PlanRule, PlanUnknown
from tallygate.core.words import BudgetMode, CalibrationMode, ExpireAs, UnknownPrice
from tallygate.pricing.book import PricingSettings
from tallygate.pricing.exchange import CONFIGURED, Rate
from tallygate.pricing.overrides import Discount, PriceOverride
from tallygate.settings import (
    Durability,
    Keep,
    LogLevel,
    OnFault,
    ReadTranscripts,
    ResidentMode,
    Settings,
    TelemetryMode,
    UserPlaces,
    load_settings,
    places,
    variables,
)
from tallygate.settings.model import UsageSettings
from tallygate.settings.projects import accept, fingerprint
from tallygate.settings.source import key_lines
from tallygate.surroundings import around_here


class Desk:
    """A user with a home, a project, and whatever files and variables a test puts there."""

    def __init__(self, base: Path) -> None:
        self.places = UserPlaces(base / "home", base / "home/config", base / "home/data")
        self.project = base / "work" / "shop"
        self.user_file = self.places.config_dir / "config.toml"
        self.project_file = self.project / ".l6e" / "config.toml"
        for folder in (self.places.config_dir, self.project / ".l6e", self.project / "src"):
            folder.mkdir(parents=True)

    def load(self, cwd: Path | None = None, /, **environ: str) -> Settings:
        """Settings as they are once the user trusts what the project sets; a fault of the project's file is raised."""
        found = load_settings(environ, cwd or self.project, self.places)
        if found.fault is not None:
            raise found.fault
        if found.waiting and found.paths.project_root is not None:
            accept(found.paths.data_dir, str(found.paths.project_root), fingerprint(found.waiting))
            found = load_settings(environ, cwd or self.project, self.places)
        return found

    def user(self, text: str) -> None:
        self.user_file.write_text(text, encoding="utf-8")

    def shop(self, text: str) -> None:
        self.project_file.write_text(text, encoding="utf-8")

    def refusal(self, **environ: str) -> str:
        with pytest.raises(SettingsError) as caught:
            self.load(**environ)
        return str(caught.value)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_without_files_or_variables_every_setting_has_its_default(desk: Desk) -> None:
    settings = desk.load()
    policy = settings.policy
    assert (policy.reroute_at_percent, policy.warn_at_percent, policy.pressure_percents) == (
        80,
        80,
        (50, 80, 95),
    )
    assert (policy.budget_mode, policy.on_fault, policy.expire_as) == ("hard", "halt", "estimate")
    assert (policy.reservation_ttl_us, policy.abandon_after_us) == (600_000_000, 3_600_000_000)
    assert (settings.ledger.durability, settings.ledger.lock_timeout_ms) == ("full", 2_000)
    assert settings.ledger.retention_days >= 183
    assert (settings.currency, settings.time_zone, settings.log_level) == ("USD", "UTC", "warning")
    assert settings.privacy.task_summaries is Keep.KEEP
    assert settings.server.resident is ResidentMode.NEVER
    assert (settings.pricing, settings.notices) == (PricingSettings(), ())


def test_settings_cannot_be_changed_after_loading(desk: Desk) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        desk.load().policy.reroute_at_percent = 99  # type: ignore[misc]


# user file         project file      variable  | in force
PRECEDENCE = [
    ("", "", "", "halt"),
    ('on_fault = "allow"', "", "", "allow"),
    ('on_fault = "allow"', 'on_fault = "halt"', "", "halt"),
    ('on_fault = "halt"', 'on_fault = "allow"', "", "allow"),
    ('on_fault = "allow"', 'on_fault = "allow"', "halt", "halt"),
    ("", "", "allow", "allow"),
]


@pytest.mark.parametrize("user,project,variable,in_force", PRECEDENCE)
def test_environment_wins_over_project_over_user_over_default(
    desk: Desk, user: str, project: str, variable: str, in_force: str
) -> None:
    desk.user(f"[policy]\n{user}\n")
    desk.shop(f"[policy]\n{project}\n")
    assert desk.load(TALLYGATE_ON_FAULT=variable).policy.on_fault == in_force


def test_a_source_replaces_only_the_keys_it_names(desk: Desk) -> None:
    desk.user('[policy]\non_fault = "allow"\nreroute_threshold = 0.7\n')
    desk.shop('[policy]\nexpire_as = "release"\n')
    policy = desk.load(TALLYGATE_REROUTE_THRESHOLD="0.9").policy
    assert (policy.on_fault, policy.expire_as, policy.reroute_at_percent) == ("allow", "release", 90)


def test_named_values_are_merged_name_by_name(desk: Desk) -> None:
    desk.user(
        '[calibration]\na = 2\nb = 2\nc = 2\n[alias]\nopus = "x"\n[ladder]\ndefault = ["a", "b"]\ncodex = ["c"]\n'
    )
    desk.shop('[calibration]\nb = 3\n[alias]\nfast = "y"\n[ladder]\ndefault = ["d"]')
    settings = desk.load(L6E_CALIBRATION_FACTORS="c:4")
    assert settings.calibration_micros == {"a": 2_000_000, "b": 3_000_000, "c": 4_000_000}
    assert dict(settings.pricing.aliases) == {"opus": "x", "fast": "y"}
    assert settings.ladder.for_client("codex") == ("c",)
    assert settings.ladder.for_client("claude-code") == ("d",)


def test_the_rows_of_a_project_come_after_those_of_the_user_since_the_later_of_equals_counts(
    desk: Desk,
) -> None:
    row = '[[price]]\nmatch = "{}"\ninput = 1\noutput = 1\n'
    desk.user(row.format("theirs"))
    desk.shop(row.format("ours") + row.format("ours too"))
    assert [row.match for row in desk.load().pricing.overrides] == ["theirs", "ours", "ours too"]


WHOLE_FILE = """
currency = "GBP"
time_zone = "Europe/London"
log_level = "debug"
tenant = "acme"

[policy]
reroute_threshold = 0.75
warn_threshold = 1
pressure_bands = [0.4, 0.6, 0.8]
budget_mode = "soft"
on_fault = "allow"
expire_as = "release"
reservation_ttl_minutes = 5
abandon_after_minutes = 90
unknown_price = "halt_on_unknown_pricing"
local_model = "ollama/qwen2.5-coder:32b"
calibration = "warn"
calibration_quantile = 0.9

[ledger]
durability = "normal"
lock_timeout_ms = 500
retention_days = 400

[usage]
transcripts = "off"
telemetry = "off"
telemetry_port = 50000

[server]
resident = "auto"

[privacy]
task_summaries = "drop"

[statusline]
show = ["left", "month"]
width = 80

[cold_cache]
say_from = 0.02

[loops]
mode = "halt"

[unknown_price]
input_per_thousand = 0.02
output_per_thousand = 0.08
currency = "EUR"
usd_per_unit = 1.16
usd_rate_day = 2026-11-20

[exchange.GBP]
usd_per_unit = 1.31
day = 2026-11-01

[exchange.AED]
usd_per_unit = 0.27229408
day = "2026-11-02"

[pricing]
local_channels = ["ollama", "my-gateway"]

[calibration]
"claude-opus-4.7" = 1.25

[[price]]
match = "claude-opus-*"
provider = "bedrock"
input = 4.25
output = 21.25
cache_read = 0.43
cache_write_5m = 5.31
cache_write_1h = 8.5
from = 2026-10-01
until = "2026-12-31"
note = "EDP, 15 % off"
tenant = "acme"
project = "shop"
session = "session_1"

[[discount]]
match = "*"
multiplier = 0.85
tenant = "acme"
"""


def test_every_key_of_a_file_arrives(desk: Desk) -> None:
    desk.shop(WHOLE_FILE)
    settings = desk.load()
    assert (settings.currency, settings.time_zone) == ("GBP", "Europe/London")
    assert (settings.log_level, settings.tenant) == (LogLevel.DEBUG, "acme")
    assert settings.policy == dataclasses.replace(
        settings.policy,
        reroute_at_percent=75,
        warn_at_percent=100,
        pressure_percents=(40, 60, 80),
        budget_mode=BudgetMode.SOFT,
        on_fault=OnFault.ALLOW,
        expire_as=ExpireAs.RELEASE,
        reservation_ttl_us=300_000_000,
        abandon_after_us=5_400_000_000,
        unknown_price=UnknownPrice.HALT,
        local_model="ollama/qwen2.5-coder:32b",
        calibration=CalibrationMode.WARN,
        quantile_percent=90,
    )
    ledger = settings.ledger
    assert (ledger.durability, ledger.lock_timeout_ms, ledger.retention_days) == (Durability.NORMAL, 500, 400)
    assert settings.privacy.task_summaries is Keep.DROP
    assert (settings.statusline.show, settings.statusline.width) == (("left", "month"), 80)
    assert settings.cold_cache.say_from_percent == 2
    assert settings.loops.mode is LoopMode.HALT
    assert settings.server.resident is ResidentMode.AUTO
    assert settings.usage == UsageSettings(ReadTranscripts.OFF, TelemetryMode.OFF, 50_000)
    assert settings.calibration_micros == {"claude-opus-4.7": 1_250_000}
    assert settings.pricing == PricingSettings(
        overrides=(
            PriceOverride(
                match="claude-opus-*",
                provider="bedrock",
                input=Decimal("4.25"),
                output=Decimal("21.25"),
                cache_read=Decimal("0.43"),
                cache_write_5m=Decimal("5.31"),
                cache_write_1h=Decimal("8.5"),
                valid_from=dt.date(2026, 10, 1),
                valid_to=dt.date(2026, 12, 31),
                note="EDP, 15 % off",
                tenant="acme",
                project="shop",
                session="session_1",
            ),
        ),
        discounts=(Discount(match="*", multiplier=Decimal("0.85"), tenant="acme"),),
        unknown_input_per_thousand=Decimal("0.02"),
        unknown_output_per_thousand=Decimal("0.08"),
        unknown_currency="EUR",
        unknown_exchange=Rate(1_160_000_000, dt.date(2026, 11, 20), CONFIGURED, "EUR"),
        local_channels=("ollama", "my-gateway"),
        local_is_said=True,
    )
    assert settings.exchange == {
        "GBP": Rate(1_310_000_000, dt.date(2026, 11, 1), CONFIGURED, "GBP"),
        "AED": Rate(272_294_080, dt.date(2026, 11, 2), CONFIGURED, "AED"),
    }


UNKNOWN_IN_POUNDS = "[unknown_price]\ncurrency = 'GBP'\nusd_per_unit = 1.31\nusd_rate_day = 2026-11-01\n"


@pytest.mark.parametrize("code", ["USD", "EUR", "JPY"])
def test_a_rate_for_unknown_models_in_another_currency_leaves_the_old_exchange_rate_behind(
    desk: Desk, code: str
) -> None:
    desk.user(UNKNOWN_IN_POUNDS)
    assert desk.load().pricing.unknown_exchange is not None
    desk.shop(f"[unknown_price]\ncurrency = '{code}'")
    pricing = desk.load().pricing
    assert (pricing.unknown_currency, pricing.unknown_exchange) == (code, None)


def test_a_currency_that_no_list_has_is_taken_where_the_user_sets_its_rate(desk: Desk) -> None:
    desk.user("[exchange.AED]\nusd_per_unit = 0.27\nday = 2026-11-02")
    desk.shop("[unknown_price]\ncurrency = 'AED'")
    assert desk.load().pricing.unknown_currency == "AED"


def test_exchange_rates_are_merged_currency_by_currency_each_with_its_day(desk: Desk) -> None:
    table = "[exchange.{}]\nusd_per_unit = {}\nday = {}\n"
    desk.user(table.format("GBP", "1.30", "2026-10-01") + table.format("CHF", "1.2", "2026-10-01"))
    desk.shop(table.format("GBP", "1.31", "2026-11-01"))
    assert {code: rate.text for code, rate in desk.load().exchange.items()} == {
        "GBP": "1 GBP = 1.31 USD (configured rate of 2026-11-01)",
        "CHF": "1 CHF = 1.2 USD (configured rate of 2026-10-01)",
    }


# usd_per_unit                 | nano-dollars
DOLLARS = [
    ("2", 2_000_000_000),
    ("0.000000001", 1),
    ("0.0000000015", 2),
    ("0.0000000025", 2),
    ("999999.999999999", 999_999_999_999_999),
]


@pytest.mark.parametrize("text,nanos", DOLLARS)
def test_an_exchange_rate_is_rounded_half_even_to_nano_dollars(desk: Desk, text: str, nanos: int) -> None:
    desk.shop(f"[exchange.GBP]\nusd_per_unit = {text}\nday = 2026-11-01")
    assert desk.load().exchange["GBP"].usd_per_unit_nanos == nanos


def test_the_example_in_the_tests_names_every_key_there_is() -> None:
    from tallygate.settings import sections

    rules = [sections.TOP, *sections.SECTIONS.values(), sections.PRICE, sections.DISCOUNT]
    rules += [sections.UNKNOWN_PRICE, sections.PRICING, sections.EXCHANGE]
    keys = {key for table in rules for key in table} - {
        "agents_may",
        "stop",
    }  # the user's own file only: see test_whose.py
    assert [key for key in sorted(keys) if f"\n{key} = " not in WHOLE_FILE] == []


# what the file says                       | line  what the refusal says
MISTAKES = [
    ("currency = ", 1, "not valid TOML: Invalid value"),
    ("a = 1\n\n[policy\n", 3, "not valid TOML"),
    ("x = 1\nx = 2\n", 2, "not valid TOML: Cannot overwrite a value"),
    ("\n\ncurrencie = 'EUR'", 3, "unknown setting 'currencie'. Did you mean 'currency'?"),
    ("[polcy]\n", 1, "unknown setting 'polcy'. Did you mean 'policy'?"),
    ("[policy]\n\non_falt = 'halt'", 3, "unknown setting 'policy.on_falt'. Did you mean 'on_fault'?"),
    ("[policy]\nzzz = 1", 2, "unknown setting 'policy.zzz'. Known: reroute_threshold,"),
    ("policy = 3", 1, "policy must be a table, not 3."),
    ("policy = { on_fault = 1 }", 1, 'policy.on_fault must be "halt" or "allow", not 1.'),
    ("[policy]\non_fault = 'maybe'", 2, 'policy.on_fault must be "halt" or "allow", not \'maybe\'.'),
    ("[policy]\nbudget_mode = true", 2, 'policy.budget_mode must be "hard" or "soft", not true.'),
    ("[policy]\nreroute_threshold = 1.01", 2, "policy.reroute_threshold must be a share above 0"),
    ("[policy]\nreroute_threshold = 0.805", 2, "in steps of 0.01"),
    ("[policy]\nreroute_threshold = nan", 2, "not NaN"),
    ("[policy]\nreroute_threshold = inf", 2, "not Infinity"),
    ("[policy]\nreroute_threshold = '0.8'", 2, "not '0.8'"),
    ("[policy]\npressure_bands = [0.5, 0.4, 0.9]", 2, "three rising shares"),
    ("[policy]\npressure_bands = [0.5, 0.4]", 2, "three rising shares"),
    ("[policy]\nreservation_ttl_minutes = 0", 2, "a whole number from 1 to 1,440, not 0"),
    ("[policy]\nreservation_ttl_minutes = 2.5", 2, "not 2.5"),
    ("[policy]\nreservation_ttl_minutes = true", 2, "not true"),
    ("[policy]\ncalibration = 'on'", 2, 'must be "enforce", "warn" or "observe", not \'on\''),
    ("[policy]\ncalibration_quantile = 0.4", 2, "must be from 0.50 to 0.99, such as 0.8, not 0.4"),
    ("[policy]\ncalibration_quantile = 1", 2, "must be from 0.50 to 0.99"),
    ("[policy]\nlocal_model = ''", 2, "must be text of 1 to 200 printable characters"),
    ('[policy]\nlocal_model = "a\\u001b[2J"', 2, "not 'a\\x1b[2J'"),
    ("[ledger]\nretention_days = 182", 2, "from 183 to 36,500, not 182; what an AI system did is to be kept"),
    ("[ledger]\nlock_timeout_ms = 99999999999999999999", 2, "from 50 to 60,000"),
    ("[ledger]\nlock_timeout_ms = 1" + "0" * 5_000, 1, "too large to read"),
    ("currency = 'usd'", 1, "must be an ISO 4217 code such as USD, not 'usd'."),
    ("time_zone = 'Mars/Olympus'", 1, "must be an IANA time zone"),
    ("time_zone = '../../etc/passwd'", 1, "must be an IANA time zone"),
    ("tenant = ''", 1, "tenant must be text of 1 to 100 letters, digits, dots, dashes and underscores, not ''."),
    ("tenant = 'a/b'", 1, "not 'a/b'."),
    ("tenant = 'é'", 1, "not 'é'."),
    (f"tenant = '{'a' * 101}'", 1, "1 to 100"),
    ("tenant = 7", 1, "not 7."),
    ("[[price]]\nmatch = 'x'\ntenant = 'a b'", 3, "price[1].tenant must be text"),
    ("[[price]]\nmatch = 'x'\nproject = '../x'", 3, "price[1].project must not climb"),
    ("[[discount]]\nmatch = 'x'\nsession = ''", 3, "discount[1].session must be text"),
    ("[calibration]\na = 0", 2, "calibration.a must be a number above 0 and up to 1,000, not 0."),
    ("[calibration]\na = -1", 2, "above 0"),
    ("[calibration]\na = 1000.5", 2, "up to 1,000"),
    ("[calibration]\na = 1e-9", 2, "above 0"),
    ("[calibration]\na = 1e999999", 2, "up to 1,000"),
    ("[calibration]\na = 1e99999999999999999999", 1, "too large to read"),
    ("[calibration]\na = nan", 2, "not NaN"),
    (
        '[calibration]\nclaude-opus-4.7 = 1.2\n"claude-opus-4.7" = 1.3',
        2,
        'A name with a dot stands in quotes: "claude-opus-4.1" = ...',
    ),
    ("[alias]\nopus = 5", 2, "alias.opus must be text"),
    ("[ladder]\ndefault = 'a'", 2, "must be a list of at most 50 names"),
    ("[ladder]\ndefault = ['a', 'a']", 2, "must hold each name once"),
    ("[price]\nmatch = 'x'", 1, "price must be rows that begin with [[price]]."),
    ("price = [1]", 1, "price must be rows"),
    ("[[price]]\nmatch = 'x'\ninput = 1", 1, "price[1] lacks 'output'."),
    (
        "[[price]]\nmatch='a'\ninput=1\noutput=1\n[[price]]\nmatch='b'\ninputs=1",
        7,
        "price[2].inputs'. Did you mean 'input'?",
    ),
    (
        "[[price]]\nmatch = 'x'\ninput = -1",
        3,
        "price[1].input must be an amount in dollars from 0 to 1,000,000",
    ),
    ("[[price]]\nmatch = 'x'\ninput = 1000001", 3, "not 1000001"),
    ("[[price]]\nmatch = 'x'\nfrom = 'soon'", 3, "must be a day such as 2026-10-01, not 'soon'"),
    ("[[price]]\nmatch = 'x'\nfrom = 2026-10-01T10:00:00Z", 3, "must be a day"),
    (
        "[[price]]\nmatch = 'x'\ninput = 1\noutput = 1\nfrom = 2026-10-01\nuntil = 2026-10-01",
        1,
        "price[1] ends on 2026-10-01, not after it begins",
    ),
    ("[[discount]]\nmatch = 'x'\nmultiplier = 0", 3, "discount[1].multiplier must be a number above 0"),
    ("[[discount]]\nmultiplier = 0.5", 1, "discount[1] lacks 'match'."),
    ("[unknown_price]\ncurrency = 'AED'", 2, "No exchange rate is known for AED"),
    ("[unknown_price]\ncurrency = 'AED'", 2, "config.toml:\n[exchange.AED]\nusd_per_unit = "),
    ("[unknown_price]\nusd_per_unit = 1.31", 1, "unknown_price lacks 'usd_rate_day'"),
    ("[unknown_price]\nusd_rate_day = 2026-11-01", 1, "unknown_price lacks 'usd_per_unit'"),
    (
        "[unknown_price]\ncurrency = 'USD'\nusd_per_unit = 1\nusd_rate_day = 2026-11-01",
        3,
        "unknown_price in USD takes no 'usd_per_unit'.",
    ),
    ("exchange = 1", 1, "exchange must be a table, not 1."),
    ("[exchange]\nGBP = 1.31", 2, "exchange.GBP must be a table that begins with [exchange.GBP]."),
    ("[exchange.GBP]\nusd_per_unit = 1.31", 1, "exchange.GBP lacks 'day'."),
    ("[exchange.GBP]\nday = 2026-11-01", 1, "exchange.GBP lacks 'usd_per_unit'."),
    ("[exchange.GBP]\nrate = 1", 2, "unknown setting 'exchange.GBP.rate'."),
    ("[exchange.gbp]\nday = 2026-11-01", 1, "must be an ISO 4217 code such as USD, not 'gbp'."),
    ("[exchange.USD]\nusd_per_unit = 1\nday = 2026-11-01", 1, "exchange.USD has no rate"),
    ("[exchange.GBP]\nusd_per_unit = 0", 2, "must be an amount in dollars above 0 and below 1,000,000"),
    ("[exchange.GBP]\nusd_per_unit = -1", 2, "not -1."),
    ("[exchange.GBP]\nusd_per_unit = nan", 2, "not NaN."),
    ("[exchange.GBP]\nusd_per_unit = inf", 2, "not Infinity."),
    ("[exchange.GBP]\nusd_per_unit = '1.31'", 2, "not '1.31'."),
    ("[exchange.GBP]\nusd_per_unit = 1000000", 2, "not 1000000."),
    ("[exchange.GBP]\nusd_per_unit = 999999.9999999999", 2, "below 1,000,000"),
    ("[exchange.GBP]\nusd_per_unit = 1e-10", 2, "above 0"),
    ("[exchange.GBP]\nusd_per_unit = 1e999999", 2, "below 1,000,000"),
    ("[exchange.GBP]\nusd_per_unit = 1e-999999", 2, "above 0"),
    ("[exchange.GBP]\nday = 'yesterday'", 2, "must be a day such as 2026-10-01"),
    ("[unknown_price]\ninput_per_thousand = 0", 2, "must be a number above 0 and up to 1,000, not 0."),
    ("a = " + "[" * 9_999 + "]" * 9_999, 1, "too large to read"),
    ("\n" + ".".join("a" * 50_000) + " = 1", 2, "more than forty dots"),
]


@pytest.mark.parametrize("text,line,says", MISTAKES)
def test_a_mistake_in_a_file_is_told_with_file_and_line(desk: Desk, text: str, line: int, says: str) -> None:
    desk.shop(text)
    refusal = desk.refusal()
    assert refusal.startswith(f"{desk.project_file}:{line}: ")
    assert says in refusal
    assert len(refusal) < 600


def test_a_mistake_in_the_users_file_counts_also_where_the_project_overrides_it(desk: Desk) -> None:
    desk.user("log_level = 'loud'")
    desk.shop("log_level = 'info'")
    assert f"{desk.user_file}:1: log_level must be" in desk.refusal(TALLYGATE_LOG_LEVEL="info")


def test_a_file_that_is_not_utf8_is_refused_at_the_line_of_the_first_wrong_byte(desk: Desk) -> None:
    desk.project_file.write_bytes(b"# fine\n# \xff\n")
    assert desk.refusal() == f"{desk.project_file}:2: the file is not UTF-8 text."


def test_a_file_of_more_than_a_mebibyte_is_refused(desk: Desk) -> None:
    desk.project_file.write_bytes(b"#" * ((1 << 20) + 1))
    assert "larger than 1 MiB" in desk.refusal()


def test_a_linked_file_is_refused(desk: Desk, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.toml"
    elsewhere.write_text("currency = 'EUR'")
    desk.project_file.symlink_to(elsewhere)
    assert "symbolic link" in desk.refusal()


@pytest.mark.parametrize(("mode", "said"), [(0o600, ""), (0o444, ""), (0o666, "others can write to")])
def test_the_users_own_file_may_be_a_link_into_dotfiles_that_nobody_else_can_write_to(
    desk: Desk, tmp_path: Path, mode: int, said: str
) -> None:
    dotfile = tmp_path / "dotfiles" / "tallygate.toml"
    dotfile.parent.mkdir()
    dotfile.write_text("currency = 'EUR'")
    dotfile.chmod(mode)
    desk.user_file.symlink_to(dotfile)
    if said:
        assert said in desk.refusal()
    else:
        assert desk.load().currency == "EUR"
    dotfile.unlink()
    assert "symbolic link" in desk.refusal(), "one that leads nowhere is no missing file"


def test_a_linked_settings_folder_is_refused(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (desk.project / ".l6e").rmdir()
    (desk.project / ".l6e").symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in desk.refusal()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_not_a_regular_file_is_refused_without_waiting(desk: Desk, make: Any) -> None:
    make(desk.project_file)
    assert str(desk.project_file) in desk.refusal()


def test_a_project_cannot_choose_where_ledger_keys_and_log_are(desk: Desk) -> None:
    for key in ("data_dir", "database", "key_dir", "run_log"):
        desk.shop(f"# mine now\n[paths]\n{key} = '/tmp/x.jsonl'")
        assert f"{desk.project_file}:2: paths may be set in the user's settings file" in desk.refusal()


def test_the_user_chooses_paths_relative_to_the_file(desk: Desk) -> None:
    desk.user("[paths]\ndata_dir = 'state'\nkey_dir = '~/keys'\nrun_log = '/var/log/runs.jsonl'")
    paths = desk.load().paths
    assert paths.data_dir == desk.places.config_dir / "state"
    assert paths.database == paths.data_dir / "ledger.db"
    assert paths.key_dir == desk.places.home / "keys"
    assert paths.run_log == Path("/var/log/runs.jsonl")


# variables                                                            | attribute  where, below the base
PATHS = [
    ({}, "database", "home/data/ledger.db"),
    ({}, "key_dir", "home/data/keys"),
    ({}, "run_log", "work/shop/.l6e/runs.jsonl"),
    ({"TALLYGATE_HOME": "{}/h"}, "data_dir", "h"),
    ({"TALLYGATE_HOME": "{}/h"}, "database", "h/ledger.db"),
    ({"TALLYGATE_HOME": "~/h"}, "data_dir", "home/h"),
    ({"TALLYGATE_DB": "{}/mine.db"}, "database", "mine.db"),
    ({"L6E_SESSION_DB_PATH": "{}/theirs.db"}, "database", "theirs.db"),
    ({"L6E_SESSION_DB_PATH": "{}/theirs.db", "TALLYGATE_DB": "{}/mine.db"}, "database", "mine.db"),
    ({"TALLYGATE_DB": ""}, "database", "home/data/ledger.db"),
    ({"L6E_LOG_PATH": "logs/runs.jsonl"}, "run_log", "work/shop/logs/runs.jsonl"),
    ({"L6E_LOG_PATH": "{}/a.jsonl", "TALLYGATE_LOG_PATH": "{}/b.jsonl"}, "run_log", "b.jsonl"),
    ({"TALLYGATE_KEY_DIR": "{}/k"}, "key_dir", "k"),
]


@pytest.mark.parametrize("environ,attribute,expected", PATHS)
def test_paths_come_from_variables_else_from_where_the_system_keeps_things(
    desk: Desk, tmp_path: Path, environ: dict[str, str], attribute: str, expected: str
) -> None:
    paths = desk.load(**{name: text.format(tmp_path) for name, text in environ.items()}).paths
    assert getattr(paths, attribute) == tmp_path / expected


UNSAFE_LOGS = [
    "/etc/cron.d/x",
    "runs.json",
    "runs.jsonl.sh",
    ".jsonl",
    "../runs.jsonl",
    "a/../../runs.jsonl",
    "a\\..\\runs.jsonl",
    "runs\x00.jsonl",
    "runs\n.jsonl",
    "runs\x1b[2J.jsonl",
    "\u202eruns.jsonl",
    "a" * 5_000 + ".jsonl",
]


@pytest.mark.parametrize("log", UNSAFE_LOGS)
def test_a_run_log_that_is_no_plain_jsonl_path_is_refused(desk: Desk, log: str) -> None:
    assert desk.refusal(TALLYGATE_LOG_PATH=log).startswith("TALLYGATE_LOG_PATH: must ")


@pytest.mark.parametrize("log", [log for log in UNSAFE_LOGS if ".." in log or not log.isprintable()])
def test_a_path_that_nobody_writes_is_refused_also_by_the_name_of_l6e_mcp(desk: Desk, log: str) -> None:
    assert desk.refusal(L6E_LOG_PATH=log).startswith("L6E_LOG_PATH: must ")


@pytest.mark.parametrize("log", ["l6e-runs.log", "runs", "logs/runs.jsonl.1"])
@pytest.mark.parametrize("content", [None, "", '{"run_id":"session_a"}\n'])
def test_l6e_mcps_run_log_may_have_any_name(desk: Desk, tmp_path: Path, log: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / log).parent.mkdir(exist_ok=True)
        (tmp_path / log).write_text(content)
    settings = desk.load(L6E_LOG_PATH=str(tmp_path / log))
    assert (settings.paths.run_log, settings.notices) == (tmp_path / log, ())


@pytest.mark.parametrize("content", ["export PATH=/bin\n", '{"name": "something"}\n', "\x00\x01"])
def test_a_file_that_is_somebody_elses_is_no_run_log_and_said(desk: Desk, tmp_path: Path, content: str) -> None:
    (tmp_path / "rc").write_text(content)
    settings = desk.load(L6E_LOG_PATH=str(tmp_path / "rc"))
    assert settings.paths.run_log == desk.project / ".l6e" / "runs.jsonl"
    (notice,) = settings.notices
    assert "is no run log and was left alone" in notice
    folder = desk.load(L6E_LOG_PATH=str(tmp_path))
    assert folder.paths.run_log == desk.project / ".l6e" / "runs.jsonl"


def test_factors_of_l6e_mcp_count_where_there_is_no_settings_file_and_it_is_said(desk: Desk, tmp_path: Path) -> None:
    theirs = tmp_path / "home" / ".l6e" / "config.toml"
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text('[calibration]\ngpt-4o = 72.0\nclaude-3.5-haiku = 0.5\n[policy]\nbudget_mode = "soft"\n')
    settings = desk.load()
    assert settings.calibration_micros == {"gpt-4o": 72_000_000, "claude-3.5-haiku": 500_000}
    assert settings.policy.budget_mode == "hard", "nothing else of it counts"
    assert any(f"{theirs}: 2 calibration factors of l6e-mcp count" in notice for notice in settings.notices)
    assert settings.paths.user_file is None
    desk.user("[calibration]\ngpt-4o = 2\n")
    assert desk.load().calibration_micros == {"gpt-4o": 2_000_000}


@pytest.mark.parametrize("text", ["[calibration]\ngpt-4o = -1\n", "[calibration\n", "calibration = 1\n", ""])
def test_a_file_of_l6e_mcp_that_cannot_be_read_is_passed_over(desk: Desk, tmp_path: Path, text: str) -> None:
    theirs = tmp_path / "home" / ".l6e" / "config.toml"
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_text(text)
    assert desk.load().calibration_micros == {}


def test_a_run_log_in_the_users_file_obeys_the_same_rule(desk: Desk) -> None:
    desk.user("[paths]\nrun_log = '/etc/passwd'")
    assert f"{desk.user_file}:2: paths.run_log must end in .jsonl" in desk.refusal()


def test_the_project_is_the_nearest_folder_above_with_settings_or_a_repository(desk: Desk) -> None:
    deep = desk.project / "src" / "a"
    deep.mkdir()
    assert desk.load(deep).paths.project_root == desk.project
    (desk.project / "src" / ".git").write_text("gitdir: elsewhere")
    assert desk.load(deep).paths.project_root == desk.project / "src"


def test_variables_name_the_project_before_the_working_directory_does(desk: Desk, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert desk.load(CLAUDE_PROJECT_DIR=str(two)).paths.project_root == two
    assert desk.load(CLAUDE_PROJECT_DIR=str(two), TALLYGATE_PROJECT_DIR=str(one)).paths.project_root == one


def test_a_project_variable_of_ours_must_name_a_folder_and_a_clients_is_passed_over_aloud(desk: Desk) -> None:
    assert "TALLYGATE_PROJECT_DIR: '/nowhere' is not a folder." in desk.refusal(TALLYGATE_PROJECT_DIR="/nowhere")
    settings = desk.load(CLAUDE_PROJECT_DIR="/nowhere")
    assert settings.paths.project_root == desk.project
    assert settings.notices == ("CLAUDE_PROJECT_DIR names '/nowhere', which is not a folder; it was passed over.",)


def test_home_and_the_root_of_the_disk_are_no_project(desk: Desk) -> None:
    (desk.places.home / ".l6e").mkdir()
    below = desk.places.home / "notes"
    below.mkdir()
    for cwd in (desk.places.home, below, Path("/")):
        paths = desk.load(cwd).paths
        assert (paths.project_root, paths.run_log) == (None, desk.places.data_dir / "runs.jsonl")
    assert desk.load(CLAUDE_PROJECT_DIR=str(desk.places.home)).paths.project_root is None


def test_a_folder_shared_by_everybody_is_no_project(desk: Desk) -> None:
    desk.shop("currency = 'EUR'")
    desk.project.chmod(0o1777)
    settings = desk.load(desk.project / "src")
    assert (settings.paths.project_root, settings.currency) == (None, "USD")


def test_a_file_named_by_a_variable_must_exist(desk: Desk, tmp_path: Path) -> None:
    assert "there is no such settings file" in desk.refusal(TALLYGATE_CONFIG=str(tmp_path / "none.toml"))


def test_a_missing_file_of_the_predecessor_is_said_and_the_users_own_counts(desk: Desk, tmp_path: Path) -> None:
    desk.user("[policy]\nlocal_model = 'ollama/mine'")
    found = desk.load(L6E_CONFIG_PATH=str(tmp_path / "none.toml"))
    assert found.policy.local_model == "ollama/mine"
    [notice] = found.notices
    assert notice.startswith("L6E_CONFIG_PATH: there is no file ")


def test_keys_that_mean_nothing_are_passed_over_in_a_file_of_the_predecessor_and_named(
    desk: Desk, tmp_path: Path
) -> None:
    file = tmp_path / "l6e.toml"
    file.write_text("agent = 'x'\n[gate]\ndeep = 1\n[policy]\nlatency_sla = 3\nwarn_threshold = 0.5\n")
    found = desk.load(L6E_CONFIG_PATH=str(file))
    assert found.policy.warn_at_percent == 50
    assert [notice.partition(": ")[0] for notice in found.notices] == [f"{file}:{line}" for line in (1, 2, 5)]
    assert "unknown setting" in desk.refusal(TALLYGATE_CONFIG=str(file)), "in our own file a slip is refused"


def test_a_value_that_fits_nothing_is_refused_in_a_file_of_the_predecessor_too(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "l6e.toml"
    file.write_text("[policy]\nwarn_threshold = 'x'\n")
    assert f"{file}:2: " in desk.refusal(L6E_CONFIG_PATH=str(file))


def test_a_model_with_a_dot_and_without_quotes_is_read_as_one_name_and_said(desk: Desk) -> None:
    text = "[calibration]\ngpt-5 = 2\nclaude-3.5-haiku = 12.0\na.b.c = 3\n"
    wanted = {"gpt-5": 2_000_000, "claude-3.5-haiku": 12_000_000, "a.b.c": 3_000_000}
    desk.user(text)
    found = desk.load()
    assert found.calibration_micros == wanted
    assert [notice.partition(": ")[0] for notice in found.notices] == [f"{desk.user_file}:{line}" for line in (3, 4)]
    desk.user("")
    desk.shop(text)
    assert desk.load().calibration_micros == wanted


def test_a_file_named_by_a_variable_stands_in_for_the_users(desk: Desk, tmp_path: Path) -> None:
    desk.user("currency = 'CHF'")
    (tmp_path / "mine.toml").write_text("currency = 'SEK'")
    settings = desk.load(TALLYGATE_CONFIG=str(tmp_path / "mine.toml"))
    assert (settings.currency, settings.paths.user_file) == ("SEK", tmp_path / "mine.toml")


def test_the_predecessors_file_is_read_and_its_cloud_keys_are_told_to_have_no_effect(
    desk: Desk, tmp_path: Path
) -> None:
    file = tmp_path / "l6e.toml"
    file.write_text('api_key = "x"\ncloud_sync = true\n[calibration]\ngpt-5 = 1.5\n')
    settings = desk.load(L6E_CONFIG_PATH=str(file))
    assert settings.calibration_micros == {"gpt-5": 1_500_000}
    assert [notice.partition(": ")[0] for notice in settings.notices] == [f"{file}:1", f"{file}:2"]


# L6E_CALIBRATION_FACTORS          | factors in millionths
FACTORS = [
    ("gpt-5:1.5", {"gpt-5": 1_500_000}),
    (" gpt-5 : 2 , claude-opus-4.7:0.5", {"gpt-5": 2_000_000, "claude-opus-4.7": 500_000}),
    ("ollama/llama3:8b:1.1", {"ollama/llama3:8b": 1_100_000}),
    ("a:1000", {"a": 1_000_000_000}),
    ("a:1e2", {"a": 100_000_000}),
]


@pytest.mark.parametrize("text,expected", FACTORS)
def test_factors_are_read_from_the_predecessors_variable(desk: Desk, text: str, expected: dict[str, int]) -> None:
    assert desk.load(L6E_CALIBRATION_FACTORS=text).calibration_micros == expected


MALFORMED = ["a", "a:", ":1", "a:nan", "a:inf", "a:-inf", "a:0", "a:-1", "a:1001", "a:1e999", "a:x"]


@pytest.mark.parametrize("text", [*MALFORMED, "a:1,", "a:1,a:2"])
def test_a_factor_that_is_no_sensible_number_is_refused(desk: Desk, text: str) -> None:
    assert desk.refusal(TALLYGATE_CALIBRATION_FACTORS=text).startswith("TALLYGATE_CALIBRATION_FACTORS: ")


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_part_of_the_predecessors_factors_is_said_and_the_others_count(desk: Desk, text: str) -> None:
    found = desk.load(L6E_CALIBRATION_FACTORS=f"gpt-5:2,{text},gpt-4:3")
    assert found.calibration_micros == {"gpt-5": 2_000_000, "gpt-4": 3_000_000}
    [notice] = found.notices
    assert notice.startswith("L6E_CALIBRATION_FACTORS: ")


def test_of_two_factors_for_one_model_in_the_predecessors_variable_the_dearer_counts(desk: Desk) -> None:
    found = desk.load(L6E_CALIBRATION_FACTORS="a:3,a:2,")
    assert found.calibration_micros == {"a": 3_000_000}
    [notice] = found.notices
    assert "twice" in notice


@pytest.mark.parametrize("name", sorted(variables.VARIABLES))
def test_a_variable_with_a_value_that_fits_nothing_is_refused_by_name(desk: Desk, name: str) -> None:
    assert desk.refusal(**{name: "\x07"}).startswith(f"{name}: must be ")


def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant(desk: Desk) -> None:
    assert desk.refusal(TALLYGATE_BD="x") == "TALLYGATE_BD: unknown variable. Did you mean 'TALLYGATE_DB'?"


def test_an_empty_variable_is_as_good_as_none(desk: Desk) -> None:
    assert desk.load(**dict.fromkeys(variables.VARIABLES, "")) == desk.load()


def test_the_settings_of_this_repository_are_valid(desk: Desk) -> None:
    file = Path(__file__).resolve().parent.parent / ".l6e" / "config.toml"
    desk.shop(file.read_text(encoding="utf-8"))
    assert desk.load().notices == ()


def test_the_users_places_are_below_the_users_home(home: Path) -> None:
    found = places(around_here())
    assert found.home == home
    assert {home} <= set(found.config_dir.parents) & set(found.data_dir.parents)


def test_reading_settings_imports_nothing_heavy() -> None:
    program = (
        "import sys, tallygate.settings; "
        "print([m for m in ('pydantic', 'mcp', 'click', 'rich', 'genai_prices', 'tiktoken', 'sqlite3',"
        " 'asyncio', 'zoneinfo', 'tallygate.operations', 'tallygate.ledger') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


KEYS = st.text(st.sampled_from("ab-é\"'.=[#] \\"), min_size=1, max_size=4)
VALUES = st.one_of(
    st.integers(0, 9).map(str),
    st.sampled_from(['"=[#"', "'\"'", '"""\n=\n# "x\n"""', "'''\n[a]\nb=1'''", "[\n1, # ]\n2]", "{x = [1]}", '"\\""']),
)


@given(st.lists(st.tuples(st.sampled_from(["", "[{}]\n", "[[{}]]\n"]), KEYS, KEYS, VALUES), max_size=6))
def test_every_key_of_a_valid_text_is_found_on_its_line(parts: list[tuple[str, str, str, str]]) -> None:
    text, expected = "", set()
    for number, (header, table, key, value) in enumerate(parts):
        name = f"{quoted(f'{number}{table}')}"
        text += header.format(name) + f"# note = [\n\n{quoted(f'{number}{key}')} = "
        expected.add((f"{number}{key}", text.count("\n") + 1))
        text += value + "\n"
    found = key_lines(text)
    assert expected <= {(path[-1], line) for path, line in found.items()}


def quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_days_of_a_file_may_be_text_or_dates(desk: Desk) -> None:
    row = '[[price]]\nmatch = "x"\ninput = 1\noutput = 1\nfrom = {}\n'
    desk.shop(row.format("2026-10-01") + row.format('"2026-10-01"'))
    assert {row.valid_from for row in desk.load().pricing.overrides} == {dt.date(2026, 10, 1)}


def test_a_tenant_is_set_by_the_user_the_project_or_a_variable_and_the_later_one_counts(desk: Desk) -> None:
    assert desk.load().tenant == "default"
    desk.user("tenant = 'mine'")
    assert desk.load().tenant == "mine"
    desk.shop("tenant = 'acme'")
    assert desk.load().tenant == "acme"
    assert desk.load(TALLYGATE_TENANT="2024").tenant == "2024", "digits are a name, too"
    assert desk.load(TALLYGATE_TENANT="").tenant == "acme"
    with pytest.raises(SettingsError, match="TALLYGATE_TENANT: must be text of 1 to 100 letters"):
        desk.load(TALLYGATE_TENANT="a/b")


def project_budget(match: str) -> str:
    return f'[[budget]]\nscope = "project"\nperiod = "day"\nlimit_usd = 1\nmatch = "{match}"\n'


def test_a_match_for_folders_may_begin_at_home_and_a_price_for_a_project_too(desk: Desk) -> None:
    (desk.places.home / "shop").mkdir()
    price = '[[price]]\nmatch = "m"\ninput = 1\noutput = 1\nproject = "~/shop"\n'
    desk.user(project_budget("~/shop") + project_budget("~/sh*") + project_budget("shop") + price)
    settings, home = desk.load(), desk.places.home.resolve()
    assert [rule.match for rule in settings.budgets] == [f"{home}/shop", f"{home}/sh*", "shop"]
    assert settings.pricing.overrides[0].project == f"{home}/shop"
    assert settings.notices == ()


@pytest.mark.parametrize(
    "budget, told",
    [
        (project_budget("~/shopp"), "there is no folder"),
        (project_budget("/nowhere/at/all"), "there is no folder '/nowhere/at/all'"),
        (
            '[[budget]]\nscope = "client"\nperiod = "day"\nlimit_usd = 1\nmatch = "claud"\n',
            "claude-code, claude-desktop",
        ),
        ('[[budget]]\nscope = "client"\nperiod = "day"\nlimit_usd = 1\nmatch = "Claude_Code"\n', None),
        ('[[budget]]\nscope = "client"\nperiod = "day"\nlimit_usd = 1\nmatch = "claude*"\n', None),
        (project_budget("/nowhere/*"), None),
    ],
)
def test_a_budget_that_can_be_seen_to_bind_nothing_is_told_when_settings_are_read(desk: Desk, budget, told) -> None:
    desk.user(budget)
    notices = desk.load().notices
    assert [told in each for each in notices] == ([] if told is None else [True])


def test_work_outside_of_all_projects_is_done_in_a_folder_that_a_budget_may_name(desk: Desk, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    assert (desk.load(plain).paths.project_root, desk.load(plain).paths.folder) == (None, plain.resolve())
    assert desk.load(desk.places.home).paths.folder is None


@pytest.mark.parametrize("written", ["claude-code", "claude_code", '"Claude Code"'])
def test_the_ladder_of_a_client_is_found_in_every_spelling_of_its_name(desk: Desk, written) -> None:
    desk.user(f'[ladder]\ndefault = ["a"]\n{written} = ["b"]\n')
    ladder = desk.load().ladder
    assert [ladder.for_client(name) for name in ("claude_code", "claude-code", "codex")] == [("b",), ("b",), ("a",)]


PLAN = '[[budget]]\nscope = "plan"\nwindow = "5h"\n'


def test_a_limit_on_a_plan_is_read_beside_the_budgets_and_is_none(desk):
    desk.user(PLAN + 'at_percent = 75\nclient = "Codex CLI"\nunknown = "halt"\nmode = "soft"\n')
    found = desk.load()
    assert found.budgets == ()
    assert found.plan == (PlanRule(300, 75, BudgetMode.SOFT, "codex", PlanUnknown.HALT),)
    desk.user(PLAN.replace("5h", "weekly"))
    assert desk.load().plan == (PlanRule(10_080, 90),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[budget]]\nscope = "plan"\n', "a plan lacks its window"),
        (PLAN + "limit_usd = 5\n", "limits, match and period mean nothing for a plan"),
        (PLAN + 'match = "x"\n', "limits, match and period mean nothing for a plan"),
        (PLAN + "at_percent = 0\n", "at_percent must be a whole number from 1 to 100"),
        (PLAN.replace("5h", "day"), 'window must be "5h", "weekly"'),
        ('[[budget]]\nscope = "session"\nlimit_usd = 5\nwindow = "5h"\n', "belong to a plan"),
    ],
)
def test_a_limit_on_a_plan_that_says_something_else_is_refused(desk, text, said):
    desk.user(text)
    assert said in desk.refusal()


def test_a_plan_of_a_client_that_tells_of_none_is_said(desk):
    desk.user(PLAN + 'client = "gemini"\n')
    assert any("only Claude Code and Codex tell of theirs" in notice for notice in desk.load().notices)


def test_a_projects_limit_on_a_plan_binds_there_at_once_and_its_other_rows_keep_their_places(desk):
    desk.user('[[budget]]\nscope = "session"\nlimit_usd = 2\n')
    desk.shop(PLAN + '\n[[budget]]\nscope = "session"\nlimit_usd = 9\n')
    found = load_settings({}, desk.project, desk.places)
    assert [(rule.at_percent, rule.within) for rule in found.plan] == [(90, str(desk.project))]
    assert [row.shown.partition(" = ")[0] for row in found.waiting] == ["budget[2]"]
    assert "9" in found.waiting[0].shown


SERVERS = [
    ("postgresql://gate@db/t?sslmode=verify-full", None),
    ("postgres:///t?service=team", None),
    ("postgresql://gate:x@db/t", "must not hold a password"),
    ("postgresql://gate@db/t?password=x", "must not hold a password"),
    ("postgresql://gate:@db/t", "must not hold a password"),
    ("postgresql://gate@db/a b", "without spaces"),
    ("postgresql://[db/t", "must be an address"),
]


@pytest.mark.parametrize("address,refused", SERVERS)
def test_a_database_is_named_in_the_user_s_file_without_a_password(
    desk: Desk, address: str, refused: str | None
) -> None:
    desk.user(f"[paths]\ndatabase = '{address}'")
    if refused is not None:
        assert refused in desk.refusal()
        return
    paths = desk.load().paths
    assert paths.server == address
    assert paths.database == paths.data_dir / "ledger.db", "beside it lie what a server and its hooks leave there"
    assert not paths.holds_nothing
    assert "@" not in paths.ledger_name
    with pytest.raises(LedgerUnavailable, match="database postgres") as told:
        paths.in_a_file()
    assert told.value.code == "not_in_a_file"


def test_no_project_and_no_client_s_environment_leads_to_a_database(desk: Desk) -> None:
    desk.shop("[paths]\ndatabase = 'postgresql://evil/t'")
    assert "may be set in the user's settings file" in desk.refusal()
    desk.shop("")
    assert "in your settings file" in desk.refusal(TALLYGATE_DB="postgresql://evil/t")
    serving = dataclasses.replace(desk.places, serves_many=True)
    environ = {"TALLYGATE_DB": "postgresql://db/t"}
    assert load_settings(environ, desk.project, serving).paths.server == "postgresql://db/t"
    with pytest.raises(SettingsError, match="password"):
        load_settings({"TALLYGATE_DB": "postgresql://u:p@db/t"}, desk.project, serving)
    desk.user("[paths]\ndatabase = 'postgresql://db/t'")
    assert desk.load(TALLYGATE_DB="/x/ledger.db").paths.server is None, "whoever names a file means that one"
