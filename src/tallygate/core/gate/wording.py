"""Sentences for people: why a step was stopped, what was spent on what, and how to go on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tallygate.core.costing import Certainty
from tallygate.core.gate.rules import EVERY_MODEL, scope_words, within_of
from tallygate.core.lock import Off
from tallygate.core.model import DEFAULT_TENANT, Budget, Decision, Session
from tallygate.core.moments import spoken
from tallygate.core.money import COUNTED, format_amount, told_apart
from tallygate.core.plan import PlanStanding, percent, window_name
from tallygate.core.regex import regex
from tallygate.core.text import cleaned
from tallygate.core.words import Action, BudgetMode, Reason

# A raise carries so many steps: the one that was refused and those that usually follow it.
STEPS_AHEAD = 10
_MARGIN_PERCENT, _FIRST_MARGIN_PERCENT = 105, 120
# Nobody types a longer id.
_TYPED_MAX = 80
_GO_ON = "To go on, run: "
_PLAIN = regex(r"[\w.:/@%+=,-]+", re.ASCII)
# An id that we made ends in chance; what stands behind it names a budget of calls or tokens beside a session's own.
_MADE = regex(r"session_.*_[0-9a-f]{8,}([0-9a-f]{8}(?::[A-Za-z]+)*)", re.DOTALL)
PROGRAM = "tallygate"
_NAME_MAX = 120


def short_name(name: str) -> str:
    """The end of an id that we made, which stands for it in every command; an id of somebody else's choice in full."""
    made = _MADE.fullmatch(name)
    return name if made is None else made[1]


def budget_name(budget: Budget) -> str:
    """How a budget is called in a sentence."""
    period = "" if budget.period in ("session", "never") else f" ({budget.period})"
    name = short_name(budget.scope_key)
    if budget.scope == "session" and name == budget.scope_key:
        return f"{name}{period}"  # an id of the agent's own choice says what it is
    return f"{scope_words(budget.scope)} {name}{period}"


_SPANS = {"session": "", "never": "", "day": "today", "week": "this week", "month": "this month"}


def per(period: str) -> str:
    """How often a limit's amount may be spent, as it stands behind the amount.

    >>> per("day"), per("5h"), per("never")
    ('a day', 'within 5 hours', 'in all')
    """
    hours = period.removesuffix("h")
    return "in all" if period == "never" else f"within {hours} hours" if hours.isdecimal() else f"a {period}"


def has_left(budget: Budget, left: str, limit: str) -> str:
    """What a budget has left and whose it is, as the beginning of a sentence: `Session 1a2b has $1 left of $5`."""
    return f"{_who(budget)} has {left} left of {limit} {_span(budget)}".rstrip()


def passed(budget: Budget) -> str:
    """What is said of a step that a budget which only warns would have stopped, and lets through."""
    limit, spent, reserved, _ = told_apart(amounts_of(budget), budget.unit)
    held = f" and {reserved} held for this step" if budget.reserved else ""
    stands = f"{_who(budget)} is over its limit of {limit} {_span(budget)}".rstrip()
    return f"{stands}: {spent} spent{held}. This limit only warns; a hard one would have stopped here."


def let_through(times: int, spent_nanos: int) -> str:
    """What is said of a session that went on over a limit which only warns; `spent_nanos` is what it had by then."""
    steps = "1 step was" if times == 1 else f"{times:,} steps were"
    at = f"at {format_amount(spent_nanos)}" if spent_nanos else "before it had spent anything"
    return f"{steps} let through over a limit that only warns; a hard one would have stopped the work {at}."


_STOPPED = {
    Reason.BUDGET_EXCEEDED: "over the limit",
    Reason.PRICE_UNKNOWN: "as nobody knows the price",
    Reason.NO_LOCAL_MODEL: "as nobody knows the price",
    Reason.SESSION_ENDED: "as its session had ended",
    Reason.EXACTNESS_REQUIRED: "as an earlier call was not reported yet",
    Reason.PLAN_REACHED: "as the plan is used up to its limit",
    Reason.PLAN_UNKNOWN: "as nobody knows how much of the plan is used",
}
_LET_THROUGH = {
    Reason.BUDGET_PRESSURE: "near the limit",
    Reason.SOFT_BUDGET_EXCEEDED: "over the limit",
    Reason.PRICE_UNKNOWN_REROUTE: "to a model of this machine",
    Reason.GATE_OFF: "as Tallygate was off",
    Reason.PLAN_PRESSURE: "though the plan is used up to its limit",
    Reason.PLAN_UNSURE: "though nobody knows how much of the plan is used",
}


