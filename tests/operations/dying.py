"""A sync that ends itself right before its n-th write: `python -m tests.operations.dying N`."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

from tallygate.app import compose, settings_here
from tallygate.operations.usage.sync import sync

_WRITES = ("INSERT INTO usage ", "INSERT INTO event ", "INSERT INTO transcript_file ", "COMMIT")


def main(last: int) -> None:
    connect, count = sqlite3.connect, 0

    def statement(sql: str) -> None:
        nonlocal count
        if sql.startswith(_WRITES):
            count += 1
            if count == last:
                os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(statement)
        return connection

    sqlite3.connect = traced
    app = compose(settings_here(), by="dying")
    sync(app.runtime, environ=os.environ, home=Path.home())


if __name__ == "__main__":
    main(int(sys.argv[1]))
