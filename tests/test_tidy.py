"""The form of the source: what the house rules say, checked on every file."""

from __future__ import annotations

import ast
import asyncio
import importlib
import io
import pkgutil
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

import tallygate.core.errors as error_tree
from tallygate.clients import FOLDERS
from tallygate.core.errors import TallygateError

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "tallygate"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TEXTS = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")])
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *PACKAGE.rglob("*.md")])

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 100

# Where the word may stand, and why. Money is never a binary fraction.
FLOAT_ALLOWED = {
    "entrypoints/mcp_server/arguments.py": "names the type of a JSON number, to take it apart",
    "core/learning/calibration.py": "logarithms of ratios; what comes out is rounded to millionths",
}
# Where decimal numbers are read or written; between them money is whole nano-units.
DECIMAL_ALLOWED = ("core/money.py", "pricing/", "settings/", "entrypoints/")
# Where time and chance come in; everybody else is handed them.
CLOCK_ALLOWED = {"app.py", "entrypoints/ear.py"}  # the ear is there before anything could be handed to it
CLOCK_CALLS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "localtime"),
    ("time", "gmtime"),
    ("os", "urandom"),
}
CHANCE_MODULES = {"uuid", "random", "secrets"}
# What only a way in asks of the process: a server works for many clients, and hands on what is around each of them.
SURROUNDINGS = {
    "environ", "environb", "getenv", "getenvb", "getcwd", "getcwdb", "getppid", "cwd", "home", "expanduser",
    "expandvars", "gettempdir", "getuser", "getlogin", "around_here", "user_config_dir", "user_data_dir",
}  # fmt: skip
# Owners under whose name such an attribute is the process's; `settings.home` or `where.environ` is a value.
OF_THE_PROCESS = {"os", "Path", "path", "tempfile", "getpass", "platformdirs"}
SURROUNDINGS_ALLOWED = {
    "surroundings.py": "reads them for all others",
    "app.py": "the composition root: installed commands go by other variables than those they were started with",
    "__main__.py": "the way into every command",
    "entrypoints/attended.py": "of one server over stdio: how its client was started",
    "entrypoints/entrance.py": "the process that a client starts: whether a resident may serve it",
    "entrypoints/front.py": "the process that a client starts: whether who started it has gone",
    "entrypoints/handover.py": "the process that a client starts: what is around it is handed over",
    "entrypoints/holding.py": "of the hook program, alone in its process",
    "entrypoints/hook.py": "the hook program",
    "entrypoints/resident.py": "becomes the process of one client, with what is around that",
    "entrypoints/mcp_server/streams.py": "of one server over stdio: whether who started it has gone",
    "entrypoints/runnable.py": "how this process is started in a shell",
    "entrypoints/stopping.py": "of the hook program, alone in its process",
}
# Memories of a whole process below the ways in: each of something that is the same for every client, and bounded.
MEMORIES_ALLOWED = {
    "clients/client.py rule_text": "a file of the package",
    "clients/program.py programs": "what the package has",
    "core/attribution.py _forms": "a pattern as clients may write it",
    "core/attribution.py served_by": "a tool's name taken apart",
    "core/attribution.py servers_meant": "a tool's name taken apart",
    "core/costing.py basis_of": "the digest of a price",
    "core/gate/rules.py from_text": "rules as they stand in a session's row",
    "core/learning/calibration.py logarithm_micros": "logarithms of amounts",
    "core/places.py as_written": "a path taken apart",
    "core/places.py meant": "a path taken apart",
    "core/words.py client_name": "names that clients and settings write, each as it is known",
    "editing/json_text.py parse": "a text taken apart",
    "ledger/rows.py _served_text": "tools as they stand in a row",
    "ledger/rows.py served_in": "tools as they stand in a row",
    "ledger/events.py _SQL": "statements, by table and columns of the program's own",
    "ledger/postgres/dialect.py _KNOWN": "statements of the program's own, in another database's words",
    "machine.py boot": "the machine",
    "machine.py host_name": "the machine",
    "machine.py machine": "the machine",
    "machine.py system": "the machine",
    "operations/budgets/applicable.py _tighter_text": "rules as they stand in a session's row",
    "pricing/frozen.py frozen": "a file of the package, and which version of a library is installed",
    "pricing/identity.py means": "ids of models",
    "pricing/identity.py listed_name": "the same of every id, whoever asks",
    "pricing/identity.py one_name": "ids of models",
    "pricing/overrides.py _channel_of": "ids of models",
    "pricing/reading.py read": "ids of models",
    "pricing/tokens.py _load": "a vocabulary, by the folder it lies in and its digest",
    "settings/source.py key_lines": "a text taken apart",
}
HEAVY = ("mcp", "pydantic", "genai_prices", "tiktoken", "click", "rich", "asyncio")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def inside(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def words_of(path: Path) -> Iterator[tuple[int, str]]:
    """Every name in a file with its line, without what stands in texts and comments."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def lines_with(path: Path, word: str) -> list[str]:
    return [f"{named(path)}:{line}" for line, found in words_of(path) if found == word]


def test_a_file_can_be_read_in_one_sitting() -> None:
    lines = {named(path): path.read_text(encoding="utf-8").count("\n") for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > FILE_LINES_MAX} == {}


def test_a_function_can_be_seen_at_once() -> None:
    long = [
        f"{named(path)}:{node.lineno} {node.name}: {lines} lines"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_no_two_classes_have_one_name() -> None:
    """A reader who meets a name knows what it is; where it is defined need not be looked up first."""
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(named(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_binary_fractions_stand_nowhere_in_the_source() -> None:
    found = [place for path in SOURCES if inside(path) not in FLOAT_ALLOWED for place in lines_with(path, "float")]
    assert found == []


def test_decimals_stand_only_where_numbers_come_in_or_go_out() -> None:
    found = [
        place
        for path in SOURCES
        if not inside(path).startswith(DECIMAL_ALLOWED)
        for place in lines_with(path, "Decimal")
    ]
    assert found == []


def clock_and_chance(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        modules: list[str] = []
        match node:
            case ast.Import():
                modules = [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module)):
                modules = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
                if (owner, name) in CLOCK_CALLS:
                    yield f"{named(path)}:{node.lineno} {owner}.{name}"
        for module in modules:
            if module in CHANCE_MODULES or tuple(module.split(".")[-2:]) in CLOCK_CALLS:
                yield f"{named(path)}:{node.lineno} import of {module}"  # type: ignore[attr-defined]


def test_time_and_chance_come_from_the_composition_root_alone() -> None:
    assert [found for path in SOURCES if inside(path) not in CLOCK_ALLOWED for found in clock_and_chance(path)] == []


def test_the_check_for_clocks_sees_every_way_to_ask_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    ways = [
        "import uuid",
        "from random import choice",
        "from time import time_ns",
        "import datetime; datetime.datetime.now()",
        "from datetime import datetime; datetime.now(tz)",
        "from datetime import datetime; clock = datetime.now",
        "import time; time.time()",
    ]
    for number, way in enumerate(ways):
        file = tmp_path / f"{number}.py"
        file.write_text(way)
        assert list(clock_and_chance(file)), way


def is_way_in(path: Path) -> bool:
    """A command of the command line works for one user, in a process of its own."""
    return inside(path) in SURROUNDINGS_ALLOWED or inside(path).startswith("entrypoints/cli/")


def surroundings_asked(path: Path) -> Iterator[str]:
    """Where a file asks the process for what is around it."""
    for node in ast.walk(tree_of(path)):
        asked: list[str] = []
        match node:
            case ast.ImportFrom(module="os" | "os.path" | "tempfile" | "getpass" | "tallygate.surroundings"):
                asked = [alias.name for alias in node.names]
            case ast.ImportFrom(module="platformdirs"):
                asked = ["user_data_dir"]
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
                asked = [name] if owner in OF_THE_PROCESS else []
            case ast.Call(func=ast.Attribute(attr="expanduser")):
                asked = ["expanduser"]
        yield from (f"{named(path)}:{node.lineno} {name}" for name in asked if name in SURROUNDINGS)  # type: ignore[attr-defined]


def test_what_is_around_a_client_is_asked_by_the_ways_in_alone() -> None:
    assert [found for path in SOURCES if not is_way_in(path) for found in surroundings_asked(path)] == []
    assert [name for name in SURROUNDINGS_ALLOWED if not [*surroundings_asked(PACKAGE / name)]] == []


def test_the_check_for_surroundings_sees_every_way_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    ways = [
        "import os; os.environ['A']",
        "from os import environ",
        "import os; read = os.getenv",
        "import os; os.getppid()",
        "from pathlib import Path; Path.cwd()",
        "import pathlib; pathlib.Path.home()",
        "from pathlib import Path; Path('~').expanduser()",
        "import os.path; os.path.expanduser('~')",
        "import tempfile; tempfile.gettempdir()",
        "from tallygate.surroundings import around_here",
        "import platformdirs; platformdirs.user_data_dir()",
    ]
    for number, way in enumerate(ways):
        file = tmp_path / f"{number}.py"
        file.write_text(way)
        assert list(surroundings_asked(file)), way


def memories(path: Path) -> Iterator[str]:
    """Functions at the top of a file that a whole process remembers the answers of, and tables that are filled."""
    for node in tree_of(path).body:
        match node:
            case ast.FunctionDef():
                kept = {ast.unparse(each).partition("(")[0].rpartition(".")[2] for each in node.decorator_list}
                if kept & {"cache", "lru_cache"}:
                    yield node.name
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                if ast.unparse(value) in {"{}", "[]", "set()", "dict()", "list()"}:
                    yield name


def test_a_process_remembers_nothing_of_one_client() -> None:
    found = {f"{inside(path)} {name}" for path in SOURCES if not is_way_in(path) for name in memories(path)}
    assert found == MEMORIES_ALLOWED.keys()


def test_nothing_is_left_for_later() -> None:
    marks = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")))
    found = [
        f"{named(path)}:{number}"
        for path in TEXTS
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []


def test_pages_name_no_place_of_one_machine() -> None:
    place = re.compile(r"(?<![\w.~])/(work|root|home/\w+|Users/\w+|tmp/\w+)/|[A-Z]:\\Users\\|index-url|simple/")
    found = [
        f"{named(path)}:{number}: {line.strip()}"
        for path in PAGES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if place.search(line)
    ]
    assert found == []


def test_a_client_s_folder_is_known_to_nobody_else() -> None:
    """Its place in the list of folders is all: another client, and what all share, goes by the registry."""
    folders = {path.parent.name for path in PACKAGE.glob("clients/*/client.py")}
    assert folders == set(FOLDERS)
    inside = re.compile(rf"^\s*(?:from|import) tallygate\.clients\.({'|'.join(folders)})\b", re.MULTILINE)
    for path in SOURCES:
        place = path.relative_to(PACKAGE).parts
        own = {place[1]} if place[0] == "clients" and len(place) > 2 else set()
        assert set(inside.findall(path.read_text(encoding="utf-8"))) <= own, named(path)


def test_every_module_and_package_says_what_it_is_for() -> None:
    assert [named(path) for path in SOURCES if not ast.get_docstring(tree_of(path))] == []


# Each starts this program itself or goes on as two, or asks the system for its processes; a project's settings can run
# code in others.
STARTERS = {
    "__main__.py",
    "clients/ancestry.py",
    "clients/feed.py",
    "entrypoints/alerting.py",  # what the user's own settings file names, to tell somebody
    "entrypoints/cli/client_checks.py",
    "entrypoints/cli/demo.py",
    "entrypoints/front.py",
    "entrypoints/handover.py",
    "entrypoints/hook.py",
    "entrypoints/resident.py",
}
STARTS = re.compile(r"subprocess\.(?:run|Popen|call|check_\w+)\(|os\.(?:system|popen|exec\w+|spawn\w+)\(|fork\(")


def test_one_module_alone_draws_on_the_whole_terminal() -> None:
    """What it needs is installed on demand."""
    users = {
        inside(path) for path in SOURCES if re.search(r"^\s*(?:from|import) textual\b", path.read_text(), re.MULTILINE)
    }
    assert users == {"entrypoints/watching.py"}


def test_no_program_is_started_but_this_one_and_git_never_is() -> None:
    texts = {inside(path): path.read_text(encoding="utf-8") for path in SOURCES}
    starting = {name for name, text in texts.items() if STARTS.search(text)}
    assert starting == STARTERS
    assert [name for name in starting if "git" in re.findall(r"\w+", texts[name])] == []


def test_programs_beside_the_package_take_from_it_only_what_is_there() -> None:
    """Nothing else runs them as often as the package changes: a name that went breaks them unseen."""
    gone = []
    for path in [*sorted((ROOT / "bench").glob("*.py")), *ROOT.glob("*/generate.py")]:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tallygate"):
                taken = importlib.import_module(node.module)
                inner = {each.name for each in pkgutil.iter_modules(getattr(taken, "__path__", []))}
                gone += [
                    f"{named(path)}:{node.lineno}: {node.module}.{alias.name}"
                    for alias in node.names
                    if not hasattr(taken, alias.name) and alias.name not in inner
                ]
    assert gone == []


def test_what_a_hook_runs_imports_nothing_heavy() -> None:
    hook = PACKAGE / "entrypoints" / "hook.py"
    modules = ["tallygate.entrypoints.hook"] if hook.exists() else []
    modules += ["tallygate.operations.gate.pipeline", "tallygate.ledger.sqlite.database", "tallygate.ledger.runlog"]
    program = f"import sys, {', '.join(modules)}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What users meet by name has to be explained somewhere they can look it up.


@cache
def documentation() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").rglob("*.md")))


def undocumented(names: set[str]) -> list[str]:
    text = documentation()
    return sorted(name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text))


def error_kinds(kind: type[TallygateError]) -> Iterator[type[TallygateError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from error_kinds(below)


def error_codes() -> set[str]:
    """Codes of the classes, and those given where an error is raised."""
    kinds = list(error_kinds(error_tree.TallygateError))
    names = {kind.__name__ for kind in kinds}
    given = {
        keyword.value.value
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
    }
    return {kind.code for kind in kinds if kind is not TallygateError} | given


def test_every_error_code_is_documented() -> None:
    assert undocumented({f"`{code}`" for code in error_codes()}) == []


def test_error_codes_are_stable_words_and_each_means_one_thing() -> None:
    kinds = list(error_kinds(error_tree.TallygateError))
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert [code for code in codes if not re.fullmatch(r"[a-z]+(_[a-z]+)*", code)] == []


def test_every_tool_is_documented(home: Path) -> None:
    pytest.importorskip("tallygate.entrypoints.mcp_server.server")
    from mcp import Client

    from tallygate.app import opened
    from tallygate.entrypoints.mcp_server.server import build_server
    from tallygate.settings import UserPlaces, load_settings

    async def listed() -> set[str]:
        async with Client(build_server(app.runtime)) as client:
            return {tool.name for tool in (await client.list_tools()).tools}

    settings = load_settings({}, home, UserPlaces(home, home / "config", home / "data"))
    with opened(settings, by="test") as app:
        tools = asyncio.run(listed())
    assert tools
    assert undocumented({f"`{tool}`" for tool in tools}) == []


def commands(command: click.Command, path: str) -> Iterator[str]:
    if not isinstance(command, click.Group):
        yield path
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None, name
        if not below.hidden:
            yield from commands(below, f"{path} {name}")


def test_every_command_is_documented() -> None:
    program = pytest.importorskip("tallygate.entrypoints.cli.main")
    groups = [value for value in vars(program).values() if isinstance(value, click.Group)]
    assert groups, "the command line has no group of commands"
    found = {name for group in groups for name in commands(group, "tallygate")}
    assert found
    assert undocumented(found) == []


# Operations that write and loosen nothing: they count what is spent, tighten, or keep what was said. Everything else
# that writes asks an `Authority`: see core/authority.py.
WRITES_FREELY = {
    "alerts.*": "says whom of a budget was told",
    "loops._keep": "tells of a loop, or stops one",
    "loops._allowed": "a person has said so at the client's own question",
    "lock.tell_lost": "tells of a lock that the user has ended already",
    "opening.session_for_client": "opens what a client's session spends",
    "attest.*": "signs what is",
    "pipeline.take_step": "reserves, or books a step that was made",
    "keep.*": "keeps what a provider states",
    "calls.sweep": "ends what is due",
    "import_l6e.*": "adds what was spent",
    "ingest.*": "adds what was spent",
    "plan.keep_told": "keeps what a client tells of its plan, as a transcript's is kept",
    "record.*": "adds what was spent",
    "ending.end_session": "a client's own end; by the user's word it is end_by_user",
    "ending.flush_run_log": "writes lines that wait",
    "opening.start_session": "adds a budget of its own",
    "runtime.writing": "opens what an operation writes in",
    "looked.keep_looked_through": "says how far what clients wrote is read, by whoever has read it",
    "again._read_file": "says that a file was read once more",
    "again.fill": "says whom a response was made for, and changes no count and no cost",
    "sync.add_up": "adds up what was recorded, for reports",
    "sync._forget_opened": "says no more of folders that could not be read before, and were by now",
}


def test_an_operation_that_writes_is_free_by_name_or_asks_who_speaks() -> None:
    unlisted = []
    for path in sorted((PACKAGE / "operations").rglob("*.py")):
        tree = tree_of(path)
        asking = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
            and "authority" in {arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)}
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or node.name in asking:
                continue
            writes = any(
                isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr == "writing"
                for each in ast.walk(node)
            )
            if writes and not {f"{path.stem}.{node.name}", f"{path.stem}.*"} & set(WRITES_FREELY):
                unlisted.append(f"{path.stem}.{node.name}")
    assert not unlisted, "loosens or not? Pass an Authority, or add it to WRITES_FREELY with the reason"


def test_every_command_is_free_by_name_or_the_users() -> None:
    from tallygate.core.authority import FREE, Loosening
    from tallygate.entrypoints.cli.main import tallygate

    def walk(command: click.Command, words: str) -> Iterator[str]:
        if not isinstance(command, click.Group):
            yield words
            return
        if command.invoke_without_command and words:
            yield words
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from walk(below, f"{words} {name}".strip())

    found = set(walk(tallygate, ""))
    listed = {*FREE, *(each.value for each in Loosening)}
    assert not {*FREE} - found, "there is no such command"
    assert not found - listed, "loosens or not? Add it to Loosening or FREE in core/authority.py"
