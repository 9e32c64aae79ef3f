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
# Not a command of the user's: the process that stands by for clients.
RESIDENT = "resident"
_PRELOADS = ("LD_PRELOAD", "LD_AUDIT", "DYLD_")
_HELP = {"-h", "--help"}

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallygate.entrypoints.entrance import Entrance
    from tallygate.entrypoints.resident import HandedOver


def main() -> None:
    """Run one command and leave with its exit code."""
    if sys.platform == "win32":
        sys.exit("Tallygate runs on Linux and macOS. On Windows run it, and the clients, inside WSL.")
    client = _stand_by(sys.argv[-1]) if sys.argv[1:-1] == [RESIDENT] else None
    given = _given(sys.argv[1:])
    if PLACES in given and client is None:
        _start_clean(given)
    entrance = _entrance(sys.argv[1:], given, client)
    try:
        if entrance is not None:
            entrance.begin()
        _run(given, entrance)
    except SystemExit as left:
        _let_go(entrance, left.code)
        raise
    except Exception:
        if entrance is None:
            raise
        import traceback

        traceback.print_exc()
        _let_go(entrance, 1)  # a front that heard of no end would begin anew
        sys.exit(1)
    finally:
        if entrance is not None:
            entrance.close()


def _let_go(entrance: Entrance | None, code: object) -> None:
    """Where a front stands before this process it leaves as this does; it may have left already."""
    if entrance is not None and entrance.behind is not None:
        entrance.behind.let_go(code if isinstance(code, int) else int(code is not None))


def _run(given: dict[str, str], entrance: Entrance | None) -> None:
    import io
    from functools import partial
    from pathlib import Path

    from tallygate.app import compose, go_by, settings_here, started

    parent = PARENT if entrance is None or entrance.parent is None else entrance.parent
    if PLACES in given:
        start = go_by(Path(given[PLACES]), [name for name in given.get(DROPPED, "").split(",") if name], parent)
    else:
        start = started(parent)
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
    tallygate.main(prog_name="tallygate", obj=Program(read, composed, parent, entrance))


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


def _entrance(words: list[str], given: dict[str, str], client: HandedOver | None) -> Entrance | None:
    """Begin to serve where a client starts a server, before anything that takes time is imported."""
    if words[:1] != ["serve"] or sys.stdin is None or sys.stdin.isatty() or _HELP & {*words}:
        return None
    from tallygate.entrypoints.entrance import open_entrance, open_handed_over

    # Whatever else is said is for the command line to understand.
    told = dict(zip(words[1::2], words[2::2], strict=False))
    plain = len(words) % 2 and {*told} <= {TOOLS, PLACES, DROPPED}
    places, family = given.get(PLACES, ""), told.get(TOOLS, "all") if plain else ""
    if client is None:
        return open_entrance(places, PARENT, family)
    return open_handed_over(places, family, client)


def _stand_by(folder: str) -> HandedOver:
    """Be the resident of a folder of servers; what comes back is a process that serves a client."""
    from tallygate.entrypoints.resident import stand_by

    def prepare() -> None:
        import tallygate.app
        import tallygate.entrypoints.cli.main  # noqa: F401 - to have it

    return stand_by(folder, prepare)


if __name__ == "__main__":
    main()
