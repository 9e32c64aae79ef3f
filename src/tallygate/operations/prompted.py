"""Raise a budget by a line that the user types as a prompt: shown a code first, which the model never sees.

The prompt hook takes `tallygate raise 2` before the client asks its model anything, and stops it with a code; the same
line with the code raises. A model can write no prompt of its own session. What it could do is run the hook program in
a tool, or start a client in a client: neither gets a code. It is a fence against a model, not against a program.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from tallygate.core.authority import Authority, Door
from tallygate.core.errors import TallygateError
from tallygate.core.gate.wording import standing_of
from tallygate.core.hooks import GATED, HookAnswer, HookEvent, Moment, Verdict
from tallygate.core.model import NO_REASON
from tallygate.core.money import format_amount, parse_amount_nanos
from tallygate.operations.budgets import change
from tallygate.operations.runtime import Runtime
from tallygate.operations.sessions.opening import account_of

MINUTE_US = 60_000_000
CODE_LASTS_US = 2 * MINUTE_US
WRONG_MAX, CLOSED_US = 3, 60 * MINUTE_US
CODE_BYTES = 4
# Client's sessions whose codes and open tools are kept; a server has few.
KEPT_MAX = 1000
RESPONSES_LOOKED_AT = 200

Owner = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Shown:
    """A code that waits for its answer, and what it was shown for."""

    code: str
    usd_nanos: int
    seen: tuple[str, int]
    until_us: int


@dataclass(slots=True)
class Prompts:
    """What one server remembers of prompts that raise: in memory alone, where no file tells a code."""

    shown: dict[Owner, Shown] = field(default_factory=dict)
    wrong: dict[Owner, list[int]] = field(default_factory=dict)
    tools: dict[Owner, set[str]] = field(default_factory=dict)
    faults: dict[Owner, str | None] = field(default_factory=dict)
    answers: list[tuple[str, str | None]] = field(default_factory=list)

    def notice(self, event: HookEvent) -> None:
        """Keep which tools of a session are at work, by what its hooks tell."""
        owner = (event.client, event.client_session)
        if event.moment is Moment.TOOL:
            while len(self.tools) >= KEPT_MAX:
                self.tools.pop(next(iter(self.tools)))
            self.tools.setdefault(owner, set()).update(event.tool_use_ids or ("?",))
        elif event.moment is Moment.TOOL_DONE:
            self.tools.get(owner, set()).difference_update(event.tool_use_ids)
        elif event.moment is Moment.FORM_ANSWERED:
            self.heard(event)
        elif event.moment in _TOOLS_ARE_THROUGH and event.agent_id is None and event.raising is None:
            self.tools.pop(owner, None)

    def asked(self) -> None:
        """A form is put: what was answered before is not its answer."""
        self.answers = []

    def heard(self, event: HookEvent) -> None:
        """Keep what a person did with a form, where it is the client itself that tells it and nothing else is at work.

        The tool that has put the form is at work; one beside it might be what feeds the hook.
        """
        others = len(self.tools.get((event.client, event.client_session), ())) > 1
        if event.answered is not None and event.near and not event.inside and not others:
            self.answers = [*self.answers[-KEPT_MAX:], event.answered]

    def said_yes(self, amount: str | None) -> bool:
        """Whether a person was seen to accept the form with this amount, and nothing else was seen since it was put."""
        seen, self.answers = self.answers, []
        return seen == [("accept", amount)]

    def works(self, event: HookEvent) -> None:
        """Forget faults of a session whose ledger can be used again."""
        if self.faults and event.moment in GATED:
            self.faults.pop((event.client, event.client_session), None)

    def faulted(self, event: HookEvent) -> bool:
        """Whether a tool of this turn was stopped for a fault before: a ledger that is gone keeps no such row."""
        owner = (event.client, event.client_session)
        if event.moment is not Moment.TOOL:
            self.faults.pop(owner, None)
            return False
        again = owner in self.faults and not (event.key_of_response and self.faults[owner] == event.key)
        while owner not in self.faults and len(self.faults) >= KEPT_MAX:
            self.faults.pop(next(iter(self.faults)))
        self.faults.setdefault(owner, event.key)
        return again

    def refused(self, event: HookEvent) -> None:
        """A tool that was refused is not at work."""
        self.tools.get((event.client, event.client_session), set()).difference_update(event.tool_use_ids or ("?",))


_TOOLS_ARE_THROUGH = {Moment.TOOLS_DONE, Moment.TURN_END, Moment.MODEL, Moment.PROMPT, Moment.SESSION_END}


def answer_raise(rt: Runtime, prompts: Prompts, event: HookEvent, wish: tuple[str, str | None]) -> HookAnswer:
    """Show a code for an amount, or raise by it. The prompt is stopped in any case: the model never sees it."""
    text, code = wish
    owner = (event.client, event.client_session)
    if not text:
        return _said("Say by how much, in US dollars: tallygate raise 2")
    try:
        usd_nanos = parse_amount_nanos("amount", text)
        session_id = account_of(rt, event).session.session_id
        found = change.request_of(rt, session_id, usd_nanos, NO_REASON)
        if (why := _closed(rt, prompts, event, owner)) is not None:
            prompts.shown.pop(owner, None)
            return _said(f"{why} To raise it, run in a terminal of your own: {found.command}")
        if code is None:
            return _said(_show(rt, prompts, owner, usd_nanos, found))
        return _said(_take(rt, prompts, owner, (usd_nanos, code), session_id))
    except TallygateError as error:
        return _said(str(error))


def _closed(rt: Runtime, prompts: Prompts, event: HookEvent, owner: Owner) -> str | None:
    """Why no code is given or taken here; None where a person is at the client's own prompt."""
    if event.agent_id is not None or not event.near or event.inside:
        return "A budget is raised at the prompt of a client that you started yourself, while its server runs."
    if _at_work(rt, event, prompts.tools.get(owner, set())):
        return "A tool of this session is still at work: raise when it is through."
    prompts.wrong[owner] = [at for at in prompts.wrong.get(owner, []) if at > rt.clock_us() - CLOSED_US]
    if len(prompts.wrong[owner]) >= WRONG_MAX:
        return f"{WRONG_MAX} codes were wrong: this way is closed for an hour."
    return None


