"""The page Bills in a real browser: a bill by drop and by keyboard alone, taken back, refused, and without script."""

from __future__ import annotations

import re

import pytest
from tests.e2e.page.test_browser import violations
from tests.entrypoints.page.conftest import KEY, served
from tests.world import make_world

pytestmark = pytest.mark.e2e

BILL = "date,model,input_tokens,output_tokens,cost\n2026-09-20,dear,1000,0,1.00\n"
DROP = """([name, text]) => {
    const given = new DataTransfer();
    given.items.add(new File([text], name));
    const at = document.querySelector("#add b");
    for (const kind of ["dragover", "drop"])
        at.dispatchEvent(new DragEvent(kind, { dataTransfer: given, bubbles: true, cancelable: true }));
}"""


@pytest.fixture
def page(tmp_path):
    """A page on a ledger of its own."""
    world = make_world(tmp_path)
    with served(world.rt, tmp_path) as found:
        yield found
    world.ledger.close()


def test_a_bill_is_dropped_and_taken_back(looked, page, axe):
    tab = looked("bills", at=page)
    assert "No bill yet" in tab.inner_text(".say")
    assert violations(tab, axe) == []
    tab.evaluate(DROP, ["march.csv", BILL])
    tab.locator(".banner.good", has_text="march.csv imported: generic, 1 line, $1.00.").wait_for()
    assert violations(tab, axe) == []
    tab.click(".banner.good button")
    tab.locator(".banner.good", has_text="march.csv counts no more").wait_for()
    assert "No bill counts any more" in tab.inner_text(".say")
    assert "taken back" in tab.inner_text("main")
    tab.close()


def by_itself(chromium, page, **options):
    """The page in a browser whose console nobody reads: of an answer that refuses it says so there."""
    context = chromium.new_context(**options)
    context.add_cookies([{"name": "tallygate", "value": KEY, "domain": "127.0.0.1", "path": page.door.base}])
    tab = context.new_page()
    tab.goto(f"{page.door.origin}{page.door.base}bills")
    return tab


def test_a_wrong_file_is_told_and_the_page_goes_on(chromium, page, axe):
    tab = by_itself(chromium, page)
    tab.evaluate(DROP, ["holiday.png", "no bill"])
    tab.locator(".banner.warn", has_text="Nothing was changed.").wait_for()
    assert "holiday.png" in tab.inner_text(".banner.warn")
    assert violations(tab, axe) == []
    tab.evaluate(DROP, ["march.csv", BILL])
    tab.locator(".banner.good", has_text="march.csv imported").wait_for()
    tab.context.close()


def test_a_file_beside_the_form_does_not_take_the_place_of_the_page(looked, page):
    tab = looked("bills", at=page)
    tab.evaluate(DROP.replace("#add b", "h1"), ["march.csv", BILL])
    assert tab.inner_text("h1") == "Bills"
    assert not tab.is_visible(".banner.good")
    tab.close()


def test_by_keyboard_alone_a_bill_is_chosen_sent_and_taken_back(looked, page, tmp_path):
    (tmp_path / "march.csv").write_text(BILL)
    tab = looked("now", at=page)
    tab.keyboard.press("g")
    tab.keyboard.press("i")
    tab.locator("h1", has_text="Bills").wait_for()
    for _ in range(40):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == "bill":
            break
    with tab.expect_file_chooser() as chosen:
        tab.keyboard.press("Space")
    chosen.value.set_files(tmp_path / "march.csv")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.locator(".banner.good", has_text="march.csv imported").wait_for()
    for _ in range(40):
        tab.keyboard.press("Tab")
        if "Take back" in tab.evaluate("document.activeElement.textContent"):
            break
    tab.keyboard.press("Enter")
    tab.locator(".banner.good", has_text="counts no more").wait_for()
    tab.close()


def test_it_works_without_script(chromium, page, tmp_path):
    (tmp_path / "march.csv").write_text(BILL)
    tab = by_itself(chromium, page, java_script_enabled=False)
    tab.set_input_files("#bill", tmp_path / "march.csv")
    tab.click("#add button")
    assert re.search("march.csv imported", tab.inner_text(".banner.good"))
    tab.click(".banner.good button")
    assert "counts no more" in tab.inner_text(".banner.good")
    tab.context.close()
