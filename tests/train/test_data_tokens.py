"""Files of token ids: what was tokenized elsewhere is read as it is, or refused."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from scalesweep.errors import DataError, SpecError
from scalesweep.points.metric import rate_from_nats
from scalesweep.settings.data import DataSpec
from scalesweep.train.data import prepare

IDS = np.random.default_rng(0).integers(0, 50_257, 10_000)


def corpus_of(tmp_path, *paths, vocab_size=50_257, **settings):
    spec = {"source": "tokens", "paths": [str(path) for path in paths], "cache": str(tmp_path / "cache"), **settings}
    return prepare(DataSpec.model_validate({**spec, "tokenizer": {"kind": "none", "vocab_size": vocab_size}}))


def streams(corpus):
    return np.concatenate([corpus.train(), corpus.validation()])


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_files_laid_end_to_end_are_the_corpus_and_its_end_is_held_out(tmp_path, dtype):
    IDS[:6_000].astype(dtype).tofile(tmp_path / "a.bin")
    np.save(tmp_path / "b.npy", IDS[6_000:].astype(dtype))
    corpus = corpus_of(tmp_path, tmp_path / "*.bin", tmp_path / "b.npy", dtype=dtype, validation_fraction=0.1)
    np.testing.assert_array_equal(corpus.train(), IDS[:9_000])
    np.testing.assert_array_equal(corpus.validation(), IDS[9_000:])
    assert (corpus.vocab_size, corpus.dtype, corpus.eod_id) == (50_257, "uint16", None)


def test_equal_ids_are_one_corpus_whatever_they_are_stored_as(tmp_path):
    IDS.astype("uint16").tofile(tmp_path / "a.bin")
    np.save(tmp_path / "b.npy", IDS)
    assert corpus_of(tmp_path, tmp_path / "a.bin", dtype="uint16").hash == corpus_of(tmp_path, tmp_path / "b.npy").hash


def test_replaced_ids_another_vocabulary_or_split_are_another_corpus(tmp_path):
    np.save(tmp_path / "a.npy", IDS)
    hashes = {
        corpus_of(tmp_path, tmp_path / "a.npy").hash,
        corpus_of(tmp_path, tmp_path / "a.npy", vocab_size=60_000).hash,
        corpus_of(tmp_path, tmp_path / "a.npy", validation_fraction=0.2).hash,
    }
    np.save(tmp_path / "a.npy", IDS[::-1])
    hashes.add(corpus_of(tmp_path, tmp_path / "a.npy").hash)
    assert len(hashes) == 4


def test_a_wrong_type_or_vocabulary_is_refused(tmp_path):
    IDS.astype("uint32").tofile(tmp_path / "wide.bin")
    IDS.astype("uint16").tofile(tmp_path / "narrow.bin")
    with pytest.raises(DataError, match=r"data\.dtype is missing"):
        corpus_of(tmp_path, tmp_path / "wide.bin")
    with pytest.raises(DataError, match=r"every second id .*data\.dtype=uint32"):
        corpus_of(tmp_path, tmp_path / "wide.bin", dtype="uint16")
    with pytest.raises(DataError, match="is no id of a vocabulary of 50,257"):
        corpus_of(tmp_path, tmp_path / "narrow.bin", dtype="uint32")
    with pytest.raises(DataError, match=f"token id {IDS.max():,} is no id of a vocabulary of 50,000"):
        corpus_of(tmp_path, tmp_path / "narrow.bin", dtype="uint16", vocab_size=50_000)
    with pytest.raises(ValueError, match=r"data=tokens needs paths and tokenizer\.vocab_size"):
        corpus_of(tmp_path, tmp_path / "narrow.bin", dtype="uint16", vocab_size=None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", np.zeros((3, 4), np.uint16), r"holds uint16 of shape \(3, 4\)"),
        ("a.npy", np.zeros(9), "holds float64 of shape"),
        ("a.npy", np.array([1, 2, -1]), "token id -1 is no id"),
        ("a.npy", np.array([1]), "hold 1 tokens, too few"),
        ("a.npy", b"\x93NUMPY no array", "holds no array of token ids"),
        ("a.bin", b"abc", "holds no array of token ids"),
        ("a.bin", b"", "holds no array of token ids"),
        ("a.txt", b"text", r"allowed are \.bin, \.npy"),
    ],
)
def test_what_holds_no_ids_is_refused(tmp_path, name, content, message):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        np.save(tmp_path / name, content)
    with pytest.raises(DataError, match=message):
        corpus_of(tmp_path, tmp_path / name, dtype="uint16")


@given(sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5), fraction=st.floats(0.01, 0.49))
@budget(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_id_is_lost_between_files_and_splits(tmp_path, sizes, fraction):
    ids = np.arange(sum(sizes) + 1)
    for path in tmp_path.glob("*.npy"):
        path.unlink()
    for index, part in enumerate(np.split(ids, np.cumsum(sizes))):
        np.save(tmp_path / f"{index}.npy", part)
    corpus = corpus_of(tmp_path, tmp_path / "*.npy", vocab_size=len(ids), validation_fraction=fraction)
    np.testing.assert_array_equal(streams(corpus), ids)


def test_bits_per_byte_need_the_bytes_of_a_token(tmp_path):
    np.save(tmp_path / "a.npy", IDS)
    unknown = corpus_of(tmp_path, tmp_path / "a.npy").bytes_per_token
    assert unknown is None
    with pytest.raises(SpecError, match="do not hold the bytes of a token"):
        rate_from_nats("bits_per_byte", unknown)
    assert corpus_of(tmp_path, tmp_path / "a.npy", bytes_per_token=4.5).bytes_per_token == pytest.approx(4.5, rel=1e-3)
