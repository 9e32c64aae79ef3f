"""The made-up month beside the user's own ledger: made at one click, shown below its own address, then deleted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import tzinfo
from pathlib import Path
from tempfile import TemporaryDirectory

from tallygate.core.errors import TallygateError
from tallygate.core.text import cleaned
from tallygate.entrypoints.page.demo_month import MonthGivenUp, demo_month
from tallygate.operations.runtime import Runtime

_FAULT_MAX = 300


class DemoHouse:
    """Makes the month once, in a thread, and keeps it until it is closed; `rt` is there once it can be shown."""

    def __init__(self, rt: Runtime, zone: tzinfo) -> None:
        self._own, self._zone = rt, zone
        self._begun = threading.Lock()
        self.over = threading.Event()
        self.maker: threading.Thread | None = None
        self.percent = 0
        self.rt: Runtime | None = None
        self.fault: str | None = None

    def begin(self) -> None:
        """Make it, where nobody has begun to."""
        with self._begun:
            if self.maker is None and not self.over.is_set():
                self.maker = threading.Thread(target=self._made, name="demo", daemon=True)
                self.maker.start()

    @property
    def is_begun(self) -> bool:
        return self.maker is not None

    def close(self) -> None:
        """Delete it; what is half made is given up."""
        self.over.set()
        if self.maker is not None:
            self.maker.join()

    def _made(self) -> None:
        try:
            with (
                TemporaryDirectory(prefix="tallygate-demo-") as folder,
                demo_month(self._own, Path(folder), self._zone, told=self._told) as made,
            ):
                self.rt = made
                self.over.wait()
                self.rt = None
        except MonthGivenUp:
            return
        except (OSError, TallygateError) as fault:
            self.fault = cleaned(str(fault), _FAULT_MAX)

    def _told(self, percent: int) -> None:
        if self.over.is_set():
            raise MonthGivenUp
        self.percent = percent


def in_steps(say: Callable[[int], object], step: int = 20) -> Callable[[int], None]:
    """Say a share only where it has grown by a step."""
    said = 0

    def told(percent: int) -> None:
        nonlocal said
        if percent >= said + step:
            said = percent // step * step
            say(said)

    return told
