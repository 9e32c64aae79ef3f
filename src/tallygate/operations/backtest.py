"""Go through the sessions in the ledger again, to see how good its estimates are and what its gate would have done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tallygate.core.learning.calibration import Kind
from tallygate.core.learning.replay import (
    Accuracy,
    AccuracySum,
    Ask,
    Figures,
    Gate,
    Outcome,
    Run,
    figures,
    outcome,
    usual_budget,
    walk_forward,
)
from tallygate.ledger.port import Reader
from tallygate.operations.relearn import HookSteps, Paid, paid_of, responses, session_of
from tallygate.operations.runtime import Runtime

# The budget of a session where none is given: what three of four like it stay within.
BUDGET_PERCENT = 75


@dataclass(frozen=True, slots=True)
class Period:
    """Which responses and calls are gone through; `until_us` is the first moment after them."""

    from_us: int
    until_us: int


@dataclass(frozen=True, slots=True)
class Part:
    """What became of the sessions of one kind of estimate: those of hooks, or those that agents gave."""

    kind: Kind
    figures: Mapping[Gate, Figures]
    accuracy: Accuracy


@dataclass(frozen=True, slots=True)
class Backtest:
    """How good the estimates are on this ledger; without a budget each session had what is usual for its like."""

    quantile_percent: int
    budget_nanos: int | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How many sessions were gone through, of how many."""

    done: int
    sessions: int


def nobody(_: Progress) -> None:
    """Progress that nobody looks at."""


def backtest(
    rt: Runtime, period: Period, *, budget_nanos: int | None = None, progress: Callable[[Progress], None] = nobody
) -> Backtest:
    """Go through every session the oldest first, each with what those before it teach; nothing is written."""
    with rt.ledger.reading(rt.tenant) as reader:
        runs = {Kind.HOOK: _observed(rt, reader, period), Kind.AGENT: _asked(reader, period)}
    sessions = sum(map(len, runs.values()))
    done = 0
    parts = []
    for kind, own in runs.items():
        limits = _limits(own, budget_nanos)
        outcomes: dict[Gate, list[Outcome]] = {gate: [] for gate in Gate}
        heard = AccuracySum()
        for run, told in walk_forward(own):
            for gate, found in outcomes.items():
                found.append(outcome(told, limits[run.group], gate, rt.policy.quantile_percent))
            for each in told:
                heard.add(each)
            done += 1
            progress(Progress(done, sessions))
        if own:
            parts.append(Part(kind, {gate: figures(found) for gate, found in outcomes.items()}, heard.result()))
    return Backtest(rt.policy.quantile_percent, budget_nanos, tuple(parts))


def hook_asks(responses: Iterable[Paid]) -> Iterator[Ask]:
    """The calls of one session as its hooks would have asked for them, at the time of each response."""
    steps = HookSteps()
    for each in responses:
        yield steps.ask(each, session_of(each.row))


def _observed(rt: Runtime, reader: Reader, period: Period) -> list[Run]:
    """The sessions that clients wrote down."""
    found: dict[tuple[str, str], list[Paid]] = {}
    for stored in responses(reader, period.from_us, period.until_us):
        row = stored.row
        found.setdefault((row.client, session_of(row)), []).append(paid_of(rt, stored))
    return [
        Run(name, f"{client} {responses[0].row.project or ''}", tuple(hook_asks(responses)))
        for (client, name), responses in found.items()
    ]


def _asked(reader: Reader, period: Period) -> list[Run]:
    """The sessions whose agents said what a step would cost, as far as it is known what it did."""
    found: dict[str, list[Ask]] = {}
    groups: dict[str, str] = {}
    for kept in reader.samples_after(Kind.AGENT.value, 0):
        if period.from_us <= kept.at_us < period.until_us:
            sample, key = kept.sample, f"{kept.key.client} {kept.key.model}"
            ask = Ask(key, kept.agent, sample.estimate_nanos, sample.actual_nanos, origin=sample.origin)
            found.setdefault(kept.session_id, []).append(ask)
            groups.setdefault(kept.session_id, f"{kept.key.client} ")
    return [Run(name, groups[name], tuple(asks)) for name, asks in found.items()]


def _limits(runs: Sequence[Run], budget_nanos: int | None) -> dict[str, int]:
    """The budget of every group: the given one, or the usual one of its project, or of its client."""
    groups: dict[str, list[Run]] = defaultdict(list)
    clients: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.group].append(run)
        clients[run.group.partition(" ")[0]].append(run)
    if budget_nanos is not None:
        return dict.fromkeys(groups, budget_nanos)
    return {
        group: usual_budget(members, clients[group.partition(" ")[0]], BUDGET_PERCENT)
        for group, members in groups.items()
    }
