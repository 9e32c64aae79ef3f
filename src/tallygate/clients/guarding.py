"""Everything that the gate stands on, so that no tool of an agent changes it: our files, and our entries in others'."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tallygate
from tallygate.core.errors import InvalidArgument
from tallygate.core.guard.fence import Edit, GitTree, GuardedFiles
from tallygate.core.guard.nested import NestedClient
from tallygate.core.regex import regex
from tallygate.core.values import value
from tallygate.editing import json_text as at
from tallygate.editing.edits import SERVER, has_our_telemetry, is_ours
from tallygate.editing.json_text import Malformed, plain
from tallygate.editing.manifest import Manifest
from tallygate.files import start_of

# --- guarding --------------------------------------------------------------------------------------------------------
# Everything that the gate stands on, so that no tool of an agent changes it: our files, and our entries in others'.


_WITH_ENTRIES = frozenset({"json", "table"})
_PACKAGES = frozenset({"site-packages", "dist-packages"})
_PYTHON = regex(r"python[\d.]*")
# In the data folder: what hands a browser the token of the page.
PAGE_FOLDER = "page"
# Of a folder with very many files the first are known by what they are.
_TWINS_MAX = 5_000
# Forms of git's index that list each name in full; what else it has to say stands at its end.
_INDEX_FORMS = (b"\0\0\0\2", b"\0\0\0\3")
_INDEX_END = 4096
_INDEX_BYTES_MAX = 64 * 1024 * 1024


@value(frozen=True, slots=True)
class Own:
    """Where our things are. Of `project` the work itself is nobody's to guard: its run log goes where it goes."""

    home: Path
    config_dir: Path
    data_dir: Path
    database: Path
    key_dir: Path
    run_log: Path
    project: Path | None = None
    anchors: tuple[Path, ...] = ()
    settings_file: Path | None = None
    caches: tuple[Path, ...] = ()


def guarded_of(
    own: Own,
    agents_may: frozenset[str] = frozenset(),
    package: Path | None = None,
    clients: Mapping[str, NestedClient] | None = None,
) -> GuardedFiles:
    """What no tool of an agent changes. A record of the installation that cannot be read names nothing."""
    ledger = str(own.database)
    places = dict.fromkeys((ledger, *(f"{ledger}{end}" for end in ("-wal", "-shm", "-journal"))), "the ledger")
    places |= dict.fromkeys(map(str, own.anchors), "the anchor")
    places |= {str(own.key_dir): "the keys", str(own.run_log): "the run log"}
    # Also where none is yet: a first settings file could raise every limit.
    files = (own.config_dir / "config.toml", *(() if own.settings_file is None else (own.settings_file,)))
    places |= dict.fromkeys(map(str, files), "the settings file")
    places[str(own.database.parent / "servers")] = "the list of running servers"
    entries: dict[str, str] = {}
    in_projects = {str(own.run_log)}
    for target, (word, whole, inside) in _installed(own).items():
        (places if whole else entries)[target] = word
        if inside:
            in_projects.add(target)
    program = _program(Path(tallygate.__file__).parent if package is None else package, own.project)
    if program is not None:
        places |= dict.fromkeys(map(str, _beside(program)), "the program")
    places[str(own.data_dir)], places[str(own.config_dir)] = "the data", "the settings folder"
    # A tool may name the link or what it leads to; both are the same file.
    places, entries = _also_behind_links(places), _also_behind_links(entries)
    # What an environment's Python leads to beyond it is the system's, and other environments have it, too.
    interpreters = frozenset() if program is None else frozenset(_interpreters(program))
    places |= dict.fromkeys(interpreters, "the program")
    site = () if program is None else (str(program.parent), os.path.realpath(program.parent))
    folders = (("XDG_DATA_HOME", own.data_dir), ("XDG_CONFIG_HOME", own.config_dir))
    return GuardedFiles(
        places,
        str(own.home),
        frozenset({*in_projects, *map(os.path.realpath, in_projects)}),
        entries,
        loses,
        os.path.realpath,
        program is not None,
        agents_may,
        lambda: Twins((*places, *entries)),
        repository,
        read_text,
        program is None or "pipx" in program.parts or {"uv", "tools"} <= set(program.parts),
        frozenset(site),
        {name: str(folder.parent) for name, folder in folders if folder.name == "tallygate"},
        {} if clients is None else clients,
        interpreters,
        _also_behind_links(dict.fromkeys(map(str, own.caches), "the cache")),
        _also_behind_links({str(own.data_dir / PAGE_FOLDER): "what opens the page"}),
    )


