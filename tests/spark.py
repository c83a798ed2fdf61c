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


def lacking() -> str | None:
    """Say what a cluster lacks here."""
    if find_spec("pyspark") is None:
        return "pyspark is not installed: pip install 'crosslift[spark]'"
    if not shutil.which("java") and "JAVA_HOME" not in os.environ:
        return "Java is not installed; `make test` installs it"
    return None


class SparkCluster:
    """
    A master and its workers.

    Attributes:
        processes: The master, and then the workers.
    """

    def __init__(self, workers: int = 2, cores: int = 1, memory: str = "1g") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="crosslift-spark-"))
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            self.master = self._start("master.Master", r"Starting Spark master at (spark://\S+)")
            share = ["--cores", str(cores), "--memory", memory, "--work-dir", str(self.folder / "work"), self.master]
            for _ in range(workers):
                self._start("worker.Worker", "Successfully registered with master", *share)
        except BaseException:
            self.remove()
            raise

    def _start(self, program: str, ready: str, *arguments: str) -> str:
        """Start a part, and give what it says when it is ready."""
        import pyspark

        home = Path(pyspark.__file__).parent
        log = self.folder / f"{len(self.processes)}.log"
        # On loopback with its web page too; and it ends with who started it, however that ends.
        environment = os.environ | {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m", "SPARK_HOME": str(home)}
        command = ["setpriv", "--pdeathsig", "TERM", str(home / "bin" / "spark-class")]
        place = ["--host", "127.0.0.1", "--port", "0", "--webui-port", "0"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, f"org.apache.spark.deploy.{program}", *place, *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        for _ in range(START_S * 10):
            found = re.search(ready, log.read_text(encoding="utf-8", errors="replace"))
            if found:
                return found[found.re.groups]
            if process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError(f"{program} did not start: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")

    def url(self, lake: Path) -> str:
        """Give the store's URL of a lake."""
        return f"{self.master}?lake={lake}"

    def remove(self) -> None:
        """End what was started, executors too, and delete its folder."""
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
