"""Faults planted in the pipeline itself, on one tiny cell of a source of known entropy: each breaks the certificate."""

import dataclasses
from pathlib import Path

import pytest

from scalesweep.plan import cell as plan_cell
from scalesweep.plan.flops import flops_per_token
from scalesweep.run.store.measured import read_measured
from scalesweep.settings.study import FormSpec
from scalesweep.studies.load import Study, load_study
from scalesweep.studies.measure import ask, read_arms
from scalesweep.studies.result import Result
from scalesweep.studies.study import run_studies, store_of
from scalesweep.train.model import decoder

TINY = (
    *("sweep=smoke", "data=markov", "data.alphabet=4", "data.max_tokens=100k", "train.validation_tokens=2048"),
    *("sweep.sizes=[{width:16,depth:1}]", "sweep.budgets=[16k]", "sweep.seeds=[0]", "recipe.warmup_steps=2"),
    *("launcher=inline", "train.fast=false"),
)


@pytest.fixture(scope="module")
def tiny() -> Study:
    """The study on one cell, without planted tables."""
    study = load_study("calibrate")
    spec = study.spec.model_copy(update={"quick": FormSpec(arms={"markov": TINY}), "planted": ()})
    return dataclasses.replace(study, spec=spec)


def certify(study: Study, directory: Path) -> Result:
    asked = ask(study, "quick", [f"data.cache={directory / 'cache'}"], directory, lambda _: None)
    return run_studies([asked], directory, lambda _: None)[0]


def failed(result: Result) -> list[str]:
    return [control.name for control in result.failed]


def test_a_sound_pipeline_passes_its_controls_and_says_what_is_known(tiny: Study, tmp_path: Path) -> None:
    assert failed(certify(tiny, tmp_path)) == []
    asked = ask(tiny, "quick", [f"data.cache={tmp_path / 'cache'}"], tmp_path, lambda _: None)
    row = read_arms(asked, read_measured(store_of(tmp_path), with_curves=False))["markov"].frame.iloc[0]
    assert row["entropy"] < row["unigram_entropy"]
    assert row["c_counted"] == row["c"]


def test_labels_shifted_onto_their_inputs_break_it(tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = decoder.mean_losses
    monkeypatch.setattr(decoder, "mean_losses", lambda logits, targets: sound(logits, targets.roll(1, dims=-1)))
    result = certify(tiny, tmp_path)
    assert failed(result) == ["floor of markov"]
    assert result.word == "not valid"


def test_flops_without_the_head_break_it(tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_head(shape, convention, params="with_head"):
        return flops_per_token(shape, convention, params) - 6 * shape.vocab_size * shape.width

    monkeypatch.setattr(plan_cell, "flops_per_token", without_head)
    assert failed(certify(tiny, tmp_path)) == ["FLOPs of markov"]


def test_an_entropy_that_is_overstated_breaks_it(tiny: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scalesweep.train.data import corpus

    monkeypatch.setattr(corpus.Corpus, "window_entropy", lambda self, context: 1.5)
    assert failed(certify(tiny, tmp_path)) == ["floor of markov"]