def decided(action: Action, reason: Reason, *, over: bool = False) -> str:
    """What became of a step, in words; `over` says that a limit which only warns was passed."""
    if action is Action.HALT:
        return ", ".join(filter(None, ("stopped", _STOPPED.get(reason))))
    return ", ".join(filter(None, ("let through", "over the limit" if over else _LET_THROUGH.get(reason))))


def _who(budget: Budget) -> str:
    key = cleaned(short_name(budget.scope_key), _NAME_MAX)
    match budget.scope:
        case "global":
            return "All work"
        case "model" if budget.scope_key == EVERY_MODEL:
            return "Work with any model"
        case _:
            words = scope_words(budget.scope)
            return f"{words[0].upper()}{words[1:]} {key}"


def _span(budget: Budget) -> str:
    return _SPANS.get(budget.period, f"within {budget.period.removesuffix('h')} hours")


def left_of(budget: Budget, session: Session, *, brief: bool = False) -> str:
    """What a budget leaves a session, and whose budget it is; `brief` leaves out the session's own."""
    left, limit = told_apart([max(budget.available, 0), budget.limit], budget.unit)
    text = f"{left} of {limit} left"
    whose = _whose(budget, session)
    if budget.scope == "session":
        return text if brief and budget.scope_key == session.session_id else f"{text} for {whose}"
    span = _SPANS.get(budget.period, f"within {budget.period.removesuffix('h')} hours")
    inside = "" if within_of(budget.budget_id) is None else " here"
    return " ".join(filter(None, (text, span, f"for {whose}{inside}")))


def _whose(budget: Budget, session: Session) -> str:
    """What a budget limits, as somebody at work in a session would say it."""
    key = cleaned(budget.scope_key, _NAME_MAX)
    match budget.scope:
        case "session":
            return "this session" if budget.scope_key == session.session_id else f"session {short_name(key)} around it"
        case "project":
            return "this project" if budget.scope_key == session.project else f"the project {key}"
        case "global":
            return "all work"
        case "model":
            return "all models" if budget.scope_key == EVERY_MODEL else f"model {key}"
        case _:
            return f"{scope_words(budget.scope)} {key}"


def quoted(budget_id: str) -> str:
    """A budget's id as a shell takes it for one word."""
    return budget_id if _PLAIN.fullmatch(budget_id) else "'" + budget_id.replace("'", "'\\''") + "'"


