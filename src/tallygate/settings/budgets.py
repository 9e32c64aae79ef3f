"""Budgets of a settings file: what each limits, how far, over what time."""

from __future__ import annotations

from dataclasses import MISSING, replace

from tallygate.core.errors import SettingsError
from tallygate.core.gate.rules import NAMED, SESSION, BudgetRule, BudgetScope, scope_named
from tallygate.core.money import CALLS, TOKENS
from tallygate.core.plan import PlanRule, PlanUnknown
from tallygate.core.values import value
from tallygate.core.words import BudgetMode
from tallygate.settings import checks, sections
from tallygate.settings.declared import setting, table_of
from tallygate.settings.model import Paths, Settings
from tallygate.settings.source import Document, KeyPath

_LIMITS = ("limit_usd", "limit", "limit_tokens", "limit_calls")


@value(frozen=True, slots=True)
class _Row:
    """A budget as it is written."""

    scope: BudgetScope = setting(
        MISSING, "scope", checks.choice(BudgetScope), '"project"',
        "What the budget limits: `session`, `project`, `tenant`, `user`, `client`, `model`, `agent`, `skill`,"
        " `mcp_server`, `global`, or how much of a client's `plan` is used.",
        required=True,
    )  # fmt: skip
    match: str | None = setting(
        None, "match", checks.text, '"claude-opus-*"',
        "Narrows the scope: a folder, the end of a project's path or a pattern of either, a tenant, a pattern of"
        " clients or models. A model is meant in every spelling; the name of a family (`opus`) means all its models.",
    )  # fmt: skip
    name: str | None = setting(
        None, "name", checks.text, '"Explore"',
        "Required of an `agent` (a kind of subagent), a `skill` or an `mcp_server`, and of these alone: its name, or a"
        " pattern.",
    )  # fmt: skip
    usd: int | None = setting(
        None, "limit_usd", checks.amount_nanos, "20.00",
        "The limit in US dollars. Exactly one limit is given. Sessions without a budget have 5 dollars.",
    )  # fmt: skip
    amount: int | None = setting(None, "limit", checks.amount_nanos, "20.00", "The limit in another currency.")
    currency: str | None = setting(None, "currency", checks.currency, '"GBP"', "The currency of `limit`.")
    tokens: int | None = setting(
        None, "limit_tokens", checks.whole(1, 10**15), "5_000_000", "The limit in tokens of all classes."
    )
    calls: int | None = setting(
        None, "limit_calls", checks.whole(1, 10**12), "200",
        "The limit in model calls, or in steps that an agent asked for.",
    )  # fmt: skip
    period: str | None = setting(
        None, "period", checks.period, '"day"',
        "Required above the session: `day`, `week`, `month` (in `time_zone`), `never`, or hours such as `5h`, which"
        " roll.",
    )  # fmt: skip
    mode: BudgetMode | None = setting(
        None, "mode", checks.choice(BudgetMode), '"soft"',
        "`hard` stops what the budget does not carry; `soft` only says so. Without it: `policy.budget_mode`.",
    )  # fmt: skip
    window: int | None = setting(
        None, "window", checks.plan_window, '"5h"',
        "Of a plan: its window, `5h`, `weekly` or other hours, as the client tells of it. Nothing is reserved in a"
        " plan, and it has no limit in money.",
    )  # fmt: skip
    at_percent: int | None = setting(
        None, "at_percent", checks.whole(1, 100), "90",
        "Of a plan: no step is let through from here on until the window begins anew. Without it: 90.",
    )  # fmt: skip
    client: str | None = setting(
        None, "client", checks.text, '"codex"',
        "Of a plan: whose it is. Without it: that of each client that tells of one (Claude Code in its status line,"
        " Codex).",
    )  # fmt: skip
    unknown: PlanUnknown | None = setting(
        None, "unknown", checks.choice(PlanUnknown), '"halt"',
        "Of a plan: `warn` says so and goes on, `halt` stops while nobody knows how much is used: before the client's"
        " first word, and once that is older than the window or from before it began anew. Without it: `warn`.",
    )  # fmt: skip


BUDGET = table_of(_Row)
# Where a limit on a plan stands that names no share.
AT_PERCENT = 90
_EXAMPLES = {BudgetScope.AGENT: "Explore", BudgetScope.SKILL: "release-notes", BudgetScope.MCP_SERVER: "github"}


def read_budgets(document: Document, mode: BudgetMode) -> tuple[BudgetRule, ...]:
    """The budgets of a file; `mode` is that of those which name none."""
    return tuple(rule for _, rule in numbered_budgets(document, mode))


def with_budgets(settings: Settings, document: Document) -> Settings:
    """Settings with the budgets of a file, and with its limits on plans."""
    mode = settings.policy.budget_mode
    return replace(settings, budgets=read_budgets(document, mode), plan=read_plan(document, mode))


