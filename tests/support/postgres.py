"""A real PostgreSQL server for tests, from the system's own binaries, on a free port of this machine."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Literal

import psycopg


def binaries() -> Path | None:
    """Find the server's programs: in the PATH, or where Debian installs them."""
    program = shutil.which("initdb")
    if program:
        return Path(program).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


class PostgresServer:
    """One cluster in a folder of its own; PostgreSQL refuses to run as root, so root starts it as the user `postgres`."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._user: list[str] = []
        self.folder = Path(tempfile.mkdtemp(prefix="crosslift-pg-"))
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
            self._user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._run("initdb", "--auth=trust", "--no-sync", "--username=crosslift", "--encoding=UTF8", "--locale=C.UTF-8")
        self._databases = 0

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._user, str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "start", "--wait", "-l", str(self.folder / "log"), "-o", options)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server; `immediate` leaves what a crash leaves."""
        self._run("pg_ctl", "stop", "--wait", "-m", mode)

    def new_database(self) -> str:
        """Create a database and return its URL."""
        self._databases += 1
        name = f"crosslift_{self._databases}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql://crosslift@127.0.0.1:{self.port}/{database}"

    def remove(self) -> None:
        """Stop the server if it runs, and delete its folder."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)
