"""Everything that the gate stands on, so that no tool of an agent changes it: our files, and our entries in others'."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tallygate
from tallygate.clients.installing.keeping import loses
from tallygate.clients.installing.manifest import Manifest
from tallygate.core.errors import InvalidArgument
from tallygate.core.guarded import Guarded

_WITH_ENTRIES = frozenset({"json", "table"})
_PACKAGES = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
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


def guarded_of(own: Own, agents_may: frozenset[str] = frozenset(), package: Path | None = None) -> Guarded:
    """What no tool of an agent changes. A record of the installation that cannot be read names nothing."""
    ledger = str(own.database)
    places = dict.fromkeys((ledger, *(f"{ledger}{end}" for end in ("-wal", "-shm", "-journal"))), "the ledger")
    places |= dict.fromkeys(map(str, own.anchors), "the anchor")
    places |= {str(own.key_dir): "the keys", str(own.run_log): "the run log"}
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
        places[str(program)] = "the program"
    places[str(own.data_dir)], places[str(own.config_dir)] = "the data", "the settings folder"
    return Guarded(
        _also_behind_links(places),
        str(own.home),
        frozenset({*in_projects, *map(os.path.realpath, in_projects)}),
        _also_behind_links(entries),
        loses,
        os.path.realpath,
        program is not None,
        agents_may,
    )


def _installed(own: Own) -> dict[str, tuple[str, bool, bool]]:
    """Files of clients: the word for what of ours is in each, whether all of it is, and whether it is a project's."""
    try:
        records = Manifest(own.data_dir / "init").records.values()
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


def _also_behind_links(places: Mapping[str, str]) -> dict[str, str]:
    return {**places, **{os.path.realpath(place): word for place, word in places.items()}}
