"""The wheel, built through the sdist, carries its settings and runs from any directory."""

import importlib.util
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel made from the sdist, as an index would serve both.

    An environment that has the build backend builds with it; any other one lets `build` fetch it, as pip did to install here.
    """
    dist = tmp_path_factory.mktemp("dist")
    isolation = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    run(sys.executable, "-m", "build", *isolation, "--outdir", dist, ROOT, cwd=dist)
    assert len(list(dist.glob("scalesweep-*.tar.gz"))) == 1
    (path,) = dist.glob("scalesweep-*.whl")
    return path


@pytest.fixture(scope="module")
def bin_dir(wheel, tmp_path_factory):
    """The bin directory of a fresh environment: the wheel first on its path, then the packages of this environment.

    The path file adds directories only, so an editable scalesweep in this environment stays out of sight.
    """
    venv = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv)
    python = venv / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=venv)
    (site_packages,) = venv.glob("lib/python3*/site-packages")
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_packages / "packages_of_the_tests.pth").write_text("\n".join(sorted(packages)))
    return python.parent


def test_wheel_holds_every_settings_file(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    settings = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in (ROOT / "configs").rglob("*.yaml")}
    assert settings, "configs/ holds no settings"
    assert settings == {name.removeprefix("scalesweep/"): data for name, data in packed.items() if name.endswith(".yaml")}
    assert "scalesweep/py.typed" in packed
    assert {name.split("/")[0].split("-")[0] for name in packed} == {"scalesweep"}


def test_installed_wheel_is_the_one_that_is_imported(bin_dir, tmp_path):
    imported = run(bin_dir / "python", "-c", "import scalesweep; print(scalesweep.__file__)", cwd=tmp_path)
    assert Path(imported.strip()).is_relative_to(bin_dir.parent)


def test_installed_wheel_plans_from_an_unrelated_directory(bin_dir, tmp_path):
    assert "plan" in run(bin_dir / "scalesweep", "--help", cwd=tmp_path)
    assert run(bin_dir / "scalesweep", "plan", "sweep=smoke", f"data.cache={tmp_path}/cache", cwd=tmp_path)


def test_wheel_holds_the_published_points_and_the_meanings_of_warnings(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    names = {Path(name).name for name in held if "/published/" in name}
    assert "scalesweep/report/review/warnings.toml" in held
    assert {path.name for path in (ROOT / "src" / "scalesweep" / "points" / "published").iterdir() if path.is_file()} <= names
