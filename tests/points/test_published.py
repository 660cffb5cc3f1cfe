"""The published tables: what they hold, what they say of themselves, and numbers that their studies print."""

from importlib.resources import files

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from scalesweep.analysis.allocation.lines import fit_allocation
from scalesweep.errors import PointsError
from scalesweep.points.published import published_names, published_points, published_source, published_variants

VARIANTS = {"chinchilla": 1, "porian": 15, "gadre": 24, "muennighoff": 1, "nanochat": 3}
ROWS = {"chinchilla": 245, "porian": 1745, "gadre": 8 * 104, "muennighoff": 229, "nanochat": 12}


@pytest.mark.parametrize("name", published_names())
def test_every_row_of_every_variant_is_valid(name):
    tables = [published_points(name, variant) for variant in published_variants(name)]
    assert len(tables) == VARIANTS[name]
    assert sum(len(points.frame) for points in tables) == ROWS[name]
    for points in tables:
        assert points.notes[0] == published_source(name)
        assert points.source.startswith(name)
        if points.flops_convention == "six_n":
            np.testing.assert_allclose(points.c, 6 * points.n * points.d, rtol=1e-12)


@pytest.mark.parametrize("name", published_names())
def test_attribution_is_in_the_package(name):
    text = files("scalesweep.points.published").joinpath("SOURCES.md").read_text()
    assert f"| {name}.csv | {ROWS[name] // (8 if name == 'gadre' else 1):,} |" in text
    origin = published_source(name).rsplit("from ", 1)[1]
    assert origin.split(" ")[0] in text


def test_chinchilla_leaves_out_the_five_highest_losses():
    points = published_points("chinchilla")
    assert (len(points.loss), len(points.excluded)) == (240, 5)
    assert points.excluded["loss"].min() > points.loss.max()
    assert points.excluded["excluded_reason"].str.contains("Besiroglu").all()


def test_first_variant_is_the_default():
    assert published_points("gadre").source == "gadre (rpj|c4_val)"
    assert published_points("porian").params_convention == "non_embedding"


@pytest.mark.parametrize(
    ("name", "variant", "expected"),
    [
        ("chincilla", None, "did you mean chinchilla"),
        ("nanochat", "transfomer", "did you mean transformer"),
        ("porian", "rw", "porian has no variant 'rw'"),
    ],
)
def test_wrong_names(name, variant, expected):
    with pytest.raises(PointsError, match=expected):
        published_points(name, variant)


@pytest.mark.parametrize(
    ("count", "a", "b"), [("transformer+lm_head", 0.536, 0.489), ("all", 0.374, 0.501), ("transformer", 0.696, 0.406)]
)
def test_nanochat_exponents(count, a, b):
    points = published_points("nanochat", count)
    found = fit_allocation(points.c, points.n, points.d)
    assert (found.a, found.b) == pytest.approx((a, b), abs=1e-3)


def test_gadre_extrapolation_errors():
    """Gadre et al. 2024: five small models predict the losses of 1.4B at M = 640 and 6.9B at M = 20.

    Their L(C, M) = E + (a M^eta + b M^-eta) C^-eta with C = 6 N D and M = D / N is E + A / N^(2 eta) + B / D^(2 eta).
    """
    points = published_points("gadre", "rpj|c4_val")
    ratio = points.d / points.n
    small = points.n < 1e9
    chosen = small & (np.isclose(ratio, 20, rtol=0.05) | (np.isclose(ratio, 320, rtol=0.05) & (points.n < 2e7)))
    assert chosen.sum() == 5

    def basis(exponent):
        scale = points.n.min() ** exponent
        return np.stack([np.ones(len(points.n)), scale * points.n**-exponent, scale * points.d**-exponent], axis=1)

    def solve(exponent):
        return np.linalg.lstsq(basis(exponent)[chosen], points.loss[chosen], rcond=None)

    exponent = minimize_scalar(lambda x: solve(x)[1][0], bounds=(0.1, 0.6), method="bounded", options={"xatol": 1e-9}).x
    error = np.abs(basis(exponent) @ solve(exponent)[0] / points.loss - 1)
    targets = [(points.n > 1e9) & (points.n < 2e9) & (ratio > 600), points.n > 6e9]
    assert [100 * error[target].item() for target in targets] == pytest.approx([0.7103, 0.7320], abs=1e-4)
