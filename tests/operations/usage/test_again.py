"""What older versions have read is read once more for whom it was made for, and for nothing else."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from tests.repositories import repository
from tests.transcripts import PROJECT, claude, claude_file, lines, write_all, write_claude, write_opencode

from tallygate.clients.registry import REGISTRY
from tallygate.core.attribution import Served
from tallygate.ledger.rows import COLUMNS
from tallygate.operations.usage import sync as syncing
from tallygate.operations.usage.again import fill
from tallygate.operations.usage.follow import Follower
from tallygate.operations.usage.ingest import IngestResult
from tallygate.operations.usage.sync import sync
from tallygate.surroundings import Surroundings

TOLD = ("agent_type", "skill", "served", "branch", "repository")
ISSUE = Served("github", "create_issue")


@pytest.fixture
def user(tmp_path):
    place = tmp_path / "user"
    place.mkdir()
    return place


@pytest.fixture
def take(world, user):
    return lambda: sync(world.rt, environ={}, home=user)


@pytest.fixture
def older(world, take, monkeypatch):
    """A sync by a version that did not keep whom responses were made for."""

    def take_():
        def as_before(wanted):
            nothing = {"agent_type": None, "skill": None, "served": (), "branch": None}
            for piece in pieces(wanted):
                if (batch := piece.batch) is None:
                    yield piece
                    continue
                rows = tuple(replace(row, **nothing) for row in batch.rows)
                state = {key: each for key, each in batch.position.state.items() if key not in ("turns", "kinds")}
                position = replace(batch.position, state=state)
                yield replace(piece, batch=replace(batch, rows=rows, position=position))

        pieces = syncing.pieces
        with monkeypatch.context() as patched:
            patched.setattr(syncing, "pieces", as_before)
            patched.setattr(syncing, "read_again", lambda *_: 0)
            report = take()
        execute(world, "UPDATE transcript_file SET form = NULL")
        return report

    return take_


def execute(world, sql):
    with closing(sqlite3.connect(world.folder / "ledger.db")) as found, found:
        return found.execute(sql).fetchall()


def dump(world, *, without=()):
    names = ", ".join(name for name in COLUMNS["usage"] if name not in without)
    return execute(world, f"SELECT {names} FROM usage ORDER BY client, response_key")


def told(world):
    with world.ledger.reading() as reader:
        found = list(reader.usage_between(-(2**62), 2**62))
    return [(each.row.agent_type, each.row.skill, each.row.served, each.row.branch) for each in found]


def calling(*names):
    return [{"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {}} for name in names]


def write_work(user, session="s1"):
    path = claude_file(user, session)
    records = [
        claude(1, session=session, content=calling("mcp__github__create_issue"), gitBranch="main"),
        claude(2, session=session, attributionSkill="release", gitBranch="feat/x"),
    ]
    path.write_bytes(lines(records))
    return path


WORK = [(None, None, (ISSUE,), "main"), (None, "release", (ISSUE,), "feat/x")]


def test_a_new_reading_keeps_whom_responses_were_made_for(world, user, take):
    write_work(user)
    take()
    assert told(world) == WORK


def test_what_an_older_version_left_out_is_added_and_nothing_else_changes(world, user, take, older):
    write_work(user)
    older()
    assert told(world) == [(None, None, (), None)] * 2
    before = dump(world, without=TOLD)
    report = take()
    assert report.taken == IngestResult()
    assert told(world) == WORK
    assert dump(world, without=TOLD) == before


def test_a_history_is_read_once_more_only_once(world, user, take, older):
    write_all(user)
    older()
    take()
    events = world.events()
    assert execute(world, "SELECT COUNT(*) FROM transcript_file WHERE form IS NULL AND client <> 'tallygate'") == [(0,)]
    take()
    assert world.events() == events


def test_counts_that_would_be_read_otherwise_today_stay_as_they_were_booked(world, user, take, older):
    path = write_work(user)
    older()
    before = dump(world, without=TOLD)
    # As if the readers of then had understood another number of each line, and had missed one line.
    data = path.read_bytes().replace(b'"output_tokens":50', b'"output_tokens":99')
    path.write_bytes(data + lines([claude(9, gitBranch="main")]))
    with world.rt.reading() as reader:
        position = reader.position(str(path))
    assert position["offset"] < len(path.read_bytes())
    fill = syncing.read_again
    fill(world.rt, {"claude_code": syncing.REGISTRY.sources["claude_code"]})
    assert dump(world, without=TOLD) == before
    assert told(world) == WORK


def test_a_file_that_grew_meanwhile_is_left_for_the_next_time(world, user, take, older):
    path = write_work(user)
    older()
    with path.open("ab") as out:
        out.write(lines([claude(3, gitBranch="late")]))
    read = syncing.read_again(world.rt, syncing.REGISTRY.sources)
    assert (read, execute(world, "SELECT form FROM transcript_file WHERE client <> 'tallygate'")) == (0, [(None,)])
    assert take().taken == IngestResult(new=1)
    assert [each[3] for each in told(world)] == ["main", "feat/x", "late"]
    assert execute(world, "SELECT form FROM transcript_file WHERE client <> 'tallygate'") == [(1,)]


def test_what_a_reader_must_know_to_go_on_is_known_after_the_second_reading(world, user, take, older):
    path = claude_file(user)
    path.write_bytes(lines([claude(1, content=calling("Bash"))]))
    older()
    take()
    with path.open("ab") as out:
        out.write(lines([claude(2)]))
    take()
    assert [each[2] for each in told(world)] == [(Served(None, "Bash"),)] * 2


def test_a_database_is_read_on_from_where_it_was_left(world, user, take, older):
    write_opencode(user, 3)
    older()
    write_opencode(user, 5)
    syncing.read_again(world.rt, syncing.REGISTRY.sources)
    assert take().taken.new == 2


def test_files_that_are_gone_leave_their_responses_as_they_are(world, user, take, older):
    path = write_work(user)
    older()
    path.unlink()
    take()
    assert told(world) == [(None, None, (), None)] * 2


def test_a_second_copy_of_a_response_fills_only_what_is_not_known(world, user, take):
    write_work(user)
    take()
    records = [claude(1, session="s1", content=calling("Bash"), gitBranch="other", sessionId="s2")]
    claude_file(user, "s2").write_bytes(lines(records))
    cost = dump(world, without=TOLD)
    take()
    assert told(world)[0][3] == "main"
    assert [row[COLUMNS["usage"].index("cost_nanos")] for row in dump(world)] == [
        row[[name for name in COLUMNS["usage"] if name not in TOLD].index("cost_nanos")] for row in cost
    ]


def test_a_branch_is_read_from_the_repository_where_the_client_tells_none(world, user, take, tmp_path):
    shop = repository(tmp_path / "shop")
    os.utime(shop / ".git" / "HEAD", (0, 0))
    (shop / "api").mkdir()
    write_claude(user, [1], cwd=str(shop / "api"))
    write_claude(user, [2], session="s2", cwd=str(tmp_path))
    take()
    with world.ledger.reading() as reader:
        found = {each.row.project: each.row for each in reader.usage_between(-(2**62), 2**62)}
    assert found[str(shop / "api")].branch == "main"
    assert found[str(tmp_path)].branch is None


def test_a_branch_that_was_checked_out_since_says_nothing_of_what_was_made_before(world, user, take, tmp_path):
    shop = repository(tmp_path / "shop")  # its HEAD is written now, and the responses are of March
    write_claude(user, [1], cwd=str(shop))
    take()
    assert [each[3] for each in told(world)] == [None]


def test_work_in_a_folder_that_is_not_there_has_no_branch(world, user, take):
    write_claude(user, [1], cwd=PROJECT)
    take()
    assert [each[3] for each in told(world)] == [None]


class Looks:
    """An end that comes after so many looks."""

    def __init__(self, looks):
        self.left = looks

    def is_set(self):
        self.left -= 1
        return self.left < 0

    def wait(self, _seconds):
        return True


def test_a_server_at_work_reads_one_such_file_at_each_look(world, user, older):
    for session in ("s1", "s2", "s3"):
        write_work(user, session)
    older()
    places = (Surroundings({}, None, user),)
    follower = Follower(world.rt, places, tuple(REGISTRY.sources.values()), lambda: 0)
    left = []
    for looks in (0, 1, 1, 1, 1):
        follower.watch(Looks(looks))
        left += execute(world, "SELECT COUNT(*) FROM transcript_file WHERE form IS NULL AND client <> 'tallygate'")
    assert (left, follower.failures) == ([(3,), (2,), (1,), (0,), (0,)], [])


def test_what_is_known_of_a_response_stays_whatever_another_reading_says(world, user, take):
    write_work(user)
    take()
    with world.ledger.reading() as reader:
        rows = [each.row for each in reader.usage_between(-(2**62), 2**62)]
    other = {"branch": "other", "skill": "another", "model": "other", "served": (Served(None, "Bash"),)}
    fill(world.rt, "claude_code", [replace(row, **other) for row in rows])
    assert told(world) == [
        (None, "another", (Served(None, "Bash"), ISSUE), "main"),
        (None, "release", (Served(None, "Bash"), ISSUE), "feat/x"),
    ]
    with world.ledger.reading() as reader:
        assert {each.row.model for each in reader.usage_between(-(2**62), 2**62)} == {row.model for row in rows}
