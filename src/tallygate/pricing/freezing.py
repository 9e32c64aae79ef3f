"""Write down the price list of the installed `genai-prices`, or say whether it is stale:

    python -m tallygate.pricing.freezing [--check]

The list stands in `frozen_catalog.txt`; pricing/frozen.py reads it where the version of its first line is installed.
Whoever packs this with another version makes the file anew; without that the library is loaded, which takes longer.
"""

from __future__ import annotations

import sys
from importlib.metadata import distribution

from tallygate.pricing.frozen import FILE, PACKAGE
from tallygate.pricing.published import installed_rows, installed_version

# Whoever passes the list on passes its licence on.
LICENSE = FILE.with_name("frozen_catalog.LICENSE.txt")


def license_text() -> str:
    """The licence that the list is given under."""
    return distribution("genai-prices").read_text("licenses/LICENSE") or ""


def text() -> str:
    """What the file has to hold."""
    return f"{PACKAGE}{installed_version()}\n{installed_rows()}\n"


def main() -> int:
    """Write the file; with `--check`, only say whether it is stale."""
    made = {FILE: text(), LICENSE: license_text()}
    if "--check" not in sys.argv[1:]:
        for file, content in made.items():
            file.write_text(content, encoding="utf-8")
        return 0
    stale = [file for file, content in made.items() if not file.exists() or file.read_text(encoding="utf-8") != content]
    for file in stale:
        sys.stderr.write(f"{file.name} is stale: python -m {__spec__.name}\n")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
