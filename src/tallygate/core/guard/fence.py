"""Whether a tool that is about to run reaches for the gate's own files: a fence against a model, not a program.

An edit is judged by its outcome, a shell command only where a guarded path meets a verb that writes. What is looked at
is never kept.
"""

from __future__ import annotations

import posixpath
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field

from tallygate.core.authority import CHANGES_CLIENTS
from tallygate.core.guard import verbs
from tallygate.core.guard.launch import LAUNCHERS, launched
from tallygate.core.guard.nested import Around, NestedClient, leaves, ungated
from tallygate.core.guard.sql import of_sqlite
from tallygate.core.shell import WILD, Simple, braced, commands, filled, fits, plain
from tallygate.core.values import value

# Of a longer command the beginning is judged, and of one with very many names the first.
COMMAND_CHARS_MAX = 20_000
_NAMES_MAX = 500
_NESTED_MAX = 3
# A tool that is given a folder to read looks through all of it.
_SEARCHES = ("rg",)


@value(frozen=True, slots=True)
class Edit:
    """What one file is about to become: a whole text, a copy of another file, or what is there with pieces swapped.

    A swap is what goes, what comes, and whether everywhere. With neither the outcome is not known.
    """

    path: str
    text: str | None = None
    swaps: tuple[tuple[str, str, bool], ...] = ()
    source: str | None = None

    def outcome(self, before: str) -> str | None:
        """The text that the file will hold; None where that cannot be said."""
        if self.text is not None or not self.swaps:
            return self.text
        for goes, comes, everywhere in self.swaps:
            before = before.replace(goes, comes, -1 if everywhere else 1) if goes else before + comes
        return before


@value(frozen=True, slots=True)
class Reach:
    """What a tool is given: a shell command and where it runs, or the files it is about to write.

    `code` says that the command may be a program in another language than a shell's. `reads` are files and folders that
    it looks at.
    """

    command: str = ""
    edits: tuple[Edit, ...] = ()
    folder: str | None = None
    code: bool = False
    reads: tuple[str, ...] = ()


def unseen(_: Edit) -> bool:
    """Nothing is lost where nobody can look."""
    return False


@value(frozen=True, slots=True)
class GitTree:
    """The work tree of a git repository: its top, and whether git keeps a file below it, or one in a folder there.

    None is for a repository that does not say.
    """

    top: str
    keeps: Callable[[str], bool | None]


def nowhere(*_: str | None) -> None:
    """There is nothing where nobody can look."""


@value(frozen=True, slots=True)
class GuardedFiles:
    """The gate's own files and folders, as full paths, each with the word for it; `home` is what `~` stands for.

    `entries` are files of clients that hold entries of ours among others, and `loses` says whether an edit of such a
    one changes those. Those of `in_projects` lie in somebody's project, which may be moved or deleted as a whole.
    `real` follows links, and `twins` makes what says which guarded file a name is a second link to. `tree` finds the
    repository of a folder, by the place of git's own things where that is told; `text_of` reads a file of settings.
    `program` says that the installed program is among the places, `alone` that it has an environment of its own;
    `starts` are folders in which Python looks for code to run before it. `usual` are variables with what they stand
    for where a command does not say. `clients` are those that an agent may start in a shell. `interpreters` are those
    places that other programs name, too, because they run by them. `caches` may be thrown away, but not written. What
    lies in `secrets` no tool even reads; they lie in folders of ours, by which a whole tree of them may be copied.
    """

    places: Mapping[str, str] = field(default_factory=dict)
    home: str = ""
    in_projects: frozenset[str] = frozenset()
    entries: Mapping[str, str] = field(default_factory=dict)
    loses: Callable[[Edit], bool] = unseen
    real: Callable[[str], str] = str
    program: bool = False
    agents_may: frozenset[str] = frozenset()
    twins: Callable[[], Callable[[str], str | None]] = lambda: nowhere
    tree: Callable[[str, str | None], GitTree | None] = nowhere
    text_of: Callable[[str], str | None] = nowhere
    alone: bool = True
    starts: frozenset[str] = frozenset()
    usual: Mapping[str, str] = field(default_factory=dict)
    clients: Mapping[str, NestedClient] = field(default_factory=dict)
    interpreters: frozenset[str] = frozenset()
    caches: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)


