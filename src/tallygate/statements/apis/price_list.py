"""The price list as its makers publish it: one question, without a key, within bounds."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

from tallygate import __version__
from tallygate.core.errors import AnswerUnusable, ProviderUnavailable
from tallygate.core.text import cleaned, shown
from tallygate.statements.apis.asking import is_loopback

ADDRESS = "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"
ADDRESS_VARIABLE = "TALLYGATE_PRICES_URL"
_CONNECT_S, _READ_S, _WHOLE_US = 10, 30, 120_000_000
_NOTHING = "Nothing was changed. Try again later, or give a file: tallygate prices update FILE"


def fetched(address: str, ticks_us: Callable[[], int], most: int) -> bytes:
    """The bytes at an address, so many at most. Raises `ProviderUnavailable`; a redirect is followed nowhere."""
    import httpx2

    host = urlsplit(address).hostname
    timeout = httpx2.Timeout(_READ_S, connect=_CONNECT_S)
    headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": f"tallygate/{__version__}"}
    until_us = ticks_us() + _WHOLE_US
    body = bytearray()
    try:
        with (
            httpx2.Client(headers=headers, timeout=timeout, trust_env=not is_loopback(host)) as client,
            client.stream("GET", address) as response,
        ):
            if response.status_code != 200:
                raise ProviderUnavailable(f"{shown(host or '')} answered HTTP {response.status_code}.", hint=_NOTHING)
            # Raw, and no encoding is asked for: what is unpacked could be larger than what was measured. The time-outs
            # are those of one reading; a server that sends a byte now and then is held to the whole.
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > most:
                    raise AnswerUnusable(f"The price list is larger than {most // 2**20} MiB.", hint=_NOTHING)
                if ticks_us() > until_us:
                    raise ProviderUnavailable(f"{shown(host or '')} took more than two minutes.", hint=_NOTHING)
    except httpx2.TimeoutException:
        raise ProviderUnavailable(f"{shown(host or '')} did not answer in time.", hint=_NOTHING) from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        why = cleaned(str(error), 200) or type(error).__name__
        raise ProviderUnavailable(f"{shown(host or '')} could not be asked: {why}.", hint=_NOTHING) from None
    return bytes(body)
