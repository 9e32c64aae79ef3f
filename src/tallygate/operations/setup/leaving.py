"""What the program keeps on a machine, so that it can be taken away: files of ours by their names, and nothing else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from tallygate.core.values import value
from tallygate.ledger.sqlite.files import is_nothing, is_ours

# What a folder may hold of ours: names of files, and of folders with what may lie in those.
_ANCHORS = {"anchors": ("*.anchor", "*.locked", ".gitignore", ".*.anchor.*", ".*.locked.*")}
_DATA_FILES = ("telemetry.token", "telemetry.token.*", "trust.json", ".trust-*", "runs.jsonl", "runs.jsonl.lock")
_ID = "[0-9a-f]" * 8 + "*"
_DATA_FOLDERS = {
    "init": ("manifest.json", "places.conf", ".manifest.json.*", ".places.conf.*"),
    "init/originals": (_ID,),
    "servers": (_ID, "alone", "alone.*"),
    "prices": ("current.json", f"{_ID}.json", ".current.json.*", f".{_ID}"),
}
_KEY_FILES = ("signing-key*.json", "trusted.json", "lock-*.json", ".signing-key*", ".trusted*", ".lock-*")
_LEDGER_ENDINGS = ("", "-wal", "-shm", "-journal", ".lock", ".corrupt-*", ".before-restore-*")


@value(frozen=True, slots=True)
class KeptPlaces:
    """Where a user's things are: the ledger, and the folders of data, keys, settings and cache."""

    database: Path
    data: Path
    keys: Path
    settings: Path | None
    cache: Path


@value(frozen=True, slots=True)
class Kept:
    """What there is: `files` are ours, `folders` are taken away where they are empty, `others` stay."""

    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    others: tuple[Path, ...]


def kept_in(places: KeptPlaces, settings_file: Path | None = None) -> Kept:
    """What of these places is ours. A link is never followed, and what somebody else owns is none of ours.

    A database goes by what it holds: another program's stays, with what lies beside it under its name. A folder that
    the user chose for the ledger or the keys alone stays, too. `settings_file` is the user's, where `init` wrote it.
    """
    files: list[Path] = []
    folders: list[Path] = []
    others: list[Path] = []
    linked: set[Path] = set()
    for folder, names in _wanted(places):
        if folder.is_symlink() or not linked.isdisjoint(folder.parents):
            linked.add(folder)
            continue
        if not _is_own(folder, stat.S_ISDIR):
            continue
        folders.append(folder)
        files += [each for each in _entries(folder) if _named(each, names) and _is_own(each, stat.S_ISREG)]
    others += [each for each in _ledgers(places) if os.path.lexists(each) and not _goes(each, places)]
    if settings_file is not None and _is_own(settings_file, stat.S_ISREG):
        files.append(settings_file)
    ours = {*files, *folders}
    others += [each for folder in folders for each in _entries(folder) if each not in ours]
    chosen = {places.database.parent, places.keys}
    folders = [each for each in folders if each == places.data or each not in chosen or places.data in each.parents]
    return Kept(tuple(dict.fromkeys(files)), tuple(dict.fromkeys(folders)), tuple(dict.fromkeys(others)))


def links_among(places: KeptPlaces) -> list[Path]:
    """The links that stand for a place of ours: what lies behind is not reached, so the rest would be half."""
    settings = () if places.settings is None else (places.settings,)
    named = (places.data, places.database.parent, places.database, places.keys, *settings)
    return [each for each in dict.fromkeys(named) if each.is_symlink()]


def take_away(kept: Kept) -> list[tuple[Path, str]]:
    """Remove files of ours, and the folders that are empty then; answers with what could not be removed, and why."""
    failed = []
    for file in kept.files:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            failed.append((file, error.strerror or str(error)))
    for folder in sorted(kept.folders, key=lambda each: len(each.parts), reverse=True):
        with suppress(OSError):  # somebody else's things are in it
            folder.rmdir()
    return failed


def _wanted(places: KeptPlaces) -> Iterator[tuple[Path, Sequence[str]]]:
    """The folders that may hold something of ours, with the names of that; one folder may come twice."""
    own, usual, cached = (
        tuple(f"{each.name}{ending}" for ending in _LEDGER_ENDINGS) if _goes(each, places) else ()
        for each in _ledgers(places)
    )
    yield places.data, (*_DATA_FILES, *usual, *(own if places.database.parent == places.data else ()))
    if own and places.database.parent != places.data:
        yield places.database.parent, own
        yield places.database.parent / "servers", _DATA_FOLDERS["servers"]
    for name, names in _DATA_FOLDERS.items():
        yield places.data / name, names
    yield places.keys, _KEY_FILES
    for folder in (places.keys, *([] if places.settings is None else [places.settings])):
        for name, names in _ANCHORS.items():
            yield folder / name, names
    if places.settings is not None:
        yield places.settings, ()
    yield places.cache, ()
    first_look = places.cache / "first-look"
    yield first_look, ("read", ".read*", "read.*", *_DATA_FILES, *cached)
    yield first_look / "servers", _DATA_FOLDERS["servers"]
    yield first_look / "keys", _KEY_FILES
    yield first_look / "keys" / "anchors", _ANCHORS["anchors"]


def _ledgers(places: KeptPlaces) -> tuple[Path, Path, Path]:
    return places.database, places.data / "ledger.db", places.cache / "first-look" / "ledger.db"


def _goes(ledger: Path, places: KeptPlaces) -> bool:
    """Whether a ledger is ours by what it holds; in a folder of ours also one that holds nothing, or is gone."""
    return is_ours(ledger) or (ledger.parent in (places.data, places.cache / "first-look") and is_nothing(ledger))


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _named(path: Path, names: Sequence[str]) -> bool:
    return any(fnmatchcase(path.name, name) for name in names)


def _is_own(path: Path, kind: object) -> bool:
    """Whether a path is no link, of a kind, and this user's own."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return callable(kind) and bool(kind(found.st_mode)) and found.st_uid == os.getuid()
