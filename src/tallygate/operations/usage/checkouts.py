"""On which branch of which repository responses were made, as far as the files of the repository tell it."""

from __future__ import annotations

from dataclasses import replace

from tallygate.core.moments import microseconds
from tallygate.ledger.port import StoredUsage
from tallygate.operations.runtime import Runtime
from tallygate.workspace import Checkout, head_of


class Checkouts:
    """The folders that the responses of one commit were made in, each looked at once."""

    def __init__(self, rt: Runtime) -> None:
        self._place_of = rt.workspace.place_of
        self._heads: dict[str, Checkout | None] = {}
        self._repositories: dict[str, str | None] = {}

    def placed(self, stored: StoredUsage) -> StoredUsage:
        """A response with its branch and repository, where its client does not tell them and the disk does."""
        row = stored.row
        if row.project is None or (row.branch is not None and row.repository is not None):
            return stored
        branch = row.branch or self._branch(row.project, microseconds(row.at))
        repository = row.repository or self._repository(row.project)
        if (branch, repository) == (row.branch, row.repository):
            return stored
        return replace(stored, row=replace(row, branch=branch, repository=repository))

    def _branch(self, folder: str, at_us: int) -> str | None:
        if folder not in self._heads:
            self._heads[folder] = head_of(folder)
        head = self._heads[folder]
        # What was made before the repository wrote its branch down may have been made on another one.
        return head.branch if head is not None and head.since_us <= at_us else None

    def _repository(self, folder: str) -> str | None:
        if folder not in self._repositories:
            place = self._place_of(folder)
            is_known = place is not None and (not place.gone or place.tree is not None)
            found = place.project if place is not None and is_known else None
            self._repositories[folder] = None if found == folder else found
        return self._repositories[folder]
