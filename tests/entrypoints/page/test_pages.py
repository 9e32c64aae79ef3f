"""All pages of one ledger: what stands on two of them is the same, and what stands beside its sum adds up."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from decimal import Decimal
from html import unescape
from html.parser import HTMLParser

import pytest
from tests.entrypoints.page.conftest import served
from tests.entrypoints.page.test_now import spend
from tests.world import MINUTE, NANOS, Tokens, as_said, make_world, the_user

from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.model import Actor
from tallygate.core.words import ActorType, BudgetMode
from tallygate.operations.budgets.change import raise_budget
from tallygate.operations.sessions.ending import end_session
from tallygate.operations.views.limits import _rank
from tallygate.operations.views.spend import SPLITS
from tallygate.operations.windows import new_window

DAY_US = 24 * 60 * MINUTE
RULES = (
    BudgetRule(BudgetScope.USER, 30 * NANOS, period="day"),
    BudgetRule(BudgetScope.USER, 90 * NANOS, period="month", mode=BudgetMode.SOFT),
)
VOID = {"meta", "link", "input", "br"}


class Tables(HTMLParser):
    """Every table of a page by its caption: rows of what stands in their cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self.open: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(text)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in {"td", "th"}:
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "table":
            self.found[self._caption] = self._rows

    def handle_data(self, data):
        if "caption" in self.open:
            self._caption += data
        elif "td" in self.open or "th" in self.open:
            # What stands below in a cell is said about it.
            self._rows[-1][-1] += f" {data}" if self._rows[-1][-1] else data


def amount(text: str) -> Decimal:
    """The first amount of a text."""
    found = re.search(r"(−?)\$([\d,]+\.\d+)", text)
    assert found, text
    return Decimal(found[2].replace(",", "")) * (-1 if found[1] else 1)


def figure(page, name: str) -> str:
    """The number of a figure by its name."""
    found = re.search(rf'<dt>{re.escape(name)}</dt><dd class="n">(.*?)</dd>', page.text)
    assert found, name
    return unescape(re.sub("<[^>]+>", " ", found[1])).strip()


def sums_up(rows: list[list[str]], column: int) -> bool:
    *parts, total = [row for row in rows[1:] if len(row) > column and "$" in row[column]]
    return sum(amount(row[column]) for row in parts) == amount(total[column])


