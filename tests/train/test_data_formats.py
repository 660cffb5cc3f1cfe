"""Local files as documents: every format gives back what was written, and what is passed over is counted."""

import csv
import gzip
import io
import json
from pathlib import Path

import pandas
import pyarrow
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st
from pyarrow import parquet

from scalesweep.errors import DataError
from scalesweep.settings.data import DataSpec
from scalesweep.train.data import prepare
from scalesweep.train.data.corpus import open_corpus
from scalesweep.train.data.reading import Reading
from scalesweep.train.data.sources import open_source

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


def spec_of(*paths, **settings):
    return DataSpec.model_validate(
        {"source": "files", "paths": [str(path) for path in paths], "tokenizer": {"kind": "bytes"}, **settings}
    )


def read(*paths, **settings):
    """The documents, and the account of their reading."""
    reading = Reading()
    _, documents = open_source(spec_of(*paths, **settings), Path("unused"), lambda _: None).read(reading)
    return [document.decode() for document in documents], reading


def written(path, documents):
    """A file of `documents` in the format and packing of its extension."""
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    rows = [{"id": index, "text": document} for index, document in enumerate(documents)]
    if name.endswith(".parquet"):
        pandas.DataFrame(rows).to_parquet(path)
        return path
    if name.endswith(".jsonl"):
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    elif name.endswith(".json"):
        content = json.dumps(rows)
    else:
        stream = io.StringIO(newline="")
        table = csv.DictWriter(stream, ["id", "text"], delimiter="\t" if name.endswith(".tsv") else ",", quoting=csv.QUOTE_ALL)
        table.writeheader()
        table.writerows(rows)
        content = stream.getvalue()
    packed = content.encode()
    if path.suffix == ".gz":
        packed = gzip.compress(packed)
    if path.suffix == ".zst":
        packed = pyarrow.compress(packed, codec="zstd", asbytes=True)
    path.write_bytes(packed)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.jsonl.gz", "a.csv.zst", "a.json.zst"])
@given(documents=st.lists(TEXTS, min_size=1, max_size=8))
@budget(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_format_gives_back_the_documents(tmp_path, name, documents):
    found, reading = read(written(tmp_path / name, documents))
    assert found == documents
    assert (reading.rows, reading.losses()) == (len(documents), "")


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
def test_a_separator_ends_documents_of_plain_text(tmp_path, packing):
    text = "one\n<|endoftext|>\ntwo\n\nlines\n<|endoftext|>\n\n<|endoftext|>three"
    packed = {
        "": text.encode(),
        ".gz": gzip.compress(text.encode()),
        ".zst": pyarrow.compress(text.encode(), "zstd", asbytes=True),
    }
    path = tmp_path / f"a.txt{packing}"
    path.write_bytes(packed[packing])
    assert read(path)[0] == [text]
    assert read(path, separator="<|endoftext|>")[0] == ["one", "two\n\nlines", "three"]
    assert read(path, separator=r"\n\n")[0] == ["one\n<|endoftext|>\ntwo", "lines\n<|endoftext|>", "<|endoftext|>three"]


def test_a_long_cell_is_read_and_the_library_keeps_its_own_limit(tmp_path):
    limit, text = csv.field_size_limit(), "word " * 40_000
    (tmp_path / "a.csv").write_text(f"text\n{text}\n", encoding="utf-8")
    documents, _ = read(tmp_path / "a.csv")
    assert documents == [text]
    assert csv.field_size_limit() == limit < len(text)


def test_a_separator_without_plain_text_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"data\.separator='x'"):
        read(written(tmp_path / "a.jsonl", ["one"]), separator="x")


def test_text_that_looks_like_a_date_or_a_number_stays_text(tmp_path):
    documents = ["2020-01-01", "2021-02-03T04:05:06", "12", "1e5", "true"]
    for name in ("a.jsonl", "a.json", "a.csv"):
        assert read(written(tmp_path / name, documents))[0] == documents


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_path_names_a_nested_column(tmp_path, name):
    rows = [{"doc": {"text": "one", "id": 1}}, {"doc": None}, {"doc": {"text": "two", "id": 2}}]
    if name == "a.jsonl":
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)
    found, reading = read(tmp_path / name, column="doc.text")
    assert (found, reading.rows, reading.without_text) == (["one", "two"], 3, 1)
    with pytest.raises(DataError, match=r"data\.column='doc\.body' is not a column .*: it has doc\.id, doc\.text\."):
        read(tmp_path / name, column="doc.body")


