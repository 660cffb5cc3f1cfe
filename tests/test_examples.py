"""The notebook: it is committed without outputs, and it runs from the first cell to the last."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "first_law.ipynb"


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_notebook_is_valid_and_has_no_outputs(notebook: Any) -> None:
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [cell.id for cell in code if cell.outputs or cell.execution_count] == []


@pytest.mark.filterwarnings("default")  # of the kernel's own machinery, not of ours
def test_notebook_fits_and_draws(notebook: Any, tmp_path: Path) -> None:
    """The kernel reports an exception of a cell as one of ours."""
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    alpha, beta, floor = eval(outputs["check"][-1]["data"]["text/plain"].replace("np.float64", ""))
    assert (alpha, beta, floor) == pytest.approx((0.348, 0.366, 1.817), abs=0.002)
    assert "image/png" in outputs["plot"][-1]["data"]
