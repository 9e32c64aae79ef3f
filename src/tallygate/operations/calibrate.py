"""Correct estimates by what became of earlier ones, and keep what became of this one."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tallygate.core.authority import Authority, Loosening
from tallygate.core.costing import Price
from tallygate.core.gate.answers import Factor
from tallygate.core.learning.calibration import (
    LEVEL_STEPS,
    MILLION,
    Confidence,
    Expectation,
    Kind,
    Level,
    Origin,
    Sample,
    SampleKey,
    Source,
    level_from,
)
from tallygate.core.model import Actor, Call, CallRequest, Policy
from tallygate.core.values import value
from tallygate.core.words import CalibrationMode, client_name
from tallygate.ledger.port import Change, Insert, Reader, Tx, Update, Value
from tallygate.operations.lock_book import signing
from tallygate.operations.runtime import Runtime
from tallygate.pricing.identity import one_name


@value(frozen=True, slots=True)
class Guess:
    """A step's cost as somebody says it, for a model as it is spelled; `level` is that of the agent's steps.

    `price_key` names the price: what bills have shown holds for who bills, not for the model wherever it is served.
    """

    key: SampleKey
    model: str
    price_key: str
    nanos: int
    level: Level


@value(frozen=True, slots=True)
class Estimated:
    """What a step is taken to cost. `nanos` is decided on and reserved, `factor_micros` times the agent's own number.

    `expected` is what was learned, whether or not it decides; `billed_micros` what bills have shown on top of it.
    """

    nanos: int
    factor_micros: int = MILLION
    source: str = Source.NONE.value
    expected: Expectation | None = None
    billed_micros: int = MILLION


def price_key(price: Price, model: str) -> str:
    """The name of a model's price; where nobody knows one, the model as it is spelled."""
    return price.key if price.known else model


def sample_key(kind: Kind, client: str, model: str) -> SampleKey:
    """Under which estimates are looked at together: client and model have one name each, however they are spelled."""
    return SampleKey(kind.value, client_name(client), one_name(model))


def stated_factor(factors_micros: Mapping[str, int], *models: str) -> int | None:
    """The factor that the user gives a model; None where there is none.

    One for the very spelling counts before one for another spelling of it, and of several of those the highest.
    """
    exact = next((factors_micros[model] for model in models if model in factors_micros), None)
    if exact is not None or not factors_micros:
        return exact
    names = {one_name(model) for model in models}
    return max((micros for model, micros in factors_micros.items() if one_name(model) in names), default=None)


def agent_of(actor: Actor) -> str:
    """Who of a session asks, as samples name it."""
    return actor.id or actor.name or ""


