"""`tallygate uninstall --data` leaves nothing of the program's own, and everything else."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import pytest

from tallygate.entrypoints.cli import leaving, whose
from tallygate.ledger.sqlite.files import APPLICATION_ID
from tallygate.operations.setup.leaving import Kept, KeptPlaces, kept_in, take_away


@pytest.fixture
def lived_in(run, home, monkeypatch):
    """A home in which Tallygate was installed and worked, with a project and things of the user's own beside."""
    (home / ".claude").mkdir()
    (home / ".claude" / "settings.json").write_text('{"model": "opus"}')
    shop = home / "shop"
    (shop / ".l6e").mkdir(parents=True)
    (shop / ".l6e" / "runs.jsonl").write_text("{}\n")
    monkeypatch.chdir(shop)
    assert run("init", "--client", "claude-code", "--limit", "5").exit_code == 0
    assert run("off").exit_code == 0  # an event, so that the ledger is one that somebody used
    assert run("keys", "show").exit_code == 0
    return home


def data(home):
    return home / ".local" / "share" / "tallygate"


def files(home):
    return {str(each.relative_to(home)) for each in home.rglob("*") if each.is_file() or each.is_symlink()}


def test_nothing_of_the_program_stays_and_everything_else_does(run, lived_in):
    done = run("uninstall", "--data", "--yes")
    assert done.exit_code == 0
    assert files(lived_in) == {".claude/settings.json", "shop/.l6e/runs.jsonl"}
    assert (lived_in / ".claude" / "settings.json").read_text() == '{"model": "opus"}'
    assert not data(lived_in).exists()
    assert not (lived_in / ".config" / "tallygate").exists()
    assert str(data(lived_in) / "ledger.db") in done.stderr
    listed = [line for line in done.stderr.splitlines() if line.startswith("  /")]
    assert f"removed: {len(listed)} files of ledger, keys, settings and caches." in done.stderr
    assert f"Stays (run logs of projects): {lived_in / 'shop' / '.l6e' / 'runs.jsonl'}" in done.stderr


def test_files_of_the_users_own_and_links_stay_and_are_named(run, lived_in, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "keys").mkdir(parents=True)
    (elsewhere / "keys" / "signing-key.json").write_text("not to be touched")
    (data(lived_in) / "notes.txt").write_text("mine")
    (data(lived_in) / "keys" / "lock-1.json").symlink_to(elsewhere / "keys" / "signing-key.json")
    (data(lived_in) / "prices").symlink_to(elsewhere / "keys")
    config = lived_in / ".config" / "tallygate" / "config.toml"
    config.write_text("# All my own.\n" + config.read_text())
    done = run("uninstall", "--data", "--yes")
    stays = [data(lived_in) / "notes.txt", data(lived_in) / "keys" / "lock-1.json", data(lived_in) / "prices", config]
    for each in stays:
        assert os.path.lexists(each)
        assert str(each) in done.stderr
    assert (elsewhere / "keys" / "signing-key.json").read_text() == "not to be touched"
    assert not (data(lived_in) / "ledger.db").exists()


@pytest.mark.parametrize(
    "words, code, said",
    [
        ((), 2, "Nobody can be asked here; nothing was changed. Add --yes."),
        (("--dry-run",), 0, "Would be removed for good"),
        (("--yes", "--client", "claude-code"), 2, "goes with neither --client nor --scope"),
        (("--yes", "--scope", "user"), 2, "goes with neither --client nor --scope"),
    ],
)
def test_without_a_yes_and_for_a_part_nothing_goes(run, lived_in, words, code, said):
    before = files(lived_in)
    done = run("uninstall", "--data", *words)
    assert (done.exit_code, files(lived_in)) == (code, before)
    assert said in done.stderr


def test_whoever_says_no_keeps_everything(run, lived_in, monkeypatch):
    before = files(lived_in)
    monkeypatch.setattr(leaving, "is_attended", lambda: True)
    monkeypatch.setattr(leaving.click, "confirm", lambda *_, **__: False)
    assert run("uninstall", "--data").exit_code == 1
    assert files(lived_in) == before


def test_an_agent_removes_nothing(run, lived_in, monkeypatch):
    before = files(lived_in)
    monkeypatch.setattr(whose, "is_guarded", lambda *_: True)
    monkeypatch.setenv("CLAUDECODE", "1")
    assert run("uninstall", "--data", "--yes").exit_code == 7
    assert files(lived_in) == before


