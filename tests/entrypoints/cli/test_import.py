"""`tallygate import`: bills from files, and what becomes of them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from tests.entrypoints.cli.test_hostile import HOSTILE, RAW

from tallygate.entrypoints.cli.import_bills import told_twice

HEADER = "date,model,cost\n"
MARCH = HEADER + "2026-03-01,m,1.5\n2026-03-02,m,2\n2026-03-03,m,-0.25\n"
LATER = HEADER + "2026-03-02,m,2.5\n2026-03-03,m,0\n2026-03-04,m,1\n"


@pytest.fixture
def save(tmp_path, monkeypatch):
    """A file in the folder where commands are run."""
    folder = tmp_path / "bills"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def save_(name, text):
        (folder / name).write_text(text, encoding="utf-8")
        return name

    return save_


def listed(run_json):
    return [(bill["name"], bill["lines"], bill["state"]) for bill in run_json("import", "list")["bills"]]


def sound(run):
    done = run("verify")
    return done.exit_code == 0, done.stdout.splitlines()[-1:]


def test_a_bill_is_imported_shown_deleted_and_imported_again(run, run_json, save):
    save("march.csv", MARCH)
    [new] = run_json("import", "march.csv")["bills"]
    assert (new["file"], new["new"], new["lines"], new["total"], new["currency"]) == (
        "march.csv", True, 3, 3.25, "USD",
    )  # fmt: skip
    assert (new["from"], new["until"]) == ("2026-03-01T00:00:00.000Z", "2026-03-04T00:00:00.000Z")
    [known] = run_json("import", "march.csv")["bills"]
    assert (known["new"], known["bill_id"]) == (False, new["bill_id"])
    shown = run_json("import", "show", new["bill_id"][-8:], "--lines", "2")
    assert (shown["bill_id"], shown["state"]) == (new["bill_id"], "counts")
    assert [(line["line"], line["cost"], line["model"]) for line in shown["first_lines"]] == [
        (2, 1.5, "m"),
        (3, 2, "m"),
    ]
    gone = run_json("import", "delete", new["bill_id"][-8:])
    assert (gone["deleted"], gone["state"]) == (True, "deleted")
    assert run_json("import", "delete", new["bill_id"])["deleted"] is False
    [again] = run_json("import", "march.csv")["bills"]
    assert again["new"]
    assert listed(run_json) == [("march.csv", 3, "counts"), ("march.csv", 3, "deleted")]
    assert sound(run) == (True, ["Everything verifies."])


def test_what_people_read_says_the_same(run, save):
    assert "No bills" in run("import", "list").stdout
    save("march.csv", MARCH)
    [row] = run("import", "march.csv").stdout.splitlines()
    assert row.startswith("march.csv imported: generic, 3 lines, 2026-03-01 to 2026-03-03 (UTC), $3.25, bill_")
    key = row.split()[-1]
    [_, first, second] = run("import", "march.csv", save("later.csv", LATER)).stdout.splitlines()
    assert (first.split()[0], second.split()[0]) == ("march.csv", "later.csv")
    run("import", "delete", second.split()[-1])
    assert "was there already" in run("import", "march.csv").stdout
    assert key in run("import", "list").stdout
    shown = run("import", "show", key).stdout
    assert "sum       $3.25" in shown
    assert "-$0.25" in shown
    done = run("import", "delete", key).stdout
    assert done.startswith(f"{key} counts no more (3 lines); it stays in the ledger")
    assert run("import", "delete", key).stdout == f"{key} was deleted already: nothing changed.\n"


@pytest.mark.parametrize(
    ("lines", "said"), [(1, "1 line stands in later bills as well, and counts there"),
                        (2, "2 lines stand in later bills as well, and count there")],
)  # fmt: skip
def test_one_line_and_several_are_spoken_of_as_people_do(lines, said):
    assert told_twice(lines, "later", "there") == said


def test_overlapping_exports_count_once_and_it_is_said(run, run_json, save):
    run("import", save("march.csv", MARCH))
    done = run("import", save("later.csv", LATER))
    assert "later.csv: 2 lines stand in earlier bills as well, and count here from now on" in done.stderr
    later, march = run_json("import", "list")["bills"]
    assert "replaced  2 lines" in run("import", "show", march["bill_id"]).stdout
    assert "replacing  2 lines" in run("import", "show", later["bill_id"]).stdout
    done = run("import", "delete", later["bill_id"])
    assert "2 lines that it had replaced count again in earlier bills." in done.stdout


def test_all_files_are_read_before_any_is_kept(run, run_json, save):
    save("march.csv", MARCH)
    save("bad.csv", HEADER + "2026-03-01,m,x\n2026-03-02,m,1\nnever,m,1\n")
    done = run("import", "march.csv", "bad.csv")
    assert done.exit_code == 2
    assert "'bad.csv' has 2 rows that cannot be read: line 2: " in done.stderr
    assert "line 4: " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert listed(run_json) == []
    assert run("import", "march.csv", save("later.csv", LATER)).exit_code == 0
    assert [name for name, _, _ in listed(run_json)] == ["later.csv", "march.csv"]


def test_the_same_file_twice_at_once_is_one_bill(run_json, save):
    save("march.csv", MARCH)
    save("copy.csv", MARCH)
    for options in (["--dry-run"], []):
        found = run_json("import", "march.csv", "copy.csv", *options)["bills"]
        assert [bill["new"] for bill in found] == [True, False]
    assert len(listed(run_json)) == 1


def test_a_dry_run_checks_everything_and_keeps_nothing(run, run_json, save):
    save("march.csv", MARCH)
    [found] = run_json("import", "march.csv", "--dry-run")["bills"]
    assert (found["new"], found["bill_id"], found["lines"]) == (True, None, 3)
    done = run("import", "--dry-run", "march.csv")
    assert "would be new" in done.stdout
    assert "this was a dry run: nothing was written" in done.stderr
    assert listed(run_json) == []
    run("import", "march.csv")
    [found] = run_json("import", "march.csv", "--dry-run")["bills"]
    assert (found["new"], found["bill_id"] is None) == (False, False)


def test_a_format_and_a_currency_can_be_forced(run, run_json, save):
    save("more.csv", "date,model,cost,note\n2026-03-01,m,1,x\n")
    done = run("import", "more.csv")
    assert done.exit_code == 2
    assert "is of no format that is known; its header is 'date, model, cost, note'" in done.stderr
    assert "generic" in done.stderr
    [found] = run_json("import", "more.csv", "--format", "generic", "--currency", "eur")["bills"]
    assert (found["format"], found["currency"], found["total"]) == ("generic", "EUR", 1)
    assert "'nope' is no format of a bill" in run("import", "more.csv", "--format", "nope").stderr
    assert "'x' is no currency" in run("import", "more.csv", "--currency", "x").stderr
    done = run("import", "more.csv", "--format", "generic", "--currency", "USD")
    assert "more.csv was imported in EUR: delete bill_" in done.stderr


def test_a_file_that_is_called_as_a_command_is_given_with_its_folder(run, run_json, save):
    save("list", MARCH)
    assert run("import", "./list").exit_code == 0
    assert listed(run_json) == [("list", 3, "counts")]


WRONG = [
    (("import", "gone.csv"), "'gone.csv' cannot be read: No such file or directory. Pass the path of a file"),
    (("import", "."), "'.' is no file"),
    (("import", "--nope"), "No such option '--nope'. Try 'tallygate import --help'."),
    (("import", "--dry-run"), "Missing argument 'FILE...'. Try 'tallygate import --help'."),
    (("import", "show", "bill_nothing"), "No bill 'bill_nothing' is in the ledger. `tallygate import list` shows"),
    (("import", "delete", "bill_nothing"), "No bill 'bill_nothing' is in the ledger."),
    (("import", "show", "b"), "An id is shortened to 6 characters or more."),
]


@pytest.mark.parametrize("arguments, why", WRONG)
def test_wrong_usage_is_told_with_what_to_do(run, save, arguments, why):
    done = run(*arguments)
    assert done.exit_code in (2, 3)
    assert why in done.stderr


@pytest.mark.parametrize("arguments", [("import",), ("import", "--help"), ("import", "a.csv", "--help")])
def test_the_help_shows_options_of_files(run, arguments):
    text = run(*arguments).stdout
    assert "Usage: tallygate import [OPTIONS] FILE..." in text
    for option in ("--format", "--currency", "--dry-run", "--json"):
        assert option in text


def test_the_help_of_the_group_shows_its_commands(run):
    text = run("import", "--help").stdout
    assert [word for word in ("delete", "fetch", "list", "show") if f"\n  {word} " not in text] == []


def test_nothing_of_a_file_acts_on_a_terminal(run, save):
    name = HOSTILE.replace("/", "") + ".csv"
    model = HOSTILE.replace("\n", " ").replace("\r", " ").replace(",", " ")
    save(name, f'date,model,cost\n2026-03-01,"{model}",1\n')
    answers = [run("import", name), run("import", name, "--dry-run"), run("import", "list")]
    key = json.loads(run("import", "list", json_=True).stdout)["bills"][0]["bill_id"]
    answers += [run("import", "show", key), run("import", "show", key, json_=True), run("import", "delete", key)]
    save(name, f"{model},cost\n1,2\n")
    answers.append(run("import", name))
    assert [answer.exit_code for answer in answers] == [0, 0, 0, 0, 0, 0, 2]
    assert [answer for answer in answers if RAW.search(answer.stdout + answer.stderr)] == []


def test_a_row_of_a_bill_that_was_edited_by_hand_is_reported(run, run_json, save, home):
    run("import", save("march.csv", MARCH))
    assert sound(run)[0]
    [ledger] = home.rglob("ledger.db")
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute("UPDATE bill_line SET cost_nanos = 1 WHERE number = 3")
    done = run("verify")
    assert done.exit_code == 13
    assert "cost_nanos is 1, the events say 2000000000" in done.stdout + done.stderr


def test_progress_of_many_lines_is_shown_on_a_terminal_only(on_terminal, spawn, save):
    save("many.csv", HEADER + "".join(f"2026-03-01T00:00:{n % 60:02}Z,m{n},1\n" for n in range(1200)))
    done, shown = on_terminal("import", "many.csv")
    assert done.returncode == 0
    assert "many.csv" in shown
    assert "1200/1200" in shown
    assert b"writing" not in done.stdout
    assert spawn("import", "many.csv").stderr == ""
