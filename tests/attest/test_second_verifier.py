"""The verifier in JavaScript shares no code with ours, and says the same of every bundle, whole or tampered with."""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import subprocess

import pytest
from click.testing import CliRunner
from tests.e2e.install import node_folder, prefix
from tests.world import make_world

from tallygate.attest import VERIFIER
from tallygate.attest.keyring import KeyRing
from tallygate.attest.keys import new_signer
from tallygate.core.authority import Authority, EntryDoor
from tallygate.core.costing import Tokens
from tallygate.core.errors import NotProven
from tallygate.core.proof import event_hash
from tallygate.entrypoints.cli.attest import attest
from tallygate.entrypoints.cli.verify import CODES
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.proof.attest import export_bundle, rotate_key
from tallygate.operations.proof.evidence import Area, Report, verify_attestations
from tallygate.operations.sessions.ending import end_session


def node() -> str | None:
    """Node 22 or later: that of the machine, or the one that the tests with real clients have installed."""
    found = shutil.which("node", path=node_folder(prefix())) or shutil.which("node")
    if found is None:
        return None
    told = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)", told)
    return found if version is not None and int(version[1]) >= 22 else None


NODE = node()
NO_NODE = "there is no Node 22: `make test-e2e` installs one"


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    """A bundle with refusals before and after a change of the key, its archive, and the two keys."""
    folder = tmp_path_factory.mktemp("second")
    world = make_world(folder).with_runtime(keys=KeyRing(folder / "keys"))
    session_id = world.start("1", task_summary='Prüfung ✓ \u2028 "quoted"\n')
    record_usage(world.rt, UsageReport(world.ask(session_id, 100).call_id, Tokens(50)))
    world.ask(session_id, 5000)
    first = world.rt.services.keys.public()
    export_bundle(world.rt, session_id, folder / "before")
    rotate_key(world.rt, world.rt.services.keys, authority=Authority(EntryDoor.COMMAND, "anna"))
    world.ask(session_id, 6000)
    end_session(world.rt, session_id)
    export_bundle(world.rt, session_id, folder / "evidence")
    export_bundle(world.rt, session_id, folder / "evidence.zip", as_zip=True)
    (folder / "first.pem").write_text(first.pem())
    (folder / "stranger.pem").write_text(new_signer().public.pem())
    world.ledger.close()
    return folder, {first.keyid: first}


