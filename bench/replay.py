"""How good the gate's estimates are: real sessions gone through call by call, under this gate and under others.

    PYTHONPATH=src python -m bench replay [--corpus FOLDER] [--steps FILE]

The sessions are those below ../shared/corpus, or below the folder that TALLYGATE_CORPUS or --corpus names. What they
cost is counted as the program counts it. A project's sessions are met in the order in which they began, each with what
those before it teach, so that every figure is of sessions that nothing was learned from yet.

What agents say is not recorded. It is made up in three ways: `newtext` is what a call really added to the context, off
by a quarter, and 400 tokens of output; `const` is always 2,000 tokens in and 400 out; `fullctx` is the whole context.
`hook` is what the program takes itself where a hook asks and no agent says anything. An agent that asks for every fifth
call says of the first of the five what it says, and makes all five.

A project's sessions are met by somebody who has just installed the program (fresh) and by somebody who has worked on
all the other projects before (experienced). Goals are printed beside the figures; the exit code does not depend on
them, because recordings differ.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import steps
from bench.figures import percentile
from tallygate.clients.reading.files import TranscriptFile
from tallygate.clients.registry import REGISTRY
from tallygate.core.costing import Tokens
from tallygate.core.learning.calibration import MILLION
from tallygate.core.learning.replay import (
    Accuracy,
    AccuracySum,
    Ask,
    Figures,
    Gate,
    ReplayedCall,
    ReplayOutcome,
    Run,
    figures,
    outcome,
    usual_budget,
    walk_forward,
)
from tallygate.core.usage import ObservedUsage, merged, priced_as
from tallygate.operations.learning.estimates import price_key
from tallygate.operations.learning.replay import Paid, hook_asks, session_of
from tallygate.pricing.book import PriceBook, PricingSettings
from tallygate.pricing.identity import one_name

ROOT = Path(__file__).resolve().parent.parent
FILES = {"claude_code": ("claude", "*.jsonl"), "codex": ("codex", "*.jsonl"), "gemini": ("gemini", "session-*.json*")}
KINDS = ("newtext", "const", "fullctx", "hook")
QUANTILE = 80
# The budget that three of four sessions of a project stay within, and many, so that less depends on where one ends.
MAIN, MANY = (75,), tuple(range(30, 96, 5))
PAST = (0, 1, 3, 10)
RESAMPLED = 1000
_BUDGETS = f"budgets p{MANY[0]} to p{MANY[-1]}"
# Mean overspend, false halts, unused beyond the oracle's and coverage beside the nominal one, all in per cent; by calls
# an ask.
GOALS = {1: (0.3, 1.0, 2.5, 3.0), 5: (0.6, 14.0, 2.5, 3.0)}


@dataclass(frozen=True, slots=True)
class Session:
    """One recorded session with its subagents."""

    client: str
    name: str
    project: str
    responses: list[Paid]


def recorded(corpus: Path) -> list[Session]:
    """All sessions of a corpus, in the order in which they began."""
    book = PriceBook(PricingSettings())
    found: dict[tuple[str, str], list[Paid]] = defaultdict(list)
    projects: dict[tuple[str, str], str] = {}
    for client, (folder, pattern) in FILES.items():
        rows: dict[tuple[str, str], ObservedUsage] = {}
        for path in sorted((corpus / folder).rglob(pattern)):
            batches = REGISTRY.sources[client].read(TranscriptFile(client, path), None, None)
            read = merged(row for batch in batches for row in batch.rows)
            rows = merged([*rows.values(), *read.values()])
            for row in read.values():
                # Claude Code keeps a folder for each project; the others name it in what they write.
                own = path.parent.name if client == "claude_code" else row.project or client
                projects.setdefault((client, row.session), own)
        for row in rows.values():
            price = book.quote(priced_as(row), row.at)
            nanos = price.cost_nanos(row.tokens) + row.web_searches * price.per_search_nanos
            found[client, session_of(row)].append(Paid(row, price, nanos))
    sessions = [
        Session(client, name, projects.get((client, name), client), sorted(responses, key=lambda r: r.row.at))
        for (client, name), responses in found.items()
    ]
    return sorted(sessions, key=lambda session: (session.responses[0].row.at, session.name))


def said(session: Session, kind: str) -> Iterator[Ask]:
    """What an agent would say of each response before it is made."""
    noise = random.Random(session.name)
    # What an agent says is held against the context that was observed before, as a hook's estimate is.
    anew = [ask.anew_nanos for ask in hook_asks(session.responses)]
    for response, anew_nanos in zip(session.responses, anew, strict=True):
        tokens = response.row.tokens
        match kind:
            case "newtext":
                added = tokens.fresh_input + tokens.cache_write_5m + tokens.cache_write_1h
                told = Tokens(fresh_input=round(added * math.exp(noise.gauss(0, 0.25))), output=400)
            case "const":
                told = Tokens(fresh_input=2000, output=400)
            case _:
                told = Tokens(fresh_input=tokens.context, output=400)
        key = f"{session.client} {one_name(price_key(response.price, response.row.model))}"
        agent = response.row.agent_id or ""
        yield Ask(key, agent, response.price.cost_nanos(told), response.nanos, anew_nanos=anew_nanos)


def as_run(session: Session, kind: str, calls: int) -> Run:
    """A session as an agent or its hooks would have asked for it, once for so many calls."""
    asks = list(hook_asks(session.responses) if kind == "hook" else said(session, kind))
    if calls > 1:
        # Who asks now and then asks for its subagents, too.
        asks = [
            replace(asks[at], agent="", is_level=False, actual_nanos=sum(a.actual_nanos for a in asks[at : at + calls]))
            for at in range(0, len(asks), calls)
        ]
    return Run(session.name, f"{session.client} {session.project}", tuple(asks))


def by_project(runs: Iterable[Run]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.group].append(run)
    return groups


def budgets(runs: Sequence[Run], percents: Sequence[int]) -> dict[str, list[int]]:
    """The budgets of every project: quantiles of what its sessions cost, or its client's where it has few."""
    of_client: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        of_client[run.group.split()[0]].append(run)
    return {
        group: [usual_budget(members, of_client[group.split()[0]], percent) for percent in percents]
        for group, members in by_project(runs).items()
    }


