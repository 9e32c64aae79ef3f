"""What `doctor` looks at in clients: whether the gate is installed as it should be, and whether its hooks run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tallygate.clients.client import Client, InstallScope, Obstacle, server_arguments
from tallygate.clients.registry import REGISTRY
from tallygate.core.errors import TallygateError
from tallygate.core.text import plural
from tallygate.core.words import client_name
from tallygate.editing.manifest import Manifest
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.check import Check, CheckState, failed
from tallygate.entrypoints.cli.init import folder_of, surroundings, telemetry_of
from tallygate.entrypoints.cli.output import shown_zone
from tallygate.entrypoints.cli.program import Program
from tallygate.ledger.presence import ServerPresence
from tallygate.operations.budgets.figures import is_enforced
from tallygate.operations.proof.accepting import accepted_ledgers
from tallygate.operations.runtime import Runtime
from tallygate.operations.setup.install import plan_install
from tallygate.settings import Settings

SESSIONS_LOOKED_AT = 50
# Clients are told to wait for the server; after so long the first of them give up on one.
CLIENTS_WAIT_MS = 10_000
ANSWER_S = 30
STRAYS_SINCE_US = 24 * 3_600_000_000
UNGATED = (
    "The client ran without hooks: it was started before `tallygate init` or with --bare, --safe-mode or other "
    "setting sources, its project disables hooks, or the hooks were never trusted."
)


def of_clients(program: Program, settings: Settings, runtime: Runtime) -> Iterator[Check]:
    """One line for each client that Tallygate was installed in, the server they start, and the last sessions."""
    from tallygate.entrypoints.cli.install_checks import astray, obstacles, of_astray, of_hooks, of_places

    try:
        manifest = Manifest(folder_of(settings))
        where = surroundings(settings, telemetry_of(program, settings, making=False))
        owned = {(owner, record.scope) for record in manifest.records.values() for owner in record.owners}
        for name, client in REGISTRY.clients.items():
            scopes = [scope for scope in InstallScope if (name, scope.value) in owned]
            here = [scope for scope in scopes if scope is InstallScope.USER or where.project is not None]
            if not here:
                continue
            changed = [
                str(change.path) for scope in here for change in plan_install([client], where, scope, manifest).changed
            ]
            yield _client(client, changed, obstacles(client, where, manifest), client.doubled(where))
    except TallygateError as error:
        yield failed("clients", error)
        return
    elsewhere = astray(where)
    yield from map(of_astray, elsewhere)
    if owned:
        if not any(each.places == where.places for each in elsewhere):
            yield of_places(settings, where)
        yield of_hooks(ServerPresence(settings.paths.database.parent / "servers"), runtime.services.clock_us())
        yield server(runtime, [where.python, *server_arguments(where)])
        yield sessions(runtime, installed_us=_written_us(Path(where.places)))
    elif not elsewhere:
        yield from taken_out(runtime, shown_zone(settings))


def _client(client: Client, changed: list[str], found: list[Obstacle], beside: Obstacle | None) -> Check:
    if found:
        to_do = " ".join(dict.fromkeys(each.to_do for each in found))
        # What a client leaves to its user after each installation is a step, and the installation sound.
        state = CheckState.WARN if all(each.comes_next for each in found) else CheckState.FAIL
        return Check(client.name, state, "; ".join(each.what for each in found), to_do)
    if changed:
        text = f"not as this version would install it: {', '.join(changed)}"
        return Check(client.name, CheckState.WARN, text, f"Run: tallygate init --client {client.name}")
    if beside is not None:
        return Check(client.name, CheckState.WARN, beside.what, beside.to_do)
    return Check(
        client.name, CheckState.OK, "installed" + (", with hooks" if client.has_hooks else "; it has no hooks")
    )


def server(runtime: Runtime, command: Sequence[str]) -> Check:
    """How long a client waits for the server it starts, from the start of the process to its first answer."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "doctor", "version": "1"}}
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
    began = runtime.services.clock_us()
    try:
        with subprocess.Popen(  # noqa: S603  # this program itself
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            if process.stdin is None or process.stdout is None:
                return Check("server", CheckState.WARN, "could not be asked")
            process.stdin.write(request + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            took_ms = (runtime.services.clock_us() - began) // 1000
            process.communicate(timeout=ANSWER_S)
    except (OSError, subprocess.SubprocessError) as error:
        return Check("server", CheckState.FAIL, f"could not be started: {error}", "Run `tallygate serve` to see why.")
    if '"serverInfo"' not in answer:
        return Check("server", CheckState.FAIL, "does not answer", "Run `tallygate serve` to see why.")
    found = f"answers after {took_ms:,} ms"
    if took_ms > CLIENTS_WAIT_MS:
        to_do = "Some clients give up on a server that is so slow. Is this machine busy? Look once more when it is not."
        return Check("server", CheckState.WARN, found, to_do)
    return Check("server", CheckState.OK, found)


def _written_us(path: Path) -> int:
    """When a file was written; 0 where it is not there."""
    try:
        return path.stat().st_mtime_ns // 1000
    except OSError:
        return 0


def sessions(runtime: Runtime, *, installed_us: int = 0) -> Check:
    """Whether the last sessions of clients that have hooks were gated by them.

    What was spent before `tallygate init` no hook could gate.
    """
    families = {REGISTRY.family_of(client.name) for client in REGISTRY.clients.values() if client.has_hooks}
    # Of what came before a restored backup, the sessions are lost and not the responses: those were gated.
    day_us = runtime.services.clock_us() - STRAYS_SINCE_US
    since = max([day_us, installed_us, *(each.at_us for each in accepted_ledgers(runtime))])
    with runtime.reading() as reader:
        last = [
            s for s in reader.sessions(state=None, limit=SESSIONS_LOOKED_AT) if REGISTRY.family_of(s.client) in families
        ]
        loose = [session for session in last if not is_enforced(reader, session)]
        strays = {
            client: count
            for client, count in reader.unattributed(since).items()
            if REGISTRY.family_of(client) in families
        }
    if strays and not loose:
        listed = ", ".join(f"{count:,} of {client_name(client)}" for client, count in sorted(strays.items()))
        return Check(
            "enforcement", CheckState.WARN, f"responses that no hook was asked about, of late: {listed}", UNGATED
        )
    if not loose:
        return Check("enforcement", CheckState.OK, f"{plural(len(last), 'session')} of late, all gated by hooks")
    found = f"{len(loose)} of the last {plural(len(last), 'session')} not enforced, lately {loose[0].session_id}"
    return Check("enforcement", CheckState.WARN, found, UNGATED)


def taken_out(runtime: Runtime, time_zone: str) -> Iterator[Check]:
    """Where no client has Tallygate in it by `tallygate init`: hooks that gated work all the same, and until when.

    An agent may have run `tallygate uninstall`. No warning, as a plugin's hooks are not of `init` either.
    """
    with runtime.reading() as reader:
        last = (s for s in reader.sessions(state=None, limit=SESSIONS_LOOKED_AT) if is_enforced(reader, s))
        session = next(last, None)
    if session is not None:
        found = f"nothing is installed by `tallygate init`; hooks last opened a session of {session.client}"
        yield Check(
            "enforcement",
            CheckState.OK,
            f"{found} on {output.when(session.started_us, time_zone)}",
            "If it was taken out, and that was not you: tallygate init",
        )
