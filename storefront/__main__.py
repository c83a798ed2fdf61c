"""Serves the demo shop: `python -m storefront`; `crosslift demo --serve` does it all."""

import json
import logging
import os
import sys
from typing import TextIO

import click
from werkzeug.serving import WSGIRequestHandler, make_server

from experiments.cli import configs_option
from experiments.declarations.loading import load
from storefront.shop import Preview, create_shop


class Quiet(WSGIRequestHandler):
    """Says nothing of requests that went well."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Leave it out."""


@click.command()
@click.option("--server", default="http://127.0.0.1:8000", show_default=True, help="Address of `crosslift serve`.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--previews", type=click.File(), help="JSON list of {experiment, variant, token} for the preview bar.")
@configs_option
def main(server: str, port: int, previews: TextIO | None, configs: str) -> None:
    """Serve the demo shop on this machine, with the keys of CROSSLIFT_PUBLISHABLE_KEY and CROSSLIFT_SECRET_KEY."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    keys = {kind: os.environ[f"CROSSLIFT_{kind.upper()}_KEY"] for kind in ("publishable", "secret")}
    shown = [Preview(**one) for one in json.load(previews)] if previews else []
    shop = create_shop(load(configs), server, keys, shown)
    serving = make_server("127.0.0.1", port, shop, threaded=True, request_handler=Quiet)
    click.echo(f"the demo shop is at http://127.0.0.1:{serving.server_port}")
    serving.serve_forever()


if __name__ == "__main__":
    main()
