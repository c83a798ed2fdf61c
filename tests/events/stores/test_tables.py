"""The declarations of tables and columns."""

from events.records import KINDS
from events.stores.record_rows import RECORD_TABLES
from events.stores.tables import EXPOSURES, ORDERS, REFUNDS, TABLES


def test_types_come_from_the_records_annotations() -> None:
    """Truth values are integers, attributes are JSON text, optional fields may be null."""
    columns = {column.name: column for table in (EXPOSURES, ORDERS, REFUNDS) for column in table.columns}
    assert (columns["bot"].kind, columns["attributes"].kind) == ("integer", "text")
    assert (columns["units"].kind, columns["source"].kind) == ("integer", "text")
    optional = {name for name, column in columns.items() if column.nullable}
    ids = {"unit_id", "customer_id", "company_id"}
    assert optional == {*ids, "cost_minor", "excluded", "paid_minor", "discrepancy_minor"}


def test_every_field_of_a_record_is_a_column() -> None:
    """But for an order's lines, which have a table of their own."""
    for name, record in KINDS.items():
        (table,) = (table for table in TABLES if table.name == name)
        assert set(record.model_fields) - {"lines"} <= set(table.names)


def test_rows_have_a_value_for_every_column_and_begin_with_the_key() -> None:
    """An order's refunded_minor alone is computed by the store."""
    for records in RECORD_TABLES.values():
        assert set(records.table.names) - set(records.columns) <= {"refunded_minor"}
        assert records.key_of(records.columns) == records.table.key
