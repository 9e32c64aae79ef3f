"""What a client is: everything that is true of one, what is put into it, and the commands it is given."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from tallygate.clients.program import ClientProgram
from tallygate.core.guard.nested import NestedClient
from tallygate.core.hooks import HookFacts
from tallygate.core.regex import regex
from tallygate.core.usage import ReadingRule
from tallygate.core.values import value
from tallygate.editing.edits import BEGIN, END, HOOK_TOOL, SERVER, Block, FileEdits
from tallygate.files import start_of

if TYPE_CHECKING:
    from tallygate.clients.reading.files import Transcripts
    from tallygate.clients.reading.hooks import Hooks
    from tallygate.clients.reading.otlp import ReadEvents
    from tallygate.clients.reading.status_line import ReadStatus

T = TypeVar("T")

# --- what is wanted --------------------------------------------------------------------------------------------------
# What a client's folder says is to be put where: a description, without touching anything.


class InstallScope(StrEnum):
    """Whether all work of the user is meant, or that of one project."""

    USER = "user"
    PROJECT = "project"


@value(frozen=True, slots=True)
class TelemetryTarget:
    """Where a client's telemetry is to be sent: the receiver on this machine and the token it asks for."""

    port: int
    token: str


@value(frozen=True, slots=True)
class InstallSurroundings:
    """Where an installation takes place. `python` and `hook` are the interpreter and the program of hooks.

    `places` is the file that says where the user's things are; `main` the whole program's file, where an interpreter
    that is started apart from the user's Python would not find it by its name.
    """

    home: Path
    environ: Mapping[str, str]
    platform: str
    python: str
    hook: str
    places: str
    main: str | None = None
    project: Path | None = None
    hard: bool = True
    faults_pass: bool = False
    telemetry: TelemetryTarget | None = None

    def folder(self, variable: str, *default: str) -> Path:
        """The folder a variable names, or its usual place in the home folder."""
        value = self.environ.get(variable, "")
        return Path(value) if value and Path(value).is_absolute() else self.home.joinpath(*default)

    @property
    def root(self) -> Path:
        """The project's folder, where there is one."""
        if self.project is None:
            raise LookupError("no project")
        return self.project


@value(frozen=True, slots=True)
class Requirements:
    """Everything that one client needs in one scope, and what the user has to do or know."""

    files: tuple[FileEdits, ...]
    notes: tuple[str, ...] = ()


@value(frozen=True, slots=True)
class Obstacle:
    """Something that keeps a client's hooks from running, and what the user does about it.

    One that `comes_next` is no fault: a step that the client leaves to its user after each installation.
    """

    what: str
    to_do: str
    comes_next: bool = False


class Ends(StrEnum):
    """What a refusal ends in a client; where it ends less than the turn, the model is asked once more."""

    TURN = "the turn"
    TOOL = "the tool"
    NOTHING = "nothing"


def nothing_more(_: InstallSurroundings) -> tuple[Path, ...]:
    """A client that leaves no other sign than its folder."""
    return ()


def nothing_wrong(_: InstallSurroundings) -> Iterator[Obstacle]:
    """A client whose hooks nothing is known to switch off."""
    return iter(())


def nothing_beside(_: InstallSurroundings) -> Obstacle | None:
    """A client that knows no packages of ours."""
    return None


@value(frozen=True, slots=True)
class Deferred(Generic[T]):
    """Something of a client that is imported where it is used: what reads transcripts takes longer than a command."""

    module: str
    name: str

    def load(self) -> T:
        """The thing itself."""
        return cast("T", getattr(import_module(self.module), self.name))


NO = "no"
# What is asked of a limit on a name, or on a plan, in the order of the table in docs/enforcement.md.
LIMIT_FACTS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "agent": (
        ("counted", "agent_counted"),
        ("one at work is stopped", "agent_stopped"),
        ("none is started", "agent_not_started"),
    ),
    "skill": (("counted", "skill_counted"), ("not begun again", "skill_not_begun")),
    "mcp_server": (("counted", "server_counted"), ("its tools are refused", "server_refused")),
    "plan": (("how much is used is told", "plan_told"),),
}


