"""A client as one program among others: what tells it, what tells a run of one prompt, and how such a run is ended.

The program that clients run for a hook reads this too, so nothing but the standard library is imported here, and in the
`program.py` of each client that an agent works in.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path

from tallygate.clients import FOLDERS

# With these a program talks to it, and no person.
_SPOKEN_TO = frozenset({"--acp", "--headless", "--server", "--stdio", "--connect"})
# With these one that read its prompt goes on, and takes more.
_STAYS = frozenset({"-i", "--prompt-interactive", "--interactive"})

Words = tuple[str, ...]
# Whether a process reads (0) from a terminal, or writes (1) to one; None where that cannot be seen.
Terminal = Callable[[int], bool | None]


def options_of(words: Words) -> Words:
    """The words of a command line that may be options."""
    return words[: words.index("--")] if "--" in words else words


def is_spoken_to(words: Words) -> bool:
    """Whether a program talks to a client over a connection."""
    return any(word.partition("=")[0] in _SPOKEN_TO for word in words)


def reads_json(words: Words) -> bool:
    """Whether a program talks to a client by what it reads."""
    return "--input-format=stream-json" in words or ("--input-format", "stream-json") in pairwise(words)


def never(_words: Words, _is_terminal: Terminal, _environ: Mapping[str, str]) -> bool:
    """A client that runs one prompt only where an option says so."""
    return False


def from_input(words: Words, is_terminal: Terminal, _environ: Mapping[str, str]) -> bool:
    """A client that runs what it reads and ends, where it does not read from a terminal."""
    stays = any(word.partition("=")[0] in _STAYS for word in options_of(words))
    return not stays and is_terminal(0) is False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProgram:
    """A client's own program, and its runs of one prompt before which nobody sits.

    `title` is for people, `names` are those of its file, `packages` what it is installed as, and `versions` a folder
    whose files are named by their version. `markers` are variables in the shells of its agents, and not in a person's
    terminal inside of it.

    A run of one prompt has one of `prompt_options`, or is told by its words (`runs_by_words`), or by these, by what it
    reads from and writes to, and by the variables of what it runs (`runs_by_ends`). Its variable `entry` says who
    started it: `by_hand` are its values where that was a person or a script, and with one that begins with `by_program`
    nobody sits before it.

    Such a run ends in order at the signal `ends_with`; without one it is not ended. At the hooks of `undecided` it is,
    where no gate could be started, but for a subagent of one whose `agents_end_by_themselves`. `shows_at_end` is the
    exit code at which it shows what a hook says as its session ends. One that `has_wrapper` was started by a script,
    which is ended as well, as it waits for it and has the exit code. One that `leaves_terminals_clean` is also ended
    before a person. `hook_after_end` is the hook that it cannot call any more, being ended. One that `shows_messages`
    prints in such a run, too, what its hooks tell. `resumes` is the command that goes on with a session, whose id
    stands at {}; one that takes none goes on with the last of its folder.

    `interrupt` asks one that serves several screens to end a turn; it says whether that was done.
    """

    stored_as: str
    title: str
    names: tuple[str, ...]
    packages: tuple[str, ...] = ()
    versions: str = ""
    markers: tuple[str, ...] = ()
    prompt_options: frozenset[str] = frozenset()
    runs_by_words: Callable[[Words], bool] | None = None
    runs_by_ends: Callable[[Words, Terminal, Mapping[str, str]], bool] = never
    entry: str = ""
    by_hand: frozenset[str] = frozenset()
    by_program: str = ""
    ends_with: signal.Signals | None = None
    undecided: frozenset[str] = frozenset()
    agents_end_by_themselves: bool = False
    shows_at_end: int = 0
    has_wrapper: bool = False
    leaves_terminals_clean: bool = False
    hook_after_end: str = ""
    shows_messages: bool = False
    resumes: str = ""
    interrupt: Callable[[int, Words, bytes, Mapping[str, str]], bool] | None = None

    def prints(self, words: Words) -> bool:
        """Whether it was started to run one prompt and end, with nobody before it."""
        if self.runs_by_words is not None:
            return self.runs_by_words(words)
        options = options_of(words)
        if reads_json(options) or is_spoken_to(options):
            return False
        return any(word in self.prompt_options or word.partition("=")[0] in self.prompt_options for word in options)

    def going_on(self, client_session: str) -> str | None:
        """The command that goes on with a session of its own; None where none is known, or no shell could take it."""
        if "{}" not in self.resumes:
            return self.resumes or None
        # One word for a shell, and no option for the client.
        signs = client_session.replace("-", "").replace("_", "").replace(".", "")
        is_typed = signs.isascii() and signs.isalnum() and client_session[0] != "-"
        return self.resumes.format(client_session) if is_typed else None

    def runs_one_prompt(self, words: Words, is_terminal: Terminal, environ: Mapping[str, str]) -> bool:
        """Whether it runs one prompt and ends: it was told to, or no person could type there."""
        if self.prints(words):
            return True
        options = options_of(words)
        talked_to = reads_json(options) or is_spoken_to(options)
        return not talked_to and self.runs_by_ends(words, is_terminal, environ)


@cache
def programs() -> tuple[ClientProgram, ...]:
    """Those of all clients that have one, in the registry's order."""
    here = Path(__file__).parent
    having = (folder for folder in FOLDERS if (here / folder / "program.py").is_file())
    return tuple(import_module(f"tallygate.clients.{folder}.program").PROGRAM for folder in having)


def program_called(stored: str) -> ClientProgram | None:
    """The program of a client, by the name its rows are stored under."""
    return next((program for program in programs() if program.stored_as == stored), None)
