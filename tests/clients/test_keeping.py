"""Whether an edit leaves our entries in a client's file as they are, and which files and folders are guarded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tallygate.clients.claude_code.client import hook_entry
from tallygate.clients.guarding import Own, guarded_of, loses
from tallygate.core.guard.fence import Edit, Reach, reaches
from tallygate.editing.manifest import Manifest, Record

HOOK = hook_entry("PreToolUse", {}, hard=True)
THEIRS = {"type": "command", "command": "echo hi"}
SETTINGS = {
    "model": "opus",
    "hooks": {"PreToolUse": [{"matcher": "*", "hooks": [HOOK]}], "Stop": [{"hooks": [THEIRS]}]},
    "env": {"OTEL_EXPORTER_OTLP_LOGS_HEADERS": "x-tallygate-token=t", "CLAUDE_CODE_ENABLE_TELEMETRY": "1"},
}
SERVERS = {"mcpServers": {"tallygate": {"command": "python"}, "github": {"command": "npx"}}, "projects": {}}


def changed(settings: dict, *path: str, to: object = None) -> str:
    """Settings with one value set, or taken out."""
    made = json.loads(json.dumps(settings))
    at = made
    for key in path[:-1]:
        at = at[key]
    if to is None:
        del at[path[-1]]
    else:
        at[path[-1]] = to
    return json.dumps(made, indent=4)


OUTCOMES = [
    ("another key", SETTINGS, changed(SETTINGS, "model", to="haiku"), False),
    ("a hook of theirs goes", SETTINGS, changed(SETTINGS, "hooks", "Stop"), False),
    ("a hook of theirs beside ours", SETTINGS,
     changed(SETTINGS, "hooks", "PreToolUse", to=[{"matcher": "*", "hooks": [THEIRS, HOOK]}]), False),
    ("our hook goes", SETTINGS, changed(SETTINGS, "hooks", "PreToolUse"), True),
    ("all hooks go", SETTINGS, changed(SETTINGS, "hooks"), True),
    ("our hook for fewer tools", SETTINGS,
     changed(SETTINGS, "hooks", "PreToolUse", to=[{"matcher": "Read", "hooks": [HOOK]}]), True),
    ("our hook fails open", SETTINGS,
     changed(SETTINGS, "hooks", "PreToolUse", to=[{"matcher": "*", "hooks": [HOOK | {"onFailure": "allow"}]}]), True),
    ("hooks off", SETTINGS, changed(SETTINGS, "disableAllHooks", to=True), True),
    ("hooks off in other words", SETTINGS, changed(SETTINGS, "hooksDisabled", to=True), True),
    ("hooks not off", SETTINGS, changed(SETTINGS, "hooksDisabled", to=False), False),
    ("telemetry off", SETTINGS, changed(SETTINGS, "env", "CLAUDE_CODE_ENABLE_TELEMETRY", to="0"), True),
    ("no settings any more", SETTINGS, "{", True),
    ("nothing", SETTINGS, "", True),
    ("another server", SERVERS, changed(SERVERS, "mcpServers", "other", to={"command": "x"}), False),
    ("another server goes", SERVERS, changed(SERVERS, "mcpServers", "github"), False),
    ("our server goes", SERVERS, changed(SERVERS, "mcpServers", "tallygate"), True),
    ("another for a project", SERVERS,
     changed(SERVERS, "projects", to={"/p": {"mcpServers": {"tallygate": {"command": "true"}}}}), True),
    ("a server for a project", SERVERS, changed(SERVERS, "projects", to={"/p": {"mcpServers": {"a": {}}}}), False),
    ("another program for it", SERVERS, changed(SERVERS, "mcpServers", "tallygate", to={"command": "true"}), True),
    ("hooks off where none is ours", {"model": "a"}, '{"disableAllHooks": true}', False),
]  # fmt: skip


@pytest.mark.parametrize(("what", "before", "after", "lost"), OUTCOMES, ids=[row[0] for row in OUTCOMES])
def test_an_edit_is_judged_by_what_is_left_of_our_entries(tmp_path, what, before, after, lost):
    file = tmp_path / "settings.json"
    file.write_text("// mine\n" + json.dumps(before))
    assert loses(Edit(str(file), after)) is lost
    copy = tmp_path / "copy.json"
    copy.write_text(after)
    assert loses(Edit(str(file), source=str(copy))) is lost


def test_a_swap_is_judged_by_its_outcome_and_an_unknown_outcome_is_none_to_go_by(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps(SETTINGS))
    assert not loses(Edit(str(file), swaps=(('"opus"', '"haiku"', False),)))
    assert loses(Edit(str(file), swaps=(('"PreToolUse"', '"Never"', False),)))
    assert loses(Edit(str(file)))
    assert not loses(Edit(str(tmp_path / "none.json")))


CODEX = '[mcp_servers.tallygate]\ncommand = "python"\nrequired = true\n\n[mcp_servers.docs]\ncommand = "npx"\n'


@pytest.mark.parametrize(
    ("goes", "comes", "lost"),
    [
        ('command = "npx"', 'command = "bunx"', False),
        ("required = true", "required = false", True),
        ("[mcp_servers.tallygate]", "[mcp_servers.other]", True),
        ("[mcp_servers.docs]", "[features]\nhooks = false\n[mcp_servers.docs]", True),
        ("[mcp_servers.docs]", "[mcp_servers.docs", True),
    ],
)
def test_entries_in_toml_are_judged_in_the_same_way(tmp_path, goes, comes, lost):
    file = tmp_path / "config.toml"
    file.write_text(CODEX)
    assert loses(Edit(str(file), swaps=((goes, comes, False),))) is lost


@pytest.fixture
def own(tmp_path):
    home = tmp_path / "home"
    data, config = home / ".local" / "share" / "tallygate", home / ".config" / "tallygate"
    project = tmp_path / "shop"
    return Own(
        home,
        config,
        data,
        data / "ledger.db",
        data / "keys",
        project / ".l6e" / "runs.jsonl",
        project,
        (data / "keys" / "anchors", config / "anchors"),
        tmp_path / "mine.toml",
    )


def record(target: Path, kind: str = "json", root: Path | None = None) -> Record:
    return Record(str(target), kind, "user", None if root is None else str(root), ["claude-code"], None, "")


def test_everything_that_the_gate_stands_on_is_guarded(own, tmp_path):
    manifest = Manifest(own.data_dir / "init")
    settings, plugin = own.home / ".claude" / "settings.json", own.home / ".config" / "opencode" / "tallygate.js"
    own.home.mkdir()
    settings.parent.mkdir()
    settings.write_text(json.dumps(SETTINGS))
    link = tmp_path / "linked.json"
    link.symlink_to(settings)
    for each in (record(settings), record(plugin, "whole"), record(own.home / "CLAUDE.md", "block")):
        manifest.records[each.target] = each
    manifest.save()
    found = guarded_of(own, package=tmp_path / "tools" / "site-packages" / "tallygate")
    table = [
        (own.database, "the ledger"),
        (own.data_dir / "ledger.db-wal", "the ledger"),
        (own.key_dir / "current.pem", "the keys"),
        (own.key_dir / "anchors" / "a.anchor", "the anchor"),
        (own.config_dir / "anchors", "the anchor"),
        (tmp_path / "mine.toml", "the settings file"),
        (own.data_dir / "servers" / "x.hook", "the list of running servers"),
        (own.data_dir / "init" / "manifest.json", "the data"),
        (own.data_dir / "anything", "the data"),
        (own.config_dir / "config.toml", "the settings file"),
        (own.config_dir / "anything", "the settings folder"),
        (own.run_log, "the run log"),
        (plugin, "the plugin"),
        (tmp_path / "tools" / "site-packages" / "tallygate" / "entrypoints" / "hook.py", "the program"),
        (settings, "the entries in ~/.claude/settings.json"),
        (link, "the entries in ~/.claude/settings.json"),
        (own.home / "CLAUDE.md", None),
        (own.home / ".claude" / "agents" / "a.md", None),
        (tmp_path / "shop" / ".l6e" / "config.toml", None),
        (tmp_path / "tools" / "site-packages" / "other" / "x.py", None),
    ]
    for path, word in table:
        said = reaches(Reach(edits=(Edit(str(path), "{}"),)), found, str(tmp_path / "shop"))
        assert (said and said.what) == word, path
        if path != link:
            by_shell = reaches(Reach(f"rm -f '{path}'"), found, str(tmp_path / "shop"))
            assert (by_shell and by_shell.what) == word, path


@pytest.mark.parametrize("package", ["shop/.venv/lib/python3.12/site-packages/tallygate", "work/src/tallygate"])
def test_work_on_its_own_source_and_environments_of_a_project_are_nobodys_to_guard(own, tmp_path, package):
    found = guarded_of(own, package=tmp_path / package)
    for command in (f"rm -rf {tmp_path / package}", "rm -rf .venv", "pip uninstall -y tallygate"):
        assert reaches(Reach(command), found, str(own.project)) is None


def test_a_project_with_our_entries_in_it_may_be_deleted_as_a_whole(own, tmp_path):
    file = tmp_path / "shop" / ".claude" / "settings.json"
    manifest = Manifest(own.data_dir / "init")
    manifest.records[str(file)] = record(file, root=tmp_path / "shop")
    manifest.save()
    found = guarded_of(own)
    assert reaches(Reach("rm -rf shop"), found, str(tmp_path)) is None
    assert reaches(Reach(f"rm {file}"), found, str(tmp_path)) is not None


def test_a_record_that_cannot_be_read_guards_the_rest(own):
    own.data_dir.joinpath("init").mkdir(parents=True)
    own.data_dir.joinpath("init", "manifest.json").write_text("{")
    assert reaches(Reach(f"rm {own.database}"), guarded_of(own), "/w") is not None


def test_a_second_name_of_a_guarded_file_is_the_file(own, tmp_path):
    for file in (own.config_dir / "config.toml", own.database, own.key_dir / "current.pem", own.home / "alone.txt"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    shop = tmp_path / "shop"
    shop.mkdir()
    table = {
        "a.toml": (own.config_dir / "config.toml", "the settings file"),
        "b.db": (own.database, "the ledger"),
        "c.pem": (own.key_dir / "current.pem", "the keys"),
        "d.txt": (own.home / "alone.txt", None),
    }
    found = guarded_of(own)
    for name, (file, word) in table.items():
        (shop / name).hardlink_to(file)
        (shop / f"to-{name}").symlink_to(name)
        for reach in (
            Reach(edits=(Edit(name, "y"),)),
            Reach(edits=(Edit(f"to-{name}", "y"),)),
            Reach(f"echo y > {name}"),
            Reach(f"cd .. && tee shop/to-{name} < z"),
        ):
            said = reaches(reach, found, str(shop))
            assert (said and said.what) == word, (name, reach)
        assert reaches(Reach(f"cat {name}; rm {name}"), found, str(shop)) is None, "the other name is left"


def test_a_second_name_of_a_clients_settings_is_judged_by_what_is_left_of_our_entries(own, tmp_path):
    settings = own.home / ".claude" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps(SETTINGS))
    manifest = Manifest(own.data_dir / "init")
    manifest.records[str(settings)] = record(settings)
    manifest.save()
    (tmp_path / "second.json").hardlink_to(settings)
    found = guarded_of(own)
    for text, kept in ((changed(SETTINGS, "model", to="haiku"), True), (changed(SETTINGS, "hooks"), False)):
        assert (reaches(Reach(edits=(Edit("second.json", text),)), found, str(tmp_path)) is None) is kept


def index_of(*names: str) -> bytes:
    """The index of a repository that keeps these files, in the form that git writes."""
    entries = b""
    for name in sorted(names):
        entry = bytes(60) + len(name).to_bytes(2, "big") + name.encode() + b"\0"
        entries += entry + bytes(-len(entry) % 8)
    return b"DIRC" + (2).to_bytes(4, "big") + len(names).to_bytes(4, "big") + entries + bytes(20)


@pytest.mark.parametrize(
    ("index", "stashed", "cleaned"),
    [
        (index_of("nvim/init.lua", *(f"tallygate/{name}" for name in ("config.toml", "anchors/a"))), True, False),
        (index_of("nvim/init.lua"), False, True),
        (None, False, True),
        (b"DIRC" + (4).to_bytes(4, "big") + bytes(40), True, True),
    ],
    ids=["it keeps our settings", "it keeps others", "it is new", "its index is of a form that is not read"],
)
def test_what_git_would_change_is_told_by_what_it_keeps(own, index, stashed, cleaned):
    repository = own.config_dir.parent
    (repository / ".git").mkdir(parents=True)
    if index is not None:
        (repository / ".git" / "index").write_bytes(index)
    found = guarded_of(own)
    assert (reaches(Reach("git stash"), found, str(repository / "nvim")) is not None) is stashed
    assert (reaches(Reach("git clean -fdx"), found, str(repository)) is not None) is cleaned
    assert reaches(Reach("git stash"), found, str(own.project)) is None, "nothing is kept by no repository"


def test_a_work_tree_that_names_its_repository_is_one(own, tmp_path):
    repository = own.config_dir.parent
    repository.mkdir(parents=True)
    (repository / ".git").write_text(f"gitdir: {tmp_path}/kept\n")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "index").write_bytes(index_of("tallygate/config.toml"))
    found = guarded_of(own)
    assert reaches(Reach("git checkout ."), found, str(repository)) is not None
    bare = f"git --git-dir={tmp_path}/kept --work-tree={repository} checkout ."
    assert reaches(Reach(bare), found, str(own.project)) is not None


def test_what_python_runs_before_the_program_belongs_to_it(own, tmp_path):
    site = tmp_path / "env" / "lib" / "python3.12" / "site-packages"
    (site / "tallygate-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "env" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (tmp_path / "env" / "bin").mkdir()
    (tmp_path / "env" / "bin" / "python3.12").touch()
    found = guarded_of(own, package=site / "tallygate")
    for name, word in {
        "lib/python3.12/site-packages/sitecustomize.py": "the program",
        "lib/python3.12/site-packages/a.pth": "the program",
        "lib/python3.12/site-packages/tallygate-1.0.dist-info/RECORD": "the program",
        "lib/python3.12/site-packages/requests/a.py": None,
        "pyvenv.cfg": "the program",
        "bin/tallygate": "the program",
        "share/tallygate/hook.py": "the program",
        "bin/python": "the program",
        "bin/python3": "the program",
        "bin/python3.12": "the program",
        "bin/other": None,
        "bin/python-config": None,
        "notes.txt": None,
    }.items():
        said = reaches(Reach(edits=(Edit(str(tmp_path / "env" / name), "x"),)), found, str(own.project))
        assert (said and said.what) == word, name


@pytest.mark.parametrize(
    ("command", "refused"),
    [
        ("ln -sf /bin/true env/bin/python", True),
        ("cp /bin/true env/bin/python3", True),
        ("mv env/bin/python /tmp/x", True),
        ("rm env/bin/python3.12", True),
        ("chmod -x env/bin/python", True),
        ("cd env/bin && rm python", True),
        ("rm there/bin/python", True),
        ("rm env/lib/other", True),
        ("python3 -m venv env", True),
        ("python3 -m venv --clear env", True),
        ("python3.12 -m venv --upgrade env/", True),
        ("virtualenv -p python3.11 env", True),
        ("uv venv env --clear", True),
        ("uv --quiet venv env", True),
        ("uv venv --clear .", True),
        ("""python3 -c 'import os; os.unlink("ENV/bin/python")'""", True),
        ("env/bin/python -c 'print(1)' && ls -l env/bin/python", False),
        ("ln -s ENV/bin/python mine", False),
        ("ln -sf /usr/bin/python3 other/env/bin/python", False),
        ("rm -rf other/env && python3 -m venv --clear other/env", False),
        ("env/bin/python -m venv --clear .venv", False),
        ("uv venv -p ENV/bin/python", False),
        ("uv venv --python 3.12 other/env && uv pip install venv", False),
        ("virtualenv --clear --prompt env .venv", False),
        ("""python3 -c 'open("a.sh", "w").write("#!ENV/bin/python\\n")'""", False),
        ("""python3 -c 'open("a.sh", "w").write("exec env/bin/python x")'""", False),
        ("chmod +x SYSTEM/bin/python3.12", False),
    ],
)
def test_the_python_of_the_hooks_is_the_program_too_and_that_of_others_is_not(own, tmp_path, command, refused):
    system, env = tmp_path / "usr", own.home / "env"
    site = env / "lib" / "python3.12" / "site-packages"
    for folder in (system / "bin", env / "bin", site):
        folder.mkdir(parents=True)
    for file in (system / "bin" / "python3.12", env / "lib" / "other"):
        file.touch()
    (env / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (env / "bin" / "python").symlink_to("python3")
    (env / "bin" / "python3").symlink_to(system / "bin" / "python3.12")
    (env / "bin" / "python3.12").symlink_to("../lib/other")
    (own.home / "there").symlink_to(env)
    found = guarded_of(own, package=site / "tallygate")
    command = command.replace("ENV", str(env)).replace("SYSTEM", str(system))
    assert (reaches(Reach(command), found, str(own.home)) is not None) is refused


@pytest.mark.parametrize(
    ("command", "refused"),
    [
        ("cp forged .cache/tallygate/first-look/read", True),
        ("echo x >> ~/.cache/tallygate/first-look/read", True),
        ("cp -r forged .cache/tallygate", True),
        ("tee linked/tallygate/first-look/read < forged", True),
        ("ln .cache/tallygate/first-look/read mine", True),
        ("""python3 -c 'open(".cache/tallygate/first-look/read", "wb").write(b"x")'""", True),
        ("""python3 -c 'import os; os.unlink(".cache/tallygate/first-look/read")'""", False),
        ("rm -rf .cache/tallygate", False),
        ("rm -rf ~/.cache/* && mkdir -p ~/.cache/uv && touch ~/.cache/uv/x", False),
        ("cat .cache/tallygate/first-look/read > mine", False),
    ],
)
def test_the_cache_may_go_and_no_tool_writes_it(own, command, refused):
    cache = own.home / ".cache" / "tallygate"
    (cache / "first-look").mkdir(parents=True)
    (own.home / "linked").symlink_to(cache.parent)
    found = guarded_of(replace(own, caches=(cache,)))
    assert (reaches(Reach(command), found, str(own.home)) is not None) is refused


def test_a_folder_of_data_that_a_variable_names_is_the_one_in_use(own):
    found = guarded_of(own)
    assert reaches(Reach("rm -rf $XDG_DATA_HOME/tallygate"), found, "/w") is not None
    assert reaches(Reach("rm -rf $XDG_CACHE_HOME/tallygate"), found, "/w") is None


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("printf '[features]\\nhooks = false\\n' >> ~/.codex/config.toml", False),
        ("cat >> ~/.codex/config.toml <<'END'\n[features]\nhooks = false\nEND", False),
        ("echo '[unfinished' >> ~/.codex/config.toml", False),
        ("printf '[features]\\nweb_search = true\\n' >> ~/.codex/config.toml", True),
        ("cat >> ~/.codex/config.toml <<'END'\n[mcp_servers.more]\ncommand = \"npx\"\nEND", True),
        ("echo '# mine' >> ~/.codex/config.toml", True),
        ("cat more.toml >> ~/.codex/config.toml", True),  # what it holds is not told
    ],
)
def test_what_is_added_to_a_clients_settings_is_judged_by_what_comes_of_it(own, command, kept):
    settings = own.home / ".codex" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(CODEX.replace("[features]", "[other]"))
    manifest = Manifest(own.data_dir / "init")
    manifest.records[str(settings)] = record(settings, "table")
    manifest.save()
    assert (reaches(Reach(command), guarded_of(own), "/w") is None) is kept
