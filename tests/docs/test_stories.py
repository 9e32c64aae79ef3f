"""What pages show is what the program does: tool calls, commands and settings files of every page are run."""

from __future__ import annotations

import json
import re

import anyio
import pytest
from tests.docs.pages import PAGES, ROOT, blocks, has_a_story, run, story_in

from tallygate.settings import UserPlaces, load_settings

STORIES = [page for page in PAGES if has_a_story(page)]
KNOWN = {"", "json", "toml", "csv", "console", "sh", "text", "python", "sql"}


def named(page):
    return page.relative_to(ROOT).as_posix()


def test_there_are_stories():
    assert {named(page) for page in STORIES} >= {"docs/guides/first-session.md", "docs/guides/prices.md"}


@pytest.mark.parametrize("page", STORIES, ids=named)
def test_a_page_s_calls_and_commands_answer_as_it_says(page, home):
    anyio.run(run, page, story_in(home))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_settings_example_can_be_used_as_it_stands(page, home):
    for number, block in enumerate(blocks(page, "toml")):
        project = home / str(number)
        (project / ".l6e").mkdir(parents=True)
        file = project / ".l6e" / "config.toml"
        if block.info[1:] == ("user",):
            file = home / "user.toml"
        elif block.info[1:]:
            continue  # a file of a story: what it leads to is shown there
        file.write_text(block.text, encoding="utf-8")
        environ = {"TALLYGATE_CONFIG": str(file)} if block.info[1:] == ("user",) else {}
        assert load_settings(environ, project, UserPlaces(home, home / "config", home / "data")), block.place


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_says_what_it_is_and_json_is_json(page):
    for block in blocks(page):
        assert (block.info or ("",))[0] in KNOWN, block.place
        if block.info[:1] == ("json",):
            json.loads(block.text)


def test_every_make_target_a_page_names_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        for block in blocks(page):
            for target in re.findall(r"^make ([a-z]+)", block.text, re.MULTILINE):
                assert target in targets, block.place
