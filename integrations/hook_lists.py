"""Write what the hook program has to know of clients, which it cannot ask for: `python integrations/hook_lists.py`."""  # noqa: INP001

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

from tallygate.clients.registry import REGISTRY
from tallygate.entrypoints import hook

BEGIN = "# What clients say of themselves: integrations/hook_lists.py writes it.\n"
END = "# End of what is written.\n"


def lists() -> str:
    """The lists as they stand in the program."""
    lines = textwrap.wrap(" ".join(REGISTRY.gating_events), 110, break_on_hyphens=False, break_long_words=False)
    gating = "\n".join(f'    "{" " if at else ""}{line}"' for at, line in enumerate(lines))
    variables = "\n".join(f'    "{name}",' for name in ("TALLYGATE_PROJECT_DIR", *REGISTRY.workspace_variables))
    return (
        f"{BEGIN}"
        "# Events at which a client can still be stopped; where nobody can decide, these are refused (exit code 2).\n"
        f"GATING = (\n{gating}\n)\n"
        "# Hooks at which a client that was stopped is told why, as its session ends.\n"
        f"ENDING = {tuple(REGISTRY.ending_events)!r}\n".replace("'", '"')
        + "# Where clients say that they are at work.\n"
        f"WORKSPACE_VARIABLES = (\n{variables}\n)\n"
        f"{END}"
    )


def written(text: str) -> str:
    """The program's text with the lists as they have to be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + lists() + after


def main() -> int:
    """Bring the program up to date."""
    path = Path(hook.__file__)
    text = path.read_text(encoding="utf-8")
    new = written(text)
    if new != text:
        path.write_text(new, encoding="utf-8")
        sys.stdout.write(f"wrote {path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
