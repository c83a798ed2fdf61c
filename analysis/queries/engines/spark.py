"""
Apache Spark on the lake that `crosslift export` writes: each connection is one application on a standalone cluster.

The driver is a Java process that ends with the connection. Its output goes to a file, not to the terminal.
"""

import ipaddress
import re
import signal
import socket
import subprocess
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from events.lake import MANIFEST, REPEATS, TABLES
from events.stores.urls import SparkUrl, missing_extra
from experiments.errors import StoreError

if TYPE_CHECKING:
    from pyspark import SparkConf
    from pyspark.sql import DataFrame, SparkSession

SQL_TYPES = {"integer": "BIGINT", "text": "STRING"}
ANSWER_S = 40.0  # limit for a cluster to accept an application and finish its first task


@contextmanager
def connected(store: SparkUrl) -> Iterator[Any]:
    """
    Run an application on a cluster, with a view of every table of the lake, and yield its Ibis backend.

    Raises:
        StoreError: There is no lake, no working cluster, no Java or no PySpark.
    """
    if store.folder is not None and not (store.folder / MANIFEST).is_file():
        raise StoreError(f"--store: {store.folder} must be a lake that `crosslift export` wrote, but has no {MANIFEST}")
    try:
        import ibis.backends.pyspark
    except ImportError as error:
        raise missing_extra("Spark", "spark", error) from None
    _refuse_unreachable(store)
    with tempfile.TemporaryDirectory(prefix="crosslift-spark-") as folder, _session(store, Path(folder)) as session:
        _create_views(session, store)
        yield ibis.pyspark.connect(session)


def materialise(backend: Any, query: str, name: str) -> None:
    """Cache the rows of a query on the workers, in memory as far as possible, as a view."""
    backend.raw_sql(query).cache().createOrReplaceTempView(name)


