"""`tallygate keys`: the key that signs, what others verify it by, and the keys of others."""

from __future__ import annotations

from pathlib import Path

import click

from tallygate.attest.keyring import KeyRing
from tallygate.attest.keys import PublicKey, jwks, public_keys_from
from tallygate.core.authority import Loosening
from tallygate.core.errors import KeyUnusable
from tallygate.entrypoints.cli import output
from tallygate.entrypoints.cli.options import as_json_option
from tallygate.entrypoints.cli.program import Commands, Program, pass_program
from tallygate.operations.lock_book import note_loosened
from tallygate.operations.proof.attest import rotate_key, trust_keys

FILE_BYTES_MAX = 1 << 20


@click.group(cls=Commands)
def keys() -> None:
    """Show, export, rotate and trust signing keys."""


@keys.command()
@as_json_option
@pass_program
def show(program: Program, as_json: bool) -> None:
    """Show the key that signs; it is made now where there is none.

    Give the key id to whoever verifies, over another way than the attestations.
    """
    ring = KeyRing(program.settings().paths.key_dir)
    key = ring.signer().public
    others = sorted(keyid for keyid in ring.trusted() if keyid != key.keyid)
    if as_json:
        output.document({"key_id": key.keyid, "did": key.did(), "file": str(ring.key_file), "also_trusted": others})
        return
    output.facts(
        [("key id", key.keyid), ("did", key.did()), ("file", str(ring.key_file))]
        + [("also trusted", keyid) for keyid in others]
    )


@keys.command()
@click.option("--format", "form", type=click.Choice(["pem", "jwks", "did"]), default="pem", show_default=True)
@pass_program
def export(program: Program, form: str) -> None:
    """Print the public key for others to verify with."""
    ring = KeyRing(program.settings().paths.key_dir)
    key = ring.signer().public
    if form == "pem":
        click.echo(key.pem(), nl=False)
    elif form == "did":
        click.echo(key.did())
    else:
        click.echo(jwks(ring.lineage()), nl=False)


@keys.command()
@pass_program
def rotate(program: Program) -> None:
    """Put a new key in the place of the one that signs.

    Both sign the change, which the ledger's journal tells of. What the old key has signed stays valid.
    """
    settings = program.settings()
    authority = program.authority(settings)
    with program.opened(settings, by="keys") as app:
        rotation = rotate_key(app.runtime, KeyRing(settings.paths.key_dir), authority=authority)
    click.echo(f"{rotation.new.keyid} signs from now on, in the place of {rotation.old.keyid}.")


@keys.command()
@click.argument("file", type=click.Path(path_type=Path))
@pass_program
def trust(program: Program, file: Path) -> None:
    """Trust the public keys in FILE when verifying: a PEM, a JSON Web Key or set, or a did:key."""
    settings = program.settings()
    authority = program.authority(settings)
    added = trust_keys(KeyRing(settings.paths.key_dir), keys_in(file), authority=authority)
    if authority.lock is not None:
        with program.opened(settings, by="keys") as app:
            note_loosened(app.runtime, authority, Loosening.KEYS_TRUST, ", ".join(key.keyid for key in added))
    for key in added:
        click.echo(f"Trusted: {key.keyid}")
    if not added:
        click.echo("Every key in it is trusted already.")


def keys_in(file: Path) -> list[PublicKey]:
    """The public keys in a file that the user names. Raises `KeyUnusable`."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(FILE_BYTES_MAX)
    except OSError as error:
        raise KeyUnusable(f"The key file {file} cannot be read: {error.strerror}.") from error
    return public_keys_from(raw, str(file))