def read_plan(document: Document, mode: BudgetMode, within: str | None = None) -> tuple[PlanRule, ...]:
    """The limits of a file on plans; `within` is the project whose file it is."""
    return tuple(rule for _, rule in numbered_plan(document, mode, within))


def numbered_plan(document: Document, mode: BudgetMode, within: str | None = None) -> list[tuple[int, PlanRule]]:
    """The limits of a file on plans, each with its place among all rows."""
    found = []
    for number, row in enumerate(sections.rows(document, "budget", BUDGET, _Row)):
        path: KeyPath = ("budget", number)
        if row.scope is not BudgetScope.PLAN:
            continue
        if row.window is None:
            raise _wrong(document, path, "a plan lacks its window.", 'Add for example: window = "5h"')
        given = (row.usd, row.amount, row.currency, row.tokens, row.calls, row.match, row.name, row.period)
        if any(each is not None for each in given):
            keys = "limits, match and period"
            raise _wrong(document, path, f"{keys} mean nothing for a plan.", "Its limit is at_percent, of a window.")
        percent, unknown = row.at_percent or AT_PERCENT, row.unknown or PlanUnknown.WARN
        found.append((number, PlanRule(row.window, percent, row.mode or mode, row.client, unknown, within)))
    return found


def numbered_budgets(document: Document, mode: BudgetMode) -> list[tuple[int, BudgetRule]]:
    """The budgets of a file that count something, each with its place among all rows."""
    found = []
    for number, row in enumerate(sections.rows(document, "budget", BUDGET, _Row)):
        path: KeyPath = ("budget", number)
        if row.scope is BudgetScope.PLAN:
            continue
        if any(each is not None for each in (row.window, row.at_percent, row.client, row.unknown)):
            words = "window, at_percent, client and unknown belong to a plan."
            raise _wrong(document, path, words, 'Leave them out, or write: scope = "plan"')
        limit, unit = _limit(document, path, row)
        period = _period(document, path, row)
        if row.scope is BudgetScope.MODEL and row.match is None:
            hint = 'Add for example: match = "claude-opus-*"'
            raise _wrong(document, path, "a budget of a model lacks match.", hint)
        if row.scope in NAMED and (row.name is None or row.match is not None):
            hint = f'Write for example: name = "{_EXAMPLES[row.scope]}"'
            what = "lacks name." if row.name is None else "takes a name, and no match."
            raise _wrong(document, path, f"a budget of {scope_named(row.scope)} {what}", hint)
        if row.scope not in NAMED and row.name is not None:
            raise _wrong(document, path, f"name means nothing for {row.scope.value}.", "Leave name out.")
        if row.scope in (BudgetScope.SESSION, BudgetScope.GLOBAL) and row.match is not None:
            raise _wrong(document, path, f"match means nothing for {row.scope.value}.", "Leave match out.")
        rule = BudgetRule(
            scope=row.scope,
            limit=limit,
            unit=unit,
            period=period,
            mode=row.mode or mode,
            match=row.name if row.scope in NAMED else row.match,
        )
        found.append((number, rule))
    return found


def written_us(paths: Paths, rule: BudgetRule) -> int | None:
    """When the file that has a budget was last written: since then it can have bound something."""
    projects = (paths.project_file, *paths.outer_files)
    files = (paths.user_file,) if rule.within is None else projects
    times = [file.stat().st_mtime_ns // 1000 for file in files if file is not None and file.exists()]
    return max(times, default=None)


def _limit(document: Document, path: KeyPath, row: _Row) -> tuple[int, str]:
    given = [
        (value, unit)
        for value, unit in ((row.usd, "USD"), (row.amount, row.currency), (row.tokens, TOKENS), (row.calls, CALLS))
        if value is not None
    ]
    # Two limits of one budget could each be meant; which of them would bind must not depend on an order.
    if len(given) != 1:
        words = f"{' and '.join(_LIMITS)} are all missing" if not given else "more than one limit is given"
        raise _wrong(document, path, f"{words}.", "Give exactly one of them; another limit is another [[budget]].")
    limit, unit = given[0]
    if unit is None:
        raise _wrong(document, path, "limit lacks its currency.", 'Add for example: currency = "GBP"')
    if row.currency is not None and row.amount is None:
        raise _wrong(document, path, "currency belongs to limit.", "Write: limit = 2.50")
    return limit, unit


def _period(document: Document, path: KeyPath, row: _Row) -> str:
    if row.scope is BudgetScope.SESSION:
        if row.period not in (None, SESSION):
            raise _wrong(document, path, f"a session has no period {row.period!r}.", "Leave period out.")
        return SESSION
    if row.period is None or row.period == SESSION:
        words = f"a budget of scope {row.scope.value} needs a period."
        raise _wrong(document, path, words, "period is day, week, month, never, or hours such as 5h.")
    return row.period


def _wrong(document: Document, path: KeyPath, what: str, to_do: str) -> SettingsError:
    return document.error(path, f"{sections.dotted(path)}: {what}", hint=to_do)
