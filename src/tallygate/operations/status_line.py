"""What a client's status line says: the session that it shows, what limits it, and what lies ahead, as of now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from tallygate.clients.reading.status_line import StatusInput
from tallygate.core.errors import LedgerUnavailable
from tallygate.core.forecast import at_work, work_left, work_told
from tallygate.core.gate import policy
from tallygate.core.gate.policy import own_budget
from tallygate.core.gate.wording import amounts_of, left_of
from tallygate.core.model import Budget, Session, in_usd
from tallygate.core.moments import as_datetime, spoken
from tallygate.core.money import COUNTED, adding_up, format_amount, told_apart
from tallygate.core.plan import percent, window_name
from tallygate.core.status_line import StatusPiece, line_of
from tallygate.core.turns import turn_told
from tallygate.core.values import value
from tallygate.core.words import BudgetMode
from tallygate.ledger.port import Reader
from tallygate.operations.budgets.applicable import budgets_now
from tallygate.operations.budgets.figures import Unsure
from tallygate.operations.lock_book import off_now
from tallygate.operations.plan import keep_told, windows_of
from tallygate.operations.runtime import Runtime
from tallygate.operations.sessions.opening import innermost_open
from tallygate.operations.turns import next_turn_of
from tallygate.operations.views.history import spent_lately
from tallygate.operations.views.pace import LOOKED_BACK_US, RESPONSES_MAX, multipliers_now
from tallygate.reports.usage import By


@value(frozen=True, slots=True)
class _Shown:
    """What the pieces are made of, as of one moment."""

    rt: Runtime
    reader: Reader
    client: str
    session: Session
    budgets: tuple[Budget, ...]
    at_us: int


def status_line(rt: Runtime, client: str, asked: StatusInput) -> str:
    """The line for a client's session, after what it has just written down was read; always one line.

    Nothing of it is remembered from an earlier one: it has what is reserved and the last response in it.
    """
    transcript = None if asked.transcript is None else Path(asked.transcript)
    if asked.session is not None:
        rt.follower.include(client, transcript, asked.session)
    rt.follower.catch_up()
    with suppress(LedgerUnavailable):  # the client tells it again at its next turn
        keep_told(rt, asked.plan)
    show, width = rt.workspace.status_show, rt.workspace.status_width
    told: dict[str, str] = {}
    with rt.reading() as reader:
        at_us = rt.services.clock_us()
        off = off_now(rt, reader)
        session = None if asked.session is None else innermost_open(reader, client, asked.session)
        if session is not None:
            budgets = budgets_now(rt, reader, session, at_us)
            shown = _Shown(rt, reader, client, session, budgets, at_us)
            told |= {piece: text for piece in show if piece in _OF_SESSION and (text := _OF_SESSION[piece](shown))}
        if StatusPiece.PLAN in show and (plan := _plan(rt, reader, client, at_us)):
            told[StatusPiece.PLAN] = plan
    told |= _sums(rt, show)
    until = None if off is None else f"off until {spoken(off.until_us, rt.workspace.zone)}"
    return line_of(told, show, width, until)


def remaining_text(rt: Runtime, client: str, client_session: str) -> str | None:
    """What is left for a client's session, in a few words; None where no budget is known for it."""
    with rt.reading() as reader:
        session = innermost_open(reader, client, client_session)
        if session is None:
            return None
        at_us = rt.services.clock_us()
        shown = _Shown(rt, reader, client, session, budgets_now(rt, reader, session, at_us), at_us)
        off = off_now(rt, reader)
    until = None if off is None else f"off until {spoken(off.until_us, rt.workspace.zone)}"
    show = (StatusPiece.SESSION.value, StatusPiece.LEFT.value)
    return line_of({"session": _spent(shown), "left": _left(shown)}, show, 1000, until)


def _spent(shown: _Shown) -> str:
    """What the session has cost, with what is held for a step that is not counted yet."""
    own = own_budget(shown.session, shown.budgets)
    spent, held, _ = _parts(own)
    return f"{spent} spent" + (f", {held} held" if own.reserved else "")


def _parts(budget: Budget) -> list[str]:
    """What of a budget is spent, held and left, so that the three come to its limit as they are shown."""
    limit, *parts = amounts_of(budget)
    if budget.unit in COUNTED or sum(parts) != limit:
        return told_apart(amounts_of(budget), budget.unit)[1:]
    return adding_up(parts, limit, budget.unit)


