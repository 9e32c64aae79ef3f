"""What holds after every run: the ledger's record is the model API's own bill, or says why it is not."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from tests.e2e.driving import Machine, Run
from tests.e2e.mock_api import priced_as
from tests.e2e.wire import Tokens

RAISE = re.compile(r"tallygate budget raise (\S+) \$?([\d.]+|AMOUNT)")
# Causes that say what is in no record; whatever is missing has to have one.
MISSING = {"unseen", "partial_rows", "no_response", "broken_off"}
MICRO = Decimal("0.000001")


def recorded(machine: Machine) -> tuple[Decimal, dict[str, Tokens]]:
    """What the ledger says was used, whether a session asked for it or not: in money, and in tokens by model."""
    used = _exact(machine.tallygate("usage", "--by", "model", "--json").stdout)
    tokens = {
        priced_as(line["model"]): Tokens(
            fresh=line["fresh_input_tokens"],
            cache_read=line["cache_read_tokens"],
            cache_write_5m=line["cache_write_5m_tokens"],
            cache_write_1h=line["cache_write_1h_tokens"],
            output=line["output_tokens"],
        )
        for line in used["lines"]
    }
    return Decimal(used["total"]["cost"]), tokens


def billed_tokens(machine: Machine) -> dict[str, Tokens]:
    """The same from the model API's books."""
    return {model: _without_reasoning(tokens) for model, tokens in machine.api.bill(*machine.client.unseen).items()}


def billed(machine: Machine) -> Decimal:
    """The bill in money, as far as the client writes down what it used."""
    return machine.api.dollars(*machine.client.unseen)


def spent(machine: Machine) -> Decimal:
    """What all budgets of the ledger together have spent; each session has one, or goes on with another's."""
    text = machine.tallygate("budget", "list", "--json").stdout
    return sum((Decimal(each["spent"]) for each in _exact(text)["budgets"]), Decimal())


def assert_counted(machine: Machine) -> None:
    """Every token and every cent of the bill is in the ledger, and in the budgets."""
    dollars = rounded(billed(machine))
    assert recorded(machine) == (dollars, billed_tokens(machine))
    assert spent(machine) == dollars


def assert_named(machine: Machine) -> None:
    """What the bill has and the ledger has not is named by the sessions, not passed over."""
    found, _ = recorded(machine)
    if found != rounded(machine.api.dollars()):
        causes = {cause["cause"] for session in machine.sessions() for cause in session["drift"]}
        assert causes & MISSING, f"{machine.api.dollars()} were billed, {found} recorded: {causes}"


def assert_logged(machine: Machine, lines: int = 1) -> dict[str, Any]:
    """The run log has these lines, and they add up to the bill; returns the last one."""
    found = machine.run_lines()
    assert len(found) == lines
    assert sum((Decimal(line["total_cost"]) for line in found), Decimal()) == billed(machine)
    return found[-1]


def raise_as_told(machine: Machine, run: Run, amount: str) -> None:
    """Do what the message tells the user to do."""
    told = RAISE.search(json.dumps(run.shown).replace("\\\\", "\\"))
    assert told, f"the user was not told how to go on: {run.shown[-2000:]}"
    machine.tallygate("budget", "raise", told[1], amount)


def rounded(dollars: Decimal) -> Decimal:
    """Money as programs are told it."""
    return dollars.quantize(MICRO)


def _without_reasoning(tokens: Tokens) -> Tokens:
    """The ledger's token classes do not overlap; reasoning is part of the output."""
    return Tokens(tokens.fresh, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h, tokens.output)


def _exact(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)
