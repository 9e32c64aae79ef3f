"""What the programs that agents run in a shell do to the files they name, as far as their words tell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise, takewhile

from tallygate.core.authority import Loosening
from tallygate.core.guard import sql
from tallygate.core.regex import regex
from tallygate.core.shell import Simple, commands, fits, plain
from tallygate.core.values import value

SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh", "fish", "eval", "su", "script", "at", "batch"})
INTERPRETERS = regex(r"(?:python|pypy|node|nodejs|bun|perl|ruby|php|[gmn]?awk)[\d.]*")
MODES = frozenset({"chmod", "chown", "chgrp", "chattr", "setfacl", "touch"})
# What hides a folder behind another, or lets it go, takes away what lies in it.
_REMOVES = frozenset({
    "rm", "shred", "rmdir", "unlink", "srm", "trash", "trash-put", "rmtrash", "gvfs-trash", "rimraf", "rename",
    "umount", "fusermount",
})  # fmt: skip
_WRITES = MODES | {"truncate", "tee", "sponge", "patch", "fallocate"}
_WRITES_LAST = frozenset({"cp", "ln", "link", "install", "rsync", "scp"})
# Other names for the same: PowerShell's, and the words of `gio`.
_LIKE: Mapping[str, str] = {
    "remove-item": "rm", "ri": "rm", "rd": "rm", "del": "rm", "erase": "rm", "move-item": "mv", "mi": "mv",
    "rename-item": "mv", "rni": "mv", "ren": "mv", "copy-item": "cp", "cpi": "cp", "set-content": "tee",
    "add-content": "tee", "clear-content": "tee", "clc": "tee", "out-file": "tee", "tee-object": "tee",
    "gio trash": "rm", "gio remove": "rm", "gio move": "mv", "gio rename": "mv", "gio copy": "cp", "gio save": "tee",
}  # fmt: skip
LINE_EDITORS = frozenset({"ed", "red", "ex"})
_EDITORS = frozenset({"vim", "vi", "nvim", "gvim", "view"}) | LINE_EDITORS
_SAVES = regex(r"(?:^|[|:,%\d\s])(?:w|wq|wa|wqa|x|xa|up|update|write|wall|exit|sav|saveas)!?(?:\s|\||$)", re.MULTILINE)
_SAVES_TO = regex(r"(?:^|[|:,%\d\s])(?:w|write|sav|saveas)!?\s+(?:>>\s*)?([^\s|]+)", re.MULTILINE)
_ARCHIVERS: Mapping[str, str] = {"tar": "C", "bsdtar": "C", "gtar": "C", "unzip": "d"}
_OUTPUT = {"curl": r"-\w*o|--output", "wget": r"-\w*O|--output-document", "sort": r"-\w*o|--output"}
# Programs that start another one: their options that take a word, and how many words come before the program's name.
_WRAPPERS: Mapping[str, tuple[str, int]] = {
    "sudo": ("ugCDhprtTU", 0), "doas": ("uC", 0), "env": ("uC", 0), "nohup": ("", 0), "time": ("fo", 0),
    "command": ("", 0), "exec": ("a", 0), "builtin": ("", 0), "setsid": ("", 0), "nice": ("n", 0),
    "ionice": ("cnp", 0), "timeout": ("sk", 1), "stdbuf": ("ioe", 0), "flock": ("wE", 1), "watch": ("n", 0),
    "systemd-run": ("pEMHu", 0), "busybox": ("", 0), "caffeinate": ("tw", 0), "unbuffer": ("", 0),
    "faketime": ("", 1), "strace": ("eopsuEP", 0), "taskset": ("", 1), "chrt": ("", 1), "xvfb-run": ("enp", 0),
    "toybox": ("", 0), "chronic": ("", 0), "firejail": ("", 0),
}  # fmt: skip
_RUNNERS = frozenset({"npx", "bunx", "pnpx"})
_ENVIRONMENTS = frozenset({"uv", "poetry", "pipenv", "hatch", "pdm", "rye", "pixi"})
CODE_REMOVES = regex(r"\bunlink|\.remove\(|rmtree|rmSync|\brm\(")
CODE = regex(
    rf"{CODE_REMOVES.pattern}|\brename|\bos\.link\(|hardlink|\blinkSync|\bwrite|truncate|appendFile|copyfile|\.replace\(|shutil\.(?:copy|move)"
    rf"|,\s*(?:mode\s*=\s*)?[\"'][wax]b?\+?[\"']|print\s*>|{sql.CHANGES.pattern}|\bflock\b|\blockf\(",
    re.IGNORECASE,
)
# Files that Python runs by itself before the program that it is started for.
CUSTOMIZES = regex(r"\.pth\b|(?:site|user)customize")
_MADE = regex(r"(?:^|\s)\$?(\w+)\s*=[^=]|\bas\s+(\w+)|\bopen\s*\(?\s*(?:my\s+)?\$?(\w+)\s*,")
_READS = regex(r"\.execute\(|\.read|readFile|\bload|fetch")
# What a command says that takes our entries, or all hooks or servers, out of a client's settings.
DROPS = regex(
    r"tallygate|disableAllHooks|hooksDisabled|hooksConfig|(?:\b|\\n)(?:codex_)?hooks[\"']?\s*[=:]\s*false|del\(\s*\.?[\[\"']*(?:hooks|mcp_?[sS]ervers|mcp)\b"
    r"|(?:hooks|mcp_?[sS]ervers)[\"'\]]*\s*\|?=\s*(?:\{|\[|null|None)"
    r"|(?:pop\(|del\s+\w+\[|delete\s+\w+[.\[])\s*[\"']?(?:hooks|mcp_?[sS]ervers)"
)
_ASSIGNED = regex(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
# Variables that say where the ledger is, the one that counts first, each with its place below what it names.
LEDGERS: Mapping[str, str] = {
    "TALLYGATE_DB": "", "L6E_SESSION_DB_PATH": "", "TALLYGATE_HOME": "", "XDG_DATA_HOME": "/tallygate",
}  # fmt: skip
# Of a search: whether names or paths are meant, and the pattern.
Patterns = tuple[tuple[str, str], ...]
# The program by which clients tell the gate what a person has typed or answered.
_HOOKS = ("tallygate/entrypoints/hook.py", "share/tallygate/hook.py")
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_SSH_WORDS = "bcDEeFIiJLlmOopQRSWw"
_PRINTERS = frozenset({"echo", "printf"})
_HELP = frozenset({"--help", "-h", "--dry-run", "--diff", "--list"})


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
        # `env -S` and `flock -c` take a whole command as one word: it is read as a text of its own.
        if program == "env" and words[:1] and (split := re.fullmatch(r"-\w*S(.*)|--split-string=?(.*)", words[0])):
            return [], " ".join([split[1] or split[2] or "", *words[1:]]), sets
        words = without_options(words, letters)[skipped:]
        if program == "flock" and words[:1] in (["-c"], ["--command"]):
            return [], " ".join(words[1:]), sets
    return words, None, sets


def run_within(program: str, given: list[str]) -> list[str] | None:
    """The command that is run in an environment, as by `uv run`; options before it may take words."""
    if program not in _ENVIRONMENTS or given[:1] != ["run"]:
        return None
    for at, word in enumerate(given[1:], 1):
        name = name_of(word)
        if (at == 1 and not word.startswith("-")) or name in SHELLS or INTERPRETERS.fullmatch(name):
            return given[at:]
    return None


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
    if program in {"perl", "ruby"} and any(re.match(r"-\w*i", word) for word in given):
        return None  # it edits files
    if program.endswith("awk") and awk_edits(given):
        return None
    if program.endswith("awk"):
        return next(iter(without_options(given, "vFfile")), None)
    for letter in "cepr":
        if (code := after(given, letter)) is not None:
            return code
    names = [word for word in given if word != "-" and not word.startswith("-")]
    return text if not names else None


def awk_edits(given: list[str]) -> bool:
    """Whether awk puts what it prints into the place of the files it reads."""
    return re.search(r"(?:^|\s)(?:-[il]\s?|--(?:include|load)[=\s])inplace", " ".join(given)) is not None


def held(words: list[str], first: int) -> str | None:
    """The file that `flock` holds while another program runs; it is one of the first words, which start that."""
    at = next((at for at, word in enumerate(words[:first]) if name_of(word) == "flock"), None)
    if at is None:
        return None
    # A number is the time that a long option takes, or what a shell has open.
    return next((word for word in without_options(words[at + 1 :], "wE") if not re.fullmatch(r"[\d.]+", word)), None)


def held_numbers(words: list[str], first: int) -> set[str]:
    """The numbers of open files that `flock` holds, or the variables that have them."""
    at = next((at for at, word in enumerate(words[:first]) if name_of(word) == "flock"), len(words))
    given = takewhile(re.compile(r"-.*|[\d.]+|\$\{?\w+\}?").fullmatch, words[at + 1 :])
    return {word.strip("${}") for word in given if not word.startswith("-")}


_AWK_INTO = regex(r"\bprintf?\b[^;}\n]*?>>?\s*(?:\"([^\"]*)\"|([A-Za-z_]\w*))")
_AWK_RUNS = regex(r"\bsystem\(\s*\"([^\"]*)\"|\|&?\s*\"([^\"]*)\"|\"([^\"]*)\"\s*\|&?\s*getline")
_AWK_SETS = regex(r"\b([A-Za-z_]\w*)\s*=\s*\"([^\"]*)\"")


def of_awk(given: list[str], code: str) -> tuple[list[str], list[str]]:
    """The files that a program of awk prints into, and the commands that it runs, where it names them.

    >>> of_awk(["-v", "f=/a", "..."], 'NR > 1 {print $1 > f; print "x" >> "/b"; system("rm /c")}')
    (['/a', '/b'], ['rm /c'])
    """
    known = dict(_AWK_SETS.findall(code))
    known |= {pair[1]: pair[2] for word in given if (pair := _ASSIGNED.fullmatch(word.removeprefix("-v"))) is not None}
    names = [text or known.get(name, "") for text, name in _AWK_INTO.findall(code)]
    return [name for name in names if name], ["".join(found) for found in _AWK_RUNS.findall(code)]


def statements(code: str, names: Iterable[str]) -> Iterator[str]:
    """The statements of a program that have to do with one of these names, or with a variable that stands for it."""
    known = re.compile("|".join(map(re.escape, names)))
    for each in re.split(r"[;\n]", code):
        if known.search(each) is None:
            continue
        yield each
        if (made := _MADE.search(each)) is not None and not _READS.search(each):
            known = re.compile(rf"{known.pattern}|\b{made[1] or made[2] or made[3]}\b")


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


def of_parallel(given: list[str]) -> tuple[list[str], list[str]]:
    """The command that `parallel` runs, and the names that it is given for it."""
    at = next((at for at, word in enumerate(given) if word.startswith(":::")), len(given))
    words = without_options(given[:at], "jaINn")
    return worker(unwrapped(words)[0]), [word for word in given[at + 1 :] if not word.startswith(":::")]


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


def alike(program: str, given: list[str]) -> tuple[str, list[str]]:
    """A program by the usual name for what it does, with its words."""
    if program == "gio" and given:
        return _LIKE.get(f"gio {given[0]}", program), given[1:]
    if program in _RUNNERS and (words := without_options(given, "pc")):
        return (name_of(words[0]), words[1:]) if name_of(words[0]) in _REMOVES else (program, given)
    return _LIKE.get(program.lower(), program), given


def touched(program: str, given: list[str]) -> tuple[list[str], list[tuple[str, str | None]]]:
    """What a program takes away, and what it writes, with the file that it copies there where that is told."""
    program, given = alike(program, given)
    names = [word for word in given if not word.startswith("-")]
    if program in _REMOVES:
        return names, []
    if program in _OUTPUT:
        return [], [(value, None) for option, value in pairwise(given) if re.fullmatch(_OUTPUT[program], option)]
    if program.endswith("awk"):
        return [], [(name, None) for name in names] if awk_edits(given) else []
    if program in {"sed", "perl", "ruby"}:
        inplace = any(re.match(r"-\w*i|--in-place", word) for word in given)
        return [], [(name, None) for name in names] if inplace else []
    if program == "dd":
        return [], [(name[3:], None) for name in names if name.startswith("of=")]
    if program in _WRITES:
        return [], [(name, None) for name in names]
    if program in _EDITORS:
        return [], [(name, None) for name in edited(program, given)]
    if program in _ARCHIVERS:
        return [], [(name, None) for name in _unpacked(program, given)]
    if (environments := _environments_made(program, given)) is not None:
        return environments
    if program == "mount":
        names = without_options(given, "otLUTN")
        return ([] if any("remount" in word for word in given) else names[1:]), []
    if program == "mv" or program in _WRITES_LAST:
        folder = after(given, "t") or next((w.partition("=")[2] for w in given if w.startswith("--target-dir")), None)
        sources, target = (names, folder) if folder is not None else (names[:-1], names[-1] if len(names) > 1 else "")
        sources = [source for source in sources if source != target] if folder is not None else sources
        moves = program == "mv" or (program == "rsync" and "--remove-source-files" in given)
        gone = (sources or names) if moves else []
        if program == "rsync" and target and any(word.startswith("--del") for word in given):
            gone = [*gone, target]
        # Of a folder that ends in a slash, what is in it is copied.
        copied = program in {"cp", "mv", "install", "ln", "link"}
        comes = [(target, _copied(program, source) if not copied else source) for source in sources] if target else []
        return gone, comes
    return [], []


def _environments_made(program: str, given: list[str]) -> tuple[list[str], list[tuple[str, str | None]]] | None:
    """What a maker of Python environments takes away and writes; None for other programs.

    An environment that is there already gets another Python; cleared, it loses all that is in it. `uv` clears unasked.
    """
    words = given
    if INTERPRETERS.fullmatch(program) and "-m" in given:
        program, words = next(iter(given[given.index("-m") + 1 :]), ""), given[given.index("-m") + 2 :]
    elif program == "uv" and "venv" in given and (given[0] == "venv" or given[0].startswith("-")):
        program, words = "uv venv", given[given.index("venv") + 1 :]
    if program not in {"venv", "virtualenv", "uv venv"}:
        return None
    values = {at + 1 for at, word in enumerate(words) if word in {"-p", "--python", "--prompt"}}
    names = [word for at, word in enumerate(words) if at not in values and not word.startswith("-")]
    if program == "uv venv":
        return names or [".venv"], []
    return names if "--clear" in words else [], [(f"{name}/bin/python", None) for name in names]


def _copied(program: str, source: str) -> str | None:
    return source if program == "rsync" and not source.endswith("/") and ":" not in source else None


def linked(program: str, given: list[str]) -> list[str]:
    """The files of which a command makes second names, under which they would be written like under the first."""
    short = "".join(word[1:] for word in given if re.fullmatch(r"-[A-Za-z]+", word))
    if not (
        program == "link"
        or (program == "ln" and "s" not in short and "--symbolic" not in given)
        or (program == "cp" and ("l" in short or "--link" in given))
    ):
        return []
    names = [word for word in given if not word.startswith("-")]
    return names if len(names) == 1 or after(given, "t") is not None else names[:-1]


def edited(program: str, given: list[str], text: str | None = None) -> list[str]:
    """The files that an editor writes without anybody at it; an editor that opens one for a person writes nothing."""
    scripts = [word[1:] for word in given if word.startswith("+")]
    scripts += [value for option, value in pairwise(given) if option in {"-c", "--cmd"}]
    names = [word for word in given if not word.startswith(("-", "+")) and word not in scripts]
    text = None if text is None else text.replace("\\n", "\n")
    others = [found[1] for script in [*scripts, text or ""] for found in _SAVES_TO.finditer(script)]
    if program in LINE_EDITORS:
        known = [*scripts, *([] if text is None else [text])]
        return [*(names if not known or any(map(_SAVES.search, known)) else ()), *others]
    batch = any(re.fullmatch(r"-(?:[eE]s|s|S)", word) for word in given)
    return [*(names if batch or any(map(_SAVES.search, scripts)) else ()), *others]


def _unpacked(program: str, given: list[str]) -> list[str]:
    """The folder into which an archive is unpacked."""
    first = given[0] if given else ""
    taken = program == "unzip" or "--extract" in given or re.match(r"-?[A-Za-z]*x", first) is not None
    taken = taken or any(re.fullmatch(r"-[A-Za-z]*x[A-Za-z]*", word) for word in given)
    if not taken:
        return []
    named = [word.partition("=")[2] for word in given if word.startswith("--directory=")]
    letter = _ARCHIVERS[program]
    pairs = (value for option, value in pairwise(given) if option in {f"-{letter}", "--directory"})
    return [*named, *pairs, *(word[2:] for word in given if word.startswith(f"-{letter}") and len(word) > 2)]


@value(frozen=True, slots=True)
class GitWork:
    """What git is told to do to files: where, to which by name (none: to all), and to those it tracks or does not.

    `git_dir` is where it is told to keep its own things.
    """

    folder: str
    names: list[str]
    tracked: bool = True
    untracked: bool = False
    git_dir: str | None = None


def of_git(given: list[str]) -> GitWork | None:
    """What git takes away or puts back; None where it only reads, records, or brings in work by whole branches."""
    folder, git_dir = "", None
    at = 0
    while at < len(given) and given[at].startswith("-"):
        option, _, value = given[at].partition("=")
        if option in {"-C", "-c", "--git-dir", "--work-tree", "--namespace"} and not value:
            at += 1
            value = given[at] if at < len(given) else ""
        if option in {"-C", "--work-tree"}:
            folder = value if value.startswith(("/", "~", "$")) or not folder else f"{folder}/{value}"
        git_dir = value if option == "--git-dir" else git_dir
        at += 1
    told = _of_git_word(given[at] if at < len(given) else "", given[at + 1 :])
    return None if told is None else GitWork(folder, *told, git_dir)


def _of_git_word(word: str, given: list[str]) -> tuple[list[str], bool, bool] | None:
    """The names that a word of git changes in the work tree, and whether tracked and untracked files are meant."""
    short = "".join(each[1:] for each in given if re.fullmatch(r"-[A-Za-z]+", each))
    names = [each for each in given if not each.startswith("-")]
    if "--" in given:
        names = given[given.index("--") + 1 :]
    if word == "clean":
        # Without -f git removes nothing, and with -n it only tells what it would remove.
        forced = ("f" in short or "--force" in given) and "n" not in short and "--dry-run" not in given
        return ([each for each in names if each != after(given, "e")], False, True) if forced else None
    if word == "stash":
        if names[:1] and names[0] in {"list", "show", "drop", "clear", "create", "store"} and "--" not in given:
            return None
        others = bool({"u", "a"}.intersection(short)) or bool({"--include-untracked", "--all"}.intersection(given))
        return (names if "--" in given else []), True, others
    if word == "reset":
        # The other ways of a reset leave the work tree as it is.
        return ([], True, False) if {"--hard", "--merge", "--keep"}.intersection(given) else None
    if word == "checkout":
        # A new branch begins with the files as they are.
        if {"b", "B"}.intersection(short) or not (names or "f" in short or "--force" in given):
            return None
        return names, True, False
    if word == "restore":
        staged = "S" in short or "--staged" in given
        source = after(given, "s")
        kept = [each for each in names if each != source]
        # What is only taken out of the index stays in the work tree.
        return None if (staged and not ("W" in short or "--worktree" in given)) or not kept else (kept, True, False)
    if word in {"rm", "mv"} and names:
        return None if "--cached" in given else (names, True, False)
    return None


def sets_clock(program: str, given: list[str]) -> bool:
    """Whether the system's clock is set by hand; to look at it, and to let it follow the network, is free."""
    if program == "date":
        alone = [word for word in given if word != "-u"]
        by_digits = len(alone) == 1 and re.fullmatch(r"\d{8}(?:\d{2}|\d{4})?(?:\.\d{2})?", alone[0])
        return bool(by_digits) or any(re.fullmatch(r"-u?s.*|--set(?:=.*)?", word) for word in given)
    if program == "timedatectl":
        off = given[:1] == ["set-ntp"] and given[1:2] in (["false"], ["0"], ["no"], ["off"])
        return off or "set-time" in given
    if program == "hwclock":
        return any(re.fullmatch(r"-s|--hctosys|--set", word) for word in given)
    return program.lower() == "set-date"


