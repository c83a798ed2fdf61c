"""One parser of the URLs of stores."""

from pathlib import Path

import pytest

from events.stores.urls import (
    LakeUrl,
    OtherUrl,
    PostgresUrl,
    SparkUrl,
    SqliteUrl,
    parse_store_url,
    require_store,
    store_exists,
)
from experiments import StoreError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sqlite:///crosslift.db", SqliteUrl("sqlite:///crosslift.db", Path("crosslift.db"))),
        ("sqlite:////var/shop.db", SqliteUrl("sqlite:////var/shop.db", Path("/var/shop.db"))),
        ("postgresql://u@h/d", PostgresUrl("postgresql://u@h/d")),
        ("postgres://u@h/d", PostgresUrl("postgres://u@h/d")),
        ("parquet:lake", LakeUrl("parquet:lake", Path("lake"))),
        ("spark://h:7077?lake=/a", SparkUrl("spark://h:7077?lake=/a", "h", 7077, "/a")),
        ("spark://h:7077/?lake=s3a://b/l", SparkUrl("spark://h:7077/?lake=s3a://b/l", "h", 7077, "s3a://b/l")),
        ("bigquery://project/set", OtherUrl("bigquery://project/set", "bigquery")),
    ],
)
def test_each_kind_of_url_is_parsed(text: str, expected: object) -> None:
    """Into what it names."""
    assert parse_store_url(text) == expected


@pytest.mark.parametrize(
    "text", ["", "crosslift.db", "sqlite:///", "sqlite://x.db", "parquet:", "postgresql:", "mysql://", "spark://h"]
)
def test_other_text_is_refused_with_the_forms_that_exist(text: str) -> None:
    """One message for every command."""
    with pytest.raises(StoreError, match=f"^--store: must be .*, got {text!r}$"):
        parse_store_url(text)


def test_a_url_is_shown_without_its_secrets() -> None:
    """Users and passwords of other engines, passwords of PostgreSQL."""
    assert parse_store_url("postgresql://me:hidden@h/d?password=hidden&a=1").label == "postgresql://me@h/d?&a=1"
    assert parse_store_url("clickhouse://me:hidden@h/d?token=hidden").label == "clickhouse://h/d"
    with pytest.raises(StoreError, match="got 'spark://h:7077'"):
        parse_store_url("spark://me:hidden@h:7077")


def test_a_lake_on_a_cluster_is_a_folder_or_a_url() -> None:
    """Only a folder can be looked into."""
    assert parse_store_url("spark://h:1?lake=a").folder == Path("a").resolve()  # type: ignore[union-attr]
    assert parse_store_url("spark://h:1?lake=s3a://a").folder is None  # type: ignore[union-attr]


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    """A server may exist: only opening it shows."""
    url = f"sqlite:///{tmp_path / 'events.db'}"
    assert (store_exists(url), store_exists("postgresql://h/d")) == (False, True)
    with pytest.raises(StoreError, match="must be a store that exists, got no file"):
        require_store(url)
    (tmp_path / "events.db").touch()
    assert store_exists(url)
    assert require_store(url) == parse_store_url(url)
