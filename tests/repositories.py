"""Repositories, worktrees and submodules on a disk, as far as anybody looks who does not run git."""

from __future__ import annotations

import os
from pathlib import Path


def repository(folder: Path) -> Path:
    """A repository as `git init` makes one, as far as anybody looks."""
    for name in ("objects", "refs"):
        (folder / ".git" / name).mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / ".git" / "config").write_text("[core]\n\tbare = false\n")
    return folder


def worktree(main: Path, folder: Path, *, common: Path | None = None, relative: bool = False) -> Path:
    """A worktree as `git worktree add` makes one."""
    admin = (common or main / ".git") / "worktrees" / folder.name
    admin.mkdir(parents=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".git").write_text(f"gitdir: {os.path.relpath(admin, folder) if relative else admin}\n")
    back = folder / ".git"
    (admin / "gitdir").write_text(f"{os.path.relpath(back, admin) if relative else back}\n")
    (admin / "commondir").write_text("../..\n")
    return folder


def submodule(outer: Path, name: str) -> Path:
    common = outer / ".git" / "modules" / name
    (common / "objects").mkdir(parents=True)
    (common / "HEAD").write_text("ref: refs/heads/main\n")
    folder = outer / name
    folder.mkdir(parents=True)
    (common / "config").write_text(f'[remote "x"]\n\tworktree = no\n[core]\n\tworktree = ../../../{name}\n')
    (folder / ".git").write_text(f"gitdir: ../.git/modules/{name}\n")
    return folder
