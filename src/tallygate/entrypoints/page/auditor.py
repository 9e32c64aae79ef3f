"""Evidence as one file for auditors: what is stated, the bundle and the verifier, opened from a disk without a network.

The file checks itself in the reader's browser. Its policy names the only script and style that may run in it by their
hashes and lets nothing be loaded; a copy in which the script was changed checks nothing, and so never says "verified".
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import htpy as h
from htpy import Element
from markupsafe import Markup

from tallygate import __version__
from tallygate.attest import VERIFIER
from tallygate.core.text import visible
from tallygate.entrypoints.page.document import rendered
from tallygate.entrypoints.page.parts import ColumnHead, TableCell, command, section, table, title

_SUM = "0" * 64
_STYLES = ("tokens.css", "page.css")


def auditor_file(archive: bytes, name: str) -> bytes:
    """A session's bundle, given as its archive, as a page that verifies itself."""
    with zipfile.ZipFile(io.BytesIO(archive)) as bundle:
        held = {each: bundle.read(each) for each in ("statement.json", "events.jsonl")}
    script = visible(f"{VERIFIER.read_text(encoding='utf-8')}{_static('auditor.js')}")
    style = visible("".join(map(_static, _STYLES)))
    stored = base64.encodebytes(archive).decode("ascii")
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'"
    page = rendered(
        h.html(lang="en", data_sum=_SUM)[
            h.head[
                h.meta(charset="utf-8"),
                # Nothing that stands below may do more than this allows, whoever has put it there.
                h.meta(http_equiv="Content-Security-Policy", content=f"{policy}; form-action 'none'"),
                h.meta(name="viewport", content="width=device-width, initial-scale=1"),
                h.meta(name="referrer", content="no-referrer"),
                h.title[f"Evidence of {name} · Tallygate"],
                h.style[Markup(style)],  # noqa: S704 - a file of this program
            ],
            h.body[
                _check(),
                h.main(id="main")[h.div(".wrap")[_stated(name, held)]],
                h.script(id="bundle", type="application/octet-stream")[stored],
                h.script(type="module")[Markup(script)],  # noqa: S704 - files of this program
            ],
        ]
    )
    told = _Told(page.decode())
    digest = hashlib.sha256(f"{told.text}{stored}".encode()).hexdigest()
    return page.replace(f'data-sum="{_SUM}"'.encode(), f'data-sum="{digest}"'.encode(), 1)


def _check() -> Element:
    return h.header(".top")[
        h.div(".wrap")[
            h.section(".sec", aria_label="Verification")[
                h.p(".say", id="said", role="status")["Nothing has been verified yet"],
                h.div(id="unscripted")[
                    h.p(".foot")[
                        "A browser with script verifies this file by itself. Without one, take the bundle from the "
                        "export without --html, and under Node 22:"
                    ],
                    command("node verify.mjs evidence.zip --key key.pem"),
                ],
                h.form(".form.pad", id="check", hidden=True)[
                    h.label(for_="key")["Key or key id"],
                    h.input(id="key", autocomplete="off", spellcheck="false"),
                    h.p(".full.note")[
                        "One that you got over another way: a file that brings its own key proves nothing by that."
                    ],
                    h.p(".full")[h.button(".primary", type="submit")["Verify with this key"]],
                ],
                h.ul(".found", id="found"),
            ]
        ]
    ]


def _stated(name: str, held: Mapping[str, bytes]) -> list[Element]:
    stated = [*flattened(json.loads(held["statement.json"])["predicate"])]
    events = [json.loads(line) for line in held["events.jsonl"].decode().splitlines()]
    heads = [ColumnHead("What"), ColumnHead("As it was signed")]
    hashes = [ColumnHead("Event"), ColumnHead("Hash")]
    facts = [([TableCell(way, names=True), TableCell(value)], "") for way, value in stated]
    chain = [([TableCell(f"event {each['seq']}", names=True), TableCell(each["hash"], "mono")], "") for each in events]
    return [
        title(f"Evidence of {name}", h.p[f"written by tallygate {__version__}"]),
        section("What is stated", table("What is stated of the session", heads, facts)),
        section("Its events", table("Events of the session, in the order of the journal", hashes, chain)),
        section(
            "What this does not prove",
            h.p(".foot")[
                "That the session was the only one, and that whoever held the user account did not rewrite ledger and "
                "keys together. A key id, and a head, that were written down elsewhere show it; so does a bill. "
                "Somebody who changes this file can change its verifier too: an auditor opens the bundle with a "
                "verifier of their own."
            ],
        ),
    ]


def flattened(value: Any, way: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every value of a statement by the way to it.

    >>> list(flattened({"total": {"amount": "0.1"}, "models": [{"calls": 2}]}))
    [('total amount', '0.1'), ('models 1 calls', '2')]
    """
    if isinstance(value, dict):
        for name, each in value.items():
            yield from flattened(each, (*way, name))
    elif isinstance(value, list):
        for number, each in enumerate(value, 1):
            yield from flattened(each, (*way, str(number)))
    else:
        yield " ".join(way), value if isinstance(value, str) else json.dumps(value)


def _static(name: str) -> str:
    return (files(__package__) / "static" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


class _Told(HTMLParser):
    """What stands in the main part of a page, as browsers read it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self._inside = "", False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the parser asks so
        self._inside |= tag == "main"

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "main"

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.text += data
