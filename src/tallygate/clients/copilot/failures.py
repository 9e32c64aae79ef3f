"""Requests of Copilot CLI that broke off: its session's events do not tell of them, only its own log does."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from tallygate.clients.lines import Unreadable, moment
from tallygate.files import open_regular

# What a whole request does not take beside its receipt's own duration; shorter than the pause before another attempt.
SLACK_MS = 300
_FILES_MAX, _TAIL_MAX = 20, 1 << 20
_FAILED = re.compile(rb'^(\S+Z) \[\w+\] [^{\n]*request failed[^{\n]*\{[^\n]*"failure_kind":"transport"', re.MULTILINE)


def broke_off(logs: Path, since: datetime, until: datetime) -> bool:
    """Whether a request was lost in a span of time, by the logs of the processes that ran then.

    A refusal by the provider is none: nobody bills that.
    """
    for path in _written_since(logs, since):
        for found in _FAILED.finditer(_tail(path)):
            try:
                if since <= moment(found[1].decode()) <= until:
                    return True
            except Unreadable:
                continue
    return False


def _written_since(logs: Path, since: datetime) -> list[Path]:
    found = []
    try:
        for path in logs.glob("process-*.log"):
            changed = path.stat().st_mtime
            if changed >= since.timestamp():
                found.append((changed, path))
    except OSError:
        return []
    return [path for _, path in sorted(found, reverse=True)[:_FILES_MAX]]


def _tail(path: Path) -> bytes:
    try:
        opened = open_regular(path, None)
        if opened is None or opened[0] is None:
            return b""
        file, info = opened[0], opened[1]
        with file:
            file.seek(max(info.st_size - _TAIL_MAX, 0))
            return file.read(_TAIL_MAX)
    except OSError:
        return b""
