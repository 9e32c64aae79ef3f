"""The program a client runs as its hook. It starts in milliseconds: a running server answers, this only carries.

    python -I -S hook.py [--places FILE] --client CLIENT [--event EVENT]

Where no server runs, the whole gate is started in a process of its own, on the same ledger. Nothing but the standard
library is imported here, and of that as little as can be. With the places that `tallygate init` wrote down, the
environment of the client says neither where the ledger is nor what is let through.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    Answer = tuple[int, bytes, bytes, int]  # exit code, the client's words, ours, seconds to hold them back
    Found = tuple[int, str, str, str]  # a server's port, token, whose it is, the file that is there once it has started

INPUT_BYTES_MAX = 16 * 2**20
CONNECT_S = 1
# A server that is there answers within this; else a gate is started for this hook.
ANSWER_S = 3
# How long a server takes at most, from its first moment, to say where it hears; and how often is looked.
STARTS_S, LOOKS_A_SECOND = 1, 100
ALONE_S = 20
# After so many servers that are there and say nothing no other is asked: a client waits for its hook only so long.
SILENT_MAX = 2
# A client runs its hooks itself or through one shell; what is further up started the client.
NEAR, PARENTS_MAX = 2, 16
# What clients and settings say: integrations/hook_lists.py writes it.
# Events at which a client can still be stopped; where nobody can decide, these are refused (exit code 2).
GATING = (
    "PreToolUse PostToolBatch UserPromptSubmit PreCompact BeforeAgent BeforeModel BeforeTool chat.params"
    " chat.message tool.execute.before preToolUse preToolUse.permissionRequest permissionRequest userPromptSubmitted"
)
# Hooks at which a client that was stopped is told why, as its session ends.
ENDING = ("SessionEnd", "sessionEnd")
# Where clients say that they are at work.
WORKSPACE_VARIABLES = (
    "TALLYGATE_PROJECT_DIR",
    "CLAUDE_PROJECT_DIR",
    "GEMINI_PROJECT_DIR",
    "FACTORY_PROJECT_DIR",
)
# What moves nothing where a command is installed.
MOVES_NOTHING = (
    "L6E_CONFIG_PATH L6E_LOG_PATH L6E_SESSION_DB_PATH TALLYGATE_CONFIG TALLYGATE_DB TALLYGATE_HOME"
    " TALLYGATE_KEY_DIR TALLYGATE_LOG_PATH TALLYGATE_PROJECT_DIR HOME XDG_CONFIG_HOME XDG_DATA_HOME LD_PRELOAD"
    " LD_AUDIT PYTHONBREAKPOINT PYTHONCASEOK PYTHONEXECUTABLE PYTHONHOME PYTHONINSPECT PYTHONPATH PYTHONPLATLIBDIR"
    " PYTHONPYCACHEPREFIX PYTHONSTARTUP PYTHONUSERBASE PYTHONWARNINGS"
)
# End of what is written.
LOADERS = ("DYLD_", "FAKETIME")
NAMES_BYTES_MAX = 300
_NOT_STARTED = "the gate could not be started. Run:"


def main() -> int:
    """Answer one hook; the exit code is the client's to read."""
    client, event, file = _words(sys.argv[1:])
    places = read_places(file) if file else {}
    data = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
    answer = None
    if len(data) <= INPUT_BYTES_MAX and (places or not file):
        answer = _asked(client, event, data, places)
    if answer is None:
        answer = _by_itself(client, event, data, file)
    if answer is None:
        code = _undecided(event, places.get("on_fault") if file else os.environ.get("TALLYGATE_ON_FAULT"))
        if code:
            _end_undecided(client, event, data)
        return code
    if answer[2] and event in ENDING:
        answer = (_part(client, answer[2], always=answer[0] != 0), answer[1], b"", 0)
    elif answer[2]:
        answer = _ended(
            client,
            event,
            data,
            answer,
            lambda: _asked(client, event, data, places, ",held"),
            lambda name, *more: _by_itself(client, name, data, file, *more),
        )
    code, body, *_ = answer
    if body:
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
    return code


