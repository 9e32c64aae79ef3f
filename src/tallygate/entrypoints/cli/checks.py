"""What `doctor` looks at: each check says what it found and, where there is something to do, what."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallygate.attest import sealed
from tallygate.attest.keyring import KeyRing
from tallygate.attest.keys import PublicKey, unb64url
from tallygate.core.authority import Authority
from tallygate.core.errors import SettingsError, TallygateError
from tallygate.core.gate.wording import budget_name, off_told
from tallygate.core.moments import as_datetime, iso
from tallygate.core.sums import unread_sum
from tallygate.core.text import plural
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.check import Check, CheckState, failed
from tallygate.entrypoints.cli.program import Program
from tallygate.entrypoints.cli.unread import ODD_REPORTS
from tallygate.ledger.anchor import Anchor, Copy
from tallygate.ledger.audit import condition
from tallygate.ledger.audit.audit import audit
from tallygate.ledger.runlog import JsonLinesLog
from tallygate.ledger.sqlite.database import SqliteLedger
from tallygate.operations.budgets.of_settings import ADVICE, unbound
from tallygate.operations.lock_book import off_at_a_look, standing_now, unsigned_limits
from tallygate.operations.proof.accepting import AcceptedLedger, accepted_ledgers
from tallygate.operations.proof.attest import signing
from tallygate.operations.proof.verify import verify_lines
from tallygate.operations.runtime import Runtime
from tallygate.operations.views.overview import newest_limit_changes, standing
from tallygate.operations.views.prices import OLD_DAYS
from tallygate.operations.views.usage import unread_files
from tallygate.settings import Settings

if TYPE_CHECKING:
    from tallygate.ledger.postgres.database import PostgresLedger

FINDINGS_SHOWN = 10
LIMITS_SHOWN = 5
CLOCK_SLACK_US = 1_000_000
REBUILD = "Restore a backup, or run: tallygate doctor --rebuild, which keeps a copy and goes by the events."


def every(program: Program) -> Iterator[Check]:
    """Every check in the order in which one rests on another; what cannot be looked at is left out."""
    from tallygate.entrypoints.cli.install_checks import of_program, of_resident

    yield python()
    yield of_program()
    yield sqlite()
    try:
        settings = program.settings()
    except SettingsError as error:
        yield failed("settings", error)
        return
    yield settings_read(settings)
    yield raising(program.authority(settings), settings)
    database = settings.paths.database
    if settings.paths.server is None:
        yield network(database)
    yield of_resident(settings)
    usable = None
    with program.opened(settings, by="doctor") as app:
        try:
            ledger = app.kept
        except TallygateError as error:
            yield failed("ledger", error)
        else:
            yield from of_ledger(ledger, app.runtime)
            if settings.paths.server is None:
                usable = database
                yield of_anchor(app.anchor, app.runtime)

            yield of_lock(settings.paths.key_dir, app.runtime)
            if (off := off_at_a_look(app.runtime)) is not None:
                to_do = "That is as long as you have said; tallygate on ends it now."
                yield Check("gate", CheckState.WARN, off_told(off, app.runtime.workspace.zone), to_do)
            if settings.alerts:
                yield of_alerts(app.runtime, len(settings.alerts))
            yield transcripts(app.runtime)
            yield booked(app.runtime)
            from tallygate.entrypoints.cli.client_checks import of_clients

            yield from of_clients(program, settings, app.runtime)
            from tallygate.entrypoints.cli.binding import of_bindings

            yield from of_bindings(settings)

            yield of_keys(KeyRing(settings.paths.key_dir), app.runtime)
        yield price_table(app.runtime)
    yield run_log(settings.paths.run_log, usable)
    yield tokenizer(app.start.around.environ)


def of_alerts(rt: Runtime, count: int) -> Check:
    """Whether whoever is to be told of budgets could be."""
    from tallygate.operations.alerts import alerts_failed

    untold = alerts_failed(rt)
    if not untold:
        return Check("alerts", CheckState.OK, f"{count} in your settings; none failed in the last week")
    last = untold[0]
    return Check(
        "alerts",
        CheckState.WARN,
        f"{last.percent} % of {last.budget_id} could not be told: {last.error}",
        "Mend `run` or `post` of that [[alert]] in your settings file.",
    )


def python() -> Check:
    """The interpreter that runs the server."""
    return Check("python", CheckState.OK, f"{platform.python_version()}, {sys.executable}")


def sqlite() -> Check:
    """The database library, with the fault that the writer's lock keeps away from the ledger."""
    version = condition.sqlite_version()
    if condition.has_wal_reset_bug(version):
        note = "its fault in resetting a write-ahead log is kept away by Tallygate's own lock"
        return Check("sqlite", CheckState.OK, f"{version}; {note}, as long as nothing else writes into the ledger")
    return Check("sqlite", CheckState.OK, version)


