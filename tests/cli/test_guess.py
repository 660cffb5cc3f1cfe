"""Twenty and more usual wrong guesses, typed as a user would: each leads to the right setting, or to why there is none."""

import json
import re
from itertools import chain
from pathlib import Path

import pytest

from scalesweep.cli import main
from scalesweep.settings import guess
from scalesweep.settings.again import overrides_of
from scalesweep.settings.compose import _leaf_paths, compose_settings, compose_values
from scalesweep.settings.effect import REPEATED
from scalesweep.settings.settings import parse_settings

GUESSES = {
    "model.heads=4": "write recipe.head_dim=16",
    "model.width=64": "sweep.sizes=[{width: 64, depth: 2}]",
    "model.n_layer=2": "write recipe.depth=2",
    "optim.lr=0.01": "write recipe.lr=0.006",
    "train.lr=0.01": "write recipe.lr=0.006",
    "lr=0.01": "write recipe.lr=0.006",
    "seed=1": "write sweep.seeds=[0,1]",
    "name=mine": "write sweep.name=NAME",
    "batch_size=64": "write recipe.batch_tokens=512",
    "steps=1000": "write sweep.budgets=[128k,512k]",
    "dropout=0.1": "there is none, as every model is trained without dropout",
    "epochs=2": "a run is as long as its budget",
    "device=gpu": "write train.device=auto, cpu or cuda",
    "train.device=gpu": "(did you mean cuda?)",
    "sizes=[10k]": "write sweep.sizes=[10k,40k]",
    "budgets=[1M]": "write sweep.budgets=[128k,512k]",
    "gpus=2": "launcher.gpus=2 of a cluster",
    "wandb=false": "write logger=wandb, tensorboard, trackio or none",
    "logger=false": "logger = 'false' is not an option (write logger=none)",
    "precision=bf16": "write train.precision=auto, float32 or bfloat16",
    "train.precision=bf16": "(did you mean bfloat16?)",
    "context=64": "write model.context=128",
    "vocab_size=512": "write data.tokenizer.vocab_size=1024",
    "data.path=texts": "write data=files",
    "data=texts/a.txt": "write data=files \"data.paths=['texts/a.txt']\"",
    "model=gpt2": "write model=hf model.architecture=GPT2",
    "hours=1": "(did you mean budget.hours?)",
    "output_dir=x": "write dir=PLACE",
    "--batch-size=4": "'--batch-size=4' is not an option: write recipe.batch_tokens=512",
}


@pytest.mark.parametrize(("word", "answer"), GUESSES.items())
def test_a_usual_guess_leads_to_the_right_setting(word: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", word]) == 2
    sentence = capsys.readouterr().err
    assert answer in sentence
    assert sentence.count("\n") == 1


def test_what_the_answers_name_are_settings() -> None:
    keys = set(dict(_leaf_paths(compose_values([]))))
    named = set(chain.from_iterable(re.findall(r"\b[a-z]+(?:\.[a-z_]+)+(?==)", text) for text in guess._ELSEWHERE.values()))
    assert len(named) > 20
    assert {name.removeprefix("sweep.tune.") for name in named} - keys == {"launcher.gpus", "model.config.tie_word_embeddings"}


@pytest.mark.parametrize(("key", "group"), REPEATED.items())
def test_an_option_is_chosen_by_its_name_alone(key: str, group: str, capsys: pytest.CaptureFixture[str]) -> None:
    value = {"logger": "none", "launcher": "inline", "optim": "adamw", "data": "python", "recipe": "sp"}[group]
    assert main(["run", f"{key}={value}"]) == 2
    assert f"{key} is not a setting (did you mean {group}={value}?)" in capsys.readouterr().err


def test_stored_settings_keep_what_users_no_longer_set() -> None:
    """A sweep that was begun with such words opens, and the command that makes it again has none of them."""
    stored = json.loads((Path(__file__).parents[1] / "data" / "stored_settings.json").read_text())
    settings = parse_settings(stored)
    kept = settings.model_dump(mode="json")  # settings that came later have their defaults
    assert {
        name: {key: kept[name][key] for key in of} if isinstance(of, dict) else kept[name] for name, of in stored.items()
    } == (stored)
    assert (settings.recipe.name, settings.logger.kind, settings.data.source) == ("mine", "trackio", "files")
    words = overrides_of(settings)
    assert words is not None
    assert {"logger=trackio", "data=files", "optim=muon", "launcher=inline"} <= set(words)
    assert not {word.partition("=")[0] for word in words} & REPEATED.keys()


@pytest.mark.parametrize("name", ["fit", "report", "forecast"])
def test_help_lists_settings_with_their_defaults(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    default = compose_settings([])
    for group in {"fit", "report"} if name != "forecast" else {"fit"}:
        for key, value in getattr(default, group):
            wanted = f"  {group}.{key}={'null' if value is None else value} "
            assert sum(line.startswith(wanted) for line in lines) == 1, wanted


def test_a_setting_of_the_fit_without_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "points=chinchilla", "bootstrap=100"]) == 2
    assert "(did you mean fit.bootstrap?)" in capsys.readouterr().err
