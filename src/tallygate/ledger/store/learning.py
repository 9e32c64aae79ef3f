"""How far estimates were off, as the ledger keeps it: one row for each call whose cost came to be known."""

from __future__ import annotations

from typing import Any

from tallygate.core.learning.calibration import CostOrigin, Sample, SampleKey, StoredSample
from tallygate.core.model import Call
from tallygate.ledger import rows
from tallygate.ledger.rows import Statements

# Samples from before their origin was kept: what a hook asked for was always observed, an agent's call where its cost
# was what its responses came to. All others count as reported.
_ORIGIN = (
    "COALESCE(s.origin, CASE WHEN s.kind = 'hook' OR EXISTS (SELECT 1 FROM call k WHERE k.tenant = s.tenant AND"
    " k.call_id = s.call_id AND k.cost_basis = 'transcript' AND COALESCE(k.observed_nanos = s.actual_nanos,"
    " k.output IS NULL)) THEN 'observed' ELSE 'reported' END)"
)
_SAMPLE = (
    "s.id, s.call_id, s.session_id, s.kind, s.client, s.model, s.agent, s.at_us, s.estimate_nanos, s.cold_nanos,"
    f" s.level_nanos, s.expected_nanos, s.actual_nanos, {_ORIGIN}"
)
# What came before the user had it forgotten does not count.
_COUNTING = (
    " AND NOT EXISTS (SELECT 1 FROM calibration_start c WHERE c.tenant = s.tenant AND c.client IN ('', s.client)"
    " AND c.model IN ('', s.model) AND c.from_us > s.at_us)"
)
_OF_KIND = f"SELECT {_SAMPLE} FROM calibration_sample s WHERE s.tenant = :tenant AND s.kind = :kind"
_OF_KEY = f"{_OF_KIND} AND s.client = :client AND s.model = :model"
_NEWEST = f"{_COUNTING} ORDER BY s.id DESC LIMIT :limit"
_FIRST, _LATER = " AND s.level_nanos IS NULL", " AND s.level_nanos IS NOT NULL"
_OF_ORIGIN = f" AND {_ORIGIN} = :origin"
SELECT_AFTER = f"{_OF_KIND} AND s.id > :after{_COUNTING} ORDER BY s.id"
SELECT_LAST = "SELECT id FROM calibration_sample WHERE tenant = :tenant ORDER BY id DESC LIMIT 1"
SELECT_RECONCILED = (
    f"SELECT {rows.CALL.select('c')} FROM call c WHERE c.tenant = :tenant AND c.state = 'reconciled'"
    " AND c.raw_estimate_nanos > 0 ORDER BY c.resolved_us DESC, c.call_id DESC LIMIT :limit"
)
_ORIGINS = {origin.value: origin for origin in CostOrigin}
SELECT_LEVELS = (
    f"SELECT s.actual_nanos, {_ORIGIN} AS origin FROM calibration_sample s WHERE s.tenant = :tenant"
    " AND s.session_id = :session_id AND s.agent = :agent ORDER BY s.id DESC LIMIT :levels"
)
SELECT_KEYS = (
    "SELECT s.kind, s.client, s.model, COUNT(*), MAX(s.at_us) FROM calibration_sample s WHERE s.tenant = :tenant"
    f"{_COUNTING} GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3"
)
# From one client and model to the next along the index: as many steps as keys, however many samples they have.
# The next model of a client and the next client are asked for apart: for a pair at once only half of the index serves.
_NEXT_MODEL = (
    "SELECT s.id FROM calibration_sample s WHERE s.tenant = :tenant AND s.kind = :kind AND s.client = k.client"
    " AND s.model > k.model ORDER BY s.model LIMIT 1"
)
_NEXT_CLIENT = (
    "SELECT s.id FROM calibration_sample s WHERE s.tenant = :tenant AND s.kind = :kind AND s.client > k.client"
    " ORDER BY s.client, s.model LIMIT 1"
)
SELECT_SPELLED = (
    "WITH RECURSIVE known(client, model) AS ("
    "SELECT * FROM (SELECT client, model FROM calibration_sample WHERE tenant = :tenant AND kind = :kind"
    " ORDER BY client, model LIMIT 1) f UNION ALL SELECT n.client, n.model FROM known k CROSS JOIN calibration_sample n"
    f" WHERE n.id = COALESCE(({_NEXT_MODEL}), ({_NEXT_CLIENT}))) SELECT client, model FROM known"
)
SELECT_STATE = (
    "SELECT COUNT(*), COALESCE(MAX(from_us), 0), COALESCE((SELECT MAX(id) FROM calibration_sample), 0)"
    " FROM calibration_start WHERE tenant = :tenant"
)
SELECT_START = "SELECT 1 FROM calibration_start WHERE tenant = :tenant AND client = :client AND model = :model"
SELECT_FACTOR = "SELECT factor_micros FROM calibration_factor WHERE tenant = :tenant AND model = :model"
SELECT_FACTORS = "SELECT model, factor_micros, applied_us FROM calibration_factor WHERE tenant = :tenant ORDER BY model"
SELECT_KNOWN = "SELECT 1 FROM calibration_sample WHERE tenant = :tenant AND call_id = :call_id"


