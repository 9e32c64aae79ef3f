"""Questions to a billing API: within bounds, with the user's key."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tallygate import __version__
from tallygate.core.errors import AnswerUnusable, ProviderRefused, ProviderUnavailable, SettingsError
from tallygate.core.moments import microseconds
from tallygate.core.regex import regex
from tallygate.core.text import cleaned, shown
from tallygate.core.values import value

if TYPE_CHECKING:
    import httpx2


# --- api -------------------------------------------------------------------------------------------------------------
# Questions to a provider's billing API: asked within bounds, with a key that no message, log or event ever holds.


Query = Sequence[tuple[str, str]]

_SECOND_US = 1_000_000
_AGAIN = frozenset({408, 429, 500, 502, 503, 504, 529})
_KEY = regex(r"[!-~]{8,1000}")
_SECRET = regex(r"\b(?:sk|pk)-[^\s,;\"']*|\bbearer\s+[^\s,;\"']+", re.IGNORECASE)
_REASON_BYTES_MAX = 64 * 2**10


class BadAnswer(Exception):
    """Where an answer is not what the provider documents, as a sentence without the provider and the full stop.

    Such as: data[0].starting_at is missing.
    """


@value(frozen=True, slots=True)
class AskingBounds:
    """How long to wait, how often to ask, and how much to take."""

    connect_us: int = 10 * _SECOND_US
    read_us: int = 60 * _SECOND_US
    answer_us: int = 180 * _SECOND_US
    attempts: int = 5
    wait_us: int = 60 * _SECOND_US
    waits_us: int = 600 * _SECOND_US
    answer_bytes: int = 16 * 2**20
    pages: int = 500
    rows: int = 200_000


@value(frozen=True, slots=True)
class Clock:
    """Time, as it is handed in: what it is, and how to let some of it pass."""

    now_us: Callable[[], int]
    pause_us: Callable[[int], None]


@value(frozen=True, slots=True)
class Provider:
    """What has to be known of a provider to ask it. `key_kind` says which key it takes and where one gets it.

    `variables` may hold the key, the first that is set counts; the names are also those in the system's keyring.
    """

    name: str
    title: str
    address: str
    address_variable: str
    variables: tuple[str, ...]
    key_kind: str
    headers: Callable[[str], Mapping[str, str]]


@value(frozen=True, slots=True)
class _Fault:
    """Why there is no answer; `wait_us` is how long the provider wants to be left alone, `final` ends the asking."""

    why: str
    final: bool = False
    wait_us: int | None = None
    hint: str = ""
    kind: type[ProviderUnavailable] = ProviderUnavailable


def usable_key(name: str, text: str) -> str:
    """A key as it was found under a name. Raises `SettingsError`, which names it and does not show it."""
    key = text.strip()
    if not _KEY.fullmatch(key):
        raise SettingsError(
            f"{name} holds no API key: a key is 8 to 1,000 printable ASCII characters without spaces.",
            hint="Set it again, from the provider's page of keys.",
            code="api_key_unusable",
        )
    return key


def usable_address(variable: str, text: str) -> str:
    """An address to ask instead of the provider's own: https, or loopback. Raises `SettingsError`."""
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urlsplit(""), None
    # The key goes to whatever stands here: an address with a password or a query is somebody else's idea, or a slip.
    extra = parts.username or parts.password or parts.query or parts.fragment
    plain = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
    if not host or extra or not plain or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(
            f"{variable}: {shown(text)} is no address that a key may be sent to.",
            hint="Give one such as https://gateway.example, without user, query or fragment; "
            "http is for this machine alone (127.0.0.1, ::1).",
        )
    return text.rstrip("/")


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine, by its number: a name could lead anywhere."""
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def untold(_: str) -> None:
    """Where nobody is told how the asking goes."""


@value(slots=True)
class Api:
    """One provider's API during one command. `tell` hears of each wait, and why it is."""

    provider: Provider
    address: str
    key: str = field(repr=False)
    clock: Clock = field(repr=False)
    limits: AskingBounds = field(default_factory=AskingBounds)
    tell: Callable[[str], None] = untold
    _client: httpx2.Client | None = field(default=None, repr=False)
    _waited_us: int = 0

    @contextmanager
    def opened(self) -> Iterator[Api]:
        """Hold connections open for the questions of one command."""
        import httpx2

        limits = self.limits
        timeout = httpx2.Timeout(limits.read_us / _SECOND_US, connect=limits.connect_us / _SECOND_US)
        # Nothing between here and this machine: a proxy would be asked for an address that only we can reach.
        environment = not is_loopback(urlsplit(self.address).hostname)
        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": f"tallygate/{__version__}",
            **self.provider.headers(self.key),
        }
        with httpx2.Client(headers=headers, timeout=timeout, follow_redirects=False, trust_env=environment) as client:
            self._client = client
            try:
                yield self
            finally:
                self._client = None

    def get(self, path: str, query: Query, headers: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """The JSON object that the API answers, asked again where it is busy or cannot be reached.

        `headers` are those that this question needs beside the provider's.
        Raises `ProviderUnavailable`, or `BadAnswer` where the answer is none.
        """
        attempt = 1
        while isinstance(found := self._once(path, query, headers), _Fault):
            if found.final or attempt >= self.limits.attempts:
                tries = f" It was asked {attempt} times." if attempt > 1 else ""
                hint = found.hint or "Nothing was imported. Try again later."
                raise found.kind(f"{self.provider.title} {found.why}.{tries}", hint=hint)
            self._wait(found, attempt)
            attempt += 1
        return _object(found)

    def _wait(self, fault: _Fault, attempt: int) -> None:
        wait_us = (1 << attempt - 1) * _SECOND_US if fault.wait_us is None else fault.wait_us
        if wait_us > self.limits.wait_us or self._waited_us + wait_us > self.limits.waits_us:
            raise ProviderUnavailable(
                f"{self.provider.title} {fault.why}, and wants to be asked again in {wait_us // _SECOND_US:,} s.",
                hint="Nothing was imported. Try again then, or for fewer days.",
            )
        self._waited_us += wait_us
        self.tell(f"{self.provider.title} {fault.why}; asking again in {wait_us // _SECOND_US} s")
        self.clock.pause_us(wait_us)

    def _once(self, path: str, query: Query, headers: Mapping[str, str] | None) -> bytes | _Fault:
        """Ask once. A library's exception holds the request with its key, so none of them leaves this method."""
        import httpx2

        if self._client is None:
            return _Fault("is not connected", final=True)
        try:
            with self._client.stream("GET", self.address + path, params=list(query), headers=headers) as response:
                if response.status_code == 200:
                    return self._body(response)
                return self._refusal(response)
        except httpx2.TimeoutException:
            return _Fault("did not answer in time")
        except httpx2.HTTPError as error:
            why = self._without_key(str(error)) or type(error).__name__
            return _Fault(f"could not be asked: {why}")
        except httpx2.InvalidURL:
            return _Fault("cannot be asked at this address", final=True)

    def _body(self, response: httpx2.Response) -> bytes | _Fault:
        limits, body = self.limits, bytearray()
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            return _Fault("answered in an encoding that was not asked for", final=True, kind=AnswerUnusable)
        until_us = self.clock.now_us() + limits.answer_us
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > limits.answer_bytes:
                mib = limits.answer_bytes / 2**20
                hint = "Nothing was imported. Ask for fewer days."
                return _Fault(f"answered with more than {mib:g} MiB", final=True, hint=hint, kind=AnswerUnusable)
            if self.clock.now_us() > until_us:
                return _Fault(f"took more than {limits.answer_us // _SECOND_US} s for one answer")
        return bytes(body)

    def _refusal(self, response: httpx2.Response) -> _Fault:
        status, provider = response.status_code, self.provider
        if 300 <= status < 400:
            host = shown(urlsplit(self._without_key(response.headers.get("location", ""))).netloc or "nowhere")
            hint = f"Nothing was imported: a key is not sent on. Check {provider.address_variable} if you have set it."
            return _Fault(f"answered with a redirect to {host}", final=True, hint=hint, kind=AnswerUnusable)
        if status in _AGAIN:
            why = "has had too many questions (HTTP 429)" if status == 429 else f"failed (HTTP {status})"
            return _Fault(why, wait_us=self._retry_after_us(response.headers.get("retry-after")))
        if status in (401, 403):
            what = "does not know the key" if status == 401 else "does not let this key read usage and costs"
            return _Fault(f"{what} (HTTP {status})", final=True, hint=provider.key_kind, kind=ProviderRefused)
        said = self._said(response)
        return _Fault(f"refused the question (HTTP {status}){said}", final=True, kind=ProviderRefused)

    def _said(self, response: httpx2.Response) -> str:
        """What a refusal says of its reason, as far as it is short text without anything like a key."""
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > _REASON_BYTES_MAX:
                return ""
        try:
            error = _object(bytes(body)).get("error")
        except BadAnswer:
            return ""
        message = error.get("message") if isinstance(error, dict) else error
        text = self._without_key(message) if isinstance(message, str) else ""
        return f": {text.rstrip('.')}" if text else ""

    def _without_key(self, text: str) -> str:
        return cleaned(_SECRET.sub("[key]", text[:5000].replace(self.key, "[key]")), 200)

    def _retry_after_us(self, text: str | None) -> int | None:
        """What a Retry-After asks for: seconds, or a moment."""
        if text is None:
            return None
        if text.isascii() and text.isdigit() and len(text) < 9:
            return int(text) * _SECOND_US
        from email.utils import parsedate_to_datetime

        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        return None if at.tzinfo is None else max(0, microseconds(at) - self.clock.now_us())


class Number(str):
    """The digits of a JSON number with a fraction, as they were sent."""

    __slots__ = ()


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body.decode(), parse_float=Number, parse_constant=_no_constant)
    except RecursionError:
        raise BadAnswer("it is nested too deeply") from None
    except ValueError:  # also UnicodeDecodeError, JSONDecodeError and whole numbers of thousands of digits
        raise BadAnswer("it is not JSON") from None
    if not isinstance(found, dict):
        raise BadAnswer("it is no JSON object")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(name)


# --- api keys --------------------------------------------------------------------------------------------------------
# Where the key of a provider's billing API comes from: the environment, or the system's keyring; nowhere else.


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
