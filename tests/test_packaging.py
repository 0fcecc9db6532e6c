"""The wheel: what is in it, and that it works where nothing else is installed."""

import subprocess
import sys
import zipfile
from configparser import ConfigParser
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.peer import REPOSITORY

# With the backend at hand nothing is downloaded.
_ISOLATION = ["--no-isolation"] if find_spec("hatchling") else []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", *_ISOLATION, "--outdir", str(folder), str(REPOSITORY))
    [wheel] = folder.iterdir()
    return wheel


def run(*arguments: str, cwd: Path | None = None) -> str:
    """Run a command that has to work, and give what it prints."""
    done = subprocess.run(arguments, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert 0 == done.returncode, f"{' '.join(arguments)}: {done.stdout}"
    return done.stdout


@pytest.mark.timeout(120)
def test_wheel_holds_the_two_packages(wheel: Path) -> None:
    """The wheel holds the packages ftpd and ftpc, complete and typed, and nothing else of this repository."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    info = next(name.split("/")[0] for name in names if ".dist-info/" in name)
    assert {"ftpd", "ftpc", info} == {name.split("/")[0] for name in names}
    expected = {
        str(path.relative_to(folder))
        for folder, package in ((REPOSITORY, "ftpd"), (REPOSITORY / "client", "ftpc"))
        for path in (folder / package).rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    assert {"ftpd/py.typed", "ftpc/py.typed", "ftpd/__main__.py", "ftpc/__main__.py"} <= expected
    assert expected == {name for name in names if not name.startswith(info)}


@pytest.mark.timeout(120)
def test_wheel_has_the_two_commands(wheel: Path) -> None:
    """The wheel installs the commands ftpd and ftpc, and says what it needs and under which licence it is."""
    with zipfile.ZipFile(wheel) as archive:
        info = next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        entry_points = ConfigParser()
        entry_points.read_string(archive.read(f"{info}/entry_points.txt").decode())
        metadata = archive.read(f"{info}/METADATA").decode()
        assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert {"ftpd": "ftpd.__main__:main", "ftpc": "ftpc.__main__:main"} == dict(entry_points["console_scripts"])
    needed = {line.split()[1].partition(">")[0] for line in metadata.splitlines() if line.startswith("Requires-Dist:")}
    assert {"aiofiles", "argon2-cffi", "bcrypt", "blake3", "cryptography", "msgspec", "rich"} == needed
    assert "\nRequires-Python: >=3.11\n" in metadata


@pytest.mark.long
def test_wheel_works_where_nothing_else_is(wheel: Path, tmp_path: Path) -> None:
    """Installed into an empty environment, both commands and both modules start, from any folder."""
    environment = tmp_path / "venv"
    run(sys.executable, "-m", "venv", str(environment))
    bin_folder = environment / "bin"
    python = str(bin_folder / "python")
    run(python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", str(wheel))
    version = wheel.name.split("-")[1]
    for name in ("ftpd", "ftpc"):
        expected = f"{name} {version}\n"
        assert expected == run(str(bin_folder / name), "--version", cwd=tmp_path)
        assert expected == run(python, "-m", name, "--version", cwd=tmp_path)
    missing = run(
        python,
        "-c",
        "import importlib.util as u; print(*map(u.find_spec, ['client', 'tests', 'storage']))",
        cwd=tmp_path,
    )
    assert "None None None\n" == missing
