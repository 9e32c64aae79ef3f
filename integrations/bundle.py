"""Lay out the folder that a bundle for desktop clients is packed from: `python integrations/bundle.py FOLDER`.

Then `mcpb pack FOLDER tallygate.mcpb`, of @anthropic-ai/mcpb.
"""  # noqa: INP001

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILES = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md")


def main(arguments: list[str]) -> int:
    """Copy the source and the manifest into an empty folder."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python integrations/bundle.py FOLDER\n")
        return 2
    folder = Path(arguments[0])
    if folder.exists() and any(folder.iterdir()):
        sys.stderr.write(f"{folder} is not empty; name another folder.\n")
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(
        ROOT / "src" / "tallygate", folder / "src" / "tallygate", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "integrations" / "mcpb" / "manifest.json", folder / "manifest.json")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
