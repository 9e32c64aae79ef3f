"""The user's keys on disk: made on first use, for this user alone, refused where anybody else can read them."""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tallygate.attest.dsse import pae
from tallygate.attest.keys import PublicKey, Signer, b64url, jwks, new_signer, public_keys_from, signer_from, unb64url
from tallygate.core.errors import KeyUnusable
from tallygate.core.proof import canonical_bytes
from tallygate.core.values import value
from tallygate.files import sync_folder

KEY_FILE, TRUST_FILE, ROTATIONS = "signing-key.json", "trusted.json", "rotated-"
_ROTATION_TYPE = "application/vnd.tallygate.key-rotation+json"
_BYTES_MAX = 1 << 20
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@value(frozen=True, slots=True)
class Rotation:
    """One key in the place of another, signed by both: that the old one agrees, and that the new one is there."""

    old: PublicKey
    new: PublicKey
    old_signature: bytes
    new_signature: bytes

    @staticmethod
    def message(old: PublicKey, new: PublicKey) -> bytes:
        """What both sign."""
        return pae(_ROTATION_TYPE, canonical_bytes({"new": new.x, "old": old.x}))

    @staticmethod
    def of(old: Signer, new: Signer) -> Rotation:
        """The rotation from one key to another."""
        message = Rotation.message(old.public, new.public)
        return Rotation(old.public, new.public, old.sign(message), new.sign(message))

    @property
    def holds(self) -> bool:
        """Whether both have signed."""
        message = self.message(self.old, self.new)
        return self.old.verifies(message, self.old_signature) and self.new.verifies(message, self.new_signature)

    def stated(self) -> dict[str, str]:
        """The rotation as text, for its file and its event."""
        return {
            "keyid": self.new.keyid,
            "public": self.new.x,
            "replaces": self.old.keyid,
            "replaces_public": self.old.x,
            "old_signature": b64url(self.old_signature),
            "new_signature": b64url(self.new_signature),
        }

    @staticmethod
    def read(stated: object, where: str) -> Rotation:
        """A rotation out of such text. Raises `KeyUnusable`."""
        if not isinstance(stated, dict):
            raise KeyUnusable(f"{where} is not a rotation of a key.")
        names = ("replaces_public", "public", "old_signature", "new_signature")
        old, new, old_signature, new_signature = (unb64url(stated.get(name), where) for name in names)
        return Rotation(PublicKey(old), PublicKey(new), old_signature, new_signature)


