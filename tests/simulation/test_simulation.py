"""Made-up shoppers: a truth that is true, the same for the same seed, and labelled wherever it shows."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from click.testing import Result

from events import open_store
from experiments import DeclarationError, load
from simulation.shoppers import PREFIX, Event, browse, buy, visit
from simulation.truth import load_truth, true_lifts
from tests.conftest import ROOT, Server, WriteConfigs

Run = Callable[..., Result]
Serve = Callable[..., Server]

CONFIGS = load(ROOT / "configs")
TRUTH = load_truth(ROOT / "configs", CONFIGS)
START = 1_777_593_600_000


def orders_of(variant: str, count: int, experiment: str = "product-page-placement") -> list[list[Event]]:
    """Return the final orders of shoppers in one variant."""
    found = []
    for number in range(count):
        shopper = visit(TRUTH, CONFIGS, 7, number, START)
        if shopper.context["category"] == "beans":
            continue
        final = {order["order_id"]: order for order in buy(shopper, TRUTH, CONFIGS, experiment, variant)}
        found.append(list(final.values()))
    return found


def net(order: Event) -> float:
    return float(order["gross_minor"] - order["discount_minor"] - order.get("refunded_minor", 0))


@pytest.mark.parametrize(
    ("experiment", "control", "variant"),
    [("product-page-placement", "none", "popup"), ("bundle-vs-separate", "separate", "bundle")],
)
def test_the_true_lifts_are_what_shoppers_do(experiment: str, control: str, variant: str) -> None:
    """Worked out from the behaviour; 40,000 shoppers of each variant come to the same within five standard errors."""
    expected = true_lifts(TRUTH, CONFIGS, experiment)[variant]
    arms = [orders_of(one, 40_000, experiment) for one in (control, variant)]
    bought = [np.array([len(orders) for orders in arm], float) for arm in arms]
    spent = [np.array([sum(map(net, orders)) for orders in arm]) for arm in arms]
    for measure, true in (
        ([np.minimum(one, 1) for one in bought], expected.conversion),
        (spent, expected.revenue_per_visitor),
    ):
        means = [one.mean() for one in measure]
        error = sum((one.std() / one.mean()) ** 2 / len(one) for one in measure) ** 0.5 * means[1] / means[0]
        assert means[1] / means[0] - 1 == pytest.approx(true, abs=5 * error)
    values = [one.sum() / many.sum() for one, many in zip(spent, bought, strict=True)]
    assert values[1] / values[0] - 1 == pytest.approx(expected.average_order_value, abs=0.03)


def test_a_seed_makes_the_same_shoppers() -> None:
    """And another seed others."""
    assert visit(TRUTH, CONFIGS, 1, 5, START) == visit(TRUTH, CONFIGS, 1, 5, START)
    assert visit(TRUTH, CONFIGS, 1, 5, START) != visit(TRUTH, CONFIGS, 2, 5, START)
    assert orders_of("below", 50) == orders_of("below", 50)


def test_shoppers_are_as_shops_know_them() -> None:
    """Some come again, values are skewed around price points, some orders come back."""
    arm = orders_of("none", 8000)
    orders = [order for mine in arm for order in mine]
    prices = {round(float(product.price) * 100) for product in CONFIGS.products.values() if product.complements}
    assert {order["lines"][0]["gross_minor"] for order in orders} <= prices
    values = np.array([order["gross_minor"] for order in orders])
    assert values.mean() > np.median(values)
    assert any(len(mine) > 1 for mine in arm)
    assert 0.02 < np.mean(["refunded_minor" in order for order in orders]) < 0.06


def test_a_variant_without_an_offer_has_an_exposure_all_the_same() -> None:
    """The population is who met the trigger, not who saw something."""
    shopper = visit(TRUTH, CONFIGS, 1, 1, START)
    given = {"variant": "none", "placement": "none", "offer": None, "exposure_token": "t"}
    assert [event["type"] for event in browse(shopper, "x", given)] == ["exposure"]
    assert shopper.visitor_id.startswith(PREFIX)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experiments: {nothing: {}}\n", "simulation.yaml:1: experiments.nothing: found `nothing`; wanted one of ab"),
        (
            "experiments:\n  ab: {third: {attach: 5%}}\n",
            "simulation.yaml:2: experiments.ab.third: found `third`; wanted one of control, offer",
        ),
        (
            "experiments:\n  ab: {offer: {attach: 500%}}\n",
            "simulation.yaml:2: experiments.ab.offer.attach: found `500%`",
        ),
        ("shopers: 5\n", "simulation.yaml:1: shopers: found the unknown key `shopers`; wanted `shoppers`"),
    ],
)
def test_a_wrong_truth_is_refused(write_configs: WriteConfigs, text: str, message: str) -> None:
    """As every declaration is."""
    catalog = "products: [{id: a, title: A, price: 5, complements: [b]}, {id: b, title: B, price: 5}]\n"
    root = write_configs(files={"simulation.yaml": text, "catalog.yaml": catalog})
    with pytest.raises(DeclarationError) as caught:
        load_truth(root, load(root))
    assert message in str(caught.value)


def figures(run: Run, store_url: str) -> dict[str, Any]:
    arguments = ("report", "product-page-placement", "--configs", ROOT / "configs", "--store", store_url)
    found: dict[str, Any] = json.loads(run(*arguments, "--as-of", "2026-06-01", "--format", "json").output)
    return found


def test_replaying_a_day_changes_no_number(run: Run, serve: Serve, store_url: str) -> None:
    """Every event sent again, twice: the same report; and it says that it is simulated."""
    server = serve(ROOT / "configs", "--workers", "2")
    arguments = (
        "simulate",
        "--server",
        f"http://127.0.0.1:{server.port}",
        "--key",
        server.keys["secret"],
        "--shoppers",
        400,
    )
    options = ("--start", "2026-05-01", "--configs", ROOT / "configs", "--format", "json")
    first = json.loads(run(*arguments, *options).output)
    before = figures(run, store_url)
    for _ in range(2):
        again = json.loads(run(*arguments, *options).output)
        assert (again.get("accepted", 0), again["duplicates"]) == (0, again["delivered"])
    assert figures(run, store_url) == before
    assert (first["simulated"], before["simulated"]) == (True, True)
    assert sum(row["units"] for row in before["variants"]) > 100
    assert (
        "SIMULATED"
        in run("report", "product-page-placement", "--configs", ROOT / "configs", "--store", store_url).output
    )
    other = json.loads(run(*arguments, *options, "--seed", 2).output)
    assert other["accepted"] > 0


def test_simulate_says_what_it_lacks(run: Run) -> None:
    """No key, no server, no date: exit code 2 and one clear line."""
    assert "Missing option '--key'" in run("simulate").output
    gone = run(
        "simulate", "--key", "sk_x", "--server", "http://127.0.0.1:9", "--shoppers", 1, "--configs", ROOT / "configs"
    )
    assert (gone.exit_code, "no answer" in str(gone.exception)) == (2, True)
    assert run("simulate", "--key", "sk_x", "--start", "soon", "--configs", ROOT / "configs").exit_code == 2
    assert run("simulate", "--key", "sk_x", "--server", "ftp://x", "--configs", ROOT / "configs").exit_code == 2


def test_the_demo_runs_and_ends(tmp_path: Path) -> None:
    """Everything in one command: serve, simulate, report beside the truth, and how to go on."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    command = [sys.executable, "-m", "crosslift", "demo", "--shoppers", "500"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for part in (
        "crosslift starts on",
        "500 shoppers",
        "SIMULATED",
        "Verdict:",
        "true lift",
        "intervals hold the truth",
        "Go on with:",
    ):
        assert part in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 130
    assert (tmp_path / "demo" / "crosslift.db").exists()
    assert "Traceback" not in done.stderr


def test_the_demo_serves_a_shop(tmp_path: Path) -> None:
    """With shoppers who keep coming and links to every variant, until it is interrupted."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    command = [sys.executable, "-m", "crosslift", "demo", "--serve", "--shoppers", "50"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as demo:
        assert demo.stdout is not None
        said = next(line for line in demo.stdout if "The demo shop is at" in line)
        board = (
            next(line for line in demo.stdout if "The dashboard is at" in line)
            .split("The dashboard is at ")[1]
            .split()[0]
        )
        with urlopen(board) as page:
            assert "token" in page.read().decode().lower()
        address = said.split("The demo shop is at ")[1].split()[0]
        with urlopen(f"{address}/products/kettle-swan") as page:
            shown = page.read().decode()
        assert shown.count("crosslift_preview=") == 9
        with urlopen(f"{address}/crosslift.js") as script:
            assert script.headers["ETag"]
        store = open_store(f"sqlite:///{tmp_path / 'demo' / 'crosslift.db'}")
        first, deadline = store.counts()["exposures"], time.monotonic() + 20
        while store.counts()["exposures"] == first and time.monotonic() < deadline:
            time.sleep(0.2)
        assert store.counts()["exposures"] > first
        store.close()
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=20) == 0
