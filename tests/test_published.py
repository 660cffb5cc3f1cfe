"""The published tables: what they hold, what they say about themselves, and numbers that their studies print."""

from importlib.resources import files

import numpy as np
import pytest

from scalesweep.errors import PointsError
from scalesweep.published import published_names, published_points, published_source, published_variants

ROWS = {"chinchilla": 245, "porian": 11 * 0 + 117, "gadre": 35, "muennighoff": 229, "nanochat": 4}


@pytest.mark.parametrize("name", published_names())
def test_every_variant_is_a_valid_table(name):
    for variant in published_variants(name):
        points = published_points(name, variant)
        assert len(points.loss) >= 4
        assert points.notes[0] == published_source(name)
        if name != "nanochat":  # its N leaves parts of the model out
            np.testing.assert_allclose(points.c, 6 * points.n * points.d, rtol=1e-12)
