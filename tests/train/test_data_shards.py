import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from scalesweep.errors import DataError
from scalesweep.settings.data import DataSpec
from scalesweep.train.data import prepare
from scalesweep.train.data.corpus import cache_dir, open_corpus, why_temporary
from scalesweep.train.data.tokenizer import train_bpe


@pytest.fixture
def texts(tmp_path):
    directory = tmp_path / "texts"
    directory.mkdir()
    for index in range(40):
        (directory / f"{index:02}.txt").write_text(f"document number {index} says {index * index}\n" * 20, encoding="utf-8")
    (directory / "copy.txt").write_bytes((directory / "07.txt").read_bytes())
    return directory


def make_spec(texts, **settings):
    values = {"source": "files", "paths": [f"{texts}/*.txt"], "validation_fraction": 0.2, "cache": str(texts.parent / "cache")}
    return DataSpec.model_validate({**values, "tokenizer": {"kind": "bytes"}, **settings})


def leftovers(texts):
    return [path.name for path in (texts.parent / "cache/corpora").iterdir() if path.name.startswith(".")]


def test_streams_hold_every_document_once_and_apart(texts):
    corpus = prepare(make_spec(texts))
    assert (corpus.documents, corpus.duplicates_removed, corpus.vocab_size, corpus.dtype) == (40, 1, 257, "uint16")
    sides = []
    for tokens in (corpus.train(), corpus.validation()):
        assert tokens[-1] == corpus.eod_id
        ends = np.flatnonzero(tokens == corpus.eod_id)
        sides.append({bytes(part[part < 256].astype("u1")) for part in np.split(tokens, ends)} - {b""})
    assert not sides[0] & sides[1]
    assert sides[0] | sides[1] == {path.read_bytes() for path in texts.iterdir()}
    assert corpus.validation_bytes / (corpus.train_bytes + corpus.validation_bytes) == pytest.approx(0.2, abs=0.02)
    assert corpus.bytes_per_token == pytest.approx(1, abs=0.01)


def test_a_second_call_opens_the_first_ones_files(texts):
    said = []
    first = prepare(make_spec(texts), said.append)
    assert said == ["reading files", "tokenizing 22.1kB of files as bytes"]
    said.clear()
    assert prepare(make_spec(texts), said.append) == first
    assert said == []
    assert open_corpus(first.directory) == first


def test_equal_text_has_an_equal_hash_wherever_it_lies(texts, tmp_path):
    first = prepare(make_spec(texts))
    moved = texts.rename(tmp_path / "moved")
    assert prepare(make_spec(moved)).directory == first.directory
    assert prepare(make_spec(moved, cache=str(tmp_path / "other"))).hash == first.hash


def test_a_change_of_text_split_or_tokenizer_is_another_corpus(texts):
    hashes = {prepare(make_spec(texts)).hash}
    hashes.add(prepare(make_spec(texts, validation_fraction=0.3)).hash)
    hashes.add(prepare(make_spec(texts, max_bytes=10_000)).hash)
    hashes.add(prepare(make_spec(texts, tokenizer={"kind": "bpe", "vocab_size": 300})).hash)
    (texts / "00.txt").write_text("a changed document\n" * 30)
    hashes.add(prepare(make_spec(texts)).hash)
    assert len(hashes) == 5


def test_streams_are_read_only(texts):
    with pytest.raises(ValueError, match="read-only"):
        prepare(make_spec(texts)).train()[0] = 1


def test_a_single_document_is_split_in_order_and_said_so(texts):
    said = []
    corpus = prepare(make_spec(texts, paths=[str(texts / "07.txt")]), said.append)
    assert (corpus.name, corpus.documents) == ("07-0.52kB-bytes", 1)
    text = (texts / "07.txt").read_bytes()
    assert bytes(corpus.train()[:-1].astype("u1")) + bytes(corpus.validation()[:-1].astype("u1")) == text
    assert "07 has no documents to choose from: split in order, the last 104 bytes of one text" in said


def test_a_text_shorter_than_its_cap_and_a_small_vocabulary_are_said(texts):
    said = []
    prepare(make_spec(texts, max_bytes="1M", tokenizer={"kind": "bpe", "vocab_size": 5000}), said.append)
    assert any("has only 22.1kB of text, less than data.max_bytes = 1000000" in sentence for sentence in said)
    assert any("vocabulary of" in sentence and "not 5000" in sentence for sentence in said)


def test_a_ready_tokenizer_is_not_measured_by_the_vocabulary_of_a_trained_one(texts, tmp_path):
    said = []
    path = tmp_path / "tokenizer.json"
    path.write_text(train_bpe([b"some text"], 260).json, encoding="utf-8")
    prepare(make_spec(texts, tokenizer={"kind": "hub", "name": str(path), "vocab_size": 1024}), said.append)
    assert not any("vocabulary" in sentence for sentence in said)


