"""Build the site of these pages into build/docs: `make docs`, or `python docs/site.py` where Zensical is installed.

The pages are written for the repository, where most read them. A copy is made in which links between pages are those of
the site, and the language of a block is a single word; what stands elsewhere in the repository is no page and fails.
"""  # noqa: INP001

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# What pages link to beside pages and pictures.
SCHEMA = "docs/reference/json.schema.json"
CONFIG = ROOT / "docs" / "site.toml"
# Pages that stand at the top of the repository.
TOP = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
_PLACE = re.compile(r'(?<=\]\()(?!\w+:)([^)\s#]+)|(?<=src=")(?!\w+:)([^"]+)|(?<=srcset=")(?!\w+:)([^"]+)')
_FENCE = re.compile(r"^(```)(\w+)[^\n`]*$", re.MULTILINE)
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LICENCE = re.compile(r"\[LICENSE\]\(LICENSE\)")


class Unfit(Exception):
    """A page or what was built of it is not as a site needs it."""


def main(arguments: list[str]) -> int:
    """Build the site, of this repository or of the folder that is given."""
    root = Path(arguments[0]) if arguments else ROOT
    build = root / "build" / "docs"
    try:
        lay_out(root, build)
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "-f", str(build / "zensical.toml")],
            check=False,
        )
        if done.returncode:
            return done.returncode
        alone(build / "site")
    except Unfit as unfit:
        sys.stderr.write(f"docs: {unfit}\n")
        return 1
    sys.stdout.write(f"Open {build / 'site' / 'index.html'}\n")
    return 0


def lay_out(root: Path, build: Path) -> None:
    """The pages as the site has them, each of which its navigation names."""
    shutil.rmtree(build, ignore_errors=True)
    docs = root / "docs"
    pictures = {f"docs/pictures/{path.name}": f"pictures/{path.name}" for path in (docs / "pictures").iterdir()}
    names = {path.relative_to(root).as_posix(): path.relative_to(docs).as_posix() for path in docs.rglob("*.md")} | TOP
    files = pictures | {SCHEMA: SCHEMA.removeprefix("docs/")}
    config = (docs / CONFIG.name).read_text(encoding="utf-8")
    listed = set(pages_of(tomllib.loads(config)["project"]["nav"]))
    if lost := set(names.values()) ^ listed:
        raise Unfit(f"in docs/{CONFIG.name} or in the folder alone: {', '.join(sorted(lost))}")
    for name, page in names.items():
        target = build / "docs" / page
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(as_page(name, (root / name).read_text(encoding="utf-8"), names | files), encoding="utf-8")
    for name, place in files.items():
        (build / "docs" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, build / "docs" / place)
    (build / "zensical.toml").write_text(config, encoding="utf-8")


def pages_of(nav: list[Any]) -> Iterator[str]:
    """Every page of a navigation."""
    for entry in nav:
        for below in entry.values():
            yield from [below] if isinstance(below, str) else pages_of(below)


def as_page(name: str, text: str, names: dict[str, str]) -> str:
    """A page of the repository as one of the site."""

    def moved(match: re.Match[str]) -> str:
        asked = posixpath.normpath(posixpath.join(posixpath.dirname(name), match[0]))
        target = names.get(asked)
        if target is not None:
            return posixpath.relpath(target, posixpath.dirname(names[name]) or ".")
        if not asked.endswith(".md"):
            raise Unfit(f"{name}: {match[0]} is no page of the site, nor a picture")
        return match[0]  # the build shows the line of a page that is not there

    text = _LICENCE.sub("LICENSE", text)
    parts = _FENCED.split(text)
    return "".join(_FENCE.sub(r"\1\2", part) if at % 2 else _PLACE.sub(moved, part) for at, part in enumerate(parts))


class _Asked(HTMLParser):
    """Whatever a browser fetches by itself to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        fetched = [told.get(name, "") for name in ("src", "srcset", "poster", "data")]
        if tag == "link" and told.get("rel") != "canonical":
            fetched.append(told.get("href", ""))
        self.found |= {place for place in fetched if re.match(r"(\w+:)?//", place)}
        # The theme's script fetches more where it meets one of these.
        words = {*told.get("class", "").split(), told.get("data-md-component", "")}
        self.found |= {f"what draws {word}" for word in words & {"mermaid", "glightbox", "pyodide", "source"}}


def alone(site: Path) -> None:
    """Refuse a site that asks other hosts for anything."""
    for file in site.rglob("*"):
        if file.suffix == ".html":
            asked = _Asked()
            asked.feed(file.read_text(encoding="utf-8"))
            if asked.found:
                raise Unfit(f"{file.relative_to(site)} asks for {', '.join(sorted(asked.found))}")
        elif file.suffix == ".css":
            text = file.read_text(encoding="utf-8")
            if found := re.search(r"(?:url\(|@import\s*)[\"']?(?:https?:)?//[^\"')]+", text):
                raise Unfit(f"{file.relative_to(site)} asks for {found[0]}")


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main(sys.argv[1:]))
