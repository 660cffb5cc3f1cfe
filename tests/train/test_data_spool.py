import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalesweep.errors import DataError
from scalesweep.train.data.spool import cut, split, write_spool

DOCUMENTS = [f"document {index} ".encode() * (1 + index % 7) for index in range(100)]


def test_duplicates_are_dropped_and_counted(tmp_path):
    spool = write_spool([*DOCUMENTS, *DOCUMENTS[:10]], tmp_path / "text", None)
    assert spool.duplicates == 10
    assert list(spool.read(spool.regions)) == DOCUMENTS


@given(text=st.text(min_size=1, max_size=40), limit=st.integers(0, 200))
def test_a_cut_falls_between_characters(text, limit):
    data = text.encode()
    kept = cut(data, limit)
    assert data.startswith(kept) and len(kept) <= limit
    assert text.startswith(kept.decode())
    assert len(kept) > min(limit, len(data)) - 4


def test_the_cap_cuts_the_last_document(tmp_path):
    spool = write_spool([b"x" * 10, "ééé".encode(), b"never read"], tmp_path / "text", 13)
    assert list(spool.read(spool.regions)) == [b"x" * 10, "é".encode()]


def test_no_text_is_an_error(tmp_path):
    with pytest.raises(DataError, match="holds no text"):
        write_spool([], tmp_path / "text", None)


def test_the_split_is_near_its_fraction_and_depends_on_text_only(tmp_path):
    spool = write_spool(DOCUMENTS, tmp_path / "text", None)
    parts = split(spool, 0.1, None)
    held_out = set(spool.read(parts.validation))
    assert sum(map(len, held_out)) == pytest.approx(0.1 * spool.num_bytes, abs=10)
    assert held_out | set(spool.read(parts.train)) == set(DOCUMENTS)
    assert not held_out & set(spool.read(parts.train))

    reversed_spool = write_spool(reversed(DOCUMENTS), tmp_path / "reversed", None)
    assert set(reversed_spool.read(split(reversed_spool, 0.1, None).validation)) == held_out


@pytest.mark.parametrize("lengths", [(1000, 10), (10, 1000), (500, 500), (1, 2, 3)])
def test_few_documents_leave_one_on_each_side(tmp_path, lengths):
    spool = write_spool([bytes([65 + i]) * n for i, n in enumerate(lengths)], tmp_path / "text", None)
    parts = split(spool, 0.05, None)
    assert parts.train and parts.validation
    assert sum(n for _, n in parts.validation) <= sum(lengths) / 2


def test_one_document_is_cut_in_order(tmp_path):
    text = "abcdefghé".encode() * 10
    spool = write_spool([text], tmp_path / "text", None)
    parts = split(spool, 0.21, None)
    (train,), (validation,) = spool.read(parts.train), spool.read(parts.validation)
    assert train + validation == text
    assert len(validation) == pytest.approx(0.21 * len(text), abs=2)
    train.decode(), validation.decode()


def test_a_text_too_short_to_split_is_refused(tmp_path):
    with pytest.raises(DataError, match="one document of 5 bytes, too short"):
        split(write_spool([b"short"], tmp_path / "text", None), 0.05, None)