def test_a_column_whose_name_has_a_dot_is_itself(tmp_path):
    rows = [{"doc.text": "one", "doc": {"text": "two"}}]
    (tmp_path / "a.jsonl").write_text(json.dumps(rows[0]) + "\n")
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "b.parquet")
    for name in ("a.jsonl", "b.parquet"):
        assert read(tmp_path / name, column="doc.text")[0] == ["one"]


def test_rows_that_lack_the_column_are_counted_where_others_have_it(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n{"text": "one"}\n{"id": 3}\n')
    found, reading = read(tmp_path / "a.jsonl")
    assert (found, reading.rows, reading.without_text) == (["one"], 3, 2)


def test_half_surrogates_are_replaced_and_counted(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a \\ud83d b \\ud83d\\ude00"}\n')
    found, reading = read(tmp_path / "a.jsonl")
    assert (found, reading.replaced_characters) == (["a \ufffd b \U0001f600"], 1)


def test_a_broken_line_is_named_and_passed_over_up_to_a_share(tmp_path):
    lines = [json.dumps({"text": f"document {i}"}) for i in range(1, 401)]
    lines[200] = '{"text": "cut'
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"line 201 of .*a\.jsonl could not be read.*data\.max_skipped"):
        read(tmp_path / "a.jsonl")
    found, reading = read(tmp_path / "a.jsonl", max_skipped=0.01)
    assert (len(found), reading.rows, reading.unreadable) == (399, 400, 1)
    cache = str(tmp_path / "cache")
    assert prepare(spec_of(tmp_path / "a.jsonl", max_skipped=1 / 400, cache=cache)).reading.unreadable == 1
    with pytest.raises(DataError, match=r"1 of 400 rows could not be read, more than data\.max_skipped = 0\.002.*line 201"):
        prepare(spec_of(tmp_path / "a.jsonl", max_skipped=0.002, cache=cache))


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.csv", b"id,text\n1,one\n2,two,three\n4,four\n", "line 3"),
        ("a.csv", b'id,text\n1,"o\nne"\n2,"tw"o"\n4,four\n', "line 4"),
        ("a.csv", b"id,text\n1,one\n2,\xff\n4,four\n", "line 3"),
        ("a.jsonl", b'{"text": "one"}\n[1]\n{"text": "four"}\n', "line 2"),
        ("a.jsonl", b'{"text": "one"}\n{"text": "\xff"}\n{"text": "four"}\n', "line 2"),
        ("a.jsonl", b'{"text": "one"}\n{"text": 2}\n{"text": "four"}\n', "row 2"),
        ("a.json", b'[{"text": "one"}, 2, {"text": "four"}]', "record 2"),
    ],
)
def test_one_row_that_cannot_be_read_spoils_no_other(tmp_path, name, content, where):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{where} of .*{name}"):
        read(tmp_path / name)
    found, reading = read(tmp_path / name, max_skipped=0.5)
    assert [text.replace("\n", "") for text in found] == ["one", "four"]
    assert (reading.rows, reading.unreadable) == (3, 1)


@pytest.mark.parametrize("rest", ["", '5,"five"\n'])
def test_a_quote_that_swallows_rows_is_never_passed_over(tmp_path, rest):
    (tmp_path / "a.csv").write_text('id,text\n1,one\n2,"two\n3,three\n4,four\n' + rest)
    with pytest.raises(DataError, match=r"line 3 of .*a\.csv opens a quote that is not closed"):
        read(tmp_path / "a.csv", max_skipped=0.9)


def test_a_shard_without_rows_passes(tmp_path):
    empty = pyarrow.table({"text": pyarrow.array([], pyarrow.string())})
    parquet.write_table(empty, tmp_path / "0.parquet")
    written(tmp_path / "1.parquet", ["one", "two"])
    assert read(tmp_path / "*.parquet")[0] == ["one", "two"]


def test_brackets_in_a_name_that_exists_are_itself(tmp_path):
    for name in ("a[1].txt", "a1.txt"):
        (tmp_path / name).write_text(name)
    assert read(tmp_path / "a[1].txt")[0] == ["a[1].txt"]
    (tmp_path / "a[1].txt").unlink()
    assert read(tmp_path / "a[1].txt")[0] == ["a1.txt"]