def settings_read(settings: Settings) -> Check:
    """The settings files that are in force."""
    files = [str(path) for path in settings.paths.settings_files]
    found = ", ".join(files) or "the defaults: no settings file"
    if settings.fault is not None:
        others = [text for text in settings.notices if text != str(settings.fault)]
        more = "Until then every gate there halts; other commands go by your own settings."
        return Check("settings", CheckState.FAIL, str(settings.fault), " ".join([more, *others]))
    if settings.notices:
        return Check("settings", CheckState.WARN, found, " ".join(settings.notices))
    return Check("settings", CheckState.OK, found)


def raising(authority: Authority, settings: Settings) -> Check:
    """Which commands that loosen are left to agents, and whether this one was started by one."""
    left = sorted({*authority.agents_may, *settings.enforcement.agents_may})
    if left:
        found = f"agents may run what only you should: {', '.join(left)}"
        return Check("loosening", CheckState.WARN, found, "Take it out of agents_may under [enforcement] to end that.")
    found = "yours alone: refused where an agent runs it"
    if authority.beneath is not None:
        found += f"; this command was started by {authority.beneath}"
    return Check("loosening", CheckState.OK, found)


def network(database: Path) -> Check:
    """Whether processes on this disk see the same locks and the same shared memory."""
    kind = condition.file_system(database.parent)
    if kind is None:
        return Check("disk", CheckState.OK, "the kind of file system is not known here")
    if condition.is_network(kind):
        to_do = "Put the ledger on a local disk: set TALLYGATE_DB or TALLYGATE_HOME."
        return Check("disk", CheckState.WARN, f"{database.parent} is on {kind}, where locks may not hold", to_do)
    return Check("disk", CheckState.OK, kind)


def of_ledger(ledger: SqliteLedger | PostgresLedger, runtime: Runtime) -> Iterator[Check]:
    """The checks of a ledger that could be opened; a fault of one does not keep the others from being made."""
    looks: dict[str, Callable[[Any, Runtime], Check]] = {
        "ledger": _file,
        "lock": _lock,
        "clock": _clock,
        "pages": _pages,
        "chain": _chain,
        "log queue": _queue,
        "limits": _limits,
        "budgets": _budgets,
    }
    if not isinstance(ledger, SqliteLedger):
        looks = {"ledger": _database, **{name: look for name, look in looks.items() if name not in ("ledger", "pages")}}
    for name, look in looks.items():
        try:
            yield look(ledger, runtime)
        except TallygateError as error:
            yield failed(name, error)


def _database(ledger: PostgresLedger, _: Runtime) -> Check:
    state = condition.condition(ledger)
    return Check("ledger", CheckState.OK, f"{ledger.place} ({output.size(state.size_bytes)}, schema {state.schema})")


def _file(ledger: SqliteLedger, _: Runtime) -> Check:
    state = condition.condition(ledger)
    found = f"{ledger.path} ({output.size(state.size_bytes)}, schema {state.schema}, journal {state.journal_mode})"
    if loose := condition.open_to_others(ledger.path):
        listed = ", ".join(f"{path} (mode {mode:o})" for path, mode in loose)
        to_do = f"Run: chmod go-rwx {' '.join(str(path) for path, _ in loose)}"
        return Check("ledger", CheckState.FAIL, f"others can get at {listed}", to_do)
    if state.journal_mode != "wal":
        return Check("ledger", CheckState.FAIL, f"{found}: no write-ahead log", "Put the ledger on a local disk.")
    return Check("ledger", CheckState.OK, found)


def _lock(ledger: SqliteLedger, _: Runtime) -> Check:
    with ledger.writing():
        return Check("lock", CheckState.OK, "can be taken")


