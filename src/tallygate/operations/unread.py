"""What totals leave open: what could not be read of clients' files, and what was told against booked responses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tallygate.core.usage import UnreadFile, UnreadSum, unread_sum
from tallygate.ledger.port import Reader
from tallygate.operations.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Anomalies:
    """How much was told against booked responses, and how many of agents' own reports are odd."""

    responses: int = 0
    reports: int = 0

    def stated(self) -> dict[str, int]:
        """For programs."""
        return {"anomalies": self.responses, "odd_reports": self.reports}


def what_is_open(rt: Runtime, clients: Collection[str] = ()) -> tuple[UnreadSum, Anomalies]:
    """What could not be read of some clients' files (all by default), and how many anomalies there are."""
    with rt.ledger.reading(rt.tenant) as reader:
        return unread_of(reader, rt.clock_us(), clients), anomalies_of(reader)


def anomalies_of(reader: Reader) -> Anomalies:
    """How many anomalies there are."""
    return Anomalies(reader.count_anomalies(), reader.count_call_anomalies())


def unread_of(reader: Reader, now_us: int, clients: Collection[str] = ()) -> UnreadSum:
    """What could not be read, added up."""
    return unread_sum((file for file in reader.unread_files() if not clients or file.client in clients), now_us)


def unread_files(rt: Runtime) -> list[UnreadFile]:
    """The files of which something could not be read."""
    now_us = rt.clock_us()
    with rt.ledger.reading(rt.tenant) as reader:
        return [file for file in reader.unread_files() if file.records(now_us)]
