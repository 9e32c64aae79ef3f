"""Which repository a folder belongs to that is not there any more: as the ledger knows it, or a repository names it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tallygate.core.errors import LedgerUnavailable
from tallygate.core.places import Place, Tree
from tallygate.ledger.port import Change, Insert, Ledger, Tx, Update
from tallygate.operations.runtime import Runtime
from tallygate.workspace import place_of, trees_of


class Places:
    """Where folders lie: on the disk, and those that are gone from it where they lay.

    `seen` is what the disk says, and `named` are folders that may be repositories: those that the settings name.
    """

    def __init__(
        self, ledger: Ledger, tenant: str, seen: Callable[[str], Place], home: Callable[[], str], named: Iterable[str]
    ) -> None:
        self._ledger = ledger
        self._tenant = tenant
        self._seen = seen
        self._home = home
        self._named = tuple(named)
        self._gone: dict[str, tuple[Place, Place]] = {}

    def of(self, folder: str | None) -> Place | None:
        """Where a folder lies, or lay."""
        if folder is None:
            return None
        place = self._seen(folder)
        if not place.gone or place.tree is not None:  # where only a folder of a worktree is gone, that is there
            return place
        known = self._gone.get(folder)
        if known is None or known[0] is not place:  # the disk was looked at again
            tree = self._tree(place)
            lay = place if tree is None else place_of(folder, self._home(), tree)
            known = self._gone[folder] = (place, lay)
        return known[1]

    def _tree(self, place: Place) -> Tree | None:
        """The worktree that a folder was in; a repository may still name it where it was not removed by git."""
        try:
            with self._ledger.reading(self._tenant) as reader:
                known = reader.worktrees(place.around)
                projects = () if known else reader.projects_worked_in()
        except LedgerUnavailable:
            return None
        if known:
            return max(known, key=lambda tree: len(tree.top))
        for repository in dict.fromkeys((*self._named, *projects)):
            for top in trees_of(repository):
                if top in place.around:
                    return Tree(top, repository)
        return None


def met(rt: Runtime, tx: Tx, folders: Iterable[str | None]) -> list[Change]:
    """What is kept of the worktrees in which folders lie: they may be gone when somebody asks for their repository."""
    places = [rt.workspace.place_of(folder) for folder in dict.fromkeys(folders)]
    trees = {
        place.tree: Tree(place.tree, place.project)
        for place in places
        if place is not None and place.tree is not None and place.project is not None
    }
    if not trees:
        return []
    known = {tree.top: tree.repository for tree in tx.worktrees(tuple(trees))}
    changes: list[Change] = []
    for top, tree in trees.items():
        if known.get(top) != tree.repository:
            make = Update if top in known else Insert
            changes.append(make("worktree", {"top": top, "repository": tree.repository}))
    return changes


def met_at_work(rt: Runtime, tx: Tx) -> list[Change]:
    """The same of the project at hand as a session opens: with every worktree that its repository has by then."""
    place = rt.workspace.place_of(rt.workspace.project)
    if place is None or place.project is None:
        return []
    return met(rt, tx, (rt.workspace.project, *trees_of(place.project)))
