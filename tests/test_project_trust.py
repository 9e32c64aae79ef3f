"""What a project's file may do by itself, what waits for the user, and how long a yes holds."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from tallygate.clients.registry import REGISTRY
from tallygate.core.costing import LOCAL_RUNTIMES
from tallygate.core.gate.rules import RuleTarget, rules_that_apply
from tallygate.core.places import as_written
from tallygate.pricing.book import PriceBook
from tallygate.settings import Settings, UserPlaces, load_settings, sections
from tallygate.settings.load import load_from
from tallygate.settings.projects import (
    KEPT,
    TRUST_FILE,
    accept,
    accepted_hashes,
    fingerprint,
    forget,
    holds,
    repository_of,
)

from .pricing.ids import AT  # isort: skip


class Clone:
    """A user, and a project that somebody else wrote."""

    def __init__(self, base: Path) -> None:
        self.places = UserPlaces(base / "home", base / "home/config", base / "home/data")
        self.root = base / "work" / "shop"
        for folder in (self.places.config_dir, self.root / ".l6e", self.root / ".git"):
            folder.mkdir(parents=True)

    def load(self, root: Path | None = None, **environ: str) -> Settings:
        return load_settings(environ, root or self.root, self.places)

    def user(self, text: str) -> None:
        (self.places.config_dir / "config.toml").write_text(text, encoding="utf-8")

    def shop(self, text: str, root: Path | None = None) -> None:
        (root or self.root).joinpath(".l6e", "config.toml").write_bytes(text.encode())

    def trust(self) -> None:
        accept(self.places.data_dir, str(self.root), fingerprint(self.load().waiting))


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


# What the user has                     what the project sets                      what waits
CASES = [
    ("", '[policy]\non_fault = "allow"', ["policy.on_fault"]),
    ('[policy]\non_fault = "allow"', '[policy]\non_fault = "halt"', []),
    ("", '[policy]\nbudget_mode = "soft"', ["policy.budget_mode"]),
    ('[policy]\nbudget_mode = "soft"', '[policy]\nbudget_mode = "hard"', []),
    ("", '[policy]\nexpire_as = "release"', ["policy.expire_as"]),
    ("", '[policy]\nunknown_price = "halt_on_unknown_pricing"', []),
    ('[policy]\nunknown_price = "reroute_required"', '[policy]\nunknown_price = "warn_only"', ["policy.unknown_price"]),
    ("", 'time_zone = "Asia/Tokyo"', ["time_zone"]),
    ("", 'time_zone = "UTC"', []),
    ("", 'tenant = "acme"', ["tenant"]),
    ("", "[policy]\nreservation_ttl_minutes = 1", ["policy.reservation_ttl_minutes"]),
    ("", "[policy]\nwarn_threshold = 0.1", ["policy.warn_threshold"]),
    ("", '[usage]\ntranscripts = "off"\ntelemetry = "off"', ["usage.transcripts", "usage.telemetry"]),
    ("", '[[price]]\nmatch = "*"\ninput = 0\noutput = 0', ["price"]),
    ("", '[[discount]]\nmatch = "*"\nmultiplier = 0.01', ["discount"]),
    ("", '[alias]\nopus = "haiku"', ["alias.opus"]),
    ('[alias]\nopus = "haiku"', '[alias]\nopus = "haiku"', []),
    ("", '[calibration]\n"m" = 0.1', ["calibration.m"]),
    ("", '[ladder]\ndefault = ["a"]', ["ladder.default"]),
    ("", '[pricing]\nlocal_channels = ["openai"]', ["pricing.local_channels"]),
    ("", f"[pricing]\nlocal_channels = {list(LOCAL_RUNTIMES)}", ["pricing.local_channels"]),
    (f"[pricing]\nlocal_channels = {list(LOCAL_RUNTIMES)}", f"[pricing]\nlocal_channels = {list(LOCAL_RUNTIMES)}", []),
    ("", "[unknown_price]\ninput_per_thousand = 0.000001", ["unknown_price.input_per_thousand"]),
    ("", "[exchange.GBP]\nusd_per_unit = 0.1\nday = 2026-11-01", ["exchange.GBP"]),
    ("", '[[budget]]\nscope = "global"\nperiod = "day"\nlimit_usd = 900', []),
    ("", '[[budget]]\nscope = "session"\nlimit_usd = 4', []),
    ("", '[[budget]]\nscope = "session"\nlimit_usd = 6', ["budget"]),
    ("", '[[budget]]\nscope = "session"\nlimit_usd = 4\nmode = "soft"', ["budget"]),
    ('[[budget]]\nscope = "session"\nlimit_usd = 9', '[[budget]]\nscope = "session"\nlimit_usd = 9', []),
]


NAMED = '[[budget]]\nscope = "{}"\nname = "x"\nperiod = "day"\nlimit_usd = {}\n'
for scope in ("agent", "skill", "mcp_server"):
    CASES += [("", NAMED.format(scope, 9), []), (NAMED.format(scope, 5), NAMED.format(scope, 900), [])]


@pytest.mark.parametrize("scope", ["agent", "skill", "mcp_server"])
def test_a_project_s_limit_on_a_name_stands_beside_the_user_s_and_binds_work_there_alone(
    clone: Clone, scope: str
) -> None:
    clone.user(NAMED.format(scope, 5))
    for dollars in (2, 900):
        clone.shop(NAMED.format(scope, dollars) + 'mode = "hard"\n')
        found = [(rule.limit // 10**9, rule.within) for rule in clone.load().budgets if rule.match == "x"]
        assert sorted(found, key=str) == sorted([(5, None), (dollars, str(clone.root))], key=str)


@pytest.mark.parametrize("user,project,waits", CASES)
def test_what_may_loosen_waits_and_what_tightens_counts_at_once(
    clone: Clone, user: str, project: str, waits: list[str]
) -> None:
    clone.user(user)
    alone = clone.load()
    clone.shop(project)
    found = clone.load()
    assert [row.key for row in found.waiting] == waits
    if waits:
        assert (found.policy, found.pricing, found.usage, found.tenant, found.time_zone) == (
            (alone.policy, alone.pricing, alone.usage, alone.tenant, alone.time_zone)
        ), "until then the gate goes by the user's values"
        assert found.spoken
        assert "tallygate trust" in found.spoken[0]
        clone.trust()
        after = clone.load()
        assert after.waiting == ()
        assert after != alone


def test_every_setting_waits_that_is_not_on_the_list_of_what_may_tighten() -> None:
    tighten = [path for path, each in sections.SCALARS.items() if each.projects_may]
    assert {f"{section}.{key}" for section, key in tighten} == {
        "loops.mode",
        "policy.budget_mode",
        "policy.on_fault",
        "policy.expire_as",
        "policy.unknown_price",
    }
    # An alert stands in the user's own file alone: tests/test_settings.py.
    rows = {"price", "discount", "budget", "alert"}
    assert set(sections.ROWS) == rows, "another kind of row needs a rule of when it tightens"


# One value for every key of the schema that differs from its default, so that the walk below sees each of them move.
LOOSE = {
    "currency": "GBP",
    "time_zone": "Asia/Tokyo",
    "log_level": "error",
    "tenant": "other",
    "policy.reroute_threshold": Decimal("0.99"),
    "policy.warn_threshold": Decimal("0.99"),
    "policy.pressure_bands": [Decimal("0.97"), Decimal("0.98"), Decimal("0.99")],
    "policy.budget_mode": "soft",
    "policy.on_fault": "allow",
    "policy.expire_as": "release",
    "policy.reservation_ttl_minutes": 1,
    "policy.abandon_after_minutes": 5,
    "policy.unknown_price": "warn_only",
    "policy.local_model": "ollama/x",
    "policy.calibration": "observe",
    "policy.calibration_quantile": Decimal("0.5"),
    "ledger.durability": "normal",
    "ledger.lock_timeout_ms": 50,
    "ledger.retention_days": 200,
    "usage.transcripts": "off",
    "usage.telemetry": "off",
    "usage.telemetry_port": 2000,
    "privacy.task_summaries": "drop",
    "server.resident": "auto",
    "statusline.show": ["today"],
    "statusline.width": 80,
    "cold_cache.say_from": Decimal("0.9"),
    "loops.mode": "off",
}


def test_a_walk_over_the_schema_finds_no_key_that_a_project_loosens_by_itself(clone: Clone) -> None:
    clone.user('[policy]\nunknown_price = "reroute_required"\n')
    keys = [".".join(filter(None, path)) for path in sections.SCALARS]
    alone = clone.load()
    for key in keys:
        if key.startswith("enforcement."):
            continue  # a project that has this section is refused as a whole
        assert key in LOOSE, f"{key} is new: say here what would loosen it, and whether it may tighten"
        section, _, name = key.rpartition(".")
        value = LOOSE[key]
        text = json.dumps(value, default=float)
        clone.shop((f"[{section}]\n" if section else "") + f"{name} = {text}\n")
        found = clone.load()
        assert [row.key for row in found.waiting] == [key]
        assert (found.policy, found.ledger, found.usage, found.privacy) == (
            (alone.policy, alone.ledger, alone.usage, alone.privacy)
        )
        assert (found.currency, found.time_zone, found.log_level, found.tenant) == (
            (alone.currency, alone.time_zone, alone.log_level, alone.tenant)
        )


PRICE = '[[price]]\nmatch = "{}"\ninput = {}\noutput = {}\n'


@pytest.mark.parametrize(("rates", "counts"), [((0, 0), False), ((900, 900), True), ((900, 0), False)])
def test_a_price_of_a_project_counts_only_where_it_is_dearer_in_every_class(
    clone: Clone, rates: tuple[int, int], counts: bool
) -> None:
    clone.user(PRICE.format("m-*", 10, 20))
    clone.shop(PRICE.format("m-*", *rates))
    found = clone.load()
    price = PriceBook(found.pricing, dearer=found.dearer).quote("m-1", AT)
    assert (price.rates.input_nanos // 10**9) == (rates[0] if counts else 10)
    clone.trust()
    trusted = clone.load()
    assert trusted.dearer is None
    assert PriceBook(trusted.pricing).quote("m-1", AT).rates.input_nanos // 10**9 == rates[0]


def test_a_dearer_row_of_a_project_makes_no_unknown_model_a_known_one(clone: Clone) -> None:
    clone.shop(PRICE.format("nobody-knows-it", 9_000, 9_000))
    found = clone.load()
    price = PriceBook(found.pricing, dearer=found.dearer).quote("nobody-knows-it", AT)
    assert (price.rates.input_nanos, price.known) == (9_000 * 10**9, False)


def test_a_budget_of_a_project_is_a_row_of_its_own_and_binds_work_there_alone(clone: Clone) -> None:
    row = '[[budget]]\nscope = "user"\nperiod = "day"\nlimit_usd = {}\n'
    clone.user(row.format(5))
    clone.shop(row.format(1))
    rules = clone.load().budgets
    here = rules_that_apply(
        rules, RuleTarget("default", "claude-code", "me", as_written(str(clone.root)), names_of=REGISTRY.names.of)
    )
    below = rules_that_apply(
        rules,
        RuleTarget("default", "claude-code", "me", as_written(str(clone.root / "sub")), names_of=REGISTRY.names.of),
    )
    elsewhere = rules_that_apply(
        rules,
        RuleTarget("default", "claude-code", "me", as_written(str(clone.root) + "-2"), names_of=REGISTRY.names.of),
    )
    ids = [rule.budget_id("2026-11-30") for rule in here]
    assert ids == ["user:me:day:2026-11-30", f"user:me:day:2026-11-30:in:{clone.root}"]
    assert [rule.limit // 10**9 for rule in here] == [5, 1]
    assert len(below) == 2
    assert [rule.within for rule in elsewhere] == [None]


def test_a_trusted_project_may_give_a_session_more(clone: Clone) -> None:
    clone.user('[[budget]]\nscope = "session"\nlimit_usd = 2\n')
    clone.shop('[[budget]]\nscope = "session"\nlimit_usd = 10\n')
    assert clone.load().session_budget.limit == 2 * 10**9
    clone.trust()
    found = clone.load()
    assert found.session_budget.limit == 10 * 10**9
    assert [rule.limit // 10**9 for rule in found.budgets] == [10]


SAME = [
    '[policy]\non_fault = "allow"\n[[discount]]\nmatch = "x"\nmultiplier = 0.50\n',
    "# a comment\n[[discount]]\nmultiplier = 0.5\nmatch = 'x'\n\n[policy]\non_fault = 'allow' # why\n",
    '[policy]\r\non_fault = "allow"\r\n[[discount]]\r\nmatch = "x"\r\nmultiplier = 0.500\r\n',
    '[policy]\non_fault="allow"\n[[discount]]\nmatch="x"\nmultiplier=0.5\n[[budget]]\nscope="user"\nperiod="day"\nlimit_usd=1',
]
OTHER = [
    '[policy]\non_fault = "allow"\n[[discount]]\nmatch = "x"\nmultiplier = 0.4\n',
    '[[discount]]\nmatch = "x"\nmultiplier = 0.5\n',
    '[policy]\non_fault = "allow"\nexpire_as = "release"\n[[discount]]\nmatch = "x"\nmultiplier = 0.5\n',
]


def test_comments_line_ends_and_tighter_limits_do_not_wait_again_and_other_values_do(clone: Clone) -> None:
    clone.shop(SAME[0])
    clone.trust()
    for text in SAME:
        clone.shop(text)
        assert clone.load().waiting == (), text
    for text in OTHER:
        clone.shop(text)
        assert clone.load().waiting, text


def test_switching_between_branches_asks_once_for_each_and_the_last_twenty_are_kept(clone: Clone) -> None:
    branch = '[[discount]]\nmatch = "x"\nmultiplier = 0.{:02}\n'
    for number in range(1, KEPT + 2):
        clone.shop(branch.format(number))
        clone.trust()
    clone.shop(branch.format(2))
    assert clone.load().waiting == ()
    clone.shop(branch.format(1))
    assert clone.load().waiting, "the oldest of twenty-one is forgotten"
    assert forget(clone.places.data_dir, str(clone.root))
    clone.shop(branch.format(5))
    assert clone.load().waiting


def worktree(clone: Clone, folder: Path) -> Path:
    """A worktree of the project as git makes one."""
    kept = clone.root / ".git" / "worktrees" / folder.name
    kept.mkdir(parents=True)
    (folder / ".l6e").mkdir(parents=True)
    (folder / ".git").write_text(f"gitdir: {kept}\n")
    (kept / "gitdir").write_text(f"{folder / '.git'}\n")
    (kept / "commondir").write_text("../..\n")
    (clone.root / ".git" / "objects").mkdir(exist_ok=True)
    (clone.root / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    return folder


def test_a_yes_holds_in_worktrees_and_not_in_another_clone(clone: Clone, tmp_path: Path) -> None:
    loose = '[policy]\non_fault = "allow"\n'
    clone.shop(loose)
    clone.trust()
    tree = worktree(clone, tmp_path / "trees" / "fix")
    clone.shop(loose, tree)
    assert clone.load(tree).waiting == ()
    other = tmp_path / "other" / "shop"
    for name in (".l6e", ".git"):
        (other / name).mkdir(parents=True)
    clone.shop(loose, other)
    assert clone.load(other).waiting
    # A stranger's folder that only says it is a worktree of a trusted repository is believed nothing.
    liar = tmp_path / "liar"
    (liar / ".l6e").mkdir(parents=True)
    (liar / ".git").write_text(f"gitdir: {clone.root / '.git' / 'worktrees' / 'fix'}\n")
    clone.shop(loose, liar)
    assert repository_of(liar, clone.places.home) == liar
    assert clone.load(liar).waiting


def test_a_record_of_trust_that_others_could_write_or_that_is_damaged_has_accepted_nothing(clone: Clone) -> None:
    clone.shop('[policy]\non_fault = "allow"\n')
    clone.trust()
    file = clone.places.data_dir / TRUST_FILE
    assert file.stat().st_mode & 0o077 == 0
    file.chmod(0o666)
    assert clone.load().waiting
    file.chmod(0o600)
    assert clone.load().waiting == ()
    for text in ("", "[]", '{"version": 2, "projects": {}}', '{"version": 1, "projects": 3}', "{" * 100_000):
        file.write_text(text)
        assert clone.load().waiting
        assert accepted_hashes(clone.places.data_dir, str(clone.root)) == ()


def test_a_projects_file_that_cannot_be_read_leaves_the_users_settings_and_is_a_fault_for_the_gate(
    clone: Clone,
) -> None:
    clone.user('[[budget]]\nscope = "global"\nperiod = "day"\nlimit_usd = 3\n')
    clone.shop("[policy]\non_fualt = 1\n")
    found = clone.load()
    assert found.fault is not None
    assert f"{clone.root}/.l6e/config.toml:2: unknown setting 'policy.on_fualt'" in str(found.fault)
    assert [rule.limit for rule in found.budgets] == [3 * 10**9]
    assert any("on_fualt" in text for text in found.notices)
    with pytest.raises(type(found.fault)):
        found.sound()


def test_what_waits_is_shown_with_what_holds_now_and_without_control_characters(clone: Clone) -> None:
    clone.user('[policy]\non_fault = "halt"\n')
    clone.shop('[policy]\non_fault = "allow"\n[[budget]]\nscope = "session"\nlimit_usd = 70\n')
    project = load_from({}, clone.root, clone.places).project
    assert project is not None
    assert [(row.shown, row.before) for row in project.waiting] == [
        ('policy.on_fault = "allow"', '"halt"'),
        ('budget[1] = { scope = "session", limit_usd = 70 }', "$5.00 for a session, hard"),
    ]
    assert project.waiting[1].where.endswith("config.toml:3")


@pytest.mark.parametrize("section, key", sections.SCALARS)
def test_what_holds_now_is_said_as_a_settings_file_would_say_it_where_nobody_has_set_it(
    clone: Clone, section: str, key: str
) -> None:
    rule = sections.SCALARS[section, key]
    value = rule.value_in(clone.load(), section)
    said = holds(rule, value)
    if value is None:
        assert said == "not set"
    else:
        assert rule.check(tomllib.loads(f"value = {said}", parse_float=Decimal)["value"]) == value


def test_the_default_that_holds_is_said_with_its_value(clone: Clone) -> None:
    clone.shop('[policy]\nbudget_mode = "soft"\non_fault = "allow"\n[unknown_price]\ninput_per_thousand = 0.001\n')
    project = load_from({}, clone.root, clone.places).project
    assert project is not None
    assert [row.before for row in project.waiting] == ['"hard"', '"halt"', "0.025"]
