"""What totals leave open, in words: records that could not be read, and rows that were told against booked ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tallygate.clients.reading.lines import Skip
from tallygate.clients.reading.otlp import TelemetrySkip
from tallygate.core.money import format_amount, json_number
from tallygate.core.sums import CUT_OFF, UnreadSum
from tallygate.core.text import plural
from tallygate.core.words import UsageBasis
from tallygate.entrypoints.cli import output
from tallygate.operations.usage.ingest import REFUSED
from tallygate.operations.views.usage import Anomalies

# Who told what a session used.
TOLD_BY = {
    UsageBasis.OBSERVED: "the client's own record",
    UsageBasis.REPORTED: "the agent itself: nothing was observed",
    UsageBasis.ESTIMATED: "nobody yet: by estimates",
    UsageBasis.MIXED: "several: see --calls --json for each call",
}
# What is odd in an agent's reports, as tables have it.
ODD_REPORTS = {
    "far_below": "far below what it asked for",
    "late_below": "late, far below what was counted",
    "local_model": "a local or free model, asked for another",
    "voids_in_a_row": "many voids in a row",
}
MEANING: dict[str, str] = {
    REFUSED: "with an impossible cost",
    CUT_OFF: "cut off at the end of a file",
    Skip.SYNTHETIC: "made by the client, not by a model",
    Skip.EMPTY: "without tokens",
    Skip.INHERITED: "of another session, repeated",
    Skip.UNFINISHED: "not finished yet",
    Skip.TOO_LONG: "longer than is read",
    Skip.BAD_UTF8: "no text",
    Skip.BAD_JSON: "no JSON",
    Skip.TOO_DEEP: "nested too deep",
    Skip.HUGE_NUMBER: "with a number of thousands of digits",
    Skip.NOT_OBJECT: "no object",
    Skip.DUPLICATE_KEY: "with a key written twice",
    Skip.BAD_COUNT: "without a usable count",
    Skip.BAD_NAME: "without a usable name",
    Skip.NO_TIME: "without a time",
    Skip.INCONSISTENT: "with counts that contradict each other",
    Skip.BAD_FILE: "in a file that cannot be read",
    TelemetrySkip.TOO_MANY: "too many in one request",
    TelemetrySkip.TOO_MANY_ATTRIBUTES: "with too many attributes",
    Skip.NO_FILE: "in what is named like a file of records and is none",
}


def unread_text(found: UnreadSum) -> str:
    """What could not be read, and about what it cost, in a sentence without its end."""
    why = ", ".join(f"{count:,} {MEANING.get(reason, reason)}" for reason, count in sorted(found.why.items()))
    where = [plural(found.files, "file")] if found.files else []
    places = " and ".join([*where, *(["telemetry"] if found.told else [])])
    text = f"{plural(found.records, 'record')} in {places} could not be read ({why})"
    if not found.estimated:
        return f"{text}; what they cost is not known"
    rest = found.records - found.estimated
    more = f", and {rest:,} of unknown cost" if rest else ""
    return f"{text}; by the rest of their sessions they cost about {format_amount(found.nanos)}{more}"


def open_questions(unread: UnreadSum, anomalies: Anomalies) -> Iterator[str]:
    """What a total leaves open, a sentence each."""
    if unread.records:
        yield f"{unread_text(unread)}. They are in no total; `tallygate doctor` names the files."
    if anomalies.responses:
        yield (
            f"{plural(anomalies.responses, 'response')} were told of again with less, another model or another "
            "time, or at a time that cannot be right; what was counted stays. `tallygate usage anomalies` names them."
        )
    if anomalies.reports:
        yield (
            f"{plural(anomalies.reports, 'report')} of agents on their own calls {output.are(anomalies.reports)}"
            " odd: far less than asked for, a free model, or void after void. `tallygate usage anomalies` names them."
        )


def unread_json(found: UnreadSum) -> dict[str, Any]:
    """The same for programs."""
    return {
        "records": found.records,
        "files": found.files,
        "in_telemetry": found.told,
        "could_not_be_read": dict(sorted(found.why.items())),
        "estimated_cost": json_number(found.nanos) if found.estimated else None,
        "records_without_estimate": found.records - found.estimated,
    }
