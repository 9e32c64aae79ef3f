"""The token by which this user's own clients are known."""

from __future__ import annotations

import os
import stat
import threading

import pytest

from tallygate.app import new_token
from tallygate.core.errors import LedgerUnavailable
from tallygate.operations.usage.telemetry import TOKEN_FILE, token_of


def test_a_token_is_made_once_for_this_user_alone(tmp_path):
    folder = tmp_path / "data"
    token = token_of(folder, new_token)
    assert len(token) == 64
    assert token_of(folder, lambda _: "another") == token
    assert [each.name for each in folder.iterdir()] == [TOKEN_FILE]


def test_a_token_is_readable_by_nobody_else(tmp_path):
    folder = tmp_path / "data"
    token_of(folder, new_token)
    assert stat.S_IMODE((folder / TOKEN_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_whoever_makes_it_at_the_same_time_all_get_the_same(tmp_path):
    start, found = threading.Barrier(8), []

    def make():
        start.wait()
        found.append(token_of(tmp_path, new_token))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [each.name for each in tmp_path.iterdir()] == [TOKEN_FILE]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_token_that_others_can_read_or_write_is_refused(tmp_path, mode):
    token_of(tmp_path, new_token)
    (tmp_path / TOKEN_FILE).chmod(mode)
    with pytest.raises(LedgerUnavailable, match="by others"):
        token_of(tmp_path, new_token)


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 64, b"0" * 65, b"\xff" * 64, b"0" * 10_000])
def test_what_is_no_token_is_refused_and_left_as_it_is(tmp_path, content):
    path = tmp_path / TOKEN_FILE
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(LedgerUnavailable, match="does not hold a token") as caught:
        token_of(tmp_path, new_token)
    assert "tallygate init" in caught.value.hint
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "pipe"])
def test_a_link_or_special_file_in_its_place_is_refused(tmp_path, kind):
    path, elsewhere = tmp_path / TOKEN_FILE, tmp_path / "elsewhere"
    if kind == "link":
        elsewhere.write_text("0" * 64)
    if "link" in kind:
        path.symlink_to(elsewhere)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path, 0o600)
    with pytest.raises(LedgerUnavailable):
        token_of(tmp_path, new_token)
    assert not elsewhere.exists() or kind == "link"


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LedgerUnavailable, match="cannot be made or read"):
        token_of(tmp_path / "file" / "data", new_token)
