"""A shell command taken apart into its simple commands, as far as that can be done without running any of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from fnmatch import fnmatchcase

from tallygate.core.regex import regex
from tallygate.core.values import value

# In single quotes a dollar is a dollar: this stands for it until it is certain that no shell reads the word again.
_DOLLAR = "\ue000"
_SIGN = regex(r"&>>|&>|>>|>\||>&|<<<|<<-|<<|<>|<&|\|\||\|&|&&|;;|[<>|;&()\n`]")
# What is opened gets this number, or one that a variable is to hold.
_NUMBER = regex(r"(\d+)|\{(\w+)\}")
_RUN = regex(r"[^\\'\"# \t\r<>|;&()\n`]+|#")
_HEREDOC_WORD = regex(r"[ \t]*(?:'([^'\n]*)'|\"([^\"\n]*)\"|\\?([^\s;&|<>()'\"]+))")
# A variable, also with what stands in for one that is not set; one that holds another is filled from the inside.
_VARIABLE = regex(r"\$(?:\{(\w+)(?::?([-=])([^{}]*))?\}|(\w+))")
_FILLED_MAX = 4
_BRACES = regex(r"([^{}]*)\{([^{}]*,[^{}]*)\}(.*)", re.DOTALL)
_BRACES_MAX = 64
_HEREDOCS_MAX = 50
_IN_DOUBLE_QUOTES = '$`"\\\n'
# Words of the shell itself, behind which a command begins.
_KEYWORDS = frozenset({"if", "then", "else", "elif", "do", "while", "until", "!", "{", "time", "coproc"})
WILD = regex(r"[*?\[]")


@value(slots=True)
class Simple:
    """One simple command: its words, the files that it writes by `>`, and what it is given to read.

    `appends` says that every such file is added to. `given` is the text of a heredoc or a here-string; `piped` says
    that the command before feeds this one. `opens` are the files it opens, to read or to write, by their numbers.
    """

    words: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    appends: bool = True
    given: str | None = None
    piped: bool = False
    opens: dict[str, str] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not (self.words or self.writes or self.opens)


def commands(text: str) -> Iterator[Simple]:
    """The simple commands of a text, in its order.

    >>> [(each.words, each.writes) for each in commands("cd /a && echo 'x y' > b; rm c # gone")]
    [(['cd', '/a'], []), (['echo', 'x y'], ['b']), (['rm', 'c'], [])]
    """
    now, sign, number = Simple(), "", ""
    for token in _tokens(text):
        if token.is_sign:
            sign, number = token.text, token.number
            if sign in _ENDS:
                if not now.is_empty:
                    yield now
                now, sign = Simple(piped=sign in {"|", "|&"}), ""
        # What stands behind a sign that writes is a file, but for a number behind `>&`, which only doubles what is
        # open.
        elif sign.startswith((">", "&>")):
            if sign != ">&" or not (token.text.isdigit() or token.text == "-"):
                now.writes.append(token.text)
                now.appends = now.appends and ">>" in sign
                now.opens[number or "1"] = token.text
            sign = ""
        elif sign.startswith("<<"):
            now.given, sign = token.text, ""
        elif sign:
            if sign in {"<", "<>"}:
                now.opens[number or "0"] = token.text
            sign = ""
        # `if`, `then`, `do` and their like begin no command; behind one they are words like any other (`echo if`).
        elif now.words or token.text not in _KEYWORDS:
            now.words.append(token.text)
    if not now.is_empty:
        yield now


_ENDS = frozenset({"||", "|&", "&&", ";;", "|", ";", "&", "(", ")", "\n", "`"})


@value(frozen=True, slots=True)
class _Token:
    text: str
    is_sign: bool = False
    number: str = ""


def _tokens(text: str) -> Iterator[_Token]:
    """Words as a shell makes them, quotes taken off, and its signs; a heredoc's text follows its sign as a word."""
    at, end, heredocs = 0, len(text), 0
    word: str | None = None
    while at < end:
        char = text[at]
        if char == "\\":
            if text[at + 1 : at + 2] != "\n":
                word = (word or "") + text[at + 1 : at + 2].replace("$", _DOLLAR)
            at += 2
        elif char == "'":
            close = text.find("'", at + 1)
            close = end if close < 0 else close
            # In single quotes and behind a backslash a dollar is a letter: it must not become a variable when words are
            # filled in.
            word = (word or "") + text[at + 1 : close].replace("$", _DOLLAR)
            at = close + 1
        elif char == '"':
            inside, at = _quoted(text, at + 1)
            word = (word or "") + inside
        # Only where a word could begin is it a comment: in `a#b` it is a letter.
        elif char == "#" and word is None:
            line = text.find("\n", at)
            at = end if line < 0 else line
        elif char in " \t\r":
            if word is not None:
                yield _Token(word)
            word, at = None, at + 1
        elif (found := _SIGN.match(text, at)) is not None:
            sign, at = found[0], found.end()
            # A number that touches the sign says which end is meant (2>file); it is no word of the command.
            number = _NUMBER.fullmatch(word) if word is not None and sign[0] in "<>" else None
            if word is not None and number is None:
                yield _Token(word)
            word = None
            yield _Token(sign, is_sign=True, number="" if number is None else number[1] or number[2])
            # Every heredoc takes a look through the rest of the text: beyond so many, somebody wants that to take long.
            heredocs += sign in {"<<", "<<-"}
            if (
                sign in {"<<", "<<-"}
                and heredocs <= _HEREDOCS_MAX
                and (name := _HEREDOC_WORD.match(text, at)) is not None
            ):
                body, text = _body(text, name.end(), name[1] or name[2] or name[3] or "")
                at, end = name.end(), len(text)
                yield _Token(body)
        else:
            run = _RUN.match(text, at)
            more = char if run is None else run[0]
            word, at = (word or "") + more, at + len(more)
    if word is not None:
        yield _Token(word)


