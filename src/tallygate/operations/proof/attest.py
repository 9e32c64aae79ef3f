"""Sign what an auditor may ask for, and hand out a session's evidence as a bundle."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tallygate.attest.dsse import enclosed
from tallygate.attest.keyring import KeyRing, Rotation
from tallygate.attest.keys import PublicKey, Signer, jwks
from tallygate.attest.statement import statement_bytes
from tallygate.core.authority import Authority, Loosening
from tallygate.core.errors import InvalidArgument, LedgerCorrupt, NotFound, present, unknown_session
from tallygate.core.gate.policy import own_budget
from tallygate.core.proof import Head, SlimAttestation, StatementKind, event_hash
from tallygate.files import create
from tallygate.ledger.port import Due, StoredAttestation, Tx
from tallygate.operations.gate.pipeline import slim
from tallygate.operations.lock_book import note_loosened
from tallygate.operations.proof.evidence import ATTESTATIONS, CHECKPOINT, ENVELOPE, EVENTS, KEY_TRACE, STATEMENT
from tallygate.operations.proof.statements import event_of, exhausted, reached, subject_of, summed
from tallygate.operations.runtime import Runtime, every_tenant

# --- attest ----------------------------------------------------------------------------------------------------------
# Attest what the ledger holds: named at once by the event's hash, signed after its commit, never in a decision.


PER_ROUND = 200
# So long others wait for the ledger while much is signed.
HELD_US = 50_000
_ROTATIONS_MAX = 1000


def ready(rt: Runtime) -> None:
    """Make the key that will sign where there is none, so that no answer has to. Raises `KeyUnusable`."""
    if rt.services.keys is not None:
        rt.services.keys.public()


def issue_missing(rt: Runtime, limit: int = PER_ROUND, session_id: str | None = None) -> int:
    """Sign some of what is due, the oldest first; returns how many were signed. Raises `KeyUnusable`."""
    if rt.services.keys is None:
        return 0
    with rt.reading() as reader:
        # Nearly always nothing is due: then no key is looked for, and the writer's lock is left alone.
        if not reader.attestations_due(1, session_id):
            return 0
    signer = announced(rt, rt.services.keys)
    signed = 0
    with rt.writing() as tx:
        began_us, as_of = rt.services.clock_us(), tx.head()
        for each in tx.attestations_due(limit, session_id):
            # Every step waits for this lock: what is left is signed in the next round. One at least, so that it ends.
            if signed and rt.services.clock_us() - began_us > HELD_US:
                break
            _sign(rt, tx, each, signer, as_of)
            signed += 1
    return signed


def _sign(rt: Runtime, tx: Tx, due: StoredAttestation, signer: Signer, as_of: Head) -> None:
    event = event_of(tx, due.seq)
    chain_id = f"{rt.services.ledger.ledger_id}/{rt.tenant}"
    # Signed is what the event's bytes say, so they are held against their hash once more: a signature under a changed
    # event would lend it our word.
    if event.hash != due.event_hash or event.hash != event_hash(chain_id, event.seq, event.previous, event.body):
        raise LedgerCorrupt(
            f"Event {due.seq} is not the one that {due.attestation_id} is about: it was changed after it was written.",
            hint="Nothing was signed. Run `tallygate verify`, then restore a backup.",
        )
    kind = StatementKind(due.kind)
    if kind is StatementKind.BUDGET_EXHAUSTED:
        predicate = exhausted(tx, event)
    elif kind is StatementKind.SESSION_SUMMARY:
        session = present(tx.session(str(due.session_id)), "an attested session is in the ledger")
        predicate = summed(tx, session, as_of)
    else:
        predicate = reached(event)
    payload = statement_bytes(kind, subject_of(rt.services.ledger.ledger_id, rt.tenant, event), predicate)
    envelope = enclosed(payload, signer)
    tx.sign_attestation(due.attestation_id, payload, envelope.to_json(), envelope.keyid)


def signing(rt: Runtime) -> tuple[list[str], int]:
    """The ids of the keys that a ledger was signed with, in order, and how much waits to be signed."""
    with rt.reading() as reader:
        return [keyid for keyid, *_ in reader.signing_keys()], reader.count_due()


def announced(rt: Runtime, keys: KeyRing) -> Signer:
    """The key that signs, after an event has told of it and of those that it took the place of."""
    signer = keys.signer()
    with rt.reading() as reader:
        if reader.knows_key(signer.public.keyid):
            return signer
    with rt.writing() as tx:
        signer = keys.signer()
        _tell(rt, tx, keys, signer)
    return signer


def _tell(rt: Runtime, tx: Tx, keys: KeyRing, signer: Signer) -> None:
    way: list[Rotation] = []
    key = signer.public
    while not tx.knows_key(key.keyid) and len(way) < _ROTATIONS_MAX:
        rotation = keys.rotation_to(key.keyid)
        if rotation is None or not rotation.holds:
            break
        way.append(rotation)
        key = rotation.old
    if not tx.knows_key(key.keyid):
        known = tx.signing_keys()
        if way and not known:
            way, key = [], signer.public  # a ledger that never saw the older ones begins with this one
        note = {"keyid": key.keyid, "public": key.x} | ({"lost": known[-1][0]} if known else {})
        tx.keep_key(key.keyid, key.x, tx.append("key.created", [], by=rt.by, note=note))
    for rotation in reversed(way):
        head = tx.append("key.rotated", [], by=rt.by, note=rotation.stated())
        tx.keep_key(rotation.new.keyid, rotation.new.x, head)


def of_session(rt: Runtime, session_id: str) -> list[StoredAttestation]:
    """Every attestation of a session, signed by now, the youngest first. Raises `NotFound`, `KeyUnusable`."""
    with rt.reading() as reader:
        if reader.session(session_id) is None:
            raise unknown_session(session_id)
    while issue_missing(rt, session_id=session_id):
        continue
    with rt.reading() as reader:
        return reader.attestations_of(session_id)


def newest(rt: Runtime, limit: int) -> list[StoredAttestation]:
    """The youngest attestations, all signed by now, those noted again whose rows were lost."""
    with rt.writing() as tx:
        tx.due_from_journal()
    while issue_missing(rt):
        continue
    with rt.reading() as reader:
        return reader.attestations(limit)


def find_attestation(rt: Runtime, attestation_id: str) -> StoredAttestation:
    """One attestation, signed by now. Raises `NotFound`."""
    with rt.reading() as reader:
        each = reader.attestation(attestation_id)
    if each is None:
        raise NotFound(
            f"No attestation {attestation_id!r:.60} is in the ledger.",
            hint="`tallygate attest list` shows the attestations.",
            code="unknown_attestation",
        )
    if each.envelope is not None:
        return each
    while issue_missing(rt, session_id=each.session_id):
        continue
    with rt.reading() as reader:
        return present(reader.attestation(attestation_id), "an attestation stays")


def summary(rt: Runtime, session_id: str) -> StoredAttestation:
    """What a session has come to, signed: as of now while it is open, then as of its end or of what came in later."""
    with rt.writing() as tx:
        known = tx.session_with_budgets(session_id)
        if known is None:
            raise unknown_session(session_id)
        session, budgets = known
        last = None if session.is_open else tx.last_attestation(session_id, StatementKind.SESSION_SUMMARY.value)
        changed_us = own_budget(session, budgets).touched_us
        # Late usage may come in after the end: a summary from before it is not what the session has come to.
        if last is None or (last.issued_us is not None and last.issued_us <= changed_us):
            tx.attest_later(due := Due(StatementKind.SESSION_SUMMARY, tx.head(), session_id))
            last = None
    return find_attestation(rt, due.attestation_id if last is None else last.attestation_id)


def slim_summary(rt: Runtime, session_id: str) -> SlimAttestation | None:
    """What a session has come to, signed, as a reply carries it. Raises `KeyUnusable`."""
    return None if rt.services.keys is None else slim(rt.services.keys, summary(rt, session_id))


def of_exhausted(rt: Runtime, session_id: str, changed_us: int) -> SlimAttestation | None:
    """What is signed of a session with nothing left: its last refusal, or what it has come to.

    Neither counts where a budget has changed since, at `changed_us`: then what it has come to is signed anew.
    """
    if rt.services.keys is None:
        return None
    with rt.reading() as reader:
        refusal = reader.last_attestation(session_id, StatementKind.BUDGET_EXHAUSTED.value)
        if refusal is not None and event_of(reader, refusal.seq).at_us >= changed_us:
            return slim(rt.services.keys, refusal)
        summed_up = reader.last_attestation(session_id, StatementKind.SESSION_SUMMARY.value)
    if summed_up is not None and (summed_up.issued_us or 0) > changed_us:
        return slim(rt.services.keys, summed_up)
    return slim_summary(rt, session_id)


def checkpoint(rt: Runtime) -> StoredAttestation | None:
    """How far the history goes, signed; None where nothing has happened yet. The same head gives the same one."""
    with rt.reading() as reader:
        if reader.head().seq == 0:
            return None
    if rt.services.keys is not None:
        announced(rt, rt.services.keys)
    with rt.writing() as tx:
        due = Due(StatementKind.CHECKPOINT, tx.head())
        if tx.attestation(due.attestation_id) is None:
            tx.attest_later(due)
    return find_attestation(rt, due.attestation_id)


# --- own keys --------------------------------------------------------------------------------------------------------
# What only the user does to keys: put a new one in the place of the one that signs, and trust those of others.


def rotate_key(rt: Runtime, ring: KeyRing, *, authority: Authority) -> Rotation:
    """Sign with a new key from now on; the journal of every tenant tells of it."""
    authority.require(Loosening.KEYS_ROTATE)
    note_loosened(rt, authority, Loosening.KEYS_ROTATE)
    rotation = ring.rotate()
    for tenant in every_tenant(rt):
        if tenant.services.keys is not None:
            announced(tenant, tenant.services.keys)
    return rotation


def trust_keys(ring: KeyRing, keys: list[PublicKey], *, authority: Authority) -> list[PublicKey]:
    """Trust keys when verifying; returns those that were not trusted before."""
    authority.require(Loosening.KEYS_TRUST)
    return ring.trust(keys)


GUIDE = Path(__file__).with_name("bundle.md")


def export_bundle(rt: Runtime, session_id: str, target: Path, *, as_zip: bool = False) -> list[str]:
    """Write a session's bundle to a new folder or archive; returns the names of its files.

    Raises `InvalidArgument` where the target is there already: nothing is ever overwritten.
    """
    files = _files(rt, session_id)
    if as_zip:
        keep_file(target, _archived(files))
        return list(files)
    with _new(target):
        target.mkdir(mode=0o700)
        for name, content in files.items():
            path = target / name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.write_bytes(content)
    return list(files)


def keep_file(target: Path, content: bytes) -> None:
    """Write evidence into a new file; nothing is ever overwritten."""
    with _new(target), os.fdopen(create(target), "wb") as file:
        file.write(content)


@contextmanager
def _new(target: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise InvalidArgument("--to", f"{target} exists already.", hint="Give a new name.") from error
    except OSError as error:
        raise InvalidArgument("--to", f"{target} cannot be written: {error.strerror}.") from error


def bundle_archive(rt: Runtime, session_id: str) -> bytes:
    """A session's bundle as one archive, for whoever asks for it without a place to write to."""
    if rt.services.keys is None:
        raise InvalidArgument("evidence", "Nothing can be signed here: this ledger has no key.")
    return _archived(_files(rt, session_id))


