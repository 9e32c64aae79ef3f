"""What was read of a file as bytes: to hand it to another process, or to keep it until somebody stores it.

Plain values cross in a fraction of the time that objects take. Reading such bytes runs nothing of what is in them.
"""

from __future__ import annotations

import json
import marshal
from typing import Any

from tallygate.clients.reading.files import Batch, FilePosition, FileState
from tallygate.clients.reading.lines import ReadReport, Skip
from tallygate.clients.registry import REGISTRY
from tallygate.core.attribution import Served
from tallygate.core.costing import Tokens
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.plan import PlanSource, PlanWindow
from tallygate.core.usage import ModelTotal, ObservedUsage, Quality, SessionCheck

_QUALITIES = {quality.value: quality for quality in Quality}
_SKIPS = {skip.value: skip for skip in Skip}

# Another number where bytes mean something else than before.
FORMAT = 3

# Among the fields of a row, from the end.
_COUNTED_BY, _SERVED = -7, -3

Packed = tuple[Any, ...]


def packed(batch: Batch) -> bytes:
    """A batch as bytes."""
    report = batch.report
    skipped = [(reason.value, count) for reason, count in report.skipped.items()]
    return marshal.dumps(
        (
            [_packed_row(row) for row in batch.rows],
            None if batch.position is None else json.dumps(batch.position.as_json()),
            batch.change.value,
            (report.bytes_read, report.rows, skipped, report.unfinished, report.session),
            [_packed_check(check) for check in batch.checks],
            batch.anew,
            [_packed_window(told) for told in batch.plan],
        )
    )


def unpacked(data: bytes) -> Batch:
    """A batch from its bytes. Raises `ValueError`, `EOFError` or `TypeError` where they are none."""
    rows, position, change, counted, checks, anew, plan = marshal.loads(data)  # noqa: S302  # plain values: nothing in them is run
    bytes_read, count, skipped, unfinished, of_session = counted
    report = ReadReport(bytes_read, count, unfinished=unfinished, session=of_session)
    report.skipped.update({_SKIPS[reason]: number for reason, number in skipped})
    taken = []
    for client, session, key, at_us, model, tokens, rule, quality, *rest in rows:
        if rest[_COUNTED_BY] is not None:
            rest[_COUNTED_BY] = REGISTRY.rules[rest[_COUNTED_BY]]
        if rest[_SERVED]:
            rest[_SERVED] = tuple([Served(*each) for each in rest[_SERVED]])
        read_by, counts = REGISTRY.rules[rule], Tokens(*tokens)
        # The rest stands in the order of the fields, as `_packed_row` writes it.
        taken.append(
            ObservedUsage(client, session, key, as_datetime(at_us), model, counts, read_by, _QUALITIES[quality], *rest)
        )
    return Batch(
        tuple(taken),
        None if position is None else FilePosition.from_json(json.loads(position)),
        FileState(change),
        report,
        tuple([_check(*check) for check in checks]),
        anew,
        tuple([_window(*told) for told in plan]),
    )


def _packed_row(row: ObservedUsage) -> Packed:
    tokens = row.tokens
    return (
        row.client, row.session, row.response_key, microseconds(row.at), row.model,
        (tokens.fresh_input, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h, tokens.output),
        row.rule.text, row.quality.value, row.parent_session, row.reasoning, row.tier, row.speed, row.geo,
        row.web_searches, row.native_cost_text, row.estimated_output, row.agent_id, row.tool_use_ids, row.request_id,
        row.project, row.version, row.provider, None if row.counted_by is None else row.counted_by.text,
        tuple(map(str, row.odd)) if row.odd else (), row.agent_type, row.skill,
        tuple([tuple(each) for each in row.served]) if row.served else (), row.branch, row.repository,
    )  # fmt: skip


def _packed_window(told: PlanWindow) -> Packed:
    return (told.client, told.limit, told.minutes, told.used, told.at_us, told.resets_us, told.source.value, told.plan)


def _window(client: str, limit: str, minutes: int, used: int, at_us: int, *rest: Any) -> PlanWindow:
    resets_us, source, plan = rest
    return PlanWindow(client, limit, minutes, used, at_us, resets_us, PlanSource(source), plan)


def _packed_check(check: SessionCheck) -> Packed:
    models = [
        (
            model.model,
            (
                model.tokens.fresh_input, model.tokens.cache_read, model.tokens.cache_write_5m,
                model.tokens.cache_write_1h, model.tokens.output,
            ),
            model.web_searches,
            model.cost_text,
        )
        for model in check.models
    ]  # fmt: skip
    return (check.client, check.session, models, check.cost_text, check.unknown_model_cost, check.includes)


def _check(client: str, session: str, models: list[Packed], *rest: Any) -> SessionCheck:
    totals = tuple(ModelTotal(model, Tokens(*tokens), searches, cost) for model, tokens, searches, cost in models)
    return SessionCheck(client, session, totals, *rest)
