"""A client is one however it is written, and no name that an agent says takes it out of its limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallygate.clients.registry import REGISTRY
from tallygate.core.gate.rules import BudgetRule, BudgetScope, RuleTarget, rules_that_apply
from tallygate.core.words import client_name

WIDE = "".join(chr(ord(char) + 0xFEE0) if char.isalpha() else char for char in "claude-code")
SPELLINGS = (
    "claude-code", "claude_code", "Claude Code", "CLAUDE  CODE", "claude\u2014code", "claude\u2013code",
    "claude\u2212code",
    "claude-\u200bcode", "\u2060claude-code", "cl\u0430ude-code", "claude-c\u043ede", WIDE, "claude\u00a0code",
    "clau\u0301de-code",
)  # fmt: skip
CALLED = {
    "claude-code": (
        "claude-code",
        "claudecode",
        "claude",
        "claude code cli",
        "anthropic/claude-code",
        "Claude-Code 2.1",
    ),
    "claude-desktop": ("claude-ai", "Claude Desktop"),
    "codex": ("codex-mcp-client", "openai-codex", "codex cli"),
    "gemini": ("gemini-cli-mcp-client", "gemini"),
    "qwen": ("qwen-cli-mcp-client-budget", "Qwen Code"),
    "cursor": ("cursor-vscode", "Cursor"),
    "copilot": ("github-copilot-developer", "copilot-cli"),
    "vscode": ("Visual Studio Code", "Visual Studio Code - Insiders"),
    "opencode": ("opencode",),
    "windsurf": ("windsurf-client",),
    "zed": ("Zed",),
}


@pytest.mark.parametrize("written", SPELLINGS)
def test_every_spelling_of_a_client_is_one_name(written):
    assert client_name(written) == "claude-code"


@pytest.mark.parametrize("known, called", [(known, each) for known, all_of in CALLED.items() for each in all_of])
def test_a_client_is_known_by_what_it_calls_itself(known, called):
    assert REGISTRY.names.known(called) == known


@pytest.mark.parametrize(
    "called", ["my-codex-bot", "authorized", "python-sdk", "", "claude-code-reviewer", "mcp-client"]
)
def test_a_program_of_somebody_else_is_no_known_client(called):
    assert REGISTRY.names.known(called) is None


def limits(client, also=None, match=None):
    rule = BudgetRule(BudgetScope.CLIENT, 1, period="day", match=match)
    return [
        each.key
        for each in rules_that_apply([rule], RuleTarget("", client, "me", also_client=also, names_of=REGISTRY.names.of))
    ]


@given(st.text(max_size=60), st.sampled_from(sorted(CALLED)))
def test_whatever_an_agent_says_the_limits_of_the_connected_client_bind(said, known):
    for connected in CALLED[known]:
        client, also = REGISTRY.names.named(said, connected)
        assert client == known
        assert limits(client, also, match=known) == [known]
        assert known in limits(client, also)


@given(st.sampled_from(["nightly", "cursor", "codex"]), st.sampled_from(["claude-code", "python-sdk", "unknown"]))
def test_the_limits_of_the_name_that_an_agent_says_bind_as_well(said, connected):
    client, also = REGISTRY.names.named(said, connected)
    assert limits(client, also, match=said) == [said]
    assert limits(client, also) == [each for each in dict.fromkeys((client, also)) if each is not None]


def test_two_names_are_two_limits_where_each_client_has_its_own():
    assert limits("claude-code", "cursor") == ["claude-code", "cursor"]
    assert limits("codex", "codex-mcp-client") == ["codex"], "one client called twice has one limit"
    assert limits("claude-code", "cursor", match="c*") == ["c*"]
