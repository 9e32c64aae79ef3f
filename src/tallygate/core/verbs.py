"""What the programs that agents run in a shell do to the files they name, as far as their words tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from itertools import pairwise

from tallygate.core.authority import Loosening
from tallygate.core.shell import Simple, commands, fits, plain

SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh", "fish", "eval", "su", "script", "at", "batch"})
INTERPRETERS = re.compile(r"(?:python|pypy|node|nodejs|bun|perl|ruby|php|[gmn]?awk)[\d.]*")
MODES = frozenset({"chmod", "chown", "chgrp", "chattr", "setfacl", "touch"})
_REMOVES = frozenset({"rm", "shred", "rmdir", "unlink", "srm", "trash", "trash-put"})
_WRITES = MODES | {"truncate", "tee", "sponge", "patch"}
_WRITES_LAST = frozenset({"cp", "ln", "install", "rsync", "scp"})
_OUTPUT = {"curl": r"-\w*o|--output", "wget": r"-\w*O|--output-document", "sort": r"-\w*o|--output"}
# Programs that start another one: their options that take a word, and how many words come before the program's name.
_WRAPPERS: Mapping[str, tuple[str, int]] = {
    "sudo": ("ugCDhprtTU", 0), "doas": ("uC", 0), "env": ("uC", 0), "nohup": ("", 0), "time": ("fo", 0),
    "command": ("", 0), "exec": ("a", 0), "builtin": ("", 0), "setsid": ("", 0), "nice": ("n", 0),
    "ionice": ("cnp", 0), "timeout": ("sk", 1), "stdbuf": ("ioe", 0), "flock": ("wE", 1), "watch": ("n", 0),
    "systemd-run": ("pEMHu", 0), "busybox": ("", 0), "caffeinate": ("tw", 0), "unbuffer": ("", 0),
}  # fmt: skip
_SQL = re.compile(
    r"\b(?:insert\s+(?:or\s+\w+\s+)?into|replace\s+into|update\s+(?:or\s+\w+\s+)?\w+\s+set|delete\s+from|drop\s+\w+"
    r"|alter\s+table|create\s+trigger|pragma\s+\w+\s*=)|^\s*\.(?:restore|import|clone)\b",
    re.IGNORECASE | re.MULTILINE,
)
CODE_REMOVES = re.compile(r"\bunlink|\.remove\(|rmtree|rmSync|\brm\(")
CODE = re.compile(
    rf"{CODE_REMOVES.pattern}|\brename|\bwrite|truncate|appendFile|copyfile|\.replace\(|shutil\.(?:copy|move)"
    rf"|,\s*(?:mode\s*=\s*)?[\"'][wax]b?\+?[\"']|print\s*>|{_SQL.pattern}",
    re.IGNORECASE,
)
_MADE = re.compile(r"(?:^|\s)\$?(\w+)\s*=[^=]|\bas\s+(\w+)")
_READS = re.compile(r"\.execute\(|\.read|readFile|\bload|fetch")
# What a command says that takes our entries, or all hooks or servers, out of a client's settings.
DROPS = re.compile(
    r"tallygate|disableAllHooks|del\(\s*\.?[\[\"']*(?:hooks|mcp_?[sS]ervers|mcp)\b"
    r"|(?:hooks|mcp_?[sS]ervers)[\"'\]]*\s*\|?=\s*(?:\{|\[|null|None)"
    r"|(?:pop\(|del\s+\w+\[|delete\s+\w+[.\[])\s*[\"']?(?:hooks|mcp_?[sS]ervers)"
)
_ASSIGNED = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_MOVES = re.compile(r"TALLYGATE_(?:DB|HOME|CONFIG)|L6E_SESSION_DB_PATH|XDG_(?:DATA|CONFIG)_HOME|LOCALAPPDATA|APPDATA")
# Of a search: whether names or paths are meant, and the pattern.
Patterns = tuple[tuple[str, str], ...]
# The program by which clients tell the gate what a person has typed or answered.
_HOOK = "tallygate/entrypoints/hook.py"
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_SSH_WORDS = "bcDEeFIiJLlmOopQRSWw"
_CLIENTS = frozenset({"claude", "codex", "gemini", "qwen", "copilot", "opencode"})
_PRINTERS = frozenset({"echo", "printf"})
_HELP = frozenset({"--help", "-h", "--dry-run", "--list"})


def name_of(word: str) -> str:
    """The program that a word names."""
    return word.rpartition("/")[2].removesuffix(".exe")


def unwrapped(words: list[str]) -> tuple[list[str], str | None, dict[str, str]]:
    """A command without the programs that only start it; its text, where it is given as one word; and what it sets.

    >>> unwrapped(["A=1", "sudo", "-u", "me", "timeout", "-s9", "5", "rm", "x"])
    (['rm', 'x'], None, {'A': '1'})
    """
    sets: dict[str, str] = {}
    while words:
        if (pair := _ASSIGNED.fullmatch(words[0])) is not None:
            sets[pair[1]], words = pair[2], words[1:]
            continue
        program = name_of(words[0])
        if program not in _WRAPPERS:
            break
        letters, skipped = _WRAPPERS[program]
        words = words[1:]
        if program == "env" and words[:1] and (split := re.fullmatch(r"-\w*S(.*)|--split-string=?(.*)", words[0])):
            return [], " ".join([split[1] or split[2] or "", *words[1:]]), sets
        words = without_options(words, letters)[skipped:]
        if program == "flock" and words[:1] in (["-c"], ["--command"]):
            return [], " ".join(words[1:]), sets
    return words, None, sets


def without_options(words: list[str], letters: str) -> list[str]:
    """What follows a program's options, of which those with these letters take a word."""
    at = 0
    while at < len(words) and words[at].startswith("-") and words[at] != "-":
        if words[at] == "--":
            return words[at + 1 :]
        at += 2 if len(words[at]) == 2 and words[at][1] in letters else 1
    return words[at:]


