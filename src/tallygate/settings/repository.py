"""Which repository a folder belongs to, as settings ask it: a worktree to the one it was made from."""

from __future__ import annotations

from pathlib import Path

from tallygate.workspace import repository_of as found_in


def repository_of(root: Path, home: Path) -> Path:
    """The repository that begins in a folder; the folder itself where none does."""
    real = root.resolve()
    return Path(found_in(str(real), str(home.resolve())) or real)
