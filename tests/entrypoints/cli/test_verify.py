"""`tallygate verify` says what is broken and where, leaves with the code of its kind, and believes nothing."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
import time
import zipfile

import pytest

from tallygate.app import compose, settings_here
from tallygate.attest.keys import new_signer
from tallygate.core.proof import GENESIS, event_hash


@pytest.fixture
def proof(run, made, home):
    """A copy of a ledger with attestations, the key, and a head that was written down."""
    session_id = made.worked()
    made.end(session_id)
    made.worked()
    made.app.close()
    assert run("attest", "list").exit_code == 0
    assert run("attest", "export", session_id, "--to", "evidence").exit_code == 0
    (home / "key.pem").write_text(run("keys", "export").output)
    copy = home / "copy.db"
    assert run("backup", str(copy)).exit_code == 0
    return copy


def edited(path, *statements):
    connection = sqlite3.connect(path, isolation_level=None)
    triggers = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    for _, sql in triggers:
        connection.execute(sql)
    connection.close()


def head_of(path):
    with sqlite3.connect(path) as connection:
        (digest,) = connection.execute("SELECT hash FROM event ORDER BY id DESC LIMIT 1").fetchone()
    connection.close()
    return digest.hex()


def found(run, *arguments):
    result = run("verify", *arguments, json_=True)
    return result.exit_code, json.loads(result.stdout)


def test_a_fresh_ledger_verifies_and_nothing_is_left_beside_it(run, proof, home):
    before = {path: path.read_bytes() for path in home.iterdir() if path.is_file()}
    code, said = found(run, "--db", str(proof), "--key", "key.pem", "--head", head_of(proof))
    assert (code, said["broken"], said["verifies"]) == (0, [], True)
    assert {path: path.read_bytes() for path in home.iterdir() if path.is_file()} == before


def test_a_ledger_that_a_server_has_open_verifies(run, made):
    session_id = made.worked()
    assert found(run)[0] == 0
    made.end(session_id)
    assert found(run)[0] == 0


SWAPPED = (
    "UPDATE attestation SET (payload, envelope) ="
    " (SELECT b.payload, b.envelope FROM attestation b WHERE b.kind = 'checkpoint') WHERE kind = 'budget-exhausted'"
)
ATTACKS = [
    ("T1 a raised limit", 13, "projection", "UPDATE budget SET limit_nanos = limit_nanos + 1000000000"),
    ("T1 a zeroed counter", 13, "projection", "UPDATE budget SET spent_nanos = 0, reserved_nanos = 0"),
    ("an edited call", 13, "projection", "UPDATE call SET tool_name = 'other'"),
    ("a deleted call", 13, "projection", "DELETE FROM call WHERE state = 'denied'"),
    (
        "T2 an edited event", 12, "chain",
        "UPDATE event SET body = CAST(replace(CAST(body AS TEXT), '\"by\"', '\"bz\"') AS BLOB) WHERE seq = 4",
    ),
    ("a deleted event", 12, "chain", "DELETE FROM event WHERE seq = 3"),
    ("swapped events", 12, "chain", "UPDATE event SET seq = CASE seq WHEN 2 THEN 3 WHEN 3 THEN 2 ELSE seq END"),
    ("T3 a cut tail", 13, "projection", "DELETE FROM event WHERE seq > 8"),
    (
        "T4 an injected trigger", 11, "schema",
        "CREATE TRIGGER free AFTER INSERT ON call BEGIN UPDATE budget SET spent_nanos = 0; END",
    ),
    ("a missing index", 11, "schema", "DROP INDEX call_waiting"),
    ("an edited statement", 15, "attestation", "UPDATE attestation SET payload = CAST(payload || ' ' AS BLOB)"),
    ("T28 another's envelope", 15, "attestation", SWAPPED),
    ("T28 another session", 15, "attestation", "UPDATE attestation SET session_id = 'x' WHERE session_id IS NOT NULL"),
    ("T28 another call", 15, "attestation", "UPDATE attestation SET call_id = 'x' WHERE kind = 'budget-exhausted'"),
    (
        "half a character", 12, "chain",
        "UPDATE event SET body = CAST(replace(body, 'session_id\":\"', 'session_id\":\"\\ud800') AS BLOB)",
    ),
    ("a cut envelope", 15, "attestation", "UPDATE attestation SET envelope = substr(envelope, 1, 80)"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "code", "kind", "attack"), ATTACKS, ids=[name for name, *_ in ATTACKS])
def test_an_attack_is_reported_with_the_code_of_its_kind(run, proof, name, code, kind, attack):
    edited(proof, attack)
    left, said = found(run, "--db", str(proof), "--key", "key.pem")
    assert left == code, said["broken"]
    assert kind in {each["kind"] for each in said["broken"]}
    assert all(each["where"] and each["what"] and each["meaning"] for each in said["broken"])


def test_a_whole_forgery_is_told_by_the_head_that_was_written_down_and_by_what_was_signed(run, proof):
    """T5: every hash made anew, the tables fitting."""
    head = head_of(proof)
    connection = sqlite3.connect(proof, isolation_level=None)
    sql = dict(connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"))
    connection.execute("DROP TRIGGER event_never_changes")
    (ledger_id,) = connection.execute("SELECT ledger_id FROM ledger").fetchone()
    previous = GENESIS
    for seq, body in connection.execute("SELECT seq, body FROM event ORDER BY id").fetchall():
        changed = body.replace(b'"by":"test"', b'"by":"nobody"')
        previous = event_hash(f"{ledger_id}/default", seq, previous, changed)
        connection.execute("UPDATE event SET body = ?, hash = ? WHERE seq = ?", (changed, previous, seq))
    connection.execute(sql["event_never_changes"])
    connection.execute("DROP TRIGGER attestation_is_signed_once")
    kept = connection.execute("SELECT COUNT(*) FROM attestation").fetchone()
    connection.execute(sql["attestation_is_signed_once"])
    connection.close()
    assert kept[0] > 2
    code, said = found(run, "--db", str(proof), "--key", "key.pem", "--head", head)
    assert code == 14
    assert {each["kind"] for each in said["broken"]} <= {"head", "attestation"}
    edited(proof, "DELETE FROM attestation")
    code, said = found(run, "--db", str(proof), "--key", "key.pem")
    assert (code, {each["kind"] for each in said["broken"]}) == (15, {"attestation"}), (
        "only that what was signed is gone"
    )
    assert found(run, "--db", str(proof), "--key", "key.pem", "--head", head)[0] == 14


def test_an_older_copy_is_told_by_a_later_head(run, proof, made):
    """T6: put back in the place of the ledger, it lacks the head that was written down since."""
    app = compose(settings_here(), by="test")
    type(made)(app).worked()
    app.close()
    later = str(settings_here().paths.database)
    code, _ = found(run, "--db", str(proof), "--key", "key.pem", "--head", head_of(later))
    assert code == 14
    assert found(run, "--db", later, "--head", head_of(proof))[0] == 0


def test_a_key_inside_the_bundle_is_never_believed(run, proof, home):
    """T29: a forger signs with a key of his own and puts it in."""
    (home / "stranger.pem").write_text(new_signer().public.pem())
    code, said = found(run, "--attestation", "evidence", "--key", "stranger.pem")
    assert code == 16
    assert any("not believed" in note for note in said["notes"])
    assert found(run, "--attestation", "evidence", "--key", "key.pem")[0] == 0


def test_without_a_key_that_is_trusted_nothing_signed_counts(run, proof, home, monkeypatch):
    monkeypatch.setenv("TALLYGATE_KEY_DIR", str(home / "none"))
    assert found(run, "--db", str(proof))[0] == 16
    assert run("keys", "trust", "key.pem").exit_code == 0
    assert found(run, "--db", str(proof))[0] == 0


def test_the_first_key_is_enough_after_rotations(run, made, home):
    session_id = made.worked()
    made.app.close()
    run("attest", "list")
    (home / "first.pem").write_text(run("keys", "export").output)
    assert run("keys", "rotate").exit_code == 0
    assert run("sessions", "end", session_id).exit_code == 0
    run("attest", "list")
    assert run("keys", "rotate").exit_code == 0
    code, said = found(run, "--key", "first.pem")
    assert (code, said["broken"]) == (0, [])
    assert len(json.loads(run("keys", "export", "--format", "jwks").output)["keys"]) == 3


def test_what_a_lost_key_signed_still_verifies_for_its_user(run, made):
    made.worked()
    run("attest", "list")
    made.app.runtime.services.keys.key_file.unlink()
    made.worked()
    run("attest", "list")
    code, said = found(run)
    assert (code, said["broken"]) == (0, [])
    assert ["that key was lost" in note for note in said["notes"]] == [True]


def test_evidence_of_several_keys_needs_the_first_alone(run, made, home):
    """Each of both has signed that one took the place of the other, and the events of that are in the bundle."""
    session_id = made.worked()
    made.app.close()
    run("attest", "list")
    (home / "first.pem").write_text(run("keys", "export").output)
    run("keys", "rotate")
    run("sessions", "end", session_id)
    assert run("attest", "export", session_id, "--to", "evidence").exit_code == 0
    assert len(json.loads((home / "evidence" / "public-key.jwks.json").read_text())["keys"]) == 2
    code, said = found(run, "--attestation", "evidence", "--key", "first.pem")
    assert (code, said["broken"], said["notes"]) == (0, [], [])
    events = home / "evidence" / "events.jsonl"
    events.write_text("".join(line for line in events.read_text().splitlines(True) if "key.rotated" not in line))
    assert found(run, "--attestation", "evidence", "--key", "first.pem")[0] == 16


def test_evidence_that_a_replaced_key_has_signed_is_refused(run, made, home):
    """Somebody kept the key that should be gone, and signs what came later with it."""
    session_id = made.worked()
    run("attest", "list")
    ring = made.app.runtime.services.keys
    kept = ring.key_file.read_bytes()
    (home / "first.pem").write_text(run("keys", "export").output)
    run("keys", "rotate")
    ring.key_file.write_bytes(kept)
    made.end(session_id)
    run("attest", "export", session_id, "--to", "evidence")
    code, said = found(run, "--attestation", "evidence", "--key", "first.pem")
    assert code == 16
    assert {"envelope.json", "checkpoint.json"} == {each["where"] for each in said["broken"]}


@pytest.mark.parametrize("as_zip", [False, True])
def test_evidence_verifies_by_itself_and_against_the_ledger(run, proof, home, as_zip):
    place = "evidence"
    if as_zip:
        place = shutil.make_archive(str(home / "packed"), "zip", home / "evidence")
    assert found(run, "--attestation", place, "--key", "key.pem", "--db", str(proof))[0] == 0
    assert found(run, "--attestation", f"{home}/evidence/checkpoint.json", "--key", "key.pem")[0] == 0


@pytest.mark.parametrize(
    "name, old, new, code",
    [
        ("statement.json", '"halts":1', '"halts":0', 15),
        ("events.jsonl", "mend the parser", "mind the parser", 12),
        ("envelope.json", '"payload":"ey', '"payload":"ez', 15),
        ("checkpoint.json", "in-toto", "in-tota", 15),
        ("envelope.json", "{", "[", 15),
    ],
)
def test_edited_evidence_is_told_from_what_was_signed(run, proof, home, name, old, new, code):
    file = home / "evidence" / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    assert found(run, "--attestation", "evidence", "--key", "key.pem")[0] == code


def test_evidence_of_another_ledger_is_not_of_this_one(run, proof, home, monkeypatch):
    monkeypatch.setenv("TALLYGATE_DB", str(home / "other.db"))
    assert run("status").exit_code == 0
    code, said = found(run, "--attestation", "evidence", "--key", "key.pem", "--db", str(home / "other.db"))
    assert code == 15
    assert any("another ledger" in each["meaning"] for each in said["broken"])


@pytest.mark.parametrize(
    "old, new, code",
    [
        ('"total_cost":"', '"total_cost":"9', 17),
        ('"hash":"', '"hash":"00', 17),
        ('"run_id":"session', '"run_id":"sessions', 17),
        ('"run_id":"session', '"run_id":"\\ud800session', 17),
        ('"total_cost":"', '"total_cost":["', 17),
        ("{", "", 17),
        ('"calls_made":', '"calls_made":9', 17),
        ('"halts":', '"halts":9', 17),
        ('"halts":', '"halts":0,"halts":', 17),
        ('"enforcement":"none"', '"enforcement":"hooks"', 17),
        ('"model":"', '"model":"x', 17),
        ('"spent":"', '"spent":"9', 17),
        ('"client":"test"', '"client":"test","more":1', 17),
        ('"ledger":{"id":"', '"ledger":{"id":"f', 17),
        ('"halts"', ' "halts"', 0),
    ],
)
def test_a_run_log_is_held_against_the_ledger(run, proof, home, old, new, code):
    log = settings_here().paths.run_log
    assert found(run, "--log", str(log))[0] == 0
    text = log.read_text()
    assert old in text
    (home / "edited.jsonl").write_text(text.replace(old, new, 1))
    assert found(run, "--log", "edited.jsonl")[0] == code


def test_a_line_of_the_version_before_is_held_against_the_total_alone(run, made, monkeypatch):
    monkeypatch.setattr("tallygate.operations.sessions.ending.LINE_NOTE", "something_else")
    made.end(made.worked())
    made.app.close()
    log = settings_here().paths.run_log
    assert found(run)[0] == 0
    text = log.read_text()
    log.write_text(text.replace('"halts":', '"halts":9'))
    assert found(run)[0] == 0
    log.write_text(text.replace('"total_cost":"', '"total_cost":"9'))
    assert found(run)[0] == 17


def test_the_own_run_log_is_looked_at_without_being_named(run, made):
    made.end(made.worked())
    made.app.close()
    log = settings_here().paths.run_log
    assert {each["name"]: each["value"] for each in found(run)[1]["facts"]}["run log"].startswith("1 line of")
    assert "1 line of this ledger" in run("doctor").stdout
    log.write_text(log.read_text().replace('"total_cost":"', '"total_cost":"9'))
    assert found(run)[0] == 17
    doctor = run("doctor")
    assert doctor.exit_code == 1
    assert "contradicts the ledger" in doctor.stdout


def test_lines_of_others_are_counted_and_are_not_said_to_verify(run, made):
    """Teams commit run logs, forks carry them, branches have older ones."""
    made.end(made.worked())
    made.app.close()
    log = settings_here().paths.run_log
    line = json.loads(log.read_text())
    line |= {"run_id": "session_of_anna", "ledger": {**line["ledger"], "id": "ab" * 16}}
    nightly = line | {
        "run_id": json.loads(log.read_text())["run_id"],
        "ledger": {"id": "cd" * 16, "seq": 2, "hash": "ef" * 32},
    }
    log.write_text(log.read_text() + json.dumps(line) + "\n" + json.dumps(nightly) + "\n" + '{"run_id": "of l6e"}\n')
    code, said = found(run)
    assert (code, said["verifies"], said["lines_of_other_ledgers"]) == (0, True, 3)
    shown = run("verify").stdout
    assert "This ledger verifies. 3 lines of the run log are of other ledgers" in shown
    assert "Everything verifies" not in shown


def test_lines_that_are_gone_or_stand_twice_are_told(run, made):
    for _ in range(2):
        made.end(made.worked())
    made.app.close()
    log = settings_here().paths.run_log
    first, second = log.read_text().splitlines(keepends=True)
    log.write_text(second + second)
    code, said = found(run)
    assert code == 0
    assert [note.partition(": ")[2] for note in said["notes"]] == [
        "1 line that was written there is not in it now.",
        "1 line tells of a session that another line tells of.",
    ]
    log.write_text(first + second)
    assert found(run)[1]["notes"] == []


def test_a_file_that_is_no_ledger_is_refused_unread(run, home):
    """T30: strange files end in one line and an exit code, never in a change of them."""
    (home / "text.db").write_text("not a database")
    connection = sqlite3.connect(home / "foreign.db")
    connection.execute("CREATE TABLE event (x)")
    connection.commit()
    connection.close()
    for name in ("text.db", "foreign.db", "missing.db", "."):
        result = run("verify", "--db", name)
        assert result.exit_code == 5, name
        assert "tallygate: " in result.stderr


def test_a_view_in_the_place_of_a_table_is_not_read(run, proof):
    """T30: it could compute for ever, or say whatever its maker wants."""
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x AS tenant FROM n"
    edited(proof, "DROP TABLE price", f"CREATE VIEW price AS {endless}")
    code, said = found(run, "--db", str(proof))
    assert code == 11
    assert [each["where"] for each in said["broken"]] == ["table price"]


@pytest.mark.parametrize("seed", range(24))
def test_a_file_that_was_damaged_anywhere_ends_in_a_report_or_a_refusal(run, proof, seed):
    """T30: bytes by chance, or an end that is gone; nothing but a report comes of it."""
    chance = random.Random(seed)
    raw = bytearray(proof.read_bytes())
    for _ in range(chance.randrange(1, 30)):
        start = chance.randrange(len(raw) if seed % 2 else 8192)
        raw[start : start + chance.choice((1, 4, 100))] = chance.randbytes(4)
    if seed % 5 == 0:
        del raw[chance.randrange(len(raw)) :]
    proof.write_bytes(raw)
    result = run("verify", "--db", str(proof), "--key", "key.pem")
    assert result.exit_code in (0, 5, 10, 11, 12, 13, 14, 15, 16)
    assert proof.read_bytes() == bytes(raw)
    assert "Traceback" not in result.output


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


HARM = {
    "a view without an end": f"CREATE VIEW x AS {ENDLESS}",
    "a trigger without an end": f"CREATE TRIGGER x AFTER INSERT ON event BEGIN {ENDLESS}; END",
    "a program that an index loads": "INSERT INTO sqlite_schema VALUES"
    " ('index', 'x', 'event', 2, 'CREATE INDEX x ON event (load_extension(tenant))')",
    "half a gigabyte in each row": "CREATE TABLE x (a, b AS (hex(zeroblob(500000000))))",
    "a hundred megabytes in one": "INSERT INTO price VALUES ('default', 'x', hex(zeroblob(50000000)))",
}


@pytest.mark.parametrize("harm", HARM)
def test_a_file_that_would_do_harm_is_reported_and_does_none(run, proof, harm):
    """T30: nothing of its schema is run, and no value is larger than any of ours."""
    connection = sqlite3.connect(proof, isolation_level=None)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(HARM[harm])
    connection.close()
    started = time.process_time()
    result = run("verify", "--db", str(proof), "--key", "key.pem")
    assert result.exit_code in (5, 10, 11, 13), result.output
    assert time.process_time() - started < 10, "computing, which other programs do not lengthen"


def test_a_damaged_page_is_said_to_be_one(run, proof):
    raw = bytearray(proof.read_bytes())
    raw[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    proof.write_bytes(raw)
    assert run("verify", "--db", str(proof)).exit_code in (5, 10, 13)


def test_an_archive_that_unpacks_to_too_much_is_refused(run, home):
    with zipfile.ZipFile(home / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("envelope.json", b" " * (30 << 20))
    code, said = found(run, "--attestation", "bomb.zip")
    assert code == 15
    assert "unpacks" in said["broken"][0]["what"]


@pytest.mark.parametrize("head", ["", "ab", "z" * 64, "0x" + "a" * 62])
def test_a_head_that_is_no_hash_is_wrong_usage(run, head):
    assert run("verify", "--head", head).exit_code == 2


def test_what_is_said_to_a_person_names_the_place_and_the_meaning(run, proof):
    edited(proof, "UPDATE call SET tool_name = 'a\x1b[31mb'")
    said = run("verify", "--db", str(proof), "--key", "key.pem").output
    assert "PROJECTION" in said
    assert "edited by hand" in said
    assert "\x1b[31mb" not in said


def test_evidence_is_written_as_one_page_and_over_nothing(run, made, home):
    session_id = made.worked()
    made.end(session_id)
    made.app.close()
    done = run("attest", "export", session_id, "--html", "--to", "evidence.html")
    assert (done.exit_code, "it verifies itself there, offline" in done.output) == (0, True)
    assert session_id in (home / "evidence.html").read_text(encoding="utf-8")
    again = run("attest", "export", session_id, "--html", "--to", "evidence.html")
    assert (again.exit_code, "exists already" in again.output) == (2, True)
    both = run("attest", "export", session_id, "--html", "--zip")
    assert (both.exit_code, "two forms of the same" in both.output) == (2, True)
