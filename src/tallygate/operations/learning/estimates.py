"""Correct an estimate, keep what became of it; show and forget what was learned."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from tallygate.core.authority import Authority, Loosening
from tallygate.core.costing import Price
from tallygate.core.errors import NotFound, present
from tallygate.core.gate.answers import Factor
from tallygate.core.learning import calibration
from tallygate.core.learning.calibration import MILLION, FactorSource
from tallygate.core.learning.steps import SHORT_CACHE, PastStep, read_anew
from tallygate.core.model import Actor, Call, CallRequest, Policy, Session
from tallygate.core.moments import as_datetime
from tallygate.core.usage import priced_as
from tallygate.core.values import value
from tallygate.core.words import ActorType, CalibrationMode, client_name
from tallygate.ledger import port
from tallygate.ledger.rows import from_sample
from tallygate.operations.lock_book import signing
from tallygate.operations.runtime import Runtime, one_key
from tallygate.pricing.identity import one_name, same_model

# --- a conversation read anew ----------------------------------------------------------------------------------------
# When a model has to read its whole conversation anew, as a client's own record shows it.


# How long it was kept for is told by the last response that wrote anything.
STEPS_LOOKED_AT = 24


def switches(past: Sequence[PastStep], model: str) -> bool:
    """Whether a model is another than that of an agent's last response, so that no cache holds its conversation."""
    return bool(past) and not same_model(priced_as(past[-1].row), model)


def conversation_of(actor: Actor) -> str | None:
    """Which agent's responses an actor goes on from; None is the session's own."""
    return actor.id if actor.type is ActorType.SUBAGENT else None


def history_of_step(rt: Runtime, session_id: str, actor: Actor, model: str) -> port.Reader:
    """What an agent's step is estimated by, read at a glance; asked for more it raises `MoreIsAsked`."""
    return rt.services.ledger.step_history(
        rt.tenant,
        session_id,
        agent_of(actor),
        conversation_of(actor),
        model,
        looked_at=(calibration.LEVEL_STEPS, STEPS_LOOKED_AT),
    )


def anew_nanos(
    reader: port.UsageReader,
    session_id: str,
    actor: Actor,
    model: str,
    price: Price,
    *,
    at_us: int,
    compacted_us: int | None = None,
) -> int:
    """What the whole conversation of an agent costs where it has to be read anew; `compacted_us`: it was summarised.

    0 where it has not, and where nothing of it was observed. Every step asks, and mostly when its agent's last response
    was and of which model tells enough: no cache is lost sooner than a short one.
    """
    agent_id = conversation_of(actor)
    served = reader.last_served(session_id, agent_id, STEPS_LOOKED_AT)
    if served is None:
        return 0
    compacted = compacted_us is not None and served[0] <= compacted_us
    at, forgotten = as_datetime(at_us), compacted or not same_model(served[1], model)
    # The usual case, at the cost of one look along an index.
    if not forgotten and at - as_datetime(served[0]) <= SHORT_CACHE:
        return 0
    last = present(reader.last_usage_of(session_id, agent_id, STEPS_LOOKED_AT), "the response is there")
    wrote = last.row.tokens.cache_write_5m or last.row.tokens.cache_write_1h
    before = None if wrote else reader.last_usage_of(session_id, agent_id, STEPS_LOOKED_AT, written=True)
    mine = [PastStep(each.row, each.cost_nanos) for each in (before, last) if each is not None]
    anew = read_anew(mine, at, forgotten=forgotten)
    return 0 if anew is None else price.cost_nanos(anew)


# --- calibrate -------------------------------------------------------------------------------------------------------
# Correct estimates by what became of earlier ones, and keep what became of this one.


@value(frozen=True, slots=True)
class RawEstimate:
    """A step's cost as somebody says it, for a model as it is spelled; `level` is that of the agent's steps.

    `price_key` names the price: what bills have shown holds for who bills, not for the model wherever it is served.
    """

    key: calibration.SampleKey
    model: str
    price_key: str
    nanos: int
    level: calibration.Level


