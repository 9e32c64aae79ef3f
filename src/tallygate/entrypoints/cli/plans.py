"""Limits on clients' plans as commands show them: in per cent, and never in money."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tallygate.core.moments import iso
from tallygate.core.money import json_number
from tallygate.core.plan import PlanStanding, percent, window_name
from tallygate.entrypoints.cli import output


def say_plans(plans: Sequence[PlanStanding], zone: str) -> None:
    """A table of the limits on plans, where there are any."""
    if not plans:
        return
    output.heading("Limits on plans")
    resets = [each.told.resets_us if each.told is not None and each.is_known else None for each in plans]
    output.table(
        output.words("PLAN", [each.client for each in plans]),
        output.words("WINDOW", [window_name(each.rule.minutes) for each in plans]),
        output.words("MODE", [each.rule.mode.value for each in plans]),
        output.words("USED", [_used(each) for each in plans]),
        output.words("LIMIT", [f"{each.rule.at_percent} %" for each in plans]),
        output.words(output.zoned("RESETS", resets, zone), [output.when(each, zone)[-11:] for each in resets]),
    )
    for each in plans:
        if each.stops and each.is_reached:
            reached = f"the limit on its {window_name(each.rule.minutes)} window is reached"
            click.echo(
                f"{output.safe(each.client)} is stopped, {reached}. It goes on once that resets or is set higher."
            )
    if any(not each.is_known for each in plans):
        click.echo("Unknown: its client said nothing of this window yet, or nothing since it began anew.")


def _used(plan: PlanStanding) -> str:
    return percent(plan.told.used) if plan.told is not None and plan.is_known else "unknown"


def plan_json(plan: PlanStanding) -> dict[str, Any]:
    """A limit on a plan for programs; what is no longer true of its window is not told as its share."""
    told = plan.told
    return {
        "client": plan.client,
        "window": window_name(plan.rule.minutes),
        "window_minutes": plan.rule.minutes,
        "mode": plan.rule.mode.value,
        "at_percent": plan.rule.at_percent,
        "unknown": plan.rule.unknown.value,
        "used_percent": None if told is None or not plan.is_known else json_number(told.used * 10_000_000),
        "resets_at": None if told is None or not plan.is_known else iso(told.resets_us),
        "reached": plan.is_reached,
        "stops": plan.stops,
        "last_told_at": None if told is None else iso(told.at_us),
        "last_told_by": None if told is None else told.source.value,
    }
