"""Which project a folder belongs to, read from what lies on the disk; `git` itself is never run.

What lies there may be a stranger's: files are read up to a few kilobytes and only where they are regular, nothing is
waited for, and what a `.git` file claims counts only where the repository says the same of it.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tallygate.core.places import WILD, Place, Tree, parents_of
from tallygate.core.regex import regex

_POINTER_MAX = 4096
_CONFIG_MAX = 65_536
_DEPTH_MAX = 200
_PATH_MAX = 4096
_MOMENT_US = 1_000_000
_SEEN_MAX = 4096
_TREES_MAX = 256


def place_of(folder: str, home: str, tree: Tree | None = None) -> Place:
    """Where a folder lies. One that is not there any more belongs to the nearest repository that still is.

    With `tree` it is known in which worktree one lay that is gone.
    """
    if not folder.startswith("/") or len(folder) > _PATH_MAX or "\0" in folder:
        return Place(folder, around=(folder,))  # what a client calls a project without saying where it is
    try:
        os.fsencode(folder)
    except UnicodeError:
        # In a plain locale the system cannot be asked about such a name; the work in it counts all the same.
        return Place(folder, around=tuple(parents_of(folder))[:_DEPTH_MAX])
    real = os.path.realpath(folder)
    around = list(parents_of(real))[:_DEPTH_MAX]
    top = os.path.realpath(home)
    repositories, projects, roots = _projects(around, top)
    if tree is not None and not (roots and len(roots[0]) >= len(tree.top)):
        repositories, projects, roots = (
            [tree.repository, *repositories],
            [tree.repository, *projects],
            [tree.top, *roots],
        )
    beside = None if not repositories or repositories[0] in around else repositories[0]
    for main in [each for each in repositories if each not in around]:
        # A worktree lies where its repository lies, too: what holds that holds the worktree.
        beyond = list(parents_of(main))[:_DEPTH_MAX]
        outer = _projects(beyond, top)
        around += [each for each in beyond if each not in around]
        projects += outer[1]
        roots += outer[2]
    project = repositories[0] if repositories else (projects[0] if projects else None)
    # The folder in which the worktree begins, of a repository that lies elsewhere.
    if tree is not None and tree.repository == beside:
        tree_top: str | None = tree.top
    else:
        tree_top = next((each for each in around if beside is not None and repository_of(each, top) == beside), None)
    return Place(
        folder=real,
        project=project,
        around=tuple(around),
        projects=tuple(dict.fromkeys(projects)),
        roots=tuple(dict.fromkeys([*roots, *projects])),
        nobodys=is_nobodys(Path(real), Path(top)),
        tree=tree_top,
        gone=not os.path.lexists(real),
    )


def trees_of(repository: str) -> tuple[str, ...]:
    """The worktrees that a repository names, also those that were taken away without telling it."""
    found = []
    admins = f"{repository}/.git/worktrees"
    with suppress(OSError, ValueError), os.scandir(admins) as entries:
        for entry in itertools.islice(entries, _TREES_MAX):
            pointer = _pointed_to(f"{admins}/{entry.name}/gitdir", f"{admins}/{entry.name}")
            if pointer is not None and os.path.basename(pointer) == ".git":
                found.append(os.path.dirname(pointer))
    return tuple(sorted(found))


class PlacesSeen:
    """Where folders lie, each looked at again after a moment: a repository may be made while a server runs.

    A transcript of thousands of responses asks for its folder at each of them, and gets one answer.
    """

    def __init__(self, ticks_us: Callable[[], int], home: Callable[[], str]) -> None:
        self._ticks_us = ticks_us
        self._home = home
        self._seen: dict[str, tuple[int, Place]] = {}

    def of(self, folder: str) -> Place:
        """Where a folder lies, as of no longer ago than a second."""
        now_us = self._ticks_us()
        seen = self._seen.get(folder)
        if seen is not None and now_us - seen[0] < _MOMENT_US:
            return seen[1]
        if len(self._seen) >= _SEEN_MAX:
            self._seen.clear()
        place = place_of(folder, self._home())
        self._seen[folder] = (now_us, place)
        return place


def _projects(folders: list[str], home: str) -> tuple[list[str], list[str], list[str]]:
    """Of folders from the innermost outwards: repositories, all projects, and the folders where those begin."""
    repositories, projects, roots = list[str](), list[str](), list[str]()
    for folder in folders:
        # A home folder under version control is no project around everything in it.
        if is_nobodys(Path(folder), Path(home)):
            break
        found = repository_of(folder, home)
        if found is not None:
            repositories.append(found)
        elif not stat.S_ISDIR(mode_of(Path(folder, ".l6e"))):
            continue
        projects.append(found or folder)
        roots.append(folder)
    return repositories, projects, roots


def repository_of(folder: str, home: str) -> str | None:
    """The repository that begins in a folder: itself, or that of which it is a worktree; None where none does."""
    pointer = f"{folder}/.git"
    mode = mode_of(Path(pointer))
    if stat.S_ISDIR(mode):
        return folder
    if not stat.S_ISREG(mode):
        return None
    admin = _pointed_to(pointer, folder, prefix="gitdir:")
    if admin is None:
        return folder
    back, common = _pointed_to(f"{admin}/gitdir", admin), _pointed_to(f"{admin}/commondir", admin)
    if common is None or back != os.path.realpath(pointer):
        return folder  # a submodule, a copy, or a claim that its repository does not share
    if os.path.dirname(os.path.dirname(admin)) != common:
        return folder
    if not (stat.S_ISREG(mode_of(Path(common, "HEAD"))) and stat.S_ISDIR(mode_of(Path(common, "objects")))):
        return folder
    main = common  # a bare one is its own working tree
    if os.path.basename(common) == ".git":
        main = os.path.dirname(common)
    elif (tree := _configured_tree(common)) is not None:
        # A submodule keeps its repository with the one it lies in; its tree has to point back.
        main = tree if _pointed_to(f"{tree}/.git", tree, prefix="gitdir:") == common else common
    return folder if is_nobodys(Path(main), Path(home)) else main


class Checkout(NamedTuple):
    """What a folder's checkout is of: a branch, and since when its repository says so, in microseconds."""

    branch: str
    since_us: int


