"""The page of figures stands in the site's navigation once it is written, and only once."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

from bench.__main__ import list_page

CONFIG = Path(__file__).parents[2] / "docs" / "site.toml"


def test_a_page_that_is_written_stands_in_the_navigation_once(tmp_path):
    config = tmp_path / "site.toml"
    shutil.copy(CONFIG, config)
    before = config.read_text(encoding="utf-8").replace('    { "Performance" = "performance.md" },\n', "")
    config.write_text(before, encoding="utf-8")
    list_page(tmp_path.parent / "elsewhere.md", config)
    assert config.read_text(encoding="utf-8") == before
    for _ in range(2):
        list_page(tmp_path / "performance.md", config)
    listed = str(tomllib.loads(config.read_text(encoding="utf-8"))["project"]["nav"])
    assert listed.count("performance.md") == 1
