"""The demo that stays: server, demo shop and shoppers who keep coming, until it is interrupted."""

import json
import os
import secrets
import subprocess
import sys
import threading
import webbrowser
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from rich.console import Console

from experiments.declarations.loading import Configs, load
from experiments.errors import StoreError
from simulation.demo import FOLDER, free_port, fresh_store, output, run_command, running_server
from simulation.run import Client, simulate
from simulation.shoppers import past_start_ms
from simulation.truth import Truth, load_truth

PAUSE_S = 2.0
SHOPPERS_A_TIME = 5


def serve_demo(configs_dir: str, shoppers: int | None, seed: int, console: Console) -> None:
    """
    Serve declarations and the demo shop on free ports, send a first crowd of shoppers and then a few every two seconds.

    Raises:
        StoreError: A command did not work; its own message stands above.
    """
    configs = load(configs_dir)
    truth = load_truth(configs_dir, configs)
    store = fresh_store()
    common = ["--configs", configs_dir, "--store", store]
    keys = json.loads(output(console, ["keys", "--store", store, "--format", "json"]))
    port = free_port()
    server = f"http://127.0.0.1:{port}"
    with running_server(console, [*common, "--port", str(port)], port):
        arguments = ["simulate", "--configs", configs_dir, "--server", server, "--seed", str(seed)]
        count = ["--shoppers", str(shoppers or truth.shoppers)]
        run_command(console, [*arguments, *count], {"CROSSLIFT_SECRET_KEY": keys["secret"]})
        previews = _previews(console, configs, common)
        with _shop(configs_dir, server, keys, previews) as address, _dashboard(common, server) as (board, token):
            console.print()
            console.print(f"The demo shop is at {address} and shoppers keep coming. Ctrl-C ends it.", style="bold")
            console.print(f"The dashboard is at {board} and opens to the token {token}", style="bold")
            console.print("The shop's footer switches between the variants. See what moved:")
            for key in truth.experiments:
                console.print(f"  crosslift report {key} --store {store}", style="cyan", soft_wrap=True)
            if sys.stdout.isatty():
                webbrowser.open(address)
            _keep_coming(truth, configs, server, keys["secret"], seed)


def _previews(console: Console, configs: Configs, common: list[str]) -> Path:
    """Write the tokens of signed links to every variant, where the shop reads them."""

    def token(key: str, variant: str) -> dict[str, str]:
        link = output(console, ["preview", key, variant, "http://shop.example/", "--hours", "720", *common], quiet=True)
        return {
            "experiment": key,
            "variant": variant,
            "token": parse_qs(urlsplit(link.strip()).query)["crosslift_preview"][0],
        }

    wanted = [(key, variant) for key, one in configs.experiments.items() for variant in one.variants]
    with ThreadPoolExecutor(2) as pool:
        tokens = list(pool.map(lambda one: token(*one), wanted))
    path = FOLDER / "previews.json"
    path.write_text(json.dumps(tokens), encoding="utf-8")
    return path


@contextmanager
def _shop(configs_dir: str, server: str, keys: dict[str, str], previews: Path) -> Iterator[str]:
    """Run the shop; it is another program, which asks the server over HTTP alone."""
    command = [sys.executable, "-m", "storefront", "--server", server, "--port", "0", "--configs", configs_dir]
    environment = {f"CROSSLIFT_{kind.upper()}_KEY": key for kind, key in keys.items()}
    with _beside([*command, "--previews", str(previews)], environment) as said:
        yield said.split()[-1]


@contextmanager
def _dashboard(common: list[str], server: str) -> Iterator[tuple[str, str]]:
    """Run the dashboard; gives its address and the token that opens it."""
    token = secrets.token_urlsafe(12)
    command = [sys.executable, "-m", "crosslift", "dashboard", "--port", "0", "--server", server, *common]
    with _beside(command, {"CROSSLIFT_DASHBOARD_TOKEN": token}) as said:
        address = next(word for word in said.split() if word.startswith("http://"))
        yield address, token


@contextmanager
def _beside(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """Run a program beside this one; gives the line in which it says where it listens."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment)  # noqa: S603
    try:
        said = process.stdout.readline() if process.stdout else ""
        if "http://" not in said:
            raise StoreError(f"`{' '.join(command[1:4])}` did not start")
        yield said
    finally:
        process.terminate()
        process.wait(timeout=20)
        if process.stdout:
            process.stdout.close()


def _keep_coming(truth: Truth, configs: Configs, server: str, secret: str, seed: int) -> None:
    pause = threading.Event()
    try:
        with closing(Client(server, secret)) as client:
            while not pause.wait(PAUSE_S):
                seed += 1
                start_ms = past_start_ms(truth.days)
                simulate(truth, configs, client, seed=seed, shoppers=SHOPPERS_A_TIME, start_ms=start_ms)
    except KeyboardInterrupt:
        return
