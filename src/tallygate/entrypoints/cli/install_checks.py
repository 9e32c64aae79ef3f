"""What `doctor` says of the installation: where its commands find things, who answers hooks, whose files it runs."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from tallygate.clients.client import Surroundings
from tallygate.core.errors import SettingsError
from tallygate.core.hooks import foreign_text
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.check import Check, State, failed
from tallygate.entrypoints.cli.init import places_of_user
from tallygate.ledger.presence import ServerPresence
from tallygate.settings import Settings
from tallygate.settings.installed import Installed, hold, read_installed

SINCE_US = 24 * 3_600_000_000
# A client's first hook often comes before its server is up.
ALONE_FEW = 3
SHOWN_MAX = 5
AGAIN = "Whichever is right, say so in your settings file or shell, and run: tallygate init"


def of_places(settings: Settings, where: Surroundings) -> Check:
    """Whether installed commands find what this command finds, and what of this environment does not count in them."""
    if not Path(where.places).exists():
        found = f"there is no {where.places}: commands of an older version go by a client's environment, others halt"
        return Check("places", State.WARN, found, "Run: tallygate init")
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
        return Check("places", State.WARN, "; ".join(differ), AGAIN)
    told = foreign_text(hold(where.environ, installed).foreign)
    found = f"installed commands go by {where.places}"
    return Check("places", State.WARN if told else State.OK, f"{found}. {told}" if told else found)


def _shown(places: Installed) -> dict[str, str | None]:
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


def of_hooks(presence: ServerPresence, now_us: int) -> Check:
    """How often a hook had to start the whole gate, which takes many times as long."""
    alone = presence.alone_since(now_us - SINCE_US)
    if len(alone) < ALONE_FEW:
        return Check("hooks", State.OK, "answered by running servers")
    at_us, client, event = alone[-1]
    times = output.plural(len(alone), "time")
    found = f"{times} in the last day a hook found no server and started the gate by itself, which is slow"
    found += f"; last {event} of {client} on {output.when(at_us)[5:]}"
    to_do = "See in the client whether its MCP server tallygate runs; to write its entry anew: tallygate init"
    return Check("hooks", State.WARN, found, to_do)


def of_program() -> Check:
    """Whether the installed files are what the package brought, by its own record of them."""
    try:
        package = distribution("tallygate")
    except PackageNotFoundError:
        return Check("program", State.OK, "not installed as a package; its files have no record")
    listed = [file for file in package.files or () if file.hash is not None and file.hash.mode == "sha256"]
    ours = [file for file in listed if file.parts[:1] == ("tallygate",) and file.suffix != ".pyc"]
    if not ours:
        return Check("program", State.OK, "an editable checkout; its files have no record")
    wrong = list(_other_than(ours))
    if wrong:
        more = f" and {len(wrong) - SHOWN_MAX} more" if len(wrong) > SHOWN_MAX else ""
        found = f"not as installed: {', '.join(wrong[:SHOWN_MAX])}{more}"
        return Check("program", State.FAIL, found, "Install this version again: somebody has changed the gate itself.")
    return Check("program", State.OK, f"{output.plural(len(ours), 'file')}, as installed")


def _other_than(files: list) -> Iterator[str]:  # type: ignore[type-arg]
    for file in files:
        place = Path(os.fspath(file.locate()))
        try:
            found = base64.urlsafe_b64encode(hashlib.sha256(place.read_bytes()).digest()).rstrip(b"=").decode()
        except OSError:
            found = ""
        if found != file.hash.value:
            yield str(place)