def _clock(ledger: SqliteLedger, runtime: Runtime) -> Check:
    """The times of events never go back, so a clock that was ahead once stays among them until it is caught up with."""
    with ledger.reading(runtime.tenant) as reader:
        ahead_us = reader.head().at_us - runtime.services.clock_us()
    if ahead_us <= CLOCK_SLACK_US:
        return Check("clock", CheckState.OK, f"not behind the ledger{_moves(ledger, runtime)}")
    with ledger.reading(runtime.tenant) as reader:
        first, dated_us = reader.first_after(runtime.services.clock_us())
    found = (
        f"events from number {first} on are dated up to {ahead_us // 1_000_000:,} s ahead of this machine's clock"
        f" (the first {iso(dated_us)}): it stood ahead when they were written, or is behind now"
        f"{_moves(ledger, runtime)}"
    )
    to_do = (
        "Set the clock if it is wrong. If it is right there is nothing to do: windows and reservations follow it, and"
        " what was spent at the wrong date stands in the windows of that date."
    )
    return Check("clock", CheckState.WARN, found, to_do)


def _moves(ledger: SqliteLedger, runtime: Runtime) -> str:
    """When somebody moved the clock while a program ran, as far as the journal tells of it: the last time."""
    with ledger.reading(runtime.tenant) as reader:
        moves = [(each.seq, json.loads(each.body)) for each in reader.events_about('"clock_parted_us":')]
    told = [(seq, body["clock_parted_us"]) for seq, body in moves if isinstance(body.get("clock_parted_us"), int)]
    if not told:
        return ""
    seq, moved_us = told[-1]
    return f"; it was moved by {moved_us // 1_000_000:+,} s before event {seq}"


def _pages(ledger: SqliteLedger, _: Runtime) -> Check:
    with output.working("reading every page of the ledger"):
        wrong = condition.quick_check(ledger)
    if wrong:
        return Check("pages", CheckState.FAIL, "; ".join(wrong), REBUILD)
    return Check("pages", CheckState.OK, "every page of the file is sound")


def _chain(ledger: SqliteLedger, runtime: Runtime) -> Check:
    """Every event against its hash, every table against the events."""
    try:
        with output.working("checking the chain"):
            findings = audit(ledger)
    except (ValueError, LookupError, TypeError) as error:
        # Events of a file that was tampered with may be no events at all; the diagnosis has to get past them.
        found = f"the journal cannot be read: {type(error).__name__}: {error}"
        return Check("chain", CheckState.FAIL, found, REBUILD)
    if findings:
        listed = "; ".join(f"{each.where}: {each.what} ({each.meaning})" for each in findings[:FINDINGS_SHOWN])
        more = f"; {len(findings) - FINDINGS_SHOWN} more" if len(findings) > FINDINGS_SHOWN else ""
        return Check("chain", CheckState.FAIL, listed + more, REBUILD)
    with ledger.reading(runtime.tenant) as reader:
        head = reader.head()
    found = f"{plural(head.seq, 'event')}, each as it was written, and all sums theirs; last {head.hash.hex()[:16]}"
    return Check("chain", CheckState.OK, found)


def _queue(_: SqliteLedger, runtime: Runtime) -> Check:
    """Lines of the run log that are committed and not yet on disk."""
    waiting = standing(runtime, limit=1).waiting
    if not waiting:
        return Check("log queue", CheckState.OK, "no line waits")
    paths = ", ".join(sorted({line.path for line in waiting}))
    to_do = "The next server writes them; see the check of the run log for why they wait."
    return Check("log queue", CheckState.WARN, f"{plural(len(waiting), 'line')} for {paths}", to_do)


def _limits(_: SqliteLedger, runtime: Runtime) -> Check:
    """Who has changed limits last; one that an agent has changed is pointed out."""
    changes = newest_limit_changes(runtime, LIMITS_SHOWN)
    if not changes:
        return Check("limits", CheckState.OK, "none was changed")
    told = "; ".join(f"{each.budget_id} {each.told(output.when(each.at_us)[5:])}" for each in changes)
    if any(each.is_raise and each.beneath is not None for each in changes):
        to_do = "An agent has raised a limit. To lower it: tallygate budget set ID AMOUNT"
        return Check("limits", CheckState.WARN, told, to_do)
    return Check("limits", CheckState.OK, told)


def _budgets(_: SqliteLedger, runtime: Runtime) -> Check:
    """Budgets of the settings that bind nothing: each may be misspelled."""
    idle = unbound(runtime)
    if not idle:
        return Check(
            "budgets", CheckState.OK, "every budget of the settings has bound something, or nothing was spent yet"
        )
    told = "; ".join(each.told(output.when(each.since_us)) for each in idle[:FINDINGS_SHOWN])
    more = f"; and {len(idle) - FINDINGS_SHOWN} more" if len(idle) > FINDINGS_SHOWN else ""
    return Check("budgets", CheckState.WARN, f"{told}{more}", ADVICE)


