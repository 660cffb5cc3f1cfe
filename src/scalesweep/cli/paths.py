"""Where the configuration files are."""

from pathlib import Path


def config_dir() -> Path:
    """configs/ of the checkout, or the copy that travels in the wheel."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package.parents[1] / "configs", package / "configs"):
        if (candidate / "run.yaml").is_file():
            return candidate
    raise RuntimeError("the configuration files of scalesweep are missing from this installation")
