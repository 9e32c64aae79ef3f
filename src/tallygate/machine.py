"""Which machine this is, and since when it runs: what one machine wrote into a shared home says nothing to another."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from pathlib import Path

UNKNOWN = "-"
_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id", "/etc/hostid")


@cache
def machine() -> str:
    """A name for this machine that tells nothing about it; the same for all where homes are not shared by habit.

    Images of containers may come with an id that all of them have, so the host's name counts too.
    """
    if sys.platform == "darwin":
        return UNKNOWN
    return hashlib.sha256(f"tallygate machine\0{_system_id()}\0{host_name()}".encode()).hexdigest()[:16]


@cache
def system() -> str:
    """The system without its host's name: the same for each container of one image, another on each host."""
    return hashlib.sha256(f"tallygate system\0{_system_id()}".encode()).hexdigest()[:16]


def own_system() -> str:
    """The system, and where it has no id of its own its host: two containers without one are not the same."""
    return system() if _system_id() or sys.platform == "darwin" else machine()


def _system_id() -> str:
    return next((text for path in _IDS if (text := _line(path))), "")


@cache
def host_name() -> str:
    """The host's name as one word."""
    return "_".join(os.uname().nodename.split()) or UNKNOWN


@cache
def boot() -> str:
    """This start of the machine, as one word; unknown where the system does not number them."""
    return "_".join(_line("/proc/sys/kernel/random/boot_id").split()) or UNKNOWN


def here() -> tuple[str, str]:
    """Host and start of the machine as words of plain letters, as the hook program makes them, too."""
    return host_name().encode("ascii", "backslashreplace").decode(), boot()


def whereabouts() -> str:
    """The same in a fixed size."""
    return " ".join(hashlib.sha256(word.encode()).hexdigest()[:16] if word != UNKNOWN else UNKNOWN for word in here())


def mount_of(path: Path) -> tuple[str, str] | None:
    """Mount point and kind of the file system that a path lies on, where the system tells; the deepest mount counts."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        place = os.path.realpath(path)
    except OSError:
        return None
    best = None
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        mount = fields[4].replace("\\040", " ")
        inside = mount in ("/", place) or place.startswith(mount + "/")
        if inside and (best is None or len(mount) >= len(best[0])):
            best = mount, after.split()[0]
    return best


def _line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()[:64]
    except OSError:
        return ""