def estimated(rt: Runtime, reader: Reader, guess: Guess) -> Estimated:
    """The estimate as it counts: by the user's own factor, else by what was learned, else as it was given."""
    raw_nanos, key = guess.nanos, guess.key
    if raw_nanos <= 0:
        return Estimated(raw_nanos)
    expected = rt.learned.expect(reader, key, raw_nanos, guess.level)
    manual = stated_factor(rt.factors_micros, guess.model, guess.price_key)
    if manual is not None:
        return Estimated(-(-raw_nanos * manual // MILLION), manual, "manual", expected)
    billed = reader.calibration_factor(guess.price_key) or MILLION
    if rt.policy.calibration is not CalibrationMode.ENFORCE:
        return Estimated(raw_nanos, expected=expected, billed_micros=billed)
    nanos, source = raw_nanos, "billed" if billed != MILLION else Source.NONE.value
    needed_nanos = expected.needed_nanos(rt.policy.quantile_percent)
    if expected.source is Source.LEARNED:
        nanos, source = needed_nanos, Source.LEARNED.value
    elif needed_nanos != raw_nanos:
        nanos, source = needed_nanos, Source.SESSION.value
    nanos = -(-nanos * billed // MILLION)
    return Estimated(nanos, max(-(-nanos * MILLION // raw_nanos), 1), source, expected, billed)


def shown_factor(request: CallRequest, policy: Policy) -> Factor | None:
    """The factor as an answer tells it: that which was applied, or what was learned where it is only looked at."""
    expected = request.expected
    if request.factor_source != Source.NONE.value:
        confident = Confidence.HIGH
        if request.factor_source in (Source.LEARNED.value, Source.SESSION.value) and expected is not None:
            confident = expected.confidence
        return Factor(request.factor_micros, request.factor_source, confident.value)
    if policy.calibration is CalibrationMode.ENFORCE or expected is None or expected.source is Source.NONE:
        return None
    needed = expected.needed_nanos(policy.quantile_percent)
    return Factor(
        max(-(-needed * MILLION // request.raw_estimate_nanos), 1), Source.LEARNED.value, expected.confidence.value
    )


def agent_level(reader: Reader, session_id: str, actor: Actor, anew_nanos: int = 0) -> Level:
    """What the steps cost by now that an agent of a session asks for itself."""
    return level_from(reader.levels(session_id, agent_of(actor), LEVEL_STEPS), anew_nanos)


def learned_from(tx: Tx, call: Call, actual_nanos: int, origin: Origin) -> list[Change]:
    """The sample that a call's cost gives, to be written with its reconciliation; none where it teaches nothing.

    `origin` is who told the cost: the agent itself, or the client's own record.
    """
    if call.expected_nanos is None or call.cold_nanos is None or actual_nanos <= 0 or call.raw_estimate_nanos <= 0:
        return []
    session = tx.session(call.session_id)
    if session is None or tx.has_sample(call.call_id):
        return []
    sample = Sample(
        call.raw_estimate_nanos, call.cold_nanos, call.level_nanos, call.expected_nanos, actual_nanos, origin
    )
    kind = Kind.HOOK if call.is_model_call else Kind.AGENT
    key = sample_key(kind, session.client, recorded_model(tx, call))
    row = sample_row(tx, key, sample, call_id=call.call_id, session_id=call.session_id)
    agent = agent_of(Actor(call.actor_type, call.actor_id, call.actor_name))
    return [Insert("calibration_sample", {**row, "agent": agent})]


def sample_row(tx: Tx, key: SampleKey, sample: Sample, *, call_id: str, session_id: str) -> dict[str, Value]:
    """A sample as its row: what was said of a step before, and what it cost."""
    return {
        "call_id": call_id,
        "session_id": session_id,
        "kind": key.kind,
        "client": key.client,
        "model": key.model,
        "at_us": tx.at_us,
        "estimate_nanos": sample.estimate_nanos,
        "cold_nanos": sample.cold_nanos,
        "level_nanos": sample.level_nanos,
        "expected_nanos": sample.expected_nanos,
        "actual_nanos": sample.actual_nanos,
        "origin": sample.origin.value,
    }


def recorded_model(reader: Reader, call: Call) -> str:
    """The model of a call by the name of the price that it was estimated at."""
    basis = None if call.price_id is None else reader.price_basis(call.price_id)
    told: Mapping[str, object] = {} if basis is None else json.loads(basis)
    return str(told["key"]) if told.get("known") else call.model_requested


def apply_factors(rt: Runtime, factors_micros: Mapping[str, int], span: str, *, authority: Authority) -> None:
    """Take over, model by model, what bills of a span of time have shown beyond what was recorded.

    Reservations are multiplied by it from now on; what is spent is never scaled. Lower ones are the user's to take.
    """
    with rt.ledger.reading(rt.tenant) as reader:
        lower = _lower(reader, factors_micros)
    if lower:
        authority.require(Loosening.DRIFT_APPLY)  # before the ledger is held: a passphrase takes its time
    with rt.ledger.writing(rt.tenant) as tx:
        known = tx.calibration_factors()
        sign = signing(rt, tx, authority, Loosening.DRIFT_APPLY) if lower or _lower(tx, factors_micros) else None
        changes: list[Change] = []
        for model, micros in sorted(factors_micros.items()):
            row: dict[str, Value] = {"model": model, "factor_micros": micros, "applied_us": tx.at_us}
            changes.append((Update if model in known else Insert)("calibration_factor", row))
        if changes:
            tx.append("calibration.applied", changes, by=rt.by, note={"span": span}, sign=sign)


def _lower(reader: Reader, factors_micros: Mapping[str, int]) -> bool:
    """Whether one of these factors reserves less than is reserved now."""
    known = reader.calibration_factors()
    return any(micros < known.get(model, (MILLION,))[0] for model, micros in factors_micros.items())
