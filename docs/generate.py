"""Write docs/reference/ from the program: `python docs/generate.py`; with --check, say what is stale."""  # noqa: INP001

from __future__ import annotations

import ast
import json
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from inspect import cleandoc
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import json_schema

from tallygate.app import opened
from tallygate.clients.client import Client, InstallScope, InstallSurroundings
from tallygate.clients.registry import REGISTRY
from tallygate.core import errors
from tallygate.core.costing import Tokens
from tallygate.core.model import Actor
from tallygate.core.words import ActorType, Reason
from tallygate.entrypoints.cli import program as failures
from tallygate.entrypoints.cli.main import tallygate
from tallygate.entrypoints.mcp_server.server import tool_specs
from tallygate.entrypoints.mcp_server.tools import ToolSpec
from tallygate.ledger.sqlite import database
from tallygate.operations.gate import authorize, record
from tallygate.operations.gate import authorize as asked
from tallygate.operations.sessions import ending, opening
from tallygate.settings import UserPlaces, alerts, budgets, load_settings, sections, variables
from tallygate.settings.checks import Unfit
from tallygate.settings.declared import Setting
from tallygate.settings.projects import holds

DOCS = Path(__file__).resolve().parent
SOURCE = DOCS.parent / "src" / "tallygate"
HELP_WIDTH = 100
SIDES = {"arguments": "Takes", "answer": "Answers"}
# An option that so many commands have in the same words is explained once.
OFTEN = 3
MOMENT = "a date (2026-03-01), a time (2026-03-01T14:30), today, yesterday, or how long ago (36h, 7d, 4w)"
NOTE = "<!-- Written by docs/generate.py from the program and docs/descriptions.toml. Do not edit. -->"
# Rows, of which there may be any number, and the sections with other keys than one value each.
ROWS = {"budget": budgets.BUDGET, "alert": alerts.ALERT, "price": sections.PRICE, "discount": sections.DISCOUNT}
TABLES = {
    "": sections.TOP,
    **sections.SECTIONS,
    "unknown_price": sections.UNKNOWN_PRICE,
    "exchange.CODE": sections.EXCHANGE,
    "pricing": sections.PRICING,
    "paths": sections.PATHS,
    **ROWS,
    **{section: dict([named]) for section, named in sections.NAMED.items()},
}
KINDS: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "amount": (str,),
    "integer": (int,),
    "number": (int, Decimal),
    "boolean": (bool,),
    "list": (list,),
    "object": (dict,),
    "null": (type(None),),
}

Words = Mapping[str, Any]


class Mismatch(Exception):
    """The program and the descriptions do not speak of the same things."""


def main(arguments: list[str]) -> int:
    """Write every page, or with --check name those that are not what would be written."""
    try:
        written = pages()
    except Mismatch as mismatch:
        sys.stderr.write(f"docs/descriptions.toml: {mismatch}\n")
        return 1
    stale = []
    for name, text in written.items():
        path = DOCS / "reference" / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if arguments == ["--check"]:
            stale.append(path.name)
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote docs/reference/{name}\n")
    if stale:
        sys.stderr.write(f"stale: {', '.join(stale)}; run: python docs/generate.py\n")
    return 1 if stale else 0