def test_where_a_client_cannot_be_taken_out_what_it_stands_on_stays(run, lived_in):
    (lived_in / ".claude" / "settings.json").write_text("{ oops")
    done = run("uninstall", "--data", "--yes")
    assert done.exit_code == 1
    assert "what Tallygate keeps stays, since it is not out of every client" in done.stderr
    assert (data(lived_in) / "ledger.db").exists()


def test_without_data_the_ledger_stays_and_no_token_nor_empty_folder(run, lived_in):
    done = run("uninstall")
    assert done.exit_code == 0
    assert (data(lived_in) / "ledger.db").exists()
    assert not (data(lived_in) / "telemetry.token").exists()
    assert [each for each in data(lived_in).rglob("*") if each.is_dir() and not any(each.iterdir())] == []
    assert f"What stays: {data(lived_in)}" in done.stderr
    assert str(lived_in / "shop" / ".l6e" / "runs.jsonl") in done.stderr
    assert run("uninstall", "--data", "--yes").exit_code == 0
    assert not data(lived_in).exists()


def test_in_a_folder_of_the_users_choice_only_what_is_ours_by_name_goes(tmp_path):
    mine = tmp_path / "work"
    (mine / "servers").mkdir(parents=True)
    (mine / "keys").mkdir()
    ours = [mine / "spend.db", mine / "spend.db-wal", mine / "servers" / ("ab" * 8), mine / "keys" / "trusted.json"]
    theirs = [mine / "ledger.db", mine / "spend.dbx", mine / "servers" / "web.conf", mine / "keys" / "id_rsa"]
    for file in (*ours, *theirs):
        file.write_text("x")
    ours[0].write_bytes(b"SQLite format 3\0".ljust(68, b"\0") + APPLICATION_ID.to_bytes(4, "big") + bytes(28))
    places = KeptPlaces(mine / "spend.db", tmp_path / "data", mine / "keys", None, tmp_path / "cache")
    kept = kept_in(places)
    assert sorted(kept.files) == sorted(ours)
    assert {*theirs} <= {*kept.others}
    assert take_away(kept) == []
    assert [each for each in theirs if not each.exists()] == []


def shop_of(home):
    """Another program's database, alone in its folder."""
    shop = home / "app" / "prod.db"
    shop.parent.mkdir()
    with contextlib.closing(sqlite3.connect(shop)) as db:
        db.execute("create table orders (a)")
    return shop


@pytest.mark.parametrize("variable", ["TALLYGATE_DB", "L6E_SESSION_DB_PATH"])
@pytest.mark.parametrize("kind", ["database", "text", "ledger"])
def test_what_a_variable_names_stays_and_our_own_goes(run, lived_in, monkeypatch, variable, kind):
    named = shop_of(lived_in)
    if kind == "text":
        named.write_text("important")
    elif kind == "ledger":
        named.write_bytes((data(lived_in) / "ledger.db").read_bytes())
    before = named.read_bytes()
    monkeypatch.setenv(variable, str(named))
    done = run("uninstall", "--data", "--yes")
    assert (done.exit_code, named.read_bytes()) == (0, before)
    assert f"Stays (named by a variable, which removes nothing): {named}" in done.stderr
    assert not data(lived_in).exists()


def test_a_key_folder_that_a_variable_names_stays(run, lived_in, monkeypatch):
    keys = lived_in / "app"
    keys.mkdir()
    (keys / "signing-key.json").write_text("theirs")
    monkeypatch.setenv("TALLYGATE_KEY_DIR", str(keys))
    assert run("uninstall", "--data", "--yes").exit_code == 0
    assert (keys / "signing-key.json").read_text() == "theirs"


def test_a_file_that_settings_name_as_the_ledger_goes_only_where_it_is_one(run, lived_in):
    shop = shop_of(lived_in)
    beside = [shop.with_name("prod.db.lock"), shop.with_name("prod.db-journal"), shop.parent / "servers" / ("ab" * 8)]
    beside[2].parent.mkdir()
    for each in beside:
        each.write_text("theirs")
    where = KeptPlaces(shop, data(lived_in), data(lived_in) / "keys", None, lived_in / "none")
    kept = kept_in(where)
    assert shop in kept.others
    assert not {shop, *beside} & {*kept.files}
    assert take_away(kept) == []
    assert [each for each in (shop, *beside) if not each.exists()] == []
    shop.unlink()
    assert beside[0] not in kept_in(where).files  # beside a ledger that is not there, nothing is its own