@value(frozen=True, slots=True)
class GuardFinding:
    """What a tool reaches for, in a word; `command` says that it is a command which only the user runs.

    `client` says that it is what would start another client without the gate, `clock` that it sets the system's clock,
    `secret` that it is not even to be read.
    """

    what: str
    command: bool = False
    client: bool = False
    clock: bool = False
    secret: bool = False


def reaches(reach: Reach, guarded: GuardedFiles, folder: str | None) -> GuardFinding | None:
    """What of the gate's own a tool would change; None where it changes nothing that can be seen here.

    >>> own = GuardedFiles({"/h/ledger.db": "the ledger"}, "/h")
    >>> reaches(Reach("cat notes; rm ~/ledger.db"), own, "/w"), reaches(Reach("ls -l ~/ledger.db"), own, "/w")
    (GuardFinding(what='the ledger', command=False, client=False, clock=False, secret=False), None)
    """
    if not guarded.places:
        return None
    look = _Shell(guarded, folder or "")
    for edit in reach.edits:
        if (found := look.written(edit.path, edit)) is not None:
            return found
    if (found := look.told(reach.reads, _SEARCHES)) is not None:
        return found
    if not reach.command:
        return None
    if reach.folder is not None:
        look.folder = look.full(reach.folder)
    command = reach.command[:COMMAND_CHARS_MAX]
    if (found := look.spelled(command)) is not None:
        return found
    return (look.code(command) if reach.code else None) or look.shell(command)


