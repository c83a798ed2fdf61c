"""The same report from every engine: one set of stories, each number to 1e-9, nulls and reasons included."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import report
from analysis.queries.engines import spark
from analysis.queries.engines.dialects import Dialect, DuckDb
from events import Exposure, Refund, open_store
from events.lake import TABLES, export
from experiments import StoreError
from tests.analysis.conftest import AT, DAY, World, fill
from tests.analysis.test_metrics import CATALOG, DECLARED, random_events
from tests.conftest import AB
from tests.support.postgres import PostgresServer
from tests.support.spark import SparkCluster, missing_part

NOW = AT + 200 * DAY
AS_OF = "2026-11-17T12:00:00Z"
ODD = 'it\'s "5\\" $1'  # a product's id with everything that a query might trip over
SHOP = "currency: USD\norders: {tax: true, shipping: true, exclude_sources: [pos]}\n"
BESIDE = AB.replace("key: ab", "key: cd")
on_spark = pytest.mark.xdist_group("spark")  # one process starts the cluster


def everything(world: World) -> None:
    """Put in all that a report reads: every metric, history, tags, interactions, attributes, devices, and what does not count."""
    store = world.store
    world.declare()
    world.declare("cd")
    records, _rows = random_events()
    store.write(records)
    for device, customer in (("u0", "anna"), ("u3", "anna"), ("u4", "bert"), ("u6", "bert")):  # anna saw both variants
        store.identify(device, customer, None, AT)
    for number, vip in enumerate([True, False, 7, 2.5, "yes", "7", None, "ä ' \" \\"]):
        world.expose(f"v{number}", ["control", "offer"][number // 2 % 2], attributes={"vip": vip})
        world.order(f"v{number}", 3000 + number, cost_minor=1000)
    world.expose("gone", "withdrawn")
    world.expose("crawler", "offer", bot=True)
    for number in range(0, 240, 3):
        world.expose(f"u{number}", ["control", "offer"][number // 3 % 2], AT + 3 * DAY, experiment="cd")
    lines = [{"line_id": "1", "product_id": ODD, "quantity": 3, "gross_minor": 900, "cost_minor": 1}]
    world.order("u8", 900, cost_minor=1, lines=lines)
    world.order("u10", 5000, excluded="tag: staff", cost_minor=1)
    world.order("u12", 5000, source="pos", cost_minor=1)
    world.order(None, 4000, customer_id="bert", cost_minor=1)
    world.order(None, 4500, cost_minor=1)
    store.write([Refund(order_id="1", refund_id="1", refunded_at_ms=AT + 2 * DAY, currency="USD", refunded_minor=700)])


def changed_weights(world: World) -> None:
    """Put in two sets of weights, and nothing but exposures and orders: of all else the lake has no files."""
    world.declare()
    fill(world, {"control": 40, "offer": 60}, units=400)
    path = world.configs / "experiments" / "ab.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("offer: {weight: 1", "offer: {weight: 3"), encoding="utf-8"
    )
    world.declare()
    for number in range(400):
        variant, at = ["control", "offer", "offer", "offer"][number % 4], AT + 9 * DAY + number
        world.store.write([Exposure(experiment="ab", unit_id=f"w{number}", variant=variant, epoch=2, exposed_at_ms=at)])
        if number % 5 == 0:
            world.order(f"w{number}", 2500 + number, at + DAY)


@dataclass
class Story:
    """
    What happened, in SQLite and as a lake, and the report on it.

    Attributes:
        tell: Puts it into another store.
        beside: Other experiments that the report asks about.
    """

    tell: Callable[[World], None]
    configs: Path
    lake: Path
    beside: list[str] = field(default_factory=list)
    expected: dict[str, Any] = field(default_factory=dict)

    def report(self, url: str) -> dict[str, Any]:
        return report("ab", url, self.configs, NOW, self.beside, bayesian=True).to_dict()


def made(tell: Callable[[World], None], folder: Path, files: dict[str, str], beside: list[str]) -> Story:
    configs, url = folder / "configs", f"sqlite:///{folder / 'events.db'}"
    for name, text in files.items():
        path = configs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    story = Story(tell, configs, folder / "a lake's [1]", beside)
    with closing(open_store(url)) as store:
        tell(World(store, configs))
        export(store, story.lake)
    story.expected = story.report(url)
    return story


@pytest.fixture(scope="module")
def all_of_it(tmp_path_factory: pytest.TempPathFactory) -> Story:
    declared = DECLARED.replace(" repeat_rate_60d, repeat_rate_90d,", "")  # as that of 30 days
    declared = declared.replace("  correction: holm", "  segments: [device, vip, returning]\n  correction: holm")
    odd = f"  - {{id: {json.dumps(ODD)}, title: Odd, price: 1, tags: [gift]}}\n"
    files = {
        "experiments/ab.yaml": declared,
        "experiments/cd.yaml": BESIDE,
        "catalog.yaml": CATALOG + odd,
        "shop.yaml": SHOP,
    }
    return made(everything, tmp_path_factory.mktemp("everything"), files, ["cd"])


@pytest.fixture(scope="module")
def two_weights(tmp_path_factory: pytest.TempPathFactory) -> Story:
    return made(changed_weights, tmp_path_factory.mktemp("weights"), {"experiments/ab.yaml": AB}, [])


@pytest.fixture(params=["all_of_it", "two_weights"])
def story(request: pytest.FixtureRequest) -> Story:
    found: Story = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def cluster() -> Iterator[SparkCluster]:
    """Start a Spark cluster of a master and two workers that the tests of this process share."""
    reason = missing_part()
    if reason:
        pytest.skip(reason)
    running = SparkCluster()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(running.folder / "conf"))
        yield running
    running.remove()


def assert_close(one: Any, other: Any, path: str = "") -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_close(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for index, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_close(mine, theirs, f"{path}[{index}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-9), path
    else:
        assert one == other, path


def test_the_stories_hold_what_they_say(all_of_it: Story, two_weights: Story) -> None:
    """Else equal reports would show little."""
    found = all_of_it.expected
    assert all(metric["lifts"] for name, metric in found["metrics"].items() if name != "p90_order_value")
    assert found["metrics"]["revenue_per_visitor"]["lifts"]["offer"]["adjusted"]
    assert found["metrics"]["revenue_per_visitor"]["lifts"]["offer"]["capped"]
    assert found["metrics"]["gift_orders"]["variants"]["control"]["numerator"] > 0
    assert set(found["segments"]["vip"]["values"]) >= {"true", "7", "yes"}
    assert found["interactions"]
    assert found["orders"]["excluded: tag: staff"] == 1
    assert found["orders"]["source: pos"] == 1
    assert two_weights.expected["epochs"] == [1, 2]


def test_a_lake_reports_what_sqlite_does(story: Story, tmp_path: Path) -> None:
    """DuckDB over the exported Parquet files."""
    assert_close(story.expected, story.report(f"parquet:{story.lake}"))
    earlier = tmp_path / "of an earlier version"
    shutil.copytree(story.lake, earlier)
    shutil.rmtree(earlier / "repeats", ignore_errors=True)
    assert_close(story.expected, story.report(f"parquet:{earlier}"))
    with pytest.raises(StoreError, match="must be a lake"):
        story.report(f"parquet:{tmp_path}")


def without(lake: Path, columns: dict[str, str], first_days: int | None = None) -> None:
    """Rewrite files of a lake as an older version wrote them: without a column, in some days or in all."""
    for table, column in columns.items():
        for path in sorted((lake / table).rglob("*.parquet"))[:first_days]:
            rows = pq.read_table(path, partitioning=None)
            pq.write_table(rows.drop_columns([column]), path)


def with_nulls(lake: Path, columns: dict[str, str], first_days: int | None = None) -> None:
    """Rewrite the same files with the column, of nulls."""
    for table, column in columns.items():
        for path in sorted((lake / table).rglob("*.parquet"))[:first_days]:
            rows = pq.read_table(path, partitioning=None)
            field = rows.schema.get_field_index(column)
            nulls = pa.nulls(len(rows), rows.schema.field(field).type)
            pq.write_table(rows.set_column(field, column, nulls), path)


OLDER = {"orders": "cost_minor", "order_lines": "offer_variant", "interactions": "quantity", "identities": "company_id"}


@pytest.mark.parametrize("first_days", [1, None], ids=["some files", "all files"])
def test_a_lake_half_way_through_an_upgrade_is_read_by_name(
    first_days: int | None, all_of_it: Story, tmp_path: Path
) -> None:
    """Older files, first or alone, lack columns: the report is that of a lake where these are null."""
    older, nulls = tmp_path / "older", tmp_path / "nulls"
    for lake, rewrite in ((older, without), (nulls, with_nulls)):
        shutil.copytree(all_of_it.lake, lake)
        rewrite(lake, OLDER, first_days)
    assert_close(all_of_it.report(f"parquet:{nulls}"), all_of_it.report(f"parquet:{older}"))


def test_a_damaged_file_of_a_lake_is_said(two_weights: Story, tmp_path: Path) -> None:
    """In a line, not by the engine's own error."""
    shutil.copytree(two_weights.lake, tmp_path / "lake")
    next((tmp_path / "lake" / "orders").rglob("*.parquet")).write_bytes(b"PAR1 and no more")
    with pytest.raises(StoreError, match=r"--store: .*lake cannot be read: "):
        two_weights.report(f"parquet:{tmp_path / 'lake'}")


