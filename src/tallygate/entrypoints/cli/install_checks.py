"""What `doctor` says of the installation: where its commands find things, who answers hooks, whose files it runs."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from tallygate.clients.client import Client, InstallScope, InstallSurroundings, Obstacle
from tallygate.clients.registry import REGISTRY
from tallygate.clients.running import unaware
from tallygate.core.errors import SettingsError, TallygateError
from tallygate.core.hooks import foreign_text
from tallygate.core.text import plural
from tallygate.core.values import value
from tallygate.editing.manifest import Manifest
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.check import Check, CheckState, failed
from tallygate.entrypoints.cli.init import folder_of, places_of_user
from tallygate.entrypoints.handover import residents
from tallygate.ledger.presence import ServerPresence
from tallygate.settings import ResidentMode, Settings
from tallygate.settings.installed import PLACES_FILE, InstalledPlaces, hold, read_installed

SINCE_US = 24 * 3_600_000_000
# A client's first hook often comes before its server is up.
ALONE_FEW = 3
SHOWN_MAX = 5
AGAIN = "Whichever is right, say so in your settings file or shell, and run: tallygate init"


# Where entries in clients name the file that says where things are; a name may have blanks, and quotes around it.
_NAMED = re.compile(rf"--places[\s\"',\\]+(/[^\"'\n\\]*{re.escape(PLACES_FILE)})")
_BYTES_MAX = 4 * 2**20


@value(frozen=True, slots=True)
class Astray:
    """Entries of ours in a client that go by another file than this command's; `ledger` is where that one counts."""

    title: str
    file: Path
    places: str
    ledger: str | None

    @property
    def text(self) -> str:
        """The fact, in a sentence."""
        if self.ledger is None:
            return f"{self.title} goes by {self.places}, which cannot be read: every step of it is stopped"
        return (
            f"{self.title} ({self.file}) goes by another home's places, {self.places}: it is counted in {self.ledger}"
        )

    @property
    def to_do(self) -> str:
        return "Run: tallygate init" if self.ledger is None else "Where this home is a copy: tallygate init"


def astray(where: InstallSurroundings) -> list[Astray]:
    """Clients of this home whose entries name places that are not those of this command, or that cannot be read.

    A client's entries are looked for in its own files, as these are what it goes by: a record of what was installed
    may be that of another home, or be gone.
    """
    found: dict[tuple[str, str], Astray] = {}
    for client in REGISTRY.clients.values():
        with suppress(TallygateError, OSError):
            scopes = [InstallScope.USER, *([] if where.project is None else [InstallScope.PROJECT])]
            for file in (each.path for scope in scopes for each in client.wanted(where, scope).files):
                for named in _named_in(file):
                    ledger = _ledger_of(named)
                    if named != where.places or ledger is None:
                        found.setdefault((client.title, named), Astray(client.title, file, named, ledger))
    return [*found.values()]


def kept_from_running(settings: Settings, where: InstallSurroundings) -> list[tuple[str, Obstacle]]:
    """What keeps the hooks of clients from running in which they are installed, each with its client's title.

    Where it cannot be read what was installed, `doctor` says so.
    """
    with suppress(TallygateError, OSError):
        manifest = Manifest(folder_of(settings))
        ours = {owner for record in manifest.records.values() for owner in record.owners}
        found = [each for each in REGISTRY.clients.values() if each.name in ours]
        return [(each.title, obstacle) for each in found for obstacle in obstacles(each, where, manifest)]
    return []


def obstacles(client: Client, where: InstallSurroundings, manifest: Manifest) -> list[Obstacle]:
    """What keeps hooks of an installed client from running: what its files say, or that it was started before."""
    early = unaware(client, where.home, manifest.written_us)
    return [*client.findings(where), *([] if early is None else [early])]


def told_of(title: str, obstacle: Obstacle) -> str:
    """What keeps a client's hooks from running and what to do about it, in one line."""
    named = "" if title in obstacle.what else f"{title}: "
    return f"{named}{obstacle.what}. {obstacle.to_do}"


def _named_in(file: Path) -> list[str]:
    try:
        with file.open("rb") as stream:
            return list(dict.fromkeys(_NAMED.findall(os.fsdecode(stream.read(_BYTES_MAX)))))
    except OSError:
        return []


def _ledger_of(named: str) -> str | None:
    """Where commands that go by a file of places count; None where they can count nowhere."""
    try:
        return read_installed(Path(named)).ledger
    except SettingsError:
        return None


