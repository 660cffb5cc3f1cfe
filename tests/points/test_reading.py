"""Tables as their owners have them: formats, headers, states, conditions, and the question where nothing can be read."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.cli import main
from scalesweep.errors import PointsError
from scalesweep.fit.laws import fit_laws
from scalesweep.points import read_points
from scalesweep.points.values import decimal_mark, number
from scalesweep.settings.fit import FitSpec

DATA = Path(__file__).parents[1] / "data"
N = np.repeat([12e6, 35e6, 90e6, 240e6, 650e6], 3)
D = N * np.tile([5, 20, 80], 5)


def loss_of(n, d):
    """The law behind the tables of tests/data."""
    return 1.7 + 400 / n**0.34 + 410 / d**0.28


@pytest.mark.parametrize("name", ["records.json", "wandb_runs.csv", "symbols.csv", "totals.tsv", "european.csv"])
def test_a_table_in_its_owners_shape_gives_the_law_behind_it(name):
    points = read_points(DATA / name)
    used = np.isin(np.arange(15), (3, 7, 11, 14), invert=True) if name == "wandb_runs.csv" else np.ones(15, dtype=bool)
    np.testing.assert_allclose(points.n, N[used])
    np.testing.assert_allclose(points.d, D[used], rtol=1e-5)
    np.testing.assert_allclose(points.c, 6 * N[used] * D[used], rtol=1e-5)
    np.testing.assert_allclose(points.loss, loss_of(N, D)[used], atol=1e-6)
    law = fit_laws(points, FitSpec(bootstrap=0))["joint"].law
    np.testing.assert_allclose([law.E, law.alpha, law.beta], [1.7, 0.34, 0.28], rtol=2e-3)


def test_suffixes_of_counts_and_bits_per_byte():
    points = read_points(DATA / "speedruns.csv")
    np.testing.assert_allclose(points.n, N)
    np.testing.assert_allclose(points.d, D)
    assert "n from params_total, d from tokens_trained, c from flops_budget, loss from val_bpb, 15 of 15 rows" in points.reading


def test_what_a_wandb_export_was_read_as():
    points = read_points(DATA / "wandb_runs.csv")
    assert points.reading == (
        "n from parameter_count, d from throughput/total_tokens, c from throughput/total_gflops times 1e+09, "
        "loss from eval/val/loss, 11 of 15 rows; 1 left out: State crashed; 1: State running; 1: State failed; 1: no loss."
    )


def test_records_without_tokens_and_a_chart_without_parameters():
    assert "d = c / (6 n)" in read_points(DATA / "records.json").reading
    assert "config.width" in read_points(DATA / "records.json").frame
    with pytest.raises(PointsError, match=r"val/loss of 2 runs over Step, one column a run.* parameters and tokens"):
        read_points(DATA / "wandb_chart.csv")
    assert read_points(DATA / "minima.csv").variables == ("c",)
    assert "11 of 12 runs in 230 rows" in read_points(DATA / "curves_of_runs.csv").reading


def write_all(folder: Path, frame: pd.DataFrame) -> list[Path]:
    text = frame.to_csv()
    records = frame.to_dict("records")
    contents = {
        "a.csv": text.encode(),
        "b.csv": frame.to_csv(sep=";", index=False).encode("utf-8-sig"),
        "c.csv": frame.to_csv(sep="|", index=False).encode("utf-16"),
        "d.tsv": frame.to_csv(sep="\t", index=False).encode(),
        "e.json": json.dumps(records).encode(),
        "f.json": frame.to_json().encode(),
        "g.json": frame.to_json(orient="split").encode(),
        "h.json": json.dumps({"meta": {"by": "me"}, "runs": records}).encode(),
        "i.json": json.dumps(frame.to_dict("list")).encode(),
        "j.json": json.dumps({f"run{i}": record for i, record in enumerate(records)}).encode(),
        "k.jsonl": "\n".join(map(json.dumps, records)).encode(),
        "l.csv.gz": gzip.compress(text.encode()),
        "m.csv.zst": pyarrow.compress(text.encode(), codec="zstd", asbytes=True),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    frame.to_parquet(folder / "n.parquet")
    (folder / "o.parquet.gz").write_bytes(gzip.compress((folder / "n.parquet").read_bytes()))
    return sorted(folder.iterdir())


def test_every_format_gives_the_same_points(tmp_path):
    frame = pd.DataFrame(
        {"params": [1000001, 2000002], "tokens": [123456789, 5], "val_loss": [3.25, 2.125], "arch": ["a", "b"]}
    )
    paths = write_all(tmp_path, frame)
    assert len(paths) == 15
    for path in paths:
        points = read_points(path)
        assert points.n.tolist() == [1000001, 2000002], path
        assert points.d.tolist() == [123456789, 5], path
        assert points.loss.tolist() == [3.25, 2.125], path
        assert points.frame["arch"].tolist() == ["a", "b"], path


def test_xlsx_is_read_or_names_its_extra(tmp_path):
    path = tmp_path / "points.xlsx"
    try:
        pd.DataFrame({"params": [1e6], "tokens": [1e8], "loss": [3.0]}).to_excel(path)
    except ImportError:
        path.write_bytes(b"PK")
        with pytest.raises(PointsError, match=r"scalesweep\[xlsx\]"):
            read_points(path)
    else:
        assert read_points(path).d.tolist() == [1e8]


@pytest.mark.parametrize(
    "source",
    [
        {"params": np.array([1e6, 2e6]), "tokens": [1e8, 1e8], "loss": (3.0, 2.9)},
        [{"params": 1e6, "tokens": 1e8, "loss": 3.0}, {"params": 2e6, "tokens": 1e8, "loss": 2.9}],
        np.array([(1e6, 1e8, 3.0), (2e6, 1e8, 2.9)], dtype=[("params", float), ("tokens", float), ("loss", float)]),
        pd.DataFrame({"params": [1e6, 2e6], "tokens": [1e8, 1e8], "loss": [3.0, 2.9]}).convert_dtypes(),
        pd.DataFrame({"params": [1e6, 2e6], "tokens": [1e8, 1e8], "loss": [3.0, 2.9]}).set_index("params"),
        pd.DataFrame([[1e6, 1e8, 1e8, 3.0], [2e6, 1e8, 1e8, 2.9]], columns=["params", "tokens", "tokens", "loss"]),
    ],
)
def test_values_of_python_are_tables(source):
    points = read_points(source)
    assert points.n.tolist() == [1e6, 2e6]
    assert points.loss.tolist() == [3.0, 2.9]


def test_missing_values_of_pandas_in_any_column():
    frame = pd.DataFrame(
        {
            "params": pd.array([10**6, 2 * 10**6, 3 * 10**6], dtype="Int64"),
            "tokens": pd.array([10**8, 10**8, pd.NA], dtype="Int64"),
            "loss": pd.array([3.0, 2.9, pd.NA], dtype="Float64"),
            "note": pd.array(["a", pd.NA, "b"], dtype="string"),
            "when": pd.to_datetime(["2024-01-01", None, None]),
            "state": pd.Categorical(["finished", None, "finished"]),
        }
    )
    points = read_points(frame)
    assert points.loss.tolist() == [3.0, 2.9]
    assert points.excluded["excluded_reason"].tolist() == ["no loss"]
    with pytest.raises(PointsError, match="row 3, column tokens: the value is missing"):
        read_points(frame.assign(loss=3.0))


@pytest.mark.parametrize("source", [np.ones((3, 3)), {"n": 3}, {"n": [1], "loss": [1, 2]}, 5, [1, 2]])
def test_values_that_are_no_tables_are_one_sentence(source):
    with pytest.raises(PointsError, match=r"^[^\n]*\.$"):
        read_points(source)


@pytest.mark.parametrize(
    ("header", "read"),
    [
        ("params,tokens,L,loss", {"loss": "loss"}),
        ("params,tokens,d,loss", {"d": "tokens"}),
        ("N,D,C,loss,train_tokens", {"n": "N", "d": "D", "c": "C"}),
        ("N,tokens,loss", {"n": "N", "d": "tokens"}),
        ("config.N,config.D,summary.L", {"n": "config.N", "loss": "summary.L"}),
        ("model/params,data/tokens,train/loss,val/loss", {"n": "model/params", "loss": "val/loss"}),
        ("num_params,train_tokens,val_loss,val_bpb", {"loss": "val_loss"}),
        ("total_params,dataset_tokens,final_val_loss", {"n": "total_params", "d": "dataset_tokens"}),
    ],
)
def test_the_meaning_of_a_header_goes_before_letters(tmp_path, header, read):
    path = tmp_path / "points.csv"
    names = header.split(",")
    path.write_text(f"{header}\n{','.join(str(1000 + i) for i in range(len(names)))}\n")
    points = read_points(path)
    for role, column in read.items():
        assert getattr(points, role).tolist() == [1000 + names.index(column)], role


def test_all_columns_in_doubt_are_asked_about_at_once(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("num_params,params,tokens,train_tokens,val_loss,test_loss\n1,2,3,4,5,6\n")
    with pytest.raises(PointsError) as error:
        read_points(path)
    for setting in ("columns.n=num_params", "columns.d=tokens", "columns.loss=val_loss"):
        assert setting in str(error.value)
    points = read_points(path, {"n": "params", "d": "tokens", "loss": "test_loss"})
    assert (points.n[0], points.d[0], points.loss[0]) == (2, 3, 6)
    with pytest.raises(PointsError, match=r"columns\.loss: there is no column 'tset_loss'.*did you mean test_loss"):
        read_points(path, {"n": "params", "d": "tokens", "loss": "tset_loss"})
    with pytest.raises(PointsError, match=r"columns\.m is not known"):
        read_points(path, {"m": "params"})


def test_states_are_kept_or_left_out_and_other_columns_of_that_name_are_no_states(tmp_path):
    path = tmp_path / "points.csv"
    rows = "\n".join(f"1e6,1e8,3,{state}" for state in ("finished", "COMPLETED", "success", "", "preempted", "weird"))
    path.write_text(f"n,d,loss,status\n{rows}\n")
    assert read_points(path).excluded["excluded_reason"].tolist() == ["status: preempted", "status: weird"]
    path.write_text("n,d,loss,state\n1e6,1e8,3,Ohio\n")
    assert len(read_points(path).used) == 1


@pytest.mark.parametrize(
    ("where", "chosen"),
    [
        ('arch == "dense"', [0, 1]),
        ("arch != 'dense' and step > 100", [2, 3]),
        ("step in [100, 300] or `val acc` >= 0.5", [0, 2, 3]),
        ("not step > 100", [0, 1]),
        ("100 < step <= 300", [2, 3]),
        ("cfg.lr == 1e-3", [0, 2]),
        ("done == True", [0, 3]),
        ("arch not in ('moe',)", [0, 1]),
    ],
)
def test_rows_are_chosen_by_a_condition(where, chosen):
    frame = pd.DataFrame(
        {
            "n": [1.0, 2, 3, 4],
            "d": 1e8,
            "loss": 3.0,
            "arch": ["dense", "dense", "moe", "moe"],
            "step": ["100", "50", "300", "200"],
            "val acc": [None, 0.1, 0.6, 0.5],
            "cfg.lr": [0.001, 0.01, 0.001, 0.01],
            "done": [True, False, False, True],
        }
    )
    points = read_points(frame, where=where)
    assert (points.n - 1).tolist() == chosen
    assert f"{len(chosen)} of {len(chosen)} rows ({4 - len(chosen)} of 4 are not of {where})" in points.reading


@pytest.mark.parametrize(
    "where",
    [
        *("__import__('os').system('x') == 0", "n.__class__ == 1", "n ** 9 ** 9 > 1", "n = 1", "n >", "[1 for i in n] == 1"),
        *("n[0] == 1", "(lambda: 1)() == 1", "n", "n == None", "nn > 1", "n > 5", "n is 1", "f'{n}' == 'a'"),
    ],
)
def test_a_condition_that_is_none_is_one_sentence(where):
    with pytest.raises(PointsError, match=r"^mapping: where=[^\n]*\.$"):
        read_points({"n": [1.0], "d": [1e8], "loss": [3.0]}, where=where)


@given(st.text(max_size=60))
def test_any_condition_is_answered_or_refused(where):
    try:
        read_points({"n": [1.0, 2.0], "d": [1e8, 1e8], "loss": [3.0, 2.0]}, where=where)
    except PointsError as error:
        assert "\n" not in str(error)


@given(st.floats(min_value=-1e15, max_value=1e15, allow_nan=False))
def test_a_number_is_read_as_it_was_written(value):
    assert number(repr(value)) == value
    assert number(f"{value:,.2f}", ".") == float(f"{value:.2f}")
    european = f"{value:,.2f}".translate(str.maketrans(",.", ".,"))
    assert number(european, ",") == float(f"{value:.2f}")
    assert decimal_mark({"a": [european]}) == ","


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5M", 5e6),
        ("1.5B", 1.5e9),
        ("0.20M", 2e5),
        ("5,000,000", 5e6),
        ("1_000", 1e3),
        (" 7 ", 7),
        ("5 000 000", 5e6),
        ("12k", 12e3),
    ],
)
def test_counts_as_people_write_them(text, value):
    np.testing.assert_equal(number(text), value)


def test_a_number_that_may_be_two_is_asked_about(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text('params;tokens;loss\n"1,234";5000;3\n')
    with pytest.raises(PointsError, match=r"row 1, column params: '1,234' is two numbers"):
        read_points(path)
    path.write_text('params;tokens;loss\n"1,234";5000;3,25\n')
    assert read_points(path).n.tolist() == [1.234]
    path.write_text('params;tokens;loss\n"1,234";5000;3.25\n')
    assert read_points(path).n.tolist() == [1234]


def test_percent_is_a_rate_and_no_count(tmp_path):
    path = tmp_path / "points.csv"
    path.write_text("params,tokens,loss\n1e6,1e8,12%\n")
    assert read_points(path).loss.tolist() == [0.12]
    path.write_text("params,tokens,loss\n12%,1e8,3\n")
    with pytest.raises(PointsError, match="row 1, column params: '12%' is not a number"):
        read_points(path)


@given(st.binary(max_size=200), st.sampled_from(["csv", "tsv", "json", "jsonl", "parquet", "csv.gz", "csv.zst"]))
def test_any_content_is_read_or_refused_in_a_sentence(tmp_path_factory, content, suffix):
    path = tmp_path_factory.mktemp("points") / f"points.{suffix}"
    path.write_bytes(content)
    with pytest.raises(PointsError, match="points"):
        read_points(path)


def test_columns_and_rows_on_the_command_line(tmp_path, capsys):
    table = tmp_path / "weights.csv"
    lines = "\n".join(f"{n:.0f},{d:.0f},{loss_of(n, d):.5f},dense" for n, d in zip(N, D, strict=True))
    table.write_text(f"weights,seen,score,arch\n{lines}\n1e6,1e8,9.9,moe\n")
    words = ["columns.n=weights", "columns.d=seen", "columns.loss=score", 'where=arch == "dense"', "fit.bootstrap=0"]
    assert main(["fit", str(table), *words]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        'Read: n from weights, d from seen, c = 6 n d, loss from score, 15 of 15 rows (1 of 16 are not of arch == "dense").'
        in said
    )
    for place in ("points=chinchilla", str(tmp_path)):
        assert main(["fit", place, "where=n > 1"]) == 2
        assert "is of a file of points" in capsys.readouterr().err
    assert main(["fit", str(table)]) == 2
    assert "columns.loss=NAME" in capsys.readouterr().err
