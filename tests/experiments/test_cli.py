"""check and explain, as a merchant types them."""

import json
from collections.abc import Callable

from click.testing import Result

from events import Store
from tests.conftest import AB, ROOT, WriteConfigs

Run = Callable[..., Result]


def test_check_passes_what_is_right(run: Run) -> None:
    """The examples have no faults."""
    result = run("check", ROOT / "configs")
    assert (result.exit_code, "2 experiments, 10 products, no faults" in result.output) == (0, True)
    assert json.loads(run("check", ROOT / "configs", "--format", "json").output) == {
        "passed": True,
        "faults": [],
        "warnings": [],
    }


def test_check_answers_no_with_every_fault(run: Run, write_configs: WriteConfigs) -> None:
    """Exit code 1, all faults, no traceback."""
    root = write_configs(ab=AB.replace("weight: 1", "weight: -1"))
    result = run("check", root)
    assert result.exit_code == 1
    assert "ab.yaml:5: variants.control.weight: found `-1`" in result.output
    assert "2 faults" in result.output
    faults = json.loads(run("check", root, "--format", "json").output)["faults"]
    assert [(fault["line"], fault["path"]) for fault in faults] == [
        (5, "variants.control.weight"),
        (6, "variants.offer.weight"),
    ]


def test_explain_says_each_step(run: Run) -> None:
    """Steps and outcome, as text and as JSON."""
    arguments = (
        "explain",
        "product-page-placement",
        "anna",
        "--configs",
        ROOT / "configs",
        "--context",
        '{"category": "kettles"}',
    )
    text = run(*arguments)
    found = json.loads(run(*arguments, "--format", "json").output)
    assert text.exit_code == 0
    assert f"anna -> {found['variant']}" in text.output
    assert [step["name"] for step in found["steps"]][:5] == [
        "status",
        "holdout",
        "audience.category",
        "layer",
        "traffic",
    ]


def test_explain_knows_the_epoch_of_a_store(run: Run, store: Store) -> None:
    """The newest that was served."""
    arguments = ("explain", "product-page-placement", "anna", "--configs", ROOT / "configs", "--store", store.url)
    assert "epoch" not in run(*arguments).output
    store.open_epoch("product-page-placement", {"variants": {}}, 1)
    assert "epoch              1" in run(*arguments).output
    assert json.loads(run(*arguments, "--format", "json").output)["epoch"] == 1


def test_explain_refuses_wrong_use(run: Run) -> None:
    """No visitor, no such experiment, no JSON: exit code 2 with what is wanted."""
    configs = ("--configs", ROOT / "configs")
    assert run("explain", "product-page-placement", *configs).exit_code == 2
    missing = run("explain", "product-page-placment", "anna", *configs)
    assert (
        missing.exit_code,
        "wanted product-page-placement, if that is what was meant" in str(missing.exception),
    ) == (2, True)
    assert run("explain", "product-page-placement", "", *configs).exit_code == 2
    assert run("explain", "product-page-placement", "a\udcff", *configs).exit_code == 2
    assert run("explain", "product-page-placement", "anna", *configs, "--context", "[" * 9000).exit_code == 2
    wrong = run("explain", "product-page-placement", "anna", *configs, "--context", "[1]")
    assert (wrong.exit_code, "must be a JSON object" in wrong.output) == (2, True)