def loosened(program: str, given: list[str]) -> str | None:
    """The command of ours that loosens, or may, which a program's words stand for.

    Whether `budget set` or `prices update` loosen is told by what is there already. The command itself looks, but one
    that was let go of its agent (`env -u`, `setsid`) cannot see whose it is; limits and prices are the user's to set.
    """
    if program == "tallygate-hook" or any(hook in word for word in given[:4] for hook in _HOOKS):
        return "hook" if "--client" in given else None
    words = _ours_in(program, given)
    if words is None or _HELP.intersection(words):
        return None
    if words[:1] == ["hook"]:
        return "hook"
    for each in Loosening:
        # A loosening is told by its verb, or by an option of one that is free without it: `verify --accept`.
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
        return module[1:] if module and module[0].partition(".")[0] == "tallygate" else None
    if program in {"uv", "uvx", "pipx", "poetry", "hatch", "pdm"} and "tallygate" in given:
        return given[given.index("tallygate") + 1 :]
    return None


# Words by which package managers put another version in the place of one.
_AGAIN = frozenset({"upgrade", "reinstall", "downgrade", "inject", "runpip"})
_FORCED = regex(r"-[A-Za-z]*[UfI][A-Za-z]*|--(?:upgrade|force|force-reinstall|reinstall|ignore-installed|with)(?:=.*)?")
_NAMED = regex(r"tallygate(?:\[[\w,-]*\])?(?:(?:[=<>!~@ ]|@).*)?", re.DOTALL)


