"""A tool of Codex that is held: until it may run, until Codex has gone, or until its hook has little time left."""

from __future__ import annotations

import pytest

from tallygate.clients.ancestry import Process
from tallygate.clients.codex import interrupting
from tallygate.entrypoints import holding
from tallygate.entrypoints.holding import LOOK_S, NANOS, START_S, hold

HELD_S = 560
REFUSED = (0, b"no", b"Spent.", HELD_S)
CONSENT = (0, b"{}", b"", 0)
CODEX_ENDS_A_HOOK_AFTER_S = 600


class Waiting:
    """A tool that waits, and a clock that goes forward only while it does."""

    def __init__(self, monkeypatch, *, above="codex"):
        self.at_s, self.parent, self.asked, self.started, self.data = 0, 20, 0, 0, b"{}"
        shell = Process(21, "/bin/bash", ("bash", "-c", "hook"))
        monkeypatch.setattr(
            holding, "ancestors", lambda _: iter([shell, Process(self.parent, f"/opt/{above}", (above,))])
        )

    def hold(self, answers, *, client="codex", refused=REFUSED, starts=None):
        def ask():
            self.asked += 1
            return answers(self)

        def pause_s(seconds):
            self.at_s += seconds

        def start():
            self.started += 1
            return CONSENT if self.started == starts else None

        return hold((client, self.data), refused, ask, start, ticks_ns=lambda: self.at_s * NANOS, pause_s=pause_s)


def test_a_tool_is_held_until_it_may_run(monkeypatch):
    waiting = Waiting(monkeypatch)
    assert waiting.hold(lambda w: CONSENT if w.asked == 90 else None if w.asked % 2 else REFUSED) == CONSENT
    assert waiting.at_s == 90 * LOOK_S


def test_where_no_server_runs_a_gate_is_started_now_and_then(monkeypatch):
    waiting = Waiting(monkeypatch)
    assert waiting.hold(lambda _: None, starts=3) == CONSENT
    assert (waiting.started, waiting.at_s) == (3, 3 * START_S)


@pytest.mark.parametrize(("words", "asked"), [(("codex", "app-server"), 1), (("codex", "resume", "x"), 0)])
def test_an_app_server_is_asked_to_interrupt_the_turn_before_its_tool_is_held(monkeypatch, words, asked):
    waiting, interrupted = Waiting(monkeypatch), []
    monkeypatch.setattr(holding, "ancestors", lambda _: iter([Process(20, "/opt/codex", words)]))
    monkeypatch.setattr(interrupting, "interrupt_turn", lambda *told: interrupted.append(told[:3]))
    assert waiting.hold(lambda w: CONSENT if w.asked == 2 else REFUSED) == CONSENT
    assert interrupted == [(20, words, b"{}")] * asked


def test_it_is_refused_before_codex_would_let_it_run(monkeypatch):
    waiting = Waiting(monkeypatch)
    assert waiting.hold(lambda _: REFUSED) == REFUSED
    assert HELD_S <= waiting.at_s < CODEX_ENDS_A_HOOK_AFTER_S - 10


def test_a_refusal_for_another_reason_is_not_waited_with(monkeypatch):
    other = (0, b"another reason", b"", 0)
    assert Waiting(monkeypatch).hold(lambda _: other) == other


def test_nobody_waits_for_a_client_that_has_gone(monkeypatch):
    waiting = Waiting(monkeypatch)

    def gone(w):
        w.parent = 1 if w.asked == 3 else 20

    assert waiting.hold(gone) == REFUSED
    assert waiting.asked == 3


@pytest.mark.parametrize(
    ("client", "above", "held_s", "waits"),
    [
        ("codex", "codex", 560, True),
        ("codex", "codex", 0, False),
        ("codex", "claude", 560, False),
        ("codex", "bash", 560, False),
        ("qwen", "qwen", 45, True),
        ("qwen", "codex", 45, False),
        ("gemini", "gemini", 45, True),
        ("opencode", "opencode", 0, False),
    ],
)
def test_a_tool_is_held_as_long_as_is_said_and_only_beneath_its_own_client(monkeypatch, client, above, held_s, waits):
    waiting = Waiting(monkeypatch, above=above)
    refused = (*REFUSED[:3], held_s)
    assert waiting.hold(lambda _: REFUSED, client=client, refused=refused) == refused
    assert waiting.at_s == (held_s if waits else 0)
