"""Sums of usage by key and period, and what they leave open."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import tzinfo

from tallygate.core.costing import Certainty
from tallygate.core.places import meant
from tallygate.core.sums import UnreadFile, UnreadSum, UsageFilter, UsageSum, unread_sum
from tallygate.core.words import client_name
from tallygate.ledger.port import Reader, UsageReader
from tallygate.operations.budgets.figures import certainties
from tallygate.operations.runtime import Runtime
from tallygate.pricing.identity import listed_name, means, one_name
from tallygate.reports.usage import By, UsageLine, line_of, lines_of, ordered, period_of, total_of

# --- unread ----------------------------------------------------------------------------------------------------------
# What totals leave open: what could not be read of clients' files, and what was told against booked responses.


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
    with rt.reading() as reader:
        return unread_of(reader, rt.services.clock_us(), clients), anomalies_of(reader)


def anomalies_of(reader: Reader) -> Anomalies:
    """How many anomalies there are."""
    return Anomalies(reader.count_anomalies(), reader.count_call_anomalies())


def unread_of(reader: UsageReader, now_us: int, clients: Collection[str] = ()) -> UnreadSum:
    """What could not be read, added up."""
    return unread_sum((file for file in reader.unread_files() if not clients or file.client in clients), now_us)


def unread_files(rt: Runtime) -> list[UnreadFile]:
    """The files of which something could not be read."""
    now_us = rt.services.clock_us()
    with rt.reading() as reader:
        return [file for file in reader.unread_files() if file.records(now_us)]


# --- usage -----------------------------------------------------------------------------------------------------------
# List what was used, whether a budget session asked for it or not.


_KEYS = {
    By.SESSION: "session", By.PROJECT: "project", By.FOLDER: "project", By.CLIENT: "client", By.MODEL: "none",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class UsageView:
    """The lines that are shown, how many are not, what all of them add up to, and what that leaves open."""

    lines: list[UsageLine]
    hidden: int
    total: UsageLine
    unread: UnreadSum = field(default_factory=UnreadSum)
    anomalies: Anomalies = field(default_factory=Anomalies)


@dataclass(frozen=True, slots=True)
class UsageWanted:
    """What a list of usage is about; `until_us` is the first moment after it.

    `project` is a match for places, as a budget takes it, or a folder with what lies below it. `model` is a match for
    models, or a part of an id.
    """

    from_us: int
    until_us: int
    clients: tuple[str, ...] = ()
    project: str | None = None
    model: str | None = None


def list_usage(rt: Runtime, wanted: UsageWanted, *, by: By, zone: tzinfo, limit: int) -> UsageView:
    """Usage by a key, as of one moment. Of periods the last ones are shown, of other keys the first."""
    with rt.reading() as reader:
        chosen = _chosen(rt, reader, wanted)
        sure = certainties(reader)
        if by.is_period:
            lines = list(_periods(reader, chosen, by, zone, sure))
        else:
            sums = [_named(rt, each, by) for each in reader.usage_sums(_KEYS[by], chosen)]
            lines = ordered(lines_of(sums, by, sure), by)
        unread, anomalies = unread_of(reader, rt.services.clock_us(), chosen.clients), anomalies_of(reader)
    shown = lines[-limit:] if by.is_period else lines[:limit]
    return UsageView(shown, len(lines) - len(shown), total_of(lines), unread, anomalies)


def _chosen(rt: Runtime, reader: UsageReader, wanted: UsageWanted) -> UsageFilter:
    """The responses that are wanted, by the folders and the ids that they name."""
    folders = None if wanted.project is None else folders_of(rt, reader.usage_folders(), wanted.project)
    models = None if wanted.model is None else _models(reader.usage_models(), wanted.model)
    return UsageFilter(wanted.from_us, wanted.until_us, wanted.clients, folders, models)


def folders_of(rt: Runtime, known: Collection[str], project: str) -> tuple[str, ...]:
    """The folders of a project; where no project is meant, those whose path or the end of it is given."""
    found = tuple(folder for folder in known if meant(rt.workspace.place_of(folder), project))
    if found:
        return found
    wanted = project.rstrip("/") or "/"
    return tuple(
        folder
        for folder in known
        if folder == wanted or folder.startswith(wanted.rstrip("/") + "/") or folder.endswith("/" + wanted.strip("/"))
    )


def _models(known: list[str], model: str) -> tuple[str, ...]:
    part = model.lower()
    return tuple(each for each in known if means(model, each) or part in each.lower() or part in one_name(each))


def _named(rt: Runtime, each: UsageSum, by: By) -> UsageSum:
    """A sum under the one name of what it is of: the project of its folder, its client, its model."""
    key = each.key
    if by is By.PROJECT:
        key = (project_name(rt, key[0]),)
    elif by in (By.CLIENT, By.SESSION) and key[0] is not None:
        key = (client_name(key[0]), *key[1:])
    return replace(each, key=key, model=listed_name(each.model))


def project_name(rt: Runtime, folder: str | None) -> str | None:
    """What reports call the project of a folder: its repository, outside of any the folder itself."""
    place = rt.workspace.place_of(folder)
    return None if place is None else place.name


def _periods(
    reader: UsageReader, chosen: UsageFilter, by: By, zone: tzinfo, sure: Mapping[str, Certainty]
) -> Iterator[UsageLine]:
    """The periods that have responses, each summed by the ledger between the moments it has in the time zone."""
    rest = chosen
    while (at_us := reader.usage_next(rest)) is not None:
        period = period_of(at_us, by, zone)
        within = replace(rest, until_us=min(period.end_us, chosen.until_us))
        sums = (replace(each, model=listed_name(each.model)) for each in reader.usage_sums("none", within))
        yield line_of(period.label, sums, sure)
        rest = replace(rest, from_us=period.end_us)