def test_postgresql_reports_what_sqlite_does(postgres: PostgresServer, story: Story) -> None:
    """The same events, told to another store."""
    if story.tell is changed_weights:
        path = story.configs / "experiments" / "ab.yaml"
        path.write_text(AB, encoding="utf-8")  # as before the change
    url = postgres.new_database()
    with closing(open_store(url)) as store:
        story.tell(World(store, story.configs))
    assert_close(story.expected, story.report(url))


@on_spark
def test_who_answers_and_is_no_cluster_is_given_up(two_weights: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that takes connections and says nothing; the next test's report can be made nonetheless."""
    reason = missing_part()
    if reason:
        pytest.skip(reason)
    monkeypatch.setattr(spark, "ANSWER_S", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"spark://127.0.0.1:{silent.getsockname()[1]}?lake={two_weights.lake}"
        with pytest.raises(StoreError, match=r"must be the master of a Spark 4.0 cluster with a free worker"):
            two_weights.report(url)


@on_spark
def test_a_spark_cluster_reports_what_sqlite_does(cluster: SparkCluster, all_of_it: Story, tmp_path: Path) -> None:
    """A master and two workers, everything that a report reads, from the command line: nothing is printed but the report."""
    lake = tmp_path / "of an earlier version"
    shutil.copytree(all_of_it.lake, lake)
    for name in ("repeats", "refunds"):
        shutil.rmtree(lake / name)
    without(lake, {"orders": "company_id", "interactions": "value_minor"}, first_days=1)
    told = crosslift("report", "ab", "--as-of", AS_OF, "--store", cluster.url(lake), configs=all_of_it.configs)
    assert (told.returncode, told.stderr) == (0, "")
    beside = ("interactions", "bayesian")  # of which Spark makes nothing of its own, and takes long for
    assert_close({k: v for k, v in all_of_it.expected.items() if k not in beside}, json.loads(told.stdout))


def crosslift(*arguments: str, configs: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "crosslift", *arguments, "--configs", str(configs), "--format", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | environment)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("spark://127.0.0.1?lake=LAKE", "must be spark://HOST:PORT\\?lake=DIR"),
        ("spark://127.0.0.1:7077", "must be spark://HOST:PORT\\?lake=DIR"),
        ("spark://me:hidden@127.0.0.1:7077?lake=LAKE", "got .spark://127.0.0.1:7077"),
        ("spark://127.0.0.1:7077?lake=/no/such/lake", "/no/such/lake must be a lake .* but has no manifest.json"),
        ("spark://127.0.0.1:1?lake=LAKE", "must name the master of a Spark cluster, but 127.0.0.1:1 does not answer"),
    ],
)
def test_what_spark_lacks_is_said_at_once(url: str, said: str, two_weights: Story) -> None:
    """In seconds, where Spark itself would try for a minute; and without a password."""
    pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'crosslift[spark]'")
    began = time.monotonic()
    with pytest.raises(StoreError, match=said) as caught:
        two_weights.report(url.replace("LAKE", str(two_weights.lake)))
    assert time.monotonic() - began < 10
    assert "hidden" not in str(caught.value)


