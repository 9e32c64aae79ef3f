"""How the source reads: what one authorize and one hook walk through, sizes, shares, and what is called only once.

The numbers serve the reading; docs/architecture.md says which of them are held. `--src` looks at another checkout's
source (its figures at rest only: the walks are those of the package that is installed here).
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import statistics
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import tallygate
from bench.wire import ROOT

SESSION = "0b5c9d9e-0000-4000-8000-000000000002"
PACKAGE = str(Path(tallygate.__file__).resolve().parent)
READING = "SqliteLedger.reading"
SHORT = 8  # lines of a helper that may hide more than it names, where only one place calls it


# --- at rest -------------------------------------------------------------------------------------------------------


@dataclass
class Sources:
    """Every file of the package, parsed once."""

    package: Path
    texts: dict[Path, str] = field(default_factory=dict)
    trees: dict[Path, ast.Module] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in sorted(self.package.rglob("*.py")):
            self.texts[path] = path.read_text(encoding="utf-8")
            self.trees[path] = ast.parse(self.texts[path])

    def files(self, *folders: str) -> list[Path]:
        """Files with something in them, of the named folders or all; package faces are not counted."""
        wanted = [self.package / name for name in folders] or [self.package]
        return [
            path
            for path in self.texts
            if path.name != "__init__.py" and any(path.is_relative_to(folder) for folder in wanted)
        ]

    def functions(self) -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for path, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield path, node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its decorators and docstring."""
    said = ast.get_docstring(node, clean=False)
    first = node.body[0]
    of_docstring = (first.end_lineno or first.lineno) - first.lineno + 1 if said is not None else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - of_docstring


def once_called(sources: Sources) -> list[str]:
    """Private functions of at most eight lines that only one place names."""
    named: Counter[str] = Counter()
    for tree in sources.trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                named[node.id] += 1
            elif isinstance(node, ast.Attribute):
                named[node.attr] += 1
    return [
        f"{path.relative_to(sources.package)}:{node.lineno} {node.name}"
        for path, node in sources.functions()
        if node.name.startswith("_") and not node.name.startswith("__") and named[node.name] == 1
        if length(node) <= SHORT and not node.decorator_list
    ]


def lines_of(sources: Sources) -> dict[str, int]:
    """Lines that are not blank: all, those of imports, those that are a comment."""
    counted = Counter({"code": 0, "imports": 0, "comments": 0})
    for path, tree in sources.trees.items():
        lines = [line.strip() for line in sources.texts[path].splitlines()]
        counted["all"] += len(lines)
        counted["code"] += sum(1 for line in lines if line)
        counted["comments"] += sum(1 for line in lines if line.startswith("#"))
        counted["imports"] += sum(
            (node.end_lineno or node.lineno) - node.lineno + 1
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
        )
    return dict(counted)