def of_astray(found: Astray) -> Check:
    """What `doctor` says of a client that goes by places that are not here, or another home's."""
    return Check("places", CheckState.FAIL if found.ledger is None else CheckState.WARN, found.text, found.to_do)


def of_places(settings: Settings, where: InstallSurroundings) -> Check:
    """Whether installed commands find what this command finds, and what of this environment does not count in them."""
    if not Path(where.places).exists():
        found = f"there is no {where.places}: commands of an older version go by a client's environment, others halt"
        return Check("places", CheckState.WARN, found, "Run: tallygate init")
    try:
        installed = read_installed(Path(where.places))
    except SettingsError as error:
        return failed("places", error)
    here = places_of_user(settings, where)
    there, mine = _shown(installed), _shown(here)
    differ = [
        f"{name}: {there[name] or 'none'} in clients, {mine[name] or 'none'} here"
        for name in there
        if there[name] != mine[name]
    ]
    if differ:
        return Check("places", CheckState.WARN, "; ".join(differ), AGAIN)
    told = foreign_text(hold(where.environ, installed).foreign)
    found = f"installed commands go by {where.places}"
    return Check("places", CheckState.WARN if told else CheckState.OK, f"{found}. {told}" if told else found)


def _shown(places: InstalledPlaces) -> dict[str, str | None]:
    """Each place that counts; where no settings file was named that is the one in its folder, if there is one."""
    shown = {
        each.name: getattr(places, each.name)
        for each in fields(places)
        if each.name not in {"environment", "on_fault", "system"}
    }
    usual = Path(places.settings_folder) / "config.toml"
    if shown["settings"] is None and places.l6e_settings is None and usual.exists():
        shown["settings"] = str(usual)
    return shown


def of_resident(settings: Settings) -> Check:
    """Whether a process stands by for the next client, and for how many it has."""
    found = residents(str(settings.paths.database.parent / "servers"))
    told = "; ".join(f"process {pid} stands by, {plural(clients, 'client')} served" for pid, clients in found)
    if settings.server.resident is ResidentMode.NEVER:
        return Check("resident", CheckState.OK, told or 'none: [server] resident = "never"')
    return Check("resident", CheckState.OK, told or "none stands by: the next client's server has one started")


def of_hooks(presence: ServerPresence, now_us: int) -> Check:
    """How often a hook had to start the whole gate, which takes many times as long."""
    alone = presence.alone_since(now_us - SINCE_US)
    if len(alone) < ALONE_FEW:
        return Check("hooks", CheckState.OK, "answered by running servers")
    at_us, client, event = alone[-1]
    times = plural(len(alone), "time")
    found = f"{times} in the last day a hook found no server and started the gate by itself, which is slow"
    found += f"; last {event} of {client} on {output.when(at_us)[5:]}"
    to_do = "See in the client whether its MCP server tallygate runs; to write its entry anew: tallygate init"
    return Check("hooks", CheckState.WARN, found, to_do)


def of_program() -> Check:
    """Whether the installed files are what the package brought, by its own record of them."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        package = distribution("tallygate")
    except PackageNotFoundError:
        return Check("program", CheckState.OK, "not installed as a package; its files have no record")
    listed = [file for file in package.files or () if file.hash is not None and file.hash.mode == "sha256"]
    ours = [file for file in listed if file.parts[:1] == ("tallygate",) and file.suffix != ".pyc"]
    ours += [file for file in listed if ours and file.parts[-3:] == ("share", "tallygate", "hook.py")]
    if not ours:
        return Check("program", CheckState.OK, "an editable checkout; its files have no record")
    wrong = list(_other_than(ours))
    if wrong:
        more = f" and {len(wrong) - SHOWN_MAX} more" if len(wrong) > SHOWN_MAX else ""
        found = f"not as installed: {', '.join(wrong[:SHOWN_MAX])}{more}"
        return Check(
            "program", CheckState.FAIL, found, "Install this version again: somebody has changed the gate itself."
        )
    return Check("program", CheckState.OK, f"{plural(len(ours), 'file')}, as installed")


def _other_than(files: list) -> Iterator[str]:  # type: ignore[type-arg]
    for file in files:
        place = Path(os.fspath(file.locate()))
        try:
            found = base64.urlsafe_b64encode(hashlib.sha256(place.read_bytes()).digest()).rstrip(b"=").decode()
        except OSError:
            found = ""
        if found != file.hash.value:
            yield str(place)