class KeyRing:
    """The keys in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def key_file(self) -> Path:
        """Where the key that signs lies."""
        return self.folder / KEY_FILE

    def signer(self) -> Signer:
        """The key that signs; it is made where there is none. Raises `KeyUnusable`."""
        raw = read_private(self.key_file)
        if raw is None:
            self.prepare()
            create_private(self.key_file, new_signer().secret_jwk().encode())
            signer = signer_from(read_private(self.key_file) or b"", str(self.key_file))
            self._remember(signer.public)
            return signer
        return signer_from(raw, str(self.key_file))

    def public(self) -> PublicKey:
        """The public half of the key that signs. Needs no cryptography where the key is there already."""
        return self.known() or self.signer().public

    def known(self) -> PublicKey | None:
        """The public half of the key that signs, or None where none was made yet. Makes none. Raises `KeyUnusable`."""
        raw = read_private(self.key_file)
        return None if raw is None else public_keys_from(raw, str(self.key_file))[0]

    def rotate(self) -> Rotation:
        """Put a new key in the place of the old one, whose secret half is gone then."""
        old, new = self.signer(), new_signer()
        self._remember(new.public)
        rotation = Rotation.of(old, new)
        # First what connects the keys: one that was never used harms nobody, one that nothing leads to does.
        record = json.dumps(rotation.stated(), indent=2) + "\n"
        create_private(self.folder / f"{ROTATIONS}{new.public.keyid}.json", record.encode())
        _replace(self.key_file, new.secret_jwk().encode())
        return rotation

    def rotation_to(self, keyid: str) -> Rotation | None:
        """The rotation that brought a key, or None where it was the first."""
        path = self.folder / f"{ROTATIONS}{keyid}.json"
        raw = read_private(path)
        if raw is None:
            return None
        try:
            return Rotation.read(json.loads(raw), str(path))
        except (ValueError, RecursionError) as error:
            raise KeyUnusable(f"{path} is damaged.") from error

    def trusted(self) -> dict[str, PublicKey]:
        """Every key that this user signs or signed with, or was told to trust, by key id. Makes none."""
        return {key.keyid: key for key in (*self._trust_file(), *self.lineage())}

    def lineage(self) -> list[PublicKey]:
        """The key that signs and those that it took the place of, the youngest first. Makes none.

        Raises `KeyUnusable` where both have not signed that one took the place of the other.
        """
        found: list[PublicKey] = []
        key = self.known()
        # A circle of rotations would go round for ever: a key that was met ends the way back.
        while key is not None and key not in found:
            found.append(key)
            rotation = self.rotation_to(key.keyid)
            if rotation is not None and not (rotation.new == key and rotation.holds):
                path = self.folder / f"{ROTATIONS}{key.keyid}.json"
                raise KeyUnusable(
                    f"{path} says that another key agreed to {key.keyid}, which is not so.",
                    hint="Restore the file from a backup. Without it the key has to be trusted by itself.",
                )
            key = None if rotation is None else rotation.old
        return found

    def examine(self) -> list[PublicKey]:
        """The same, and that the key can sign and nobody else can get at the folder."""
        if self.folder.exists():
            self._check_folder()
        found = self.lineage()
        if found:
            self.signer()
        return found

    def trust(self, keys: list[PublicKey]) -> list[PublicKey]:
        """Trust further keys; returns those that were not trusted before."""
        known = self.trusted()
        fresh = [key for key in keys if key.keyid not in known]
        self._remember(*fresh)
        return fresh

    def _remember(self, *keys: PublicKey) -> None:
        """Keep public keys; those of this user too, since what they signed outlives a secret half that was lost."""
        kept = self._trust_file()
        if fresh := [key for key in keys if key not in kept]:
            self.prepare()
            _replace(self.folder / TRUST_FILE, jwks([*kept, *fresh]).encode())

    def _trust_file(self) -> list[PublicKey]:
        path = self.folder / TRUST_FILE
        raw = read_private(path)
        return [] if raw is None else public_keys_from(raw, str(path))

    def prepare(self) -> None:
        """Make the folder where there is none. Raises `KeyUnusable` where others can put files into it."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise KeyUnusable(
                f"The folder for keys {self.folder} cannot be made: {error.strerror}.",
                hint="Check its permissions, or set TALLYGATE_KEY_DIR.",
            ) from error
        self._check_folder()

    def _check_folder(self) -> None:
        mode = self.folder.stat().st_mode
        if mode & 0o022:
            raise KeyUnusable(
                f"Others can put files into {self.folder} (mode {stat.S_IMODE(mode):o}).",
                hint=f"Run: chmod 700 {self.folder}",
            )


def read_private(path: Path) -> bytes | None:
    """A file of this user alone; None where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _SAFE)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyUnusable(
            f"The key file {path} cannot be opened: {error.strerror}.", hint="It must be a file, not a link."
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        _check(os.fstat(file.fileno()), path)
        return file.read(_BYTES_MAX)


def _check(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_size > _BYTES_MAX:
        raise KeyUnusable(f"The key file {path} is not a regular, small file.")
    if found.st_uid != os.getuid():
        raise KeyUnusable(f"The key file {path} belongs to another user (uid {found.st_uid}).")
    if found.st_mode & 0o077:
        raise KeyUnusable(
            f"The key file {path} can be read or written by others (mode {stat.S_IMODE(found.st_mode):o}).",
            hint=f"Run: chmod 600 {path}; if others had access, `tallygate keys rotate` too.",
        )


def create_private(path: Path, content: bytes) -> None:
    """A new file, whole or not at all; where somebody else was faster, theirs stays."""
    with _written(path, content) as written:
        try:
            os.link(written, path)
        except FileExistsError:
            return
        except OSError:  # a file system without second names
            written.rename(path)
    sync_folder(path.parent)


def _replace(path: Path, content: bytes) -> None:
    with _written(path, content) as written:
        written.replace(path)
    sync_folder(path.parent)


@contextmanager
def _written(path: Path, content: bytes) -> Iterator[Path]:
    """A file beside another one, on disk, that is gone at the end unless it got the other's name."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        beside.unlink(missing_ok=True)
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield beside
    except OSError as error:
        raise KeyUnusable(
            f"The key file {path} cannot be written: {error.strerror}.",
            hint="Check the folder's permissions and free space, or set TALLYGATE_KEY_DIR.",
        ) from error
    finally:
        beside.unlink(missing_ok=True)