class CalibrationReads(Statements):
    """Reads of what estimates are corrected by; a part of every reader."""

    def samples_of(self, key: SampleKey, limit: int, *, first: bool, origin: CostOrigin) -> list[StoredSample]:
        """The last samples of a key, the oldest first: of the first calls of agents, or of later ones, of one origin.

        Those of each origin are asked for by themselves, so that reports push nothing out that was observed.
        """
        sql = f"{_OF_KEY}{_FIRST if first else _LATER}{_OF_ORIGIN}{_NEWEST}"
        names = {"kind": key.kind, "client": key.client, "model": key.model, "origin": origin.value}
        return [_kept(row) for row in reversed(self._all(sql, **names, limit=limit))]

    def samples_of_kind(self, kind: str, limit: int, *, first: bool, origin: CostOrigin) -> list[StoredSample]:
        """The same of every key of a kind."""
        sql = f"{_OF_KIND}{_FIRST if first else _LATER}{_OF_ORIGIN}{_NEWEST}"
        return [_kept(row) for row in reversed(self._all(sql, kind=kind, origin=origin.value, limit=limit))]

    def keys_spelled(self, kind: str) -> list[SampleKey]:
        """Every key that there are samples of a kind under, forgotten or not, as it was spelled."""
        return [SampleKey(kind, *row) for row in self._all(SELECT_SPELLED, kind=kind)]

    def samples_after(self, kind: str, after: int) -> list[StoredSample]:
        """The samples that came in after one, the oldest first."""
        return [_kept(row) for row in self._all(SELECT_AFTER, kind=kind, after=after)]

    def last_sample(self) -> int:
        """The number of the last sample; 0 where there is none."""
        row = self._one(SELECT_LAST)
        return 0 if row is None else int(row[0])

    def has_sample(self, call_id: str) -> bool:
        """Whether a call's cost was learned from."""
        return self._one(SELECT_KNOWN, call_id=call_id) is not None

    def reconciled_calls(self, limit: int) -> list[Call]:
        """The calls whose cost came to be known last, in that order."""
        return [rows.to_call(row) for row in reversed(self._all(SELECT_RECONCILED, limit=limit))]

    def levels(self, session_id: str, agent: str, limit: int) -> list[tuple[int, CostOrigin]]:
        """What the last steps of one agent of a session cost and who told it, the oldest first."""
        return as_levels(self._all(SELECT_LEVELS, session_id=session_id, agent=agent, levels=limit))

    def sample_keys(self) -> list[tuple[SampleKey, int, int]]:
        """Every key that something was learned of: key, number of samples, time of the last."""
        return [(SampleKey(*row[:3]), row[3], row[4]) for row in self._all(SELECT_KEYS)]

    def calibration_state(self) -> tuple[tuple[int, int], int]:
        """How often the user had something forgotten and when last, and the number of the last sample of any tenant.

        Asked for each step: while none of it changes, there is nothing to learn.
        """
        count, last, sample = self._one(SELECT_STATE)
        return (int(count), int(last)), int(sample)

    def has_calibration_start(self, client: str, model: str) -> bool:
        """Whether this was forgotten before."""
        return self._one(SELECT_START, client=client, model=model) is not None

    def calibration_factor(self, model: str) -> int | None:
        """What the user took over for a model from bills, in millionths."""
        row = self._one(SELECT_FACTOR, model=model)
        return None if row is None else int(row[0])

    def calibration_factors(self) -> dict[str, tuple[int, int]]:
        """All of these, by model, each with its time."""
        return {row[0]: (row[1], row[2]) for row in self._all(SELECT_FACTORS)}


def as_levels(found: list[Any]) -> list[tuple[int, CostOrigin]]:
    """Rows of SELECT_LEVELS as costs and who told them, the oldest first."""
    return [(row[0], _ORIGINS[row[1]]) for row in reversed(found)]


def _kept(row: tuple[Any, ...]) -> StoredSample:
    number, call_id, session_id, kind, client, model, agent, at_us, said, cold, level, expected, actual, origin = row
    sample = Sample(said, cold, level, expected, actual, _ORIGINS[origin])
    return StoredSample(number, call_id, session_id, SampleKey(kind, client, model), agent, at_us, sample)
