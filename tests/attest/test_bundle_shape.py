"""What a bundle holds has the shape that the auditor's page shows, so that a program can rely on it."""

from __future__ import annotations

import json

import pytest
from tests.docs.pages import ROOT, blocks
from tests.world import make_world

from tallygate.attest import dsse
from tallygate.attest.keyring import KeyRing
from tallygate.attest.keys import public_keys_from
from tallygate.core.costing import Tokens
from tallygate.operations.gate.record import UsageReport, record_usage
from tallygate.operations.proof.attest import export_bundle
from tallygate.operations.sessions.ending import end_session

SHOWN = {
    block.info[2]: block.text for block in blocks(ROOT / "docs" / "verification.md", "json") if "shape" in block.info
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shape")
    world = make_world(folder).with_runtime(keys=KeyRing(folder / "keys"))
    session_id = world.start("1", task_summary="ticket 4711")
    record_usage(world.rt, UsageReport(world.ask(session_id, 100).call_id, Tokens(50)))
    world.ask(session_id, 5000)
    end_session(world.rt, session_id)
    export_bundle(world.rt, session_id, folder / "evidence")
    world.ledger.close()
    return folder / "evidence"


def shape(value):
    """Names and kinds of values, whatever they are; lists by their first."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    return [shape(each) for each in value[:1]] if isinstance(value, list) else type(value).__name__


def test_the_page_shows_every_kind_of_file():
    assert set(SHOWN) == {"envelope.json", "statement.json", "events.jsonl", "public-key.jwks.json"}


@pytest.mark.parametrize("name", SHOWN)
def test_a_file_has_the_shape_that_the_page_shows(bundle, name):
    shown = shape(json.loads(SHOWN[name]))
    assert [shape(json.loads(line)) for line in _documents(bundle / name)] == [shown] * len(_documents(bundle / name))


def _documents(path):
    text = path.read_text()
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def test_every_envelope_opens_by_the_keys_of_the_set(bundle):
    keys = {key.keyid: key for key in public_keys_from((bundle / "public-key.jwks.json").read_bytes(), "keys")}
    found = [bundle / "envelope.json", bundle / "checkpoint.json", *(bundle / "attestations").iterdir()]
    assert len(found) == 3
    for path in found:
        assert shape(json.loads(path.read_text())) == shape(json.loads(SHOWN["envelope.json"]))
        assert dsse.read(path.read_bytes()).opened(keys)
    assert dsse.read((bundle / "envelope.json").read_bytes()).opened(keys) == (bundle / "statement.json").read_bytes()
