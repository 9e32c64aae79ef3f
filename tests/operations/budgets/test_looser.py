"""Settings that became looser count for sessions that open after them, and the change is named."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from tests.operations.test_hooks import hook
from tests.world import NANOS, PRICES

from tallygate.core.gate.rules import BudgetRule, BudgetScope
from tallygate.core.hooks import Moment, SessionOrigin
from tallygate.core.words import BudgetMode
from tallygate.operations.budgets.of_settings import recently_looser
from tallygate.pricing.book import PriceBook, PricingSettings
from tallygate.pricing.overrides import Discount, PriceOverride

DAY = BudgetRule(BudgetScope.USER, 6 * NANOS // 10, period="day")
FREE = PricingSettings(overrides=(*PRICES.overrides, PriceOverride("*", Decimal(0), Decimal(0))))
WEEK_US = 8 * 86_400_000_000


@pytest.fixture
def world(world):
    return world.with_runtime(
        session_limit_nanos=NANOS, project="/home/me/p", rules=(DAY,), user="me", prices=PriceBook(PRICES)
    )


def opened(world, session, **options):
    """What a user reads when a session of a client begins."""
    return hook(world, Moment.SESSION_START, session=session, origin=SessionOrigin.STARTUP, **options).message


def restarted(world, **changes):
    return world.with_runtime(session_heads={}, known_prices={}, **changes)


# what of the settings changed -> what is said of it
CHANGES = [
    ({}, None),
    ({"rules": (BudgetRule(BudgetScope.USER, NANOS // 2, period="day"),)}, None),
    ({"rules": (DAY, BudgetRule(BudgetScope.GLOBAL, NANOS, period="week"))}, None),
    ({"session_limit_nanos": NANOS // 2}, None),
    (
        {"rules": (BudgetRule(BudgetScope.USER, 100 * NANOS, period="day"),)},
        "the user budget of me (day) hard $0.60 -> hard $100.00",
    ),
    ({"rules": ()}, "the user budget of me (day) hard $0.60 -> none"),
    ({"session_limit_nanos": 500 * NANOS}, "the budget of a session hard $1.00 -> hard $500.00"),
    ({"prices": PriceBook(FREE)}, "new [[price]] * 0 in, 0 out"),
    (
        {"prices": PriceBook(PricingSettings(PRICES.overrides, (Discount("claude-*", Decimal("0.0001")),)))},
        "new [[discount]] claude-* x0.0001",
    ),
    (
        {"prices": PriceBook(PricingSettings(PRICES.overrides[1:]))},
        "gone [[price]] dear 1000 in, 1000 out, cache_read 100",
    ),
]


@pytest.mark.parametrize("change, said", CHANGES)
def test_the_next_session_names_what_became_looser(world, change, said):
    opened(world, "first")
    later = restarted(world, **change)
    expected = [] if said is None else [said]
    assert [each.text for each in recently_looser(later.rt)] == expected, "before any session opens with it, too"
    message = opened(later, "second")
    assert ("Looser settings than in the last session here" in message) is (said is not None)
    assert said is None or said in message
    assert "Looser" not in opened(later, "third"), "it is told once"
    assert [each.text for each in recently_looser(later.rt)] == expected


@pytest.mark.parametrize("change, said", [row for row in CHANGES if row[1] is not None])
def test_what_is_as_tight_again_as_before_is_not_told_any_more(world, change, said):
    opened(world, "first")
    opened(restarted(world, **change), "second")
    back = restarted(world)
    assert recently_looser(back.rt) == [], "before any session opens with it, too"
    opened(back, "third")
    assert recently_looser(back.rt) == []
    assert [each.text for each in recently_looser(restarted(world, **change).rt)] == [said, said], "and loosened again"


TWICE = PricingSettings(PRICES.overrides, (Discount("claude-*", Decimal(2)),))
SHORT = PricingSettings(PRICES.overrides, aliases=(("mine", "claude-haiku-4-5"),))
DEARER = (*PRICES.overrides, PriceOverride("claude-*", Decimal(900), Decimal(900)))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (PRICES, PricingSettings(DEARER), None),
        (PricingSettings(DEARER), PRICES, "gone [[price]] claude-* 900 in, 900 out"),
        (FREE, PRICES, None),
        (PRICES, TWICE, None),
        (TWICE, PRICES, "gone [[discount]] claude-* x2"),
        (PricingSettings(PRICES.overrides, (Discount("claude-*", Decimal("0.5")),)), PRICES, None),
        (PRICES, SHORT, "new alias mine = claude-haiku-4-5"),
        (SHORT, PRICES, None),
        (PRICES, PricingSettings((*PRICES.overrides, PriceOverride("a-model-of-mine-*", Decimal(0), Decimal(0)))),
         "new [[price]] a-model-of-mine-* 0 in, 0 out"),
    ],
)  # fmt: skip
def test_a_row_of_prices_is_looser_where_something_becomes_cheaper_by_it(world, before, after, said):
    opened(restarted(world, prices=PriceBook(before)), "first")
    message = opened(restarted(world, prices=PriceBook(after)), "second")
    assert ("Looser" in message) is (said is not None)
    assert said is None or said in message


def test_what_was_tightened_in_part_is_told_still(world):
    opened(world, "first")
    opened(restarted(world, session_limit_nanos=500 * NANOS), "second")
    [found] = recently_looser(restarted(world, session_limit_nanos=400 * NANOS).rt)
    assert found.text == "the budget of a session hard $1.00 -> hard $500.00"


HARD, SOFT = BudgetMode.HARD, BudgetMode.SOFT


def days(*limits):
    return tuple(
        BudgetRule(BudgetScope.PROJECT, cents * NANOS // 100, period="day", mode=mode) for mode, cents in limits
    )


# hard limits and soft ones before and after, in cents -> what is said of it
MODES = [
    ([(HARD, 200)], [(SOFT, 60)], "hard $2.00 -> soft $0.60"),
    ([(HARD, 200)], [(SOFT, 900)], "hard $2.00 -> soft $9.00"),
    ([(SOFT, 60)], [(HARD, 200)], None),
    ([(SOFT, 400)], [(HARD, 5000)], None),
    ([(SOFT, 400)], [(HARD, 5000), (SOFT, 900)], None),
    ([(SOFT, 60)], [(SOFT, 50)], None),
    ([(SOFT, 60)], [(SOFT, 70)], "soft $0.60 -> soft $0.70"),
    ([(SOFT, 60)], [], "soft $0.60 -> none"),
    ([(HARD, 200), (SOFT, 60)], [(HARD, 200)], "soft $0.60 -> none"),
    ([(HARD, 200), (SOFT, 60)], [(HARD, 60)], None),
    ([(HARD, 200), (SOFT, 60)], [(SOFT, 60)], "hard $2.00 -> soft $0.60"),
    ([(HARD, 200), (SOFT, 60)], [(HARD, 300), (SOFT, 70)], "hard $2.00 -> hard $3.00"),
    ([(HARD, 200)], [(HARD, 200), (SOFT, 900)], None),
]


@pytest.mark.parametrize("before, after, said", MODES)
def test_a_limit_that_stops_is_weighed_against_one_that_stops(world, before, after, said):
    opened(restarted(world, rules=days(*before)), "first")
    later = restarted(world, rules=days(*after))
    expected = [] if said is None else [f"the project budget of /home/me/p (day) {said}"]
    assert [each.text for each in recently_looser(later.rt)] == expected
    assert ("Looser" in opened(later, "second")) is (said is not None)
    assert [each.text for each in recently_looser(later.rt)] == expected


@pytest.mark.parametrize(
    "before, after, said",
    [
        (("hard", 200), ("soft", 60), "the budget of a session hard $2.00 -> soft $0.60"),
        (("soft", 60), ("hard", 200), None),
        (("soft", 60), ("soft", 200), "the budget of a session soft $0.60 -> soft $2.00"),
    ],
)
def test_so_is_the_budget_of_a_session(world, before, after, said):
    settings = [{"session_mode": mode, "session_limit_nanos": cents * NANOS // 100} for mode, cents in (before, after)]
    opened(restarted(world, **settings[0]), "first")
    later = restarted(world, **settings[1])
    assert [each.text for each in recently_looser(later.rt)] == ([] if said is None else [said])
    message = opened(later, "second")
    assert "Looser" not in message if said is None else said in message
    assert [each.text for each in recently_looser(later.rt)] == ([] if said is None else [said])


def test_the_running_session_keeps_its_rules_and_tells_nothing(world):
    opened(world, "first")
    later = restarted(world, rules=(), prices=PriceBook(FREE))
    assert "Looser" not in (opened(later, "first") or "")
    hook(later, Moment.PROMPT, "p1", session="first")
    with later.ledger.reading() as reader:
        (session,) = reader.sessions(state="open", limit=9)
        (budget,) = [each for each in reader.budgets(9) if each.scope == "user"]
    assert budget.reserved > 0
    assert (session.prices, len(json.loads(session.rules))) == (world.rt.workspace.prices.list_id, 1)


def test_what_is_said_is_of_this_project_this_client_and_the_last_days(world):
    opened(world, "first")
    later = restarted(world, rules=())
    assert "Looser" not in opened(restarted(later, project="/home/me/other"), "elsewhere")
    assert "Looser" not in opened(later, "another", client="codex")
    assert "Looser" in opened(later, "second")
    world.clock.forward(WEEK_US)
    assert recently_looser(later.rt) == []


def test_of_many_changes_the_first_few_are_named(world):
    many = [PriceOverride(f"model-{n}", Decimal(0), Decimal(0)) for n in range(9)]
    opened(world, "first")
    later = restarted(world, prices=PriceBook(PricingSettings((*PRICES.overrides, *many))))
    assert "new [[price]] model-3 0 in, 0 out and 5 more" in opened(later, "second")