def by_node(path, *arguments):
    """What `node verify.mjs` says, and the code that it leaves with."""
    if NODE is None:
        pytest.skip(NO_NODE)
    line = [str(NODE), str(VERIFIER), str(path), *map(str, arguments)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.stderr == "" or done.returncode == 2, done.stderr
    return done.returncode, done.stdout + done.stderr


def by_us(path, keys):
    """The code of `tallygate verify --attestation`."""
    report = Report()
    try:
        verify_attestations(report, path, keys)
    except NotProven:
        report.add(Area.ATTESTATION, "", "", "")
    return next((code for part, code in CODES.items() if report.counted[part]), 0)


@pytest.mark.parametrize("name", ["evidence", "evidence.zip", "before", "evidence/checkpoint.json"])
def test_fresh_evidence_is_accepted_by_both(evidence, name):
    folder, keys = evidence
    if name.endswith(".json"):  # an envelope alone has no event that leads from the first key to the second
        code, said = by_node(folder / name, "--key", folder / "first.pem")
        assert (code, by_us(folder / name, keys)) == (16, 16), said
        return
    code, said = by_node(folder / name, "--key", folder / "first.pem")
    assert (code, by_us(folder / name, keys)) == (0, 0), said
    assert "Everything verifies." in said
    assert "envelope.json: session-summary about ledger/" in said


def test_without_a_key_nothing_is_proven(evidence):
    folder, keys = evidence
    code, said = by_node(folder / "before")
    assert (code, by_us(folder / "before", {})) == (16, 16)
    assert f"nobody but the bundle says that the key {next(iter(keys))} is the right one" in said
    assert "Everything verifies" not in said


def test_the_id_of_a_key_is_enough_where_the_bundle_brings_it(evidence):
    folder, keys = evidence
    assert by_node(folder / "before", "--key", next(iter(keys)))[0] == 0
    assert by_node(folder / "before", "--key", new_signer().public.keyid)[0] == 16


@pytest.mark.parametrize("form", ["pem", "jwk", "jwks", "did"])
def test_a_key_is_read_in_every_form(evidence, tmp_path, form):
    folder, keys = evidence
    key = next(iter(keys.values()))
    text = {"pem": key.pem(), "jwk": json.dumps(key.jwk()), "jwks": json.dumps({"keys": [key.jwk()]}), "did": key.did()}
    (tmp_path / "key").write_text(text[form])
    assert by_node(folder / "before", "--key", tmp_path / "key")[0] == 0


def test_a_head_that_was_written_down_is_looked_for(evidence):
    folder, _ = evidence
    last = json.loads((folder / "evidence" / "events.jsonl").read_text().splitlines()[-1])["hash"]
    key = ("--key", folder / "first.pem")
    assert by_node(folder / "evidence", *key, "--head", last.upper())[0] == 0
    assert by_node(folder / "evidence", *key, "--head", "0" * 64)[0] == 14


@pytest.mark.parametrize("arguments", [("--head", "ab"), ("--key", "nothing"), ("--more",), ("second",)])
def test_a_call_that_is_not_understood_proves_nothing(evidence, arguments):
    assert by_node(evidence[0] / "evidence", *arguments)[0] == 2


# --- tampered --------------------------------------------------------------------------------------------------------


def of_envelope(file, change):
    """A change of one field of an envelope."""

    def tamper(folder):
        [path] = list(folder.glob(file))[:1]
        envelope = json.loads(path.read_text())
        change(envelope)
        path.write_text(json.dumps(envelope))

    return tamper


def flipped(text, at=7):
    raw = bytearray(base64.b64decode(text))
    raw[at] ^= 1
    return base64.b64encode(raw).decode()


def payload(envelope):
    envelope["payload"] = flipped(envelope["payload"], 200)


def signature(envelope):
    envelope["signatures"][0]["sig"] = flipped(envelope["signatures"][0]["sig"])


def keyid(envelope):
    envelope["signatures"][0]["keyid"] = "A" + envelope["signatures"][0]["keyid"][1:]


def kind(envelope):
    envelope["payloadType"] = "text/plain"


def more(envelope):
    envelope["more"] = 1


def twice(envelope):
    envelope["signatures"] *= 2


def of_events(change, which=1):
    """A change of one line of the events."""

    def tamper(folder):
        path = folder / "events.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        change(lines, which)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    return tamper


def field(name, change):
    def tamper(lines, which):
        lines[which][name] = change(lines[which][name])

    return of_events(tamper)


def other_digit(text):
    return ("1" if text[0] == "0" else "0") + text[1:]


def made_anew(lines, which):
    """Another body with a hash of its own that fits: what it does not fit is the event after it."""
    each, name = lines[which], re.search(r'"ledger_id":"([0-9a-f]+)"', "".join(line["body"] for line in lines))
    each["body"] = each["body"].replace('"at_us":', '"at_us":1')
    chain = f"{name[1] if name else made_anew.ledger}/default"
    each["hash"] = event_hash(chain, each["seq"], bytes.fromhex(each["previous"]), each["body"].encode()).hex()


def without_the_signed(folder):
    signed = json.loads(base64.b64decode(json.loads((folder / "envelope.json").read_text())["payload"]))
    seq = signed["predicate"]["ledger"]["seq"]
    path = folder / "events.jsonl"
    path.write_text("".join(f"{each}\n" for each in path.read_text().splitlines() if json.loads(each)["seq"] != seq))


def unsigned_rotation(lines, _):
    for each in lines:
        body = json.loads(each["body"])
        if body["kind"] == "key.rotated":
            body["note"]["old_signature"] = body["note"]["new_signature"]
            each["body"] = json.dumps(body)


def rewritten(name, change):
    def tamper(folder):
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return tamper


TAMPERED = {
    **{
        f"{change.__name__} of {file}": (of_envelope(file, change), 16 if change is keyid else 15)
        for file in ("envelope.json", "checkpoint.json", "attestations/*.json")
        for change in (payload, signature, keyid, kind, more, twice)
    },
    "statement": (rewritten("statement.json", lambda raw: raw.replace(b'"USD"', b'"EUR"')), 15),
    "number of an event": (field("seq", lambda seq: seq + 1000), 12),
    "number that is text": (field("seq", lambda seq: f"x{seq}"), 12),
    "hash before an event": (field("previous", other_digit), 12),
    "hash of an event": (field("hash", other_digit), 12),
    "body of an event": (field("body", lambda body: body.replace('"at_us":', '"at_us":1')), 12),
    "body that is none": (field("body", lambda _: "[]"), 12),
    "an event made anew with its hash": (of_events(made_anew), 12),
    "the signed event gone": (without_the_signed, 12),
    "a line torn": (rewritten("events.jsonl", lambda raw: raw[:-30]), 12),
    "an empty line": (rewritten("events.jsonl", lambda raw: b"\n" + raw), 12),
    "a rotation that one key signed": (of_events(unsigned_rotation), 12),
    "name twice": (
        rewritten("envelope.json", lambda raw: raw.replace(b'{"payload"', b'{"payload":"","payload"', 1)), 15,
    ),
    "name twice, escaped": (
        rewritten("envelope.json", lambda raw: raw.replace(b'{"payload"', b'{"p\\u0061yload":"","payload"', 1)), 15,
    ),
    "no envelope": (lambda folder: (folder / "envelope.json").unlink(), 15),
    "a key that is none": (rewritten("public-key.pem", lambda raw: raw[:60]), 15),
    "deep": (rewritten("checkpoint.json", lambda _: b"[" * 50_000), 15),
    "large": (rewritten("checkpoint.json", lambda raw: raw + b" " * (1 << 20)), 15),
    "not UTF-8": (rewritten("checkpoint.json", lambda raw: raw.replace(b"payload", b"p\xffyload", 1)), 15),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_what_was_tampered_with_is_refused_by_both_for_the_same_reason(evidence, tmp_path, name):
    folder, keys = evidence
    tamper, expected = TAMPERED[name]
    copy = tmp_path / "copy"
    shutil.copytree(folder / "evidence", copy)
    statement = json.loads((copy / "statement.json").read_bytes())
    made_anew.ledger = statement["predicate"]["ledger"]["id"]
    tamper(copy)
    assert by_us(copy, keys) == expected
    code, said = by_node(copy, "--key", folder / "first.pem")
    assert code == expected, said
    assert "Everything verifies" not in said


def test_a_key_that_was_replaced_signs_nothing_more(evidence, tmp_path):
    """What the first key signed of an event after the change, somebody signed who had kept it."""
    folder, keys = evidence
    copy = tmp_path / "copy"
    shutil.copytree(folder / "evidence", copy)
    lines = [json.loads(line) for line in (copy / "events.jsonl").read_text().splitlines()]
    [turn] = [each for each in lines if json.loads(each["body"])["kind"] == "key.rotated"]
    # The change of the key is told to have come before everything that the first one signed.
    moved = [{**turn, "seq": 1}, *(each for each in lines if each["seq"] not in (1, turn["seq"]))]
    (copy / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in moved))
    code, said = by_node(copy, "--key", folder / "first.pem")
    assert "had been replaced before" in said
    assert code == by_us(copy, keys) == 12


def test_a_rotation_that_the_trusted_key_did_not_sign_leads_nowhere(evidence, tmp_path):
    folder, _ = evidence
    shutil.copytree(folder / "evidence", tmp_path / "copy")
    of_events(unsigned_rotation)(tmp_path / "copy")
    _, said = by_node(tmp_path / "copy", "--key", folder / "first.pem")
    assert "both keys must have signed" in said
    assert "KEY  envelope.json" in said


DRIVER = """
import { checkBundle, keysFrom } from %s
import { readFileSync } from "node:fs"
const told = JSON.parse(readFileSync(process.argv[2], "utf8"))
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"))
const keys = await keysFrom(bytes(told.key))
const codes = []
for (const [name, changed] of told.changed) {
  const files = new Map(Object.entries(told.files).map(([each, text]) => [each, bytes(each === name ? changed : text)]))
  codes.push((await checkBundle(files, { keys })).code)
}
console.log(JSON.stringify(codes))
"""


def test_a_bit_that_is_flipped_anywhere_is_judged_alike(evidence, tmp_path):
    """Single bits of every file that counts, by a fixed draw; each one is also shown to our own verifier."""
    if NODE is None:
        pytest.skip(NO_NODE)
    folder, keys = evidence
    whole = folder / "evidence"
    draw = random.Random(19)
    names = [path.relative_to(whole).as_posix() for path in sorted(whole.rglob("*.json*")) if "public" not in path.name]
    changed, ours = [], []
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    for name in names:
        raw = (whole / name).read_bytes()
        for _ in range(40):
            flip = bytearray(raw)
            flip[draw.randrange(len(flip))] ^= 1 << draw.randrange(8)
            (copy / name).write_bytes(flip)
            changed.append((name, base64.b64encode(flip).decode()))
            ours.append(by_us(copy, keys))
        (copy / name).write_bytes(raw)
    files = {name: base64.b64encode((whole / name).read_bytes()).decode() for name in names}
    key = base64.b64encode((folder / "first.pem").read_bytes()).decode()
    (tmp_path / "told.json").write_text(json.dumps({"files": files, "key": key, "changed": changed}))
    (tmp_path / "driver.mjs").write_text(DRIVER % json.dumps(VERIFIER.as_uri()))
    line = [str(NODE), str(tmp_path / "driver.mjs"), str(tmp_path / "told.json")]
    theirs = json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    told = [each for each in zip(changed, ours, theirs, strict=True) if each[1] != each[2]]
    assert [(name, base64.b64decode(raw)[:80], a, b) for (name, raw), a, b in told] == []
    assert sum(code != 0 for code in ours) > 0.9 * len(ours)


def test_an_archive_with_a_flipped_bit_is_refused(evidence, tmp_path):
    folder, _ = evidence
    raw = (folder / "evidence.zip").read_bytes()
    for at in (len(raw) // 3, len(raw) // 2):
        (tmp_path / "e.zip").write_bytes(raw[:at] + bytes([raw[at] ^ 4]) + raw[at + 1 :])
        assert by_node(tmp_path / "e.zip", "--key", folder / "first.pem")[0] == 15


def test_the_command_prints_the_verifier():
    assert CliRunner().invoke(attest, ["verifier"]).output == VERIFIER.read_text(encoding="utf-8")
