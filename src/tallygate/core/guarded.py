"""Whether a tool that is about to run reaches for the gate's own files: a fence against a model, not a program."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

# Of a longer command the beginning is judged.
COMMAND_CHARS_MAX = 20_000
_NESTED_MAX = 3
_SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh"})
_INTERPRETERS = re.compile(r"(?:python|pypy|node|perl|ruby)[\d.]*")
_BEFORE = frozenset({"sudo", "env", "nohup", "time", "command", "exec", "setsid", "nice", "builtin"})
_REMOVES = frozenset({"rm", "mv", "shred", "rmdir", "unlink"})
_WRITES = _REMOVES | {"truncate", "tee", "chmod", "chown", "chattr", "touch"}
_WRITES_LAST = frozenset({"cp", "ln", "install", "rsync"})
_SQL = re.compile(
    r"\b(?:insert\s+(?:or\s+\w+\s+)?into|update\s+\w+\s+set|delete\s+from|drop\s+\w+|alter\s+table)\b", re.IGNORECASE
)
_CODE = re.compile(
    r"\bunlink|\.remove\(|rmtree|\brename|\bwrite|truncate|appendFile|rmSync|,\s*(?:mode\s*=\s*)?[\"'][wax]b?\+?[\"']"
)
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
# The words that follow are somebody's text, not commands.
_HEREDOC = re.compile(r"<<-?\s*[\"']?(\w+)[\"']?([^\n]*)\n.*?(?:\n\s*\1(?=\n|\Z)|\Z)", re.DOTALL)
_END = "\n"


@dataclass(frozen=True, slots=True)
class Reach:
    """What a tool is given: a shell command, or the files it is about to write. Looked at, and never kept."""

    command: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Guarded:
    """The gate's own files and folders, as full paths, each with the word for it; `home` is what `~` stands for.

    Those of `in_projects` lie in somebody's project, which may be moved or deleted as a whole.
    """

    places: Mapping[str, str] = field(default_factory=dict)
    home: str = ""
    in_projects: frozenset[str] = frozenset()


def reaches(reach: Reach, guarded: Guarded, folder: str | None) -> str | None:
    """What of the gate's own a tool would change, in a word; None where it changes nothing that can be seen here.

    >>> own = Guarded({"/h/ledger.db": "the ledger"}, "/h")
    >>> reaches(Reach("cat notes; rm ~/ledger.db"), own, "/w"), reaches(Reach("ls -l ~/ledger.db"), own, "/w")
    ('the ledger', None)
    """
    if not guarded.places:
        return None
    for file in reach.files:
        if (found := _at(_full(file, folder or "", {"HOME": guarded.home}), guarded, whole=False)) is not None:
            return found
    command = reach.command[:COMMAND_CHARS_MAX]
    return _in_shell(command, guarded, folder or "", {"HOME": guarded.home}, 0) if command else None


def _in_shell(text: str, guarded: Guarded, folder: str, known: dict[str, str], depth: int) -> str | None:
    text = _HEREDOC.sub(r"\2", text.replace("\\\n", " "))
    for found_words, targets in _commands(text):
        words = found_words
        for target in targets:
            if (found := _at(_full(target, folder, known), guarded, whole=False)) is not None:
                return found
        while words and ((pair := _ASSIGNED.fullmatch(words[0])) or words[0].rpartition("/")[2] in _BEFORE):
            if pair:
                known[pair[1]] = _filled(pair[2], known)
            words = words[1:]
        if not words:
            continue
        if words[0] == "cd" and len(words) > 1:
            folder = _full(words[1], folder, known)
        elif (found := _in_command(words, guarded, folder, known, depth)) is not None:
            return found
    return None


def _in_command(words: list[str], guarded: Guarded, folder: str, known: dict[str, str], depth: int) -> str | None:
    program, given = words[0].rpartition("/")[2], words[1:]
    if program in _SHELLS or program == "eval":
        code = " ".join(given) if program == "eval" else _after(given, "c")
        return _in_shell(_filled(code, known), guarded, folder, dict(known), depth + 1) if depth < _NESTED_MAX else None
    if _INTERPRETERS.fullmatch(program) and (code := _after(given, "c") or _after(given, "e")):
        return _in_code(_filled(code, known), guarded) if _CODE.search(code) or _SQL.search(code) else None
    names = [word for word in given if not word.startswith("-")]
    if program in {"sed", "perl"}:
        names = names if any(re.match(r"-\w*i|--in-place", word) for word in given) else []
    elif program == "dd":
        names = [name[3:] for name in names if name.startswith("of=")]
    elif program in {"sqlite3", "sqlite"}:
        names = names[:1] if any(_SQL.search(name) for name in names[1:]) else []
    elif program in _WRITES_LAST:
        names = names[-1:] if len(names) > 1 else []
    elif program not in _WRITES:
        return None
    for name in names:
        if (found := _at(_full(name, folder, known), guarded, whole=program in _REMOVES)) is not None:
            return found
    return None


def _in_code(code: str, guarded: Guarded) -> str | None:
    """Whether code that writes names a place in full, or by its place in the user's home."""
    for place, word in guarded.places.items():
        if place in code or (guarded.home and place.replace(guarded.home, "~", 1) in code):
            return word
    return None


def _after(given: list[str], option: str) -> str:
    """The word after `-c`, also where it stands among other letters."""
    for at, word in enumerate(given[:-1]):
        if re.fullmatch(rf"-[a-z]*{option}", word):
            return given[at + 1]
    return ""


def _filled(word: str, known: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda found: known.get(found[1] or found[2], found[0]), word)


def _full(name: str, folder: str, known: Mapping[str, str]) -> str:
    name = _filled(name, known)
    if name == "~" or name.startswith("~/"):
        name = known.get("HOME", "") + name[1:]
    return posixpath.normpath(posixpath.join(folder, name))


def _at(path: str, guarded: Guarded, *, whole: bool) -> str | None:
    """The word for a place that a path is or lies in; with `whole` also one that lies in the path."""
    if not path.startswith("/"):
        return None
    stem = path.rstrip("*").rstrip("/")
    for place, word in guarded.places.items():
        if path == place or path.startswith(place + "/") or (path != stem and stem == place):
            return word
        if whole and place not in guarded.in_projects and place.startswith(stem + "/"):
            return word
    return None


def _commands(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Simple commands as words, and the files their output goes to."""
    words: list[str] = []
    targets: list[str] = []
    into = False
    for word, is_sign in _words(text):
        if not is_sign:
            (targets if into else words).append(word)
            into = False
        elif ">" in word:
            into = True
        elif "<" not in word:
            if words or targets:
                yield words, targets
            words, targets, into = [], [], False


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """Words as a shell makes them, quotes taken off, and its signs; variables in single quotes are left as they are."""
    word: str | None = None
    quote = sign = ""
    for char in text + _END:
        if sign == "#":
            # A comment, to the end of its line.
            if char == "\n":
                sign = ""
                yield char, True
        elif sign == "\\":
            word, sign = (word or "") + char, ""
        elif quote:
            if char == quote:
                quote = ""
            elif char == "\\" and quote == '"':
                sign = "\\"
            else:
                word = (word or "") + char
        elif char in "'\"":
            quote, word = char, word or ""
        elif char == "\\" or (char == "#" and word is None):
            sign = char
        elif char in " \t\r\n;&|()<>`":
            if word is not None:
                yield word, False
            word = None
            if char not in " \t\r":
                yield char, True
        else:
            word = (word or "") + char
