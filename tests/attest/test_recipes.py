"""The auditor's recipes, as the page has them, accept what was signed and nothing else."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys

import pytest
import rfc8785
from tests.docs.pages import ROOT, blocks
from tests.world import make_world

from tallygate.attest import dsse
from tallygate.attest.keyring import KeyRing
from tallygate.attest.keys import new_signer
from tallygate.attest.statement import read_statement
from tallygate.core.errors import NotProven
from tallygate.operations.proof import attest
from tallygate.operations.sessions.ending import end_session

PAGE = ROOT / "docs" / "verification.md"
GUIDE = ROOT / "src" / "tallygate" / "operations" / "proof" / "bundle.md"
(SHELL, *_), (PYTHON,) = blocks(PAGE, "sh"), blocks(PAGE, "python")


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """A refusal, a summary and a checkpoint, with the key and another one."""
    folder = tmp_path_factory.mktemp("signed")
    world = make_world(folder).with_runtime(keys=KeyRing(folder / "keys"))
    session_id = world.start("1", task_summary='Prüfung ✓ \u2028 \x7f "quoted"\n')
    world.ask(session_id, 2000)
    end_session(world.rt, session_id)
    found = {each.kind: each for each in attest.of_session(world.rt, session_id)}
    found["checkpoint"] = attest.checkpoint(world.rt)
    yield found, world.rt.services.keys.public()
    world.ledger.close()


def changed_payload(envelope):
    payload = base64.b64decode(envelope["payload"])
    return {**envelope, "payload": base64.b64encode(payload.replace(b'"default"', b'"defauld"')).decode()}


def changed_signature(envelope):
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[7] ^= 1
    return {**envelope, "signatures": [{**envelope["signatures"][0], "sig": base64.b64encode(signature).decode()}]}


def swapped_subject(envelope):
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["subject"][0]["digest"]["sha256"] = "00" * 32
    return {**envelope, "payload": base64.b64encode(json.dumps(statement).encode()).decode()}


def other_type(envelope):
    return {**envelope, "payloadType": "text/plain"}


TAMPERED = [changed_payload, changed_signature, swapped_subject, other_type]
KINDS = ["budget-exhausted", "session-summary", "checkpoint"]


def with_openssl(folder):
    done = subprocess.run(["bash", "-ec", SHELL.text], cwd=folder, capture_output=True, text=True, check=False)
    assert ("Signature Verified Successfully" in done.stdout) == (done.returncode == 0), done
    return done.returncode == 0


def with_securesystemslib(folder):
    done = subprocess.run([sys.executable, "-c", PYTHON.text], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or "VerificationError" in done.stderr, done.stderr
    return done.returncode == 0


needs_openssl = pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("jq")), reason="no openssl or jq")
RECIPES = [pytest.param(with_openssl, marks=needs_openssl), with_securesystemslib]


def laid_out(folder, envelope, key):
    (folder / "envelope.json").write_text(json.dumps(envelope))
    (folder / "key.pem").write_text(key.pem())
    (folder / "keyid.txt").write_text(envelope["signatures"][0]["keyid"] + "\n")
    return folder


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_attestation_is_accepted(signed, tmp_path, recipe, kind):
    found, key = signed
    assert recipe(laid_out(tmp_path, json.loads(found[kind].envelope), key))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("tamper", TAMPERED)
def test_a_tampered_attestation_is_refused(signed, tmp_path, recipe, tamper):
    found, key = signed
    envelope = json.loads(found["budget-exhausted"].envelope)
    assert tamper(envelope) != envelope
    assert not recipe(laid_out(tmp_path, tamper(envelope), key))


@pytest.mark.parametrize("recipe", RECIPES)
def test_another_key_is_refused(signed, tmp_path, recipe):
    found, _ = signed
    assert not recipe(laid_out(tmp_path, json.loads(found["checkpoint"].envelope), new_signer().public))


@pytest.mark.parametrize("tamper", TAMPERED)
def test_this_program_refuses_what_they_refuse(signed, tamper):
    found, key = signed
    envelope = tamper(json.loads(found["budget-exhausted"].envelope))
    with pytest.raises(NotProven):
        dsse.read(json.dumps(envelope).encode()).opened({key.keyid: key})


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_signed_is_rfc_8785(signed, kind):
    found, _ = signed
    payload = found[kind].payload
    assert rfc8785.dumps(json.loads(payload)) == payload
    assert read_statement(payload).kind == kind


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"null", b"[]", b"{}", b"\xff", b"[" * 50_000,
        b'{"payload":"","payload":"","payloadType":"","signatures":[]}',
        b'{"payload":"","payloadType":"x","signatures":[]}', b'{"payload":1,"payloadType":"x","signatures":[{}]}',
        b'{"payload":"","payloadType":"x","signatures":[{"keyid":"a","sig":""},{"keyid":"b","sig":""}]}',
        b'{"payload":"*","payloadType":"x","signatures":[{"keyid":"a","sig":""}]}',
        b'{"payload":"","payloadType":"x","signatures":[{"keyid":1,"sig":""}]}',
        b'{"payload":"","payloadType":"x","more":1,"signatures":[{"keyid":"a","sig":""}]}',
        b'{"payload":NaN,"payloadType":"x","signatures":[{"keyid":"a","sig":""}]}',
        b" " * ((1 << 20) + 1),
    ],
)  # fmt: skip
def test_what_is_no_envelope_of_one_signature_is_refused(raw):
    with pytest.raises(NotProven):
        dsse.read(raw)


def test_a_bundle_tells_the_same_recipes_as_the_page():
    assert [block.text for block in blocks(GUIDE, "python")] == [PYTHON.text]
    assert SHELL.text in [block.text for block in blocks(GUIDE, "sh")]