@dataclass
class Results:
    """What became of sessions, by project, and how good the numbers of their calls were."""

    outcomes: dict[Gate, dict[str, list[ReplayOutcome]]]
    accuracy: Accuracy

    @classmethod
    def of(
        cls,
        walked: Iterable[tuple[Run, list[ReplayedCall]]],
        limits: dict[str, list[int]],
        gates: Iterable[Gate] = Gate,
    ) -> Results:
        """Let every gate decide about sessions that were gone through, under each budget of their project."""
        outcomes: dict[Gate, dict[str, list[ReplayOutcome]]] = {gate: defaultdict(list) for gate in gates}
        heard = AccuracySum()
        for run, told in walked:
            for each in told:
                heard.add(each)
            for gate, groups in outcomes.items():
                groups[run.group] += [outcome(told, limit, gate, QUANTILE) for limit in limits[run.group]]
        return cls(outcomes, heard.result())

    def figures(self, gate: Gate) -> Figures:
        return figures(each for group in self.outcomes[gate].values() for each in group)

    def spread(self, gate: Gate) -> str:
        """Between what 8 of 10 draws of as many projects lie: mean overspend and false halts."""
        chance, found = random.Random(1), [figures(group) for group in self.outcomes[gate].values()]
        over, false = [], []
        for _ in range(RESAMPLED):
            drawn = chance.choices(found, k=len(found))
            over += _weighted((each.over_mean, each.binding) for each in drawn)
            false += _weighted((each.false_halts, each.sessions - each.binding) for each in drawn)
        return f"projects drawn again, 10-90 %: over {_between(over)}, false halts {_between(false)}"


def _weighted(parts: Iterable[tuple[int | None, int]]) -> list[float]:
    known = [(value, weight) for value, weight in parts if value is not None]
    whole = sum(weight for _, weight in known)
    return [sum(value * weight for value, weight in known) / whole] if whole else []


def fresh(runs: Sequence[Run]) -> Iterator[tuple[Run, list[ReplayedCall]]]:
    """Every project by itself, by somebody who has just installed the program."""
    for members in by_project(runs).values():
        yield from walk_forward(members)


def experienced(runs: Sequence[Run]) -> Iterator[tuple[Run, list[ReplayedCall]]]:
    """Every project by itself, by somebody who has worked on all the others before."""
    for group, members in by_project(runs).items():
        yield from walk_forward(members, before=[run for run in runs if run.group != group])


def with_past(runs: Sequence[Run], past: int, least: int) -> Iterator[tuple[Run, list[ReplayedCall]]]:
    """Sessions that have at least so many before them in their project, knowing only some of these."""
    for members in by_project(runs).values():
        for at in range(least, len(members)):
            yield from walk_forward(members[at - past : at + 1], past=past)


def _between(values: list[float]) -> str:
    return f"{_percent(percentile(values, 10))}-{_percent(percentile(values, 90))}" if values else "-"


def _percent(micros: float | None, digits: int = 1) -> str:
    return "-" if micros is None else f"{micros * 100 / MILLION:.{digits}f}"


def _factor(micros: int | None) -> str:
    return "-" if micros is None else f"x{micros / MILLION:.2f}"


def _line(found: Figures) -> str:
    return (
        f"over {_percent(found.over_mean, 2):>6} mean {_percent(found.over_p95):>6} p95  "
        f">5 % {_percent(found.well_over):>5}  unused {_percent(found.unused_mean):>5}  "
        f"false halts {_percent(found.false_halts):>5}"
    )


def _said_accuracy(found: Accuracy) -> str:
    covered = "/".join(_percent(share) for share in found.covered)
    said, expected = _factor(found.off_said), _factor(found.off_expected)
    return f"off by {said} as said, {expected} as expected; covered at 80/90 %: {covered}"


def show(kind: str, calls: int, sessions: Sequence[Session], quick: bool) -> None:
    """Print what becomes of sessions with one kind of estimate at so many calls an ask."""
    runs = [as_run(session, kind, calls) for session in sessions]
    print(f"\n{kind}, an ask for every {'call' if calls == 1 else f'{calls} calls'}")
    walked = {"fresh": list(fresh(runs))}
    if not quick:
        walked["experienced"] = list(experienced(runs))
    for percents in (MAIN, MANY):
        limits = budgets(runs, percents)
        results = {title: Results.of(each, limits) for title, each in walked.items()}
        oracle = results["fresh"].figures(Gate.ORACLE)
        title = f"p{percents[0]}" if len(percents) == 1 else f"p{percents[0]} to p{percents[-1]}"
        print(f"  budgets {title}: {oracle.binding:,} of {oracle.sessions:,} would pass theirs")
        for gate in Gate:
            print(f"    {gate.value:12} {_line(results['fresh'].figures(gate))}", flush=True)
        print(f"    {results['fresh'].spread(Gate.LEARNED)}")
        if not quick:
            print(f"    {'experienced':12} {_line(results['experienced'].figures(Gate.LEARNED))}")
        for name, found in results.items():
            print(f"    goals, {name}, in per cent: {held_against_goals(found, calls)}")
    for title, found in results.items():
        print(f"  {title}: {_said_accuracy(found.accuracy)}")


def held_against_goals(results: Results, calls: int) -> str:
    """The gate's figures beside the goals."""
    mean, false, unused, coverage = GOALS[calls]
    found, oracle = results.figures(Gate.LEARNED), results.figures(Gate.ORACLE)
    covered = zip(results.accuracy.covered, (80, 90), strict=True)
    away = max(abs((share or 0) * 100 / MILLION - percent) for share, percent in covered)
    parts = [
        ("overspend", (found.over_mean or 0) * 100 / MILLION, mean),
        ("false halts", (found.false_halts or 0) * 100 / MILLION, false),
        ("unused beyond the oracle's", ((found.unused_mean or 0) - (oracle.unused_mean or 0)) * 100 / MILLION, unused),
        ("coverage away by", away, coverage),
    ]
    return ", ".join(
        f"{name} {value:.2f} {'<=' if value <= goal else 'MISSED'} {goal:g}" for name, value, goal in parts
    )


