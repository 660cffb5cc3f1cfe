import ast
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from scalesweep.errors import DataError
from scalesweep.settings.data import DataSpec
from scalesweep.train.data import enwik8, prepare, python_text
from scalesweep.train.data.reading import Reading
from scalesweep.train.data.sources import open_source

BYTES = {"kind": "bytes"}


def read(tmp_path, **settings):
    spec = DataSpec.model_validate({"tokenizer": BYTES, **settings})
    _, documents = open_source(spec, tmp_path / "cache", lambda _: None).read(Reading())
    return list(documents)


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


MODULE = '''#!/usr/bin/env python
"""About the module."""

# First line
# and second.
x = "# not a comment"  # beside code


class A:
    """About A.

    Not indented.
        Indented.
    """

    if x:
        def f(self):
            """About f."""
'''


def test_prose_is_docstrings_and_comments_in_order():
    assert python_text.extract_prose(MODULE) == (
        "About the module.\n\nFirst line\nand second.\nbeside code\n\nAbout A.\n\nNot indented.\n    Indented.\n\nAbout f.\n"
    )


@pytest.mark.parametrize("source", ["def f(:\n", "x = 'open\n", "\0", "if x:\n    y\n  z\n"])
def test_a_module_that_does_not_parse_has_no_prose(source):
    assert python_text.extract_prose(source) == ""


def test_a_warning_in_somebody_elses_module_is_not_ours():
    assert python_text.extract_prose('x = "\\d"  # a comment\n') == "a comment\n"


def test_files_are_shuffled_by_the_hash_of_their_path(tmp_path, monkeypatch):
    names = ["a.py", "b.py", "pkg/c.py", "pkg/d.py", "pkg/__pycache__/e.py", "scalesweep/own.py", "__editable___x_finder.py"]
    for name in [*names, "short.py", "latin.py", "notes.txt"]:
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n" + "x = 1\n" * 50)
    (tmp_path / "site/short.py").write_text("x = 1\n")
    (tmp_path / "site/latin.py").write_bytes(b"# \xe9\n" + b"x = 1\n" * 50)
    (tmp_path / "site/link.py").symlink_to(tmp_path / "site/a.py")
    paths = {"stdlib": str(tmp_path / "none"), "purelib": str(tmp_path / "site"), "platlib": str(tmp_path / "site")}
    monkeypatch.setattr(sysconfig, "get_paths", lambda: paths)

    texts = [text.split(b"\n")[0].decode()[2:] for text in python_text.read_code(python_text.list_files())]
    kept = ["a.py", "b.py", "pkg/c.py", "pkg/d.py"]
    assert texts == sorted(kept, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def test_the_running_environment_has_code_and_prose(tmp_path):
    files = python_text.list_files()
    assert files == python_text.list_files()
    code = list(python_text.read_code(files[:20]))
    assert all(len(text) >= python_text.MIN_BYTES for text in code)
    prose = list(python_text.read_prose(files[:20]))
    assert 0 < sum(map(len, prose)) < sum(map(len, code))
    assert any(ast.parse(text) for text in code)


def test_text_files_are_documents_in_the_order_of_their_paths(tmp_path):
    for name in ("b.txt", "a.txt", "sub/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(f"text of {name}\r\n".encode())
    patterns = [str(tmp_path / "**/*.txt"), str(tmp_path / "a.txt")]
    documents = read(tmp_path, source="files", paths=patterns)
    assert documents == [b"text of a.txt\r\n", b"text of b.txt\r\n", b"text of sub/c.txt\r\n"]


def test_rows_of_jsonl_and_parquet_are_documents(tmp_path):
    pandas = pytest.importorskip("pandas")
    write_jsonl(tmp_path / "a.jsonl", [{"body": "one", "n": 1}, {"body": None, "n": 2}, {"body": "zwei é", "n": 3}])
    pandas.DataFrame({"body": ["three", "four"], "n": [1, 2]}).to_parquet(tmp_path / "b.parquet")
    paths = [str(tmp_path / "*.jsonl"), str(tmp_path / "*.parquet")]
    documents = read(tmp_path, source="files", paths=paths, column="body")
    assert documents == [b"one", "zwei é".encode(), b"three", b"four"]


def test_a_missing_column_is_named_with_those_that_exist(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", [{"body": "one", "id": 1}])
    with pytest.raises(DataError, match=r"data\.column='text' is not a column of .*a\.jsonl: it has body, id\."):
        read(tmp_path, source="files", paths=[str(tmp_path / "a.jsonl")])
    with pytest.raises(DataError, match=r"row 1 of .*a\.jsonl could not be read: data\.column='id' holds int where"):
        read(tmp_path, source="files", paths=[str(tmp_path / "a.jsonl")], column="id")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "the 1 matching files hold no text"),
        ("a.jsonl", b"", "the 1 matching files hold no text"),
        ("a.txt", b"text \xff\xfe", r"a\.txt could not be read: it is not UTF-8 text \(byte 5\)"),
        ("a.jsonl", bytes(range(256)), r"line 1 of .*a\.jsonl could not be read: it is not JSON"),
        ("a.parquet", b"not parquet" * 9, r"a\.parquet could not be read as parquet: "),
        ("a.csv", b"text\n", "the 1 matching files hold no text"),
        ("a.pdf", b"%PDF", r"a\.pdf has the extension '\.pdf'; allowed are \.txt, \.md, "),
        ("a.parquet.gz", b"x", r"has the extension '\.gz'; allowed are "),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path, source="files", paths=[str(tmp_path / "a.*")])


def test_a_glob_without_a_match_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no file matches '.*nothing-\*\.txt'"):
        read(tmp_path, source="files", paths=[str(tmp_path / "nothing-*.txt")])
    with pytest.raises(DataError, match="matches only directories"):
        read(tmp_path, source="files", paths=[str(tmp_path)])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("enwik8", b"short", "holds 5 bytes that are not enwik8"),
        ("enwik8.gz", b"not gzip", "could not be read"),
        ("enwik8.zip", b"not zip", "could not be read"),
        ("absent", None, "could not be read"),
    ],
)
def test_a_wrong_copy_of_enwik8_is_refused(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path, source="enwik8", paths=[str(tmp_path / name)])


