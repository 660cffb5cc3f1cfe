"""Twenty steps give the losses that they gave before: initialisation, batches, gradients, optimizer and schedule at once."""

import json
import runpy
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


def test_losses_of_twenty_steps_are_the_golden_ones() -> None:
    """CPUs of another kind round otherwise, by far less than this tolerance over so few steps."""
    measured = runpy.run_path(str(GOLDEN / "make_markov.py"))["measure"]()
    golden = json.loads((GOLDEN / "markov_losses.json").read_text())
    assert len(golden["losses"]) == 20
    assert measured["losses"] == pytest.approx(golden["losses"], rel=1e-4)
    assert measured["validation_loss"] == pytest.approx(golden["validation_loss"], rel=1e-4)