def pages() -> dict[str, str]:
    """Every page of the reference by its name."""
    words: Words = tomllib.loads((DOCS / "descriptions.toml").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        specs, line = program_in(Path(folder).resolve())
    return {
        "clients.md": page("Clients", clients()),
        "tools.md": page("Tools", tools(specs, words)),
        "commands.md": page("Commands", commands()),
        "settings.md": page("Settings", settings(words)),
        "run-log.md": page("Run log", run_log(line, words)),
        "errors.md": page("Errors", error_codes(words)),
        "json.md": page("JSON", json_schema.paragraphs(json_schema.declared())),
        "json.schema.json": json_schema.written(json_schema.declared()),
    }


def page(title: str, parts: Iterable[str]) -> str:
    """A page from its paragraphs."""
    return "\n\n".join([f"# {title}", NOTE, *parts]) + "\n"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def same(what: str, program: Iterable[str], described: Iterable[str]) -> None:
    """Refuse to write a page that leaves something out or speaks of what is gone."""
    missing, gone = set(program) - set(described), set(described) - set(program)
    if missing or gone:
        raise Mismatch(f"{what}: without a description {sorted(missing)}, described but gone {sorted(gone)}")


def program_in(folder: Path) -> tuple[list[ToolSpec], dict[str, Any]]:
    """The tools, and the run-log line of a session in which everything happens that a line can tell."""
    found = load_settings({}, folder, UserPlaces(folder, folder / "config", folder / "data"))
    with opened(found, by="docs") as app:
        rt = app.runtime
        started = opening.start_session(rt, opening.Opening(1_000_000_000, "claude-opus-4.7"))
        sid = started.session.session_id

        def ask(tokens: int, actor: Actor | None = None) -> str:
            step = asked.StatedStep(sid, "edit", prompt_tokens=tokens, actor=actor or Actor())
            return authorize.authorize(rt, step).call_id or ""

        used = ask(1000, Actor(ActorType.SUBAGENT, "a1", "tests"))
        record.record_usage(rt, record.UsageReport(used, Tokens(900, output=10), None, {"correlation_key": "k"}))
        record.void_call(rt, ask(1000), "not needed")
        ask(1000)
        ask(1_000_000)
        ending.end_session(rt, sid)
        specs = tool_specs(rt)
    line = found.paths.run_log.read_text(encoding="utf-8")
    return specs, dict(json.loads(line, parse_float=Decimal))


def clients() -> Iterator[str]:
    """What each client gets, what is read of it, and what ends where it is refused."""
    yield (
        "What `tallygate init` writes for each client, in your own files and in a project's, under the usual places on "
        "Linux. What a refusal ends is told on [enforcement](../enforcement.md), or on the page of the client."
    )
    yield table(
        ["client", "`--client`", "hooks", "its records are read", "a refusal ends", "notes"],
        (
            [
                each.name_shown,
                f"`{each.name}`",
                "yes" if each.has_hooks else "no",
                "no" if each.transcripts is None else "telemetry too" if each.telemetry else "yes",
                each.can_stop.value,
                f"[{each.install_notes_page.rpartition('/')[2].removesuffix('.md')}](../{each.install_notes_page})",
            ]
            for each in REGISTRY.clients.values()
        ),
    )
    yield table(
        ["client", "for all your work", "in a project"],
        ([each.name_shown, *written(each)] for each in REGISTRY.clients.values()),
    )


def written(client: Client) -> Iterator[str]:
    """The files of a client in each scope."""
    home, project = Path("/home/user"), Path("/project")
    where = InstallSurroundings(home, {}, "linux", "python", "hook.py", "places", project=project)
    for scope in InstallScope:
        files = (str(each.path) for each in client.wanted(where, scope).files)
        yield ", ".join(f"`{name.replace(str(home), '~').removeprefix(f'{project}/')}`" for name in files) or "nothing"


def tools(specs: list[ToolSpec], words: Words) -> Iterator[str]:
    """What tools share, then arguments, answers and errors of every tool, then reasons."""
    same("tools", [spec.name for spec in specs], words["tools"])
    same("reasons", [reason.value for reason in Reason], words["reasons"])
    yield words["intro"]["tools"]
    yield "## What they share"
    for side, said in words["shared"].items():
        yield "\n".join([f"{SIDES[side]}:\n", *(f"- `{name}`: {about}" for name, about in said.items())])
    for spec in specs:
        yield from tool(spec, words)
    yield "## Reasons of the gate"
    yield table(["reason", "meaning"], [[f"`{name}`", text] for name, text in words["reasons"].items()])


def tool(spec: ToolSpec, every: Words) -> Iterator[str]:
    """One tool."""
    words = every["tools"][spec.name]
    hints = ["read-only"] * spec.read_only + ["idempotent"] * (spec.idempotent or spec.read_only)
    yield f"## `{spec.name}`"
    yield f"**{spec.title}.** {words['about']}" + (f" Annotations: {', '.join(hints)}." if hints else "")
    taken = {each.name: f"`{each.name}`{kind(each.required, each.schema)}" for each in spec.arguments}
    given = {
        name: f"`{name}`{'' if name in spec.output['required'] else '*'}{kind(False, of)}"
        for name, of in spec.output["properties"].items()
    }
    for side, shown in {"arguments": taken, "answer": given}.items():
        shared, own = every["shared"][side], words.get(side, {})
        same(f"{spec.name} {side}", shown, {*own, *(set(shared) & set(shown))})
        lines = [f"- {text}: {own[name]}" for name, text in shown.items() if name in own]
        if rest := [text.partition(" (")[0] for name, text in shown.items() if name not in own]:
            lines.append(f"- as above: {', '.join(rest)}")  # what they are stands there
        yield "\n".join([f"{SIDES[side]}:\n", *lines])
    codes = ", ".join(f"`{code}`" for code in words.get("errors", []))
    said = [f"Errors: {codes}."] * bool(codes) + [every["intro"]["faults"][words["ledger"]]]
    if any(said):
        yield " ".join(each for each in said if each)


def kind(required: bool, schema: Mapping[str, Any]) -> str:
    """What is said of a value behind its name; nothing of text that may be left out."""
    told = f"{'required ' * required}{shape(schema)}{default(schema)}"
    return "" if told == "string" else f" ({told.removesuffix(' string')})"


def shape(schema: Mapping[str, Any]) -> str:
    """The type of a schema in a word or two."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(shape(each) for each in schema["anyOf"])
    kind = schema["type"]
    if kind == "array":
        return f"list of {schema['items']['type']}"
    return f"{kind} >= {schema['minimum']}" if "minimum" in schema else str(kind)


def default(schema: Mapping[str, Any]) -> str:
    """The default a schema names."""
    return f", default `{json.dumps(schema['default'])}`" if "default" in schema else ""


def commands() -> Iterator[str]:
    """What holds of many commands, then what each says about itself."""
    found = [*every_command(tallygate, None, "tallygate")]
    known = Counter(row for _, context in found for row in rows_of(context))
    often = {row for row, times in known.items() if times >= OFTEN}
    yield "Every command with its options; `tallygate COMMAND -h` says more of each. Exit codes:"
    yield f"```text\n{(failures.__doc__ or '').partition(chr(10))[2].strip()}\n```"
    yield f"A MOMENT is {MOMENT}. Options that many commands have; each names those that it takes under *Also*:"
    writer = click.HelpFormatter(width=HELP_WIDTH)
    writer.write_dl([*sorted(often)])
    yield f"```text\n{writer.getvalue().rstrip()}\n```"
    told = {context.command_path: command(each, context, often) for each, context in found}
    first = {body(text): name for name, text in told.items()}
    for name, text in told.items():
        yield f"## `{name}`"
        yield text if first[body(text)] == name else f"The same as `{first[body(text)]}`."


def body(text: str) -> str:
    """What is said of a command behind its usage, in which its name is."""
    return text.partition("\n\n")[2] or text


def every_command(
    found: click.Command, parent: click.Context | None, name: str
) -> Iterator[tuple[click.Command, click.Context]]:
    """A command and those below it, each with its surroundings."""
    context = click.Context(found, parent=parent, info_name=name, terminal_width=HELP_WIDTH)
    yield found, context
    if isinstance(found, click.Group):
        for below in found.list_commands(context):
            if (inner := found.get_command(context, below)) is not None:
                yield from every_command(inner, context, below)


def rows_of(context: click.Context) -> Iterator[tuple[str, str]]:
    """The options of a command as its help shows them; `--help` every command has."""
    for each in context.command.get_params(context):
        row = each.get_help_record(context) if isinstance(each, click.Option) else None
        if row is not None and "--help" not in each.opts:
            yield row[0], row[1].replace(MOMENT, "a MOMENT")


def command(found: click.Command, context: click.Context, often: set[tuple[str, str]]) -> str:
    """One command, without what stands elsewhere on the page."""
    rows = [*rows_of(context)]
    if context.parent is not None and isinstance(found, click.Group) and not rows:
        return cleandoc(found.help or "")
    writer = click.HelpFormatter(width=HELP_WIDTH)
    words = [word for word in found.collect_usage_pieces(context) if word != "[OPTIONS]"]
    writer.write_text(" ".join([context.command_path, *words]))
    writer.write_paragraph()
    with writer.indentation():
        writer.write_text(cleandoc(found.help or "").partition("\n\n")[0])
    if own := [row for row in rows if row not in often]:
        with writer.section("Options"):
            writer.write_dl(own)
    if also := [name for name, _ in rows if (name, _) in often]:
        with writer.section("Also"):
            writer.write_text(", ".join(dict.fromkeys(name.split(" [")[0] for name in also)))
    if context.parent is None:
        found.format_options(context, rest := click.HelpFormatter(width=HELP_WIDTH))
        _, _, groups = rest.getvalue().partition("Show this message and exit.\n")
        for group in groups.strip().split("\n\n"):
            title, *lines = group.splitlines()
            if title and lines:
                with writer.section(title.removesuffix(":")):
                    writer.write_text(", ".join(line.split()[0] for line in lines if line[2] != " "))
    else:
        found.format_epilog(context, writer)
    return f"```text\n{writer.getvalue().rstrip()}\n```"


def settings(words: Words) -> Iterator[str]:
    """Keys with type, default and example, then variables."""
    yield words["intro"]["settings"]
    for section, keys in TABLES.items():
        head = f"## `[[{section}]]`" if section in ROWS else f"## `[{section}]`"
        yield head if section else "## At the top of the file"
        rows = {key: setting(f"{section}.{key}", key, each) for key, each in keys.items()}
        as_elsewhere = {key: row for key, row in rows.items() if row[-1].removeprefix("Required. ").startswith("As in")}
        yield table(["key", "value", "example", "meaning"], [rows[key] for key in rows if key not in as_elsewhere])
        if as_elsewhere:
            yield f"As in `[[price]]`: {', '.join(f'`{key}`' for key in as_elsewhere)}."
    yield "## Variables"
    yield words["intro"]["variables"]
    yield table(["variable", "sets"], variable_rows(words))


def setting(name: str, key: str, declared: Setting) -> list[str]:
    """One key; its example is held against the check."""
    try:
        declared.check(value_of(declared.example))
    except Unfit as refused:
        raise Mismatch(f"{name}: the example {declared.example} {refused}") from None
    about = "Required. " * declared.required + declared.about
    about += "" if declared.has_effect else " **No effect in this version.**"
    default = "" if declared.default is None else f"; default `{holds(declared, declared.default)}`"
    return [f"`{key}`", kind_of(declared) + default, f"`{declared.example}`", about]


def value_of(text: str) -> Any:
    """What TOML text stands for, as the settings read it."""
    return tomllib.loads(f"value = {text}", parse_float=Decimal)["value"]


def kind_of(declared: Setting) -> str:
    """What a value may be, in the words with which the check refuses another."""
    try:
        declared.check({})
    except Unfit as refused:
        said = str(refused).removeprefix("must be ").removesuffix(", not a table").replace('"', "`")
        return said.partition(", such as")[0].partition(" such as")[0]  # the example has a column of its own
    raise Mismatch(f"{declared.about} takes a table")


def variable_rows(words: Words) -> Iterator[list[str]]:
    """Every variable and what it stands for."""
    known = [
        *variables.VARIABLES,
        *(name for names in variables.PATH_VARIABLES.values() for name in names),
        *variables.USER_FILE_VARIABLES,
        *variables.PROJECT_VARIABLES,
        *variables.CALIBRATION_VARIABLES,
        *variables.ADDRESS_VARIABLES,
    ]
    same("variables", known, [name for row in words["variables"] for name in row["names"]])
    for row in words["variables"]:
        for name in set(row["names"]) & set(variables.VARIABLES):
            section, key = variables.VARIABLES[name]
            if name.removeprefix("TALLYGATE_").lower() != key or row["sets"] != f"the key of that name{of(section)}":
                raise Mismatch(f"{name} sets {key}{of(section)}")
        yield [", ".join(f"`{name}`" for name in row["names"]), row["sets"]]


def of(section: str) -> str:
    """Where a key stands, in words."""
    return f" in `[{section}]`" if section else " at the top"


def run_log(line: Mapping[str, Any], words: Words) -> Iterator[str]:
    """Every field of a line."""
    found = list(fields(line, ""))
    described = words["run_log"]
    same("run log", [name for name, _ in found], described)
    for name, value in found:
        kinds = [kind for part in described[name]["type"].split(" or ") for kind in KINDS[part]]
        if type(value) not in kinds:
            raise Mismatch(f"run log {name}: {value!r} is not {described[name]['type']}")
    yield words["intro"]["run_log"]
    alike = groupby(described.items(), key=lambda each: (each[1]["type"], each[1].get("l6e"), each[1]["about"]))
    yield "\n".join(
        f"- {', '.join(f'`{name}`' + '†' * bool(w.get('l6e')) for name, w in group)}{of_type(kind)}: {about}"
        for (kind, _, about), group in alike
    )


def of_type(kind: str) -> str:
    """What is said of a field's type behind its name; nothing of text."""
    return "" if kind == "text" else f" ({kind})"


def fields(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Every field by its path; maps with free keys and what callers put in are not taken apart."""
    for name, below in value.items():
        path = f"{prefix}{name}"
        yield path, below
        if isinstance(below, dict) and path not in {"prices", "records[].correlation"}:
            yield from fields(below, f"{path}.")
        elif isinstance(below, list):
            for each in below:
                if isinstance(each, dict):
                    yield from fields(each, f"{path}[].")


def error_codes(words: Words) -> Iterator[str]:
    """Every code, the kind it belongs to and the exit code of commands."""
    kinds = codes()
    same("errors", kinds, words["errors"])
    yield words["intro"]["errors"]
    rows = []
    for code, text in words["errors"].items():
        kind = kinds[code]
        exits = failures.exit_code(kind.__new__(kind)) if kind else failures.FAILED
        meaning, _, to_do = text.partition(" -> ")
        rows.append([f"`{code}`", str(exits), meaning, to_do])
    yield table(["code", "exit", "what it means", "what to do"], rows)


def codes() -> dict[str, type[errors.TallygateError] | None]:
    """Codes of the kinds, and those given where an error is raised."""
    named = {
        kind.__name__: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.TallygateError)
    } | {"same_or_conflict": errors.Conflict}
    found: dict[str, type[errors.TallygateError] | None] = {
        kind.code: kind for kind in named.values() if kind is not errors.TallygateError
    }
    for path in sorted(SOURCE.rglob("*.py")):
        found.update({code: named[name] for name, code in stated(path.read_text(encoding="utf-8")) if name in named})
    found.update((code, errors.LedgerUnavailable) for code, _ in database._ERRORS.values())  # noqa: SLF001
    found["internal_error"] = None
    return found


def stated(source: str) -> Iterator[tuple[str, str]]:
    """The codes that a source gives where it makes something, each with the name of what is made, bare or dotted."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        for keyword in node.keywords:
            if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                yield name, str(keyword.value.value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
