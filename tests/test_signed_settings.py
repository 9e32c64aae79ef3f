"""The user's file while the limits are locked: the signed rows hold, and what is tighter counts at once."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from tallygate.core.gate.rules import BudgetScope
from tallygate.core.lock import Lock, LockStanding
from tallygate.settings import UserPlaces, load_settings, sections
from tallygate.settings.load import load_from
from tallygate.settings.signed import NEUTRAL, users_rows

DAY = '[[budget]]\nscope = "global"\nperiod = "day"\nlimit_usd = {}\n'
PLAN = '[[budget]]\nscope = "plan"\nwindow = "5h"\nat_percent = {}\n'
NAMED = '[[budget]]\nscope = "{}"\nname = "x"\nperiod = "day"\nlimit_usd = {}\n'
SESSION = '[[budget]]\nscope = "session"\nlimit_usd = {}\n'


class Home:
    """A user whose settings file is signed as it is, and changed afterwards."""

    def __init__(self, base):
        self.places = UserPlaces(base, base / "config", base / "data")
        self.places.config_dir.mkdir()
        self.folder = base / "work"
        self.folder.mkdir()
        self.rows = "{}"

    def write(self, text):
        (self.places.config_dir / "config.toml").write_text(text, encoding="utf-8")

    def sign(self, text):
        self.write(text)
        self.rows = users_rows(load_from({}, self.folder, self.places).user)

    def load(self, **environ):
        lock = Lock("key", 0, self.rows, 0)
        return load_settings(environ, self.folder, self.places, lambda _: LockStanding(lock))


@pytest.fixture
def user(tmp_path):
    return Home(tmp_path)


# What was signed             what the file says by now           what of it waits
CASES = [
    (DAY.format(10), DAY.format(50), ["budget"]),
    (DAY.format(10), DAY.format(5), []),
    (DAY.format(10), "", ["budget"]),
    ("", DAY.format(50), []),
    (DAY.format(10), DAY.format("10.00"), []),
    (DAY.format(10), "# a comment\n" + DAY.format(10), []),
    (DAY.format(10), DAY.format(10) + 'mode = "soft"\n', ["budget"]),
    (DAY.format(10), '[policy]\nbudget_mode = "soft"\n' + DAY.format(10), ["policy.budget_mode", "budget", "budget"]),
    (PLAN.format(90), PLAN.format(95), ["budget"]),
    (PLAN.format(90), PLAN.format(80), []),
    (PLAN.format(90), PLAN.format(90) + 'mode = "soft"\n', ["budget"]),
    (PLAN.format(90) + 'unknown = "halt"\n', PLAN.format(90), ["budget"]),
    (PLAN.format(90), "", ["budget"]),
    ("", PLAN.format(90), []),
    (SESSION.format(4), SESSION.format(9), ["budget"]),
    (SESSION.format(9), SESSION.format(4), []),
    (SESSION.format(4), "", ["budget"]),
    (SESSION.format(9), "", []),
    ("", SESSION.format(9), ["budget"]),
    ("", '[policy]\non_fault = "allow"', ["policy.on_fault"]),
    ('[policy]\non_fault = "allow"', "", []),
    ('[policy]\nunknown_price = "halt_on_unknown_pricing"', "", ["policy.unknown_price"]),
    ("", '[enforcement]\nagents_may = ["budget raise"]', ["enforcement.agents_may"]),
    ('[enforcement]\nagents_may = ["budget raise"]', "", []),
    ("", '[enforcement]\nstop = "refuse"', ["enforcement.stop"]),
    ("", 'time_zone = "Asia/Tokyo"', ["time_zone"]),
    ("", 'tenant = "acme"', ["tenant"]),
    ("", 'log_level = "debug"\n[privacy]\ntask_summaries = "drop"', []),
    ("", '[usage]\ntranscripts = "off"', ["usage.transcripts"]),
    ("", '[[price]]\nmatch = "*"\ninput = 0\noutput = 0', ["price"]),
    ('[[price]]\nmatch = "m"\ninput = 9\noutput = 9\nfrom = 2026-01-01', "", ["price"]),
    ("", '[[discount]]\nmatch = "*"\nmultiplier = 0.1', ["discount"]),
    ("", '[calibration]\n"m" = 0.1', ["calibration"]),
    ("", '[alias]\nopus = "haiku"', ["alias"]),
    ("", '[ladder]\ndefault = ["a"]', ["ladder"]),
    ("", '[pricing]\nlocal_channels = ["openai"]', ["pricing"]),
    ("", "[exchange.GBP]\nusd_per_unit = 0.1\nday = 2026-11-01", ["exchange"]),
    ("", '[paths]\nrun_log = "x.jsonl"', ["paths.run_log"]),
    ('[paths]\ndatabase = "/a/ledger.db"\ndata_dir = "d"', "", ["paths.data_dir", "paths.database"]),
    ('[paths]\nkey_dir = "a"', '[paths]\nkey_dir = "b"', ["paths.key_dir"]),
    ("", "[unknown_price]\ninput_per_thousand = 0.000001", ["unknown_price"]),
]


for scope in ("agent", "skill", "mcp_server"):
    ten = NAMED.format(scope, 10)
    CASES += [
        (ten, NAMED.format(scope, 50), ["budget"]),
        (ten, NAMED.format(scope, 5), []),
        (ten, "", ["budget"]),
        (ten, ten.replace('"x"', '"y"'), ["budget"]),
        (ten, ten.replace('"day"', '"week"'), ["budget"]),
        (ten, ten + 'mode = "soft"\n', ["budget"]),
        ("", ten, []),
    ]


@pytest.mark.parametrize(("signed", "now", "waits"), CASES)
def test_what_is_looser_than_was_signed_waits_and_is_named_and_the_rest_counts(user, signed, now, waits):
    user.sign(signed)
    user.write(now)
    found = user.load()
    assert [row.key for row in found.loosened] == waits
    assert any("trust --user" in text for text in found.spoken) == bool(waits)
    assert found.fault is None


@pytest.mark.parametrize(("signed", "now", "waits"), CASES)
def test_signing_the_file_puts_all_of_it_in_force(user, signed, now, waits):
    user.sign(signed)
    user.sign(now)
    found = user.load()
    bare = load_settings({}, user.folder, user.places)
    assert found.loosened == ()
    skipped = {"lock", "foreign", "fault"}
    for each in fields(found):
        if each.name not in skipped:
            assert getattr(found, each.name) == getattr(bare, each.name), each.name


def limits(settings):
    return sorted((rule.scope, rule.mode, rule.limit // 10**9) for rule in settings.budgets)


def test_of_signed_and_written_limits_the_tighter_holds(user):
    user.sign(DAY.format(10) + SESSION.format(4))
    user.write(DAY.format(50) + SESSION.format(9))
    assert limits(user.load()) == [(BudgetScope.GLOBAL, "hard", 10), (BudgetScope.SESSION, "hard", 4)]
    user.write(DAY.format(3) + SESSION.format(2))
    assert limits(user.load()) == [(BudgetScope.GLOBAL, "hard", 3), (BudgetScope.SESSION, "hard", 2)]
    user.write("")
    assert limits(user.load())[0] == (BudgetScope.GLOBAL, "hard", 10)
    user.write(DAY.format(10).replace("global", "user") + SESSION.format(4))
    assert [row[0] for row in limits(user.load())] == [BudgetScope.GLOBAL, BudgetScope.SESSION, BudgetScope.USER]


@pytest.mark.parametrize("scope", ["agent", "skill", "mcp_server"])
def test_a_higher_limit_on_a_name_that_is_not_signed_is_not_gone_by(user, scope):
    user.sign(NAMED.format(scope, 10))
    for written, held in ((50, 10), (3, 3), (9_000, 10)):
        user.write(NAMED.format(scope, written))
        assert (BudgetScope(scope), "hard", held) in limits(user.load())
        assert len(limits(user.load())) == 2, "and what a session has without settings"


def test_a_file_that_is_gone_leaves_what_was_signed_in_force(user):
    user.sign(DAY.format(10) + '[policy]\nunknown_price = "halt_on_unknown_pricing"\n')
    (user.places.config_dir / "config.toml").unlink()
    found = user.load()
    assert found.policy.unknown_price == "halt_on_unknown_pricing"
    assert (BudgetScope.GLOBAL, "hard", 10) in limits(found)
    assert found.loosened


def test_of_prices_the_dearer_one_counts_while_the_other_waits(user):
    from tallygate.pricing.book import PriceBook

    from .pricing.ids import AT

    row = '[[price]]\nmatch = "m"\ninput = {}\noutput = {}\n'
    user.sign(row.format(5, 5))
    for now, least in ((row.format(1, 1), 5), (row.format(9, 9), 9), ("", 5)):
        user.write(now)
        found = user.load()
        rate = PriceBook(found.pricing, dearer=found.dearer).quote("m", AT).rates.input_nanos
        assert rate == least * 10**9 if now else rate >= least * 10**9


def test_a_variable_loosens_nothing_while_the_limits_are_locked(user):
    user.sign(DAY.format(10))
    assert user.load(TALLYGATE_BUDGET_MODE="soft").policy.budget_mode == "hard"


def test_signed_rows_that_cannot_be_read_shut_the_gate_and_name_the_way_out(user):
    user.sign(DAY.format(10))
    for rows in ('{"nonsense":{"int":"1"}}', json.dumps({"policy": {"map": {"on_fault": "perhaps"}}})):
        user.rows = rows
        found = user.load()
        assert found.fault is not None
        assert "trust --user" in found.fault.hint


@pytest.mark.parametrize(
    "rows", ["", "[]", '{"budget":{"what":1}}', '{"budget":{"int":"x"}}', '{"a":{"time":["x","y"]}}']
)
def test_signed_rows_that_are_none_shut_the_gate(user, rows):
    user.rows = rows
    user.write(DAY.format(10))
    assert user.load().fault is not None


def test_what_loosens_nothing_is_a_list_of_keys_that_there_are():
    assert {".".join(filter(None, path)) for path in NEUTRAL} == {
        "currency",
        "log_level",
        "ledger.lock_timeout_ms",
        "ledger.retention_days",
        "usage.telemetry_port",
        "server.resident",
        "privacy.task_summaries",
        "cold_cache.say_from",
        "statusline.show",
        "statusline.width",
    }


def test_of_what_loosens_nothing_only_what_tells_counts_from_a_client_too():
    assert [path for path, each in sections.SCALARS.items() if each.only_tells] == [("", "log_level")]
    assert ("", "log_level") in NEUTRAL


def test_alerts_are_those_that_were_signed(user):
    mine, another = ('[[alert]]\nrun = ["mine"]\n', '[[alert]]\nrun = ["another"]\n')
    user.sign(mine)
    assert [each.run for each in user.load().alerts] == [("mine",)]
    for now in ("", another, mine + another):
        user.write(now)
        found = user.load()
        assert [each.run for each in found.alerts] == [("mine",)]
        assert len(found.loosened) == 1
