"""What the loss column holds is read from its header or stated, turned so that it falls, and said."""

import math

import numpy as np
import pandas as pd
import pytest
from surfaces import TRUTH

from scalesweep.errors import PointsError
from scalesweep.points.export import layout_of
from scalesweep.points.metric import METRICS, metric_of_header
from scalesweep.points.reading import read_points
from scalesweep.points.trends import describe_rise, describe_rises, rank_correlation

N, D = (axis.ravel() for axis in np.meshgrid([1e7, 1e8, 1e9], [2e8, 4e9, 3e10]))
LOSS = TRUTH.predict(N, D)


def table(**columns) -> pd.DataFrame:
    return pd.DataFrame({"n": N, "d": D, **columns})


@pytest.mark.parametrize(
    ("header", "metric"),
    [
        ("val_bpb", "bits_per_byte"),
        ("eval/bits_per_byte", "bits_per_byte"),
        ("bits per token", "bits_per_token"),
        ("Perplexity", "perplexity"),
        ("wikitext_ppl", "perplexity"),
        ("valPpl", "perplexity"),
        ("hellaswag_acc_norm", "accuracy"),
        ("top-1 accuracy (%)", "accuracy"),
        ("error_rate", "error_rate"),
        ("pass@1", "pass_at_k"),
        ("pass_at_10", "pass_at_k"),
        ("loss", None),
        ("val_loss", None),
        ("subplot", None),
    ],
)
def test_a_header_states_its_metric_or_none(header, metric):
    found = metric_of_header(header)
    assert (found.name if found else None) == metric


@pytest.mark.parametrize(
    ("header", "values", "fitted"),
    [
        ("ppl", np.exp(LOSS), LOSS),
        ("val_bpb", LOSS / 3, LOSS / 3),
        ("accuracy", 1 - LOSS / 20, LOSS / 20),
        ("acc", 100 - 5 * LOSS, LOSS / 20),
        ("error_rate", 5 * LOSS, LOSS / 20),
        ("pass@1", np.exp(-LOSS), LOSS),
    ],
)
def test_values_are_turned_into_what_falls_with_scale(header, values, fitted):
    points = read_points(table(**{header: values, "loss_se": 0.001 * values}))
    assert points.loss == pytest.approx(fitted)
    assert points.metric is metric_of_header(header)
    assert header in " ".join(points.notes)
    assert ("percent" in " ".join(points.notes)) == (values.max() > 1 and points.metric.is_share)


def test_standard_errors_are_turned_with_the_values():
    ppl = np.exp(LOSS)
    points = read_points(table(ppl=ppl, loss_se=0.01 * ppl))
    assert points.used["loss_se"].to_numpy() == pytest.approx(np.full(9, 0.01))


def test_a_stated_metric_goes_before_the_header():
    points = read_points(table(loss=np.exp(LOSS)), loss="perplexity")
    assert points.loss == pytest.approx(LOSS)
    assert points.metric is METRICS["perplexity"]
    assert read_points(table(val_bpb=LOSS), loss="nats_per_token").metric.unit == "nats per token"


def test_nats_are_assumed_and_said_and_doubted_where_they_cannot_be():
    plain = read_points(table(loss=LOSS))
    assert "nothing states" in " ".join(plain.notes)
    assert "count.loss=" not in " ".join(plain.notes)
    assert "count.loss=perplexity" in " ".join(read_points(table(loss=10 + np.exp(LOSS))).notes)
    assert "count.loss=accuracy" in " ".join(read_points(table(loss=1 - LOSS / 20)).notes)


def test_values_that_cannot_be_of_the_metric_are_refused_by_row():
    with pytest.raises(PointsError, match=r"row 2, column accuracy.*count\.loss"):
        read_points(table(accuracy=[0.5, 1.0, *[0.6] * 7]))
    with pytest.raises(PointsError, match="row 1, column ppl"):
        read_points(table(ppl=np.linspace(0.9, 3, 9)))
    with pytest.raises(PointsError, match=r"row 3, column accuracy.* 2 rows more"):
        read_points(
            table(task=["a", "b"] * 4 + ["a"], accuracy=[0.5, 0.6, 1.0, 0.6, 1.0, 1.0, 1.0, *[0.6] * 2]), where="task == 'a'"
        )
    left_out = read_points(table(accuracy=[0.5, 1.0, *[0.6] * 7], excluded_reason=["", "leaked", *[""] * 7]))
    assert len(left_out.loss) == 8


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    x, y = np.array([1.0, 2, 2, 5, 7, 9]), np.array([3.0, 1, 4, 4, 9, 8])
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert math.isnan(rank_correlation(x, np.ones(6)))


def test_a_loss_that_falls_is_not_said_to_rise():
    assert describe_rises(N, D, 6 * N * D, LOSS) == ""
    noise = np.random.default_rng(0).standard_normal(9)
    assert describe_rise("N", N, np.exp(0.01 * noise)) == ""


def test_a_loss_that_rises_is_said_with_its_numbers_and_the_cause():
    n = np.geomspace(1e7, 1e9, 12)
    said = describe_rises(n, 1e17 / n**0.9, 6e17 * n**0.1, np.linspace(2.5, 3.5, 12))
    assert "rises with N (rank correlation +1.00 over 12 rows" in said
    assert "rises with C" in said
    worse = describe_rises(N, D, 6 * N * D, LOSS[::-1])
    assert "larger or longer runs are worse" in worse
    shrinking = np.array([(a, 1e16 / a**2 * f) for a in np.geomspace(1e6, 1e7, 6) for f in (0.5, 1, 2)])
    falls = TRUTH.predict(*shrinking.T)
    assert "falls with either" in describe_rises(*shrinking.T, 6 * shrinking.prod(axis=1), falls)


@pytest.mark.parametrize("name", ["bits_per_byte", "perplexity", "nats_per_token"])
def test_an_exported_table_says_what_its_losses_are(name):
    points = read_points(table(loss=np.exp(LOSS) if name == "perplexity" else LOSS), loss=name)
    again = read_points(layout_of(points, "scalesweep"))
    assert again.loss == pytest.approx(points.loss, rel=1e-15)
    assert again.metric.unit == points.metric.unit


def test_a_table_of_several_metrics_is_refused():
    with pytest.raises(PointsError, match=r"loss_metric.*where="):
        read_points(table(loss=LOSS, loss_metric=["bits_per_byte", *["nats_per_token"] * 8]))
