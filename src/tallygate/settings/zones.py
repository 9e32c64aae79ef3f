"""The time zone of this machine, which dates are shown in where the user has set none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tallygate.settings import checks
from tallygate.settings.checks import Unfit
from tallygate.settings.model import Settings

_ZONES = "zoneinfo/"
_LINK, _NAME = Path("/etc/localtime"), Path("/etc/timezone")


def zone_shown(settings: Settings, environ: Mapping[str, str]) -> str:
    """The zone that times are told in: the user's own, else this machine's. Budgets are renewed by the former alone."""
    if settings.zone_is_set:
        return settings.time_zone
    return machine_zone(environ) or settings.time_zone


def machine_zone(environ: Mapping[str, str], link: Path = _LINK, name: Path = _NAME) -> str | None:
    """The IANA name of the zone that this machine's clock shows; None where nothing tells one that is known.

    TZ comes first, as for every program; then what the system was set to. A TZ such as `EST5` is a rule and no name,
    and is passed over where no zone is called so.
    """
    told = environ.get("TZ", "").removeprefix(":")
    return next((zone for text in (told, _linked(link), _named(name)) if (zone := _known(text)) is not None), None)


def _known(text: str) -> str | None:
    """A zone by its name, or by the file of it."""
    try:
        return checks.time_zone(text.rpartition(_ZONES)[2])
    except Unfit:
        return None


def _linked(link: Path) -> str:
    try:
        return link.resolve().as_posix() if link.is_symlink() else ""
    except OSError:
        return ""


def _named(file: Path) -> str:
    try:
        with file.open(encoding="utf-8") as lines:
            return lines.readline(80).strip()
    except (OSError, ValueError):
        return ""
