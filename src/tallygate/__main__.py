"""The command `tallygate`: hands the composition root to the command line."""

from __future__ import annotations

import io
import sys

from tallygate.app import compose, settings_here
from tallygate.entrypoints.cli.main import tallygate
from tallygate.entrypoints.cli.program import Program


def main() -> None:
    """Run one command and leave with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show must not end the program
    tallygate.main(prog_name="tallygate", obj=Program(settings_here, compose))


if __name__ == "__main__":
    main()
