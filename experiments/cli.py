"""The merchant's commands: check, explain."""

import json
from dataclasses import asdict
from typing import Any

import click

from experiments.assignment import Step, unit_of
from experiments.assignment import explain as explain_assignment
from experiments.errors import DeclarationError
from experiments.loading import load
from experiments.refusals import describe

configs_option = click.option(
    "--configs", default="configs", show_default=True, metavar="DIR", help="Folder of shop.yaml and experiments/."
)
format_option = click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True
)


@click.command()
@click.argument("configs", default="configs")
@format_option
def check(configs: str, format_: str) -> None:
    """Validate every declaration in CONFIGS; exit 1 with all faults when any is wrong."""
    try:
        loaded = load(configs)
    except DeclarationError as error:
        if format_ == "json":
            click.echo(json.dumps({"passed": False, "faults": [asdict(fault) for fault in error.faults]}, indent=2))
        else:
            count = len(error.faults)
            click.echo(
                f"{error}\n{count} fault{'s' if count > 1 else ''} in {configs}: nothing of it is used.", err=True
            )
        raise click.exceptions.Exit(1) from None
    if format_ == "json":
        click.echo(json.dumps({"passed": True, "faults": []}, indent=2))
        return
    click.echo(f"{configs}: {len(loaded.experiments)} experiments, {len(loaded.products)} products, no faults.")


@click.command()
@click.argument("key")
@click.argument("visitor")
@click.option(
    "--context", metavar="JSON", default="{}", help='What is known of the visit, such as {"category": "laptops"}.'
)
@configs_option
@format_option
def explain(key: str, visitor: str, context: str, configs: str, format_: str) -> None:
    """Say which variant of experiment KEY a VISITOR gets, and every step to it."""
    known = _json_object(context)
    loaded = load(configs)
    experiment = loaded.experiment(key)
    unit_id = unit_of(experiment, visitor, known)
    steps, outcome = explain_assignment(experiment, unit_id, known, holdout=loaded.shop.holdout)
    if format_ == "json":
        shown = {"variant": outcome.variant, "placement": outcome.placement, "reason": outcome.reason}
        click.echo(
            json.dumps({"experiment": key, "unit_id": unit_id, **shown, "steps": [asdict(s) for s in steps]}, indent=2)
        )
        return
    width = max(len(step.name) for step in steps)
    for step in steps:
        mark = _mark(step)
        click.echo(f"  {mark} {step.name:<{width}}  {step.detail}")
    served = outcome.variant or "not in the experiment"
    click.echo(f"{visitor} -> {served} (placement {outcome.placement}, reason {outcome.reason})")


def _mark(step: Step) -> str:
    if step.name.startswith("variant."):
        return ">" if step.passed else " "
    return "✓" if step.passed else "✗"


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise click.BadParameter(f"found {describe(text)}; wanted a JSON object", param_hint="--context")
    return value


commands = [check, explain]
