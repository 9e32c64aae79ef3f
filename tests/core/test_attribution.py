"""A response's cost is shared out among the tools that it served, and nothing is lost or made by that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.core.attribution import (
    NAME_MAX,
    SERVED_MAX,
    Served,
    label,
    served_by,
    share_of_servers,
    shares,
    together,
)

names = st.text(min_size=1, max_size=6)
tools = st.builds(Served, st.none() | names, names)
amounts = st.integers(0, 10**18)


@given(amounts, st.lists(tools, max_size=2 * SERVED_MAX))
def test_the_shares_of_a_response_come_to_its_cost_exactly(cost, served):
    assert sum(part for _, part in shares(cost, served)) == cost


@given(amounts, st.lists(tools, min_size=1))
def test_each_tool_carries_an_equal_part_up_to_one_unit(cost, served):
    parts = [part for _, part in shares(cost, served)]
    assert max(parts) - min(parts) <= 1
    assert parts == sorted(parts, reverse=True)


@given(amounts, st.lists(tools), st.randoms())
def test_shares_do_not_depend_on_the_order_or_repetition_of_tools(cost, served, chance):
    again = served * 2
    chance.shuffle(again)
    assert shares(cost, again) == shares(cost, served)


@given(amounts, st.lists(tools, min_size=1))
def test_the_shares_of_all_servers_and_of_the_clients_own_tools_come_to_the_cost(cost, served):
    own = sum(part for one, part in shares(cost, served) if one is not None and one.server is None)
    assert share_of_servers(cost, served, "*") + own == cost


OWN = [Served(None, f"Tool{number:02}") for number in range(40)]


@pytest.mark.parametrize("beside", [OWN, [Served("aaa", each.tool) for each in OWN]])
def test_no_server_drops_out_beside_however_many_tools(beside):
    served = together(beside, [Served("zeta", "ask")])
    assert len(served) == SERVED_MAX
    assert share_of_servers(1600, served, "zeta") == 100


@given(st.lists(st.sampled_from([f"server{number}" for number in range(40)]), min_size=1, unique=True))
def test_each_of_however_many_servers_has_a_share(named):
    served = together([Served(each, "ask") for each in named], OWN)
    assert len(served) <= SERVED_MAX
    assert all(share_of_servers(1600, served, each) > 0 for each in named)


def test_what_served_nothing_is_the_rest():
    assert shares(1234, ()) == ((None, 1234),)


@given(st.lists(tools), st.lists(tools), st.lists(tools))
def test_tools_come_together_the_same_way_in_any_grouping(a, b, c):
    assert together(together(a, b), c) == together(a, together(b, c)) == together(a, b, c)


@pytest.mark.parametrize(
    ("written", "served"),
    [
        ("Bash", Served(None, "Bash")),
        ("mcp__github__create_issue", Served("github", "create_issue")),
        ("mcp__my_server__a__b", Served("my_server", "a__b")),
        ("mcp__github", Served(None, "mcp__github")),
        ("mcp__github__", Served(None, "mcp__github__")),
        ("mcp____tool", Served(None, "mcp____tool")),
        ("mcp______ask", Served("_", "_ask")),
    ],
)
def test_a_tools_name_tells_its_server(written, served):
    assert served_by(written) == served


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Explore", "Explore"),
        ("red\x1b[31m\nline", "red [31m line"),
        ("\u202egnp.exe", "gnp.exe"),
        ("x" * 500, "x" * NAME_MAX),
        ("", None),
        ("\x00\x07", None),
        (7, None),
        (None, None),
        (["Explore"], None),
    ],
)
def test_names_are_kept_without_what_could_do_harm(written, kept):
    assert label(written) == kept
