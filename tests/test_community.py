"""What surrounds the code: workflow, issue forms, citation, image. Each is what the service that reads it takes."""

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from scalesweep.version import __version__

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SCHEMAS = {
    ".github/workflows/ci.yml": "vendor.github-workflows",
    ".github/ISSUE_TEMPLATE/bug_report.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/feature_request.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "CITATION.cff": "vendor.citation-file-format",
}


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    return load(".github/workflows/ci.yml")


def shell_of(workflow: dict[Any, Any]) -> str:
    return "\n".join(step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"])


@pytest.mark.parametrize(("path", "schema"), SCHEMAS.items())
def test_file_fits_its_published_schema(path: str, schema: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(ROOT / path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_form_and_workflow_is_checked() -> None:
    found = [*(ROOT / ".github").rglob("*.yml"), ROOT / "CITATION.cff"]
    assert {path.relative_to(ROOT).as_posix() for path in found} == set(SCHEMAS)


def test_citation_is_of_this_version_and_licence() -> None:
    citation = load("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["cff-version"], citation["version"], citation["license"]) == ("1.2.0", __version__, PROJECT["license"])
    assert not {"email", "orcid"} & {key for author in citation["authors"] for key in author}


def test_workflow_runs_tests_a_sweep_and_the_site(workflow: dict[Any, Any]) -> None:
    shell = shell_of(workflow)
    for command in (
        *("scripts/test.sh", "scalesweep run sweep=smoke", "mkdocs build --strict", "docker build"),
        "pip install -r requirements-lean.txt && pip install --no-deps .",
    ):
        assert command in shell
    versions = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    lowest, above = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert versions == [f"3.{lowest}", f"3.{int(above) - 1}"]


def test_workflow_may_only_read_and_pins_its_actions(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    assert not [name for name, job in workflow["jobs"].items() if "permissions" in job]
    used = [step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step]
    assert used
    assert [action for action in used if not re.fullmatch(r"actions/[\w-]+@v\d+", action)] == []


def test_workflow_s_requirements_of_the_site_are_those_of_the_extra(workflow: dict[Any, Any]) -> None:
    (line,) = [line for line in shell_of(workflow).splitlines() if "mkdocs-material" in line]
    assert re.findall(r'"([^"]+)"', line) == PROJECT["optional-dependencies"]["docs"]


def is_ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out of the image: the last pattern that fits it or a folder above it decides."""
    names = [path, *(str(parent) for parent in PurePosixPath(path).parents)][:-1]
    ignored = False
    for pattern in (ROOT / ".dockerignore").read_text(encoding="utf-8").split():
        if any(fnmatch(name, pattern.removeprefix("!")) for name in names):
            ignored = not pattern.startswith("!")
    return ignored


def test_image_gets_what_the_package_is_built_from_and_no_more() -> None:
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = ["pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], *wheel["packages"], *wheel["force-include"]]
    assert [path for path in needed if is_ignored(path)] == []
    assert [
        path for path in ("tests/x", "examples/x", "docs/runs.md", "site/x", ".git/x", "runs/x") if not is_ignored(path)
    ] == []


def test_what_the_image_copies_is_there() -> None:
    copied = [path for words in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for path in words.split()[:-1]]
    assert copied
    assert [path for path in copied if not (ROOT / path).exists() or is_ignored(path)] == []


def test_image_runs_as_nobody_in_particular_on_a_cuda_base() -> None:
    assert re.search(r"^FROM nvidia/cuda:\d+\.\d+\.\d+-\w+-ubuntu\d+\.\d+ AS on-cuda$", DOCKERFILE, re.MULTILINE)
    users = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)
    assert users
    assert not users[-1].startswith(("0", "root"))


def test_image_says_its_version_and_pins_a_torch_that_the_project_allows() -> None:
    assert f'image.version="{__version__}"' in DOCKERFILE
    assert f'image.licenses="{PROJECT["license"]}"' in DOCKERFILE
    (pinned,) = re.findall(r"^ARG TORCH=(\d+\.\d+\.\d+)$", DOCKERFILE, re.MULTILINE)
    (asked,) = [line for line in PROJECT["dependencies"] if line.startswith("torch")]
    assert Requirement(asked).specifier.contains(pinned)


def test_image_is_the_command() -> None:
    assert DOCKERFILE.rstrip().endswith('ENTRYPOINT ["scalesweep"]\nCMD ["--help"]')


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.prefix) / "bin" / "hadolint"
    if not hadolint.is_file():
        pytest.skip("hadolint is not installed; scripts/install.sh dev brings it")
    done = subprocess.run([str(hadolint), str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_image_s_list_of_requirements_is_the_project_s(tmp_path: Path) -> None:
    (command,) = re.findall(r"^RUN (python -c '.+?')", DOCKERFILE, re.MULTILINE)
    (code,) = re.findall(r"'(.+)'", command)
    program = code.replace("/src/pyproject.toml", str(ROOT / "pyproject.toml"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == PROJECT["dependencies"]