def _words(arguments: list[str]) -> tuple[str, str, str]:
    found = {"--client": "-", "--event": "-", "--places": ""}
    for name, value in zip(arguments[::2], arguments[1::2], strict=False):
        if name in found and value and (name == "--places" or not any(c.isspace() for c in value)):
            found[name] = value
    return found["--client"], found["--event"], found["--places"]


def read_places(file: str) -> dict[str, str]:
    """What `tallygate init` wrote down, a name and a value a line; empty where that cannot be read."""
    try:
        with open(file, "rb") as stream:
            text = os.fsdecode(stream.read(65536))
    except (OSError, ValueError):
        return {}
    return dict(line.split(" = ", 1) for line in text.split("\n") if " = " in line and not line.startswith("#"))


def _foreign(places: dict[str, str]) -> str:
    """The variables of this client that say something else than the places do, as words for the server."""
    agreed = {value for name, value in places.items() if not name.startswith("environment.")}
    watched, told = set(MOVES_NOTHING.split()), ""
    for name, value in sorted(os.environ.items()) if places else ():
        if not value or not (name in watched or name.startswith(LOADERS)):
            continue
        known = value == places.get("environment." + name) or value in agreed or value.rstrip("/") in agreed
        if not known and len(told) + len(name) < NAMES_BYTES_MAX:
            told += f",{name}"
    return told


def _asked(client: str, event: str, data: bytes, places: dict[str, str], held: str = "") -> "Answer | None":
    """The answer of a running server of this ledger, that of this workspace first; None where there is none."""
    workspace, folder = workspace_of_client(places), places.get("servers") or servers_folder()
    servers = _servers(workspace, folder)
    if not (servers and servers[0][2].endswith(",near")):
        servers = _once_announced(servers, workspace, folder)
    silent = 0
    for port, token, whose, alive in servers:
        if _is_gone(token, alive):
            continue
        what = f"{client} {event} {whose}{held}{_foreign(places)}"
        try:
            # One start is waited for; who comes after a silent one has to answer as if it had started.
            return _carried(port, token, folder if silent else alive, what, workspace, data)
        except TimeoutError:
            silent += 1
            if silent == SILENT_MAX:
                break
        except (OSError, ValueError):
            continue
    return None


def _is_gone(token: str, alive: str) -> bool:
    """Whether a server died in its start: its port may be another's by now. Its token ends with its process."""
    pid = token.partition(".")[2]
    if not pid.isdecimal() or os.path.exists(alive):
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except (OSError, ValueError):
        pass
    return False


def workspace_of_client(places: dict[str, str]) -> bytes:
    """Where the client says that it is at work, else where this process is; empty where that is gone."""
    for name in WORKSPACE_VARIABLES[1:] if places else WORKSPACE_VARIABLES:
        if os.environ.get(name):
            return os.fsencode(os.environ[name])
    try:
        return os.getcwdb()
    except OSError:
        return b""


def _servers(workspace: bytes, folder: str) -> "list[Found]":
    """Ports and tokens of the servers that run, that of the client this hook belongs to first; and whose each is.

    It is the client's own where both were started by one process, or where no other is in this workspace. Servers of
    clients further up are those that this client was started in.
    """
    found = []
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    parents, around, ours = _parents(), [], None
    for name in names:
        if not name.endswith(".hook"):
            continue
        try:
            with open(os.path.join(folder, name), "rb") as file:
                first, _, path = file.read(16384).partition(b"\n")
            port, token, parent, *where = first.decode("ascii").split()
        except (OSError, ValueError):
            continue
        if where:
            ours = ours or here()
            if where != ours:
                continue  # a home that machines share: its port is another one's
        inside = bool(path) and (workspace == path or workspace.startswith(path + b"/"))
        near = parent in parents[:NEAR]
        if parent in parents[NEAR:]:
            around.append(name.removesuffix(".hook"))
        alive = os.path.join(folder, name.removesuffix(".hook") + ".alive")
        found.append((not near, not inside, -len(path) if inside else 0, int(port), token, alive))
    found.sort()
    alone = sum(not outside for _, outside, *_ in found) == 1 and not around
    listed = ",".join(around) or "-"
    return [
        (
            port,
            token,
            f"{'own' if not stranger or (alone and not outside) else 'guest'} {listed}{'' if stranger else ',near'}",
            alive,
        )
        for stranger, outside, _, port, token, alive in found
    ]