def fed(each: Simple, before: Simple | None) -> str | None:
    """The text that a command reads, where the command line says it."""
    if each.given is not None:
        return each.given
    return printed(before.words, before.given) if each.piped and before is not None and before.words else None


def printed(words: list[str], given: str | None) -> str | None:
    """What a command prints, where that is told by its words; None where it is not."""
    program = name_of(words[0]) if words else ":"
    if program in _PRINTERS:
        return " ".join(word for word in words[1:] if not re.fullmatch(r"-[neE]+|%s(?:\\n)?", word))
    if program == "cat" and given is not None:
        return given
    return "" if program in {":", "true"} else None


def code_for_shell(program: str, given: list[str], text: str | None) -> str | None:
    """The text that a shell is going to run, where the command line says it."""
    if program == "eval":
        return " ".join(given)
    if (code := after(given, "c")) is not None:
        return code
    names = [word for word in given if not word.startswith(("-", "+"))]
    return text if not names or program in {"at", "batch"} or "-s" in given else None


def over_ssh(given: list[str]) -> str | None:
    """What is to be run over ssh on this machine itself."""
    words = without_options(given, _SSH_WORDS)
    return " ".join(words[1:]) if len(words) > 1 and words[0].rpartition("@")[2] in _HERE else None


def code_of(program: str, given: list[str], text: str | None) -> str | None:
    """The code that an interpreter is going to run, where the command line says it; None where it runs a file."""
    if program in {"perl", "ruby", "gawk"} and any(re.match(r"-\w*i", word) for word in given):
        return None  # it edits files
    if program.endswith("awk"):
        return next((word for word in given if not word.startswith("-")), None)
    for letter in "cepr":
        if (code := after(given, letter)) is not None:
            return code
    names = [word for word in given if word != "-" and not word.startswith("-")]
    return text if not names else None


def statements(code: str, names: Iterable[str]) -> Iterator[str]:
    """The statements of a program that have to do with one of these names, or with a variable that stands for it."""
    known = re.compile("|".join(map(re.escape, names)))
    for each in re.split(r"[;\n]", code):
        if known.search(each) is None:
            continue
        yield each
        if (made := _MADE.search(each)) is not None and not _READS.search(each):
            known = re.compile(rf"{known.pattern}|\b{made[1] or made[2]}\b")


def after(given: list[str], letter: str) -> str | None:
    """The word after an option of one letter, also where it stands among other letters."""
    for at, word in enumerate(given[:-1]):
        if re.fullmatch(rf"-[A-Za-z]*{letter}", word):
            return given[at + 1]
    return None


def of_xargs(given: list[str]) -> list[str]:
    """The command that xargs runs."""
    return worker(unwrapped(without_options(given, "IiLlnPdEesaR"))[0])


def worker(words: list[str]) -> list[str]:
    """The command that does something to files, of one that is run for each of them; empty where none does."""
    if words and name_of(words[0]) in SHELLS:
        found = (unwrapped(each.words)[0] for each in commands(plain(after(words[1:], "c") or "")))
        return next((each for each in found if writes(each)), [])
    return words if writes(words) else []


def writes(words: list[str]) -> bool:
    """Whether a command takes files away or changes them."""
    return bool(words) and any(touched(name_of(words[0]), [*words[1:], "file", "file"]))


def listed_by(words: list[str], verb: list[str]) -> tuple[list[str], Patterns | None]:
    """The names that a command prints, for another to work on, and which of the files below them are meant."""
    if words and name_of(words[0]) == "find":
        roots, patterns, _ = of_find(words[1:])
        return roots, patterns
    takes_folders = bool(verb) and name_of(verb[0]) in _REMOVES
    return [word for word in words[1:] if not word.startswith("-")], None if takes_folders else ()


def of_find(given: list[str]) -> tuple[list[str], Patterns | None, list[str]]:
    """Where find looks, by which names (None: any), and the command that it runs on what it finds."""
    first = next((at for at, word in enumerate(given) if word.startswith("-") or word in {"(", "!"}), len(given))
    roots, pairs = given[:first], pairwise(given[first:])
    patterns = tuple((name[-4:], value) for name, value in pairs if re.fullmatch(r"-i?(?:name|path|wholename)", name))
    verb: list[str] = []
    for at, word in enumerate(given):
        if word in {"-exec", "-execdir", "-ok", "-okdir"}:
            verb = worker(unwrapped([each for each in given[at + 1 :] if each not in {"{}", ";", "+"}])[0])
        elif word == "-delete":
            verb = ["rm"]
    return roots or ["."], patterns or None, verb