@pytest.fixture
def seen(world) -> Iterator:
    """A ledger of two days: sessions of two models, one that stands still, one that has ended, one with a subagent."""
    world = as_said(world.with_runtime(rules=RULES, project="/home/me/shop"))
    world.clock.at_us += -world.clock.at_us % DAY_US - 5 * 60 * MINUTE
    old = world.start("5", task_summary="of yesterday", client="codex")
    spend(world, old, 1_234)
    end_session(world.rt, old)
    world.clock.forward(9 * 60 * MINUTE)
    busy = world.start("10", task_summary="a page", client="claude-code")
    spend(world, busy, 2_345)
    world.ask(busy, 400, actor=Actor(ActorType.SUBAGENT, "a1", "helper"), model="cheap")
    spend(world, busy, 17)
    stopped = world.start("1", task_summary="a parser", client="claude-code", model="cheap")
    spend(world, stopped, 4_321)
    raise_budget(world.rt, stopped, NANOS // 2, reason="the customer pays", authority=the_user("anna"))
    world.ask(stopped, 15_000)
    with served(world.rt, world.folder) as browser:
        yield world, browser, (old, busy, stopped)


def test_every_figure_that_stands_on_two_pages_is_the_same(seen):
    _, browser, sessions = seen
    now, day = browser.get("now"), browser.get("spend", period="today")
    listed, limits = browser.get("sessions", period="today"), browser.get("budgets")
    tables = {name: Tables(page.text).found for name, page in
              {"now": now, "day": day, "listed": listed, "limits": limits}.items()}  # fmt: skip
    spent = amount(figure(now, "Spent today"))
    judged = browser.get("gate", period="today")
    halted = [row for row in Tables(judged.text).found["Decisions to look at"][1:] if row[2] == "halt"]
    assert figure(judged, "False halts").split() == ["0", "of", str(len(halted))]
    denied = [row for each in sessions for row in Tables(browser.get("session", id=each).text).found["Calls in order"]
              if "denied" in row]  # fmt: skip
    assert len(denied) == len(halted) == 1
    left = next(row for row in tables["limits"]["Budgets, the widest first"] if row[0].endswith("a parser"))
    assert sum(map(amount, halted[0][6].split(" + "))) == amount(left[4])
    assert spent == amount(figure(day, "Spent"))
    assert spent == amount(tables["day"]["Spend by model"][-1][1])
    assert spent == amount(figure(listed, "Spent by them")), "all that was spent today was spent in these sessions"
    of_day = next(row for row in tables["limits"]["Budgets, the widest first"] if "day, hard" in row[1])
    assert (amount(of_day[4]), amount(of_day[6])) == (spent, amount(figure(now, "Left today")))
    left = next(row for row in tables["now"]["What is left of each budget"] if "day, hard" in row[0])
    assert amount(left[2]) == amount(of_day[6])
    assert figure(now, "Stopped").split()[0] == "1"
    assert "1 halted" in listed.words
    assert figure(listed, "Open").split()[0] == "2"
    assert [row[0].split(" ")[0] for row in tables["now"]["Spent today by hour"][1:]] != []
    assert amount(tables["now"]["Spent today by hour"][-1][2]) == spent
    rows = {row[1].rpartition(" ")[0]: row for row in tables["listed"]["Sessions, the youngest first"] if len(row) > 4}
    open_now = {row[0]: row for row in tables["now"]["Open sessions"]}
    for session in sessions[1:]:
        page = browser.get("session", id=session)
        own = Tables(page.text).found
        name = "a page" if session == sessions[1] else "a parser"
        row = next(each for text, each in rows.items() if text.startswith(name))
        assert amount(row[4]) == amount(own["Calls in order"][-1][-1]), "the last sum is what it cost"
        mine = next(each for text, each in open_now.items() if text.startswith(name))
        assert (amount(mine[3]), amount(mine[4])) == (amount(row[4]), amount(row[5]))
        budget = next(each for each in tables["limits"]["Budgets, the widest first"] if each[0].endswith(name))
        assert (amount(budget[4]), amount(budget[6])) == (amount(row[4]), amount(row[5]))
        assert amount(figure(page, "Left")) == amount(row[5])


def test_what_stands_above_a_sum_adds_up_to_it(seen):
    _, browser, sessions = seen
    for query in ({"period": "today"}, {"period": "7d"}, {"period": "all"}, {"period": "7d", "by": "client"}):
        found = Tables(browser.get("spend", **query).text).found
        for name, rows in found.items():
            if name.startswith("Spend by ") and "hour" not in name:
                assert sums_up(rows, 1), (query, name, rows)
            elif name.startswith("By "):
                assert sums_up(rows, 2), (query, name, rows)
        sure = found["How sure each part of the total is"]
        assert sum(amount(row[2]) for row in sure[1:4]) == amount(sure[-1][2])
    for session in sessions:
        assert sums_up(Tables(browser.get("session", id=session).text).found["Money by subagent"], 2)


def test_the_week_holds_both_days_and_says_how_much_more_today_is(seen):
    _, browser, _ = seen
    week, day = browser.get("spend", period="7d"), browser.get("spend", period="today")
    more = amount(figure(week, "Spent")) - amount(figure(day, "Spent"))
    assert abs(more - Decimal("1.234")) < Decimal("0.01"), "each is rounded by itself"
    assert "codex" in week.words
    assert "codex" not in day.words


@pytest.mark.parametrize("page", ["now", "spend", "sessions", "budgets", "gate", "bills"])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_link_of_a_page_keeps_its_state_and_leads_somewhere(seen, page, theme):
    _, browser, _ = seen
    found = browser.get(page, period="7d", filter="model:dear", theme=theme)
    assert f'data-theme="{theme}"' in found.text
    links = {unescape(each) for each in re.findall(r'<a[^>]+href="([^"#]+)', found.text)}
    assert links
    for link in links:
        assert browser.send("GET", f"{browser.door.base}{link}", browser.own).status == 200, link
        assert "theme=" in link, link


@pytest.mark.parametrize("by", SPLITS)
def test_each_split_of_what_was_spent_adds_up(seen, by):
    _, browser, _ = seen
    page = browser.get("spend", period="7d", by=by.value)
    assert page.status == 200
    assert sums_up(Tables(page.text).found[f"Spend by {by.value}"], 1)


def test_budgets_of_every_scope_have_their_place(world):
    ranks = [_rank(new_window("default", "b", BudgetRule(scope, NANOS, key="k"))) for scope in BudgetScope]
    assert min(ranks) == _rank(new_window("default", "b", BudgetRule(BudgetScope.GLOBAL, NANOS, key="k")))
    assert max(ranks) == _rank(new_window("default", "b", BudgetRule(BudgetScope.SESSION, NANOS, key="k")))


def test_an_id_that_names_nothing_is_said_with_the_way_on(seen):
    _, browser, _ = seen
    found = browser.get("session", id="nothing-of-that-name")
    assert found.status == 404
    assert "No session" in found.words
    assert browser.get("session", id="x" * 5000).status == 404
    assert browser.get("budgets", budget="nothing-of-that-name").status == 404


@pytest.mark.parametrize("period", ["1999-01", "2026-13", "2999-01", "nonsense", "0000-00", ""])
@pytest.mark.parametrize("page", ["spend", "sessions", "gate"])
def test_a_span_that_is_none_or_lies_outside_of_time_is_today_or_empty(seen, page, period):
    _, browser, _ = seen
    assert browser.get(page, period=period).status == 200


def test_a_filter_that_finds_nothing_is_named_and_the_nearest_offered(seen):
    _, browser, _ = seen
    for page in ("spend", "sessions", "gate"):
        found = browser.get(page, period="7d", filter="client:codex model:cheap")
        assert "model:cheap" in found.words
        assert "Without model:cheap" in found.words


# ---------------------------------------------------------------- raise


def raise_form(page):
    """The fields of the form that raises, as the page fills them in."""
    form = page.text[page.text.index('id="raise" method="post"') :]
    inputs = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
    return {name: unescape(value) for name, value in inputs}


def test_a_raise_comes_to_what_was_shown_before_it_was_pressed_and_is_an_event_like_the_commands(seen):
    world, browser, (_, _, stopped) = seen
    page = browser.get("budgets", budget=stopped, by="2.00")
    assert "New limit $3.50 , $3.07 left" in page.words
    assert "Raise to $3.50" in page.words
    events = world.events()
    done = browser.post("budgets", **raise_form(page), reason="go on")
    assert done.status == 200
    assert "Raised to $3.50; $3.07 is left." in done.words
    assert world.events() == events + 1
    with world.ledger.reading() as reader:
        change = reader.newest_limit_changes(1)[0]
    assert (change.door, change.actor, change.reason, change.limit) == ("page", "anna", "go on", 7 * NANOS // 2)
    assert "Stopped 0 of 2" in browser.get("now").words
    assert "page 04:" in done.words, "who changed it stands beside it"


REFUSED = [
    ({"token": "x"}, "This form was not made by this page"),
    ({"token": ""}, "This form was not made by this page"),
    ({"reason": ""}, "A raise needs a reason"),
    ({"reason": " \u202e "}, "A raise needs a reason"),
    ({"by": "-1"}, "Raise by"),
    ({"by": "0"}, "Raise by"),
    ({"by": "nan"}, "Raise by"),
    ({"by": "1e9"}, "Raise by"),
    ({"by": "9" * 30}, "Raise by"),
    ({"by": ""}, "Raise by"),
    ({"seen": "1"}, "was changed since this page was made"),
]


@pytest.mark.parametrize("changes, said", REFUSED, ids=str)
def test_a_raise_that_was_not_read_or_has_no_reason_changes_nothing(seen, changes, said):
    world, browser, (_, _, stopped) = seen
    events = world.events()
    fields = {**raise_form(browser.get("budgets", budget=stopped)), "reason": "go on", **changes}
    found = browser.post("budgets", **fields)
    assert found.status == 400
    assert said in found.words
    assert world.events() == events


def test_a_raise_of_what_is_not_there_changes_nothing(seen):
    world, browser, (_, _, stopped) = seen
    fields = {**raise_form(browser.get("budgets", budget=stopped)), "reason": "go on", "budget": "none-such"}
    events = world.events()
    assert browser.post("budgets", **fields).status in {400, 404}
    assert world.events() == events


def test_nothing_is_raised_by_an_address(seen):
    world, browser, (_, _, stopped) = seen
    fields = {**raise_form(browser.get("budgets", budget=stopped)), "reason": "go on"}
    events = world.events()
    assert browser.get("budgets", **fields).status == 200
    assert world.events() == events


# ---------------------------------------------------------------- live


def test_the_page_is_told_when_another_program_has_written(world):
    other = make_world(world.folder, clock=world.clock, tokens=Tokens(5_000))
    with served(world.rt, world.folder) as browser:
        line = http.client.HTTPConnection("127.0.0.1", browser.door.port, timeout=60)
        line.request("GET", f"{browser.door.base}live", headers=browser.own)
        stream = line.getresponse()
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.readline() == b": follows the ledger\n"
        other.start("5")
        assert [stream.readline() for _ in range(2)] == [b"\n", b"data: changed\n"]
        browser.door.closing.set()
        assert stream.read() == b"\n", "it ends with the page"
        line.close()
    other.ledger.close()
