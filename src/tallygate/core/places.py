"""Where work is done: a folder, the project it belongs to, and everything that lies around it."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

from tallygate.core.values import value

WILD = ("*", "?", "[")


class Tree(NamedTuple):
    """A worktree: the folder that it begins in, and its repository elsewhere."""

    top: str
    repository: str


@value(frozen=True, slots=True)
class Place:
    """A folder with all links followed, and what holds it.

    `project` is its innermost repository, or the nearest folder that is a project for another reason; None where there
    is none. `around` are all folders that it lies in, itself first; a worktree also lies where its repository does.
    `projects` are those of them that are projects, the innermost first, and `roots` those and the tops of worktrees.
    A folder that is `nobodys` (a home, the root, one that all may write to) is no project. `tree` is the top of the
    worktree that it lies in, and one that is `gone` is not on the disk.
    """

    folder: str
    project: str | None = None
    around: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    nobodys: bool = False
    tree: str | None = None
    gone: bool = False

    @property
    def name(self) -> str | None:
        """What reports call the project of the place: outside of all projects the folder itself."""
        return self.project or (None if self.nobodys else self.folder)

    @property
    def alone(self) -> tuple[str, ...]:
        """A folder that lies in no project and could be one: work in it is that of a project of its own.

        It becomes one for all to see with the first run log in it, and is bound before by what binds it then.
        """
        return () if self.projects or self.nobodys or not self.folder.startswith("/") else (self.folder,)


@lru_cache(maxsize=1024)
def as_written(folder: str) -> Place:
    """A place of which only the path is known: it is taken for a project that lies in the folders of its path."""
    return Place(folder, folder, parents_of(folder), (folder,), (folder,))


def parents_of(path: str) -> tuple[str, ...]:
    """A path and all it lies in, itself first.

    >>> parents_of("/srv/shop/api")
    ('/srv/shop/api', '/srv/shop', '/srv', '/')
    """
    found = [path]
    while path := path.rpartition("/")[0]:
        found.append(path)
    return (*found, "/") if found[-1].startswith("/") and found[-1] != "/" else tuple(found)


@lru_cache(maxsize=4096)
def meant(place: Place | None, match: str | None) -> tuple[str, ...]:
    """The folders around a place that a match means, each of which has budgets of its own; none where it means none.

    Without a match every project around. A path means its folder, the end of a path the projects that end so. A
    pattern means the projects that fit it, and where none does, the outermost folder that fits it as a whole path. A
    star stands for one name, two stars for any number of them.
    """
    if place is None:
        return ()
    if match is None:
        return place.projects or place.alone
    wanted = match.rstrip("/") or "/"
    if wanted in place.around:
        return (wanted,)
    roots = place.roots or place.alone
    if not any(sign in wanted for sign in WILD):
        return () if wanted.startswith("/") else tuple(r for r in roots if r.endswith("/" + wanted.strip("/")))
    parts = wanted.split("/")
    if not wanted.startswith("/"):
        parts = ["", "**", *parts]
        return tuple(root for root in roots if _fits(parts, root.split("/")))
    fitting = tuple(root for root in roots if _fits(parts, root.split("/")))
    return fitting or tuple(folder for folder in place.around if _fits(parts, folder.split("/")))[-1:]


def _fits(pattern: list[str], names: list[str]) -> bool:
    """Whether names of folders fit a pattern of names; each is looked at once for each star, never again."""
    reached = {0}
    for name in names:
        # Two stars may stand for no name at all.
        reached = _past_stars(pattern, reached)
        reached = {
            at if pattern[at] == "**" else at + 1
            for at in reached
            if at < len(pattern) and (pattern[at] == "**" or fnmatchcase(name, pattern[at]))
        }
    return len(pattern) in _past_stars(pattern, reached)


def _past_stars(pattern: list[str], reached: set[int]) -> set[int]:
    found = set(reached)
    for at in sorted(reached):
        while at < len(pattern) and pattern[at] == "**":
            at += 1  # noqa: PLW2901
            found.add(at)
    return found
