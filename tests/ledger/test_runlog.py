from __future__ import annotations

import json
import os
import stat

import pytest

from tallygate.core.errors import RunLogError
from tallygate.ledger.runlog import JsonLinesLog

LOG = JsonLinesLog()


def test_a_line_is_appended_to_a_file_of_this_user_alone(tmp_path):
    path = tmp_path / ".l6e" / "runs.jsonl"
    LOG.append(path, '{"a":1}')
    LOG.append(path, '{"b":2}')
    assert path.read_text() == '{"a":1}\n{"b":2}\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_torn_line_of_another_program_does_not_swallow_ours(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text('{"torn":')
    path.chmod(0o600)
    LOG.append(path, '{"a":1}')
    assert path.read_text() == '{"torn":\n{"a":1}\n'


def victim(tmp_path):
    target = tmp_path / "victim.jsonl"
    target.write_text("precious\n")
    target.chmod(0o600)
    return target


def test_no_file_behind_a_link_is_written(tmp_path):
    target = victim(tmp_path)
    (tmp_path / "soft.jsonl").symlink_to(target)
    (tmp_path / "hard.jsonl").hardlink_to(target)
    for name in ("soft.jsonl", "hard.jsonl"):
        with pytest.raises(RunLogError):
            LOG.append(tmp_path / name, "{}")
    assert target.read_text() == "precious\n"


def test_a_pipe_a_folder_and_a_device_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    for name in ("pipe.jsonl", "folder.jsonl"):
        with pytest.raises(RunLogError):
            LOG.append(tmp_path / name, "{}")


def test_a_log_that_others_may_write_is_refused_with_the_cure(tmp_path):
    path = victim(tmp_path)
    path.chmod(0o622)
    with pytest.raises(RunLogError, match="chmod 600"):
        LOG.append(path, "{}")


@pytest.mark.parametrize("name", ["a\nb.jsonl", "\x1b[2J.jsonl"])
def test_a_name_with_control_characters_is_no_run_log(tmp_path, name):
    with pytest.raises(RunLogError):
        LOG.append(tmp_path / name, "{}")


@pytest.mark.parametrize("name", ["runs.txt", "cron"])
def test_a_file_of_another_name_is_a_run_log_only_where_nothing_else_is_in_it(tmp_path, name):
    path = tmp_path / name
    LOG.append(path, line())
    LOG.append(path, line(event="cd"))
    assert len(path.read_text().splitlines()) == 2
    LOG.examine(path)
    path.write_text("* * * * * root true\n")
    for write in (lambda: LOG.append(path, line()), lambda: LOG.examine(path)):
        with pytest.raises(RunLogError, match="something else"):
            write()
    assert path.read_text() == "* * * * * root true\n"


def test_a_line_end_cannot_be_smuggled_in(tmp_path):
    with pytest.raises(RunLogError):
        LOG.append(tmp_path / "runs.jsonl", '{}\n{"forged":1}')


def line(session="nightly", event="ab"):
    return json.dumps(
        {"run_id": session, "ledger": {"id": "1" * 32, "seq": 3, "hash": event * 32}}, separators=(",", ":")
    )


def test_a_log_knows_which_lines_it_holds(tmp_path):
    path = tmp_path / "runs.jsonl"
    assert not LOG.holds(path, line())
    LOG.append(path, line())
    assert LOG.holds(path, line())
    assert not LOG.holds(path, line(event="cd")), "the session of this id in another tenant or ledger"
    assert not LOG.holds(path, '{"edited": 1}'), "what waits in a ledger that somebody edited"


def test_a_line_of_which_only_the_beginning_is_there_is_written_again(tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text(line()[:-9])
    assert not LOG.holds(path, line())


def test_a_line_is_found_across_the_seams_of_reading(tmp_path):
    path = tmp_path / "runs.jsonl"
    for shift in range(len(line()) + 1):
        path.write_text("x" * ((1 << 20) - shift) + line())
        assert LOG.holds(path, line()), shift
