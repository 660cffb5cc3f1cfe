"""The tokenizer of a corpus as files that `transformers.AutoTokenizer.from_pretrained` opens and that give equal ids."""

import json
from pathlib import Path
from typing import Any

from scalesweep.errors import DataError
from scalesweep.train.data.corpus import Corpus
from scalesweep.train.data.encoding import END_OF_DOCUMENT


def export_tokenizer(corpus: Corpus, directory: Path, context: int) -> bool:
    """Write the tokenizer to `directory`; False for tokens that came without one.

    The ids are those of training: text that spells a special token is ordinary text, and nothing is added at its ends.

    Raises:
        DataError: the tokenizer is of a library that has no tokenizer.json.
    """
    if corpus.eod_id is None:
        return False
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    if (file := corpus.directory / "tokenizer.json").is_file():
        backend = Tokenizer.from_file(str(file))
    elif (corpus.vocab_size, corpus.eod_id) == (257, 256):
        backend = bytes_backend()
    else:
        raise DataError(f"{corpus.directory} holds no tokenizer.json, which other libraries lack; use kind=hub.")
    backend.post_processor = None  # which could add tokens at the ends of a text
    end = backend.id_to_token(corpus.eod_id)
    PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=end,
        pad_token=end,
        model_max_length=context,
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    ).save_pretrained(str(directory))
    return True


def bytes_backend() -> Any:
    """The 256 byte values as ids 0 to 255, and 256 as the end of a document: a byte-level BPE without merges."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    backend = Tokenizer(models.BPE(vocab={c: byte for byte, c in enumerate(_byte_characters())}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(END_OF_DOCUMENT, special=True, normalized=False)])
    assert json.loads(backend.to_str())["added_tokens"][0]["id"] == 256
    return backend


def _byte_characters() -> list[str]:
    """The printable characters that stand for the 256 bytes in byte-level BPE (Radford et al. 2019): those that print
    themselves, and the others in order from U+0100 on.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