def _left(shown: _Shown) -> str:
    """What the budget that will stop the work has left; of ones that only warn alone the tightest."""
    hard = policy.tightest([each for each in shown.budgets if each.mode is BudgetMode.HARD])
    found = hard or policy.tightest(shown.budgets)
    if found is None:
        return ""
    text = left_of(found, shown.session, brief=True)
    # Beside what is spent and held the three are to come to the limit.
    is_own = found.budget_id == shown.session.session_id and found.scope == "session"
    return f"{_parts(found)[2]}{text[text.index(' of ') :]}" if is_own else text


def _context(shown: _Shown) -> str:
    turn = next_turn_of(shown.rt, shown.reader, shown.session, shown.at_us)
    return "" if turn is None else turn_told(turn, shown.at_us)


def burn_told(rt: Runtime, reader: Reader, session: Session, budgets: tuple[Budget, ...], at_us: int) -> str:
    """What a session burns by the hour and how long its tightest budget lasts; nothing where that is not known."""
    return _burn(_Shown(rt, reader, session.client, session, budgets, at_us))


def _burn(shown: _Shown) -> str:
    """What the last half hour at work costs by the hour, and how long what is left lasts at that."""
    found = policy.tightest([each for each in shown.budgets if each.unit not in COUNTED])
    if found is None:
        return ""
    own = None if found.scope != "session" else shown.session.session_id
    spent = shown.reader.spent_since(shown.at_us - LOOKED_BACK_US, own, RESPONSES_MAX)
    left = work_left(in_usd(found.available, found), at_work(spent), _multipliers(shown))
    return "" if left is None else f"{format_amount(left.burn_nanos_an_hour)} an hour, {work_told(left)}"


def _multipliers(shown: _Shown) -> tuple[int, int, int]:
    """What earlier days say of such forecasts."""
    return multipliers_now(shown.rt, shown.reader, shown.at_us)


def _exactness(shown: _Shown) -> str:
    """How sure the session's cost is: what rests on prices that are not, and how many final counts are missing."""
    session_id = shown.session.session_id
    split = Unsure(shown.reader, shown.rt.workspace.place_of).of_session(session_id)
    partial = sum(part.partial for part in shown.reader.observed(session_id).values())
    said = [
        f"{format_amount(nanos)} {kind}"
        for nanos, kind in ((split.approximate_nanos, "approximate"), (split.assumed_nanos, "assumed"))
        if nanos
    ]
    said += [f"{partial} not final"] if partial else []
    waits = any(budget.reserved for budget in shown.budgets)
    said += ["one step not counted yet"] if waits and not said else []
    return ", ".join(said) or "exact"


_OF_SESSION: Mapping[str, Callable[[_Shown], str]] = {
    StatusPiece.SESSION: _spent,
    StatusPiece.LEFT: _left,
    StatusPiece.BURN: _burn,
    StatusPiece.CONTEXT: _context,
    StatusPiece.EXACTNESS: _exactness,
}


def _plan(rt: Runtime, reader: Reader, client: str, at_us: int) -> str:
    """The windows of the client's plan that are known by now, each with when it begins anew."""
    zone = _zone(rt.workspace.zone)
    known = [each for each in windows_of(reader.plan_windows(), client) if each.is_true_at(at_us)]
    said = []
    for each in known:
        local = None if each.resets_us is None else as_datetime(each.resets_us).astimezone(zone)
        day = "" if local is None or each.minutes < 24 * 60 else f"{local:%a} "
        until = "" if local is None else f" until {day}{local:%H:%M}"
        said.append(f"{window_name(each.minutes)} {percent(each.used)}{until}")
    return ", ".join(said)


def _sums(rt: Runtime, show: tuple[str, ...]) -> dict[str, str]:
    """What was spent today and this month on this machine, whoever did; looked up only where it is shown."""
    wanted = {StatusPiece.TODAY: By.DAY, StatusPiece.MONTH: By.MONTH}
    chosen = {piece: by for piece, by in wanted.items() if piece in show}
    if not chosen:
        return {}
    found = spent_lately(rt, _zone(rt.workspace.zone))
    words = {StatusPiece.TODAY: "today", StatusPiece.MONTH: "this month"}
    return {piece: f"{format_amount(found[by].whole.nanos)} {words[piece]}" for piece, by in chosen.items()}


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC
