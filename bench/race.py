"""Eight server processes ask for 90 % of one budget at the same time; exactly one may get it, every round."""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.wire import SERVE, Server

SERVERS = 8
MODEL = "gpt-4o"
TOKENS = {"estimated_prompt_tokens": 1_000, "estimated_completion_tokens": 1_000}


@dataclass
class Outcome:
    """What the rounds of a race came to: how often each number of servers was let through."""

    admitted: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    @property
    def exactly_one(self) -> bool:
        return set(self.admitted) == {1}


def race(home: Path, rounds: int, *, seed: int = 1, servers: int = SERVERS) -> Outcome:
    """Run rounds with one set of servers on one ledger; each round is a session of its own."""
    order = random.Random(seed)
    outcome = Outcome()
    with ExitStack() as held:
        field_of = [held.enter_context(Server(SERVE, home)) for _ in range(servers)]
        for server in field_of:
            server.greet()
        cost = field_of[0].call("estimate_cost", model=MODEL, input_tokens=1_000, output_tokens=1_000)["cost_usd"]
        budget = round(cost / 0.9, 6)
        for number in range(rounds):
            opened = field_of[number % servers].call("l6e_run_start", budget_usd=budget, model=MODEL)
            one_round(field_of, opened["session_id"], order, outcome)
    return outcome


def one_round(field_of: list[Server], session_id: str, order: random.Random, outcome: Outcome) -> None:
    """Every server is asked before the first answer is read."""
    lined_up = order.sample(field_of, len(field_of))
    started = time.perf_counter()
    sent = [
        server.send_call("l6e_authorize_call", session_id=session_id, tool_name="race", **TOKENS) for server in lined_up
    ]
    answers = [server.answer(server.receive(), number) for server, number in zip(lined_up, sent, strict=True)]
    outcome.seconds.append(time.perf_counter() - started)
    outcome.admitted[sum(answer["action"] != "halt" for answer in answers)] += 1
    outcome.reasons.update(answer["reason"] for answer in answers)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench race", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--quick", action="store_const", dest="rounds", const=20)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tallygate-race-") as folder:
        outcome = race(Path(folder), chosen.rounds, seed=chosen.seed)
    print(f"race: {SERVERS} servers, {chosen.rounds} rounds, 90 % of one budget each")
    for admitted, rounds in sorted(outcome.admitted.items()):
        print(f"  {rounds} rounds let {admitted} through")
    print(f"  answers: {dict(sorted(outcome.reasons.items()))}")
    print("  exactly one each round" if outcome.exactly_one else "  BROKEN: not exactly one each round")
    return 0 if outcome.exactly_one else 1