def raise_command(budget: Budget, asked: int, usual: int = 0, program: str = PROGRAM, said: str | None = None) -> str:
    """The command with which the user lets the work go on, with an amount that carries the next ten steps.

    `asked` is what the refused step needs and `usual` what the session's steps take, in the budget's unit. Before
    anything is known of them it carries this step and a margin, and of a large limit ten such steps. `said` is the
    command of a refusal just before: one halt has one command, as long as its amount carries this step, too.
    """
    missing = max(asked - budget.available, 0)
    if said is not None and (held := added_by(said, budget)) is not None and held >= missing:
        return raise_by(budget, held, program)
    ahead = asked + (STEPS_AHEAD - 1) * (usual or asked)
    lacking = -(-ahead * _MARGIN_PERCENT // 100) - budget.available
    added = max(lacking, missing, 1)
    # Rounded up to two digits, and money to whole cents: it is typed by hand.
    step = max(10 ** max(len(str(added)) - 2, 0), 1 if budget.unit in COUNTED else 10_000_000)
    added = -(-added // step) * step
    if usual == 0:
        # Half of a small limit is enough to begin with: how the session's steps will be, nobody knows yet.
        half = 1 if budget.unit in COUNTED else max(budget.limit // 2, 10_000_000)
        added = max(missing * _FIRST_MARGIN_PERCENT // 100, min(half, added) if asked else half)
    return raise_by(budget, added, program)


def added_by(command: str, budget: Budget) -> int | None:
    """The amount in a command as `raise_by` writes it; None where that is another budget's, or no such command."""
    words = command.split(f" budget raise {quoted(short_name(budget.name))} ")
    amount = words[-1].partition(" ")[0] if len(words) == 2 else ""
    if budget.unit in COUNTED:
        return int(amount) if amount.isdecimal() else None
    whole, _, cents = amount.partition(".")
    typed = whole.isdecimal() and cents.isdecimal() and len(cents) == 2
    return int(whole + cents) * 10_000_000 if typed else None


def raise_by(budget: Budget, added: int, program: str = PROGRAM) -> str:
    """The command that adds to a budget's limit; money to the cent, upwards."""
    cents = -(-added // 10_000_000)
    amount = str(added) if budget.unit in COUNTED else f"{cents // 100}.{cents % 100:02d}"
    tenant = "" if budget.tenant == DEFAULT_TENANT else f" --tenant {quoted(budget.tenant)}"
    return f"{program} budget raise {quoted(short_name(budget.name))} {amount}{tenant}"


def standing_of(budget: Budget) -> str:
    """How a budget stands, as a sentence."""
    limit, spent, reserved, left = told_apart(amounts_of(budget), budget.unit)
    held = f", {reserved} reserved" if budget.reserved else ""
    return f"{has_left(budget, left, limit)}: {spent} spent{held}."


def amounts_of(budget: Budget) -> tuple[int, int, int, int]:
    """A budget's limit, and what of it is spent, reserved and left."""
    spent = budget.spent + budget.carried
    return budget.limit, spent, budget.reserved, max(budget.available, 0)


def nothing_left(budget: Budget, usual: int = 0, program: str = PROGRAM, zone: str = "UTC") -> str:
    """What to say of a budget that is exhausted, with the command to go on; `usual` is what a step takes of it."""
    refused = ["The next step is refused."] if budget.mode is BudgetMode.HARD else []
    command = raise_command(budget, usual, usual, program)
    return _way_on(" ".join([standing_of(budget), *refused, *_renewal(budget, zone)]), command)


def _renewal(budget: Budget, zone: str) -> tuple[str, ...]:
    """When a budget begins anew, in the user's time zone; nothing where it does not."""
    return () if budget.resets_us is None else (f"It renews at {spoken(budget.resets_us, zone)}.",)


def _way_on(message: str, command: str) -> str:
    """A message with the command to go on as its last line: nothing stands behind it that a copy would catch."""
    return f"{message}\n{_GO_ON}{command}"


def halt_message(
    decision: Decision,
    *,
    session_id: str,
    asked: int,
    model: str,
    because: Sequence[str] = (),
    command: str = "",
    zone: str = "UTC",
    at_us: int = 0,
) -> str:
    """At most three lines to pass on: what is left of which budget and what the step needs, why, the `command`."""
    budget = decision.decided_by
    match decision.reason:
        case Reason.SESSION_ENDED:
            return (
                f"Session {short_name(session_id)} has ended and takes no more calls; usage of its calls can still be "
                "reported. Tell the user: further work needs a session with a budget that the user gives "
                "(l6e_run_start)."
            )
        case Reason.PRICE_UNKNOWN:
            return (
                f"No price is known for model {model}, and this session halts on unknown prices. "
                f"Name the model's full id, or let the user set what its provider bills: {_lines_of(model)}"
            )
        case Reason.NO_LOCAL_MODEL:
            return (
                f"No price is known for model {model}, and no local model is configured to reroute to. "
                'The user can set one in config.toml: local_model = "ollama/..." under [policy].'
            )
        case Reason.EXACTNESS_REQUIRED:
            return (
                "An earlier call of this session has no actual usage yet, and the session requires it "
                "(exact_required). Report it with l6e_record_usage, then ask again."
            )
        case Reason.PLAN_REACHED | Reason.PLAN_UNKNOWN if decision.plan is not None:
            return plan_stops(decision.plan, at_us, zone)
        case _ if budget is not None:
            needed, limit, spent, _, left = told_apart([asked, *amounts_of(budget)], budget.unit)
            over = f" ({spent} spent)" if budget.available < 0 else ""
            takes = "may take" if budget.unit in COUNTED else "may cost"
            first = f"{has_left(budget, left, limit)}{over}; the next step {takes} {needed}."
            lines = [" ".join([first, *_renewal(budget, zone)]), " ".join(because)]
            return _way_on("\n".join(filter(None, lines)), command)
        case _:
            return "The step was stopped."


def plan_told(standing: PlanStanding, at_us: int, zone: str) -> str:
    """How a limit on a plan stands, as a sentence or two: how much is used, since when nobody knows, when it resets."""
    told, rule = standing.told, standing.rule
    window = f"{window_name(rule.minutes)} window of the plan of {cleaned(standing.client, _NAME_MAX)}"
    if told is None:
        return f"Nobody knows how much of the {window} is used: nothing was told of it yet."
    if standing.is_known:
        resets = "" if told.resets_us is None else f" It begins anew at {spoken(told.resets_us, zone)}."
        return f"{percent(told.used)} of the {window} is used; the limit is {rule.at_percent} %.{resets}"
    if told.resets_us is not None and told.resets_us <= at_us:
        since = f"it began anew at {spoken(told.resets_us, zone)}, and nothing was told since"
    else:
        since = f"what was told last, {percent(told.used)}, is of {spoken(told.at_us, zone)}"
    return f"Nobody knows how much of the {window} is used: {since}."


def plan_stops(standing: PlanStanding, at_us: int, zone: str) -> str:
    """Why a limit on a plan stops a step, and how the work goes on."""
    if standing.is_reached:
        way = "Work goes on then; to go on sooner, the user raises at_percent of that [[budget]] in the settings file."
    else:
        way = 'Its [[budget]] says unknown = "halt": the user changes that to "warn" in the settings file to go on.'
    return f"{plan_told(standing, at_us, zone)}\n{way}"


def held_next(message: str, command: str | None) -> str:
    """A refusal with what becomes of the next tool; the command to go on stays the last word of it."""
    head = _without_way_on(message, command)
    if head is None:
        return message
    return (
        f"{head} The next tool waits until there is more.\nTo go on, press Esc and type `tallygate raise 2`, "
        f"or in another terminal run: {command}"
    )


def never_began(message: str, command: str | None, *, own: bool) -> str:
    """A refusal of the first prompt of a run that ends with it: there is nothing to resume, so it is started again.

    `own` says that the budget is the run's own, which the next run does not have.
    """
    head = _without_way_on(message, command)
    if head is None or command is None:
        return f"{message} This run never began, so it cannot be resumed: start it again."
    if own:
        return f"{head}\nThis run never began: raise the limit of a session in your settings file, and start it again."
    return _way_on(f"{head} This run never began: start it again after the raise.", command)


def _without_way_on(message: str, command: str | None) -> str | None:
    """What a message says before its command; None where it has none."""
    end = None if command is None else _way_on("", command)
    return None if end is None or not message.endswith(end) else message.removesuffix(end)


def doubtful(budget: Budget, spent: int, own: Certainty, model: str, *, settles: bool) -> str:
    """What to say of a refusal that known prices alone would not make, with how to settle the price of a model.

    `spent` of the budget rests on prices that are not sure; `own` is how sure the price of the step itself is. The
    lines for the settings are not in it: many clients show a message as one line, from which nothing can be pasted.
    """
    guessed = (
        [f"{format_amount(spent, budget.unit)} of what is spent rests on prices that are not sure"] if spent else []
    )
    guessed += [f"the price of this step is {own.value}"] if own is not Certainty.KNOWN else []
    rest = f"Known prices alone would not stop it: {' and '.join(guessed)}."
    if not settles:
        return f"{rest} `tallygate usage --by model` names the models."
    return f"{rest} Once the user knows what its provider bills: {_lines_of(model)}"


def _lines_of(model: str) -> str:
    """Where the lines for the settings are that give a model its price; every way to show a message keeps this."""
    typed = quoted(model) if model.isprintable() and len(model) <= _TYPED_MAX and not model.startswith("-") else "MODEL"
    return f"`tallygate prices {typed}` prints the lines for config.toml."


def off_told(off: Off, zone: str) -> str:
    """That the gate is off, until when, by whom and why."""
    by = f"{cleaned(off.actor, 80)}: {cleaned(off.reason, 200)}"
    return (
        f"Tallygate is off until {spoken(off.until_us, zone)} (by {by}). Nothing is stopped, everything is counted. "
        "`tallygate on` ends it."
    )


def fault_message(what: str, hint: str) -> str:
    """Why a step was stopped although no budget refused it: the ledger could not be asked."""
    return f"The ledger could not be used, so the step cannot be counted: {what} {hint}".rstrip()


def settings_message(what: str, hint: str) -> str:
    """Why every gate is shut where settings cannot be read: what is wrong where, and how to go on."""
    wrong = f"The settings cannot be used, so no step can be counted: {what} {hint}".rstrip()
    return f"{wrong} Stop and tell the user. Once it is mended, start this server again from the client."
