"""Where this program is installed: entries in clients name it by its full path, so it had better stay there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from tallygate.core.errors import InvalidArgument
from tallygate.core.values import value

# What `uvx` and `uv run --with` make, and what `uv cache clean` and `prune` take away.
_UV_CACHE = re.compile(r"(?:archive|builds|environments)-v\d+")


@value(frozen=True, slots=True)
class ProgramPlace:
    """The environment that runs, the one it was made from, and the checkout it is a view of, if it is one.

    `source` is the folder that it was installed from, where that was one: the way to install it once more.
    """

    prefix: Path
    base: Path
    checkout: Path | None = None
    source: Path | None = None

    @property
    def passing(self) -> str | None:
        """The program whose cache this is: emptied without a word; None where it stays."""
        if any(_UV_CACHE.fullmatch(part) for part in self.prefix.parts):
            return "uv"
        if (self.prefix / "pipx_metadata.json").is_file() and self.prefix.parent.name != "venvs":
            return "pipx"
        return None

    @property
    def is_tool(self) -> bool:
        """Whether uv or pipx keeps it as a tool."""
        kept = ((self.prefix / name).is_file() for name in ("uv-receipt.toml", "pipx_metadata.json"))
        return self.passing is None and any(kept)

    def refuse_where_it_will_go(self) -> None:
        """Refuse to be installed in clients from a cache."""
        if (program := self.passing) is None:
            return
        raise InvalidArgument(
            "anyway",
            f"Tallygate runs from the cache of {program}, {self.prefix}: it is emptied sooner or later, and every step"
            " of your clients would stop then. Nothing was changed.",
            hint=f"{self.to_keep}; or add --anyway.",
        )

    @property
    def warning(self) -> str | None:
        """What a user should know who installs from here."""
        if self.checkout is not None:
            found = f"a checkout, {self.checkout}: a change there changes the gate, and where it goes"
        elif self.prefix != self.base and not self.is_tool:
            found = f"the environment {self.prefix}: where that goes"
        else:
            return None
        return f"Tallygate runs from {found}, every step of your clients stops. {self.to_keep}."

    @property
    def to_keep(self) -> str:
        """How it is installed where it stays."""
        folder = self.checkout or self.source
        what = "tallygate" if folder is None else shlex.quote(str(folder))
        return f"To keep it: uv tool install {what} (or pipx install {what}), then its tallygate init"


def hook_program(package: Path, prefix: Path) -> Path:
    """The program that clients run as a hook, at a path that stays when the environment gets another Python.

    The copy in `share` counts where it is this version's own, which that of a checkout need not be; and in an
    environment alone, since `share/tallygate` of a home is where a user's data are.
    """
    own, copy = package / "entrypoints" / "hook.py", prefix / "share" / "tallygate" / "hook.py"
    try:
        same = copy.read_bytes() == own.read_bytes()
    except OSError:
        return own
    return copy if same and package.is_relative_to(prefix) and (prefix / "pyvenv.cfg").is_file() else own


def installation(prefix: str, base: str) -> ProgramPlace:
    """What the record of the package and the interpreter say."""
    folder, is_view = _source()
    return ProgramPlace(Path(prefix), Path(base), folder if is_view else None, folder)


def _source() -> tuple[Path | None, bool]:
    """The folder that the package was installed from, if it was one, and whether it is a view of that."""
    # Who only looks at how things stand need not wait for these.
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        told = json.loads(distribution("tallygate").read_text("direct_url.json") or "{}")
        url = urlsplit(told.get("url", ""))
        is_view = bool(told.get("dir_info", {}).get("editable"))
    except (PackageNotFoundError, OSError, ValueError, AttributeError, TypeError):
        return None, False
    return (Path(url2pathname(url.path)), is_view) if url.scheme == "file" else (None, False)
