"""What an import costs: the analysis never loads torch, a tracker or Hydra, and neither does asking for help."""

import subprocess
import sys

import pytest
from builders import modules_after

from scalesweep.settings.fit import FitSpec

EXPERIMENT_ONLY = {"torch", "transformers", "datasets", "tokenizers", "hydra", "omegaconf", "wandb"}


def test_the_package_itself_loads_nothing():
    assert not modules_after("import scalesweep") & {*EXPERIMENT_ONLY, "numpy", "pandas", "scipy", "matplotlib", "pydantic"}


@pytest.mark.parametrize(
    "module",
    [
        *("settings.settings", "points", "laws", "fit", "analysis.analyse", "report", "plan.plan", "run.store.store"),
        *("train.data", "train.benchmark"),
    ],
)
def test_module_loads_without_the_experiment(module):
    assert not modules_after(f"import scalesweep.{module}") & EXPERIMENT_ONLY


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["fit", "--help"], ["fit", "--mistake"], ["plot", "x"]])
def test_help_and_mistakes_load_nothing_heavy(arguments):
    loaded = modules_after(f"sys.argv[1:] = {arguments}; from scalesweep.cli import main; main()")
    assert not loaded & {"torch", "transformers", "datasets", "wandb", "pandas", "scipy", "matplotlib"}


@pytest.mark.slow
def test_points_are_fitted_and_reported_where_torch_is_not_installed(tmp_path):
    """An import of anything that only training needs fails, as on a machine without it."""
    points = tmp_path / "points.csv"
    rows = [f"{n},{d},{1.7 + 400 / n**0.34 + 400 / d**0.28}" for n in (1e6, 3e6, 1e7) for d in (1e8, 3e8, 1e9)]
    points.write_text("params,tokens,loss\n" + "\n".join(rows))
    blocked = ("torch", "transformers", "datasets", "tokenizers", "wandb")
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked}))\n"
        "from scalesweep.cli import main\n"
        f"sys.exit(main(['fit', {str(points)!r}, 'fit.bootstrap=20']) or main(['report', {str(points)!r}, 'fit.bootstrap=20']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "points-report" / "report.html").is_file()


def test_a_fit_draws_nothing(tmp_path):
    """Neither matplotlib nor the page's templates are loaded by `fit`, which leaves both to `report`."""
    points = tmp_path / "points.csv"
    rows = [f"{n},{d},{1.8 + 400 / n**0.34 + 1500 / d**0.35}" for n in (1e6, 4e6, 16e6, 64e6) for d in (1e8, 4e8, 16e8)]
    points.write_text("params,tokens,loss\n" + "\n".join(rows))
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'matplotlib', 'jinja2', 'plotext')))\n"
        "from scalesweep.cli import main\n"
        f"sys.exit(main(['fit', {str(points)!r}, 'fit.bootstrap=20']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "points-report" / "fit.json").is_file()


def test_the_analysis_is_at_hand_in_the_package():
    import scalesweep

    names = "FitSpec compare_approaches fit_form fit_laws published_points read_points read_sweep summary"
    for name in names.split():
        assert callable(getattr(scalesweep, name))
        assert name in dir(scalesweep)
    fit = scalesweep.fit_laws(scalesweep.published_points("gadre"), FitSpec(bootstrap=0))
    assert "Joint law" in scalesweep.summary(fit)
    with pytest.raises(AttributeError, match="no attribute 'fit_law'"):
        scalesweep.fit_law  # noqa: B018