@value(frozen=True, slots=True, kw_only=True)
class LimitFacts:
    """How hard limits on agents, skills, MCP servers and plans are in a client: `yes`, `no`, or where and when.

    What its record says of whom something was made for is counted; what its hooks say of what is to be done is stopped.
    """

    agent_counted: str = NO
    agent_stopped: str = NO
    agent_not_started: str = NO
    skill_counted: str = NO
    skill_not_begun: str = NO
    server_counted: str = NO
    server_refused: str = NO
    plan_told: str = NO

    def of(self, scope: str) -> tuple[tuple[str, str], ...]:
        """What is asked of a scope's limit, and what holds."""
        return tuple((asked, getattr(self, name)) for asked, name in LIMIT_FACTS[scope])

    def stops(self, scope: str) -> bool:
        """Whether a limit of this scope stops anything, be it not everywhere."""
        return any(not said.startswith(NO) for asked, said in self.of(scope) if asked != "counted")


@value(frozen=True, slots=True, kw_only=True)
class Client:
    """Everything that is true of one client.

    `name` is how people write it, and `stored_as` how its rows and installed commands do. `calls_itself` are the words
    of its name where it connects, without signs, and `says_beside` what else that may say and means nothing. A `family`
    is the part of all names that its sessions and responses are told by to be of one client.

    `call_meta` are the names under which it sends something of its own with a call that a model made, and no hook;
    those of `keys_of_calls` are the same for the same call, however often it is sent. `tells_session_in_meta` says that
    `sessionId` there is its own session.

    `facts` say what holds for its hooks, and stand wherever these do. `gating_events` are its names of those at which
    it can still be stopped: where nobody can decide, they are refused. `nested` is what would take the hooks from one
    that an agent starts in a shell.

    `rules` are those that its readers go by, whose texts stand in ledgers and never change.

    `transcripts`, `hooks` and `telemetry` are what reads it; `variables` name one more place of what it writes,
    `workspace_variables` where it is at work, for its hooks, and `project_variables` the same for its servers.

    The `folder` of its settings shows that it is there, or one of other `signs`; `binaries` are the names of what
    starts it, of its `program` or of an editor. `findings` looks for what would
    keep the hooks from running, and `hooks_need` is what its user does after every installation.
    `weakened` says in a sentence how a changed file of its settings would take the gate
    away, and `stand_in` which other server would answer the gate's hooks; both None where nothing would. In one whose
    `hooks_answer_forms` another hook may answer a form before a person sees it, or after. `install_notes_page` is the
    page in docs that says what is to be done and known. A client that nobody has run beside the gate is not measured:
    what is known of it is what others write down. `subscribed` says whether its own files tell that a subscription pays
    for it here. `doubled` finds a package of the client's own (a plugin, an extension) that brings the same hooks: each
    then runs twice, and counts once. `limits` say how hard limits on names and on its plan are in it. `status_line`
    reads what it gives to the command of its status line.
    """

    name: str
    title: str
    folder: Callable[[InstallSurroundings], Path]
    wanted: Callable[[InstallSurroundings, InstallScope], Requirements]
    signs: Callable[[InstallSurroundings], tuple[Path, ...]] = nothing_more
    program: ClientProgram | None = None
    binaries: tuple[str, ...] = ()
    stored_as: str = ""
    calls_itself: tuple[str, ...] = ()
    says_beside: tuple[str, ...] = ()
    family: str | None = None
    transcripts: Deferred[Transcripts] | None = None
    hooks: Deferred[Hooks] | None = None
    facts: HookFacts | None = None
    gating_events: tuple[str, ...] = ()
    nested: NestedClient | None = None
    telemetry: Deferred[ReadEvents] | None = None
    rules: tuple[ReadingRule, ...] = ()
    variables: tuple[str, ...] = ()
    workspace_variables: tuple[str, ...] = ()
    project_variables: tuple[str, ...] = ()
    call_meta: tuple[str, ...] = ()
    keys_of_calls: tuple[str, ...] = ()
    tells_session_in_meta: bool = False
    findings: Callable[[InstallSurroundings], Iterator[Obstacle]] = nothing_wrong
    hooks_need: str | None = None
    weakened: Callable[[Path, Path | None, Path, Mapping[str, str]], str | None] | None = None
    stand_in: Callable[[Path, Path, Mapping[str, str]], str | None] | None = None
    hooks_answer_forms: bool = False
    install_notes_page: str = "guides/install.md"
    subscribed: Callable[[InstallSurroundings], bool] | None = None
    doubled: Callable[[InstallSurroundings], Obstacle | None] = nothing_beside
    is_measured: bool = True
    limits: LimitFacts = LimitFacts()
    status_line: Deferred[ReadStatus] | None = None

    def __post_init__(self) -> None:
        if not self.stored_as:
            object.__setattr__(self, "stored_as", self.name)
        if not self.binaries and self.program is not None:
            object.__setattr__(self, "binaries", self.program.names)
        if (self.hooks is None) != (self.facts is None):
            raise ValueError(f"{self.name} has hooks without facts, or facts without hooks")

    def is_here(self, where: InstallSurroundings) -> bool:
        """Whether something of it lies here."""
        return any(sign.exists() for sign in (self.folder(where), *self.signs(where)))

    @property
    def has_hooks(self) -> bool:
        """Whether its hooks are answered."""
        return self.hooks is not None

    @property
    def tells_plan(self) -> bool:
        """Whether it says how much of its plan is used."""
        return self.limits.plan_told != NO

    @property
    def name_shown(self) -> str:
        """Its title, and that it was not measured."""
        return self.title if self.is_measured else f"{self.title} (not measured)"

    @property
    def can_stop(self) -> Ends:
        """What ends where it is refused a tool; without hooks only an agent that asks is told to stop."""
        if self.facts is None:
            return Ends.NOTHING
        return Ends.TOOL if self.facts.asks_again else Ends.TURN