class _Shell:
    """A shell that runs nothing: where it is, which variables it knows, and what the commands before have made."""

    def __init__(
        self, guarded: GuardedFiles, folder: str, known: Mapping[str, str] | None = None, depth: int = 0
    ) -> None:
        self.guarded, self.folder, self.depth = guarded, folder, depth
        self.known = {"HOME": guarded.home} if known is None else dict(known)
        self.variables = ChainMap(self.known, dict(guarded.usual)) if guarded.usual else self.known
        self.twin = guarded.twins()
        self.made: set[str] = set()
        self.scripts: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.opened: dict[str, str] = {}
        self.held: set[str] = set()
        self.text = ""
        self.names_left = _NAMES_MAX

    def shell(self, text: str) -> GuardFinding | None:
        """What the commands of a text reach for, one after the other."""
        self.text += text
        before: Simple | None = None
        for each in commands(text):
            if (found := self._simple(each, before)) is not None:
                return found
            before = each
        return None

    def _inner(self, text: str, sets: Mapping[str, str], folder: str | None = None) -> GuardFinding | None:
        if self.depth >= _NESTED_MAX:
            return None
        known = {**self.known, **sets}
        inner = _Shell(self.guarded, self.folder if folder is None else folder, known, self.depth + 1)
        # What a command inside makes, links and opens is there afterwards, too; only its variables and its folder end
        # with it.
        inner.made, inner.links, inner.text, inner.twin = self.made, self.links, self.text, self.twin
        inner.scripts, inner.opened, inner.held = self.scripts, self.opened, self.held
        return inner.shell(plain(text))

    def _simple(self, each: Simple, before: Simple | None) -> GuardFinding | None:
        whole = [filled(word, self.variables) for word in each.words]
        if (found := self.told([*whole, *each.opens.values()], whole)) is not None:
            return found
        words, inner, sets = verbs.unwrapped(whole)
        # What holds the ledger's lock keeps every step waiting.
        name = verbs.held(whole, len(whole) - len(words))
        self.opened |= {number: self.full(opened) for number, opened in each.opens.items()}
        self.held |= verbs.held_numbers(whole, len(whole) - len(words))
        by_number = [self.opened[number] for number in self.held & self.opened.keys()]
        if (
            found := next(filter(None, map(self._same, [*([] if name is None else [name]), *by_number])), None)
        ) is not None:
            return found
        fed = verbs.fed(each, before)
        for target in each.writes:
            # A command that prints what it is told leaves that in the file, behind what is there or alone.
            printed, path = verbs.printed(words, fed), self.full(target)
            edit = Edit(path, None if each.appends else printed)
            if each.appends and printed is not None:
                edit = Edit(path, swaps=(("", printed.replace("\\n", "\n") + "\n", False),))
            if (found := self.written(target, edit)) is not None:
                return found
            if edit.text is not None or edit.swaps:
                self.scripts[edit.path] = f"{edit.outcome(self.scripts.get(edit.path, '')) or ''}\n"
        if inner is not None:
            return self._inner(inner, sets)
        if not words or words[0] in {"export", "declare", "readonly", "local"}:
            self.known |= {**sets, **verbs.unwrapped(words[1:])[2]}
        elif words[0] in {"cd", "pushd"} and len(words) > 1:
            self.folder = self.full(words[1])
        elif words[0] == "for" and words[2:3] == ["in"]:
            self.known[words[1]] = next((word for word in words[3:] if self._removed(word)), words[-1])
        else:
            return self._program(words, before if each.piped else None, fed, sets)
        return None

    def _program(
        self, words: list[str], feeder: Simple | None, fed: str | None, sets: Mapping[str, str]
    ) -> GuardFinding | None:
        # Our own commands first: they are judged by what they loosen and for whom, not by the files they write.
        program, given = verbs.name_of(words[0]), words[1:]
        if (found := self._ours(words[0], given, {**self.known, **sets})) is not None:
            return found
        if verbs.sets_clock(program, given):
            return GuardFinding(f"`{' '.join([program, *given])[:60]}`", clock=True)
        if (found := self._client(program, given, {**self.known, **sets})) is not None:
            return found
        if self.scripts and (script := self._script(words)) is not None:
            return self.code(script) or self._inner(script, sets)
        if program in verbs.SHELLS:
            code = verbs.code_for_shell(program, given, fed)
            return None if code is None else self._inner(code, sets)
        if program in LAUNCHERS or program == "crontab":
            read = self.scripts.get(self.full(given[-1])) if program == "crontab" and given else None
            asked = launched(program, given, read or fed)
            return next(filter(None, (self._inner(each, sets) for each in asked)), None)
        if program == "ssh":
            code = verbs.over_ssh(given)
            return None if code is None else self._inner(code, sets, self.guarded.home)
        if program == "git":
            return self._git(given)
        if (run := verbs.run_within(program, given)) is not None:
            return self._program(run, feeder, fed, sets)
        if verbs.INTERPRETERS.fullmatch(program) and (code := verbs.code_of(program, given, fed)) is not None:
            names, runs = verbs.of_awk(given, plain(code)) if program.endswith("awk") else ((), ())
            awk = (
                *(self.written(name, Edit(self.full(name))) for name in names),
                *(self._inner(e, sets) for e in runs),
            )
            return next(filter(None, awk), None) or self.code(plain(code))
        if program in {"xargs", "parallel"}:
            verb, named = (verbs.of_xargs(given), []) if program == "xargs" else verbs.of_parallel(given)
            listed = [] if feeder is None else [filled(word, self.variables) for word in feeder.words]
            names, patterns = verbs.listed_by(listed, verb)
            printed = () if fed is None else fed.split()[:_NAMES_MAX]
            return self._verb(verb, None, [*named, *names, *printed], patterns) if verb else None
        if program == "find":
            roots, patterns, verb = verbs.of_find(given)
            return self._verb(verb, fed, roots, patterns) if verb else None
        if program in {"sqlite3", "sqlite"}:
            names, changes = of_sqlite(given, fed)
            return next(filter(None, map(self.written, names)), None) if changes else None
        return self._verb(words, fed)

    def _script(self, words: list[str]) -> str | None:
        """What a file holds that this command has written before and now runs, itself or by its interpreter."""
        program, given = verbs.name_of(words[0]), words[1:]
        if "/" in words[0] and (script := self.scripts.get(self.full(words[0]))) is not None:
            return script
        if program not in verbs.SHELLS | {"source", "."} and not verbs.INTERPRETERS.fullmatch(program):
            return None
        names = [word for word in given if not word.startswith("-")]
        return self.scripts.get(self.full(names[0])) if names else None

    def _ours(self, word: str, given: list[str], known: Mapping[str, str]) -> GuardFinding | None:
        """A command that loosens or takes the program out, where it is not said that another ledger is meant."""
        program = verbs.name_of(word)
        if (named := verbs.loosened(program, given)) is not None:
            free = named in self.guarded.agents_may or self._elsewhere(named, known)
            return None if free else GuardFinding(f"`tallygate {named}`", True)
        if self.guarded.program and verbs.replaces(program, given, alone=self.guarded.alone):
            # One that is named by its path works in its own environment, which may be another than ours.
            own = posixpath.dirname(posixpath.dirname(self.full(word)))
            is_ours = any(place.startswith(f"{own}/") for place in self.guarded.starts)
            if is_ours or "/" not in word or program in {"uv", "pipx", "brew"}:
                return GuardFinding("the program")
        if self.guarded.entries and leaves(program, given, self.guarded.clients):
            return GuardFinding("the entries in the settings")
        return None

    def _elsewhere(self, named: str, known: Mapping[str, str]) -> bool:
        """Whether variables lead a command of ours to what is not the user's: another ledger, or a made-up home.

        What changes a client goes by the home alone: whatever ledger it names, the client's files stay where they are.
        """
        homes = {self.guarded.home, self.guarded.real(self.guarded.home)}
        there = [*self._paths(known.get("HOME") or "/", follow=True)]
        made_up = not any(home == path or home.startswith(path.rstrip("/") + "/") for home in homes for path in there)
        # `init` and `uninstall` write into clients' files, which lie in the home whatever ledger is named.
        if named in CHANGES_CLIENTS:
            names = {name for client in self.guarded.clients.values() for name in client.folders or ()}
            folders = [path for name in names if known.get(name) for path in self._paths(known[name], follow=True)]
            places = (*self.guarded.entries, *self.guarded.places)
            has_ours = any(place.startswith(each.rstrip("/") + "/") for each in folders for place in places)
            return made_up and not has_ours and not self._in_installed_project()
        if self._is_ours(known.get("TALLYGATE_KEY_DIR", "")):
            return False
        named_by = next((name for name in verbs.LEDGERS if known.get(name)), None)
        return made_up if named_by is None else not self._is_ours(f"{known[named_by]}{verbs.LEDGERS[named_by]}")

    def _is_ours(self, name: str) -> bool:
        """Whether a name stands for one of the gate's own places."""
        return bool(name) and any(self._at(p, self.guarded.places, whole=False) for p in self._paths(name, follow=True))

    def _in_installed_project(self) -> bool:
        """Whether this is a project that has the gate in files of its own."""
        for entry in self.guarded.in_projects.intersection(self.guarded.entries):
            folder = posixpath.dirname(entry)
            root = posixpath.dirname(folder) if posixpath.basename(folder).startswith(".") else folder
            if self.folder == root or self.folder.startswith(f"{root}/"):
                return True
        return False

    def _git(self, given: list[str]) -> GuardFinding | None:
        """What git takes away or puts back; in a project that is work like any other."""
        work = verbs.of_git(given)
        if work is None:
            return None
        folder = self.full(work.folder or ".")
        tree = self.guarded.tree(folder, None if work.git_dir is None else self.full(work.git_dir))
        if tree is None:
            return None
        # A name with a colon before it counts from the top; what more it says is not looked at.
        below = [tree.top if name.startswith(":") else posixpath.join(folder, name) for name in work.names]
        for path in (each for name in below or [tree.top] for each in self._paths(name, follow=True)):
            for place, word in self.guarded.places.items():
                inside = place.startswith(path.rstrip("/") + "/") or path == place or path.startswith(place + "/")
                if not inside or place in self.guarded.in_projects or not place.startswith(tree.top.rstrip("/") + "/"):
                    continue
                kept = tree.keeps(place[len(tree.top.rstrip("/")) + 1 :])
                if kept is None or (work.tracked if kept else work.untracked):
                    return GuardFinding(word)
        return None

    def _client(self, program: str, given: list[str], known: Mapping[str, str]) -> GuardFinding | None:
        """Another client that would be started without our hooks."""
        entries = (*self.guarded.entries, *self.guarded.places)
        around = Around(
            self.guarded.home, entries, known, self.full, self.text, self.guarded.text_of, self.guarded.clients
        )
        how = ungated(program, given, around)
        return None if how is None else GuardFinding(how, client=True)

    def _verb(
        self,
        words: list[str],
        fed: str | None,
        more: list[str] | None = None,
        patterns: verbs.Patterns | None = None,
    ) -> GuardFinding | None:
        """What a verb does to the files that it names; `more` are given to it by another program."""
        program, given = verbs.name_of(words[0]), words[1:]
        goes, comes = verbs.touched(program, given)
        # A line editor names its file in a script, and not always among its words.
        if program in verbs.LINE_EDITORS:
            comes = [(name, None) for name in verbs.edited(program, given, fed)]
        # A second name is refused before anything is written: behind it the file would be changed under a name nobody
        # guards.
        for name in verbs.linked(program, given):
            if (found := self._same(name)) is not None:
                return found
        for name in more or ():
            if (found := self._removed(name, patterns)) is not None:
                return found
        for name in goes:
            if (found := self._removed(name)) is not None:
                return found
        text = {"truncate": "", "tee": None if "-a" in given else fed}.get(program)
        for name, source in comes:
            copied = None if source is None else self.full(source)
            # Whether the target is a folder is not known without a look at the disk: both readings are held against the
            # places.
            paths = [name] if source is None else [name, posixpath.join(name, posixpath.basename(source))]
            for path in paths:
                # What this very command has just made is not on the disk yet, and a link brings no bytes: neither has a
                # text to look at.
                edit = Edit(path, text, source=None if copied in self.made or program == "ln" else copied)
                if (found := self.written(path, edit, modes=program in verbs.MODES)) is not None:
                    return found
            if program in {"ln", "link"} and copied:
                self.links |= dict.fromkeys(map(self.full, paths), copied)
        return None

    def written(self, name: str, edit: Edit | None = None, *, modes: bool = False) -> GuardFinding | None:
        """What a name stands for that is written, or whose rights are changed."""
        for path in self._paths(name, follow=True):
            for places in (self.guarded.places, self.guarded.caches):
                if (word := self._at(path, places, whole=False)) is not None:
                    return GuardFinding(word)
            folder, _, last = path.rpartition("/")
            if folder in self.guarded.starts and verbs.CUSTOMIZES.search(last):
                return GuardFinding("the program")  # Python would run it in the program's environment before that
            if not modes and (word := self._at(path, self.guarded.entries, whole=False)) is not None:
                # Where it is known what the file will hold, that decides; where it is not, the words of the whole
                # command do.
                known = edit is not None and (edit.text is not None or edit.swaps or edit.source is not None)
                asked = Edit(path) if edit is None else Edit(path, edit.text, edit.swaps, edit.source)
                if self.guarded.loses(asked) if known or not self.text else verbs.DROPS.search(self.text):
                    return GuardFinding(word)
            self.made.add(path)
        return None

    def spelled(self, text: str) -> GuardFinding | None:
        """A secret that is named in full, in whatever language."""
        for place, word in self.guarded.secrets.items():
            if place in text or place.removeprefix(self.guarded.home + "/") in text:
                return GuardFinding(word, secret=True)
        return None

    def told(self, names: Sequence[str], command: Sequence[str] = ()) -> GuardFinding | None:
        """A secret that one of some words stands for, or the folder of ours around it that a command takes whole."""
        if not self.guarded.secrets:
            return None
        takes_all = verbs.takes_trees(command)
        for name in names[:_NAMES_MAX]:
            for each in braced(name.partition("=")[2] or name):
                path = self.full(each)
                for place, word in self.guarded.secrets.items() if path else ():
                    inside = path == place or path.startswith(place + "/")
                    around = takes_all and (path == posixpath.dirname(place) or fits(path, place, within=False))
                    wild = WILD.search(path) is not None and verbs.reaches_into(path, place)
                    if inside or around or wild:
                        return GuardFinding(word, secret=True)
        return None

    def _same(self, name: str) -> GuardFinding | None:
        """What gets a second name, under which it could be written where nobody looks."""
        for path in self._paths(name, follow=True):
            for places in (self.guarded.places, self.guarded.entries, self.guarded.caches):
                if (word := self._at(path, places, whole=False)) is not None:
                    return GuardFinding(word)
        return None

    def _removed(self, name: str, patterns: verbs.Patterns | None = None) -> GuardFinding | None:
        """What a name stands for that is taken away, also as a part of it."""
        for path in self._paths(name, follow=False):
            for places in (self.guarded.places, self.guarded.entries):
                if (word := self._at(path, places, whole=True, patterns=patterns)) is not None:
                    return GuardFinding(word)
        return None

    def code(self, code: str) -> GuardFinding | None:
        """Code that writes where it names a place, in full or by its way from the home folder."""
        if not verbs.CODE.search(code):
            return None
        if any(start in code and verbs.CUSTOMIZES.search(code) for start in self.guarded.starts):
            return GuardFinding("the program")
        for place, word in {**self.guarded.entries, **self.guarded.caches, **self.guarded.places}.items():
            names = {place, place.removeprefix(self.guarded.home + "/")}
            # A Python is named in the first line of scripts, and the end of its path is that of others: it has to be
            # a whole word.
            if place in self.guarded.interpreters:
                names = {f"{mark}{place}{mark}" for mark in "'\""}
            # Code is not run to see what it does: it counts as writing a place where one statement names it and writes.
            written = [each for each in verbs.statements(code, names) if verbs.CODE.search(each)]
            if not written:
                continue
            if place in self.guarded.caches:
                if all(map(verbs.CODE_REMOVES.search, written)):
                    continue
                return GuardFinding(word)
            if place in self.guarded.places or verbs.DROPS.search(code) or any(map(verbs.CODE_REMOVES.search, written)):
                return GuardFinding(word)
        return None

    def full(self, name: str) -> str:
        """The full path that a name stands for here; one that cannot be told is empty."""
        name = plain(filled(name, self.variables))
        if name == "~" or name.startswith("~/"):
            name = self.known.get("HOME", "") + name[1:]
        path = posixpath.normpath(posixpath.join(self.folder, name))
        return path if path.startswith("/") else ""

    def _paths(self, name: str, *, follow: bool) -> Iterator[str]:
        """The full paths of a name, as written and behind links; what is removed is a link itself."""
        for each in braced(name):
            if not (path := self.full(each)):
                continue
            yield path
            for link, target in self.links.items():
                if path == link or path.startswith(link + "/"):
                    yield target + path[len(link) :]
            # A look at the disk for each name takes time that the user waits for: a command of a thousand names gets no
            # more.
            if WILD.search(path) or self.names_left <= 0:
                continue
            self.names_left -= 1
            folder, _, last = path.rpartition("/")
            behind = self.guarded.real(path) if follow else f"{self.guarded.real(folder or '/').rstrip('/')}/{last}"
            if behind != path:
                yield behind
            if follow and (twin := self.twin(behind)) is not None:
                yield twin

    def _at(
        self, path: str, places: Mapping[str, str], *, whole: bool, patterns: verbs.Patterns | None = None
    ) -> str | None:
        """The word for a place that a path is or lies in; with `whole` also one that lies in the path."""
        wild = WILD.search(path) is not None
        for place, word in places.items():
            if wild:
                # A project's own files may go with the project: removing a folder above them is the agent's everyday
                # work.
                within = whole and place not in self.guarded.in_projects
                if fits(path, place, within=within) or verbs.reaches_into(path, place):
                    return word
            elif (
                path == place
                or path.startswith(place + "/")
                or (
                    whole
                    and place not in self.guarded.in_projects
                    and place.startswith(path.rstrip("/") + "/")
                    and (patterns is None or verbs.picked(path, place, patterns))
                )
            ):
                return word
        return None
