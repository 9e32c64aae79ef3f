"""Programs that have a command run by somebody else: by a terminal, a session manager or a timer that is there already.

What runs so is no child of the agent, and the command itself cannot see whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tallygate.core.regex import regex

_TERMINALS = (
    "tmux screen byobu zellij dtach abduco wezterm kitty kitten xterm uxterm gnome-terminal konsole xfce4-terminal "
    "mate-terminal lxterminal qterminal terminator tilix alacritty foot footclient ghostty ptyxis kgx guake st urxvt "
    "urxvtc rxvt terminology x-terminal-emulator cool-retro-term tabby hyper wt wt.exe"
)
_OTHERS = (
    "xdotool ydotool wtype dotool launchctl run0 machinectl start-stop-daemon daemonize daemon pm2 supervisorctl "
    "tsp ts task-spooler nq pueue expect osascript emacsclient i3-msg swaymsg hyprctl"
)
LAUNCHERS = frozenset([*_TERMINALS.split(), *_OTHERS.split()])
# Options that take the name of a session, a window or a pane.
_NAMING = frozenset({"-s", "-t", "-S"})
# What such a one is given is its own to read, and no command.
_LOOKS = "grep egrep fgrep rg ag git echo printf cat less more man head tail sed ls vim nvim nano code bat jq wc diff"
_READERS = frozenset(_LOOKS.split())
_TAILS_MAX = 30
_KEYS = regex(r"\\[nr]|\^M|\\015|\\012")
_STATEMENT = regex(r"[;\n]|\b(?:spawn|exec|send|system)\b(?:\s+-\w+)*(?:\s+--)?")
_QUOTED = regex(r"\"((?:[^\"\\]|\\.)*)\"")
_TIMES = regex(r"^[ \t]*(?:@\w+|(?:[^\s#=]+[ \t]+){4}[^\s#=]+)[ \t]+", re.MULTILINE)


def launched(program: str, given: list[str], fed: str | None) -> Iterator[str]:
    """The commands that another may be asked to run, as far as the words tell.

    Which of its words are its own, and where the command begins, each program has in its way: each place is looked at.

    >>> list(launched("tmux", ["send-keys", "-t", "main", "make test", "Enter"], None))
    ['send-keys -t main make test Enter', 'make test Enter', 'Enter']
    >>> list(launched("crontab", ["-"], "5 * * * * make test"))
    ['make test']
    """
    if program == "crontab":
        yield _TIMES.sub("", fed or "")
        return
    if program in {"expect", "osascript", "emacsclient"}:
        text = "\n".join([*given, fed or ""])
        pieces = [*_STATEMENT.split(text), *(found.replace('\\"', '"') for found in _QUOTED.findall(text))]
        yield from (_typed(each.strip().strip('"{}')) for each in pieces if each.strip())
        return
    before = ""
    for at, word in enumerate(given[:_TAILS_MAX]):
        if not word.startswith("-") and before not in _NAMING:
            yield _typed(" ".join(each for each in given[at:] if each != "--"))
            if word.rpartition("/")[2] in _READERS:
                return
        before = word
    if fed:
        yield _typed(fed)


def _typed(text: str) -> str:
    """What keys type, with the ends of lines that are written out."""
    return _KEYS.sub("\n", text)