@pytest.mark.network
@pytest.mark.slow
def test_enwik8_is_fetched_and_split_as_the_benchmark(tmp_path):
    corpus = prepare(DataSpec(source="enwik8", cache=str(tmp_path), tokenizer={"kind": "bytes"}))
    assert (corpus.train_tokens, corpus.validation_tokens) == (90_000_001, 5_000_001)
    assert bytes(corpus.train()[:11].astype("u1")) == b"<mediawiki "
    assert hashlib.sha256((tmp_path / "enwik8").read_bytes()).hexdigest() == enwik8.SHA256


HUB = """
from scalesweep.settings.data import DataSpec
from scalesweep.train.data import prepare
from scalesweep.errors import DataError
try:
    prepare(DataSpec(source="hub", name="someone/something", tokenizer={"kind": "bytes"}))
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("variables", "remedy"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "or unset HF_HUB_OFFLINE."),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "or set HF_HUB_OFFLINE=1 to use a copy that was downloaded before."),
    ],
)
def test_a_hub_out_of_reach_is_one_sentence_in_seconds(tmp_path, variables, remedy):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(tmp_path / "hf"), "SCALESWEEP_CACHE": str(tmp_path), **variables}
    result = subprocess.run(
        [sys.executable, "-c", HUB], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    sentence = result.stdout.strip()
    assert sentence.startswith("data.name='someone/something' could not be reached: ")
    assert sentence.endswith(f"use data=files with data.paths=[...], {remedy}")


LOCAL = """
import sys
from scalesweep.settings.data import DataSpec
from scalesweep.train.data import prepare
from scalesweep.errors import DataError
settings = {"source": "hub", "name": sys.argv[1], "tokenizer": {"kind": "bytes"}}
print(prepare(DataSpec.model_validate(settings)).documents)
for wrong in ({"split": "test"}, {"subset": "none"}, {"column": "body"}):
    try:
        prepare(DataSpec.model_validate({**settings, **wrong}))
    except DataError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_copy_of_a_data_set_is_read_offline_and_wrong_names_are_told(tmp_path):
    (tmp_path / "set").mkdir()
    write_jsonl(tmp_path / "set/train.jsonl", [{"text": f"row {index}"} for index in range(100)])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "SCALESWEEP_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", LOCAL, str(tmp_path / "set")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    documents, split, subset, column = result.stdout.splitlines()
    assert documents == "100"
    assert "could not be loaded: Bad split: test. Available splits: ['train']" in split
    assert "could not be loaded: BuilderConfig 'none' not found. Available: ['default']" in subset
    assert "data.column='body' is not a column of" in column and column.endswith("it has text.")