def test_spark_without_java_or_without_the_package(two_weights: Story) -> None:
    """Each is named, with what to do."""
    pytest.importorskip("pyspark", reason="pyspark is not installed: pip install 'crosslift[spark]'")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = f"spark://127.0.0.1:{silent.getsockname()[1]}?lake={two_weights.lake}"
        told = crosslift("report", "ab", "--store", store, configs=two_weights.configs, JAVA_HOME="/no/java")
    assert (told.returncode, told.stdout) == (2, "")
    assert told.stderr.startswith("Error: --store: Spark needs Java 17 or newer, but it did not start: ")
    code = "import sys; sys.modules['pyspark'] = None; import crosslift; crosslift.main()"
    command = [sys.executable, "-c", code, "report", "ab", "--store", store, "--configs", str(two_weights.configs)]
    bare = subprocess.run(command, capture_output=True, text=True, check=False)
    assert bare.returncode == 2
    assert "pip install 'crosslift[spark]'" in bare.stderr
    assert "Traceback" not in bare.stderr


def test_another_url_of_ibis_reports_what_sqlite_does(story: Story, tmp_path: Path) -> None:
    """The tables copied into a database file of DuckDB."""
    file = tmp_path / "events.ddb"
    with duckdb.connect(file) as copy:
        for name, table in TABLES.items():
            kinds = {"integer": "BIGINT", "text": "VARCHAR"}
            columns = ", ".join(f"{column.name} {kinds[column.kind]}" for column in table.columns)
            copy.execute(f"CREATE TABLE {name} ({columns})")
            for part in (story.lake / name).rglob("*.parquet"):
                copy.register("rows", pq.read_table(part, partitioning=None))
                copy.execute(f"INSERT INTO {name} SELECT {', '.join(table.names)} FROM rows")
    assert_close(story.expected, story.report(f"duckdb://{file}"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("crosslift.db", "must be sqlite:///FILE, .* or another URL that Ibis supports, got 'crosslift.db'"),
        ("carrier-pigeon://me:hidden@loft", "must be .*, got .carrier-pigeon://loft."),
        ("clickhouse://me:hidden@localhost/shop", r"pip install 'ibis-framework\[clickhouse\]'"),
        ("duckdb:///no/such/file.ddb", "duckdb:///no/such/file.ddb cannot be opened: "),
        ("duckdb://EMPTY", "duckdb://.* must be a crosslift store, but has no tables aliases, epochs, "),
    ],
)
def test_urls_that_cannot_be_read_say_why(url: str, said: str, two_weights: Story, tmp_path: Path) -> None:
    """Never with a password."""
    duckdb.connect(tmp_path / "empty.ddb").close()
    with pytest.raises(StoreError, match=said) as caught:
        two_weights.report(url.replace("EMPTY", str(tmp_path / "empty.ddb")))
    assert "hidden" not in str(caught.value)


def test_attributes_are_text_on_engines_without_a_function_of_ours() -> None:
    """Read by Ibis's own JSON as by the engine's, here on DuckDB."""
    backend = ibis.duckdb.connect()
    table = backend.create_table("told", schema={"attributes": "string"})
    kept = {"text": "ä ' \"", "number": 7, "share": 2.5, "yes": True, "no": False, "nothing": None}
    backend.con.execute("INSERT INTO told VALUES (?)", [json.dumps(kept)])
    names = [*kept, "absent"]
    ours = table.select(**{name: DuckDb(backend).json_text(table.attributes, name) for name in names})
    plain = table.select(**{name: Dialect(backend).json_text(table.attributes, name) for name in names})
    assert backend.to_pyarrow(plain).to_pylist() == backend.to_pyarrow(ours).to_pylist()
    backend.disconnect()