def picked(root: str, place: str, patterns: Patterns) -> bool:
    """Whether a search by names below a root comes upon a place, or a folder that it lies in."""
    parts = place[len(root.rstrip("/")) + 1 :].lower().split("/")
    return any(
        fnmatchcase(place.lower(), pattern.lower())
        if kind == "path"
        else any(fnmatchcase(p, pattern.lower()) for p in parts)
        for kind, pattern in patterns
    )


def of_sqlite(given: list[str], text: str | None) -> tuple[list[str], bool]:
    """The database that sqlite3 opens, and whether it is told to change it."""
    names = [word for word in given if not word.startswith("-")]
    said = [*names[1:], *([] if text is None else [text])]
    return names[:1], any(_SQL.search(each) for each in said)


def touched(program: str, given: list[str]) -> tuple[list[str], list[tuple[str, str | None]]]:
    """What a program takes away, and what it writes, with the file that it copies there where that is told."""
    names = [word for word in given if not word.startswith("-")]
    if program in _REMOVES:
        return names, []
    if program in _OUTPUT:
        return [], [(value, None) for option, value in pairwise(given) if re.fullmatch(_OUTPUT[program], option)]
    if program in {"sed", "perl", "ruby", "gawk"}:
        inplace = any(re.match(r"-\w*i|--in-place", word) for word in given)
        return [], [(name, None) for name in names] if inplace else []
    if program == "dd":
        return [], [(name[3:], None) for name in names if name.startswith("of=")]
    if program in _WRITES:
        return [], [(name, None) for name in names]
    if program == "mv" or program in _WRITES_LAST:
        folder = after(given, "t") or next((w.partition("=")[2] for w in given if w.startswith("--target-dir")), None)
        sources, target = (names, folder) if folder is not None else (names[:-1], names[-1] if len(names) > 1 else "")
        sources = [source for source in sources if source != target] if folder is not None else sources
        gone = (sources or names) if program == "mv" else []
        copied = program in {"cp", "mv", "install", "ln"}
        comes = [(target, source if copied else None) for source in sources] if target else []
        return gone, comes
    return [], []


def loosened(program: str, given: list[str]) -> str | None:
    """The command of ours that loosens, or may, which a program's words stand for.

    Whether `budget set` or `prices update` loosen is told by what is there already. The command itself looks, but one
    that was let go of its agent (`env -u`, `setsid`) cannot see whose it is; limits and prices are the user's to set.
    """
    if program == "tallygate-hook" or any(_HOOK in word for word in given[:4]):
        return "hook" if "--client" in given else None
    words = _ours_in(program, given)
    if words is None or _HELP.intersection(words):
        return None
    if words[:1] == ["hook"]:
        return "hook"
    for each in Loosening:
        verb, _, option = each.value.partition(" --")
        parts = verb.split()
        if words[: len(parts)] == parts and (not option or f"--{option}" in words):
            return each.value
    return None


def _ours_in(program: str, given: list[str]) -> list[str] | None:
    """The words that the program `tallygate` gets, however it is started."""
    if program in {"tallygate", "tallygate.exe"}:
        return given
    if INTERPRETERS.fullmatch(program) and "-m" in given:
        module = given[given.index("-m") + 1 :]
        return module[1:] if module[:1] == ["tallygate"] else None
    if program in {"uv", "uvx", "pipx", "poetry", "hatch", "pdm"} and "tallygate" in given:
        return given[given.index("tallygate") + 1 :]
    return None


def moves_places(variable: str) -> bool:
    """Whether a variable says that another ledger is meant."""
    return _MOVES.fullmatch(variable) is not None


def uninstalls(program: str, given: list[str]) -> bool:
    """Whether a package manager is told to take the program away."""
    words = given
    if INTERPRETERS.fullmatch(program) and given[:2] == ["-m", "pip"]:
        program, words = "pip", given[2:]
    if not re.fullmatch(r"pip[\d.]*|uv|pipx|brew|conda|mamba", program):
        return False
    return bool({"uninstall", "remove"}.intersection(words)) and "tallygate" in words and "add" not in words


def leaves_client(program: str, given: list[str]) -> bool:
    """Whether a client is told to forget our server or plugin."""
    ours = any(word == "tallygate" or word.startswith("tallygate@") for word in given)
    return program in _CLIENTS and ours and bool({"remove", "rm", "uninstall", "disable"}.intersection(given[:4]))


def reaches_into(pattern: str, place: str) -> bool:
    """Whether a pattern stands for something in a folder that is guarded."""
    parts = pattern.split("/")
    depth = place.count("/") + 1
    return len(parts) > depth and fits("/".join(parts[:depth]), place, within=False)
