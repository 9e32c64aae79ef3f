"""Look at what was learned of estimates, forget it, or learn it anew from the calls in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tallygate.core.calibration import LEVEL_STEPS, MILLION, Kind, Learner, Sample, expect, level_of
from tallygate.core.errors import NotFound
from tallygate.core.learned import Kept, SampleKey
from tallygate.core.model import Actor, Call, Session
from tallygate.ledger.port import Change, Delete, Insert, Reader, Tx, Update, Value
from tallygate.operations.calibrate import agent_of, recorded_model, sample_row
from tallygate.operations.runtime import Runtime

REBUILT_MAX = 20_000
PER_EVENT = 500
_UNIT_NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Taught:
    """What was learned under one key; factors are in millionths.

    `factor_micros` is what an estimate is multiplied by to be right in the middle, `first_micros` and `later_micros`
    what is added on top so that the policy's share of first and of later calls stays below.
    """

    key: SampleKey
    samples: int
    factor_micros: int
    first_micros: int
    later_micros: int
    confidence: str
    last_us: int


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Everything that estimates are corrected by: what was learned, what the user set, what came from bills."""

    learned: tuple[Taught, ...]
    manual: dict[str, int]
    billed: dict[str, tuple[int, int]]


def show(rt: Runtime) -> Calibrated:
    """Everything that estimates are corrected by now."""
    with rt.ledger.reading(rt.tenant) as reader:
        found = [_taught(rt, reader, *entry) for entry in reader.sample_keys()]
        return Calibrated(tuple(found), dict(rt.factors_micros), reader.calibration_factors())


def _taught(rt: Runtime, reader: Reader, key: SampleKey, samples: int, last_us: int) -> Taught:
    first = rt.learned.expect(reader, key, _UNIT_NANOS, None)
    later = rt.learned.expect(reader, key, _UNIT_NANOS, first.cold_nanos)
    percent = rt.policy.quantile_percent
    return Taught(
        key=key,
        samples=samples,
        factor_micros=first.cold_nanos * MILLION // _UNIT_NANOS,
        first_micros=first.upper_nanos(percent) * MILLION // first.expected_nanos,
        later_micros=later.upper_nanos(percent) * MILLION // later.expected_nanos,
        confidence=first.confidence.value,
        last_us=last_us,
    )


def samples(rt: Runtime) -> Iterator[Kept]:
    """Every sample that counts, the oldest first within its kind."""
    with rt.ledger.reading(rt.tenant) as reader:
        for kind in Kind:
            yield from reader.samples_after(kind.value, 0)


def forget(rt: Runtime, client: str | None, model: str | None) -> int:
    """Let what was learned so far count no more, of one client or model or of all; returns how many samples it were.

    Raises `NotFound` where nothing was learned of them. The samples stay in the ledger as what happened.
    """
    with rt.ledger.writing(rt.tenant) as tx:
        chosen = [
            entry for entry in tx.sample_keys() if client in (None, entry[0].client) and model in (None, entry[0].model)
        ]
        if not chosen:
            raise NotFound(
                "Nothing was learned of that.",
                hint="`tallygate calibrate show` lists what was learned, by client and model.",
            )
        tx.append("calibration.reset", [_start(tx, client or "", model or "")], by=rt.by)
        return sum(count for _, count, _ in chosen)


def _start(tx: Tx, client: str, model: str) -> Change:
    row: dict[str, Value] = {"client": client, "model": model, "from_us": tx.at_us}
    return (Update if tx.has_calibration_start(client, model) else Insert)("calibration_start", row)


def forget_factors(rt: Runtime) -> int:
    """Let factors from bills count no more; returns how many there were."""
    with rt.ledger.writing(rt.tenant) as tx:
        found = tx.calibration_factors()
        if found:
            tx.append(
                "calibration.unapplied", [Delete("calibration_factor", {"model": model}) for model in found], by=rt.by
            )
        return len(found)


def rebuild(rt: Runtime, progress: Callable[[int, int], None] | None = None) -> int:
    """Learn anew from the calls of the ledger, the oldest first, as if each had been asked for today.

    What each call was expected to cost is worked out from the calls before it alone. Returns the number of samples.
    """
    with rt.ledger.reading(rt.tenant) as reader:
        made = list(_walk(reader))
    for start in range(0, max(len(made), 1), PER_EVENT):
        with rt.ledger.writing(rt.tenant) as tx:
            changes: list[Change] = [] if start else [_start(tx, "", "")]
            for call, session, model, sample in made[start : start + PER_EVENT]:
                if tx.has_sample(call.call_id):
                    changes.append(Delete("calibration_sample", {"call_id": call.call_id}))
                changes.append(Insert("calibration_sample", sample_row(tx, call, session, model, sample)))
            tx.append("calibration.rebuilt", changes, by=rt.by)
        if progress is not None:
            progress(min(start + PER_EVENT, len(made)), len(made))
    return len(made)


def _walk(reader: Reader) -> Iterator[tuple[Call, Session, str, Sample]]:
    pools = {kind: Learner() for kind in Kind}
    learners: dict[SampleKey, Learner] = {}
    levels: dict[tuple[str, Kind, str], list[int]] = {}
    sessions: dict[str, Session | None] = {}
    costs: dict[str, dict[str | None, int]] = {}
    for call in reader.reconciled_calls(REBUILT_MAX):
        if call.session_id not in sessions:
            sessions[call.session_id] = reader.session(call.session_id)
        session = sessions[call.session_id]
        actual = _actual(reader, call, costs)
        if session is None or actual <= 0 or call.raw_estimate_nanos <= 0:
            continue
        kind = Kind.HOOK if call.is_model_call else Kind.AGENT
        model = recorded_model(reader, call)
        key = SampleKey(kind.value, session.client, model)
        learner = learners.setdefault(key, Learner())
        past = levels.setdefault((call.session_id, kind, agent_of(_actor(call))), [])
        expected = expect(learner, pools[kind], call.raw_estimate_nanos, level_of(past))
        sample = Sample(
            call.raw_estimate_nanos, expected.cold_nanos, expected.level_nanos, expected.expected_nanos, actual
        )
        learner.add(sample)
        pools[kind].add(sample)
        past.append(actual)
        del past[:-LEVEL_STEPS]
        yield call, session, model, sample


def _actor(call: Call) -> Actor:
    return Actor(call.actor_type, call.actor_id, call.actor_name)


def _actual(reader: Reader, call: Call, costs: dict[str, dict[str | None, int]]) -> int:
    """What a call cost: as it was booked, or what its responses add up to where the client's record is read."""
    if call.cost_basis == "actual":
        return call.booked_nanos
    if call.observed_nanos is not None:
        return call.observed_nanos
    if call.session_id not in costs:
        observed = reader.observed(call.session_id)
        costs[call.session_id] = {key: part.nanos for key, part in observed.items()}
    return costs[call.session_id].get(call.call_id, 0)
