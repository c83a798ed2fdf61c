"""The public names of `import crosslift`, and what happens where packages of the user have the names of ours."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import assert_type

import pytest

import crosslift
from analysis import Lift, Moments
from experiments import Configs
from tests.conftest import ROOT

NAMES = ["Moments", "analyze", "assign", "create_app", "lift", "load", "open_store", "report"]
SCRIPT = Path(sysconfig.get_path("scripts")) / "crosslift"


def run_python(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code as from a file of a folder: the folder comes first where Python looks for packages."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )  # fmt: skip


def test_the_public_names_are_these() -> None:
    """Users hold on to them."""
    assert crosslift.__all__ == NAMES
    assert set(NAMES) <= set(dir(crosslift))


def test_the_public_names_are_those_of_the_rooms() -> None:
    """`crosslift.report` is the function of the room, not its wing of reports."""
    import analysis
    import events
    import experiments
    import server

    rooms = {"assign": experiments, "load": experiments, "open_store": events, "create_app": server}
    for name in NAMES:
        assert getattr(crosslift, name) is getattr(rooms.get(name, analysis), name)
        assert callable(getattr(crosslift, name))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="module 'crosslift' has no attribute 'reports'"):
        _ = crosslift.reports


def test_import_crosslift_imports_no_room(tmp_path: Path) -> None:
    """Each name imports only the rooms that it needs."""
    rooms = "sorted({name.split('.')[0] for name in sys.modules} & set(crosslift._ROOMS))"
    done = run_python(tmp_path, f"import sys, crosslift; print({rooms}); crosslift.load; print({rooms})")
    assert (done.stderr, done.stdout.splitlines()) == ("", ["[]", "['experiments']"])


@pytest.mark.parametrize("file", ["analysis/__init__.py", "analysis.py"])
def test_a_package_that_hides_ours_is_named(tmp_path: Path, file: str) -> None:
    """The error says which one it is and what to do; nothing of it is run."""
    other = tmp_path / file
    other.parent.mkdir(exist_ok=True)
    other.write_text("raise SystemExit('this code ran')\n", encoding="utf-8")
    done = run_python(tmp_path, "from crosslift import Moments")
    name = str(other).removesuffix("/__init__.py")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(
        f"HiddenPackage: {name}: hides crosslift's own package 'analysis'; rename it, or run Python from another folder"
    )


def test_a_folder_that_is_no_package_hides_nothing(tmp_path: Path) -> None:
    """A folder of notebooks may be called `analysis`."""
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "notes.txt").touch()
    done = run_python(tmp_path, "from crosslift import Moments; print(Moments.__name__)")
    assert (done.stderr, done.stdout) == ("", "Moments\n")


def test_names_of_other_rooms_are_not_affected(tmp_path: Path) -> None:
    """Who has a package called `server` can still report."""
    (tmp_path / "server.py").touch()
    code = "import crosslift; crosslift.load; crosslift.open_store\ntry: crosslift.create_app\nexcept ImportError as error: print(error.name)"
    done = run_python(tmp_path, code)
    assert (done.stderr, done.stdout) == ("", "server\n")


def test_the_command_line_works_beside_packages_of_the_same_names(tmp_path: Path) -> None:
    """The script does not look for packages in the current folder; `python -m crosslift` does, and says what is wrong."""
    (tmp_path / "analysis").mkdir()
    for file in ("analysis/__init__.py", "events.py", "experiments.py", "server.py"):
        (tmp_path / file).write_text("raise SystemExit('this code ran')\n", encoding="utf-8")
    installed = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert (installed.returncode, installed.stderr) == (0, "")
    assert "report" in installed.stdout
    module = run_python(
        tmp_path,
        "import sys, runpy; sys.argv = ['crosslift', '--help']; runpy.run_module('crosslift', run_name='__main__')",
    )
    assert (module.returncode, module.stdout) == (2, "")
    assert module.stderr == (
        f"Error: {tmp_path}/experiments.py: hides crosslift's own package 'experiments'; rename it, or run Python from another folder\n"
    )


def test_the_stub_has_the_public_names() -> None:
    """Type checkers of users read the stub."""
    stub = (ROOT / "stubs" / "crosslift-stubs" / "__init__.pyi").read_text(encoding="utf-8")
    assert sorted(re.findall(r"import \w+ as (\w+)", stub)) == NAMES


def test_users_get_the_types() -> None:
    """The type checker, which `make lint` runs on this file, knows what the public names are."""
    moments = assert_type(crosslift.Moments.from_sums(n=100, total=50.0, total_squares=40.0), Moments)
    assert_type(crosslift.lift(moments, moments), Lift)
    assert_type(crosslift.load(ROOT / "configs"), Configs)