def show_past(sessions: Sequence[Session]) -> None:
    """Print how figures depend on how many sessions are known."""
    least = max(PAST)
    print(f"\nby the number of past sessions that are known; sessions with {least} before them in their project")
    for kind, calls in (("newtext", 1), ("newtext", 5), ("hook", 1)):
        runs = [as_run(session, kind, calls) for session in sessions]
        limits = budgets(runs, MANY)
        for past, needed in [*((past, least) for past in PAST), (30, 30)]:
            results = Results.of(with_past(runs, past, needed), limits, [Gate.LEARNED])
            found = results.figures(Gate.LEARNED)
            few = "" if needed == least else f" (of {found.sessions // len(MANY)} sessions that have them)"
            off = _factor(results.accuracy.off_expected)
            print(f"  {kind:8} x{calls}  {past:2} known: {_line(found)}  off by {off}{few}", flush=True)


def from_steps(path: Path) -> list[Session]:
    """All sessions of a table of steps, in the order in which they began."""
    found = steps.from_table(path)
    return [
        Session(responses[0].row.client, name, project, responses) for (_, project, name), responses in found.items()
    ]


def show_fair(sessions: Sequence[Session]) -> None:
    """Print what a gate is worth: dollars over all budgets, calls, short sessions and long ones apart."""
    for calls in GOALS:
        print(
            f"\nan ask for {'every call' if calls == 1 else f'every {calls} calls'}, fresh, {_BUDGETS}\n{steps.HEADING}"
        )
        for kind in KINDS:
            runs = [as_run(session, kind, calls) for session in sessions]
            lengths = {(run.group, run.name): len(each.responses) for run, each in zip(runs, sessions, strict=True)}
            limits = budgets(runs, MANY)
            usual = {
                group: round(statistics.median(ask.actual_nanos for run in members for ask in run.asks))
                for group, members in by_project(runs).items()
            }
            walked = list(fresh(runs))
            for part in ("all", "below ten calls", "from ten calls"):
                chosen = [
                    (run, told)
                    for run, told in walked
                    if part == "all" or (lengths[run.group, run.name] < steps.SHORT) == part.startswith("below")
                ]
                tallies = {gate: steps.Tally() for gate in (Gate.ORACLE, Gate.NAIVE, Gate.LEARNED)}
                for run, told in chosen:
                    for limit in limits[run.group]:
                        for gate, tally in tallies.items():
                            tally.add(told, limit, usual[run.group], gate, QUANTILE)
                oracle = tallies[Gate.ORACLE]
                covered = steps.coverage(each for _, told in chosen for each in told)
                if part == "all":
                    print(steps.line(f"{kind} naive", steps.row_of(tallies[Gate.NAIVE], oracle)))
                title = kind if part == "all" else f"  {part}"
                print(steps.line(title, steps.row_of(tallies[Gate.LEARNED], oracle, covered)), flush=True)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench replay", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only as somebody who has just installed the program")
    given = os.environ.get("TALLYGATE_CORPUS")
    corpus = Path(given) if given else ROOT.parent / "shared" / "corpus"
    parser.add_argument("--corpus", type=Path, default=corpus)
    parser.add_argument("--steps", type=Path, help="a table of steps in place of recordings")
    chosen = parser.parse_args(arguments)
    sessions = recorded(chosen.corpus) if chosen.steps is None else from_steps(chosen.steps)
    if not sessions:
        print("replay: skipped, there are no recorded sessions; name a folder with TALLYGATE_CORPUS or --corpus.")
        return 0
    names = sorted({session.client for session in sessions})
    clients = {name: [each for each in sessions if each.client == name] for name in names}
    for name, own in clients.items():
        responses = [response for session in own for response in session.responses]
        if responses:
            dollars = sum(response.nanos for response in responses) / 10**9
            median = statistics.median(len(session.responses) for session in own)
            projects = len({session.project for session in own})
            print(
                f"{name}: {len(own)} sessions, projects: {projects}, "
                f"{len(responses):,} calls (median {median:g}), ${dollars:,.2f}"
            )
    show_fair(sessions)
    if chosen.steps is not None:
        return 0
    for calls in GOALS:
        for kind in KINDS:
            show(kind, calls, sessions, chosen.quick)
    if not chosen.quick:
        show_past(sessions)
    return 0
