"""Droid's program. What its documentation does not say is left out: no run of it is ended."""

from __future__ import annotations

from tallygate.clients.program import ClientProgram, Words, options_of


def _runs(words: Words) -> bool:
    """`droid exec` runs one prompt, but where a program talks to it (`--input-format stream-jsonrpc`)."""
    return words[1:2] == ("exec",) and not any("jsonrpc" in word for word in options_of(words))


PROGRAM = ClientProgram(stored_as="droid", title="Droid", names=("droid",), packages=("droid",), runs_by_words=_runs)