# --- settings --------------------------------------------------------------------------------------------------------
# What stands in a client's own settings, where something would keep the hooks from running.


SETTINGS_BYTES_MAX = 4 * 1024 * 1024


def content_of(path: Path, bytes_max: int = SETTINGS_BYTES_MAX) -> bytes:
    """A file's bytes; none where it is not there, is no file to read, or is larger than any such file."""
    raw = start_of(path, bytes_max + 1) or b""
    return raw if len(raw) <= bytes_max else b""


def object_in(raw: bytes) -> dict[str, Any] | None:
    """The JSON object that a file holds; None where it holds none."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """A part of a settings file as an object; anything else reads as empty."""
    return value if isinstance(value, Mapping) else {}


# --- entries and commands --------------------------------------------------------------------------------------------
# The entries themselves: the server's command, hooks, the rule; and how to tell that one is ours.


_UNSAFE = regex(r'["$`\\!\x00-\x1f]')


def program(where: InstallSurroundings) -> list[str]:
    """The program as installed commands start it: apart from what a project or a user's Python would put into it.

    Where such an interpreter would not find it by its name, it is started by its place.
    """
    return [where.python, "-I", *([str(where.main)] if where.main else ["-m", "tallygate"])]


# What a status line is called where hooks have the names of their events.
STATUS_LINE = "StatusLine"


def server_arguments(where: InstallSurroundings) -> list[str]:
    """What follows the interpreter in the server's command."""
    return [*program(where)[1:], "serve", "--places", where.places]


def server_command(where: InstallSurroundings) -> dict[str, Any]:
    """The server as most clients start it."""
    return {"command": where.python, "args": server_arguments(where)}


