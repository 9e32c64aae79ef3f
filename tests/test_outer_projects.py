"""The files of the projects around a repository: what tightens in them binds inside, what waits or loosens does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.repositories import repository, worktree
from tests.test_project_trust import Clone

from tallygate.clients.registry import REGISTRY
from tallygate.core.gate.rules import RuleTarget, rules_that_apply
from tallygate.settings import Settings
from tallygate.workspace import place_of


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def rules_in(settings: Settings, folder: Path, home: Path) -> dict[tuple[str, int], str]:
    """The limits that bind a session in a folder, each with what it limits there."""
    found = rules_that_apply(
        settings.budgets, RuleTarget("", "codex", "me", place_of(str(folder), str(home)), names_of=REGISTRY.names.of)
    )
    return {(rule.scope.value, rule.limit // 10**9): str(rule.key) for rule in found}


@pytest.fixture
def nested(clone: Clone) -> Path:
    """A repository in a folder of the shop, with a file of its own."""
    inner = clone.root / "vendor" / "lib"
    for folder in (".git", ".l6e"):
        (inner / folder).mkdir(parents=True)
    clone.shop('[[budget]]\nscope = "global"\nperiod = "day"\nlimit_usd = 3', inner)
    return inner


def test_the_file_of_a_project_around_binds_a_repository_inside_by_what_tightens(clone: Clone, nested: Path) -> None:
    clone.shop(
        'time_zone = "Asia/Tokyo"\n[policy]\non_fault = "allow"\nunknown_price = "halt_on_unknown_pricing"\n'
        '[[budget]]\nscope = "global"\nperiod = "day"\nlimit_usd = 7\n'
        '[[budget]]\nscope = "session"\nlimit_usd = 4\n'
        '[[budget]]\nscope = "project"\nmatch = "shop"\nperiod = "month"\nlimit_usd = 20'
    )
    found = clone.load(nested)
    assert rules_in(found, nested, clone.places.home) == {
        ("global", 3): "all",
        ("global", 7): "all",
        ("project", 20): str(clone.root),
    }
    assert found.session_budget.limit == 4 * 10**9
    assert found.policy.unknown_price.value == "halt_on_unknown_pricing"
    assert (found.policy.on_fault, found.time_zone) == (Settings(found.paths).policy.on_fault, "UTC")
    assert found.waiting == (), "what waits of the outer one is told in the outer one"
    assert found.paths.settings_files == (nested / ".l6e" / "config.toml", clone.root / ".l6e" / "config.toml")


def test_trusting_a_project_loosens_nothing_in_a_repository_inside_it(clone: Clone, nested: Path) -> None:
    clone.shop('[[budget]]\nscope = "session"\nlimit_usd = 50')
    clone.trust()
    assert clone.load().session_budget.limit == 50 * 10**9
    assert clone.load(nested).session_budget.limit == 5 * 10**9


def test_a_file_of_a_project_around_that_cannot_be_read_is_a_fault_inside(clone: Clone, nested: Path) -> None:
    clone.shop("[[budget]")
    found = clone.load(nested)
    assert found.fault is not None
    assert str(clone.root / ".l6e" / "config.toml") in str(found.fault)


def test_what_is_beside_or_inside_binds_nothing_outside(clone: Clone, nested: Path) -> None:
    beside = clone.root.parent / "other"
    (beside / ".git").mkdir(parents=True)
    clone.shop('[[budget]]\nscope = "session"\nlimit_usd = 2')
    assert clone.load(beside).session_budget.limit == 5 * 10**9
    assert clone.load(beside).paths.settings_files == ()
    assert clone.load().paths.settings_files == (clone.root / ".l6e" / "config.toml",)
    assert clone.load(nested).session_budget.limit == 2 * 10**9


def test_the_repositorys_own_file_binds_its_worktrees(clone: Clone) -> None:
    clone.shop('[[budget]]\nscope = "session"\nlimit_usd = 2')
    tree = worktree(repository(clone.root), clone.root.parent / "trees" / "a")
    assert clone.load(tree).session_budget.limit == 2 * 10**9
