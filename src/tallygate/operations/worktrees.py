"""Which repository a folder belongs to that is not there any more, and in which folders a session is at work."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tallygate.core.errors import LedgerUnavailable
from tallygate.core.model import Session
from tallygate.core.places import Place, Tree
from tallygate.core.words import Action
from tallygate.ledger.port import BudgetReader, Change, Insert, Ledger, Reader, SessionReader, Update
from tallygate.operations.runtime import Runtime
from tallygate.workspace import place_of, trees_of


class FolderPlaces:
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
            # One worktree may lie in another: the inner one is where the work was.
            return max(known, key=lambda tree: len(tree.top))
        for repository in dict.fromkeys((*self._named, *projects)):
            for top in trees_of(repository):
                if top in place.around:
                    return Tree(top, repository)
        return None


def worktrees_met(rt: Runtime, tx: BudgetReader, folders: Iterable[str | None]) -> list[Change]:
    """What is kept of the worktrees in which folders lie: they may be gone when somebody asks for their repository."""
    trees: dict[str, Tree] = {}
    for folder in dict.fromkeys(folders):
        place = rt.workspace.place_of(folder)
        if place is not None and place.tree is not None and place.project is not None:
            trees[place.tree] = Tree(place.tree, place.project)
    if not trees:
        return []
    known = {tree.top: tree.repository for tree in tx.worktrees(tuple(trees))}
    changes: list[Change] = []
    for top, tree in trees.items():
        if known.get(top) != tree.repository:
            make = Update if top in known else Insert
            changes.append(make("worktree", {"top": top, "repository": tree.repository}))
    return changes


def met_at_work(rt: Runtime, tx: BudgetReader) -> list[Change]:
    """The same of the project at hand as a session opens: with every worktree that its repository has by then."""
    place = rt.workspace.place_of(rt.workspace.project)
    if place is None or place.project is None:
        return []
    return worktrees_met(rt, tx, (rt.workspace.project, *trees_of(place.project)))


# How many responses are looked at for where a session is at work, and how long an agent that went quiet is.
RESPONSES_LOOKED_AT = 16
AT_WORK_US = 15 * 60 * 1_000_000
STEPS_LOOKED_AT = 32


def still_worked_in(rt: Runtime, reader: Reader, session: Session, at_us: int) -> tuple[str, ...]:
    """Where the agents of a session have made their last responses and may be still; always of the very last one.

    Where an agent came back to, of late, it may go again, or a small response elsewhere would hide each large one.
    """
    stands: dict[str | None, tuple[str | None, str]] = {}
    stays: dict[tuple[str | None, str | None, str], tuple[str, int]] = {}
    asked: list[tuple[str | None, str, int]] = []
    for folder, agent_id, made_us in reader.worked_in(session.session_id, RESPONSES_LOOKED_AT):
        if stays and made_us <= at_us - AT_WORK_US:
            continue
        name = _named(rt.workspace.place_of(folder))
        place = (name, folder if name is None else "")
        if stands.get(agent_id) == place:
            continue  # the same stay
        last = stays.get((agent_id, *place))
        if agent_id not in stands:
            asked.append((agent_id, folder, made_us))
        elif last is not None and (agent_id, *last) not in asked:
            asked.append((agent_id, *last))
        stands[agent_id] = place
        stays.setdefault((agent_id, *place), (folder, made_us))
    return tuple(
        folder for agent_id, folder, made_us in asked if not _has_left(rt, reader, session, agent_id, (folder, made_us))
    )


def _has_left(
    rt: Runtime, reader: SessionReader, session: Session, agent_id: str | None, made: tuple[str, int]
) -> bool:
    """Whether the work has gone on elsewhere since an agent's last response, as the client says.

    Its word is good where it was borne out: that response was made where the step before it was said to stand. One
    that tells other folders of its steps than of its responses is asked where these are made.
    """
    lies = rt.workspace.place_of
    folder, made_us = made
    at, stands = lies(folder), lies(rt.workspace.project or rt.workspace.folder)
    if at is None or stands is None or at.name is None or stands.name in (None, at.name):
        return False
    ended = rt.caches.agents_ended.get((session.session_id, agent_id))
    if ended is not None and ended[0] >= made_us and _named(lies(ended[1])) == at.name:
        return True
    before = reader.recent_calls(session.session_id, made_us, STEPS_LOOKED_AT)
    step = next((call for call in before if call.actor_id == agent_id and call.action is not Action.HALT), None)
    if step is not None and _named(lies(step.folder or session.project)) == at.name:
        return True
    # Steps that nothing was reserved for leave no call. One that was stopped there since was told where it stood.
    since = reader.recent_calls(session.session_id, 2**62, STEPS_LOOKED_AT)
    return any(
        call.at_us >= made_us and call.actor_id == agent_id and _named(lies(call.folder or session.project)) == at.name
        for call in since
    )


def _named(place: Place | None) -> str | None:
    return None if place is None else place.name
