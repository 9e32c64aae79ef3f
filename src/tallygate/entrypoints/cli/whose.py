"""Who runs a command: the user, or an agent that was given a shell, and whether the ledger is the user's own."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tallygate.clients.ancestry import ancestors, beneath
from tallygate.core.authority import Authority, EntryDoor
from tallygate.core.errors import SettingsError
from tallygate.core.text import cleaned
from tallygate.ledger.presence import ServerPresence
from tallygate.settings import Settings, UserPlaces, load_settings, places
from tallygate.settings.installed import PLACES_FILE, read_installed
from tallygate.settings.model import Paths, has_been_installed
from tallygate.surroundings import around_here

if TYPE_CHECKING:
    from tallygate.clients.client import InstallSurroundings
    from tallygate.operations.setup.install import Plan


def authority_here(settings: Settings, environ: Mapping[str, str] | None = None) -> Authority:
    """Who runs this command on the ledger that these settings name."""
    environ = os.environ if environ is None else environ
    above = list(ancestors(os.getppid()))
    agent = beneath(iter(above), environ)
    if agent is None:
        return Authority(EntryDoor.COMMAND, user_name())
    own = own_places()
    return Authority(
        EntryDoor.COMMAND,
        user_name(),
        beneath=agent,
        guarded=is_guarded(settings, environ, own),
        agents_may=frozenset((settings if own is None else _users_settings(own)).enforcement.agents_may),
        servers=ServerPresence(settings.paths.database.parent / "servers").started_by({each.pid for each in above}),
    )


def is_guarded(settings: Settings, environ: Mapping[str, str], own: UserPlaces | None) -> bool:
    """Whether the ledger, or the keys, are those that installed commands or the default places name.

    What an agent can set for its own command does not count here: the account's home comes from the system, and where
    a client was installed the record of that lies beside the ledger.
    """
    database, keys = settings.paths.database, settings.paths.key_dir
    if any(map(has_been_installed, (settings.paths.data_dir, database.parent, keys.parent))):
        return True
    if own is None:
        return True
    if os.path.realpath(environ.get("HOME") or own.home) == os.path.realpath(own.home):
        own_here = places(around_here())
        if _same(database, own_here.data_dir / "ledger.db"):
            return True
    named = _users_settings(own).paths
    return any(
        _same(one, other)
        for one, other in (
            (database, own.data_dir / "ledger.db"),
            (database, named.database),
            (keys, named.key_dir),
        )
    )


def locked_instead_of(settings: Settings) -> Path | None:
    """The locked ledger of the user's own where these settings name another one; None where nothing is locked.

    It is looked for where the account has its things by default and where installed commands go by, whatever the
    environment says. A ledger that installed commands go by is no other one, nor is one that cannot be read.
    """
    from tallygate.operations.lock_book import lock_of, standing_of_installed

    own = own_places()
    if own is None:
        return None
    found, data = [], {own.data_dir}
    with suppress(SettingsError, OSError, ValueError):
        theirs = load_settings({}, own.home, own, lock_of)
        found.append((theirs.paths.database, theirs.lock is not None))
        data.add(theirs.paths.data_dir)
    for file in sorted(file for folder in data for file in (folder / "init").glob(f"**/{PLACES_FILE}")):
        with suppress(SettingsError):
            given = read_installed(file)
            stands = standing_of_installed(Path(given.ledger), Path(given.keys), Path(given.settings_folder))
            found.append((Path(given.ledger), stands.lock is not None))
    if any(_same(ledger, settings.paths.database) for ledger, _ in found):
        return None
    return next((ledger for ledger, is_locked in found if is_locked), None)


def changes_users_client(plan: Plan, where: InstallSurroundings) -> bool:
    """Whether a plan changes a client of the user's own, whatever ledger it goes by.

    That is a file in the account's home, of which a made-up home below it is no part, and one that has an installation
    for other places in it: in a container the home of the client may be none that the system knows.
    """
    own = own_places()
    changed = [change for change in plan.changed if change.path != Path(where.places)]
    if own is None or any(names_other_places(change.found.content or b"", where.places) for change in changed):
        return bool(changed)
    home, account = Path(os.path.realpath(where.home)), Path(os.path.realpath(own.home))
    made_up = None if account.is_relative_to(home) else home
    files = [Path(os.path.realpath(change.found.target)) for change in changed]
    return any(
        file.is_relative_to(account) and not (made_up is not None and file.is_relative_to(made_up)) for file in files
    )


def names_other_places(content: bytes, places: str) -> bool:
    """Whether entries in a file go by another installation's places than these, each named by its full path."""
    forms = {re.escape(os.fsencode(form)) for form in (places, json.dumps(places)[1:-1], shlex.quote(places))}
    ours = re.findall(rb"(?<![^\s\"'])(?:" + b"|".join(forms) + b")", content)
    return content.count(os.fsencode(PLACES_FILE)) > len(ours)


def own_places() -> UserPlaces | None:
    """Where the account's things are by default, whatever the environment says; None where nobody can say."""
    import pwd

    try:
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None
    if sys.platform == "darwin":
        folder = home / "Library" / "Application Support" / "tallygate"
        return UserPlaces(home, folder, folder)
    return UserPlaces(home, home / ".config" / "tallygate", home / ".local" / "share" / "tallygate")


def user_name() -> str:
    """Who runs it, as far as the system knows: a process in a container may have no name."""
    import getpass

    try:
        return cleaned(getpass.getuser(), 80)
    except (OSError, KeyError, ImportError):
        return "unknown"


def _users_settings(own: UserPlaces) -> Settings:
    """The settings of the user's own file, at its place by default: one that a variable names may be an agent's."""
    try:
        return load_settings({}, own.home, own)
    except (SettingsError, OSError, ValueError):
        data = own.data_dir
        return Settings(Paths(data, data / "ledger.db", data / "keys", data / "runs.jsonl"))


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return os.path.realpath(one) == os.path.realpath(other)