def replaces(program: str, given: list[str], *, alone: bool) -> bool:
    """Whether a package manager is told to take the program away, or to put another version in its place.

    `alone` says that the program has an environment of its own, as `uv tool` and `pipx` make them: `pip` by its bare
    name puts nothing there.
    """
    words = given
    if INTERPRETERS.fullmatch(program) and given[:2] == ["-m", "pip"]:
        program, words = "pip", given[2:]
    if not re.fullmatch(r"pip[\d.]*|uv|pipx|brew|conda|mamba", program):
        return False
    # A package that is added to a project puts nothing in the place of the program that runs.
    named = [word for word in words if _NAMED.fullmatch(word)]
    if not named or "add" in words:
        return False
    if {"uninstall", "remove"}.intersection(words):
        return True
    own = program in {"pipx", "brew"} or (program == "uv" and words[:1] == ["tool"])
    if _AGAIN.intersection(words[:2]):
        return own or not alone
    if "install" not in words[:2] or "--dry-run" in words or (alone and not own):
        return False
    return any(map(_FORCED.fullmatch, words)) or any(word != "tallygate" and "[" not in word for word in named)


# Programs that take a whole tree of files, and those that do so when they are told to.
_TREES = frozenset({"cp", "rsync", "scp", "tar", "zip", "7z", "rg", "ag", "ack", "cpio", "bsdtar"})
_RECURSIVE = regex(r"-[A-Za-z]*[rR][A-Za-z]*|--(?:dereference-)?recursive|-exec(?:dir)?|-ok")


def takes_trees(words: Sequence[str]) -> bool:
    """Whether a command reads everything below the folders that it names."""
    program = name_of(words[0]) if words else ""
    told = program in {"grep", "egrep", "fgrep", "find"} and any(map(_RECURSIVE.fullmatch, words[1:]))
    return program in _TREES or told


def reaches_into(pattern: str, place: str) -> bool:
    """Whether a pattern stands for something in a folder that is guarded."""
    parts = pattern.split("/")
    depth = place.count("/") + 1
    return len(parts) > depth and fits("/".join(parts[:depth]), place, within=False)
