"""Where the key of a provider's billing API comes from: the environment, or the system's keyring; nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tallygate.core.errors import SettingsError
from tallygate.core.text import cleaned
from tallygate.usage.bills.api import Provider, usable_key

# What our entries in a keyring are filed under; their names are those of the variables.
KEYRING_SERVICE = "tallygate"

# A name's secret, and why none could be looked up.
Lookup = Callable[[str], tuple[str | None, str]]


def find_key(provider: Provider, environ: Mapping[str, str], lookup: Lookup) -> str:
    """The key of a provider: of its variables the first that is set, else of its keyring entries the first there is.

    Raises `SettingsError` that names the variable to set; no message shows a key.
    """
    for name in provider.variables:
        if text := environ.get(name):
            return usable_key(name, text)
    why = ""
    for name in provider.variables:
        text, why = lookup(name)
        if text:
            return usable_key(f"The keyring's entry {name}", text)
        if why:
            break
    name = provider.variables[0]
    raise SettingsError(
        f"There is no key for {provider.title}'s billing API: {name} is not set{why}.",
        hint=f"Set {name}, or file it once with `keyring set {KEYRING_SERVICE} {name}`. {provider.key_kind}",
        code="api_key_missing",
    )


def from_keyring(name: str) -> tuple[str | None, str]:
    """An entry of the system's keyring, where the optional library for it is installed."""
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return None, ", and tallygate[keyring] is not installed"
    try:
        return keyring.get_password(KEYRING_SERVICE, name), ""
    except (KeyringError, OSError, RuntimeError) as error:
        return None, f", and the keyring cannot be read: {type(error).__name__}: {cleaned(str(error), 120)}".rstrip(
            ". "
        )
