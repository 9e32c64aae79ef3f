"""The colours of the page: text can be read, series are told apart, in light and dark and with every kind of sight."""

from __future__ import annotations

import itertools
import re
from importlib.resources import files

import pytest

TOKENS = (files("tallygate.entrypoints.page") / "static" / "tokens.css").read_text(encoding="utf-8")
CSS = (files("tallygate.entrypoints.page") / "static" / "page.css").read_text(encoding="utf-8")
PAIR = re.compile(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);")
THEMES = {"light": 0, "dark": 1}
COLOURS = {name: (light, dark) for name, light, dark in PAIR.findall(TOKENS)}
GROUNDS = ("bg", "surface", "sunken")
# What is written on which ground: at least 4.5 to 1.
TEXTS = [
    *itertools.product(("ink", "ink-2", "ink-3", "link", "warn", "halt", "good"), GROUNDS),
    ("warn", "warn-bg"), ("halt", "halt-bg"), ("good", "good-bg"), ("ink", "warn-bg"), ("ink", "halt-bg"),
    ("ink-2", "halt-bg"), ("ink-2", "warn-bg"), ("ink", "held-bg"), ("ink-2", "held-bg"), ("bg", "ink"),
    ("h-ink", "h1"), ("h-ink", "h2"), ("h-ink", "h3"), ("h-ink-2", "h4"), ("h-ink-2", "h5"),
]  # fmt: skip
# What is drawn, and the edges of what is used: at least 3 to 1.
DRAWN = [
    *itertools.product(
        ("spent", "warn-fill", "halt-fill", "good-fill", "known", "approx", "assumed", "partial", "control", "focus"),
        ("bg", "surface"),
    ),
    *itertools.product(("c1", "c2", "c3", "c4", "c5", "c6"), ("bg", "surface")),
]
# A series is told from another by as much as this, in CIE76.
APART = 17
# How colours are seen with each kind of sight, in linear light (Machado and others, 2009).
SIGHT = {
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def linear(colour):
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def contrast(one, other):
    def bright(colour):
        red, green, blue = linear(colour)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((bright(one), bright(other)))
    return (high + 0.05) / (low + 0.05)


def lab(rgb):
    rows = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    xyz = (sum(a * b for a, b in zip(row, rgb, strict=True)) for row in rows)
    x, y, z = (
        part ** (1 / 3) if part > 216 / 24389 else (24389 / 27 * part + 16) / 116
        for part in (each / white for each, white in zip(xyz, (0.95047, 1, 1.08883), strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def seen(colour, sight):
    rgb = linear(colour)
    return lab([min(max(sum(a * b for a, b in zip(row, rgb, strict=True)), 0), 1) for row in SIGHT[sight]])


def test_black_on_white_is_as_far_apart_as_can_be_and_a_colour_from_itself_not_at_all():
    assert round(contrast("#000000", "#ffffff"), 2) == 21
    assert contrast("#123456", "#123456") == 1
    assert [round(part) for part in lab(linear("#ffffff"))] == [100, 0, 0]


@pytest.mark.parametrize("theme", THEMES)
def test_every_text_can_be_read_on_its_ground(theme):
    at = THEMES[theme]
    low = {
        (text, ground): found
        for text, ground in TEXTS
        if (found := round(contrast(COLOURS[text][at], COLOURS[ground][at]), 2)) < 4.5
    }
    assert low == {}


@pytest.mark.parametrize("theme", THEMES)
def test_everything_that_is_drawn_is_seen(theme):
    at = THEMES[theme]
    low = {
        (part, ground): found
        for part, ground in DRAWN
        if (found := round(contrast(COLOURS[part][at], COLOURS[ground][at]), 2)) < 3
    }
    assert low == {}


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", THEMES)
def test_series_are_told_apart_with_every_kind_of_sight(theme, sight):
    at = THEMES[theme]
    for one, other in itertools.combinations([f"c{number}" for number in range(1, 7)], 2):
        apart = sum(
            (a - b) ** 2 for a, b in zip(seen(COLOURS[one][at], sight), seen(COLOURS[other][at], sight), strict=True)
        )
        assert apart**0.5 >= APART, (one, other, round(apart**0.5, 1))


def test_only_the_tokens_name_a_colour_and_every_name_is_one():
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?![^{]*\{)|rgba?\(|hsl", CSS) == []
    used = set(re.findall(r"var\(--([\w-]+)\)", CSS))
    known = set(re.findall(r"--([\w-]+):", TOKENS)) | {"row", "mark"}
    assert used - known == set()
