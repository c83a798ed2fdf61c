"""The merchant's commands that need no store: explain, new."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from experiments.assignment import Step, unit_of
from experiments.assignment import explain as explain_assignment
from experiments.loading import load
from experiments.refusals import describe

configs_option = click.option(
    "--configs", default="configs", show_default=True, metavar="DIR", help="Folder of shop.yaml and experiments/."
)
format_option = click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True
)


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
        mark = _mark(step, outcome.exposable)
        click.echo(f"  {mark} {step.name:<{width}}  {step.detail}")
    served = outcome.variant or "not in the experiment"
    click.echo(f"{visitor} -> {served} (placement {outcome.placement}, reason {outcome.reason})")


def _mark(step: Step, exposable: bool) -> str:
    if step.name.startswith("variant."):
        return ">" if step.passed and exposable else " "
    return "✓" if step.passed else "✗"


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise click.BadParameter(f"found {describe(text)}; wanted a JSON object", param_hint="--context")
    return value


@click.command()
@click.argument("template", required=False)
@click.argument("key", required=False)
@configs_option
def new(template: str | None, key: str | None, configs: str) -> None:
    """
    Write experiment KEY from a TEMPLATE, as a draft to be read and changed.

    Without arguments it lists the templates.
    """
    from experiments.templates import describe_templates, write_template

    if template is None:
        for name, title in describe_templates():
            click.echo(f"  {name:<24} {title}")
        click.echo("\n`crosslift new TEMPLATE KEY` writes one into configs/experiments.")
        return
    if key is None:
        raise click.UsageError("found no KEY; wanted one, such as `crosslift new placement product-page`")
    path = write_template(template, key, Path(configs))
    click.echo(f"Wrote {path}, a draft. Read it, change it, `crosslift check`, then set `status: running`.")


commands = [explain, new]
