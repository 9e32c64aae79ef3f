"""Which project a folder belongs to: repositories, worktrees, submodules, links, and what only claims to be one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.repositories import repository, submodule, worktree

import tallygate.app as app_module
from tallygate.app import compose, settings_here
from tallygate.core.gate.rules import rules_of
from tallygate.core.places import meant
from tallygate.operations.sessions.opening import Opening, start_session
from tallygate.workspace import Checkout, PlacesSeen, head_of, place_of, written_out


@pytest.fixture
def disk(tmp_path):
    return Path(os.path.realpath(tmp_path))


def project(folder: Path, home: str = "/home/nobody-here") -> str | None:
    return place_of(str(folder), home).project


def test_subfolders_worktrees_and_links_belong_to_their_repository(disk):
    shop = repository(disk / "shop")
    (shop / "api" / "deep").mkdir(parents=True)
    inside = worktree(shop, shop / ".claude" / "worktrees" / "inside")
    outside = worktree(shop, disk / "trees" / "shop-a09dee1e")
    by_name = worktree(shop, disk / "trees" / "relative", relative=True)
    (outside / "api").mkdir()
    (disk / "link").symlink_to(outside / "api")
    (disk / "to-shop").symlink_to(shop)
    for folder in (shop, shop / "api" / "deep", inside, outside, by_name, outside / "api", disk / "link",
                   disk / "to-shop" / "api"):  # fmt: skip
        assert project(folder) == str(shop), folder


def test_a_budget_of_a_repository_binds_everything_in_it_and_in_its_worktrees(disk):
    shop = repository(disk / "code" / "shop")
    lib = repository(shop / "vendor" / "lib")
    module = submodule(shop, "module")
    outside = worktree(shop, disk / "trees" / "shop-a09dee1e")
    of_lib = worktree(lib, disk / "trees" / "lib-tree")
    for folder in (shop, lib, module, outside, of_lib, lib / "not-there-any-more"):
        place = place_of(str(folder), "/home/nobody-here")
        assert str(shop) in meant(place, None), folder
        for match in (
            str(shop),
            "shop",
            "code/shop",
            "code/*",
            "c*e/sh?p",
            f"{disk}/code/*",
            f"{disk}/**/shop",
            f"{disk}/code",
        ):
            assert meant(place, match), (folder, match)
        assert not any(meant(place, match) for match in ("hop", "shop/*/x", f"{disk}/sho", f"{disk}/*/*/*/*/*/x"))


def test_reports_name_the_innermost_repository_and_a_submodule_is_one(disk):
    shop = repository(disk / "shop")
    lib, module = repository(shop / "lib"), submodule(shop, "module")
    assert [project(folder) for folder in (lib, module)] == [str(lib), str(module)]
    of_module = worktree(module, disk / "trees" / "m", common=shop / ".git" / "modules" / "module")
    assert project(of_module) == str(module)


def test_a_worktree_of_a_bare_repository_belongs_to_that(disk):
    bare = disk / "shop.git"
    (bare / "objects").mkdir(parents=True)
    (bare / "HEAD").write_text("ref: refs/heads/main\n")
    assert project(worktree(bare, disk / "tree", common=bare)) == str(bare)


def test_a_home_the_root_and_what_all_may_write_to_are_no_project(disk):
    home = repository(disk / "home")
    notes = home / "notes"
    notes.mkdir()
    shared = repository(disk / "shared")
    (shared / "x").mkdir()
    shared.chmod(0o1777)
    tree = worktree(home, disk / "of-home")
    assert (project(home, str(home)), project(notes, str(home)), project(shared / "x")) == (None, None, None)
    assert (place_of(str(home), str(home)).name, place_of("/", str(home)).name) == (None, None)
    assert place_of(str(notes), str(home)).name == str(notes)
    assert project(tree, str(home)) == str(tree), "a worktree of a home's repository stands for itself"


def claims(main: Path, folder: Path, what: str) -> None:
    admin = main / ".git" / "worktrees" / folder.name
    match what:
        case "does not point back":
            (admin / "gitdir").write_text(f"{main}/elsewhere/.git\n")
        case "no commondir":
            (admin / "commondir").unlink()
        case "a commondir that is none":
            (admin / "commondir").write_text("../../..\n")
        case "pruned":
            for each in admin.iterdir():
                each.unlink()
            admin.rmdir()
        case "huge":
            (folder / ".git").write_text("gitdir: " + "x" * 5000)
        case "a NUL":
            (folder / ".git").write_bytes(b"gitdir: /a\0b\n")
        case "no text":
            (folder / ".git").write_bytes(b"gitdir: \xff\xfe\n")
        case "itself":
            (folder / ".git").write_text("gitdir: .git\n")
        case "a pipe behind it":
            (admin / "commondir").unlink()
            os.mkfifo(admin / "commondir")
        case "a link in a circle":
            (admin / "commondir").unlink()
            (admin / "commondir").symlink_to(admin / "commondir")
        case "another admin folder":
            (folder / ".git").write_text(f"gitdir: {main}/.git\n")


@pytest.mark.parametrize(
    "what",
    ["does not point back", "no commondir", "a commondir that is none", "pruned", "huge", "a NUL", "no text", "itself",
     "a pipe behind it", "a link in a circle", "another admin folder"],
)  # fmt: skip
@pytest.mark.parametrize("inside", [False, True])
def test_a_git_file_that_its_repository_does_not_share_is_the_folder_alone(disk, what, inside):
    shop = repository(disk / "shop")
    folder = worktree(shop, (shop if inside else disk) / "trees" / "t")
    assert project(folder) == str(shop)
    claims(shop, folder, what)
    assert project(folder) == str(folder)
    assert (str(shop) in place_of(str(folder), "/x").projects) == inside, "what lies around still binds"


def test_a_pipe_called_git_is_no_repository_and_is_not_waited_for(disk):
    os.mkfifo(disk / ".git")
    assert project(disk) is None


def test_a_copied_worktree_is_a_project_of_its_own(disk):
    shop = repository(disk / "shop")
    tree = worktree(shop, disk / "trees" / "t")
    copy = disk / "copy"
    copy.mkdir()
    (copy / ".git").write_text((tree / ".git").read_text())
    assert project(copy) == str(copy)


@pytest.mark.parametrize(
    "folder", ["", "relative/path", "C:\\work\\shop", "/a\0b", "/" + "x" * 5000, "3f2a9c", "/../.."]
)
def test_any_text_of_a_client_is_a_place(folder):
    assert place_of(folder, "/home/me").project is None


def test_a_match_may_begin_at_home_and_go_through_links(disk):
    (disk / "real" / "shop").mkdir(parents=True)
    (disk / "link").symlink_to(disk / "real")
    home = str(disk / "link")
    assert written_out("~/shop", home) == str(disk / "real" / "shop")
    assert written_out(f"{disk}/link/sh*", home) == f"{disk}/real/sh*"
    assert written_out("~/*/api", home) == f"{disk}/real/*/api"
    assert [written_out(match, home) for match in ("shop", "a/*", "~other/x")] == ["shop", "a/*", "~other/x"]


@pytest.mark.parametrize("match", [None, "plain", "pl*", "~/w/plain", "~/w/*", "~/w/pl*"])
def test_a_folder_outside_of_all_projects_is_bound_before_its_run_log_makes_it_one_as_it_is_then(disk, match):
    plain = disk / "w" / "plain"
    plain.mkdir(parents=True)
    match = None if match is None else written_out(match, str(disk))
    before = meant(place_of(str(plain), str(disk)), match)
    assert before == (str(plain),)
    (plain / ".l6e").mkdir()
    assert meant(place_of(str(plain), str(disk)), match) == before


def test_a_home_folder_and_a_name_without_a_place_are_bound_by_no_budget_of_each_project(disk):
    assert meant(place_of(str(disk), str(disk)), None) == ()
    assert meant(place_of("shop", str(disk)), None) == ()


def test_stars_stand_for_one_name_and_two_for_any_number(disk):
    a = repository(disk / "w" / "a")
    place = place_of(str(a), "/x")
    plain = disk / "w" / "plain" / "deep"
    plain.mkdir(parents=True)
    assert meant(place, f"{disk}/*") == (f"{disk}/w",), "no project fits, so the folder that does"
    assert meant(place, f"{disk}/w/*") == (str(a),)
    assert meant(place, f"{disk}/**") == (str(a),)
    assert meant(place_of(str(plain), "/x"), f"{disk}/w/*") == (f"{disk}/w/plain",)
    assert meant(place, "/".join(["**"] * 60 + ["nothing"])) == ()


def test_a_folder_that_the_locale_has_no_letters_for_is_a_place_too(monkeypatch):
    def plain(name):
        return name.encode("ascii")

    monkeypatch.setattr("os.fsencode", plain)
    place = place_of("/home/me/zürich", "/home/me")
    assert (place.folder, place.around[0]) == ("/home/me/zürich", "/home/me/zürich")


def test_a_repository_that_is_made_while_a_program_runs_is_seen_a_moment_later(disk):
    now = [0]
    looked = []

    def home():
        looked.append(now[0])
        return "/home/nobody-here"

    seen = PlacesSeen(lambda: now[0], home)
    folder = disk / "shop" / "api"
    folder.mkdir(parents=True)
    assert seen.of(str(folder)).project is None
    repository(disk / "shop")
    now[0] = 999_999
    assert seen.of(str(folder)).project is None, "a moment is one look, however often it is asked"
    now[0] = 1_000_000
    assert seen.of(str(folder)).project == str(disk / "shop")
    (disk / "shop" / ".git").rename(disk / "shop" / "gone")
    now[0] = 5_000_000
    assert seen.of(str(folder)).project is None
    assert looked == [0, 1_000_000, 5_000_000]


def test_a_running_program_opens_sessions_in_the_repository_that_was_just_made(home, monkeypatch):
    folder = home / "shop" / "api"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    (home / "user.toml").write_text('[[budget]]\nscope = "project"\nmatch = "shop"\nperiod = "day"\nlimit_usd = 1\n')
    monkeypatch.setenv("TALLYGATE_CONFIG", str(home / "user.toml"))
    app = compose(settings_here(), by="test")
    assert rules_of(opened(app)) == ()
    repository(home / "shop")
    later = app_module.ticks_us() + 2_000_000
    monkeypatch.setattr(app_module, "ticks_us", lambda: later)
    assert [rule.key for rule in rules_of(opened(app))] == [str(home / "shop")]
    app.close()


def test_a_program_knows_whose_a_worktree_was_that_is_gone(home, monkeypatch):
    shop = repository(home / "shop")
    tree = worktree(shop, home / "trees" / "a")
    monkeypatch.chdir(shop)
    app = compose(settings_here(), by="test")
    opened(app)
    shutil.rmtree(tree)
    shutil.rmtree(shop / ".git" / "worktrees")
    app.close()
    again = compose(settings_here(), by="test")
    later = app_module.ticks_us() + 2_000_000
    monkeypatch.setattr(app_module, "ticks_us", lambda: later)
    assert again.runtime.workspace.place_of(str(tree / "api")).project == str(shop)
    again.close()


@pytest.mark.parametrize(
    "folder", ["shop/gone", "shop/never/was/there", "shop/file.txt/x", "trees/a/api", "plain/gone"]
)
def test_work_in_a_folder_that_is_not_there_is_bound_by_the_project_that_it_would_lie_in(home, monkeypatch, folder):
    shop = repository(home / "shop")
    (shop / "file.txt").write_text("")
    tree = worktree(shop, home / "trees" / "a")
    plain = home / "plain"
    plain.mkdir()
    monkeypatch.chdir(home)
    app = compose(settings_here(), by="test")
    start_session(app.runtime_for(tree), Opening(limit_nanos=10**9, model="claude-opus-4.7", client="test"))
    shutil.rmtree(tree)
    later = app_module.ticks_us() + 2_000_000
    monkeypatch.setattr(app_module, "ticks_us", lambda: later)
    there = app.runtime_for(home / folder)
    around = there.workspace.place_of(there.workspace.project or there.workspace.folder)
    assert around is not None
    assert str(plain if folder.startswith("plain") else shop) in around.around
    app.close()


def test_a_path_that_lies_nowhere_is_worked_in_where_the_program_stands(home, monkeypatch):
    shop = repository(home / "shop")
    monkeypatch.chdir(shop)
    app = compose(settings_here(), by="test")
    for folder in ("/nowhere-at-all/x", "relative/x"):
        assert app.runtime_for(Path(folder)).workspace.project == str(shop)
    app.close()


def opened(app):
    return start_session(app.runtime, Opening(limit_nanos=10**9, model="claude-opus-4.7", client="test")).session


def checked_out(folder: Path, head: str, at_s: int = 1000) -> Path:
    """A folder whose `.git/HEAD` says this since then."""
    (folder / ".git").mkdir(parents=True, exist_ok=True)
    (folder / ".git" / "HEAD").write_text(head)
    os.utime(folder / ".git" / "HEAD", (at_s, at_s))
    return folder


def test_a_branch_is_told_by_the_file_that_names_it_and_since_when(disk):
    shop = checked_out(disk / "shop", "ref: refs/heads/feat/x\n")
    (shop / "api").mkdir()
    assert head_of(str(shop)) == head_of(str(shop / "api")) == Checkout("feat/x", 1_000_000_000)


def test_a_worktree_is_on_a_branch_of_its_own(disk):
    shop = repository(disk / "shop")
    tree = worktree(shop, disk / "tree")
    (shop / ".git" / "worktrees" / "tree" / "HEAD").write_text("ref: refs/heads/beside\n")
    assert (head_of(str(tree)).branch, head_of(str(shop)).branch) == ("beside", "main")


@pytest.mark.parametrize(
    "head",
    [
        "4b825dc642cb6eb9a060e54bf8d69288fbee4904\n",  # of no branch
        "ref: refs/heads/.invalid\n",  # branches are kept elsewhere
        "ref: refs/tags/v1\n",
        "ref: refs/heads/\n",
        "ref: refs/heads/a b\n",
        "ref: refs/heads/x\x1b[31m\n",
        "ref: refs/heads/\u202egnp\n",
        "ref: refs/heads/" + "x" * 300,
        "ref: refs/heads/main\n" + "x" * 5000,
        "",
        "[" * 100,
    ],
)
def test_a_checkout_that_names_no_branch_has_none(disk, head):
    assert head_of(str(checked_out(disk / "shop", head))) is None


def test_no_branch_is_told_where_none_can_be_read(disk):
    (disk / "bytes" / ".git").mkdir(parents=True)
    (disk / "bytes" / ".git" / "HEAD").write_bytes(b"ref: refs/heads/\xff\n")
    (disk / "pipe" / ".git").mkdir(parents=True)
    os.mkfifo(disk / "pipe" / ".git" / "HEAD")
    (disk / "claims").mkdir()
    (disk / "claims" / ".git").write_text("gitdir: /nowhere\n")
    for folder in ("bytes", "pipe", "claims", "not-there"):
        assert head_of(str(disk / folder)) is None
    for name in ("relative", "/nul\0", "/" + "x" * 5000):
        assert head_of(name) is None