def shared_names(sources: Sources) -> dict[str, int]:
    """Names that several classes carry."""
    named = Counter(
        node.name for tree in sources.trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    return {name: count for name, count in sorted(named.items()) if count > 1 and not name.startswith("_")}


def arrows(sources: Sources) -> dict[str, set[str]]:
    """Which module of the package imports which; not what is imported for types alone."""
    modules = {_module(sources, path): path for path in sources.trees}
    found: dict[str, set[str]] = {name: set() for name in modules}
    for name, path in modules.items():
        for node in _at_run_time(sources.trees[path]):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                targets = [f"{node.module}.{alias.name}" for alias in node.names] + [node.module]
            else:
                continue
            for target in targets:
                if target in modules and target != name and modules[target].name != "__init__.py":
                    found[name].add(target)
    return found


def _module(sources: Sources, path: Path) -> str:
    parts = path.relative_to(sources.package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _at_run_time(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes of a file but for those under `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def reached(graph: dict[str, set[str]], start: str, within: str) -> set[str]:
    """Modules below one package that can be reached from a module of it."""
    known, waiting = {start}, [start]
    while waiting:
        for target in graph[waiting.pop()]:
            if target.startswith(within) and target not in known:
                known.add(target)
                waiting.append(target)
    return known


def at_rest(package: Path) -> dict[str, Any]:
    sources = Sources(package)
    lines, graph = lines_of(sources), arrows(sources)
    lengths = [length(node) for _, node in sources.functions()]
    door = next(
        (name for name in ("tallygate.operations.gate.authorize", "tallygate.operations.authorize") if name in graph),
        None,
    )
    return {
        "files": len(sources.files()),
        "files of operations and core": len(sources.files("operations", "core")),
        "lines": lines["all"],
        "arrows between files": sum(map(len, graph.values())),
        "operations that authorize reaches": len(reached(graph, door, "tallygate.operations.")) if door else None,
        "functions": len(lengths),
        "median function, lines": statistics.median(lengths),
        f"private functions called once, <= {SHORT} lines": len(once_called(sources)),
        "imports, % of lines": round(100 * lines["imports"] / lines["code"], 1),
        "comments, % of lines": round(100 * lines["comments"] / lines["code"], 1),
        "class names with several meanings": len(shared_names(sources)),
    }


# --- walked through --------------------------------------------------------------------------------------------------


@dataclass
class Walk:
    """Calls of the package's own functions; a generator counts once, however often it is taken up again."""

    calls: int = 0
    depth: int = 0
    deepest: int = 0
    resting: set[FrameType] = field(default_factory=set)
    functions: set[tuple[str, str]] = field(default_factory=set)
    opened: int = 0

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return
        if event == "call":
            self.depth += 1
            if frame in self.resting:
                return
            self.calls += 1
            self.deepest = max(self.deepest, self.depth)
            self.functions.add((code.co_filename, code.co_qualname))
            self.opened += code.co_qualname == READING
        elif event == "return":
            self.depth -= 1
            if code.co_flags & inspect.CO_GENERATOR:
                self.resting.add(frame)

    def figures(self, name: str) -> dict[str, Any]:
        return {
            f"{name}: calls": self.calls,
            f"{name}: files entered": len({file for file, _ in self.functions}),
            f"{name}: depth": self.deepest,
            f"{name}: readings of the ledger": self.opened,
        }


def walked(work: Callable[[], Any]) -> Walk:
    walk = Walk()
    threading.setprofile(walk)
    sys.setprofile(walk)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return walk


def response(number: int) -> str:
    """One response as Claude Code writes it down, its id as Anthropic gives it once."""
    usage = {"input_tokens": 5, "cache_read_input_tokens": 4000, "cache_creation_input_tokens": 90, "output_tokens": 60}
    message_id = "msg_01" + str(number + 1).rjust(22, "1")
    message: dict[str, Any] = {"id": message_id, "role": "assistant", "model": "claude-sonnet-4-5", "content": []}
    message |= {"stop_reason": "end_turn", "usage": usage}
    row: dict[str, Any] = {
        "type": "assistant",
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    row |= {"sessionId": SESSION, "requestId": f"req_{number}", "uuid": f"u{number}", "message": message}
    return json.dumps(row) + "\n"


def under_way(home: Path) -> dict[str, Any]:
    """The walks of a plain allow and of a hook that brings one new response, each the third of its session."""
    from tallygate.app import compose, settings_here
    from tallygate.entrypoints.hook_dispatcher import HookDispatcher
    from tallygate.entrypoints.mcp_server.server import tool_specs
    from tallygate.entrypoints.mcp_server.tools import Caller, answer_call

    app = compose(settings_here(), by="bench").for_hooks()
    try:
        specs = {spec.name: spec for spec in tool_specs(app.runtime)}
        opened = answer_call(specs["l6e_run_start"], {"budget_usd": 100, "model": "claude-sonnet-4-5"}, Caller())
        step = {"session_id": (opened.structured_content or {})["session_id"], "tool_name": "edit"}

        def authorize() -> None:
            answered = answer_call(specs["l6e_authorize_call"], step, Caller()).structured_content or {}
            assert answered.get("action") == "allow", answered

        dispatcher = HookDispatcher(app.runtime_for)
        transcript = home / ".claude" / "projects" / "-home-project" / f"{SESSION}.jsonl"
        transcript.parent.mkdir(parents=True)
        about = {"session_id": SESSION, "transcript_path": str(transcript), "cwd": str(home), "prompt_id": "p"}

        def hook(event: str, **more: object) -> None:
            said = json.dumps(about | {"hook_event_name": event} | more).encode()
            reply = dispatcher.answer_bytes("claude_code", event, said)
            assert "deny" not in str(reply), reply

        hook("SessionStart", source="startup")
        hook("UserPromptSubmit", prompt="go")
        walks = []
        for number in range(3):
            with transcript.open("a", encoding="utf-8") as out:
                out.write(response(number))
            walks.append(walked(partial(hook, "PostToolBatch", tool_calls=[{"tool_use_id": f"t{number}"}])))
        assert any("transcripts" in file for file, _ in walks[-1].functions), "no response was read"
        authorize()
        authorize()
        return walked(authorize).figures("authorize") | walks[-1].figures("hook with one response")
    finally:
        app.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.house", description=__doc__)
    parser.add_argument("--src", type=Path, default=ROOT / "src", help="folder that holds the package's source")
    parser.add_argument("--quick", action="store_true", help="as it is; for the other programs' sake")
    parser.add_argument("--once", action="store_true", help="name the short private functions that are called once")
    chosen = parser.parse_args(arguments)
    package = chosen.src / "tallygate"
    if chosen.once:
        print("\n".join(once_called(Sources(package))))
        return 0
    figures = at_rest(package)
    if package.resolve() == Path(PACKAGE):
        figures |= at_work()
    for name, value in figures.items():
        print(f"{name:<48}{value:>10}")
    return 0


def at_work() -> dict[str, Any]:
    """The walks, in an empty home that nothing of this machine reaches."""
    with tempfile.TemporaryDirectory(prefix="tallygate-bench-") as name:
        home = Path(name)
        for variable in [name for name in os.environ if name.startswith(("TALLYGATE_", "L6E_", "XDG_", "CLAUDE"))]:
            del os.environ[variable]
        os.environ["HOME"] = name
        os.chdir(home)
        return under_way(home)


if __name__ == "__main__":
    sys.exit(main())