def _once_announced(servers: "list[Found]", workspace: bytes, folder: str) -> "list[Found]":
    """The servers that run, with the one that the client is just starting: in a moment it says where it hears.

    Without it the gate would be imported twice on the same cores, and both would be later.
    """
    import time

    for _ in range(STARTS_S * LOOKS_A_SECOND):
        if not _is_starting():
            break
        time.sleep(1 / LOOKS_A_SECOND)
        if len(found := _servers(workspace, folder)) != len(servers):
            return found
    return servers


def _is_starting() -> bool:
    """Whether a server beside this hook has begun within the last second; nothing is known where the system is mute."""
    try:
        with open("/proc/uptime", "rb") as file:
            now = int(file.read(64).partition(b".")[0])
        for parent in _parents()[:NEAR]:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children", "rb") as file:
                    children = file.read(16384).split()
                for child in children:
                    place = f"/proc/{child.decode()}"
                    with open(f"{place}/cmdline", "rb") as file:
                        words = file.read(4096)
                    if b"tallygate" not in words or b"\0serve\0" not in words:
                        continue
                    with open(f"{place}/stat", "rb") as file:
                        began = int(file.read(4096).rpartition(b")")[2].split()[19])
                    if now - began // os.sysconf("SC_CLK_TCK") <= STARTS_S:
                        return True
    except (OSError, ValueError, IndexError):
        pass
    return False


def here() -> list[str]:
    """This host and this start of it, as servers write them down."""
    name = os.uname().nodename
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii", errors="replace") as file:
            boot = "_".join(file.read(64).split())
    except OSError:
        boot = ""
    return [("_".join(name.split()) or "-").encode("ascii", "backslashreplace").decode(), boot or "-"]


