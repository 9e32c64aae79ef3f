"""The page in a real browser: opened by its file, looked at in light and dark, narrow and wide, by keyboard alone."""

from __future__ import annotations

import json
import re
import zipfile

import pytest
from tests.entrypoints.page.conftest import served
from tests.entrypoints.page.test_forecasts import worked
from tests.world import Tokens, make_world

from tallygate.attest.keyring import KeyRing
from tallygate.operations.proof.attest import export_bundle
from tallygate.operations.sessions.ending import end_session

pytestmark = pytest.mark.e2e

PAGES = (
    "now",
    "spend?period=7d",
    "spend?period=all&by=project",
    "sessions?period=7d",
    "budgets",
    "gate?period=all",
    "session",
    "bills",
    "proof",
)
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def address(month, page):
    """A page's address; of a session that of the one which stands still."""
    if page != "session":
        return page
    return re.search(r'href="(session\?[^"]+)"', month.get("now").text)[1].replace("&amp;", "&")


def violations(tab, axe):
    tab.evaluate(axe)
    found = tab.evaluate("tags => axe.run(document, {runOnly: tags})", TAGS)
    return [(each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in found["violations"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_no_rule_of_wcag_is_broken_on_any_page(looked, month, axe, page, scheme):
    assert violations(looked(address(month, page), scheme=scheme), axe) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", ["now", "spend?period=7d", "gate?period=all", "bills", "session"])
def test_nor_on_a_telephone(looked, month, axe, page, scheme):
    assert violations(looked(address(month, page), width=400, scheme=scheme), axe) == []


@pytest.mark.parametrize("width", [400, 320])
@pytest.mark.parametrize("page", PAGES)
def test_no_page_scrolls_sideways(looked, month, page, width):
    tab = looked(address(month, page), width=width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_the_file_lets_one_browser_in_and_no_second(chromium, looked, month):
    month.file.write(month.door.page)
    content = month.file.path.read_text()
    tab = looked(None)
    tab.goto(month.file.path.as_uri())
    tab.wait_for_url("**/now")
    assert tab.title() == "Now · Tallygate"
    assert month.door.token not in tab.url
    [cookie] = tab.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", month.door.base)
    assert tab.evaluate("document.cookie") == ""
    month.file.write(content)
    second = chromium.new_context().new_page()
    second.goto(month.file.path.as_uri())
    second.wait_for_url("**/open")
    assert "was used" in second.inner_text("body")
    second.context.close()
    month.file.remove()


def test_a_first_visit_shows_the_steps(chromium, looked, axe, tmp_path):
    world = make_world(tmp_path)
    with served(world.rt, tmp_path) as empty:
        tab = looked("now", at=empty)
        assert tab.inner_text("h1") == "Nothing is on record yet"
        assert violations(tab, axe) == []
        tab.close()
    world.ledger.close()


def test_a_filter_and_the_way_back(looked):
    tab = looked("spend?period=7d")
    whole = tab.inner_text(".fig .n")
    tab.fill("#f", "client:codex")
    tab.press("#f", "Enter")
    tab.wait_for_url("**filter=client*")
    assert tab.inner_text(".chip").startswith("client:codex")
    assert tab.inner_text(".fig .n") != whole
    tab.go_back()
    assert tab.inner_text(".fig .n") == whole
    tab.go_forward()
    tab.click(".chip a")
    tab.wait_for_load_state()
    assert tab.inner_text(".fig .n") == whole


def test_by_keyboard_alone_from_the_first_page_to_a_session(looked):
    tab = looked("now")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the page"
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    for _ in range(60):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.className") == "main":
            break
    name = tab.evaluate("document.activeElement.textContent")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/session?*")
    assert tab.inner_text("h1") == name


def test_a_raise_is_shown_before_it_is_pressed_and_done_then(looked, month, axe):
    tab = looked(address(month, "session"))
    tab.goto(f"{month.door.origin}{month.door.base}budgets")
    tab.click("text=split the billing module")
    tab.wait_for_load_state()
    tab.fill("#by", "2.50")
    tab.click("text=Show what it comes to")
    tab.wait_for_load_state()
    said = tab.inner_text("p.full.note")
    limit = re.search(r"New limit (\$[\d.]+), (\$[\d.]+) left", said)
    tab.click("button.primary")
    assert tab.evaluate("document.activeElement.id") == "why", "without a reason the browser asks for one"
    tab.fill("#why", "finish it")
    tab.click("button.primary")
    tab.wait_for_load_state()
    assert f"Raised to {limit[1]}; {limit[2]} is left." in tab.inner_text(".banner.good")
    assert violations(tab, axe) == []
    assert "0\nof 3 open sessions" in looked("now").inner_text(".figs").replace(" of", "\nof")


def test_printed_it_has_neither_head_nor_forms(looked):
    tab = looked("budgets")
    tab.emulate_media(media="print")
    for part in (".top", ".filters", "form#raise", "button"):
        assert not tab.is_visible(part), part
    assert tab.is_visible("table")


def test_keys_lead_through_rows_and_pages_and_can_be_switched_off(looked):
    tab = looked("now")
    tab.keyboard.press("j")
    first = tab.evaluate("document.activeElement.textContent")
    tab.keyboard.press("j")
    tab.keyboard.press("k")
    assert tab.evaluate("document.activeElement.textContent") == first
    tab.keyboard.press("/")
    tab.keyboard.type("gs")
    assert tab.input_value("#f") == "gs", "in a field they are letters"
    tab.keyboard.press("Escape")
    tab.keyboard.press("g")
    tab.keyboard.press("s")
    tab.wait_for_url("**/spend*")
    tab.keyboard.press("?")
    assert "leaves a field" in tab.inner_text("#keys-all")
    tab.keyboard.press("Escape")
    assert not tab.is_visible("text=leaves a field")
    tab.click("#keys-switch")
    tab.keyboard.press("g")
    tab.keyboard.press("n")
    tab.keyboard.press("j")
    assert tab.inner_text("#keys-switch") == "keys off"
    assert "/spend" in tab.url


def test_figures_follow_what_another_program_spends(chromium, looked, tmp_path):
    world = make_world(tmp_path)
    first = world.start("5", task_summary="first")
    other = make_world(tmp_path, clock=world.clock, tokens=Tokens(5_000))
    with served(world.rt, tmp_path) as page:
        tab = looked("now", at=page)
        tab.locator("#live", has_text="live").wait_for()
        assert "of 1 open session" in tab.inner_text(".figs")
        other.start("5", task_summary="second")
        tab.locator(".figs", has_text="of 2 open sessions").wait_for()
        tab.locator("#live", has_text="live, figures of").wait_for()
        tab.close()
    other.ledger.close()
    world.ledger.close()
    assert first


@pytest.fixture
def proving(tmp_path):
    """A ledger of its own with what was signed of it, on a page, and the key that signed."""
    world = make_world(tmp_path).with_runtime(keys=KeyRing(tmp_path / "keys"))
    session_id = world.start("1", task_summary="mend")
    world.ask(session_id, 5000)
    end_session(world.rt, session_id)
    export_bundle(world.rt, session_id, tmp_path / "evidence.zip", as_zip=True)
    with served(world.rt, tmp_path) as page:
        yield world, page, world.rt.services.keys.public()
    world.ledger.close()


def test_the_browser_verifies_the_ledger_by_itself(looked, axe, proving):
    world, page, key = proving
    tab = looked("proof", at=page)
    assert not tab.is_visible("#unscripted")
    tab.click("text=/^Verify \\d+ events$/")
    tab.locator("#progress", has_text="Verified by this browser").wait_for()
    with world.ledger.reading() as reader:
        assert reader.head().hash.hex() in tab.inner_text("#found-here")
    assert f"Signatures: 3 envelopes by {key.keyid}" in tab.inner_text("#found-here")
    tab.click("text=Now")
    tab.locator("#verified", has_text=re.compile(r"chain verified by this browser: \d+ events, \d\d:\d\d")).wait_for()
    tab.go_back()
    tab.locator("#verify button").wait_for()
    assert violations(tab, axe) == []


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [("#known-key", "A" * 43, "names no key"), ("#known-head", "0" * 64, "is of no event"), ("#known-head", "x", "64")],
)
def test_what_was_written_down_is_held_against_it(looked, proving, field, typed, said):
    tab = looked("proof", at=proving[1])
    tab.fill(field, typed)
    tab.press(field, "Enter")
    tab.locator("#progress", has_text="Not verified: ").wait_for()
    assert said in tab.inner_text("#progress")
    assert tab.inner_text("#found-here") == ""


@pytest.mark.parametrize("name", ["events", "envelopes"])
def test_a_bit_that_the_server_gives_otherwise_is_seen(looked, proving, name):
    tab = looked("proof", at=proving[1])

    def otherwise(route):
        text = route.fetch().text()
        old, new = ('"body": "', '"body": " ') if name == "events" else ('\\"sig\\": \\"', '\\"sig\\": \\"AAAA')
        old, new = (old, new) if old in text or not text else ('\\"sig\\":\\"', '\\"sig\\":\\"AAAA')
        route.fulfill(status=200, content_type="application/jsonl", body=text.replace(old, new, 1))

    tab.route(f"**/{name}*", otherwise)
    tab.click("#verify button")
    tab.locator("#progress", has_text="Not verified: ").wait_for()


def test_a_bundle_is_verified_in_the_browser_and_a_flipped_bit_is_refused(looked, proving, tmp_path):
    _, page, key = proving
    tab = looked("proof", at=page)
    asked = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.set_input_files("#bundle", tmp_path / "evidence.zip")
    tab.locator("#bundle-said", has_text="Whole, but the key is not known to be the right one").wait_for()
    tab.fill("#bundle-key", key.keyid)
    tab.press("#bundle-key", "Enter")
    tab.locator("#bundle-said", has_text="Verified by this browser").wait_for()
    raw = bytearray((tmp_path / "evidence.zip").read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "flipped.zip").write_bytes(raw)
    tab.set_input_files("#bundle", tmp_path / "flipped.zip")
    tab.locator("#bundle-said", has_text="Refused: ").wait_for()
    with zipfile.ZipFile(tmp_path / "evidence.zip") as archive:
        envelope = json.loads(archive.read("envelope.json"))
    envelope["payload"] = ("e" if envelope["payload"][0] != "e" else "f") + envelope["payload"][1:]
    (tmp_path / "envelope.json").write_text(json.dumps(envelope))
    tab.fill("#bundle-key", key.did())
    tab.set_input_files("#bundle", tmp_path / "envelope.json")
    tab.locator("#found-in-bundle", has_text="envelope.json: The signature does not fit").wait_for()
    assert [each for each in asked if not each.endswith("icon.svg")] == [], "the file is sent nowhere"


def test_a_session_that_is_dearer_than_it_looked_fits_a_narrow_window(looked, axe, tmp_path):
    world = make_world(tmp_path)
    for number in range(12):
        worked(world, f"old{number}", 12, tokens=1)
    dear = worked(world, "dear", 10, ends=False, tokens=1)
    worked(world, "dear", 1, into=dear, tokens=4_000)
    with served(world.rt, tmp_path) as page:
        tab = looked(f"session?id={dear}", width=320, at=page)
        assert "dearer than 9 of 10 that looked like it" in tab.inner_text("main")
        assert tab.evaluate("document.documentElement.scrollWidth") <= 320
        assert violations(tab, axe) == []
        tab.close()
    world.ledger.close()
