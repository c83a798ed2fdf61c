"""The merchant's command that needs no store: new; and the options that all rooms share."""

from pathlib import Path

import click

configs_option = click.option(
    "--configs", default="configs", show_default=True, metavar="DIR", help="Folder of shop.yaml and experiments/."
)
format_option = click.option(
    "--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True
)


@click.command()
@click.argument("template", required=False)
@click.argument("key", required=False)
@configs_option
def new(template: str | None, key: str | None, configs: str) -> None:
    """
    Write experiment KEY from a TEMPLATE, as a draft to be read and changed.

    Without arguments it lists the templates.
    """
    from experiments.declarations.templates import describe_templates, write_template

    if template is None:
        for name, title in describe_templates():
            click.echo(f"  {name:<24} {title}")
        click.echo("\n`crosslift new TEMPLATE KEY` writes one into configs/experiments.")
        return
    if key is None:
        raise click.UsageError("found no KEY; wanted one, such as `crosslift new placement product-page`")
    path = write_template(template, key, Path(configs))
    click.echo(f"Wrote {path}, a draft. Read it, change it, `crosslift check`, then set `status: running`.")


commands = [new]
