"""The catalogue from CSV, and the schemas that editors read."""

import json
from collections.abc import Callable

import jsonschema
import pytest
from click.testing import Result

from events import Store
from experiments import DeclarationError, load
from experiments.declarations.schema import MODELS, schema_text
from experiments.declarations.templates import describe_templates
from experiments.declarations.yaml_source import read_yaml
from server import create_app
from server.http.keys import create_key
from tests.conftest import AB, ROOT, WriteConfigs

Run = Callable[..., Result]

CSV = 'id,title,price,cost,tags,complements,stock\n7,"Mug, clay",16.9,5.60,a; b,8|9,12\n8,Beans,14.90,,,,3\n'


def test_a_catalogue_may_be_csv(write_configs: WriteConfigs) -> None:
    """The same products as in YAML; columns that mean nothing are passed over."""
    products = load(write_configs(files={"catalog.csv": "\ufeff" + CSV})).products
    assert list(products) == ["7", "8"]
    mug = products["7"]
    assert (mug.title, str(mug.price), str(mug.cost), mug.tags, mug.complements) == (
        "Mug, clay",
        "16.90",
        "5.60",
        ["a", "b"],
        ["8", "9"],
    )
    assert products["8"].cost is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,title\n", "catalog.csv:1: found the columns id, title; wanted price too"),
        (CSV.replace("14.90", "cheap"), "catalog.csv:3: products.1.price: found `cheap`; wanted an amount"),
        (CSV.replace("8,Beans", "7,Beans"), "catalog.csv:3: products.1.id: found the id `7` a second time"),
        (CSV + "9,Tea\n", "catalog.csv:4: found 2 cells; wanted 7"),
        (CSV + '"9,Tea\n', "no CSV"),
        ("", "catalog.csv:1: found the columns none"),
    ],
)
def test_a_wrong_csv_says_where(write_configs: WriteConfigs, text: str, message: str) -> None:
    """With the line of the row."""
    with pytest.raises(DeclarationError) as caught:
        load(write_configs(files={"catalog.csv": text}))
    assert message in str(caught.value)


def test_there_is_one_catalogue(write_configs: WriteConfigs) -> None:
    """Two are one too many."""
    with pytest.raises(DeclarationError, match="second catalogue"):
        load(write_configs(files={"catalog.csv": CSV, "catalog.yaml": "products: []\n"}))


@pytest.mark.parametrize("name", MODELS)
def test_shipped_schemas_are_those_of_the_classes(name: str) -> None:
    """`python -m experiments.declarations.schema configs` writes them anew."""
    assert (ROOT / "configs" / name).read_text(encoding="utf-8") == schema_text(MODELS[name])


def test_the_schema_knows_right_from_wrong(write_configs: WriteConfigs) -> None:
    """Editors accept the examples and underline what check refuses."""
    schema = json.loads(schema_text(MODELS["experiment.schema.json"]))
    validator = jsonschema.Draft202012Validator(schema)
    for path in (ROOT / "configs" / "experiments").glob("*.yaml"):
        assert list(validator.iter_errors(read_yaml(path).value)) == []
    for before, after in (
        ("status: running", "statuss: running"), ("weight: 1", "weight: -1"), ("placement: none", "placement: footer"),
        ("key: ab", "key: AB"), ("status: running", "status: running\ntraffic: 0.5"), ("[p1]", "complement"),
        ("kind: cross_sell", "kind: crossell"), ("status: running", "status: running\naudience: {x: {atleast: 3}}"),
    ):  # fmt: skip
        path = write_configs(ab=AB.replace(before, after, 1)) / "experiments" / "ab.yaml"
        assert list(validator.iter_errors(read_yaml(path).value)), after
    for name, model in (("shop", "shop.schema.json"), ("catalog", "catalog.schema.json")):
        shipped = json.loads(schema_text(MODELS[model]))
        jsonschema.validate(read_yaml(ROOT / "configs" / f"{name}.yaml").value, shipped)


TEMPLATES = [name for name, _ in describe_templates()]


def test_there_is_a_template_for_every_question(run: Run) -> None:
    """The list names them, each with its question."""
    assert len(TEMPLATES) == 16
    listed = run("new").output
    assert all(name in listed for name in TEMPLATES)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_right_as_written(run: Run, write_configs: WriteConfigs, name: str) -> None:
    """Strictly checked as a draft and as running, on the example catalogue."""
    root = write_configs(
        files={one: (ROOT / "configs" / one).read_text(encoding="utf-8") for one in ("catalog.yaml", "shop.yaml")},
    )
    (root / "experiments" / "ab.yaml").unlink()
    written = run("new", name, "mine", "--configs", root)
    assert written.exit_code == 0, written.exception
    path = root / "experiments" / "mine.yaml"
    for status in ("draft", "running"):
        path.write_text(
            path.read_text(encoding="utf-8").replace("status: draft", f"status: {status}"), encoding="utf-8"
        )
        result = run("check", root, "--strict")
        assert result.exit_code == 0, result.output
    assert path.read_text(encoding="utf-8").count("#") >= 5


def test_every_template_is_served_and_reported(run: Run, write_configs: WriteConfigs, store: Store) -> None:
    """All at once on one server: each assigns, logs, and has a report."""
    root = write_configs(
        files={one: (ROOT / "configs" / one).read_text(encoding="utf-8") for one in ("catalog.yaml", "shop.yaml")}
    )
    for name in TEMPLATES:
        assert run("new", name, f"my-{name}", "--configs", root).exit_code == 0
        path = root / "experiments" / f"my-{name}.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace("status: draft", "status: running"), encoding="utf-8")
    client = create_app(root, store).test_client()
    key = create_key(store, "publishable", 1)
    context = {"product_id": "kettle-swan", "customer_type": "b2b", "company_id": "acme", "cart": []}
    for number in range(40):
        body = {"visitor_id": f"v{number}", "context": {**context, "company_id": f"c{number}"}, "expose": True}
        answer = client.post("/v1/assignments", json=body, headers={"X-API-Key": key}).get_json()["assignments"]
        assert {one["reason"] for name, one in answer.items() if name != "ab"} <= {"assigned", "holdout"}
    for name in TEMPLATES:
        found = json.loads(
            run("report", f"my-{name}", "--configs", root, "--store", store.url, "--format", "json").output
        )
        assert sum(row["units"] for row in found["variants"]) > 20, name


@pytest.mark.parametrize("key", ["123", "true", "1.50", "1e5", "0", "a"])
def test_any_key_gives_a_file_that_loads(run: Run, write_configs: WriteConfigs, key: str) -> None:
    """Also one that YAML would take for a number."""
    root = write_configs()
    assert run("new", "aa", key, "--configs", root).exit_code == 0
    assert key in load(root).experiments


def test_new_refuses_what_it_cannot_write(run: Run, write_configs: WriteConfigs) -> None:
    """No such template, no such key, a key that is taken: exit code 2, nothing written."""
    root = write_configs()
    for arguments in (("nothing", "x"), ("aa", "X Y"), ("aa", "ab"), ("aa", "holdout"), ("aa",)):
        assert run("new", *arguments, "--configs", root).exit_code == 2
    assert [path.name for path in (root / "experiments").iterdir()] == ["ab.yaml"]
