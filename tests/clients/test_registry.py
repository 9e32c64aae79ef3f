"""One object a client: what holds for all of them, and a new one from its folder alone."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.made_up.client import ANSWER, CLIENT, TITLE
from tests.world import NANOS, as_said, make_world, the_user

import tallygate
from tallygate.app import compose, settings_here
from tallygate.clients import FOLDERS
from tallygate.clients.client import LIMIT_FACTS, Client, InstallScope, InstallSurroundings, LimitFacts
from tallygate.clients.program import programs
from tallygate.clients.reading.files import Transcripts
from tallygate.clients.reading.hooks import Hooks
from tallygate.clients.registry import REGISTRY, Registry
from tallygate.core.gate.rules import BudgetRule
from tallygate.core.gate.rules import BudgetScope as Limits
from tallygate.core.hooks import HookEvent, Moment
from tallygate.core.moments import as_datetime, microseconds
from tallygate.core.usage import ReadingRule, ResponseKind, Rules
from tallygate.core.words import BudgetMode, CallState
from tallygate.editing.manifest import Manifest
from tallygate.entrypoints import hook
from tallygate.entrypoints.hook_dispatcher import HookDispatcher
from tallygate.operations.hooks import answer_hook
from tallygate.operations.setup.install import carry_out, plan_install, plan_uninstall
from tallygate.operations.usage.sync import sync

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = Path(tallygate.__file__).parent


@pytest.fixture
def world(tmp_path):
    made = make_world(tmp_path)
    yield as_said(made)
    made.ledger.close()


# --- what holds for every client ---


@pytest.mark.parametrize("client", REGISTRY.clients.values(), ids=lambda client: client.name)
def test_what_reads_a_client_is_there_and_goes_by_the_name_its_rows_are_stored_under(client):
    for part, kind in ((client.transcripts, Transcripts), (client.hooks, Hooks)):
        if part is not None:
            loaded = part.load()
            assert isinstance(loaded, kind)
            assert loaded.client == client.stored_as
    if client.telemetry is not None:
        assert callable(client.telemetry.load())
    assert (client.hooks is None) == (client.gating_events == ()) == (client.nested is None)


def test_names_rules_and_words_belong_to_one_client_each():
    every = REGISTRY.clients.values()
    stored = [client.stored_as for client in every]
    words = [word for client in every for word in client.calls_itself]
    texts = [rule.text for client in every for rule in client.rules]
    for each in (stored, words, texts):
        assert len(each) == len(set(each))
    assert set(REGISTRY.sources) | set(REGISTRY.hooks) <= set(stored)


def test_texts_that_stand_in_ledgers_never_change():
    every = REGISTRY.clients.values()
    assert sorted(rule.text for client in every if client.is_measured for rule in client.rules) == [
        "claude.advisor", "claude.agent_progress", "claude.auxiliary", "claude.response", "claude.sidechain",
        "claude.subagent", "claude.telemetry", "claude.telemetry_subagent", "codex.last_usage", "codex.total_delta",
        "codex.usage_record", "copilot.compaction", "copilot.shutdown_total", "copilot.usage_record", "gemini.message",
        "opencode.reasoning_beside", "opencode.reasoning_inside", "opencode.reasoning_unproven", "qwen.api_response",
    ]  # fmt: skip
    assert [client.stored_as for client in every if client.stored_as != client.name] == ["claude_code"]


def test_a_client_cannot_have_hooks_without_what_holds_for_them():
    with pytest.raises(ValueError, match="hooks without facts"):
        replace(CLIENT, facts=None)


def test_the_gate_refuses_a_hook_that_came_without_what_is_known_of_its_client(world):
    with pytest.raises(LookupError, match="without what is known"):
        answer_hook(world.rt, HookEvent("codex", Moment.PROMPT, "s", "UserPromptSubmit"))


def test_a_rule_that_nobody_knows_any_more_read_the_conversation_itself(world):
    with world.ledger.reading() as reader:
        assert reader.rules is REGISTRY.rules
    assert Rules()["gone.rule"] == ReadingRule("gone.rule", ResponseKind.OWN)


def test_the_program_hands_its_ledger_every_rule_and_its_gate_every_client(home):
    app = compose(settings_here({"HOME": str(home)}, home), by="test")
    try:
        with app.ledger.reading() as reader:
            assert reader.rules is REGISTRY.rules
        with app.ledger.writing() as tx:
            assert tx.rules is REGISTRY.rules
        assert app.runtime.workspace.guarded().clients == REGISTRY.nested
    finally:
        app.close()


def test_the_hook_program_knows_what_the_registry_says():
    spec = importlib.util.spec_from_file_location("hook_lists", ROOT / "integrations" / "hook_lists.py")
    assert spec is not None
    assert spec.loader is not None
    lists = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lists)
    text = Path(hook.__file__).read_text(encoding="utf-8")
    assert lists.written(text) == text, "run: python integrations/hook_lists.py"
    assert set(hook.GATING.split()) == set(REGISTRY.gating_events)
    assert hook.ENDING == REGISTRY.ending_events == ("SessionEnd", "sessionEnd")
    assert hook.WORKSPACE_VARIABLES[1:] == REGISTRY.workspace_variables


# --- what the program that clients run for a hook goes by ---


def test_the_hook_program_finds_the_programs_that_the_registry_has():
    every = REGISTRY.clients.values()
    assert list(programs()) == [client.program for client in every if client.program is not None]
    assert [each.stored_as for each in programs()] == [each.stored_as for each in every if each.program is not None]
    assert all(client.program is not None for client in every if client.hooks is not None)
    for client in every:
        if client.facts is not None:
            assert client.program.agents_end_by_themselves == client.facts.agents_end_by_themselves
            assert client.program.undecided <= set(client.gating_events)
            assert bool(client.program.shows_at_end) == (client.facts.told_at_end is not None)


def test_names_packages_and_variables_belong_to_one_program_each():
    for each in ("names", "packages", "markers"):
        words = [word for program in programs() for word in getattr(program, each)]
        assert len(words) == len(set(words))


def test_what_the_hook_program_goes_by_needs_the_standard_library_alone():
    standing = {"__future__", "tallygate.clients", "tallygate.clients.program", "tallygate.clients.codex.interrupting"}
    places = [PACKAGE / "clients" / "program.py", PACKAGE / "clients" / "ancestry.py"]
    places += [PACKAGE / "entrypoints" / f"{name}.py" for name in ("hook", "stopping", "holding")]
    standing |= {"tallygate.clients.ancestry", "tallygate.entrypoints.stopping", "tallygate.entrypoints.holding"}
    places += [PACKAGE / "clients" / "codex" / "interrupting.py", *(PACKAGE / "clients").glob("*/program.py")]
    for path in places:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        taken = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
        taken |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        ours = {name for name in taken if name.partition(".")[0] not in sys.stdlib_module_names}
        assert ours <= standing, path


# --- no client's name inside ---

# Where one may stand, and why.
NAMED = {
    "clients/__init__.py": "the list of all of them, once",
    "core/guard/verbs.py": "a pattern of settings that switch hooks off has the older name of one",
    "entrypoints/cli/demo.py": "ids of models that are shown as examples",
    "entrypoints/cli/hook.py": "the one client that has a status line",
    "entrypoints/cli/options.py": "the ways to write a client's name, by an example",
    "entrypoints/cli/output.py": "an id of a session as an example",
    "core/attribution.py": "what the names of servers of an account begin with, whoever writes them",
    "entrypoints/cli/program.py": "with which codes runs leave that a halt ended, in the help for scripts",
    "entrypoints/hook.py": "lists that are written from the registry",
    "entrypoints/mcp_server/session_tools.py": "the name of one as an example, for the model that fills it in",
    "entrypoints/page/demo_bills.py": "what models of a made-up bill are called",
    "entrypoints/page/demo_month.py": "a month that is made up as an example",
    "operations/bills/keys.py": "names a provider's bills, not its client",
    "operations/budgets/of_settings.py": "an id of a model as an example",
    "operations/views/prices.py": "ids of models that are shown as examples",
    "reports/focus.py": "whose models they are and who serves them, by other lists' names",
    "reports/usage.py": "an id of a model as an example",
    "settings/budgets.py": "an id of a model as an example",
    "settings/model.py": "what the reference says of telemetry and of runs that are ended",
    "settings/sections.py": "an id of a model as an example",
}
# Providers' models and bills have names that clients have as well.
OTHER_SUBJECTS = {"pricing", "statements", "l6e"}
# A database's cursor is none.
COMMON = frozenset({"cursor"})


def words() -> frozenset[str]:
    every = REGISTRY.clients.values()
    found = {word for each in every for word in (each.name, each.stored_as, each.family or each.name)}
    return frozenset(found | {word for each in every for word in each.calls_itself}) - COMMON


def test_no_client_is_named_outside_of_its_folder():
    pattern = re.compile(rf"(?<![a-z])(?:{'|'.join(sorted(words(), key=len, reverse=True))})(?![a-z])", re.IGNORECASE)
    found = set()
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE)
        own = place.parts[0] == "clients" and place.parts[1] in FOLDERS
        if not own and place.parts[0] not in OTHER_SUBJECTS and pattern.search(path.read_text(encoding="utf-8")):
            found.add(place.as_posix())
    assert found == set(NAMED)


def test_what_a_refusal_ends_is_told_on_the_page_of_each_client():
    pages = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("enforcement.md", *notes())}
    rows = re.findall(r"^\| a refusal ends \|(.*)\|$", pages["enforcement.md"], re.MULTILINE)
    head, *_ = re.findall(r"^\| \|(.*Codex.*)\|$", pages["enforcement.md"], re.MULTILINE)
    told = dict(
        zip((each.strip() for each in head.split("|")), (each.strip() for each in rows[0].split("|")), strict=True)
    )
    for client in REGISTRY.clients.values():
        page = pages[client.install_notes_page]
        assert client.title in page, client.name
        assert client.is_measured or "not measured" in page, client.name
        said = [text for name, text in told.items() if name.rpartition(" ")[0] == client.title.removeprefix("GitHub ")]
        said += re.findall(r"^\| a refusal ends \| (.*) \|$", page, re.MULTILINE)
        assert [each.startswith(client.can_stop.value) for each in said] == [True] * client.has_hooks, client.name


def test_how_hard_limits_on_names_and_plans_are_is_in_the_table_as_the_clients_say():
    page = (ROOT / "docs" / "enforcement.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## Budgets of agents, skills, servers and plans")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", section, re.MULTILINE)
    ]
    scopes = {"agent": "agent", "skill": "skill", "mcp_server": "MCP server", "plan": "plan"}
    asked = [(scopes[scope], *fact) for scope, facts in LIMIT_FACTS.items() for fact in facts]
    head, _, *table = rows[: 2 + len(asked)]
    clients = [next(c for c in REGISTRY.clients.values() if c.title.endswith(title)) for title in head[1:]]
    assert sorted(each.name for each in clients) == sorted(c.name for c in REGISTRY.clients.values() if c.has_hooks)
    assert table == [
        [f"{what}: {fact}", *(getattr(client.limits, name) for client in clients)] for what, fact, name in asked
    ]
    without = [each for each in REGISTRY.clients.values() if not each.has_hooks]
    assert all(each.limits == LimitFacts() for each in without)


def notes():
    return {client.install_notes_page for client in REGISTRY.clients.values()}


# --- a new client from its folder alone ---


@pytest.fixture
def made_up():
    """The registry with one line more."""
    before = {**REGISTRY.__dict__}
    REGISTRY.__dict__.clear()
    REGISTRY.__dict__.update(Registry((*before["clients"].values(), CLIENT)).__dict__)
    yield CLIENT
    REGISTRY.__dict__.clear()
    REGISTRY.__dict__.update(before)


def said(home: Path, world, *lines: dict[str, object]) -> Path:
    """Responses that the client wrote down just now."""
    log = home / ".made-up" / "talks" / "one.jsonl"
    log.parent.mkdir(parents=True, exist_ok=True)
    at = as_datetime(world.clock.at_us).isoformat()
    log.write_text(
        "".join(json.dumps({"talk": "t1", "at": at, "folder": "/home/me/p", **each}) + "\n" for each in lines)
    )
    return log


def test_a_new_client_is_gated_by_its_hooks_and_its_responses_count(made_up: Client, world, tmp_path):
    rule = BudgetRule(Limits.CLIENT, 50 * NANOS, match="Made Up", mode=BudgetMode.HARD, period="day")
    world = world.with_runtime(session_limit_nanos=NANOS, project="/home/me/p", rules=(rule,))
    dispatcher = HookDispatcher(lambda _: world.rt)

    def ask(number: int):
        world.clock.forward(1_000_000)
        return dispatcher.answer("Made Up", "Ask", {"talk": "t1", "number": f"n{number}", "folder": "/home/me/p"}).body

    assert ask(1) is None
    with world.ledger.reading() as reader:
        (session,) = reader.sessions(state="open", limit=9)
        (call,) = reader.calls_of(session.session_id)
        assert reader.budget(session.session_id).reserved == call.estimate_nanos == 100 * NANOS // 1000
    assert session.client == "made-up"
    assert '"key":"made-up"' in str(session.rules)
    assert (call.model_requested, call.state) == ("dear", CallState.PENDING)

    later = as_datetime(world.clock.at_us + 1_000_000).isoformat()
    said(tmp_path, world, {"id": "r1", "tokens": 900}, {"id": "r2", "tokens": 50, "title": True, "at": later})
    report = sync(world.rt, environ={}, home=tmp_path)
    assert (report.files, report.faults) == (1, [])
    with world.ledger.reading() as reader:
        rows = reader.usage_of(session.session_id)
        assert [(each.row.rule, each.row.is_told) for each in rows] == [(ANSWER, False), (TITLE, True)]
        assert reader.budget(session.session_id).spent == 950 * NANOS // 1000
        # What is no part of the conversation says nothing of how it goes on.
        assert reader.last_usage_of(session.session_id, None, 9).row.rule == ANSWER
        assert reader.last_served(session.session_id, None, 9) == (microseconds(rows[0].row.at), "dear")
    assert "no" in (ask(2) or {})
    assert world.problems() == []


def test_a_new_client_s_responses_belong_to_the_session_of_their_folder_by_any_of_its_names(made_up, world, tmp_path):
    world = world.with_runtime(project="/home/me/p")
    session_id = world.start("5", client="MADE-UP cli")
    said(tmp_path, world, {"id": "r1", "tokens": 10})
    sync(world.rt, environ={}, home=tmp_path)
    with world.ledger.reading() as reader:
        assert [each.row.response_key for each in reader.usage_of(session_id)] == ["r1"]
    assert REGISTRY.names.known("made-up-mcp-client") == "made-up"


def test_a_new_client_is_installed_and_taken_out_again(made_up, home):
    settings = home / ".made-up" / "settings.json"
    settings.parent.mkdir()
    settings.write_text('{"mine": 1}\n')
    where = InstallSurroundings(home, {}, "linux", "/opt/python", "/opt/hook.py", "/opt/places.conf")
    manifest = Manifest(home / "data" / "init")
    carry_out(plan_install([made_up], where, InstallScope.USER, manifest), manifest, the_user("me"))
    installed = json.loads(settings.read_text())
    assert "--client made_up --event Ask" in json.dumps(installed["hooks"])
    assert installed["servers"]["tallygate"]["command"] == "/opt/python"
    carry_out(plan_uninstall([made_up], where, (InstallScope.USER,), manifest), manifest, the_user("me"))
    assert settings.read_text() == '{"mine": 1}\n'
