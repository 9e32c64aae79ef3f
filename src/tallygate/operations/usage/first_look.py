"""What clients wrote down, added up where there is no ledger yet: nothing is on record, and the figures are the same.

Responses are joined, named, cut to their windows and priced by what a ledger goes by. What was read is kept in the
cache folder, so that it is read once: the next look goes on from there, and the ledger takes it over.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

from tallygate import __version__
from tallygate.clients.feed import FileToRead, pieces, pieces_together
from tallygate.clients.kept import FileKey, KeptReadings, batches_of
from tallygate.clients.packing import packed
from tallygate.clients.reading.files import Batch, FileState, TranscriptFile, nothing
from tallygate.core.attribution import shares
from tallygate.core.costing import Tokens
from tallygate.core.errors import LedgerUnavailable
from tallygate.core.gate.lifecycle import CallAnomaly
from tallygate.core.model import DEFAULT_TENANT, Session
from tallygate.core.moments import microseconds
from tallygate.core.money import AMOUNT_NANOS_MAX
from tallygate.core.places import Tree
from tallygate.core.sessions import grown
from tallygate.core.sums import OF_WHOLE_FILES, SharedSum, Unread, UnreadFile, UsageFilter, UsageSum, Whom
from tallygate.core.usage import (
    ObservedUsage,
    Quality,
    ResponseKind,
    in_a_line,
    needs_window,
    tells_model,
)
from tallygate.ledger.port import Anomaly, JournalEvent, MoreIsAsked, Reader, StoredUsage
from tallygate.operations.runtime import Runtime
from tallygate.operations.usage.ingest import REFUSED, FileReading, Pricer, reading_of
from tallygate.operations.usage.nameless import named
from tallygate.operations.usage.sync import (
    SyncProgress,
    SyncReport,
    Told,
    files_of,
    files_wanted,
    is_much,
    take_all,
    uncollected,
    unseen_sync,
)


class ResponseFigures(NamedTuple):
    """A response as lists of usage add it up."""

    at_us: int
    client: str
    session: str
    project: str | None
    model: str
    price_id: str
    figures: tuple[int, int, int, int, int, int, int, int, int, int, int]


_together = attrgetter("client", "session", "project", "model", "price_id")


def _sum(names: tuple[Any, ...], group: Sequence[ResponseFigures]) -> UsageSum:
    """What responses add up to that have these in common."""
    client, session, folder, model, price_id = names
    partial, fresh, read, short, long, output, *rest = map(sum, zip(*[each.figures for each in group], strict=True))
    reasoning, searches, nanos, missing, exact = rest
    times = [each.at_us for each in group]
    return UsageSum(
        key=(),
        model=model,
        price_id=price_id,
        responses=len(group),
        partial=partial,
        tokens=Tokens(fresh, read, short, long, output),
        reasoning=reasoning,
        web_searches=searches,
        nanos=nanos,
        missing_output=missing,
        first_us=min(times),
        last_us=max(times),
        exact_nanos=exact,
        client=client,
        session=session,
        folder=folder,
    )


class SharedPart(NamedTuple):
    """What one tool has of a response, which is counted once with the first of them."""

    figures: ResponseFigures
    is_first: bool


def _parts(
    each: ResponseFigures, row: ObservedUsage, whom: Collection[str], *, by_session: bool
) -> Iterator[tuple[tuple[Any, ...], SharedPart]]:
    """The parts of a response by whom it was made for, each under what the list asks."""
    is_agent, is_tool = "agent" in whom, not {"mcp", "tool"}.isdisjoint(whom)
    columns = zip(*[[amount for _, amount in shares(figure, row.served)] for figure in each.figures[1:10]], strict=True)
    for number, (served, amounts) in enumerate(zip(row.served or (None,), columns, strict=True)):
        told = Whom(
            int(row.agent_id is not None or row.agent_type is not None) if is_agent else None,
            (row.agent_type or "") if is_agent else None,
            (row.skill or "") if "skill" in whom else None,
            (row.branch or "") if "branch" in whom else None,
            ("" if served is None else served.server or "") if is_tool else None,
            None if not is_tool else "" if served is None else served.tool if "tool" in whom else "*",
        )
        session = each.session if by_session else None
        exact = amounts[-2] if each.figures[0] == 0 else 0
        part = each._replace(session=session or "", figures=(each.figures[0], *amounts, exact))
        yield (told, each.client, session, each.project, each.model, each.price_id), SharedPart(part, number == 0)


def _shared(names: tuple[Any, ...], parts: Sequence[SharedPart]) -> SharedSum:
    """What parts add up to that have these names in common."""
    whom, *of = names
    once = [each.figures for each in parts if each.is_first]
    found = _sum(tuple(of), [each.figures for each in parts])
    if whom.tool is None:
        found = replace(found, responses=len(once), partial=sum(each.figures[0] for each in once))
    return SharedSum(whom, found, len(once), sum(each.figures[0] for each in once))


class FirstLook:
    """As much of a ledger as lists of usage ask for, made of what files say.

    It is there to be read, after `look` has filled it. To write is refused: there is no ledger yet.
    """

    ledger_id = ""
    newest_lock: bytes | None = None

    def __init__(self, tenant: str = DEFAULT_TENANT) -> None:
        self.tenant = tenant
        self._pricer: Pricer | None = None
        self._responses: dict[tuple[str, str], ObservedUsage] = {}
        self._counted: dict[tuple[str, str], ResponseFigures] = {}
        self._in_time: list[ResponseFigures] = []
        self._times: list[int] = []
        self._prices: dict[str, str] = {}
        self._positions: dict[str, Mapping[str, Any]] = {}
        self._unread: dict[str, UnreadFile] = {}
        self._refused: dict[str, set[tuple[str, str]]] = {}
        self._elsewhere: dict[str | None, bool] = {}
        self.now_us = 0  # when it was read

    # A ledger.

    @contextmanager
    def reading(self, tenant: str = DEFAULT_TENANT) -> Iterator[Reader]:
        """Itself, of which nothing changes any more; of another tenant nothing is known."""
        yield cast("Reader", self if tenant == self.tenant else FirstLook(tenant))

    def writing(self, _tenant: str = DEFAULT_TENANT) -> NoReturn:
        """Refused."""
        raise LedgerUnavailable("There is no ledger yet.", hint="tallygate init makes one")

    at_once = prove = writing

    def step_history(self, *_: object, **_more: object) -> NoReturn:
        """Nothing is asked of it but what a view of all tells."""
        raise MoreIsAsked

    def others_wrote(self) -> None:
        """Nobody did."""

    def close(self) -> None:
        """Nothing was opened."""

    # What fills it.

    def take(self, rt: Runtime, reading: FileReading) -> None:
        """Count what was read of a file."""
        self._take_rows(rt, reading)
        if reading.position is not None:
            self._positions[reading.path] = reading.position
        self._take_unread(reading)

    def _take_rows(self, rt: Runtime, reading: FileReading) -> None:
        """Join responses with the copies that are known, and price them."""
        responses, counted = self._responses, self._counted
        pricer = self._pricer = self._pricer or Pricer(rt)
        for row in reading.rows:
            key = (row.client, row.response_key)
            known = responses.get(key)
            if known is not None:
                row = pricer.joined(known, row)  # noqa: PLW2901 - what is known of the response now
            responses[key] = row
            figures = None
            if not self._is_elsewhere(rt, row.project):
                figures = self._figured(pricer, row)
                if figures is None:
                    self._refused.setdefault(reading.path, set()).add(key)
            if figures is None:
                counted.pop(key, None)
            else:
                counted[key] = figures

    def _is_elsewhere(self, rt: Runtime, project: str | None) -> bool:
        """Whether a folder is one of another tenant's project, among whose rows its responses count."""
        if project not in self._elsewhere:
            self._elsewhere[project] = rt.workspace.tenant_of(project) not in (None, rt.tenant)
        return self._elsewhere[project]

    def _figured(self, pricer: Pricer, row: ObservedUsage) -> ResponseFigures | None:
        """A response with its price; None for one that costs more than any can."""
        if row.rule.kind is ResponseKind.RUNNING_TOTAL:
            row = grown(row, ()) or row
        if needs_window(row):
            row = pricer.within(row)
        stored, basis = pricer.priced(row)
        if stored.cost_nanos > AMOUNT_NANOS_MAX:
            return None
        self._prices[stored.price_id] = basis
        tokens, estimated = row.tokens, row.estimated_output
        return ResponseFigures(
            microseconds(row.at),
            row.client,
            row.session,
            row.project,
            row.model,
            stored.price_id,
            (
                row.quality is not Quality.FINAL,
                tokens.fresh_input,
                tokens.cache_read,
                tokens.cache_write_5m,
                tokens.cache_write_1h,
                tokens.output,
                row.reasoning,
                row.web_searches,
                stored.cost_nanos,
                0 if estimated is None else max(estimated - tokens.output, 0),
                stored.cost_nanos if row.quality is Quality.FINAL else 0,
            ),
        )

    def _take_unread(self, reading: FileReading) -> None:
        """Keep what could not be read of a file, as a ledger does: what was read anew, and whole files, stand anew."""
        known = self._unread.get(reading.path)
        why: Counter[str] = Counter()
        if known is not None and not reading.anew:
            why.update({reason: count for reason, count in known.found.why.items() if reason not in OF_WHOLE_FILES})
        why.update(reading.unread.why)
        if (refused := len(self._refused.pop(reading.path, ()))) > 0:
            why[REFUSED] += refused
        found = Unread(why, reading.unread.unfinished)
        session = reading.session or (None if known is None else known.session)
        if not (why or found.unfinished):
            self._unread.pop(reading.path, None)
        elif reading.position is not None or why:
            self._unread[reading.path] = UnreadFile(
                reading.path, reading.client, session, found, self.now_us, responses=0, nanos=0
            )

    def finish(self, rt: Runtime) -> None:
        """Give those that name no model a neighbour's, and put all in order of time."""
        pricer = self._pricer
        nameless = [key for key, row in self._responses.items() if not row.model or not tells_model(row)]
        if nameless and pricer is not None:
            self._responses = named(rt, self._responses, pricer.is_free)
            for key in nameless:
                figures = self._figured(pricer, self._responses[key])
                if figures is not None and key in self._counted:
                    self._counted[key] = figures
        self._in_time = sorted(self._counted.values(), key=attrgetter("at_us"))
        self._times = [each.at_us for each in self._in_time]
        by_session: dict[tuple[str, str], list[int]] = {}
        if self._unread:
            for each in self._in_time:
                by_session.setdefault((each.client, each.session), []).append(each.figures[8])
        for path, file in self._unread.items():
            costs = by_session.get((file.client, file.session or ""), [])
            self._unread[path] = replace(file, responses=len(costs), nanos=sum(costs))

    # What lists of usage read.

    def position(self, path: str) -> Mapping[str, Any] | None:
        """How far a file was read."""
        return self._positions.get(path)

    def _chosen(self, chosen: UsageFilter) -> list[ResponseFigures]:
        found = self._in_time[bisect_left(self._times, chosen.from_us) : bisect_left(self._times, chosen.until_us)]
        if chosen.clients:
            found = [each for each in found if each.client in chosen.clients]
        if chosen.folders is not None:
            folders = set(chosen.folders)
            found = [each for each in found if each.project in folders]
        if chosen.models is not None:
            models = set(chosen.models)
            found = [each for each in found if each.model in models]
        return found

    def usage_sums(self, chosen: UsageFilter) -> list[UsageSum]:
        """What the chosen responses add up to, by session, folder, model and price."""
        groups: dict[tuple[Any, ...], list[ResponseFigures]] = {}
        for each in self._chosen(chosen):
            groups.setdefault(_together(each), []).append(each)
        return [_sum(names, group) for names, group in groups.items()]

    def shared_sums(self, from_us: int, until_us: int, whom: Collection[str], *, by_session: bool) -> list[SharedSum]:
        """What the responses of a span add up to by whom they were made for, each tool with its share."""
        groups: dict[tuple[Any, ...], list[SharedPart]] = {}
        for key, each in self._counted.items():
            if from_us <= each.at_us < until_us:
                for names, part in _parts(each, self._responses[key], whom, by_session=by_session):
                    groups.setdefault(names, []).append(part)
        return [_shared(names, parts) for names, parts in groups.items()]

    def spend_next(self, from_us: int, until_us: int) -> int | None:
        """When the first response of a span was made."""
        first = bisect_left(self._times, from_us)
        return self._times[first] if first < len(self._times) and self._times[first] < until_us else None

    def usage_folders(self) -> list[str]:
        """Every folder that responses were made in."""
        return [each for each in dict.fromkeys(map(itemgetter(3), self._in_time)) if each is not None]

    def usage_models(self) -> list[str]:
        """Every model that responses name."""
        return list(dict.fromkeys(map(itemgetter(4), self._in_time)))

    def prices(self) -> dict[str, str]:
        """The basis of every price, by its id."""
        return self._prices

    def unread_files(self) -> list[UnreadFile]:
        """The files of which something could not be read."""
        return [self._unread[path] for path in sorted(self._unread)]

    def anomalies(self, limit: int) -> list[Anomaly]:
        """What copies told against each other."""
        if self._pricer is None:
            return []
        return [
            Anomaly(client, key, kind.value, row.session, in_a_line(row), self.now_us)
            for (client, key, kind), row in self._pricer.suspect.items()
            if (client, key) in self._counted
        ][:limit]

    def count_anomalies(self) -> int:
        """How many those are."""
        return len(self.anomalies(len(self._responses) * 4))

    # Without a ledger no agent has asked for anything.

    def call_anomalies(self, _limit: int) -> list[CallAnomaly]:
        return []

    def count_call_anomalies(self) -> int:
        return 0

    def booked_sums(self, _from_us: int, _until_us: int) -> list[UsageSum]:
        return []

    def tasks_since(self, _from_us: int) -> dict[str | None, str]:
        return {}

    def session_rates(self) -> dict[str, tuple[str, int, str | None]]:
        return {}

    def tenants(self) -> list[str]:
        return []

    def worktrees(self, _folders: Collection[str]) -> list[Tree]:
        return []

    def projects_worked_in(self) -> tuple[str, ...]:
        return ()

    def lock_events(self, _after: int = 0) -> list[JournalEvent]:
        return []

    # What those that name no model are told from, beside their neighbours.

    def recent_usage(self, _client: str, _session: str, _limit: int) -> list[StoredUsage]:
        return []

    def sessions_linked(self, _client: str, _session: str) -> list[Session]:
        return []

    def last_model(self, client: str) -> str | None:
        """The model that a client's last response named, with who served it."""
        last = next((row for row in reversed(self._responses.values()) if row.client == client), None)
        if last is None or not last.model:
            return None
        return f"{last.provider}/{last.model}" if last.provider and "/" not in last.model else last.model