def _at_work(rt: Runtime, event: HookEvent, begun: set[str]) -> bool:
    """Whether a tool that has begun may still run, where nothing told its end.

    An agent asks its model again when the tools of a response are through, so a later response of the same agent says
    that they are; a turn that was broken off says nothing else.
    """
    if not begun:
        return False
    with rt.ledger.reading(rt.tenant) as reader:
        recent = reader.recent_usage(event.client, event.client_session, RESPONSES_LOOKED_AT)
    through: set[str] = set()
    later: set[str | None] = set()
    for stored in recent:  # the newest first
        if stored.row.agent_id in later:
            through.update(stored.row.tool_use_ids)
        if stored.row.tool_use_ids:  # a title or a summary may be made beside a tool
            later.add(stored.row.agent_id)
    return not begun <= through


def _show(rt: Runtime, prompts: Prompts, owner: Owner, usd_nanos: int, found: change.Request) -> str:
    code = rt.new_token(CODE_BYTES)
    while len(prompts.shown) >= KEPT_MAX:
        prompts.shown.pop(next(iter(prompts.shown)))
    seen = (found.budget.budget_id, found.budget.limit_nanos)
    prompts.shown[owner] = Shown(code, usd_nanos, seen, rt.clock_us() + CODE_LASTS_US)
    amount = format_amount(usd_nanos)
    return (
        f"{standing_of(found.budget)} To raise its limit by {amount}, type within two minutes: "
        f"tallygate raise {amount.lstrip('$').replace(',', '')} {code}"
    )


def _take(rt: Runtime, prompts: Prompts, owner: Owner, wanted: tuple[int, str], session_id: str) -> str:
    """Raise where code, session, amount and time are those of the code that was shown; it is gone in any case."""
    usd_nanos, code = wanted
    shown = prompts.shown.pop(owner, None)
    fits = shown is not None and shown.usd_nanos == usd_nanos and rt.clock_us() <= shown.until_us
    if shown is None or not fits or not hmac.compare_digest(shown.code.encode(), code.lower().encode()):
        prompts.wrong.setdefault(owner, []).append(rt.clock_us())
        return (
            "That is not the code that was shown for this amount within two minutes; nothing was changed. "
            "Type the line without a code for a new one."
        )
    user = Authority(Door.PROMPT, "user at the prompt")
    changed = change.grant(rt, session_id, shown.seen, usd_nanos, NO_REASON, authority=user)
    return f"{change.granted(shown.seen[1], changed)} Go on with your next prompt."


def _said(text: str) -> HookAnswer:
    return HookAnswer(Verdict.STOP, f"Tallygate: {text}")
