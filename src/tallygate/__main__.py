"""The command `tallygate`: hands the composition root to the command line."""

from __future__ import annotations

import os
import sys
from itertools import pairwise

# Whose child this process is, asked before anything that takes time: a client may die while its server starts.
PARENT = os.getppid()

if not __package__:  # run by its path, where an isolated interpreter would not find it by its name
    sys.path.append(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))

HOOK, TOLD = ("hook", "--client", "--event"), ("--framed", "--held")
# The commands that `tallygate init` puts into clients, and what they are given there.
INSTALLED, PLACES, DROPPED = ("serve", "hook", "statusline"), "--places", "--dropped"
TOOLS = "--tools"
_PRELOADS = ("LD_PRELOAD", "LD_AUDIT", "DYLD_")
_HELP = {"-h", "--help"}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallygate.entrypoints.entrance import Entrance


def main() -> None:
    """Run one command and leave with its exit code."""
    if sys.platform == "win32":
        sys.exit("Tallygate runs on Linux and macOS. On Windows run it, and the clients, inside WSL.")
    given = _given(sys.argv[1:])
    if PLACES in given:
        _start_clean(given)
    entrance = _entrance(sys.argv[1:], given)
    try:
        if entrance is not None:
            entrance.begin()
        _run(given, entrance)
    finally:
        if entrance is not None:
            entrance.close()


def _run(given: dict[str, str], entrance: Entrance | None) -> None:
    import io
    from functools import partial
    from pathlib import Path

    from tallygate.app import compose, go_by, settings_here, started

    if PLACES in given:
        start = go_by(Path(given[PLACES]), [name for name in given.get(DROPPED, "").split(",") if name], PARENT)
    else:
        start = started(PARENT)
    read, composed = partial(settings_here, start=start), partial(compose, start=start)
    if (alone := _alone(sys.argv[1:])) is not None:
        # A client waits for this at each of its steps: the command line around it would double its time.
        from tallygate.entrypoints.hook_dispatcher import answer_alone

        client, event, framed, held = alone
        desk = (lambda: composed(read().sound(), by="hook"), client, event)
        sys.exit(answer_alone(*desk, framed=framed, held=held))
    from tallygate.entrypoints.cli.main import tallygate
    from tallygate.entrypoints.cli.program import Program

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a name that the terminal cannot show must not end the program
    tallygate.main(prog_name="tallygate", obj=Program(read, composed, PARENT, entrance))


def _alone(words: list[str]) -> tuple[str, str, bool, bool] | None:
    """Client, event and form of the answer, where these are the words of the hook program and nothing else."""
    if len(words) < 5 or (words[0], words[1], words[3]) != HOOK:
        return None
    told = [word for at, word in enumerate(words[5:], 5) if not {word, words[at - 1]} & {PLACES, DROPPED}]
    framed, held = (word in told for word in TOLD)
    return (words[2], words[4], framed, held) if {*told} <= {*TOLD} else None


def _given(words: list[str]) -> dict[str, str]:
    """What an installed command was started with; nothing for a command of the user."""
    if not words or words[0] not in INSTALLED:
        return {}
    return {name: value for name, value in pairwise(words) if name in (PLACES, DROPPED)}


def _start_clean(given: dict[str, str]) -> None:
    """Start once more without what the system's loader has put into this process; what that was is handed on."""
    names = sorted(name for name in os.environ if name.startswith(_PRELOADS))
    if not names or not sys.orig_argv or not sys.executable:
        return
    environ = {name: value for name, value in os.environ.items() if name not in names}
    told = [] if DROPPED in given else [DROPPED, ",".join(names)]
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:], *told], environ)  # noqa: S606
    except OSError:
        return


def _entrance(words: list[str], given: dict[str, str]) -> Entrance | None:
    """Begin to serve where a client starts a server, before anything that takes time is imported."""
    if words[:1] != ["serve"] or sys.stdin is None or sys.stdin.isatty() or _HELP & {*words}:
        return None
    from tallygate.entrypoints.entrance import open_entrance

    # Whatever else is said is for the command line to understand.
    told = dict(zip(words[1::2], words[2::2], strict=False))
    plain = len(words) % 2 and {*told} <= {TOOLS, PLACES, DROPPED}
    return open_entrance(given.get(PLACES, ""), PARENT, told.get(TOOLS, "all") if plain else "")


if __name__ == "__main__":
    main()
