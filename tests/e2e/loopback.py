"""A network with nothing in it but this machine's loopback, for whatever is started after it was entered."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS = 0x8914
IFF_UP_RUNNING = 0x1 | 0x40

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def loopback_only() -> Iterator[bool]:
    """Live in an empty network; says whether the system allowed it. Only the superuser can go back afterwards."""
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    entered = False
    try:
        entered = _enter()
        yield entered
    finally:
        if entered:
            _libc.setns(before, CLONE_NEWNET)
        os.close(before)


def _enter() -> bool:
    if _libc.unshare(CLONE_NEWNET) and not _as_own_superuser():
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", IFF_UP_RUNNING, b""))
    return True


def _as_own_superuser() -> bool:
    """A user namespace allows what the system keeps to the superuser, where it allows user namespaces."""
    uid, gid = os.getuid(), os.getgid()
    if _libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        Path("/proc/self", name).write_text(text, encoding="ascii")
    return True
