"""Tables of points: what is read, and the sentence for what is not."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.errors import PointsError
from scalesweep.points.points import points_from_rows
from scalesweep.points.reading import read_points

EPOCH = Path(__file__).parents[1] / "data" / "epoch_chinchilla.csv"
HEADER = "n,d,c,loss\n"
positive = st.floats(min_value=1e-3, max_value=1e30)


def write(tmp_path: Path, text: str, name: str = "points.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_published_table_with_its_own_column_names():
    points = read_points(EPOCH)
    assert len(points.n) == 245
    np.testing.assert_allclose(points.c, 6 * points.n * points.d, rtol=1e-15)
    assert points.n[0] == 6795600349.289497
    assert "d = c / (6 n)" in points.notes[0]


@pytest.mark.parametrize(
    "names",
    [
        "N,D,C,L",
        "Params,Tokens,FLOPs,Val_Loss",
        "Model Size,training-tokens,Training FLOP,LOSS",
        "model_params,tokens_seen,total_flos,eval/loss",
        "nparams,n_tokens,compute,valid_loss",
        "non_embedding_params,total_tokens,flops,val/loss",
    ],
)
def test_aliases(tmp_path, names):
    points = read_points(write(tmp_path, f"{names}\n10000,200000,1.2e10,3.5\n"))
    assert (points.n[0], points.d[0], points.c[0], points.loss[0]) == (10_000, 200_000, 1.2e10, 3.5)
    assert "column" not in " ".join(points.notes).lower()  # nothing was derived


def test_missing_compute_is_derived_and_noted(tmp_path):
    points = read_points(write(tmp_path, "N,D,L\n10,200,3.5\n"))
    assert points.c[0] == 12000
    assert points.flops_convention == "six_n"
    assert "c = 6 n d" in points.notes[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        (HEADER, "has a header but no rows"),
        ("n,tokens\n1,2\n", r"column loss is missing; name it by columns.loss=NAME, or .* val_loss.*found n, tokens"),
        ("width,loss\n1,2\n", r"column n, d or c is missing"),
        ("num_params,params,d,loss\n2,1,2,3\n", r"n can be 'num_params' and 'params': .* columns.n=num_params"),
        ("d,loss,val_loss,n\n1,1,2,3\n", r"loss can be 'loss' and 'val_loss': .* columns.loss=val_loss"),
        ("d,test_loss,val_loss,n\n1,1,2,3\n", r"loss can be 'test_loss' and 'val_loss'"),
        ("loss,size\n1,2\n", r"column n, d or c is missing; .* columns.n=NAME .*found loss, size"),
        ("n,n,d,loss\n1,5,2,3\n", r"two columns are called 'n' and differ"),
        (HEADER + "1,2,3,4\n1,nan,3,4\n", r"row 2, column d: 'nan' is not a number"),
        (HEADER + "1,2,inf,4\n", r"row 1, column c: 'inf' is not finite"),
        (HEADER + "1,2,3,4\n1,2,3,4\n1,0,3,4\n", r"row 3, column d: '0' is zero"),
        (HEADER + "-5,2,3,4\n", r"row 1, column n: '-5' is negative"),
        (HEADER + "1,,3,4\n", r"row 1, column d: the value is missing"),
        (HEADER + "1,2,3,abc\n", r"row 1, column loss: 'abc' is not a number"),
        (HEADER + "1,2,3\n", r"row 1 has 3 values, but the header has 4 columns"),
        ("n,d,c,loss,loss_se\n1,2,3,4,\n1,2,3,4,-1\n", r"row 2, column loss_se: '-1' is not a standard error"),
        (HEADER + "1,2,3," + "4" * 200_000, r"this is not a CSV file"),
        ("Model Size,D,L\n-1,2,3\n", r"row 1, column Model Size: '-1' is negative"),
        ("N,C,L\n1,x,3\n", r"row 1, column C: 'x' is not a number"),
    ],
)
def test_invalid_tables_are_refused_in_one_sentence(tmp_path, text, expected):
    path = write(tmp_path, text)
    with pytest.raises(PointsError, match=expected) as error:
        read_points(path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert message.endswith(".")


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(PointsError, match="no such file"):
        read_points(tmp_path / "absent.csv")
    with pytest.raises(PointsError, match=r"extension \.txt is not known; give \.csv"):
        read_points(write(tmp_path, HEADER, "points.txt"))
    with pytest.raises(PointsError, match=r"this is a directory; .* scalesweep\.read_sweep"):
        read_points(tmp_path)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(bytes(range(256)))
    with pytest.raises(PointsError, match="not a text file in UTF-8"):
        read_points(binary)
    binary.write_bytes(b"n,d,c\0loss\n")
    with pytest.raises(PointsError, match="NUL"):
        read_points(binary)
    for content in (b"", b"not parquet at all"):
        parquet = tmp_path / "points.parquet"
        parquet.write_bytes(content)
        with pytest.raises(PointsError, match="parquet: "):
            read_points(parquet)


def test_json_lines(tmp_path):
    rows = [{"N": 10, "D": 20, "loss": 3.0}, {"N": 11, "D": 20, "loss": 2.9}]
    points = read_points(write(tmp_path, "\n\n".join(map(json.dumps, rows)), "points.jsonl"))
    assert points.n.tolist() == [10, 11]
    for text, expected in [
        ("{", "row 1 is not JSON"),
        ("[1]", "row 1 is not a JSON object"),
        ('{"n":true,"d":1,"loss":1}', "True"),
    ]:
        with pytest.raises(PointsError, match=expected):
            read_points(write(tmp_path, text, "points.jsonl"))
    with pytest.raises(PointsError, match="row 2, column D: the value is missing"):
        read_points(write(tmp_path, json.dumps(rows[0]) + '\n{"N": 3, "loss": 2}', "points.jsonl"))


def test_parquet(tmp_path):
    path = tmp_path / "points.parquet"
    pd.DataFrame({"params": [10, 11], "tokens": [20, 21], "loss": [3.0, 2.9]}).to_parquet(path)
    assert read_points(path).d.tolist() == [20, 21]


def test_rows_of_a_store_keep_what_diverged():
    rows = [
        {"key": "a", "n": 10, "d": 20, "c": 1200.0, "loss": 3.0, "seed": 0, "steps": 7},
        {"key": "b", "n": 10, "d": 40, "c": 2400.0, "loss": float("nan"), "seed": 0, "excluded_reason": "diverged at step 3"},
    ]
    points = points_from_rows(rows, "with_head", "attention", "runs/x")
    assert points.loss.tolist() == [3.0]
    assert points.used["steps"].tolist() == [7]
    assert points.excluded["excluded_reason"].tolist() == ["diverged at step 3"]
    assert points.excluded["key"].tolist() == ["b"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], "there are no points"),
        ([{"n": 1, "d": 1, "c": 1}], "column loss is missing"),
        ([{"n": 1, "d": 1, "c": 1, "loss": None}], "row 1, column loss: the value is missing"),
    ],
)
def test_invalid_rows_of_a_store(rows, expected):
    with pytest.raises(PointsError, match=expected):
        points_from_rows(rows, "with_head", "attention", "runs/x")


@given(st.lists(st.tuples(positive, positive, positive, positive), min_size=1, max_size=8))
def test_round_trip_through_csv_is_exact(tmp_path_factory, rows):
    table = [dict(zip(("n", "d", "c", "loss"), row, strict=True)) | {"seed": i} for i, row in enumerate(rows)]
    points = points_from_rows(table, "total", "kaplan", "memory")
    path = tmp_path_factory.mktemp("points") / "points.csv"
    points.to_csv(path)
    again = read_points(path)
    for name in ("n", "d", "c", "loss"):
        assert getattr(again, name).tolist() == getattr(points, name).tolist()
    assert again.excluded.empty


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_sentence(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("points") / "points.csv"
    path.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(PointsError, match=re.escape(str(path))):
        read_points(path)


def test_a_data_frame_is_a_table_like_any_other():
    import pandas as pd

    frame = pd.DataFrame({"params": [1e6, 2e6], "tokens": [1e8, 1e8], "val_loss": [3.0, 2.9]})
    points = read_points(frame)
    assert list(points.n) == [1e6, 2e6]
    assert list(points.c) == [6e14, 1.2e15]
    with pytest.raises(PointsError, match="data frame"):
        read_points(frame.assign(val_loss=[3.0, -1.0]))
    with pytest.raises(PointsError, match="data frame"):
        read_points(pd.DataFrame())


def test_a_row_without_a_loss_is_left_out_and_an_unreadable_one_is_an_error(tmp_path):
    points = read_points(write(tmp_path, "n,d,loss\n1e7,1e9,3\n1e9,1e10,nan\n1e9,1e10,\n"))
    assert points.excluded["excluded_reason"].tolist() == ["no loss", "no loss"]
    assert points.reading.endswith("1 of 3 rows; 2 left out: no loss.")
    rows = "\n".join(f"1e7,1e9,{loss}" for loss in ("3", "x", "-1", "inf", "0", "y"))
    with pytest.raises(PointsError, match=r"row 2, column loss: 'x' is not a number .*rows 3, 4 and 2 more.* state=diverged"):
        read_points(write(tmp_path, f"n,d,loss\n{rows}\n"))


def test_a_run_that_its_table_calls_diverged_is_left_out(tmp_path):
    file = tmp_path / "points.csv"
    file.write_text("n,d,loss,state\n1e6,2e7,3.9,finished\n1e6,4e7,11.0,Diverged\n1e6,8e7,nan,failed\n2e6,2e7,3.7,\n")
    points = read_points(file)
    assert points.loss.tolist() == [3.9, 3.7]
    assert points.excluded["excluded_reason"].tolist() == ["state: Diverged", "state: failed"]


def test_further_columns_of_text_are_numbers_where_all_values_are(tmp_path):
    text = "n,d,loss,seed,lr,key,half\n1e6,1e8,3.0,0,1e-3,01,1\n2e6,1e8,2.9,1,,02,b\n"
    frame = read_points(write(tmp_path, text)).frame
    assert frame["seed"].tolist() == [0, 1]
    assert frame["lr"][0] == 1e-3
    assert np.isnan(frame["lr"][1])
    assert frame["half"].tolist() == ["1", "b"]
    assert frame["key"].tolist() == ["01", "02"]
