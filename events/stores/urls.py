"""URLs of stores: one parser, and one set of messages, for writers and readers of events."""

import re
from dataclasses import dataclass
from pathlib import Path

from experiments.errors import StoreError

DEFAULT = "sqlite:///crosslift.db"
WRITABLE = "sqlite:///FILE or postgresql://USER@HOST/DATABASE"
READABLE = (
    "sqlite:///FILE, postgresql://USER@HOST/DATABASE, parquet:DIR, spark://HOST:PORT?lake=DIR"
    " or another URL that Ibis supports"
)


@dataclass(frozen=True, slots=True)
class SqliteUrl:
    """`sqlite:///relative.db` or `sqlite:////absolute/path.db`: the embedded store."""

    text: str
    path: Path

    @property
    def label(self) -> str:
        """Return the file's name."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """`postgresql://USER:PASSWORD@HOST/DATABASE`: the store for several servers."""

    text: str

    @property
    def label(self) -> str:
        """Return the URL without its password."""
        return re.sub(r"(//[^/@:]*):[^/@]*@", r"\1@", re.sub(r"([?&])password=[^&]*", r"\1", self.text))


@dataclass(frozen=True, slots=True)
class LakeUrl:
    """`parquet:DIR`: a lake that `crosslift export` wrote, read by DuckDB."""

    text: str
    folder: Path

    @property
    def label(self) -> str:
        """Return the folder's name."""
        return str(self.folder)


@dataclass(frozen=True, slots=True)
class SparkUrl:
    """
    `spark://HOST:PORT?lake=DIR`: a lake, read by a cluster of Apache Spark.

    Attributes:
        host, port: The cluster's master.
        lake: A folder that all machines of the cluster see at the same path, or a URL that Spark can read, such as `s3a://...`.
    """

    text: str
    host: str
    port: int
    lake: str

    @property
    def label(self) -> str:
        """Return the URL, which holds no password."""
        return self.text

    @property
    def folder(self) -> Path | None:
        """Return the lake's folder; None where the lake is a URL."""
        return None if "://" in self.lake else Path(self.lake).resolve()


@dataclass(frozen=True, slots=True)
class OtherUrl:
    """Any other URL: perhaps an engine that Ibis supports, which only the analysis knows."""

    text: str
    scheme: str

    @property
    def label(self) -> str:
        """Return the URL without user, password and options."""
        return f"{self.scheme}://{self.text.partition('://')[2].partition('?')[0].rpartition('@')[2]}"


StoreUrl = SqliteUrl | PostgresUrl | LakeUrl | SparkUrl | OtherUrl


def parse_store_url(text: str) -> StoreUrl:
    """
    Parse the URL of a store or of a lake.

    Raises:
        StoreError: The text is no URL of a store.
    """
    scheme, _, rest = text.partition(":")
    if scheme == "sqlite" and rest.startswith("///") and len(rest) > len("///"):
        return SqliteUrl(text, Path(rest.removeprefix("///")))
    if scheme in ("postgresql", "postgres") and rest.startswith("//"):
        return PostgresUrl(text)
    if scheme == "parquet" and rest:
        return LakeUrl(text, Path(rest))
    if scheme == "spark":
        return _parse_spark(text)
    if scheme not in ("sqlite", "postgresql", "postgres", "parquet") and rest.startswith("//") and len(rest) > 2:
        return OtherUrl(text, scheme)
    raise wrong_url(text, READABLE)


def _parse_spark(text: str) -> SparkUrl:
    match = re.fullmatch(r"spark://([^/?#@:]+):(\d{1,5})/?\?lake=(.+)", text)
    if match is None:
        raise wrong_url(re.sub("//[^/]*@", "//", text), "spark://HOST:PORT?lake=DIR")
    return SparkUrl(text, match[1], int(match[2]), match[3])


def wrong_url(label: str, expected: str) -> StoreError:
    """Return the error for a URL of the wrong form."""
    return StoreError(f"--store: must be {expected}, got {label!r}")


def missing_extra(name: str, extra: str, error: ImportError) -> StoreError:
    """Return the error for an engine whose package is not installed."""
    return StoreError(f"--store: {name} needs the extra: pip install 'crosslift[{extra}]' ({error})")


def require_store(text: str) -> StoreUrl:
    """
    Parse the URL of a store that exists already.

    Raises:
        StoreError: The text is no URL of a store, or the file does not exist.
    """
    url = parse_store_url(text)
    if isinstance(url, SqliteUrl) and not url.path.is_file():
        raise StoreError(f"--store: must be a store that exists, got no file {url.path}")
    return url


def store_exists(text: str) -> bool:
    """Return False where the URL names a file of SQLite that does not exist; servers are not asked."""
    url = parse_store_url(text)
    return not isinstance(url, SqliteUrl) or url.path.is_file()