WEB = """
import sys
from scalesweep.settings.compose import compose_settings
from scalesweep.train.data import prepare
words = ["data=fineweb_edu", f"data.name={sys.argv[1]}", "data.max_bytes=400k", "data.tokenizer.vocab_size=300"]
data = compose_settings([*words, "data.validation_fraction=0.1"]).data
corpus = prepare(data)
print(corpus.documents, corpus.vocab_size, corpus.train_tokens, prepare(data).hash == corpus.hash)
"""


@pytest.mark.slow
def test_the_web_text_of_the_gpu_presets_is_read_from_parquet_files_of_its_layout(tmp_path):
    """A local copy of the data set's layout: parquet files of a named sample, among further columns, read as from the hub."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = tmp_path / "fineweb-edu" / "sample" / "10BT"
    place.mkdir(parents=True)
    for number in range(2):
        texts = [f"Page {number}-{row}. " + "Water boils at a lower temperature on a mountain. " * 60 for row in range(100)]
        rows = {"text": texts, "id": [str(row) for row in range(100)], "score": [3.1] * 100}
        pq.write_table(pa.table(rows), place / f"{number:03d}_00000.parquet")
    card = "---\nconfigs:\n- config_name: sample-10BT\n  data_files:\n  - split: train\n    path: sample/10BT/*\n---\n"
    (tmp_path / "fineweb-edu" / "README.md").write_text(card)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "SCALESWEEP_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", WEB, str(tmp_path / "fineweb-edu")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    documents, vocab_size, train_tokens, same = result.stdout.split()
    assert 100 < int(documents) < 200  # data.max_bytes ends the reading
    assert int(vocab_size) <= 300 and int(train_tokens) > 10_000 and same == "True"


def test_a_directory_that_is_not_there_or_holds_no_data_is_not_sought_on_the_hub(tmp_path):
    with pytest.raises(DataError, match="there is no such directory"):
        read(tmp_path, source="hub", name=str(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"is a directory that datasets cannot load.*try data=files"):
        read(tmp_path, source="hub", name=str(tmp_path / "empty"))


def test_a_local_data_set_is_known_by_its_content(tmp_path, monkeypatch):
    """Equally named directories, and one whose content is replaced; none of them asks the hub for a commit."""
    monkeypatch.setattr("scalesweep.train.data.hub.resolve_commit", lambda *_: pytest.fail("asked the hub"))
    monkeypatch.setattr(
        "scalesweep.train.data.hub.hub_rows",
        lambda name, **_: [{"text": file.read_text()} for file in sorted(Path(name).glob("*.txt"))],
    )
    spec = DataSpec(source="hub", name="set", validation_fraction=0.4, cache=str(tmp_path / "cache"), tokenizer=BYTES)
    hashes = []
    for place in ("a", "b"):
        for number in range(3):
            (tmp_path / place / "set").mkdir(parents=True, exist_ok=True)
            (tmp_path / place / f"set/{number}.txt").write_text(f"document {number} of {place}")
        monkeypatch.chdir(tmp_path / place)
        hashes.append(prepare(spec).hash)
    (tmp_path / "b/set/1.txt").write_text("another document")
    hashes.append(prepare(spec).hash)
    monkeypatch.chdir(tmp_path / "a")
    assert prepare(spec).hash == hashes[0]
    assert len(set(hashes)) == 3
