"""Evidence as one file in a real browser, from the disk: it verifies itself, and a copy that was changed is refused."""

from __future__ import annotations

import re

import pytest
from tests.e2e.page.test_browser import violations
from tests.world import make_world

from tallygate.attest.keyring import KeyRing
from tallygate.entrypoints.page.auditor import auditor_file
from tallygate.operations.proof.attest import bundle_archive
from tallygate.operations.sessions.ending import end_session

pytestmark = pytest.mark.e2e


@pytest.fixture
def evidence(tmp_path):
    """A session's evidence as a file, and the id of the key that signed it."""
    world = make_world(tmp_path).with_runtime(keys=KeyRing(tmp_path / "keys"))
    session_id = world.start("1", task_summary="mend <b>it</b> \u202e \u00e9\u20ac")
    world.ask(session_id, 5000)
    end_session(world.rt, session_id)
    file = tmp_path / "evidence.html"
    file.write_bytes(auditor_file(bundle_archive(world.rt, session_id), session_id))
    yield file, world.rt.services.keys.public().keyid
    world.ledger.close()


@pytest.fixture
def opened(chromium):
    """Open a file; nothing but the file is asked for."""
    contexts, asked = [], []

    def look(file, **options):
        contexts.append(chromium.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(file.as_uri())
        return tab

    yield look
    for context in contexts:
        context.close()
    assert {url.partition(":")[0] for url in asked} <= {"file"}
    assert all(url.endswith(".html") for url in asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_verifies_itself_offline_by_a_key_from_elsewhere(opened, evidence, axe, scheme):
    file, keyid = evidence
    tab = opened(file, offline=True, color_scheme=scheme)
    said = []
    tab.on("console", lambda message: said.append(message.text))
    tab.locator("#said", has_text="Whole, but the key is not known to be the right one").wait_for()
    tab.fill("#key", keyid)
    tab.press("#key", "Enter")
    tab.locator("#said", has_text="Verified by this browser").wait_for()
    assert "session-summary" in tab.inner_text("#found")
    assert not tab.is_visible("#unscripted")
    tab.fill("#key", "A" * 43)
    tab.press("#key", "Enter")
    tab.locator("#said", has_text="Refused").wait_for()
    assert said == []
    # The policy of the file lets no other script run, and so none that judges it.
    loose = file.with_name("loose.html")
    loose.write_text(re.sub(r"<meta http-equiv[^>]+>", "", file.read_text(), count=1))
    assert violations(opened(loose, color_scheme=scheme), axe) == []


def flipped(raw, at):
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


@pytest.mark.parametrize(
    "where",
    [b'type="application/octet-stream">', b"budgets 1 spent</th><td", b"event 1</th><td", b"does not prove</h2>"],
    ids=["bundle", "amount", "hash", "words"],
)
def test_a_flipped_bit_is_refused(opened, evidence, where):
    file, keyid = evidence
    raw = file.read_bytes()
    at = raw.index(where) + len(where)
    at = raw.index(b">", at) + 1 if where.endswith(b"<td") else at + 40
    file.write_bytes(flipped(raw, at))
    tab = opened(file)
    tab.locator("#said", has_text="Refused: this copy is not as it was made").wait_for()
    tab.fill("#key", keyid)
    tab.press("#key", "Enter")
    tab.locator("#said", has_text="Refused").wait_for()


@pytest.mark.parametrize("where", [b"class NotProven", b"Verified by this browser", b"script-src"])
def test_a_verifier_that_was_changed_never_runs(opened, evidence, where):
    file, _ = evidence
    raw = file.read_bytes()
    # Of the policy a sign within the hash of the script.
    at = raw.index(b"sha256-") + 20 if where == b"script-src" else raw.index(where)
    file.write_bytes(flipped(raw, at))
    tab = opened(file)
    assert tab.inner_text("#said") == "Nothing has been verified yet"
    assert tab.is_visible("#unscripted")


def test_who_changes_text_and_sum_together_is_told_by_what_was_signed(opened, evidence):
    file, _ = evidence
    changed = re.sub(r"(budgets 1 limit</th><td[^>]*>)1<", r"\g<1>9<", file.read_text())
    assert changed != file.read_text()
    file.write_text(changed)
    probe = opened(file)
    probe.locator("#said", has_text="Refused").wait_for()
    digest = probe.evaluate(
        """async () => {
            const told = ["main", "bundle"].map((id) => document.getElementById(id).textContent).join("");
            const found = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(told));
            return [...new Uint8Array(found)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
        }"""
    )
    file.write_text(re.sub(r'data-sum="[0-9a-f]{64}"', f'data-sum="{digest}"', file.read_text()))
    tab = opened(file)
    tab.locator("#said", has_text="what this page shows is not what its bundle holds").wait_for()


def test_without_script_it_says_what_it_states_and_how_to_verify(opened, evidence):
    tab = opened(evidence[0], java_script_enabled=False)
    assert "Nothing has been verified yet" in tab.inner_text("body")
    assert "node verify.mjs evidence.zip" in tab.inner_text("body")
    assert tab.is_visible("text=budgets 1 limit")


@pytest.mark.parametrize("width", [400, 320])
def test_it_does_not_scroll_sideways(opened, evidence, width):
    tab = opened(evidence[0], viewport={"width": width, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
