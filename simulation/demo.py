"""The main job from end to end, with the commands that a user would type: serve, simulate, report."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from events.stores.urls import parse_store_url
from experiments.declarations.loading import Configs, load
from experiments.errors import StoreError
from simulation.truth import Truth, load_truth, true_lifts

FOLDER = Path("demo")
START_TIMEOUT_S = 30.0
METRICS = ("revenue_per_visitor", "conversion", "average_order_value")


def run_demo(configs_dir: str, shoppers: int | None, seed: int, console: Console) -> None:
    """
    Serve the example declarations on a free port, send simulated shoppers, and print report and truth side by side.

    Raises:
        StoreError: A command did not work; its own message stands above.
    """
    configs = load(configs_dir)
    truth = load_truth(configs_dir, configs)
    store = fresh_store()
    common = ["--configs", configs_dir, "--store", store]
    keys = json.loads(output(console, ["keys", "--store", store, "--format", "json"]))
    port = free_port()
    with running_server(console, [*common, "--port", str(port)], port):
        environment = {"CROSSLIFT_SECRET_KEY": keys["secret"]}
        arguments = ["simulate", "--configs", configs_dir, "--server", f"http://127.0.0.1:{port}", "--seed", str(seed)]
        run_command(console, [*arguments, "--shoppers", str(shoppers or truth.shoppers)], environment)
    for key in truth.experiments:
        console.print()
        run_command(console, ["report", key, *common])
        found = json.loads(output(console, ["report", key, *common, "--format", "json"], quiet=True))
        console.print()
        _print_truth(console, key, truth, configs, found)
    _print_next(console, configs_dir, store, next(iter(truth.experiments)))


def fresh_store() -> str:
    """Return an empty store in the demo's folder."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / "crosslift.db"
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return f"sqlite:///{path}"


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "crosslift", *arguments]


def _show(console: Console, arguments: Sequence[str]) -> None:
    console.print(f"$ crosslift {' '.join(arguments)}", style="bold cyan", soft_wrap=True)


def run_command(console: Console, arguments: Sequence[str], environment: dict[str, str] | None = None) -> None:
    """Run a command of ours, shown as a user would type it."""
    _show(console, arguments)
    if subprocess.run(_command(arguments), env=os.environ | (environment or {}), check=False).returncode:  # noqa: S603
        raise StoreError(f"`crosslift {arguments[0]}` did not work")


def output(console: Console, arguments: Sequence[str], *, quiet: bool = False) -> str:
    """Run a command of ours, and give what it prints."""
    if not quiet:
        _show(console, arguments)
    done = subprocess.run(_command(arguments), stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise StoreError(f"`crosslift {arguments[0]}` did not work")
    return done.stdout


@contextmanager
def running_server(console: Console, arguments: Sequence[str], port: int) -> Iterator[None]:
    """Serve while the block runs."""
    _show(console, ["serve", *arguments])
    server = subprocess.Popen(_command(["serve", *arguments]))  # noqa: S603
    try:
        _wait(server, port)
        yield
    finally:
        server.terminate()
        server.wait(timeout=20)


def _wait(server: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
        finally:
            connection.close()
    raise StoreError("`crosslift serve` did not start")


def _print_truth(console: Console, key: str, truth: Truth, configs: Configs, found: dict[str, Any]) -> None:
    """Hold what the report estimated against what was simulated."""
    lifts = true_lifts(truth, configs, key)
    console.print(f"{key}: the simulated truth, beside what the report read out of the orders", style="bold")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for header in ("  variant", "metric", "true lift", "estimated", "interval", "holds it"):
        table.add_column(header, justify="left" if header in ("  variant", "metric") else "right", no_wrap=True)
    held = total = 0
    for variant in list(configs.experiments[key].variants)[1:]:
        for name in METRICS:
            lift = found["metrics"][name]["lifts"][variant]["simultaneous"]["relative"]
            true = getattr(lifts[variant], name)
            if lift["low"] is None or true is None:
                cells = ["–", "–", "–"]
            else:
                holds = lift["low"] <= true <= lift["high"]
                held, total = held + holds, total + 1
                cells = [
                    _share(lift["estimate"]),
                    f"{_share(lift['low'])} to {_share(lift['high'])}",
                    "yes" if holds else "no",
                ]
            first = f"  {variant}" if name == METRICS[0] else ""
            table.add_row(first, name.replace("_", " "), _share(true), *cells)
    console.print(table)
    sentence = f"{held} of {total} intervals hold the truth; each metric's are meant to, all at once, 95 times in 100."
    console.print(f"  {sentence}", style="dim")


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:+.1%}".replace("-", "−")


def _print_next(console: Console, configs_dir: str, store: str, key: str) -> None:
    console.print()
    console.print("Everything above was made up, and stayed on this machine.", style="bold")
    console.print(f"  declarations  {configs_dir}/experiments/*.yaml")
    console.print(f"  the truth     {configs_dir}/simulation.yaml")
    console.print(f"  events        {parse_store_url(store).label} (SQLite)")
    folder = Path(sys.executable).parent
    if shutil.which("crosslift") is None and (folder / "crosslift").exists():
        console.print("Put the command on your path:")
        console.print(f'  export PATH="{folder}:$PATH"', style="cyan", soft_wrap=True)
    console.print("Go on with:")
    for line in (
        f"crosslift report {key} --store {store} --format json",
        f'crosslift explain {key} anna --context \'{{"category": "kettles"}}\'',
        "crosslift new",
        f"crosslift check {configs_dir}",
        f"crosslift keys create --store {store}",
        f"crosslift serve --store {store}",
    ):
        console.print(f"  {line}", style="cyan", soft_wrap=True)
