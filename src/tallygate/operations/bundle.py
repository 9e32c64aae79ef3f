"""An evidence bundle: a session's proof with what it takes to check it, as a folder or one archive."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallygate.attest import dsse
from tallygate.attest.keys import PublicKey, jwks, public_keys_from
from tallygate.attest.statement import Statement, read_statement
from tallygate.core.errors import InvalidArgument, KeyUnusable, NotProven, present
from tallygate.core.proof import Kind, event_hash
from tallygate.files import create
from tallygate.operations.attest import checkpoint, of_session, summary
from tallygate.operations.predicates import event_of
from tallygate.operations.runtime import Runtime
from tallygate.operations.verify import Part, Report
from tallygate.operations.verify_heard import KEY_TRACE, Told

if TYPE_CHECKING:
    from tallygate.ledger.port import Attested

GUIDE = Path(__file__).with_name("bundle.md")
ENVELOPE, STATEMENT, EVENTS, CHECKPOINT = "envelope.json", "statement.json", "events.jsonl", "checkpoint.json"
ATTESTATIONS = "attestations/"
FILES_MAX, FILE_BYTES_MAX, ALL_BYTES_MAX = 100_000, 64 << 20, 512 << 20
RATIO_MAX = 200


def export_bundle(rt: Runtime, session_id: str, target: Path, *, as_zip: bool = False) -> list[str]:
    """Write a session's bundle to a new folder or archive; returns the names of its files.

    Raises `InvalidArgument` where the target is there already: nothing is ever overwritten.
    """
    files = _files(rt, session_id)
    try:
        if as_zip:
            with os.fdopen(create(target), "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, content in files.items():
                    # One day for every file, so that the same evidence gives the same archive.
                    archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
        else:
            target.mkdir(mode=0o700)
            for name, content in files.items():
                path = target / name
                path.parent.mkdir(mode=0o700, exist_ok=True)
                path.write_bytes(content)
    except FileExistsError as error:
        raise InvalidArgument("--to", f"{target} exists already.", hint="Give a new name.") from error
    except OSError as error:
        raise InvalidArgument("--to", f"{target} cannot be written: {error.strerror}.") from error
    return list(files)


def _files(rt: Runtime, session_id: str) -> dict[str, bytes]:
    main = summary(rt, session_id)
    attested = [each for each in of_session(rt, session_id) if each.kind == Kind.BUDGET_EXHAUSTED]
    reached = present(checkpoint(rt), "a ledger with a session has events")
    trusted = present(rt.keys, "what is exported is signed").trusted()
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


def _line(attested: Attested) -> bytes:
    return str(attested.envelope).encode() + b"\n"


def _events(rt: Runtime, session_id: str, stated: list[int]) -> bytes:
    """The session's events, those that are stated and those that tell of keys, with the bytes of their hashes."""
    with rt.ledger.reading(rt.tenant) as reader:
        found = {event.seq: event for event in reader.events_about(json.dumps(session_id, ensure_ascii=False))}
        found |= {event.seq: event for event in reader.events_about(KEY_TRACE)}
        found |= {seq: event_of(reader, seq) for seq in stated}
    lines = []
    for seq in sorted(found):
        event = found[seq]
        told = {"seq": seq, "previous": event.previous.hex(), "hash": event.hash.hex(), "body": event.body.decode()}
        lines.append(json.dumps(told, ensure_ascii=True) + "\n")
    return "".join(lines).encode()


@dataclass(slots=True)
class Opened:
    """What a file, folder or archive with attestations holds: envelopes by name, statement and events where given."""

    envelopes: dict[str, bytes]
    statement: bytes | None = None
    events: bytes | None = None
    keys: list[PublicKey] = field(default_factory=list)