def fetch(backend: Any, query: str) -> list[Any]:
    """
    Run a query, and return its rows.

    Raises:
        StoreError: The query failed.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        return _collect(backend.raw_sql(query))
    except (PySparkException, Py4JError) as error:
        raise StoreError(f"--store: the query failed in Spark: {_first_line(error)}") from None


def _collect(frame: "DataFrame") -> list[Any]:
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # PySpark does not close its sockets
        return list(frame.collect())


def _refuse_unreachable(store: SparkUrl) -> None:
    """Check that the master answers: Spark itself tries for a minute."""
    try:
        socket.create_connection((store.host, store.port), timeout=5).close()
    except (OSError, OverflowError) as error:
        address = f"{store.host}:{store.port}"
        raise StoreError(
            f"--store: must name the master of a Spark cluster, but {address} does not answer: {error}"
        ) from None


def _settings(store: SparkUrl, folder: Path) -> "SparkConf":
    from pyspark import SparkConf

    settings = {
        "spark.master": f"spark://{store.host}:{store.port}",
        "spark.app.name": "crosslift",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.warehouse.dir": f"file://{folder}/warehouse",  # else Spark makes a folder in the working directory
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        # Cached rows get as few partitions as their size needs: else every query runs 200 tasks on them.
        "spark.sql.optimizer.canChangeCachedPlanOutputPartitioning": "true",
        # The driver only plans, and ends with the report: the optimizing compiler would double its time.
        "spark.driver.defaultJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }
    if ipaddress.ip_address(socket.gethostbyname(store.host)).is_loopback:
        settings |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    return SparkConf(loadDefaults=False).setAll(list(settings.items()))


@contextmanager
def _session(store: SparkUrl, folder: Path) -> Iterator["SparkSession"]:
    """Start a driver and its application, and end both."""
    from py4j.protocol import Py4JError
    from pyspark import SparkContext
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    settings, log = _settings(store, folder), folder / "driver.log"
    with _driver(settings, log) as gateway:
        deadline = threading.Timer(ANSWER_S, gateway.proc.kill)  # nothing else interrupts a waiting driver
        deadline.start()
        interrupted = signal.getsignal(signal.SIGINT)
        try:
            session = SparkSession(SparkContext(conf=settings, gateway=gateway))
            _collect(session.range(1))
        except (PySparkException, Py4JError, OSError) as error:
            cause = _logged_error(log) or _first_line(error)
            needed = f"{store.host}:{store.port} must be the master of a Spark 4.0 cluster with a free worker"
            raise StoreError(f"--store: {needed}, but the application did not start: {cause}") from None
        finally:
            deadline.cancel()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, interrupted)  # Spark's own handler stays after its end, and would fail
        try:
            yield session
        finally:
            with warnings.catch_warnings(action="ignore"):  # the driver may have ended
                session.stop()


@contextmanager
def _driver(settings: "SparkConf", log: Path) -> Iterator[Any]:
    """Start Java, and end it."""
    from pyspark import SparkContext
    from pyspark.errors import PySparkRuntimeError
    from pyspark.java_gateway import launch_gateway

    if SparkContext._gateway is not None:
        raise StoreError("--store: this process already runs a Spark application; run one at a time")
    try:
        with log.open("wb") as output:
            gateway = launch_gateway(settings, {"stdout": output, "stderr": output})  # type: ignore[no-untyped-call]
    except PySparkRuntimeError as error:
        cause = _logged_error(log) or _first_line(error)
        raise StoreError(f"--store: Spark needs Java 17 or newer, but it did not start: {cause}") from None
    try:
        yield gateway
    finally:
        gateway.shutdown()
        gateway.proc.stdin.close()  # the driver ends with its input
        try:
            gateway.proc.wait(20)
        except subprocess.TimeoutExpired:
            gateway.proc.kill()
            gateway.proc.wait()
        SparkContext._gateway = SparkContext._jvm = None


def _create_views(session: "SparkSession", store: SparkUrl) -> None:
    """Create a view of the files of every table, without rows for a table without files."""
    if not _has(session, store, MANIFEST):
        raise StoreError(f"--store: {store.lake} must be a lake that `crosslift export` wrote, but has no {MANIFEST}")
    for name, table in TABLES.items():
        columns = {column.name: SQL_TYPES[column.kind] for column in table.columns}
        if _has(session, store, name):
            read = session.read.schema(", ".join(f"{column} {kind}" for column, kind in columns.items()))
            rows = read.option("recursiveFileLookup", True).parquet(_path(store, name))
        elif name == "repeats":
            rows = session.sql(REPEATS)
        else:
            rows = session.range(0).selectExpr(
                *(f"CAST(NULL AS {kind}) AS {column}" for column, kind in columns.items())
            )
        rows.createOrReplaceTempView(name)


def _has(session: "SparkSession", store: SparkUrl, name: str) -> bool:
    """Check whether a lake has a file or folder, on any file system."""
    from py4j.protocol import Py4JError
    from pyspark.errors import AnalysisException, PySparkException

    try:
        session.read.text(_path(store, name))
    except AnalysisException as error:
        if error.getCondition() == "PATH_NOT_FOUND":
            return False
        raise StoreError(f"--store: Spark cannot read {store.lake}: {_first_line(error)}") from None
    except (PySparkException, Py4JError) as error:
        raise StoreError(f"--store: Spark cannot read {store.lake}: {_first_line(error)}") from None
    return True


def _path(store: SparkUrl, name: str) -> str:
    """Return the path of a part of the lake for Spark, with wildcards escaped."""
    root = store.lake.rstrip("/") if store.folder is None else f"file://{store.folder}"
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", f"{root}/{name}")


def _first_line(error: object) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _logged_error(log: Path) -> str:
    """Return the first error in a driver's log, or else its last warning, or else its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors, cautions = ([line for line in lines if f" {level} " in line] for level in ("ERROR", "WARN"))
    candidates = [*lines[-1:], *cautions[-1:], *errors[:1]]
    return re.sub(r"^[\d/: ]+", "", candidates[-1]) if candidates else ""
