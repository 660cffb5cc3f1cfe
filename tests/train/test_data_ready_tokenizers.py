"""Ready tokenizers are tried on the text before anything is trained, and known by what is in their files."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st

from scalesweep.errors import DataError
from scalesweep.settings.data import DataSpec
from scalesweep.train.data import prepare
from scalesweep.train.data.encoding import decode, encode
from scalesweep.train.data.round_trip import percent, round_trip, sample
from scalesweep.train.data.spool import write_spool
from scalesweep.train.data.tokenizer import byte_tokenizer, load_tokenizer, tokenizer_of, train_bpe

SENTENCES = [f"The {i}th cat sat on {i * i} mats, and Zoë's dog on log {i + 7}.\n" for i in range(400)]


@pytest.fixture
def texts(tmp_path):
    directory = tmp_path / "texts"
    directory.mkdir()
    for index in range(20):
        (directory / f"{index:02}.txt").write_text("".join(SENTENCES[index * 20 : index * 20 + 20]), encoding="utf-8")
    return directory


@pytest.fixture
def bpe():
    return json.loads(train_bpe([line.encode() for line in SENTENCES], 300).json)


def corpus_of(texts, name, **settings):
    tokenizer = {"kind": "hub", "name": str(name), **settings}
    spec = {"source": "files", "paths": [f"{texts}/*.txt"], "validation_fraction": 0.2, "tokenizer": tokenizer}
    said = []
    return prepare(DataSpec.model_validate({**spec, "cache": str(texts.parent / "cache")}), said.append), said


def saved(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def directory_of(path, value):
    saved(path / "tokenizer.json", value)
    saved(path / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"})
    return path


def word_level(words, **model):
    vocab = {word: index for index, word in enumerate(["[UNK]", "</s>", *words])}
    return {
        "version": "1.0",
        "added_tokens": [
            {
                "id": 1,
                "content": "</s>",
                "special": True,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
            }
        ],
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[\\s\\S]"}, "behavior": "Isolated", "invert": False},
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]", **model},
    }


def test_stored_truncation_and_padding_take_no_part(texts, tmp_path, bpe):
    plain, _ = corpus_of(texts, saved(tmp_path / "plain.json", bpe))
    truncation = {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0}
    padding = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 5,
        "pad_type_id": 0,
        "pad_token": "<pad>",
    }
    corpus, _ = corpus_of(texts, saved(tmp_path / "cut.json", {**bpe, "truncation": truncation, "padding": padding}))
    assert corpus.hash == plain.hash
    assert corpus.train_tokens == plain.train_tokens
    assert corpus.bytes_per_token < 4  # truncated to 16 tokens a document it is above 50


def test_a_byte_level_tokenizer_loses_nothing(texts, tmp_path, bpe):
    corpus, said = corpus_of(texts, saved(tmp_path / "tokenizer.json", bpe))
    assert (corpus.round_trip.lost_characters, corpus.round_trip.changed_texts, corpus.unknown_tokens) == (0, 0, 0)
    held_out = len(tokenizer_of(corpus).decode(corpus.validation()[corpus.validation() != corpus.eod_id]))
    everything = len("".join(path.read_text() for path in texts.iterdir()))
    assert 0 < everything - held_out - corpus.round_trip.characters < 100  # spaces at the ends of parts
    assert not any("loses" in line for line in said)


@pytest.mark.parametrize("is_directory", [False, True])
def test_text_of_unknown_tokens_is_refused(texts, tmp_path, is_directory):
    value = word_level("xyz")
    name = directory_of(tmp_path / "tok", value) if is_directory else saved(tmp_path / "tok.json", value)
    with pytest.raises(DataError, match=r"loses 100 % of the characters .*data\.tokenizer\.max_lost"):
        corpus_of(texts, name)
    assert not [path for path in (tmp_path / "cache/corpora").iterdir() if not path.name.startswith(".")]


def test_folded_case_is_measured_said_and_refused_above_the_share(texts, tmp_path, bpe):
    name = saved(tmp_path / "lower.json", {**bpe, "normalizer": {"type": "Lowercase"}})
    with pytest.raises(DataError, match=r"'The .*' comes back as 'the "):
        corpus_of(texts, name)
    corpus, said = corpus_of(texts, name, max_lost=0.1)
    train = [path.read_text() for path in sorted(texts.iterdir())]
    exact = sum(sum(c.isupper() for c in text) for text in train) / sum(map(len, train))
    assert corpus.round_trip.lost == pytest.approx(exact, rel=0.02)
    assert any(percent(corpus.round_trip.lost) in line for line in said)
    with pytest.raises(DataError, match=r"data\.tokenizer\.max_lost = 0\.001"):
        corpus_of(texts, name)  # also of the corpus that stands


def test_unknown_tokens_that_the_sample_misses_are_counted(texts, tmp_path):
    letters = sorted(set("".join(SENTENCES)))
    (texts / "odd.txt").write_text("☃" * 900, encoding="utf-8")
    name = saved(tmp_path / "letters.json", word_level(letters))
    corpus, _ = corpus_of(texts, name, max_lost=0.9)
    assert corpus.unknown_tokens == 900
    assert corpus.vocab_size == len(letters) + 2
    with pytest.raises(DataError):
        corpus_of(texts, name, max_lost=0.01)


def test_ids_with_holes_fit_the_vocabulary_and_the_disk(texts, tmp_path):
    value = word_level(sorted(set("".join(SENTENCES))))
    value["model"]["vocab"]["T"] = 70_000
    corpus, said = corpus_of(texts, saved(tmp_path / "holes.json", value))
    assert (corpus.vocab_size, corpus.dtype) == (70_001, "uint32")
    assert np.count_nonzero(corpus.train() == 70_000) + np.count_nonzero(corpus.validation() == 70_000) == len(SENTENCES)
    assert corpus.train().max() == 70_000
    assert any("70,001" in line and "unused" in line for line in said)


@pytest.mark.parametrize("kind", ["bytes", "bpe", "hub"])
def test_the_tokenizer_of_a_corpus_is_opened_from_beside_it(texts, tmp_path, bpe, kind):
    name = saved(tmp_path / "gone.json", bpe)
    spec = {"bytes": {}, "bpe": {"vocab_size": 280}, "hub": {"name": str(name)}}[kind]
    values = {"source": "files", "paths": [f"{texts}/*.txt"], "cache": str(tmp_path / "cache"), "validation_fraction": 0.2}
    corpus = prepare(DataSpec.model_validate({**values, "tokenizer": {"kind": kind, **spec}}))
    name.unlink()
    tokenizer = tokenizer_of(corpus)
    assert (tokenizer.vocab_size, tokenizer.eod_id) == (corpus.vocab_size, corpus.eod_id)
    documents = [path.read_bytes() for path in sorted(texts.iterdir())]
    stream = np.concatenate(list(encode(tokenizer, documents)))
    assert len(stream) == corpus.train_tokens + corpus.validation_tokens
    assert decode(tokenizer, stream) == "".join(text.decode() + "<|endoftext|>" for text in documents)


def test_tokens_without_a_tokenizer_encode_no_other_text(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(100))
    spec = {"source": "tokens", "paths": [f"{tmp_path}/a.npy"], "cache": str(tmp_path / "cache")}
    corpus = prepare(DataSpec.model_validate({**spec, "tokenizer": {"kind": "none", "vocab_size": 100}}))
    with pytest.raises(DataError, match="came as tokens"):
        tokenizer_of(corpus)


def test_a_tokenizer_directory_is_known_by_its_content(texts, tmp_path, bpe, monkeypatch):
    other = json.loads(train_bpe([line.encode() for line in SENTENCES], 280).json)
    hashes, places = [], []
    for place, value in (("a", bpe), ("b", other)):
        directory_of(tmp_path / place / "tok", value)
        monkeypatch.chdir(tmp_path / place)
        corpus, _ = corpus_of(texts, "tok")
        hashes.append(corpus.hash)
        places.append(corpus.directory)
    assert len(set(hashes)) == len(set(places)) == 2
    monkeypatch.chdir(tmp_path / "a")
    assert corpus_of(texts, "tok")[0].directory == places[0]
    shutil.copytree(tmp_path / "b/tok", tmp_path / "a/tok", dirs_exist_ok=True)
    assert corpus_of(texts, "tok")[0].hash == hashes[1]


def test_the_token_that_ends_documents_may_be_named(texts, tmp_path):
    value = word_level(sorted(set("".join(SENTENCES))))
    name = saved(tmp_path / "ends.json", json.loads(json.dumps(value).replace("</s>", "<|stop|>")))
    with pytest.raises(DataError, match=r"has no end-of-document token .*data\.tokenizer\.eod"):
        corpus_of(texts, name)
    corpus, _ = corpus_of(texts, name, eod="<|stop|>")
    assert corpus.eod_id == 1
    assert np.count_nonzero(corpus.train() == 1) + np.count_nonzero(corpus.validation() == 1) == corpus.documents == 20
    other, _ = corpus_of(texts, name, eod="T")
    assert (other.eod_id, other.hash == corpus.hash) == (value["model"]["vocab"]["T"], False)
    assert (other.inner_ends, corpus.inner_ends) == (len(SENTENCES), 0)  # each sentence has a T
    with pytest.raises(DataError, match=r"has no end-of-document token \(<eot>\)"):
        corpus_of(texts, name, eod="<eot>")
    with pytest.raises(ValueError, match=r"eod = '</s>' is of a ready tokenizer"):
        DataSpec.model_validate({"source": "python", "tokenizer": {"kind": "bytes", "eod": "</s>"}})


def test_a_corpus_of_a_tokenizer_that_was_trusted_is_made_again(texts, tmp_path, bpe):
    name = saved(tmp_path / "tokenizer.json", bpe)
    corpus, _ = corpus_of(texts, name)
    facts = json.loads((corpus.directory / "corpus.json").read_text())
    (corpus.directory / "corpus.json").write_text(
        json.dumps({key: v for key, v in facts.items() if key not in ("round_trip", "unknown_tokens")})
    )
    assert corpus_of(texts, name)[0] == corpus
    assert json.loads((corpus.directory / "corpus.json").read_text()) == facts


def test_a_tokenizer_that_may_not_be_read_is_named(texts, tmp_path, bpe, monkeypatch):
    name = saved(tmp_path / "tokenizer.json", bpe)
    corpus_of(texts, name)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(DataError, match=r"tokenizer\.json could not be read \(Permission denied\)"):
        corpus_of(texts, name)


def test_a_space_before_a_text_is_no_loss(tmp_path, bpe):
    value = {**bpe, "pre_tokenizer": {**bpe["pre_tokenizer"], "add_prefix_space": True}}
    tokenizer = load_tokenizer(str(saved(tmp_path / "space.json", value)))
    found = round_trip(tokenizer, [line.encode() for line in SENTENCES])
    assert (found.changed_texts, found.lost_characters) == (0, 0)


@given(documents=st.lists(st.text(alphabet="aé☃\n", min_size=1), min_size=1, unique=True), repeats=st.sampled_from([1, 300]))
@budget(max_examples=20, deadline=None)
def test_a_sample_is_whole_characters_of_the_text(tmp_path_factory, documents, repeats):
    text = [(document * repeats).encode() for document in documents]
    spool = write_spool(text, tmp_path_factory.mktemp("spool") / "documents", None)
    texts = sample(spool, spool.regions)
    assert texts
    whole = b"".join(text).decode()
    assert all(part.decode() in whole for part in texts[:: len(texts) // 20 + 1])
    found = round_trip(byte_tokenizer(), texts)
    assert (found.lost, found.texts) == (0, len(texts))


@pytest.mark.parametrize(
    ("share", "words"), [(0, "0 %"), (1, "100 %"), (0.5, "50 %"), (0.0004, "0.040 %"), (0.99996, "99.9960 %"), (0.123, "12 %")]
)
def test_a_share_is_never_rounded_to_none_or_all(share, words):
    assert percent(share) == words


def test_one_changed_letter_is_one_lost_character():
    tokenizer = dataclasses.replace(byte_tokenizer(), decode=lambda ids: "".join(map(chr, ids)).replace("b", "c"))
    assert round_trip(tokenizer, [b"abab", b"aaaa"]).lost == 2 / 8
