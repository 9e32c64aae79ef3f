"""Look at what was learned of estimates, forget it, or learn it anew from the calls in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import NotFound
from tallygate.core.learning.calibration import MILLION, Kept, Kind, Level, SampleKey
from tallygate.core.words import client_name
from tallygate.ledger.port import Change, Delete, Insert, Reader, Tx, Update, Value
from tallygate.operations.calibrate import sample_row
from tallygate.operations.lock_book import signing
from tallygate.operations.relearn import of_agents, of_hooks, relearned
from tallygate.operations.runtime import Runtime, one_key
from tallygate.pricing.identity import same_model

PER_EVENT = 500
_UNIT_NANOS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Taught:
    """What was learned under one key; factors are in millionths.

    `first_micros` is what the estimate of an agent's first step is multiplied by, `later_micros` that of later ones,
    to be right in the middle, and `reserved_micros` what is reserved beyond that, so that the policy's share of later
    steps stays below.
    """

    key: SampleKey
    samples: int
    first_micros: int
    later_micros: int
    reserved_micros: int
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
        found = [_taught(rt, reader, *entry) for entry in _keys(reader)]
        return Calibrated(tuple(found), dict(rt.factors_micros), reader.calibration_factors())


def _keys(reader: Reader) -> list[tuple[SampleKey, int, int]]:
    """Every key that something was learned of, each once, by its one name; those with most samples first."""
    sums: dict[SampleKey, tuple[int, int]] = {}
    for spelled, count, last_us in reader.sample_keys():
        before, before_us = sums.get(one_key(spelled), (0, 0))
        sums[one_key(spelled)] = (before + count, max(before_us, last_us))
    ordered = sorted(sums.items(), key=lambda entry: (-entry[1][0], entry[0].kind, entry[0].client, entry[0].model))
    return [(key, *told) for key, told in ordered]


def _taught(rt: Runtime, reader: Reader, key: SampleKey, samples: int, last_us: int) -> Taught:
    first = rt.learned.expect(reader, key, _UNIT_NANOS, Level())
    later = rt.learned.expect(reader, key, _UNIT_NANOS, Level.of(_UNIT_NANOS))
    return Taught(
        key=key,
        samples=samples,
        first_micros=first.expected_nanos * MILLION // _UNIT_NANOS,
        later_micros=later.cold_nanos * MILLION // _UNIT_NANOS,
        reserved_micros=later.upper_nanos(rt.policy.quantile_percent) * MILLION // later.expected_nanos,
        confidence=first.confidence.value,
        last_us=last_us,
    )


def has_learned(rt: Runtime) -> bool:
    """Whether anything was ever learned here."""
    with rt.ledger.reading(rt.tenant) as reader:
        return reader.last_sample() > 0


def samples(rt: Runtime) -> Iterator[Kept]:
    """Every sample that counts, the oldest first within its kind."""
    with rt.ledger.reading(rt.tenant) as reader:
        for kind in Kind:
            yield from reader.samples_after(kind.value, 0)


def forget(rt: Runtime, client: str | None, model: str | None, *, authority: Authority) -> int:
    """Let what was learned so far count no more, of one client or model or of all; returns how many samples it were.

    Both are meant in every spelling, and what is kept under another one is forgotten, too.

    Raises `NotFound` where nothing was learned of them. The samples stay in the ledger as what happened.
    """
    authority.require(Loosening.CALIBRATE_RESET)
    with rt.ledger.writing(rt.tenant) as tx:
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
        tx.append("calibration.reset", [_start(tx, *each) for each in told], by=rt.by, sign=sign)
        return sum(count for _, count, _ in chosen)


def _is_of(key: SampleKey, client: str | None, model: str | None) -> bool:
    is_client = client is None or client_name(key.client) == client_name(client)
    return is_client and (model is None or same_model(key.model, model))


def _start(tx: Tx, client: str, model: str) -> Change:
    row: dict[str, Value] = {"client": client, "model": model, "from_us": tx.at_us}
    return (Update if tx.has_calibration_start(client, model) else Insert)("calibration_start", row)


def forget_factors(rt: Runtime, *, authority: Authority) -> int:
    """Let factors from bills count no more; returns how many there were."""
    authority.require(Loosening.CALIBRATE_RESET)
    with rt.ledger.writing(rt.tenant) as tx:
        found = tx.calibration_factors()
        if found:
            sign = signing(rt, tx, authority, Loosening.CALIBRATE_RESET)
            gone = [Delete("calibration_factor", {"model": model}) for model in found]
            tx.append("calibration.unapplied", gone, by=rt.by, sign=sign)
        return len(found)


def rebuild(rt: Runtime, progress: Callable[[int, int], None] | None = None, *, authority: Authority) -> int:
    """Learn anew from what the ledger has, the oldest first, as if each step had been asked for today.

    Agents' estimates are held against their calls, those of hooks against every response that clients wrote down, also
    of sessions that nobody gated. What each was expected to cost is worked out from those before it alone. Returns the
    number of samples.
    """
    authority.require(Loosening.CALIBRATE_REBUILD)
    with rt.ledger.reading(rt.tenant) as reader:
        made = [*relearned(of_agents(reader)), *relearned(of_hooks(rt, reader))]
    for start in range(0, max(len(made), 1), PER_EVENT):
        with rt.ledger.writing(rt.tenant) as tx:
            changes: list[Change] = [] if start else [_start(tx, "", "")]
            for step, sample in made[start : start + PER_EVENT]:
                if tx.has_sample(step.call_id):
                    changes.append(Delete("calibration_sample", {"call_id": step.call_id}))
                row = sample_row(tx, step.key, sample, call_id=step.call_id, session_id=step.session_id)
                changes.append(Insert("calibration_sample", {**row, "agent": step.ask.agent}))
            sign = signing(rt, tx, authority, Loosening.CALIBRATE_REBUILD)
            tx.append("calibration.rebuilt", changes, by=rt.by, sign=sign)
        if progress is not None:
            progress(min(start + PER_EVENT, len(made)), len(made))
    return len(made)
