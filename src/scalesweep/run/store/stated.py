"""What sweep.json states of the corpora that its cells are trained on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StatedCorpus:
    """A corpus as the sweep's file has it."""

    name: str
    directory: str
    data: Mapping[str, Any] | None
    """Values of its `DataSpec`; None in files from before there were several, where it is that of the settings."""
    sets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further validation sets by name: `train.data.validation.ValidationSet`."""
    account: str = ""
    """What the text lost on its way to tokens, in words; empty where it is not known."""
    validation_set: str = ""
    """Twelve hex digits of the held-out text, whatever its tokenizer; empty where it is not known."""


def stated_corpora(facts: Mapping[str, Any]) -> dict[str, StatedCorpus]:
    """Hash -> corpus, of `facts` in sweep.json."""
    if "corpora" in facts:
        return {hash: StatedCorpus(**stated) for hash, stated in facts["corpora"].items()}
    if "corpus_hash" not in facts:
        return {}
    account = facts.get("corpus_account", "")
    return {facts["corpus_hash"]: StatedCorpus(facts["corpus"], facts["corpus_directory"], None, account=account)}


def validation_sets(facts: Mapping[str, Any]) -> dict[str, str]:
    """Hash of a corpus -> what its cells are evaluated on, where all of them state it."""
    found = {hash: stated.validation_set for hash, stated in stated_corpora(facts).items()}
    return found if all(found.values()) else {}
