"""CSV import, as a merchant types it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from events import open_store
from tests.conftest import WriteConfigs

Run = Callable[..., Result]

EXPOSURES = "experiment,visitor_id,variant,exposed_at,attributes.device\nab,v1,control,2026-05-01T10:00:00Z,mobile\nab,v2,offer,2026-05-01T11:00:00Z,\n"
ORDERS = "order_id,visitor_id,ordered_at,gross,discount,cost,note\no1,v1,2026-05-02T10:00:00Z,19.99,1.00,7.5,hello\no2,,2026-05-02T10:00:00Z,5,,,\n"


class Importer:
    """Writes a CSV file and imports it."""

    def __init__(self, run: Run, configs: Path, store_url: str, folder: Path) -> None:
        self.run, self.configs, self.store_url, self.folder = run, configs, store_url, folder
        open_store(store_url).close()  # so that a refused file can be seen to have left it empty

    def __call__(self, kind: str, content: str | bytes, *options: str) -> Result:
        path = self.folder / f"{kind}.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self.run("import", kind, path, "--configs", self.configs, "--store", self.store_url, *options)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(self.store_url.removeprefix("sqlite:///")) as connection:
            found = connection.execute(query).fetchall()
        connection.close()
        return found


@pytest.fixture
def csv(run: Run, write_configs: WriteConfigs, store_url: str, tmp_path: Path) -> Importer:
    return Importer(run, write_configs(), store_url, tmp_path)


def test_exposures_and_orders_are_imported_once(csv: Importer) -> None:
    """Money in minor units, times in milliseconds, attributes from their columns, epochs opened; again changes nothing."""
    assert csv("exposures", EXPOSURES).output.endswith("2 rows of exposures imported, 0 stored already, 0 bad.\n")
    first = csv("orders", ORDERS)
    assert (
        first.output
        == "Columns not used: note.\n2 rows of orders imported, 0 stored already, 0 bad.\nOf these orders: 1 without a visitor or customer.\n"
    )
    assert "0 rows of orders imported, 2 stored already, 0 bad.\n" in csv("orders", ORDERS).output
    assert csv.rows("SELECT unit_id, variant, epoch, exposed_at_ms, attributes FROM exposures") == [
        ("v1", "control", 1, 1777629600000, '{"device": "mobile"}'), ("v2", "offer", 1, 1777633200000, "{}"),
    ]  # fmt: skip
    columns = "order_id, unit_id, gross_minor, discount_minor, cost_minor, currency, source, verified"
    assert csv.rows(f"SELECT {columns} FROM orders") == [
        ("o1", "v1", 1999, 100, 750, "USD", "csv", 1), ("o2", None, 500, 0, None, "USD", "csv", 1),
    ]  # fmt: skip
    assert csv.rows("SELECT experiment, epoch FROM epochs") == [("ab", 1)]


def test_interactions_are_imported(csv: Importer) -> None:
    """With the event's own id."""
    text = (
        "event_id,kind,experiment,variant,unit_id,occurred_at,value\ne1,click,ab,offer,v1,2026-05-01T10:00:00Z,9.90\n"
    )
    assert "1 row of interactions imported" in csv("interactions", text).output
    assert csv.rows("SELECT kind, value_minor FROM interactions") == [("click", 990)]


BAD = (
    ORDERS
    + 'o3,v3,2026-05-02T10:00:00Z,"1,99",,,\n'
    + 'o4,v4,2026-05-02T10:00:00Z,7,,,"two\nlines"\n'
    + "o5,v5,soon,7,,,\n"
)


def test_one_bad_row_stops_the_whole_import(csv: Importer) -> None:
    """Exit code 1, the lines of the bad rows, and nothing written."""
    result = csv("orders", BAD)
    assert result.exit_code == 1
    assert "orders.csv:4: gross: found `1,99`; wanted an amount" in result.output
    assert "orders.csv:7: ordered_at: must be a time such as 2026-05-01T12:00:00Z, got `soon`" in result.output
    assert "2 bad rows: nothing was imported." in result.output
    assert csv.rows("SELECT COUNT(*) FROM orders") == [(0,)]


def test_bad_rows_are_skipped_when_asked(csv: Importer) -> None:
    """The rest is imported, and the skipped lines are said."""
    result = csv("orders", BAD, "--skip-bad-rows")
    assert (result.exit_code, "3 rows of orders imported, 0 stored already, 2 bad." in result.output) == (0, True)
    assert "orders.csv:7: ordered_at" in result.output
    assert csv.rows("SELECT COUNT(*) FROM orders") == [(3,)]


