"""Keys: made for their user alone, refused where others can reach them, the same in every form."""

from __future__ import annotations

import json
import os
import threading

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from tallygate.attest.keyring import KEY_FILE, TRUST_FILE, KeyRing, Rotation
from tallygate.attest.keys import PublicKey, jwks, new_signer, public_keys_from
from tallygate.core.errors import KeyUnusable


@pytest.fixture
def ring(tmp_path):
    return KeyRing(tmp_path / "keys")


def test_a_key_is_made_on_first_use_for_its_user_alone(ring):
    key = ring.public()
    assert ring.key_file.stat().st_mode & 0o777 == 0o600
    assert ring.folder.stat().st_mode & 0o777 == 0o700
    assert (ring.signer().public, ring.public()) == (key, key)
    assert sorted(path.name for path in ring.folder.iterdir()) == sorted((KEY_FILE, TRUST_FILE))


def test_many_that_need_the_first_key_at_once_get_the_same(ring):
    found = []
    threads = [threading.Thread(target=lambda: found.append(ring.public().keyid)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {ring.public().keyid}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o622])
def test_a_key_that_others_can_read_or_write_is_refused(ring, mode):
    ring.public()
    ring.key_file.chmod(mode)
    for use in (ring.signer, ring.public, ring.trusted, ring.rotate):
        with pytest.raises(KeyUnusable, match="chmod 600"):
            use()


def test_a_key_behind_a_link_is_refused(ring, tmp_path):
    ring.public()
    elsewhere = tmp_path / "elsewhere.json"
    ring.key_file.rename(elsewhere)
    ring.key_file.symlink_to(elsewhere)
    with pytest.raises(KeyUnusable, match="not a link"):
        ring.signer()


def test_a_pipe_in_the_place_of_the_key_is_refused_at_once(ring):
    ring.folder.mkdir(mode=0o700)
    os.mkfifo(ring.key_file, 0o600)
    with pytest.raises(KeyUnusable, match="regular"):
        ring.signer()


def test_a_folder_that_others_can_write_to_gets_no_key(ring):
    ring.folder.mkdir()
    ring.folder.chmod(0o777)
    with pytest.raises(KeyUnusable, match="chmod 700"):
        ring.signer()
    assert list(ring.folder.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"{", b'{"kty":"RSA"}', b"\xff\xfe", b'{"d": 1}'])
def test_a_damaged_key_file_is_refused_and_left_as_it_is(ring, content):
    ring.public()
    ring.key_file.write_bytes(content)
    with pytest.raises(KeyUnusable):
        ring.signer()
    assert ring.key_file.read_bytes() == content


def test_a_key_whose_halves_do_not_belong_together_is_refused(ring):
    ring.public()
    document = json.loads(ring.key_file.read_text())
    ring.key_file.write_text(json.dumps({**document, "x": new_signer().public.x}))
    with pytest.raises(KeyUnusable, match="halves"):
        ring.signer()


def test_a_key_is_the_same_in_every_form(ring, tmp_path):
    key = ring.public()
    for text in (key.pem(), json.dumps(key.jwk()), jwks([key]), key.did()):
        assert public_keys_from(text.encode(), "file") == [key]


def test_the_forms_are_those_of_the_standards():
    """RFC 8037 appendix A.3: this key has this thumbprint."""
    (key,) = public_keys_from(
        b'{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}', "RFC 8037"
    )
    assert key.keyid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    loaded = load_pem_public_key(key.pem().encode())
    assert loaded.public_bytes(Encoding.Raw, PublicFormat.Raw) == key.raw
    assert key.did().startswith("did:key:z6Mk")


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", "did:key:z0OIl", "did:key:zQ3s", '{"keys": []}', '{"keys": [{"kty":"RSA"}]}', '{"keys": 1}',
        '{"kty":"OKP","crv":"Ed25519","x":"AA"}', '{"kty":"OKP","crv":"Ed25519"}',
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----\n!\n",
        "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused_with_its_place(text):
    with pytest.raises(KeyUnusable, match=r"file\.pem"):
        public_keys_from(text.encode(), "file.pem")


def test_a_rotation_is_signed_by_both_and_the_old_secret_is_gone(ring):
    old = ring.public()
    secret = json.loads(ring.key_file.read_text())["d"]
    rotation = ring.rotate()
    assert rotation.holds
    assert (rotation.old, rotation.new) == (old, ring.public())
    assert not any(secret in path.read_text() for path in ring.folder.iterdir())
    assert set(ring.trusted()) == {old.keyid, rotation.new.keyid}


def test_a_rotation_that_one_of_both_did_not_sign_does_not_hold():
    old, new, stranger = new_signer(), new_signer(), new_signer()
    whole = Rotation.of(old, new)
    assert whole.holds
    assert Rotation.read(whole.stated(), "event").holds
    for forged in (
        Rotation.of(stranger, new).stated() | {"replaces_public": old.public.x},
        Rotation.of(old, stranger).stated() | {"public": new.public.x},
        whole.stated() | {"old_signature": whole.stated()["new_signature"]},
    ):
        assert not Rotation.read(forged, "event").holds


def test_the_public_halves_of_keys_outlive_the_secret_ones(ring):
    first = ring.public().keyid
    second = ring.rotate().new.keyid
    ring.key_file.unlink()
    assert set(ring.trusted()) == {first, second}
    third = ring.public().keyid
    assert set(ring.trusted()) == {first, second, third}
    assert not any('"d"' in path.read_text() for path in ring.folder.iterdir() if path != ring.key_file)


def test_trusted_keys_are_kept_once(ring):
    stranger = new_signer().public
    assert ring.trust([stranger]) == [stranger]
    assert ring.trust([stranger]) == []
    assert stranger.keyid in ring.trusted()
    assert not ring.key_file.exists()


def test_a_signer_never_shows_its_secret():
    signer = new_signer()
    assert repr(signer) == f"Signer({signer.public.keyid})"


def test_garbage_is_no_signature():
    key = new_signer().public
    assert not any(PublicKey(key.raw).verifies(b"m", bytes(size)) for size in (0, 63, 64, 65))