def _quoted(text: str, at: int) -> tuple[str, int]:
    """What stands in double quotes, and where they are over."""
    said = []
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] in _IN_DOUBLE_QUOTES and at + 1 < len(text):
            said.append(text[at + 1].replace("$", _DOLLAR).replace("\n", ""))
            at += 2
        else:
            said.append(text[at])
            at += 1
    return "".join(said), at + 1


def _body(text: str, at: int, name: str) -> tuple[str, str]:
    """A heredoc's text, and the command without it."""
    line = text.find("\n", at)
    if line < 0:
        return "", text
    ends = re.compile(rf"^[ \t]*{re.escape(name)}[ \t]*$", re.MULTILINE).search(text, line + 1)
    stop, after = (len(text), len(text)) if ends is None else (ends.start(), ends.end())
    return text[line + 1 : stop], text[:line] + text[after:]


def filled(word: str, known: Mapping[str, str]) -> str:
    """A word with the variables in it that are known, and what a command says is to stand for one that is not.

    >>> filled("${A:-$B/x}/y", {"B": "/b"}), filled("$A ${C}", {"A": "a"})
    ('/b/x/y', 'a ${C}')
    """
    if "$" not in word:
        return word
    for _ in range(_FILLED_MAX):
        before, word = word, _VARIABLE.sub(lambda found: _value(found, known), word)
        if word == before or "${" not in word:
            break
    return word


def _value(found: re.Match[str], known: Mapping[str, str]) -> str:
    value = known.get(found[1] or found[4])
    if value:
        return value
    if found[2]:
        return filled(found[3], known)
    return found[0] if value is None else value


def plain(word: str) -> str:
    """A word as the program gets it that is started with it, and as a shell in a shell reads it."""
    return word.replace(_DOLLAR, "$")


def braced(word: str) -> list[str]:
    """The words that one with braces stands for.

    >>> braced("/a/{b,c}.d")
    ['/a/b.d', '/a/c.d']
    """
    done: list[str] = []
    waiting = [word]
    while waiting and len(done) + len(waiting) <= _BRACES_MAX:
        found = _BRACES.fullmatch(now := waiting.pop(0))
        if found is None:
            done.append(now)
        else:
            waiting += [found[1] + part + found[3] for part in found[2].split(",")]
    return done or [word]


def fits(pattern: str, path: str, *, within: bool) -> bool:
    """Whether a path is one that a pattern names or, with `within`, lies in such a one.

    As in a shell, a star at the beginning of a name means none that begins with a dot.

    >>> fits("/h/*/l*.db", "/h/data/ledger.db", within=False), fits("/h/*", "/h/.data/ledger.db", within=True)
    (True, False)
    """
    wanted, parts = pattern.split("/"), path.split("/")
    if len(wanted) > len(parts) or (len(wanted) < len(parts) and not within):
        return False
    return all(
        fnmatchcase(part, each) and not (part.startswith(".") and each[:1] in {"*", "?", "["})
        for each, part in zip(wanted, parts, strict=False)
    )
