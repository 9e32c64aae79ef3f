"""Work of several tenants beside one another: hooks, transcripts and telemetry each find the rows they belong to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.telling import event, payload
from tests.transcripts import write_claude

from tallygate.app import compose, settings_here
from tallygate.entrypoints.hook_dispatcher import HookDispatcher
from tallygate.operations.usage.telemetry import take_logs
from tallygate.operations.views.usage import UsageWanted, list_usage
from tallygate.reports.usage import ALWAYS_US, By
from tallygate.settings.projects import accept, fingerprint

SESSION = "0b5c9d9e-0000-4000-8000-000000000001"


@pytest.fixture
def shop(home):
    """A project of the tenant acme, in a home whose other work is of nobody in particular."""
    folder = home / "shop"
    (folder / ".l6e").mkdir(parents=True)
    (folder / ".l6e" / "config.toml").write_text('tenant = "acme"\n')
    settings = settings_here(cwd=folder)
    accept(settings.paths.data_dir, str(folder), fingerprint(settings.waiting))
    return folder


@pytest.fixture
def app(home, shop):
    """A program that was started elsewhere, as a server of another project is."""
    made = compose(settings_here(), by="test").for_hooks()
    yield made
    made.close()


def told(app, name, folder, transcript):
    raw = {"session_id": SESSION, "hook_event_name": name, "cwd": str(folder), "transcript_path": str(transcript)}
    return HookDispatcher(app.runtime_for).answer("claude_code", name, {**raw, "prompt_id": name, "prompt": "do it"})


def responses(app, tenant):
    with app.ledger.reading(tenant) as reader:
        return [(stored.row.session, stored.session_id) for stored in reader.usage_between(0, 2**62)]


def sessions(app, tenant):
    with app.ledger.reading(tenant) as reader:
        return [session.session_id for session in reader.sessions(state=None, limit=9)]


def test_a_hook_in_another_tenants_project_opens_and_counts_there(app, home, shop):
    transcript = write_claude(home, [], SESSION)
    told(app, "SessionStart", shop, transcript)
    write_claude(home, [1, 2], SESSION, at=datetime.now(UTC) + timedelta(milliseconds=1), cwd=str(shop))
    told(app, "UserPromptSubmit", shop, transcript)
    [session] = sessions(app, "acme")
    assert responses(app, "acme") == [(SESSION, session)] * 2
    assert sessions(app, "default") == []
    app.runtime.follower.include("claude_code", transcript)
    app.runtime.follower.catch_up()
    assert responses(app, "default") == [], "the program's own tenant reads the file, too, and counts nothing of it"
    found = list_usage(app.runtime, UsageWanted(-ALWAYS_US, ALWAYS_US), by=By.TENANT, zone=UTC, limit=9)
    assert [(line.key, line.whole.responses) for line in found.lines] == [(("acme",), 2)]


def test_telemetry_counts_for_the_tenant_whose_session_it_tells_of(app, home, shop):
    transcript = write_claude(home, [], SESSION)
    told(app, "SessionStart", shop, transcript)
    take_logs(app.runtime, payload(event(session=SESSION), event(session="another", request_id="req_2")))
    assert [row for row, _ in responses(app, "acme")] == [SESSION]
    assert [row for row, _ in responses(app, "default")] == ["another"]


def test_one_tenants_followers_are_kept_from_hook_to_hook(app, home, shop):
    first, again = app.runtime_for(shop), app.runtime_for(shop)
    assert first.tenant == "acme"
    assert first.follower is again.follower is not app.runtime.follower
    assert first.known_prices() is again.known_prices() is not app.runtime.known_prices()