def hook_command(where: InstallSurroundings, client: str, event: str, *, stops: bool = False) -> str:
    """The command line of a hook, quoted for the shell that clients hand it to.

    `stops` is for a client that takes a program which is gone for no objection: the shell then says what stops it.
    """
    words = f"{_quoted(where.python)} -I -S {_quoted(where.hook)}"
    end = " || exit 2" if stops else ""
    return f"{words} --client {client} --event {event} --places {_quoted(where.places)}{end}"


def hook_arguments(where: InstallSurroundings, client: str) -> list[str]:
    """A hook's command as a list, to which the event is added."""
    return [where.python, "-I", "-S", where.hook, "--places", where.places, "--client", client]


def status_command(where: InstallSurroundings, client: str) -> str:
    """The command line of the status line: it runs at every turn, so it asks the running server as a hook does."""
    return hook_command(where, client, STATUS_LINE)


def application_data(where: InstallSurroundings) -> Path:
    """Where a system's applications keep their settings."""
    if where.platform == "darwin":
        return where.home / "Library" / "Application Support"
    return where.folder("XDG_CONFIG_HOME", ".config")


def _quoted(path: str) -> str:
    if _UNSAFE.search(path):
        return shlex.quote(path)
    return f'"{path}"'


def tool_hook(client: str, event: str, fields: tuple[str, ...], server: str = SERVER) -> dict[str, Any]:
    """A hook that calls the running server; the client fills the fields in."""
    given = {"client": client, "event": event, **{name: f"${{{name}}}" for name in fields}}
    return {"type": "mcp_tool", "server": server, "tool": HOOK_TOOL, "input": given}


@cache
def rule_text() -> str:
    """The short rule for agents."""
    return files("tallygate.clients").joinpath("rule.md").read_text(encoding="utf-8").strip() + "\n"


def rule_block(front: str = "") -> Block:
    """The rule between its markers."""
    return Block(f"{BEGIN}\n{rule_text()}{END}\n", front)


# --- the program's own command ---------------------------------------------------------------------------------------
# How a user's shell starts this very program: by its name where that finds it, else by its whole path.
#
# Texts name commands by the program's name alone. Whoever hands a text on makes them runnable as they are printed.


NAME = "tallygate"
COMMANDS = (
    "attest", "backup", "budget", "calibrate", "dashboard", "demo", "doctor", "drift", "estimate", "export",
    "history", "hook", "import", "import-l6e", "init", "keys", "ledger", "lock", "loop", "migrate", "off", "on",
    "prices", "report", "restore", "serve", "sessions", "status", "statusline", "sync", "trust", "uninstall",
    "unlock", "usage", "verify", "watch", "why",
)  # fmt: skip
# A command of this program: no part of a path, and not that of another installation ("then its tallygate init").
# `tallygate raise` is none: it is typed as a prompt.
_NAMED = regex(rf"(?<![\w./\\@-])(?<!-m )(?<!its ){NAME}(?= (?:{'|'.join(COMMANDS)})(?![\w-]))")


def is_naming(text: str) -> bool:
    """Whether a text may name a command of this program; most do not."""
    return f"{NAME} " in text


def runnable(text: str, words: str) -> str:
    """A text with each command of this program as it runs in a shell of the user's, in the words of `command_line`."""
    return text if words == NAME else _NAMED.sub(lambda _: words, text)


def command_line(environ: Mapping[str, str], interpreter: str) -> str:
    """The words that a message puts before a command.

    An activated environment finds the name only in the terminal it was activated in, so its path counts for nothing.
    """
    folder = Path(interpreter).parent
    ours = folder / NAME
    if not os.access(ours, os.X_OK):
        return f"{shlex.quote(interpreter)} -m {NAME}"
    active = environ.get("VIRTUAL_ENV")
    active_folder = None if not active else str(Path(active) / "bin")
    lasting = [each for each in environ.get("PATH", "").split(os.pathsep) if each and each != active_folder]
    found = shutil.which(NAME, path=os.pathsep.join(lasting))
    if found is not None and os.path.realpath(found) == os.path.realpath(ours):
        return NAME
    return shlex.quote(str(ours))