def opened(path: Path) -> Opened:
    """Read an envelope, or a bundle. Raises `NotProven` where it is neither."""
    try:
        files = _from_folder(path) if path.is_dir() else _from_file(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise NotProven(f"{path} cannot be read: {error}.") from error
    if ENVELOPE not in files:
        raise NotProven(f"{path} has no {ENVELOPE}.", hint="Pass an envelope, or a folder or zip of `attest export`.")
    names = [name for name in files if name in (ENVELOPE, CHECKPOINT) or name.startswith(ATTESTATIONS)]
    found = Opened({name: files[name] for name in names}, files.get(STATEMENT), files.get(EVENTS))
    for name in ("public-key.pem", "public-key.jwks.json"):
        if name in files:
            try:
                found.keys += public_keys_from(files[name], name)
            except KeyUnusable as error:
                raise NotProven(error.message) from error
    return found


def _from_folder(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for each in [*path.glob("*"), *(path / ATTESTATIONS).glob("*.json")]:
        if each.is_file() and not each.is_symlink():
            if len(files) >= FILES_MAX or each.stat().st_size > FILE_BYTES_MAX:
                raise NotProven(f"{path} holds more or larger files than a bundle has.")
            files[each.relative_to(path).as_posix()] = each.read_bytes()
    return files


def _from_file(path: Path) -> dict[str, bytes]:
    if path.stat().st_size > FILE_BYTES_MAX:
        raise NotProven(f"{path} has more than {FILE_BYTES_MAX:,} bytes.")
    if not zipfile.is_zipfile(path):
        return {ENVELOPE: path.read_bytes()}
    files: dict[str, bytes] = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > FILES_MAX or sum(each.file_size for each in members) > ALL_BYTES_MAX:
            raise NotProven(f"{path} unpacks to more than a bundle has.")
        for each in members:
            if each.is_dir():
                continue
            if each.file_size > FILE_BYTES_MAX or each.file_size > RATIO_MAX * max(each.compress_size, 100):
                raise NotProven(f"{path} unpacks to more than a bundle has.")
            with archive.open(each) as file:
                files[each.filename] = file.read(each.file_size + 1)
    return files


def verify_attestations(report: Report, path: Path, keys: Mapping[str, PublicKey]) -> list[tuple[Statement, bytes]]:
    """Check every envelope in a file or bundle by keys from elsewhere; returns what is proven, with its bytes."""
    bundle = opened(path)
    report.facts.append(("attestation", str(path)))
    events = _hashed(report, bundle.events)
    told = _told(report, keys, events)
    for keyid in sorted({key.keyid for key in bundle.keys} - told.known.keys()):
        report.notes.append(f"the bundle brings the key {keyid}; it is not believed, since anybody can put one in")
    proven: list[tuple[Statement, bytes]] = []
    for name, raw in sorted(bundle.envelopes.items()):
        try:
            envelope = dsse.read(raw)
            payload = envelope.opened(told.known)
            stated = read_statement(payload)
        except NotProven as error:
            part = Part.KEY if error.code == "key_untrusted" else Part.ATTESTATION
            report.add(part, name, error.message, "this proves nothing")
            continue
        if stated.seq > told.retired.get(envelope.keyid, stated.seq):
            report.add(Part.KEY, name, "the key that signed had been replaced before", "somebody kept a key")
            continue
        proven.append((stated, payload))
        report.facts.append(
            ("proven", f"{name}: {stated.kind.value} about {stated.name}, sha256 {stated.digest.hex()}")
        )
        if name == ENVELOPE and bundle.statement is not None and bundle.statement != payload:
            report.add(Part.ATTESTATION, STATEMENT, "is not what was signed", "it was edited after it was exported")
    if bundle.events is not None and proven:
        _in_events(report, proven, events)
    return proven


def _told(report: Report, given: Mapping[str, PublicKey], events: Mapping[int, tuple[bytes, bytes, bytes]]) -> Told:
    """What a bundle's events tell of keys: both have signed that one took the place of the other, so it is believed."""
    told = Told(dict(given))
    for seq in sorted(events):
        try:
            event = json.loads(events[seq][2])
            is_of_key = event["kind"].startswith("key.")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            report.add(Part.CHAIN, f"{EVENTS}, event {seq}", "is no event", "the bundle was edited")
            continue
        if is_of_key:
            told.key(seq, event)
    for where, what in told.faults:
        report.add(Part.KEY, f"{EVENTS}, {where}", what, "a key was put in by hand")
    report.notes += told.notes
    return told


def _hashed(report: Report, raw: bytes | None) -> dict[int, tuple[bytes, bytes, bytes]]:
    """The events of a bundle: previous hash, stated hash and body by number."""
    found = {}
    for number, line in enumerate((raw or b"").splitlines(), 1):
        try:
            told: dict[str, Any] = json.loads(line)
            place = bytes.fromhex(told["previous"]), bytes.fromhex(told["hash"]), str(told["body"]).encode()
            found[int(told["seq"])] = place
        except (ValueError, KeyError, TypeError, RecursionError):
            report.add(Part.CHAIN, f"{EVENTS} line {number}", "is no event", "the bundle was edited")
    return found


def _in_events(
    report: Report, proven: list[tuple[Statement, bytes]], events: Mapping[int, tuple[bytes, bytes, bytes]]
) -> None:
    """Every event must have the hash that its bytes give, and those that are stated the one that was signed."""
    first = proven[0][0]
    for seq, (previous, digest, body) in events.items():
        if event_hash(f"{first.ledger_id}/{first.tenant}", seq, previous, body) != digest:
            what = "its hash is not that of its bytes"
            report.add(Part.CHAIN, f"{EVENTS}, event {seq}", what, "the event was edited")
    for stated, _ in proven:
        where = f"{EVENTS}, event {stated.seq}"
        if stated.seq not in events:
            if stated.kind is not Kind.CHECKPOINT:
                report.add(Part.CHAIN, where, "is missing", "the event that was signed is not in the bundle")
        elif events[stated.seq][1] != stated.digest:
            report.add(Part.CHAIN, where, "its hash is not the one that was signed", "the event was edited")