@pytest.mark.parametrize(
    ("kind", "content", "exit_code", "message"),
    [
        ("orders", "", 2, "must have a header and rows, got an empty file"),
        ("orders", "order_id;ordered_at;gross\n", 2, "columns must be separated by commas, got semicolons"),
        ("orders", "order_id,ordered_at\no1,2026-05-01\n", 2, "must have the columns order_id, ordered_at, gross, or those of an order export of Shopify's or WooCommerce's; missing: gross; got order_id, ordered_at"),
        ("orders", 'order_id,ordered_at,gross,"note"x\no1,2026-05-01,1,a\n', 2, "orders.csv:1: the header must be column names, got text that is not CSV"),
        ("orders", 'order_id,ordered_at,gross,"note\no1,2026-05-01,1,a\n', 2, "orders.csv:1: the header must be column names, got text that is not CSV"),
        ("orders", "order_id,ordered_at,gross,gross\n", 2, "each column must be there once, got 'gross' twice"),
        ("orders", "order_id,ordered_at,gross,gross_minor\no1,2026-05-01,1,100\n", 1, "gross_minor: must have one spelling"),
        ("orders", 'order_id,ordered_at,gross\no1,2026-05-01,1\n"o2"x,2026-05-01,1\no3,2026-05-01,1\n', 2, "orders.csv:3: must be a row of CSV; check its quotes"),
        ("orders", 'order_id,ordered_at,gross\no1,2026-05-01,1\n"o2,2026-05-01,1\n', 2, "orders.csv:3: must be a row of CSV; check its quotes"),
        ("orders", "order_id,ordered_at,gross\no1,2099-05-01,1\n", 1, "ordered_at: may be at most five minutes in the future"),
        ("orders", "order_id,ordered_at,gross_minor\no1,2026-05-01,19.00\n", 1, "gross_minor: found `19.00`; wanted a whole number"),
        ("exposures", EXPOSURES.replace(".device", "").replace("mobile", '"{""a"": NaN}"'), 1, "attributes: must be a JSON object of text and numbers, got "),
        ("orders", "order_id,ordered_at,gross\no1,2026-05-01T00:00Z\n", 1, "orders.csv:2: must have 3 cells, as the header has, got 2"),
        ("orders", "order_id,ordered_at,gross\no1,2026-05-01T00:00Z,1,2\n", 1, "orders.csv:2: must have 3 cells, as the header has, got 4"),
        ("orders", "order_id,ordered_at,gross,currency\no1,2026-05-01T00:00Z,1,EUR\n", 1, "currency: must be USD, the shop's, or one of orders.rates in shop.yaml, got EUR"),
        ("orders", b"order_id,ordered_at,gross\no1,2026-05-01T00:00Z,1\n\xe9,2026-05-01T00:00Z,1\n", 2, "orders.csv:3: must be UTF-8 text, got the byte 0xe9"),
        ("exposures", EXPOSURES.replace("ab,", "zz,"), 1, "experiment: must be one of ab, got `zz`"),
        ("exposures", EXPOSURES.replace("offer", "offr"), 1, "exposures.csv:3: variant: must be one of control, offer, got `offr`"),
        ("exposures", EXPOSURES.replace(".device", "").replace("mobile", "{not json"), 1, "attributes: must be a JSON object of text and numbers, got `{not json`"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_imported_says_why(
    csv: Importer, kind: str, content: str | bytes, exit_code: int, message: str
) -> None:
    """Columns, cells, currency, encoding, experiment: each with its line, and nothing written."""
    result = csv(kind, content)
    assert result.exit_code == exit_code
    assert message in result.output + str(result.exception)
    assert csv.rows("SELECT COUNT(*) FROM orders") == csv.rows("SELECT COUNT(*) FROM exposures") == [(0,)]


def test_spreadsheets_write_marks_and_carriage_returns(csv: Importer) -> None:
    """A byte-order mark and CRLF are no part of a column's name."""
    content = "\ufeff" + ORDERS.replace("\n", "\r\n")
    assert "2 rows of orders imported" in csv("orders", content).output


def test_a_missing_file_is_wrong_use(csv: Importer, tmp_path: Path) -> None:
    """Exit code 2, one line."""
    result = csv.run("import", "orders", tmp_path / "none.csv", "--configs", csv.configs, "--store", csv.store_url)
    assert (result.exit_code, "must be a CSV file, got no such file" in str(result.exception)) == (2, True)


@pytest.mark.parametrize("broken", ['"o2"x,2026-05-01,1\n', "\u00e9,2026-05-01,1\n"])
def test_a_file_that_breaks_off_is_not_imported_in_part(csv: Importer, broken: str) -> None:
    """Rows that cannot be told apart are not skipped rows: nothing is written, whatever was asked."""
    content = ("order_id,ordered_at,gross\n" + "".join(f"a{n},2026-05-01,1\n" for n in range(6000)) + broken).encode(
        "latin-1"
    )
    assert csv("orders", content, "--skip-bad-rows").exit_code == 2
    assert csv.rows("SELECT COUNT(*) FROM orders") == [(0,)]


def test_a_pipe_is_refused(csv: Importer) -> None:
    """A file is read twice, so that nothing is half-imported."""
    result = csv.run("import", "orders", "/dev/null", "--configs", csv.configs, "--store", csv.store_url)
    assert (result.exit_code, "read twice" in str(result.exception)) == (2, True)


def test_drafts_have_no_history(csv: Importer) -> None:
    """Nobody was ever exposed to one."""
    path = csv.configs / "experiments" / "ab.yaml"
    path.write_text(path.read_text().replace("status: running", "status: draft"))
    assert "must have run, got `ab`, which is a draft" in csv("exposures", EXPOSURES).output
