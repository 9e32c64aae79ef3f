"""The page of proof: what to hold the ledger against, and a check that the browser makes by itself."""

from __future__ import annotations

import htpy as h
from htpy import Element, Node

from tallygate.core.gate.wording import short_name
from tallygate.core.proof import Mark
from tallygate.core.text import plural
from tallygate.entrypoints.page.document import PageAround, document
from tallygate.entrypoints.page.look import Look
from tallygate.entrypoints.page.parts import NOTHING, ColumnHead, Row, TableCell, command, facts, section, table, title
from tallygate.entrypoints.page.wording import when
from tallygate.ledger.port import StoredAttestation
from tallygate.operations.views.frame import Frame
from tallygate.operations.views.proof import ProofView

_HEADS = (
    ColumnHead("Signed"),
    ColumnHead("Kind"),
    ColumnHead("Session"),
    ColumnHead("Event", number=True),
    ColumnHead("Hash"),
    ColumnHead("Envelope"),
)


def proof_page(look: Look, around: PageAround, frame: Frame, view: ProofView, anchor: Mark | None) -> bytes:
    """The whole page. It says nothing of whether all this is true: only the browser or another program can."""
    mark = anchor if anchor is not None and (anchor.ledger_id, anchor.tenant) == (view.ledger_id, view.tenant) else None
    return document(
        look,
        around,
        "Proof",
        title("Proof", h.p["what the ledger is held against; nothing here is verified until you do it"]),
        h.div(".grid")[
            h.div(".w7.stack")[_ledger(around, frame, view, mark), _attested(look, around, frame, view)],
            h.div(".w5.stack")[_in_browser(view, mark), _file(), _elsewhere(view), _limits()],
        ],
        frame=frame,
        scripts=("proof.js",),
    )


def _ledger(around: PageAround, frame: Frame, view: ProofView, mark: Mark | None) -> Element:
    def moment(at_us: int) -> str:
        return when(at_us, frame.now_us, around.zone)

    head = view.head
    pairs: list[tuple[Node, Node]] = [
        ("head", h.span(".mono")[head.hash.hex()] if head.seq else NOTHING),
        ("last event", f"{head.seq:,}, {moment(head.at_us)}" if head.seq else "none yet"),
        ("ledger", h.span(".mono")[view.ledger_id]),
        (
            "anchor",
            "none is kept for this ledger"
            if mark is None
            else f"kept away from the ledger, last written at event {mark.seq:,}, {moment(mark.at_us)}",
        ),
    ]
    pairs += [
        ("key", ["Ed25519 ", h.span(".mono")[keyid], f", since event {seq:,}, {moment(at_us)}"])
        for keyid, _, seq, at_us in view.keys
    ]
    if view.keys:
        pairs.append(("public keys", h.a(href="keys.json")["keys.json"]))
    note = "write the head down elsewhere, and nothing before it can change unseen"
    return section("The ledger", facts(pairs), note=note)


def _attested(look: Look, around: PageAround, frame: Frame, view: ProofView) -> Element:
    if not view.attested:
        return section(
            "Attestations", h.p(".foot")["None yet: no budget has refused a call, and no session has ended."]
        )
    rows = [_row(look, around, frame, each) for each in view.attested]
    waiting = f"{plural(view.due, 'attestation')} to be signed: "
    due = view.due > 0 and h.p(".foot")[waiting, command("tallygate attest list")]
    more = view.older and h.p(".pad")[h.a(href=look.href(after=view.older))["Older ones"]]
    return section("Attestations", table("Attestations", _HEADS, rows, cards=True), due, more)


def _row(look: Look, around: PageAround, frame: Frame, each: StoredAttestation) -> Row:
    session = each.session_id
    get = h.a(href=f"envelope.json?id={each.attestation_id}", aria_label=f"download {each.attestation_id}")["download"]
    cells = (
        TableCell("to be signed" if each.issued_us is None else when(each.issued_us, frame.now_us, around.zone), "nw"),
        TableCell(each.kind),
        TableCell(NOTHING if session is None else h.a(href=look.href("session", id=session))[short_name(session)]),
        TableCell(f"{each.seq:,}"),
        TableCell(each.event_hash.hex()[:12], "mono"),
        TableCell(NOTHING if each.envelope is None else get),
    )
    return cells, ""


def _in_browser(view: ProofView, mark: Mark | None) -> Element:
    """What the script goes by; it stands in the page so that the check begins at what was shown."""
    told = {"data-chain": f"{view.ledger_id}/{view.tenant}", "data-seq": str(view.head.seq)}
    told["data-head"] = view.head.hash.hex()
    if mark is not None and mark.seq:
        told |= {"data-mark-seq": str(mark.seq), "data-mark": mark.digest.hex()}
    return section(
        "Verify in this browser",
        h.p(".foot")[
            "Your browser gets the stored bytes, walks the chain and checks every signature itself. "
            "What this server says of them is not asked. The keys are those that the ledger names: "
            "compare their ids with what you hold, or name one, and a head that you wrote down."
        ],
        h.div(id="unscripted")[
            h.p(".foot")["This takes script, which does not run here. In a terminal:"], command("tallygate verify")
        ],
        h.form(".form", told, id="verify", hidden=True)[
            h.label(for_="known-key")["Key id"],
            h.input(id="known-key", autocomplete="off", spellcheck="false", maxlength="43"),
            h.label(for_="known-head")["Head"],
            h.input(id="known-head", autocomplete="off", spellcheck="false", maxlength="64"),
            h.p(".full")[h.button(".primary", type="submit")[f"Verify {plural(view.head.seq, 'event')}"]],
        ],
        h.p(id="progress", role="status", class_="note"),
        h.ul(".found", id="found-here"),
    )


def _file() -> Element:
    return section(
        "Verify a file",
        h.form(".drop", id="bundle-form")[
            h.p[
                h.label(for_="bundle")[h.b["Evidence bundle or attestation"]],
                h.br,
                h.span(".note")["Read in this browser and sent nowhere; it takes script. A zip or an envelope."],
            ],
            h.input(id="bundle", type="file", accept=".zip,.json"),
        ],
        h.div(".form.pad")[
            h.label(for_="bundle-key")["Key or key id"],
            h.input(id="bundle-key", autocomplete="off", spellcheck="false"),
        ],
        h.p(".foot")["The key is one that you got over another way; the one in the bundle proves nothing."],
        h.p(id="bundle-said", role="status", class_="say"),
        h.ul(".found", id="found-in-bundle"),
    )


def _elsewhere(view: ProofView) -> Element:
    return section(
        "For an auditor",
        h.p(".foot")["The whole ledger, with its tables, and whether a head is in it:"],
        command(f"tallygate verify --head {view.head.hash.hex()}" if view.head.seq else "tallygate verify"),
        h.p(".foot")["Evidence of one session, and a verifier that shares no code with this program:"],
        command("tallygate attest export SESSION --zip"),
        command("node verify.mjs evidence.zip --key key.pem"),
        h.p(".foot")[h.a(href="verify.mjs", download="verify.mjs")["verify.mjs"], " is what this page checks with."],
    )


def _limits() -> Element:
    return section(
        "What this does not prove",
        h.p(".foot")[
            "Whoever holds your user account can rewrite ledger, keys and anchor together, and this page with them. "
            "A head or a key that was written down elsewhere shows it; so does a bill."
        ],
    )