_ON_BRANCH = regex(r"ref: refs/heads/([^\x00-\x20\x7f~^:?*\[\\]{1,256})\s*")
# What stands there where branches are kept elsewhere ("reftable").
_NO_BRANCH = ".invalid"


def head_of(folder: str) -> Checkout | None:
    """The branch that a folder's checkout is of; None where it is of none, or nothing can be told from the files.

    Since `git` writes the file anew at each change of branch, whatever is older than it may have been on another one.
    """
    if not folder.startswith("/") or len(folder) > _PATH_MAX or "\0" in folder:
        return None
    try:
        around = list(parents_of(os.path.realpath(folder)))[:_DEPTH_MAX]
    except (OSError, ValueError):
        return None
    for each in around:
        pointer = f"{each}/.git"
        mode = mode_of(Path(pointer))
        if not mode:
            continue
        admin = pointer if stat.S_ISDIR(mode) else _pointed_to(pointer, each, prefix="gitdir:")
        if admin is None:
            return None
        file = f"{admin}/HEAD"
        found = _ON_BRANCH.fullmatch(_read(file, _POINTER_MAX) or "")
        if found is None or found[1] == _NO_BRANCH or not found[1].isprintable():
            return None
        try:
            return Checkout(found[1], os.stat(file).st_mtime_ns // 1000)
        except OSError:
            return None
    return None


def _configured_tree(common: str) -> str | None:
    section = ""
    for line in (_read(f"{common}/config", _CONFIG_MAX) or "").splitlines():
        text = line.strip()
        if text.startswith("["):
            section = text.lower()
        key, equals, value = text.partition("=")
        if section == "[core]" and equals and key.strip().lower() == "worktree":
            return os.path.realpath(os.path.join(common, value.strip().strip('"')))
    return None


def _pointed_to(file: str, base: str, *, prefix: str = "") -> str | None:
    """The path that a small file names, with all links followed; None where it names none."""
    text = _read(file, _POINTER_MAX)
    if text is None or not text.startswith(prefix):
        return None
    path = text.removeprefix(prefix).strip()
    if not path or "\0" in path or "\n" in path:
        return None
    return os.path.realpath(os.path.join(base, path))


def _read(file: str, most: int) -> str | None:
    """The text of a regular file of a sensible size; a pipe is not waited for."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError):
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > most:
            return None
        return os.read(descriptor, most).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    finally:
        os.close(descriptor)


def mode_of(path: Path) -> int:
    """The mode of what is there; 0 where nothing is, or nothing that may be looked at."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def is_nobodys(folder: Path, home: Path) -> bool:
    """Whether a folder can be no project; where anybody may put a file, a stranger's settings would rule."""
    shared = stat.S_ISVTX | stat.S_IWOTH
    return folder in (folder.parent, home) or mode_of(folder) & shared == shared


def is_no_folder(match: str) -> bool:
    """Whether a match for folders, written out, names one folder that is not there."""
    return match.startswith("/") and not any(sign in match for sign in WILD) and not stat.S_ISDIR(mode_of(Path(match)))


def written_out(match: str, home: str) -> str:
    """A match for folders as it is held against them: `~` is the home folder, and links are followed up to a pattern.

    The end of a path stays as it is.
    """
    if match == "~" or match.startswith("~/"):
        match = home.rstrip("/") + match[1:]
    if not match.startswith("/"):
        return match
    cut = min((at for sign in "*?[" if (at := match.find(sign)) >= 0), default=len(match))
    head, slash, rest = match[:cut].rpartition("/") if cut < len(match) else (match, "", "")
    return f"{os.path.realpath(head or '/').rstrip('/')}{slash}{rest}{match[cut:]}" or "/"
