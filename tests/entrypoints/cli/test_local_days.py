"""Days are the user's own: of the settings, else of the machine; budgets know the settings alone."""

from __future__ import annotations

import os
import re
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from tests.transcripts import write_claude
from tests.world import changed

from tallygate.app import compose, priced_rules, settings_here
from tallygate.operations.gate.authorize import StatedStep, authorize
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.pricing.exchange import ExchangeBook
from tallygate.settings import places
from tallygate.settings.zones import machine_zone
from tallygate.surroundings import around_here

# 20:08 of the day before in Los Angeles, where it is winter; 13:08 in Tokyo.
EVENING = datetime(2026, 11, 20, 4, 8, tzinfo=UTC)
ANGELES, TOKYO = "America/Los_Angeles", "Asia/Tokyo"


def settings_file(text):
    path = places(around_here()).config_dir / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    "machine, own, zone, day",
    [
        (ANGELES, None, ANGELES, "2026-11-19"),
        (ANGELES, TOKYO, TOKYO, "2026-11-20"),
        (ANGELES, "UTC", "UTC", "2026-11-20"),
        (TOKYO, None, TOKYO, "2026-11-20"),
        ("no zone at all", ANGELES, ANGELES, "2026-11-19"),
    ],
)
def test_a_day_is_that_of_the_settings_else_of_the_machine(run_json, home, monkeypatch, machine, own, zone, day):
    write_claude(home, [1], "a", at=EVENING)
    monkeypatch.setenv("TZ", machine)
    if own is not None:
        settings_file(f'time_zone = "{own}"\n')
    found = run_json("usage")
    assert (found["time_zone"], [line["day"] for line in found["lines"]]) == (zone, [day])
    assert found["lines"][0]["first_at"].startswith("2026-11-20T04:08"), "moments stay in UTC"
    assert run_json("usage")["time_zone"] == zone


def test_a_table_names_its_zone_once(run, home, monkeypatch):
    write_claude(home, [1], "a", at=EVENING)
    write_claude(home, [1], "b", at=datetime(2026, 7, 1, 12, tzinfo=UTC))
    monkeypatch.setenv("TZ", ANGELES)
    head = run("usage").stdout.splitlines()[0]
    assert head.startswith("DAY (PDT/PST)  ")
    assert run("usage", "--by", "session").stdout.splitlines()[0].count("(PST/PDT)") == 1
    monkeypatch.setenv("TZ", "America/Sao_Paulo")
    assert run("usage", "--since", "2026-11-01").stdout.startswith("DAY (UTC-03)")
    assert "(" not in run("usage", "--by", "model").stdout.splitlines()[0], "nothing in it is a time"


def test_the_zone_of_the_environment_moves_no_budget(run, home, monkeypatch):
    settings_file('[[budget]]\nscope = "global"\nperiod = "day"\nlimit_usd = 5\n')
    monkeypatch.setenv("TZ", TOKYO)
    [rule] = priced_rules(settings_here(), ExchangeBook())
    assert rule.zone == "UTC"
    said = run("status").stdout
    assert "Asia/Tokyo, this machine's; budgets renew by UTC until you set time_zone" in said
    settings_file(f'time_zone = "{ANGELES}"\n[[budget]]\nscope = "global"\nperiod = "day"\nlimit_usd = 5\n')
    [rule] = priced_rules(settings_here(), ExchangeBook())
    assert rule.zone == ANGELES
    assert "America/Los_Angeles\n" in run("status", "-v").stdout


def test_a_halt_tells_times_as_lists_do_and_moves_no_budget(home, monkeypatch):
    settings_file('[[budget]]\nscope = "global"\nperiod = "day"\nlimit_usd = 0.01\n')
    monkeypatch.setenv("TZ", TOKYO)
    with closing(compose(settings_here(), by="test")) as app:
        opened = start_session(app.runtime, Opening(limit_nanos=10**9, model="claude-opus-4.7", client="test"))
        answer = authorize(app.runtime, StatedStep(opened.session.session_id, "edit", prompt_tokens=500_000))
    assert re.search(r"It renews at \d{4}-\d\d-\d\d 09:00 JST", answer.message)
    assert answer.binding.resets_us % (24 * 3_600_000_000) == 0, "which is midnight of UTC, where no zone is set"


@pytest.fixture
def claude(home, monkeypatch):
    (home / ".claude").mkdir()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("TZ", TOKYO)


def own_zone():
    settings = settings_here(os.environ)
    return settings.time_zone if settings.zone_is_set else None


def test_init_takes_the_machines_zone_once(run, claude, monkeypatch):
    assert own_zone() is None
    run("init")
    assert own_zone() == TOKYO
    monkeypatch.setenv("TZ", ANGELES)
    run("init")
    assert own_zone() == TOKYO, "somebody who travels keeps his days until he says otherwise"
    run("uninstall")
    assert own_zone() is None


def test_init_leaves_the_zone_of_windows_that_have_begun(run, claude, made):
    settings_file('[[budget]]\nscope = "global"\nperiod = "day"\nlimit_usd = 5\n')
    ruled = replace(made.app, runtime=changed(made.app.runtime, rules=priced_rules(settings_here(), ExchangeBook())))
    there = replace(made, app=ruled)
    assert there.call(there.session(5), prompt=100, output=0, tool_name="plan")
    (places(around_here()).config_dir / "config.toml").unlink()
    run("init")
    assert (settings_here().budgets != (), own_zone()) == (True, None)


@pytest.mark.parametrize(
    "environ, link, name, zone",
    [
        ({"TZ": "Europe/Berlin"}, None, None, "Europe/Berlin"),
        ({"TZ": ":Europe/Berlin"}, None, None, "Europe/Berlin"),
        ({"TZ": ":/usr/share/zoneinfo/Europe/Berlin"}, None, None, "Europe/Berlin"),
        ({"TZ": "<+03>-3"}, "/usr/share/zoneinfo/Asia/Tokyo", None, TOKYO),
        ({"TZ": ""}, "/usr/share/zoneinfo/Asia/Tokyo", "Europe/Berlin", TOKYO),
        ({}, "/var/db/timezone/zoneinfo/America/Los_Angeles", None, ANGELES),
        ({}, None, "Europe/Berlin\n", "Europe/Berlin"),
        ({}, None, "../../etc/passwd\n", None),
        ({}, None, "\x00\n", None),
        ({}, None, None, None),
    ],
)
def test_the_zone_of_a_machine_is_a_name_that_is_known(tmp_path, environ, link, name, zone):
    if link is not None:
        (tmp_path / "localtime").symlink_to(link)
    if name is not None:
        (tmp_path / "timezone").write_text(name)
    assert machine_zone(environ, tmp_path / "localtime", tmp_path / "timezone") == zone