class Twins:
    """Second names of guarded files: a hard link is the same file, and neither its path nor a link in it says so."""

    def __init__(self, places: Iterable[str]) -> None:
        self._places = tuple(places)
        self._known: dict[tuple[int, int], str] | None = None

    def __call__(self, path: str) -> str | None:
        """The guarded file that a path is a second name of; what has one name only is looked at no further."""
        try:
            found = os.lstat(path)
        except (OSError, ValueError):
            return None
        # Nearly every file has one name, and is done with here: the walk through all guarded ones is for the few
        # others.
        if found.st_nlink < 2 or not stat.S_ISREG(found.st_mode):
            return None
        if self._known is None:
            self._known = dict(self._all())
        return self._known.get((found.st_dev, found.st_ino))

    def _all(self) -> Iterator[tuple[tuple[int, int], str]]:
        left = _TWINS_MAX
        for place in self._places:
            files = [place]
            for folder, _, names in os.walk(place):
                files += [f"{folder}/{name}" for name in names]
                # A data folder of any size may not make a hook wait: what lies beyond has to be named by its own path.
                if len(files) > left:
                    break
            for file in files[:left]:
                try:
                    found = os.lstat(file)
                except OSError:
                    continue
                yield (found.st_dev, found.st_ino), file
            left -= len(files)
            if left <= 0:
                return


def repository(folder: str, git_dir: str | None) -> GitTree | None:
    """The git repository that a folder lies in, or whose own things are told to be elsewhere; git itself is not run."""
    top = Path(folder)
    own = None if git_dir is None else Path(git_dir)
    if own is None:
        found = next((each for each in (top, *top.parents) if os.path.lexists(each / ".git")), None)
        if found is None:
            return None
        top, own = found, found / ".git"
        # In a worktree or a submodule `.git` is a file that says where it is.
        if own.is_file():
            own = top / (read_text(str(own)) or "").removeprefix("gitdir:").strip()
    return GitTree(str(top), lambda relative: _keeps(own / "index", relative))


def _keeps(index: Path, relative: str) -> bool | None:
    """Whether a repository's index lists a file, or one in a folder; None where it cannot be read."""
    try:
        with index.open("rb") as file:
            raw = file.read(_INDEX_BYTES_MAX + 1)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    # From its fourth form on names are shortened by what they share, and an index can be split in two.
    if len(raw) > _INDEX_BYTES_MAX or raw[4:8] not in _INDEX_FORMS or b"link" in raw[-_INDEX_END:]:
        return None
    name = os.fsencode(relative)
    return name + b"\0" in raw or name + b"/" in raw


def _installed(own: Own) -> dict[str, tuple[str, bool, bool]]:
    """Files of clients: the word for what of ours is in each, whether all of it is, and whether it is a project's."""
    try:
        folder = own.data_dir / "init"
        # Hosts and containers that share the data folder have each a record of their own below it.
        folders = [folder, *(each.parent for each in folder.glob("*/manifest.json"))]
        records = [record for each in folders for record in Manifest(each).records.values()]
    except (InvalidArgument, OSError):
        return {}
    found = {}
    for record in records:
        name = record.target.replace(str(own.home), "~", 1)
        if record.kind in _WITH_ENTRIES:
            found[record.target] = (f"the entries in {name}", False, record.root is not None)
        elif record.kind == "whole" and record.owners:
            found[record.target] = ("the plugin", True, record.root is not None)
    return found


def _program(package: Path, project: Path | None) -> Path | None:
    """The installed package; None where it is somebody's work: its source, or an environment of the project."""
    if not _PACKAGES.intersection(package.parts) or (project is not None and package.is_relative_to(project)):
        return None
    return package


def _beside(program: Path) -> Iterator[Path]:
    """The program, what starts it, what says which files belong to it, and which Python its environment has."""
    yield program
    yield from program.parent.glob("tallygate-*.dist-info")
    for environment in _environments(program):
        yield environment / "pyvenv.cfg"
        yield environment / "bin" / "tallygate"
        yield environment / "share" / "tallygate"


def _environments(program: Path) -> Iterator[Path]:
    """The environment that the program is installed in, where it is not the system's."""
    for above in program.parents[2:4]:
        if (above / "pyvenv.cfg").is_file():
            yield above


def _interpreters(program: Path) -> Iterator[str]:
    """The Python that hooks are run with, by each of its names: with another in its place they would say nothing."""
    for environment in _environments(program):
        top = os.path.realpath(environment)
        found = {"python", "python3", *(each.name for each in (environment / "bin").glob("python*"))}
        for name in filter(_PYTHON.fullmatch, found):
            file = f"{environment}/bin/{name}"
            behind = os.path.realpath(file)
            yield from (file, f"{os.path.realpath(environment / 'bin')}/{name}")
            if behind.startswith(f"{top}/"):
                yield behind