def _parents() -> list[str]:
    """The processes this one descends from, the nearest first, as far as they can be told."""
    found: list[str] = []
    pid = os.getppid()
    while pid > 1 and len(found) < PARENTS_MAX:
        found.append(str(pid))
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read(4096).rpartition(b")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            break
    return found


def servers_folder() -> str:
    """The folder beside the ledger where servers say that they run."""
    for name in ("TALLYGATE_DB", "L6E_SESSION_DB_PATH"):
        if os.environ.get(name):
            return os.path.join(os.path.dirname(os.path.abspath(os.path.expanduser(os.environ[name]))), "servers")
    home = os.environ.get("TALLYGATE_HOME")
    if home:
        return os.path.join(os.path.abspath(os.path.expanduser(home)), "servers")
    if sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    else:
        base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(base, "tallygate", "servers")


def _carried(port: int, token: str, alive: str, what: str, workspace: bytes, data: bytes) -> "Answer":
    # The plain C module: `socket` takes as long to import as everything else here together.
    import _socket

    link = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        link.settimeout(CONNECT_S)
        link.connect(("127.0.0.1", port))
        link.settimeout(ANSWER_S)
        head = f"tallygate-hook 1 {token} {what} {len(workspace)} {len(data)}\n"
        link.sendall(head.encode() + workspace + data)
        got = _first_of(link, alive)
        while b"\n" not in got:
            got += _received(link)
        code, size, last, held_s, beside, body = _framed(got)
        while len(body) < size + last + beside:
            body += _received(link)
        _tell(what.split(" ", 1)[0], body[size + last :])
        return code, body[:size], body[size : size + last], held_s
    finally:
        link.close()


def _first_of(link: "_socket.socket", alive: str) -> bytes:
    """The beginning of an answer; a server that is still starting is waited for as long as a gate alone would be.

    On a busy machine that one would be later still, and make the server later.
    """
    starts = not os.path.exists(alive)
    for _ in range(ALONE_S // ANSWER_S):
        try:
            return _received(link)
        except TimeoutError:
            if not starts:
                raise
            starts = not os.path.exists(alive)  # one that has started by now gets its time to answer, too
    raise TimeoutError("the server does not start")


def _received(link: "_socket.socket") -> bytes:
    piece: bytes = link.recv(65536)
    if not piece:
        raise OSError("the server went away")
    return piece


def _by_itself(client: str, event: str, data: bytes, places: str, *more: str) -> "Answer | None":
    """The answer of a gate started for this hook alone; None where that fails."""
    import subprocess

    command = [sys.executable, "-P", "-m", "tallygate", "hook", "--client", client, "--event", event, "--framed"]
    command += more
    environ = dict(os.environ)
    if places:
        names = [name for name in environ if name.startswith(("LD_PRELOAD", "LD_AUDIT", "PYTHON", *LOADERS))]
        told = ",".join(name for name in names if not name.startswith("PYTHON") or name in MOVES_NOTHING.split())
        for name in names:
            del environ[name]
        command[1:4] = ["-I", os.path.join(_package(), "__main__.py")]
        command += ["--places", places, *(["--dropped", told] if told else [])]
    try:
        done = subprocess.run(command, input=data, stdout=subprocess.PIPE, timeout=ALONE_S, check=False, env=environ)
        code, size, last, held_s, beside, body = _framed(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if done.returncode or len(body) != size + last + beside:
        return None
    _tell(client, body[size + last :])
    return code, body[:size], body[size : size + last], held_s


def _tell(client: str, words: bytes) -> None:
    """Say on the client's stderr, where nobody sits before it, what its own hooks would show nobody."""
    if not words:
        return
    _our_package()
    try:
        from tallygate.entrypoints.stopping import tell

        tell(client, words)
    except (ImportError, OSError, ValueError):
        return  # it only tells: the step is decided


def _framed(got: bytes) -> tuple[int, int, int, int, int, bytes]:
    """An answer's exit code, the lengths of its parts, how long it may be held, and what follows its first line."""
    words, _, body = got.partition(b"\n")
    code, size, last, held_s, beside = (int(word) for word in (*words.split(), b"0", b"0", b"0")[:5])
    return code, size, last, held_s, beside, body


def _ended(
    client: str,
    event: str,
    data: bytes,
    answer: "Answer",
    ask: "Callable[[], Answer | None]",
    start: "Callable[..., Answer | None]",
) -> "Answer":
    """End the client's run where it is in print mode; where that cannot be, wait, or let the answer do."""
    _our_package()
    try:
        from tallygate.entrypoints.holding import hold
        from tallygate.entrypoints.stopping import end_run, hook_after_end

        if end_run(client, answer[2]):
            if name := hook_after_end(client):
                start(name)
        else:
            return hold((client, data), answer, ask, lambda: start(event, "--held"))
    except (ImportError, OSError, ValueError) as error:
        print(f"Tallygate: the run could not be ended: {error}", file=sys.stderr)
    return answer


def _part(client: str, last_words: bytes, *, always: bool) -> int:
    """Say why a run in print mode was stopped, as it ends; the exit code at which a client shows that."""
    _our_package()
    try:
        from tallygate.entrypoints.stopping import parting

        code = parting(client, always=always)
    except (ImportError, OSError, ValueError):
        return 0
    if code:
        sys.stderr.buffer.write(last_words + b"\n")
    return code


def _our_package() -> None:
    """Let the rest of us be imported, behind the standard library."""
    sys.path.append(os.path.dirname(_package()))


def _package() -> str:
    """The folder of the rest: around this file, or of the environment that has it as share/tallygate/hook.py."""
    here = os.path.dirname(os.path.abspath(__file__))
    if os.path.basename(here) == "entrypoints":
        return os.path.dirname(here)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return os.path.join(os.path.dirname(os.path.dirname(here)), "lib", version, "site-packages", "tallygate")


def _undecided(event: str, on_fault: str | None) -> int:
    allowed = on_fault == "allow"
    print(f"Tallygate: {_NOT_STARTED} {sys.executable} -m tallygate doctor", file=sys.stderr)
    return 2 if event in GATING.split() and not allowed else 0


def _end_undecided(client: str, event: str, data: bytes) -> None:
    """End a run in print mode whose step nobody could decide: its client would end as if all were well."""
    _our_package()
    try:
        from tallygate.entrypoints.stopping import end_undecided

        text = f"Tallygate: {_NOT_STARTED} {sys.executable} -m tallygate doctor"
        end_undecided(client, event, os.fsencode(text), subagent=b'"agent_id"' in data)
    except (ImportError, OSError, ValueError) as error:
        print(f"Tallygate: the run could not be ended: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