def transcripts(runtime: Runtime) -> Check:
    """What could not be read of clients' files, file by file."""
    from tallygate.entrypoints.cli.unread import unread_text

    now_us = runtime.services.clock_us()
    files = unread_files(runtime)
    if not files:
        return Check("transcripts", CheckState.OK, "all that was read could be used")
    listed = ", ".join(file.path for file in files[:FINDINGS_SHOWN])
    more = f" and {len(files) - FINDINGS_SHOWN} more" if len(files) > FINDINGS_SHOWN else ""
    to_do = "They are in no total. A file that is mended or restored is read again by itself."
    return Check("transcripts", CheckState.WARN, f"{unread_text(unread_sum(files, now_us))}: {listed}{more}", to_do)


def booked(runtime: Runtime) -> Check:
    """What was told against responses that are booked."""
    with runtime.reading() as reader:
        count, latest = reader.count_anomalies(), reader.anomalies(FINDINGS_SHOWN)
        odd, newest = reader.count_call_anomalies(), reader.call_anomalies(FINDINGS_SHOWN)
    told = "; ".join(f"{each.call_id}: {ODD_REPORTS.get(each.kind, each.kind)} ({each.told})" for each in newest)
    reports = f"{plural(odd, 'odd report')} of agents on their own calls, booked as said: {told}"
    if not count:
        if not odd:
            return Check("booked", CheckState.OK, "nothing was told against a booked response")
        return Check("booked", CheckState.WARN, reports, "See: tallygate usage anomalies.")
    listed = "; ".join(f"{each.response_key} ({each.told})" for each in latest)
    found = f"{plural(count, 'response')} told of again with less or otherwise, or at an impossible time: {listed}"
    found = f"{found}. {reports}" if odd else found
    to_do = "What was booked stays. Where it is wrong: tallygate usage correct RESPONSE --reason TEXT."
    return Check("booked", CheckState.WARN, found, to_do)


def run_log(path: Path, database: Path | None) -> Check:
    """Whether the log would take a line, and whether what it says of the ledger is so; nothing is written."""
    try:
        JsonLinesLog().examine(path)
        if not path.exists():
            return Check("run log", CheckState.OK, f"{path}, made with the first line")
        if database is None:
            return Check("run log", CheckState.OK, str(path))
        report = verify_lines(database, path)
    except TallygateError as error:
        return failed("run log", error)
    if report.broken:
        listed = "; ".join(f"{each.where} {each.what}" for each in report.broken[:FINDINGS_SHOWN])
        return Check("run log", CheckState.FAIL, f"{path} contradicts the ledger: {listed}", "See: tallygate verify")
    counted = [value for name, value in report.facts if name == "run log"]
    return Check("run log", CheckState.OK, ", ".join([str(path), *counted]))


def price_table(runtime: Runtime) -> Check:
    """Which prices are in force, and how recent they are."""
    info = runtime.workspace.prices.info(as_datetime(runtime.services.clock_us()))
    found = f"{info.source} {info.version}, {plural(info.models, 'model')}"
    if info.age_days is None:
        return Check("prices", CheckState.WARN, f"{found}, without dates", "Update with: tallygate prices update")
    found += f", newest price of {info.newest_price} ({info.age_days} days old)"
    if info.age_days > OLD_DAYS:
        to_do = "Update with: tallygate prices update; a [[price]] in the settings wins over the list."
        return Check("prices", CheckState.WARN, found, to_do)
    return Check("prices", CheckState.OK, found)


def tokenizer(environ: Mapping[str, str]) -> Check:
    """How texts are counted: exactly where OpenAI's vocabulary is on this disk, else by estimate."""
    from tallygate.pricing.tokens import count_tokens

    method = count_tokens("a", "gpt-5", environ).method
    if method.startswith("tiktoken"):
        return Check("tokens", CheckState.OK, f"{method} for GPT, estimates for others")
    return Check(
        "tokens", CheckState.OK, f"{method}: the vocabulary of tiktoken is not on this disk and is never fetched"
    )


