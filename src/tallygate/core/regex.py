"""Regular expressions that are compiled when they are first used: a program for one hook uses few of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from re import compile as regex
else:
    import re

    class regex:  # noqa: N801 - it stands where `re.compile` stood
        """As `re.compile`; what is asked of it is kept, so that from its second use on it costs what that does."""

        def __init__(self, text: str | bytes, flags: int = 0) -> None:
            self._said = text, flags
            self.pattern = text

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            found = self.__dict__[name] = getattr(re.compile(*self._said), name)
            return found


__all__ = ["regex"]