@value(frozen=True, slots=True)
class CorrectedEstimate:
    """What a step is taken to cost. `nanos` is decided on and reserved, `factor_micros` times the agent's own number.

    `expected` is what was learned, whether or not it decides; `billed_micros` what bills have shown on top of it.
    """

    nanos: int
    factor_micros: int = MILLION
    source: str = FactorSource.NONE.value
    expected: calibration.Expectation | None = None
    billed_micros: int = MILLION


def price_key(price: Price, model: str) -> str:
    """The name of a model's price; where nobody knows one, the model as it is spelled."""
    return price.key if price.known else model


def sample_key(kind: calibration.EstimateKind, client: str, model: str) -> calibration.SampleKey:
    """Under which estimates are looked at together: client and model have one name each, however they are spelled."""
    return calibration.SampleKey(kind.value, client_name(client), one_name(model))


def stated_factor(factors_micros: Mapping[str, int], *models: str) -> int | None:
    """The factor that the user gives a model; None where there is none.

    One for the very spelling counts before one for another spelling of it, and of several of those the highest.
    """
    if not factors_micros:
        return None
    exact = next((factors_micros[model] for model in models if model in factors_micros), None)
    if exact is not None:
        return exact
    names = {one_name(model) for model in models}
    return max((micros for model, micros in factors_micros.items() if one_name(model) in names), default=None)


def agent_of(actor: Actor) -> str:
    """Who of a session asks, as samples name it."""
    return actor.id or actor.name or ""