# --- key checks ------------------------------------------------------------------------------------------------------
# What `doctor` looks at in keys: whether what is due can be signed, and whether a verifier can follow who signed.


NAME, LOCK = "keys", "passphrase"
NEW_KEY = "Restore it from a backup, or give verifiers the new key: tallygate keys export."


def of_keys(ring: KeyRing, runtime: Runtime) -> Check:
    """Whether the key is there, this user's alone, and connected with those that signed before it."""
    try:
        lineage = [key.keyid for key in ring.examine()]
        told, waiting = signing(runtime)
    except TallygateError as error:
        return failed(NAME, error)
    waits = f"; {plural(waiting, 'attestation')} to be signed" if waiting else ""
    if not lineage and not told:
        return Check(NAME, CheckState.OK, f"none yet: the first signature makes one in {ring.folder}{waits}")
    if not lineage:
        return Check(
            NAME, CheckState.WARN, f"the key {told[-1]} has signed and is not in {ring.folder}{waits}", NEW_KEY
        )
    if told and told[-1] not in lineage:
        found = f"{lineage[0]} signs, to which {told[-1]}, which signed before, never agreed{waits}"
        return Check(NAME, CheckState.WARN, found, NEW_KEY)
    earlier = f", after {plural(len(lineage) - 1, 'rotation')}" if len(lineage) > 1 else ""
    return Check(NAME, CheckState.OK, f"{lineage[0]} in {ring.folder}{earlier}{waits}")


def of_lock(folder: Path, runtime: Runtime) -> Check:
    """Whether the limits are locked, their key is there, and no limit stands above what the user has signed."""
    standing, here = standing_now(runtime), sealed.files_in(folder)
    if standing.lost_us is not None:
        found = f"the lock was ended without its passphrase on {iso(standing.lost_us)} by {standing.lost_by}"
        return Check(
            LOCK, CheckState.WARN, found, "If that was not you, look at the limits; tallygate lock sets a new one."
        )
    if standing.lock is None and here:
        found = f"{here[0]} is the key of a lock that this ledger does not have"
        return Check(LOCK, CheckState.WARN, found, "The ledger is older, or another: tallygate lock sets a new one.")
    if standing.lock is None:
        return Check(LOCK, CheckState.OK, "not locked: no passphrase is asked for")
    if above := unsigned_limits(runtime):
        named = ", ".join(budget_name(budget) for budget in above[:3])
        found = f"limits were raised without your signature, and the gate goes by those before: {named}"
        return Check(LOCK, CheckState.FAIL, found, "Run: tallygate verify, which names the events.")
    since = f"locked since {iso(standing.lock.since_us)}"
    try:
        sealed.find(folder, PublicKey(unb64url(standing.lock.public, "the lock")))
    except TallygateError as error:
        return Check(LOCK, CheckState.WARN, f"{since}; {error.message}", error.hint)
    return Check(LOCK, CheckState.OK, f"{since}; what loosens needs your passphrase")


# --- anchor checks ---------------------------------------------------------------------------------------------------
# What `doctor` says of the anchor: whether a ledger that is gone or older would be noticed, and what was accepted.


def of_anchor(anchor: Anchor, runtime: Runtime) -> Check:
    """The files of the anchor of a ledger that is open, and when the user went on with another history last."""
    remembered = anchor.read()
    copies = remembered.copies
    sound = [file for file, copy in copies if copy is Copy.SOUND]
    told = [_told(each) for each in accepted_ledgers(runtime)]
    by = plural(len(sound), "file")
    if theirs := sum(copy is Copy.SOUND for _, copy in remembered.others):
        by += f" of this host and {theirs} of others"
    found = "; ".join([f"the ledger is the one that was there, as {by} beside it tell", *told])
    lacking = [f"{file} is {copy}" for file, copy in copies if copy is not Copy.SOUND]
    if not sound:
        to_do = f"Make {copies[0][0].parent} writable for this user: where the ledger is lost, nobody would notice."
        return Check("anchor", CheckState.WARN, "; ".join([f"there is none: {', '.join(lacking)}", *told]), to_do)
    if lacking:
        to_do = "Make its folder writable for this user. Until then only the other file tells of a ledger that is lost."
        return Check("anchor", CheckState.WARN, f"{found}; {', '.join(lacking)}", to_do)
    return Check("anchor", CheckState.OK, found)


def _told(each: AcceptedLedger) -> str:
    return f"{each.told} on {output.when(each.at_us)[5:]}"
