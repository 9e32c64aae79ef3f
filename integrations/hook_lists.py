"""Write what the hook program has to know and cannot ask for: `python integrations/hook_lists.py`."""  # noqa: INP001

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

from tallygate.clients.registry import REGISTRY
from tallygate.entrypoints import hook
from tallygate.settings.installed import NEVER
from tallygate.settings.variables import LOADER_NAMES, PYTHON_CODE, SYSTEM_VARIABLES

BEGIN = "# What clients and settings say: integrations/hook_lists.py writes it.\n"
END = "# End of what is written.\n"


def lists() -> str:
    """The lists as they stand in the program."""
    gating = _wrapped(REGISTRY.gating_events)
    own = (*sorted(NEVER), *SYSTEM_VARIABLES, *LOADER_NAMES, *sorted(PYTHON_CODE))
    nothing = _wrapped(own)
    variables = "\n".join(f'    "{name}",' for name in ("TALLYGATE_PROJECT_DIR", *REGISTRY.workspace_variables))
    return (
        f"{BEGIN}"
        "# Events at which a client can still be stopped; where nobody can decide, these are refused (exit code 2).\n"
        f"GATING = (\n{gating}\n)\n"
        "# Hooks at which a client that was stopped is told why, as its session ends.\n"
        f"ENDING = {tuple(REGISTRY.ending_events)!r}\n".replace("'", '"')
        + "# Where clients say that they are at work.\n"
        f"WORKSPACE_VARIABLES = (\n{variables}\n)\n"
        "# What moves nothing where a command is installed.\n"
        f"MOVES_NOTHING = (\n{nothing}\n)\n"
        f"{END}"
    )


def _wrapped(names: Iterable[str]) -> str:
    lines = textwrap.wrap(" ".join(names), 110, break_on_hyphens=False, break_long_words=False)
    return "\n".join(f'    "{" " if at else ""}{line}"' for at, line in enumerate(lines))


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