def _also_behind_links(places: Mapping[str, str]) -> dict[str, str]:
    return {**places, **{os.path.realpath(place): word for place, word in places.items()}}


# --- keeping ---------------------------------------------------------------------------------------------------------
# Whether an edit of a client's file leaves our entries in it as they are: judged by the outcome, not by the words.


BYTES_MAX = 16 * 1024 * 1024
_SERVERS = ("mcpServers", "mcp_servers", "mcp", "servers", "context_servers")
_KEYS = frozenset({*_SERVERS, "hooks", "env", "hooksConfig", "features", "projects"})
# What switches all hooks off, in the words of several clients.
_ALL_OFF = regex(r"disableAllHooks|hooksDisabled")
_TELEMETRY = regex(r"[A-Z_]+_ENABLE_TELEMETRY|OTEL_LOGS_EXPORTER|OTEL_EXPORTER_OTLP_LOGS_[A-Z]+")


def loses(edit: Edit) -> bool:
    """Whether a client's file has entries of ours now that it will not have, or not in force, after an edit.

    Where the outcome cannot be told, or is a file that its client cannot read, they are taken for lost.
    """
    before = read_text(edit.path)
    if before is None:
        return False
    held = _entries(edit.path, before)
    if held is None or not held[0]:
        return False
    after = read_text(edit.source) if edit.source is not None else edit.outcome(before)
    if after is None:
        return edit.source is None
    left = _entries(edit.path, after)
    # Every entry that was there must be there still, and nothing new may switch them off.
    return left is None or not held[0] <= left[0] or not left[1] <= held[1]


def _entries(path: str, text: str) -> tuple[frozenset[str], frozenset[str]] | None:
    """Our entries in a file, and what in it would switch them off; None where it cannot be read."""
    text = text.removeprefix("\ufeff")
    try:
        values = tomllib.loads(text) if path.endswith(".toml") else _json(text)
    except (Malformed, ValueError, RecursionError):
        return None
    return frozenset(_ours(values)), frozenset(_switches(values))


def _json(text: str) -> Mapping[Any, Any]:
    """What we have to do with in a file that may have comments; the rest may be large."""
    try:
        return {key: value for key, value in _mapping(json.loads(text)).items() if _matters(key)}
    except ValueError:
        root = at.root_of(text)
        children = () if root is None else root.children
        return {child.key: plain(text, child.node) for child in children if _matters(child.key)}


def _matters(key: str | None) -> bool:
    return key in _KEYS or (key is not None and _ALL_OFF.fullmatch(key) is not None)


def _ours(values: Mapping[Any, Any]) -> Iterator[str]:
    for key in _SERVERS:
        if (server := _mapping(values.get(key)).get(SERVER)) is not None:
            yield _said(key, server)
    for event, listed in _mapping(values.get("hooks")).items():
        for group in listed if isinstance(listed, list) else ():
            inside = _mapping(group).get("hooks")
            for entry in inside if isinstance(inside, list) else [group]:
                if is_ours(entry):
                    yield _said("hook", event, _mapping(group).get("matcher"), entry)
    variables = values.get("env")
    if has_our_telemetry(variables):
        yield from (_said(name, value) for name, value in _mapping(variables).items() if _TELEMETRY.fullmatch(name))


def _switches(values: Mapping[Any, Any]) -> Iterator[str]:
    yield from (name for name, value in values.items() if value is True and _ALL_OFF.fullmatch(name))
    config, features = _mapping(values.get("hooksConfig")), _mapping(values.get("features"))
    if config.get("enabled") is False:
        yield "hooksConfig"
    for name, listed in (
        ("hooksConfig", config.get("disabled")),
        ("hooks", _mapping(values.get("hooks")).get("disabled")),
    ):
        if SERVER in json.dumps(listed):
            yield f"{name}.disabled"
    yield from (f"features.{name}" for name, value in features.items() if name.endswith("hooks") and value is False)
    for name, project in _mapping(values.get("projects")).items():
        # A project's server of our name stands before the user's.
        if (server := _mapping(_mapping(project).get("mcpServers")).get(SERVER)) is not None:
            yield _said("projects", name, server)
    excluded = _mapping(values.get("mcp")).get("excluded")
    if isinstance(excluded, list) and SERVER in excluded:
        yield "mcp.excluded"


def _said(*parts: Any) -> str:
    return json.dumps(parts, sort_keys=True, default=str)


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def read_text(path: str) -> str | None:
    """A file as it stands; None where there is none that can be read."""
    raw = start_of(Path(path), BYTES_MAX + 1)
    try:
        return raw.decode() if raw is not None and len(raw) <= BYTES_MAX else None
    except (OSError, ValueError):
        return None
