"""
Apache Spark over the lake that `crosslift export` writes: one application on a standalone cluster for each connection.

The driver is a Java process, which ends with the connection. What it prints goes to a file, not to the terminal.
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
ANSWER_S = 40.0  # within which a cluster takes an application and does its first task


@contextmanager
def connected(store: SparkUrl) -> Iterator[Any]:
    """
    Run an application on a cluster, with a view of every table of the lake; give its Ibis backend.

    Raises:
        StoreError: There is no lake, no cluster that does anything, no Java or no PySpark.
    """
    if store.folder is not None and not (store.folder / MANIFEST).is_file():
        raise StoreError(f"--store: found no {MANIFEST} in {store.folder}; wanted a lake that `crosslift export` wrote")
    try:
        import ibis.backends.pyspark
    except ImportError as error:
        raise missing_extra("Spark", "spark", error) from None
    _refuse_unreachable(store)
    with tempfile.TemporaryDirectory(prefix="crosslift-spark-") as folder, _session(store, Path(folder)) as session:
        _show_tables(session, store)
        yield ibis.pyspark.connect(session)


def materialise(backend: Any, query: str, name: str) -> None:
    """Keep a query's rows on the workers, in memory as far as it goes, under a name."""
    backend.raw_sql(query).cache().createOrReplaceTempView(name)


def fetch(backend: Any, query: str) -> list[Any]:
    """
    Run a query, and give its rows.

    Raises:
        StoreError: The cluster gave up.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        return _collect(backend.raw_sql(query))
    except (PySparkException, Py4JError) as error:
        raise StoreError(f"--store: Spark gave up: {_first_line(error)}") from None


def _collect(frame: "DataFrame") -> list[Any]:
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # PySpark leaves sockets to be collected
        return list(frame.collect())


def _refuse_unreachable(store: SparkUrl) -> None:
    """Spark itself would go on trying for a minute."""
    try:
        socket.create_connection((store.host, store.port), timeout=5).close()
    except (OSError, OverflowError) as error:
        found = f"found nothing that answers at {store.host}:{store.port} ({error})"
        raise StoreError(f"--store: {found}; wanted the master of a Spark cluster") from None


def _settings(store: SparkUrl, folder: Path) -> "SparkConf":
    from pyspark import SparkConf

    settings = {
        "spark.master": f"spark://{store.host}:{store.port}",
        "spark.app.name": "crosslift",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.warehouse.dir": f"file://{folder}/warehouse",  # else a folder appears where the command is run
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",
        # What is kept goes into as few parts as its size asks for: else every query has 200 tasks over it.
        "spark.sql.optimizer.canChangeCachedPlanOutputPartitioning": "true",
        # The driver plans, and ends with the report: a better compiler would cost it twice the time.
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
        deadline = threading.Timer(ANSWER_S, gateway.proc.kill)  # there is no other way to interrupt what waits
        deadline.start()
        interrupted = signal.getsignal(signal.SIGINT)
        try:
            session = SparkSession(SparkContext(conf=settings, gateway=gateway))
            _collect(session.range(1))
        except (PySparkException, Py4JError, OSError) as error:
            told = _last_words(log) or _first_line(error)
            found = f"found no cluster at {store.host}:{store.port} that takes work ({told})"
            raise StoreError(f"--store: {found}; wanted a master with a worker that is free, of Spark 4.0") from None
        finally:
            deadline.cancel()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, interrupted)  # Spark's own handler outlives it, and fails then
        try:
            yield session
        finally:
            with warnings.catch_warnings(action="ignore"):  # that the driver is gone already
                session.stop()


@contextmanager
def _driver(settings: "SparkConf", log: Path) -> Iterator[Any]:
    """Start Java, and end it."""
    from pyspark import SparkContext
    from pyspark.errors import PySparkRuntimeError
    from pyspark.java_gateway import launch_gateway

    if SparkContext._gateway is not None:
        raise StoreError("--store: found another Spark application in this process; wanted one at a time")
    try:
        with log.open("wb") as output:
            gateway = launch_gateway(settings, {"stdout": output, "stderr": output})  # type: ignore[no-untyped-call]
    except PySparkRuntimeError as error:
        told = _last_words(log) or _first_line(error)
        raise StoreError(f"--store: found no Java that runs Spark ({told}); wanted Java 17 or newer") from None
    try:
        yield gateway
    finally:
        gateway.shutdown()
        gateway.proc.stdin.close()  # which the driver ends with
        try:
            gateway.proc.wait(20)
        except subprocess.TimeoutExpired:
            gateway.proc.kill()
            gateway.proc.wait()
        SparkContext._gateway = SparkContext._jvm = None


def _show_tables(session: "SparkSession", store: SparkUrl) -> None:
    """Make a view of every table's files, or of no rows where it has none."""
    if not _has(session, store, MANIFEST):
        raise StoreError(f"--store: found no {MANIFEST} in {store.lake}; wanted a lake that `crosslift export` wrote")
    for name, table in TABLES.items():
        columns = {column.name: SQL_TYPES[column.kind] for column in table.columns}
        if _has(session, store, name):
            read = session.read.schema(", ".join(f"{one} {kind}" for one, kind in columns.items()))
            rows = read.option("recursiveFileLookup", True).parquet(_path(store, name))
        elif name == "repeats":
            rows = session.sql(REPEATS)
        else:
            rows = session.range(0).selectExpr(*(f"CAST(NULL AS {kind}) AS {one}" for one, kind in columns.items()))
        rows.createOrReplaceTempView(name)


def _has(session: "SparkSession", store: SparkUrl, name: str) -> bool:
    """Tell whether a lake has a file or folder, wherever the lake is."""
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
    """Return where Spark finds a part of the lake; characters that would match others stand for themselves."""
    root = store.lake.rstrip("/") if store.folder is None else f"file://{store.folder}"
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", f"{root}/{name}")


def _first_line(error: object) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _last_words(log: Path) -> str:
    """Give the first error that a driver printed, or else its last warning, or else its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors, warned = ([line for line in lines if f" {level} " in line] for level in ("ERROR", "WARN"))
    told = [*lines[-1:], *warned[-1:], *errors[:1]]
    return re.sub(r"^[\d/: ]+", "", told[-1]) if told else ""