def correct_estimate(rt: Runtime, reader: port.Reader, guess: RawEstimate) -> CorrectedEstimate:
    """The estimate as it counts: by the user's own factor, else by what was learned, else as it was given."""
    raw_nanos, key = guess.nanos, guess.key
    if raw_nanos <= 0:
        return CorrectedEstimate(raw_nanos)
    expected = rt.caches.learned.expect(reader, key, raw_nanos, guess.level)
    manual = stated_factor(rt.workspace.factors_micros, guess.model, guess.price_key)
    # The user's word stands above everything that was learned.
    if manual is not None:
        return CorrectedEstimate(-(-raw_nanos * manual // MILLION), manual, "manual", expected)
    billed = reader.calibration_factor(guess.price_key) or MILLION
    if rt.workspace.policy.calibration is not CalibrationMode.ENFORCE:
        return CorrectedEstimate(raw_nanos, expected=expected, billed_micros=billed)
    nanos, source = raw_nanos, "billed" if billed != MILLION else FactorSource.NONE.value
    needed_nanos = expected.needed_nanos(rt.workspace.policy.quantile_percent)
    if expected.source is FactorSource.LEARNED:
        nanos, source = needed_nanos, FactorSource.LEARNED.value
    elif needed_nanos != raw_nanos:
        nanos, source = needed_nanos, FactorSource.SESSION.value
    # Upwards, and last: bills are held against list prices, in which all the others are said.
    nanos = -(-nanos * billed // MILLION)
    return CorrectedEstimate(nanos, max(-(-nanos * MILLION // raw_nanos), 1), source, expected, billed)


def shown_factor(request: CallRequest, policy: Policy) -> Factor | None:
    """The factor as an answer tells it: that which was applied, or what was learned where it is only looked at."""
    expected = request.expected
    if request.factor_source != FactorSource.NONE.value:
        confident = calibration.Confidence.HIGH
        if request.factor_source in (FactorSource.LEARNED.value, FactorSource.SESSION.value) and expected is not None:
            confident = expected.confidence
        return Factor(request.factor_micros, request.factor_source, confident.value)
    if policy.calibration is CalibrationMode.ENFORCE or expected is None or expected.source is FactorSource.NONE:
        return None
    needed = expected.needed_nanos(policy.quantile_percent)
    return Factor(
        max(-(-needed * MILLION // request.raw_estimate_nanos), 1),
        FactorSource.LEARNED.value,
        expected.confidence.value,
    )


def sample_of(
    tx: port.Tx, call: Call, actual_nanos: int, origin: calibration.CostOrigin, session: Session | None = None
) -> list[port.Change]:
    """The sample that a call's cost gives, to be written with its reconciliation; none where it teaches nothing.

    `origin` is who told the cost: the agent itself, or the client's own record. `session` is that of the call where it
    is at hand.
    """
    # A call from before estimates were learned from, or one that cost nothing, has no ratio to teach.
    if call.expected_nanos is None or call.cold_nanos is None or actual_nanos <= 0 or call.raw_estimate_nanos <= 0:
        return []
    session = session or tx.session(call.session_id)
    if session is None or tx.has_sample(call.call_id):
        return []
    sample = calibration.Sample(
        call.raw_estimate_nanos, call.cold_nanos, call.level_nanos, call.expected_nanos, actual_nanos, origin
    )
    kind = calibration.EstimateKind.HOOK if call.is_model_call else calibration.EstimateKind.AGENT
    key = sample_key(kind, session.client, recorded_model(tx, call))
    agent = agent_of(Actor(call.actor_type, call.actor_id, call.actor_name))
    row = from_sample(key, sample, call_id=call.call_id, session_id=call.session_id, agent=agent, at_us=tx.at_us)
    return [port.Insert("calibration_sample", row)]


def recorded_model(reader: port.ProofReader, call: Call) -> str:
    """The model of a call by the name of the price that it was estimated at."""
    basis = None if call.price_id is None else reader.price_basis(call.price_id)
    told: Mapping[str, object] = {} if basis is None else json.loads(basis)
    return str(told["key"]) if told.get("known") else call.model_requested


def apply_factors(rt: Runtime, factors_micros: Mapping[str, int], span: str, *, authority: Authority) -> None:
    """Take over, model by model, what bills of a span of time have shown beyond what was recorded.

    Reservations are multiplied by it from now on; what is spent is never scaled. Lower ones are the user's to take.
    """
    with rt.reading() as reader:
        lower = _lower(reader, factors_micros)
    if lower:
        authority.require(Loosening.DRIFT_APPLY)  # before the ledger is held: a passphrase takes its time
    with rt.writing() as tx:
        known = tx.calibration_factors()
        sign = signing(rt, tx, authority, Loosening.DRIFT_APPLY) if lower or _lower(tx, factors_micros) else None
        changes: list[port.Change] = []
        for model, micros in sorted(factors_micros.items()):
            row: dict[str, port.Value] = {"model": model, "factor_micros": micros, "applied_us": tx.at_us}
            changes.append((port.Update if model in known else port.Insert)("calibration_factor", row))
        if changes:
            tx.append("calibration.applied", changes, by=rt.by, note={"span": span}, sign=sign)


def _lower(reader: port.LearningReader, factors_micros: Mapping[str, int]) -> bool:
    """Whether one of these factors reserves less than is reserved now."""
    known = reader.calibration_factors()
    return any(micros < known.get(model, (MILLION,))[0] for model, micros in factors_micros.items())


# --- what was learned ------------------------------------------------------------------------------------------------
# Look at what was learned of estimates, forget it, or learn it anew from the calls in the ledger.


PER_EVENT = 500
_UNIT_NANOS = 1_000_000_000


@value(frozen=True, slots=True)
class Taught:
    """What was learned under one key; factors are in millionths.

    `first_micros` is what the estimate of an agent's first step is multiplied by, `later_micros` that of later ones,
    to be right in the middle, and `reserved_micros` what is reserved beyond that, so that the policy's share of later
    steps stays below.
    """

    key: calibration.SampleKey
    samples: int
    first_micros: int
    later_micros: int
    reserved_micros: int
    confidence: str
    last_us: int


@value(frozen=True, slots=True)
class Corrections:
    """Everything that estimates are corrected by: what was learned, what the user set, what came from bills."""

    learned: tuple[Taught, ...]
    manual: dict[str, int]
    billed: dict[str, tuple[int, int]]


def show(rt: Runtime) -> Corrections:
    """Everything that estimates are corrected by now."""
    with rt.reading() as reader:
        found = [_taught(rt, reader, *entry) for entry in _keys(reader)]
        return Corrections(tuple(found), dict(rt.workspace.factors_micros), reader.calibration_factors())


def _keys(reader: port.LearningReader) -> list[tuple[calibration.SampleKey, int, int]]:
    """Every key that something was learned of, each once, by its one name; those with most samples first."""
    sums: dict[calibration.SampleKey, tuple[int, int]] = {}
    for spelled, count, last_us in reader.sample_keys():
        before, before_us = sums.get(one_key(spelled), (0, 0))
        sums[one_key(spelled)] = (before + count, max(before_us, last_us))
    ordered = sorted(sums.items(), key=lambda entry: (-entry[1][0], entry[0].kind, entry[0].client, entry[0].model))
    return [(key, *told) for key, told in ordered]


def _taught(rt: Runtime, reader: port.Reader, key: calibration.SampleKey, samples: int, last_us: int) -> Taught:
    first = rt.caches.learned.expect(reader, key, _UNIT_NANOS, calibration.Level())
    later = rt.caches.learned.expect(reader, key, _UNIT_NANOS, calibration.Level.of(_UNIT_NANOS))
    return Taught(
        key=key,
        samples=samples,
        first_micros=first.expected_nanos * MILLION // _UNIT_NANOS,
        later_micros=later.cold_nanos * MILLION // _UNIT_NANOS,
        reserved_micros=later.upper_nanos(rt.workspace.policy.quantile_percent) * MILLION // later.expected_nanos,
        confidence=first.confidence.value,
        last_us=last_us,
    )


def has_learned(rt: Runtime) -> bool:
    """Whether anything was ever learned here."""
    with rt.reading() as reader:
        return reader.last_sample() > 0


def samples(rt: Runtime) -> Iterator[calibration.StoredSample]:
    """Every sample that counts, the oldest first within its kind."""
    with rt.reading() as reader:
        for kind in calibration.EstimateKind:
            yield from reader.samples_after(kind.value, 0)


def forget(rt: Runtime, client: str | None, model: str | None, *, authority: Authority) -> int:
    """Let what was learned so far count no more, of one client or model or of all; returns how many samples it were.

    Both are meant in every spelling, and what is kept under another one is forgotten, too.

    Raises `NotFound` where nothing was learned of them. The samples stay in the ledger as what happened.
    """
    authority.require(Loosening.CALIBRATE_RESET)
    with rt.writing() as tx:
        chosen = [entry for entry in tx.sample_keys() if _is_of(entry[0], client, model)]
        if not chosen:
            raise NotFound(
                "Nothing was learned of that.",
                hint="`tallygate calibrate show` lists what was learned, by client and model.",
            )
        told = {
            ("" if client is None else key.client, "" if model is None else key.model): None for key, _, _ in chosen
        }
        sign = signing(rt, tx, authority, Loosening.CALIBRATE_RESET)
        tx.append("calibration.reset", [start_of(tx, *each) for each in told], by=rt.by, sign=sign)
        return sum(count for _, count, _ in chosen)


def _is_of(key: calibration.SampleKey, client: str | None, model: str | None) -> bool:
    is_client = client is None or client_name(key.client) == client_name(client)
    return is_client and (model is None or same_model(key.model, model))


def start_of(tx: port.Tx, client: str, model: str) -> port.Change:
    """What makes learning of a client's model begin now."""
    row: dict[str, port.Value] = {"client": client, "model": model, "from_us": tx.at_us}
    return (port.Update if tx.has_calibration_start(client, model) else port.Insert)("calibration_start", row)


def forget_factors(rt: Runtime, *, authority: Authority) -> int:
    """Let factors from bills count no more; returns how many there were."""
    authority.require(Loosening.CALIBRATE_RESET)
    with rt.writing() as tx:
        found = tx.calibration_factors()
        if found:
            sign = signing(rt, tx, authority, Loosening.CALIBRATE_RESET)
            gone = [port.Delete("calibration_factor", {"model": model}) for model in found]
            tx.append("calibration.unapplied", gone, by=rt.by, sign=sign)
        return len(found)