def _archived(files: Mapping[str, bytes]) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            # One day for every file, so that the same evidence gives the same archive.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return found.getvalue()


def _files(rt: Runtime, session_id: str) -> dict[str, bytes]:
    main = summary(rt, session_id)
    attested = [each for each in of_session(rt, session_id) if each.kind == StatementKind.BUDGET_EXHAUSTED]
    reached = present(checkpoint(rt), "a ledger with a session has events")
    trusted = present(rt.services.keys, "what is exported is signed").trusted()
    signers = {str(each.keyid): trusted[str(each.keyid)] for each in (main, reached, *attested)}
    files = {
        STATEMENT: main.payload or b"",
        ENVELOPE: _line(main),
        CHECKPOINT: _line(reached),
        EVENTS: _events(rt, session_id, [main.seq, *(each.seq for each in attested)]),
        "public-key.pem": trusted[str(main.keyid)].pem().encode(),
        "public-key.jwks.json": jwks(signers.values()).encode(),
        "README.md": GUIDE.read_bytes(),
    }
    for each in attested:
        files[f"{ATTESTATIONS}{each.attestation_id}.json"] = _line(each)
    return files


def _line(attested: StoredAttestation) -> bytes:
    return str(attested.envelope).encode() + b"\n"


def _events(rt: Runtime, session_id: str, stated: list[int]) -> bytes:
    """The session's events, those that are stated and those that tell of keys, with the bytes of their hashes."""
    with rt.reading() as reader:
        events = {event.seq: event for event in reader.events_about(json.dumps(session_id, ensure_ascii=False))}
        # Whoever trusts an older key finds the way to this one in them.
        events |= {event.seq: event for event in reader.events_about(KEY_TRACE)}
        events |= {seq: event_of(reader, seq) for seq in stated}
    lines = []
    for seq in sorted(events):
        event = events[seq]
        told = {"seq": seq, "previous": event.previous.hex(), "hash": event.hash.hex(), "body": event.body.decode()}
        lines.append(json.dumps(told, ensure_ascii=True) + "\n")
    return "".join(lines).encode()