def test_the_ledger_where_the_settings_file_puts_it_goes_and_the_chosen_folder_stays(run, lived_in):
    chosen = lived_in / "spend"
    chosen.mkdir()
    (data(lived_in) / "ledger.db").rename(chosen / "all.db")
    where = KeptPlaces(chosen / "all.db", data(lived_in), data(lived_in) / "keys", None, lived_in / "none")
    assert take_away(kept_in(where)) == []
    assert [*chosen.iterdir()] == []


def test_a_data_folder_for_a_trial_is_refused_and_no_other_is_taken_for_it(run, lived_in, monkeypatch):
    trial = lived_in / "trial"
    trial.mkdir()
    (trial / "trust.json").write_text("{}")
    monkeypatch.setenv("TALLYGATE_HOME", str(trial))
    before = files(lived_in)
    done = run("uninstall", "--data", "--yes")
    assert (done.exit_code, files(lived_in)) == (2, before)
    assert f"TALLYGATE_HOME names {trial}, where nothing was installed; nothing was changed." in done.stderr
    assert "env -u TALLYGATE_HOME tallygate uninstall --data" in done.stderr


def test_a_data_folder_that_init_was_run_with_goes(run, home, monkeypatch):
    (home / ".claude").mkdir()
    monkeypatch.setenv("TALLYGATE_HOME", str(home / "mine"))
    assert run("init", "--client", "claude-code", "--limit", "5").exit_code == 0
    assert run("uninstall", "--data", "--yes").exit_code == 0
    assert not (home / "mine").exists()


@pytest.mark.parametrize("which", [".local/share/tallygate", ".config/tallygate", ".local/share/tallygate/ledger.db"])
def test_where_a_place_of_ours_is_a_link_nothing_is_changed(run, lived_in, which):
    place, there = lived_in / which, lived_in / "there"
    place.rename(there)
    place.symlink_to(there)
    before = files(lived_in)
    done = run("uninstall", "--data", "--yes")
    assert (done.exit_code, files(lived_in)) == (2, before)
    assert f"{place} is a link to {there}" in done.stderr
    assert "nothing was changed" in done.stderr


@pytest.mark.parametrize("which", ["init", "keys/anchors"])
def test_behind_a_link_nothing_goes_also_further_down(lived_in, which):
    folder, there = data(lived_in) / which, lived_in / "there"
    folder.rename(there)
    folder.symlink_to(there)
    for each in ("manifest.json", "x.anchor", "originals/deadbeef-secret"):
        (there / each).parent.mkdir(exist_ok=True)
        (there / each).write_text("theirs")
    where = KeptPlaces(data(lived_in) / "ledger.db", data(lived_in), data(lived_in) / "keys", None, lived_in / "none")
    kept = kept_in(where)
    assert folder in kept.others
    assert [each for each in (*kept.files, *kept.folders) if each == folder or folder in each.parents] == []


def test_what_cannot_be_removed_is_told(tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    [(file, why)] = take_away(Kept((there,), (), ()))
    assert file == there
    assert why


def test_a_folder_of_copies_that_is_a_link_loses_nothing(run, lived_in):
    init, there = data(lived_in) / "init", lived_in / "there"
    init.rename(there)
    init.symlink_to(there)
    (there / "originals").mkdir(exist_ok=True)
    (there / "originals" / "deadbeef-secret").write_text("theirs")
    assert run("uninstall", "--data", "--yes").exit_code == 0
    assert (there / "originals" / "deadbeef-secret").read_text() == "theirs"


def test_the_ledger_of_the_data_folder_goes_also_where_settings_name_another_file(run, lived_in):
    shop = shop_of(lived_in)
    settings = lived_in / ".config" / "tallygate" / "config.toml"
    settings.write_text(settings.read_text() + f'\n[paths]\ndatabase = "{shop}"\n')
    done = run("uninstall", "--data", "--yes")
    assert done.exit_code == 0
    assert shop.exists()
    assert str(shop) in done.stderr
    assert not (data(lived_in) / "ledger.db").exists()
