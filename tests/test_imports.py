"""What an import costs: the analysis never loads torch, a tracker or Hydra, and neither does asking for help."""

import subprocess
import sys

import pytest

EXPERIMENT_ONLY = {"torch", "transformers", "datasets", "tokenizers", "hydra", "omegaconf", "wandb"}


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    program = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stderr.splitlines()[-1].split()}


def test_the_package_itself_loads_nothing():
    assert not modules_after("import scalesweep") & {*EXPERIMENT_ONLY, "numpy", "pandas", "scipy", "matplotlib", "pydantic"}


@pytest.mark.parametrize("module", ["config", "points", "laws", "fit", "report", "flops", "recipe", "plan", "store"])
def test_module_loads_without_the_experiment(module):
    assert not modules_after(f"import scalesweep.{module}") & EXPERIMENT_ONLY


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["fit", "--help"]])
def test_help_loads_no_torch(arguments):
    loaded = modules_after(f"sys.argv[1:] = {arguments}; from scalesweep.cli import main; main()")
    assert not loaded & {"torch", "transformers", "datasets", "wandb"}