def look(
    rt: Runtime,
    first: FirstLook,
    folder: Path,
    *,
    environ: Mapping[str, str],
    home: Path,
    clients: Sequence[str] | None = None,
    reading: bool = True,
    progress: Callable[[SyncProgress], None] = unseen_sync,
) -> SyncReport:
    """Fill a first look, the ledger of this runtime, with what is kept in a folder and, if wanted, what is new."""
    first.now_us = rt.services.clock_us()
    report = SyncReport()
    kept = KeptReadings(folder, __version__)
    found = kept.begin() if reading else kept.load()
    with closing(kept), uncollected():
        for file in _seen_so_far(found, clients, environ, home):
            for batch in batches_of(found, file):
                first.take(rt, reading_of(file, batch))
        if reading:
            wanted = files_wanted(rt, clients, environ=environ, home=home, report=report)
            progress(SyncProgress(0, report.files, 0))
            list_prices = rt.workspace.prices.catalog.providers
            with closing(pieces_together(wanted, list_prices) if is_much(wanted) else pieces(wanted)) as read:
                take_all(read, _Looking(rt, first, kept, wanted, report), progress)
        first.finish(rt)
    return report


def _seen_so_far(
    found: Mapping[FileKey, list[bytes]], clients: Sequence[str] | None, environ: Mapping[str, str], home: Path
) -> Iterator[TranscriptFile]:
    """The files of which something was kept, those that variables name no more last: a ledger keeps them."""
    listed = set()
    for file in files_of(clients, environ, home) if found else ():
        listed.add((file.client, str(file.path)))
        yield file
    for client, path in found:
        if (client, path) not in listed and (not clients or client in clients):
            yield TranscriptFile(client, Path(path))


class _Looking(Told):
    """Counts what is read in a first look, and keeps it."""

    def __init__(
        self, rt: Runtime, first: FirstLook, kept: KeptReadings, wanted: Sequence[FileToRead], report: SyncReport
    ) -> None:
        super().__init__(wanted, report)
        self._rt, self._first, self._kept = rt, first, kept
        self._number = -1

    def take(self, number: int, batch: Batch, data: bytes | None) -> None:
        """Count a batch."""
        self.rows += len(batch.rows)
        self._first.take(self._rt, self.told(number, batch))
        if batch.position is not None:
            want = self.wanted[number]
            anew = batch.anew or (want.position is None and number != self._number)
            self._number = number
            key = (want.file.client, str(want.file.path))
            self._kept.add(key, packed(batch) if data is None else data, anew=anew)

    def failed(self, number: int, why: str) -> None:
        """Count a file that could not be read."""
        self.fault(number, why)
        self._first.take(self._rt, reading_of(self.wanted[number].file, nothing(FileState.UNREADABLE)))