def test_notes_and_source_are_text_as_they_stand(tmp_path):
    contents = {
        "a.md": "# A title\n\n- a point\n",
        "b.rst": "Title\n=====\n",
        "c.tex": r"\section{x}",
        "d.py": "def f(): ...\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    assert read(tmp_path / "*")[0] == list(contents.values())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_says_the_encoding_and_is_no_text(tmp_path, encoding):
    contents = {"a.txt": "naïve\n", "b.jsonl": '{"text": "zwei é"}\n', "c.csv": "text\n☃\n", "d.json": '[{"text": "four"}]'}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content.encode(encoding))
    found, reading = read(tmp_path / "*")
    assert (found, reading.converted_files) == (["naïve\n", "zwei é", "☃", "four"], 4)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_noticed(tmp_path, encoding):
    (tmp_path / "a.txt").write_bytes(("plain text that decodes as UTF-8 with a NUL after every letter\n" * 3).encode(encoding))
    with pytest.raises(DataError, match=r"a\.txt looks like UTF-16 without a byte order mark"):
        read(tmp_path / "a.txt")


def test_a_text_that_may_not_be_read_is_named_and_the_cache_is_not_blamed(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("text")
    opened = Path.open

    def refuse(self, *args, **named):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return opened(self, *args, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"a\.txt could not be read \(Permission denied\): make it readable") as caught:
        prepare(spec_of(path, cache=str(tmp_path / "cache")))
    assert "data.cache" not in str(caught.value)


def test_a_name_that_the_file_system_refuses_is_no_fault_of_the_cache(tmp_path):
    with pytest.raises(DataError, match="could not be read") as caught:
        prepare(spec_of(tmp_path / f"{'x' * 300}.txt", cache=str(tmp_path / "cache")))
    assert "data.cache" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_torn_packing_is_named(tmp_path, name):
    path = written(tmp_path / name, [f"document number {i * i}" for i in range(2000)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=rf"{name} could not be read"):
        read(path)


def test_the_account_of_a_text_stays_with_it(tmp_path):
    rows = [{"text": f"document {i % 90}"} for i in range(100)] + [{"text": None}, {"text": ""}, {"other": 1}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = spec_of(tmp_path / "a.jsonl", max_bytes=905, cache=str(tmp_path / "cache"))
    corpus = prepare(spec_of(tmp_path / "a.jsonl", cache=spec.cache))
    assert corpus.reading == Reading(rows=103, without_text=3, duplicates=10, documents=90, characters=10 * 10 + 80 * 11)
    assert open_corpus(corpus.directory) == corpus == prepare(spec_of(tmp_path / "a.jsonl", cache=spec.cache))
    assert "3 rows without text" in corpus.account and "10 documents left out as exact copies" in corpus.account
    assert prepare(spec).reading.is_cut


def test_equal_texts_keep_accounts_of_their_own(tmp_path):
    written(tmp_path / "a.jsonl", ["one text", "another text"])
    (tmp_path / "b.jsonl").write_text((tmp_path / "a.jsonl").read_text() + '{"text": null}\n')
    corpora = [prepare(spec_of(tmp_path / f"{name}.jsonl", cache=str(tmp_path / "cache"))) for name in "abab"]
    assert [corpus.reading.without_text for corpus in corpora] == [0, 1, 0, 1]
    assert len({corpus.hash for corpus in corpora}) == 1


def test_a_text_that_an_older_version_read_is_counted(tmp_path):
    spec = spec_of(written(tmp_path / "a.jsonl", ["one text", "another text"]), cache=str(tmp_path / "cache"))
    corpus = prepare(spec)
    (memo,) = (tmp_path / "cache/fingerprints").iterdir()
    memo.write_text(memo.read_text().partition("\n")[0])
    said = []
    assert prepare(spec, said.append) == corpus
    assert said == ["reading a"]


def test_separators_that_are_learnt_as_text_are_counted(tmp_path):
    (tmp_path / "a.txt").write_text("one\n<|endoftext|>\ntwo\n<|endoftext|>\n" * 20)
    spec = {"cache": str(tmp_path / "cache"), "validation_fraction": 0.4}
    said = []
    assert prepare(spec_of(tmp_path / "a.txt", **spec), said.append).spelled_ends == 40
    assert any("40 times" in line and "data.separator='<|endoftext|>'" in line for line in said)
    split = prepare(spec_of(tmp_path / "a.txt", separator="<|endoftext|>", **spec))
    assert (split.documents, split.reading.duplicates, split.spelled_ends) == (2, 38, 0)
