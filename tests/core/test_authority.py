"""Who may loosen: the user, and nobody that an agent has started."""

from __future__ import annotations

import pytest
from tests.world import the_user

from tallygate.core.authority import Authority, EntryDoor, Loosening
from tallygate.core.errors import UsersOnly

AGENT = Authority(EntryDoor.COMMAND, "anna", beneath="Claude Code (process 42)")


@pytest.mark.parametrize("what", [*Loosening])
def test_an_agent_may_loosen_nothing_and_is_told_who_it_is_and_the_way_out(what):
    with pytest.raises(UsersOnly) as refused:
        AGENT.require(what)
    assert what.value in refused.value.message
    assert "Claude Code (process 42)" in refused.value.message
    assert "terminal of your own" in refused.value.hint


@pytest.mark.parametrize("what", [*Loosening])
def test_the_user_may(what):
    the_user("anna").require(what)


def test_a_ledger_of_tests_is_nobodys_money():
    Authority(EntryDoor.COMMAND, "anna", beneath="Codex", guarded=False).require(Loosening.BUDGET_RAISE)


def test_the_user_can_leave_single_commands_to_agents():
    left = Authority(EntryDoor.COMMAND, "anna", beneath="Codex", agents_may=frozenset({"sessions end"}))
    left.require(Loosening.SESSIONS_END)
    with pytest.raises(UsersOnly):
        left.require(Loosening.BUDGET_RAISE)
