"""The price list of one version of `genai-prices` as it stands in this package, to be read without loading that.

`python -m tallygate.pricing.freezing` writes it down.

It counts where that version is the one installed. That is told by the folder that an installer leaves beside a package:
to ask for it by `importlib.metadata` takes longer than to read the list. Who can put a folder there can put another
program there as well; and all that a false one does is choose between two lists that came with the program.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("frozen_catalog.txt")
PACKAGE, _ENDING = "genai_prices-", ".dist-info"


@cache
def frozen() -> tuple[str, str] | None:
    """Version and rows of the list, where it is that of the library installed; None where the library has to say."""
    return frozen_in(FILE, sys.path)


def frozen_in(file: Path, path: list[str]) -> tuple[str, str] | None:
    """The same of a file, for the folders that modules are imported from."""
    try:
        head, _, rows = file.read_text(encoding="utf-8").partition("\n")
    except (OSError, ValueError):
        return None
    name = head.removeprefix(PACKAGE)
    rows = rows.removesuffix("\n")
    return (name, rows) if head.startswith(PACKAGE) and installed_in(path) == name else None


def installed_in(path: list[str]) -> str | None:
    """The version that is installed, by the first folder that has one; None for none, and for more than one there."""
    for folder in path:
        try:
            names = os.listdir(folder or os.curdir)  # noqa: PTH208 - as it is the quickest
        except OSError:
            continue
        found = [name for name in names if name.startswith(PACKAGE) and name.endswith(_ENDING)]
        if found:
            return found[0].removeprefix(PACKAGE).removesuffix(_ENDING) if len(found) == 1 else None
    return None
