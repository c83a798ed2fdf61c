"""A real Spark cluster for tests: a standalone master and its workers as processes, from the PyPI package, on free ports of this machine."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

START_S = 60
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # starting takes longer than all that the tests do


def java() -> str | None:
    """Find Java where Spark looks for it."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")


def missing_part() -> str | None:
    """Return what is not installed here and a cluster needs, or None."""
    if find_spec("pyspark") is None:
        return "pyspark is not installed: pip install 'crosslift[spark]'"
    return None if java() else "Java is not installed; `make test` installs it"


class SparkCluster:
    """
    A master and its workers.

    Attributes:
        folder: Where they write; its folder `conf` is a SPARK_CONF_DIR with which applications start quickly.
        processes: The master, then the workers.
        master: The URL of the master.
    """

    def __init__(self, workers: int = 2, cores: int = 1, memory: str = "1g") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="crosslift-spark-"))
        (self.folder / "conf").mkdir()
        settings = f"spark.executor.extraJavaOptions {QUICK}\nspark.executor.memory 600m\n"
        (self.folder / "conf" / "spark-defaults.conf").write_text(settings, encoding="utf-8")
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            self._start("master.Master")
            self.master = self._wait(0, r"Starting Spark master at (spark://\S+)")[1]
            share = ["--cores", str(cores), "--memory", memory, "--work-dir", str(self.folder / "work"), self.master]
            for _ in range(workers):
                self._start("worker.Worker", *share)
            for number in range(1, workers + 1):
                self._wait(number, "Successfully registered with master")
        except BaseException:
            self.remove()
            raise

    def _start(self, program: str, *arguments: str) -> None:
        """Start a process on loopback, its web page too; it ends when this process ends, even by a signal."""
        import pyspark

        home = Path(pyspark.__file__).parent
        addresses = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
        classes = ["-cp", f"{home / 'jars'}/*", f"org.apache.spark.deploy.{program}"]
        with self._log(len(self.processes)).open("wb") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", str(java()), *QUICK.split(), "-Xmx256m", *classes, *addresses, *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env=os.environ | {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_HOME": str(home), "SPARK_SCALA_VERSION": "2.13"},
            )  # fmt: skip
        self.processes.append(process)

    def _log(self, number: int) -> Path:
        return self.folder / f"{number}.log"

    def _wait(self, number: int, pattern: str) -> re.Match[str]:
        """Wait until the log of a process matches a pattern."""
        log = ""
        for _ in range(START_S * 20):
            log = self._log(number).read_text(encoding="utf-8", errors="replace")
            match = re.search(pattern, log)
            if match:
                return match
            if self.processes[number].poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"Spark did not start: {log[-2000:]}")

    def url(self, lake: Path) -> str:
        """Return the store's URL for a lake."""
        return f"{self.master}?lake={lake}"

    def remove(self) -> None:
        """Stop all processes, executors too, and delete the folder."""
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
