"""The command `tallygate`: hands the composition root to the command line."""

from __future__ import annotations

import io
import sys

from tallygate.app import compose, settings_here

HOOK, TOLD = ("hook", "--client", "--event"), ("--framed", "--held")


def main() -> None:
    """Run one command and leave with its exit code."""
    told = sys.argv[6:]
    if len(sys.argv) > 5 and (sys.argv[1], sys.argv[2], sys.argv[4]) == HOOK and {*told} <= {*TOLD}:
        # A client waits for this at each of its steps: the command line around it would double its time.
        from tallygate.entrypoints.hook_alone import answer_alone

        framed, held = (word in told for word in TOLD)
        desk = (lambda: compose(settings_here(), by="hook"), sys.argv[3], sys.argv[5])
        sys.exit(answer_alone(*desk, framed=framed, held=held))
    from tallygate.entrypoints.cli.main import tallygate
    from tallygate.entrypoints.cli.program import Program

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show must not end the program
    tallygate.main(prog_name="tallygate", obj=Program(settings_here, compose))


if __name__ == "__main__":
    main()