def test_the_python_source_of_the_environment(tmp_path):
    tokenizer = {"kind": "bpe", "vocab_size": 512}
    corpora = [
        prepare(DataSpec(source="python", max_bytes=300_000, cache=str(tmp_path / name), tokenizer=tokenizer)) for name in "ab"
    ]
    assert corpora[0].hash == corpora[1].hash
    assert corpora[0].name == "python-code-300kB-bpe512"
    assert 1.5 < corpora[0].bytes_per_token < 3
    assert corpora[0].train_bytes + corpora[0].validation_bytes == pytest.approx(300_000, abs=3)
    assert corpora[0].train().max() < 512
    assert (corpora[0].directory / "tokenizer.json").exists()


def test_a_torn_corpus_is_refused_and_prepared_anew(texts):
    corpus = prepare(make_spec(texts))
    with open(corpus.directory / "train.bin", "r+b") as file:
        file.truncate(100)
    with pytest.raises(DataError, match=r"is torn: .*delete the directory and prepare it again"):
        open_corpus(corpus.directory)
    assert prepare(make_spec(texts)) == corpus
    assert open_corpus(corpus.directory) == corpus
    assert leftovers(texts) == []


def test_a_directory_that_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a prepared corpus"):
        open_corpus(tmp_path)


def test_the_corpus_states_where_it_comes_from(texts):
    facts = json.loads((prepare(make_spec(texts)).directory / "corpus.json").read_text())
    assert facts["origin"] == "41 local files"
    assert facts["split"]["train_documents"] + facts["split"]["validation_documents"] == 40
    assert set(facts["sha256"]) == {"text", "tokenizer", "train", "validation"}


def test_the_cache_is_chosen_by_setting_then_environment(monkeypatch, tmp_path):
    spec = DataSpec(source="python", tokenizer={"kind": "bytes"})
    monkeypatch.delenv("SCALESWEEP_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir(spec) == tmp_path / "xdg/scalesweep"
    monkeypatch.setenv("SCALESWEEP_CACHE", str(tmp_path / "environment"))
    assert cache_dir(spec) == tmp_path / "environment"
    assert why_temporary(spec) == ""
    assert cache_dir(spec.model_copy(update={"cache": str(tmp_path / "setting")})) == tmp_path / "setting"


def test_a_cache_that_cannot_be_written_is_one_sentence(texts):
    (texts.parent / "file").write_text("")
    with pytest.raises(DataError, match=r"could not be prepared in .*; data\.cache chooses another place"):
        prepare(make_spec(texts, cache=str(texts.parent / "file")))


# Runs prepare in a process of its own; `at_tokenizing` is a statement that runs when all text was read.
CHILD = """
import os, pathlib, signal, sys, time
from scalesweep.settings.data import DataSpec
from scalesweep.train.data import prepare
def announce(sentence):
    if sentence.startswith("tokenizing"):
        {at_tokenizing}
print(prepare(DataSpec.model_validate_json(sys.argv[1]), announce).hash)
"""


def start(spec, at_tokenizing, *arguments):
    code = CHILD.format(at_tokenizing=at_tokenizing)
    command = [sys.executable, "-c", code, spec.model_dump_json(), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_that_prepare_at_once_get_one_corpus(texts):
    # Each waits in the middle of its work until the other has come as far.
    meet = "pathlib.Path(sys.argv[2]).touch()\n        while not os.path.exists(sys.argv[3]): time.sleep(0.01)"
    one, two = texts.parent / "one", texts.parent / "two"
    children = [start(make_spec(texts), meet, mine, other) for mine, other in ((one, two), (two, one))]
    hashes = {child.communicate(timeout=60)[0].strip() for child in children}
    assert [child.returncode for child in children] == [0, 0]
    assert hashes == {prepare(make_spec(texts)).hash}
    assert len(list((texts.parent / "cache/corpora").iterdir())) == 1


def test_a_process_killed_in_the_middle_leaves_nothing_that_matters(texts):
    child = start(make_spec(texts), "os.kill(os.getpid(), signal.SIGKILL)")
    child.communicate(timeout=60)
    assert child.returncode == -9
    (leftover,) = leftovers(texts)
    assert prepare(make_spec(texts)).documents == 40
    assert leftovers(texts) == [leftover], "a young leftover may belong to a process that is at work"

    yesterday = time.time() - 25 * 3600
    os.utime(texts.parent / "cache/corpora" / leftover, (yesterday, yesterday))
    prepare(make_spec(texts, validation_fraction=0.3))
    assert leftovers(texts) == []


def test_a_user_without_a_home_prepares_corpora_in_a_private_temporary_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `docker run --user 1234`, whose home is / and whose name nobody knows."""
    for name in ("SCALESWEEP_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("scalesweep.files._refuses", lambda folder: folder == Path("/.cache/scalesweep"))
    monkeypatch.setenv("HOME", "/")
    spec = make_spec(tmp_path).model_copy(update={"cache": None})
    place = tmp_path / f"scalesweep-{os.getuid()}"
    assert cache_dir(spec) == place
    assert why_temporary(spec).startswith(f"/.cache/scalesweep cannot be written: prepared corpora go to {place}; data.cache")
    assert place.stat().st_mode & 0o777 == 0o700
    place.chmod(0o777)
    with pytest.raises(DataError, match=r"belongs to somebody else; data\.cache, or SCALESWEEP_CACHE"):
        cache_dir(spec)
