"""Which settings have an effect only under others, so that one that was asked for in vain is refused and not ignored.

Only what a user names is looked at: options of groups inherit from one another and hold settings that do not concern them, and
so do the stored settings of older sweeps. Every setting stands either in `ALWAYS` or in `WHEN`; a test holds the two against
the fields of `Settings`.
"""

import contextlib
import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scalesweep.errors import SpecError
from scalesweep.settings.base import Ladder, Range
from scalesweep.settings.data import DRAWN, PACKINGS, TEXTS, DataSpec
from scalesweep.settings.plan import ModelSpec
from scalesweep.settings.settings import Settings, parse_settings


@dataclass(frozen=True)
class When:
    """What another setting must be for one to have an effect."""

    decider: str
    """The other setting, dotted, or a section."""
    is_met: Callable[[Any], bool]
    """Whether its value lets the first one matter."""
    options: tuple[str, ...]
    """Overrides that make it so, the most usual one first."""
    otherwise: str = ""
    """How things stand where it is not met; empty names the decider with its value."""


def _one_of(decider: str, name: str, *values: str) -> When:
    """The decider has one of these values, each of which is chosen by NAME=VALUE."""
    return When(decider, frozenset(values).__contains__, tuple(f"{name}={value}" for value in values))


def _any_but(*extensions: str) -> Callable[[Any], bool]:
    """Whether some file is of another kind than these; a pattern without an extension may match any."""
    return lambda paths: not paths or not all(path.endswith(extensions) for path in paths)


def _holds_out_a_share(data: DataSpec) -> bool:
    return data.source not in ("generated", "mix") and (data.source != "enwik8" or data.max_bytes is not None)


def _source(*names: str) -> When:
    return _one_of("data.source", "data", *names)


def _has_target(sizes: Any) -> bool:
    """Whether some size is a target N, and not a width and a depth."""
    return isinstance(sizes, Ladder) or any(isinstance(size, int) for size in sizes)


_TEXT = _source("files", "hub", "python", "enwik8")
_READY = _one_of("data.tokenizer.kind", "data.tokenizer.kind", "hub", "sentencepiece", "tiktoken")
_CLUSTER = _one_of("launcher.name", "launcher", "slurm", "ray")
_SLURM = _one_of("launcher.name", "launcher", "slurm")
_PROCESSES = _one_of("launcher.name", "launcher", "local", "slurm", "ray")
_MUON = _one_of("optim.name", "optim", "muon")
_OWN_OPTIMIZER = _one_of("optim.name", "optim", "custom")
_DRAWS = _one_of("sweep.tune.method", "sweep.tune.method", "sobol", "random")

WHEN: Mapping[str, tuple[When, ...]] = {
    "data.content": (_source("python"),),
    "data.paths": (_source("files", "enwik8", "tokens"),),
    "data.name": (_source("hub"),),
    "data.subset": (_source("hub"),),
    "data.split": (_source("hub"),),
    "data.revision": (_source("hub"),),
    "data.streaming": (_source("hub"),),
    "data.column": (
        _source("files", "hub"),
        When(
            "data.paths",
            _any_but(*(text + packing for text in TEXTS for packing in ("", *PACKINGS))),
            ("files with columns (.jsonl, .csv, .parquet)",),
            "files of text alone",
        ),
    ),
    "data.separator": (_source("files"),),
    "data.max_skipped": (_source("files", "hub"),),
    "data.dtype": (
        _source("tokens"),
        When("data.paths", _any_but(".npy"), ("files of .bin",), "files of .npy alone, which say their type"),
    ),
    "data.bytes_per_token": (_source("tokens"),),
    "data.max_bytes": (_TEXT,),
    "data.validation_fraction": (
        When(
            "data",
            _holds_out_a_share,
            ("data.max_bytes=10M (enwik8)", "a part's own (mix)", "data=files"),
            "a split that is another's",
        ),
    ),
    "data.model": (_source("generated"),),
    "data.cell": (_source("generated"),),
    "data.accumulate": (_source("generated"),),
    "data.verified": (_source("generated"),),
    "data.temperature": (_source("generated"),),
    "data.max_tokens": (_source(*DRAWN, "generated"),),
    "data.seed": (
        When(
            "data",
            lambda data: data.is_drawn or data.source == "generated" or data.unique_tokens is not None,
            ("data.unique_tokens=200k", "data=markov"),
            "a text of which every window is visited",
        ),
    ),
    "data.parts": (_source("mix"),),
    "data.alphabet": (_source("markov", "copy"),),
    "data.keys": (_source("zipf_facts", "facts"),),
    "data.zipf_alpha": (_source("zipf_facts", "facts"),),
    "data.values": (_source("zipf_facts", "facts"),),
    "data.answer_tokens": (_source("facts", "copy"),),
    "data.wrong_share": (_source("facts"),),
    "data.tokenizer.vocab_size": (
        When(
            "data",
            lambda data: data.tokenizer.kind == "bpe" or data.source == "tokens",
            ("data.tokenizer.kind=bpe", "data=tokens"),
            "a tokenizer whose vocabulary is given",
        ),
    ),
    "data.tokenizer.name": (_READY,),
    "data.tokenizer.eod": (_READY,),
    "data.tokenizer.max_lost": (_READY,),
    "recipe.depth": (When("sweep.sizes", _has_target, ("a size given by its N, as in sweep.sizes=[10k,40k]",)),),
    "recipe.lr": (When("recipe.lr_law", lambda law: law is None, ("recipe.lr_law=null",), "recipe.lr_law, which sets it"),),
    "recipe.base_width": (_one_of("recipe.parametrisation", "recipe", "completep", "mup"),),
    "recipe.base_depth": (_one_of("recipe.parametrisation", "recipe", "completep"),),
    "recipe.reference_tokens": (When("recipe.batch_exponent", lambda power: power > 0, ("recipe.batch_exponent=0.383",)),),
    "optim.momentum": (_MUON,),
    "optim.lr_ratio": (_MUON,),
    "optim.target": (_OWN_OPTIMIZER,),
    "optim.arguments": (_OWN_OPTIMIZER,),
    "train.compile": (
        When("train.device", lambda device: device != "cpu", ("train.device=cuda",)),
        When("train.fast", bool, ("train.fast=true",)),
        When("model", lambda model: isinstance(model, ModelSpec), ("model=decoder",), "a model whose layers are not compiled"),
    ),
    "train.decay_fraction": (_one_of("train.schedule", "train.schedule", "wsd"),),
    "train.devices": (
        _one_of("launcher.name", "launcher", "local"),
        When("train.device", lambda device: device != "cpu", ("train.device=cuda",)),
    ),
    "sweep.tune.num": (_DRAWS,),
    "sweep.tune.seed": (_DRAWS,),
    "launcher.workers": (_PROCESSES,),
    "launcher.workers_per_gpu": (
        _PROCESSES,
        When(
            "launcher",
            lambda launcher: launcher.gpus > 0 if launcher.name in ("slurm", "ray") else launcher.workers == "auto",
            ("launcher.gpus=1 (slurm, ray)", "launcher.workers=auto (local)"),
            "a number of workers that is stated already",
        ),
    ),
    "launcher.gpus": (_CLUSTER,),
    "launcher.cpus": (_CLUSTER,),
    "launcher.memory_gb": (_CLUSTER,),
    "launcher.minutes": (_SLURM,),
    "launcher.partition": (_SLURM,),
    "launcher.qos": (_SLURM,),
    "launcher.account": (_SLURM,),
    "launcher.constraint": (_SLURM,),
    "launcher.gres": (_SLURM,),
    "launcher.sbatch": (_SLURM,),
    "launcher.setup": (_SLURM,),
    "launcher.address": (_one_of("launcher.name", "launcher", "ray"),),
    "logger.mode": (_one_of("logger.kind", "logger", "wandb"),),
    "logger.project": (_one_of("logger.kind", "logger", "wandb", "trackio"),),
    "logger.entity": (_one_of("logger.kind", "logger", "wandb"),),
}
"""Setting -> all that must hold for it to have an effect."""
ALWAYS = frozenset(
    """
    dir count.params count.flops count.loss
    sweep.name sweep.design sweep.sizes sweep.budgets sweep.tokens_per_parameter sweep.seeds sweep.axes sweep.further
    sweep.tune.recipe sweep.tune.optim sweep.tune.train sweep.tune.method sweep.tune.extensions
    recipe.name recipe.parametrisation recipe.head_dim recipe.lr_law recipe.embedding_lr_ratio recipe.batch_tokens
    recipe.batch_exponent recipe.warmup_steps recipe.warmup_fraction
    model.target
    model.architecture model.config model.context model.ffn_ratio model.qk_norm model.rope_theta model.embedding_std
    data.source data.cache data.validation data.unique_tokens data.tokenizer.kind
    data.transform.kind data.transform.share data.transform.seed
    optim.name optim.beta1 optim.beta2 optim.eps optim.weight_decay optim.grad_clip optim.z_loss
    train.schedule train.device train.precision train.pack train.fast train.micro_batch train.validation_tokens
    train.curve_points train.checkpoint_seconds train.keep_weights
    launcher.name launcher.retries.failed launcher.retries.lost launcher.retries.diverged
    logger.kind
    budget.hours budget.flops budget.usd store.pool
    cost.usd_per_device_hour cost.watts cost.kg_co2_per_kwh cost.remeasure
    fit.law fit.huber_delta fit.interval fit.floor fit.bootstrap fit.confidence fit.seed report.title
    """.split()
)
"""Settings that have an effect whatever the others are, or whose own section refuses them where they have none."""
REPEATED: Mapping[str, str] = {
    "recipe.name": "recipe",
    "data.source": "data",
    "optim.name": "optim",
    "launcher.name": "launcher",
    "logger.kind": "logger",
}
"""Settings that repeat which option of their group was chosen -> the group. Files of options and stored sweeps hold them; users
choose the option, so that no two words can say different things."""
_AXES, _TUNE = "sweep.axes.", "sweep.tune."


def refuse_idle(named: Mapping[str, Any], settings: Settings) -> None:
    """Refuse settings that were asked for and can have no effect.

    Args:
        named: what was asked for, dotted setting -> value; sweep.axes.SETTING and sweep.tune.SETTING name it too. Null and an
            empty list ask for nothing.
        settings: what all of it together came to.

    Raises:
        SpecError: one sentence for each of them, with the option that would take it.
    """
    sentences = [_chosen_by_group(name, value) for name, value in named.items() if _swept(name) in REPEATED]
    for name, value in named.items():
        unmet = None if value is None or value == [] else unmet_by(_swept(name), settings)
        if unmet is not None:
            sentences.append(_sentence(name, value, unmet, settings))
    if sentences:
        raise SpecError("\n".join(sentences))


def unmet_by(setting: str, settings: Settings) -> When | None:
    """What keeps the setting from having an effect in any cell; None where nothing does."""
    table = next((name for name in (setting, *_tables(setting)) if name in WHEN), "")
    for when in WHEN.get(table, ()):
        if not any(when.is_met(_value(when.decider, variant)) for variant in itertools.chain([settings], _variants(settings))):
            return when
    return None


def _tables(setting: str) -> Iterator[str]:
    """The tables that a setting stands in, the innermost one first."""
    while "." in setting:
        setting = setting.rpartition(".")[0]
        yield setting


def _swept(name: str) -> str:
    """The setting that an axis or a tuned setting is of; any other name as it is."""
    if name not in WHEN and name.startswith((_AXES, _TUNE)):
        name = name.removeprefix(_AXES).removeprefix(_TUNE)
    return name


def _sentence(name: str, value: Any, unmet: When, settings: Settings) -> str:
    decider = REPEATED.get(unmet.decider, unmet.decider)
    how = unmet.otherwise or f"{decider}={_plain(_value(unmet.decider, settings))}"
    return (
        f"{name}={_plain(value)} has no effect with {how}: it needs {' or '.join(unmet.options)}; "
        "add that, or leave the setting out."
    )


def _chosen_by_group(name: str, value: Any) -> str:
    group = REPEATED[_swept(name)]
    axis = name.removesuffix(_swept(name))
    return f"{name} is not a setting (did you mean {axis}{group}={_plain(value)}?): an option of {group} is chosen by its name."


def _plain(value: Any) -> str:
    """A value as a command line has it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_plain, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(decider: str, settings: Settings) -> Any:
    return operator.attrgetter(decider)(settings)


def _variants(settings: Settings) -> Iterator[Settings]:
    """The settings at the combinations of axes and tuned values that may decide whether another setting has an effect."""
    deciders = {when.decider for conditions in WHEN.values() for when in conditions}
    swept = {
        name: values
        for name, values in [*_axes(settings.sweep.axes), *_tuned(settings)]
        if any(f"{name}.".startswith(f"{decider}.") or f"{decider}.".startswith(f"{name}.") for decider in deciders)
    }
    for combination in itertools.product(*swept.values()):
        with contextlib.suppress(SpecError):  # the plan refuses such a value in its own words
            yield _placed(settings, dict(zip(swept, combination, strict=True)))


def _axes(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Sequence[Any]]]:
    """Each axis with its values: a setting, or a group whose options were composed to tables with `values`."""
    for name, values in table.items():
        if isinstance(values, Mapping):
            yield from _axes(values, f"{prefix}{name}.")
        elif isinstance(values, list | tuple):
            options = [value["values"] if isinstance(value, Mapping) and "values" in value else value for value in values]
            yield f"{prefix}{name}", options


def _tuned(settings: Settings) -> Iterator[tuple[str, Sequence[float]]]:
    """Each tuned setting with its values, of a range its ends."""
    for name, values in settings.sweep.tune.choices.items() if settings.sweep.tune else ():
        yield name, (values.low, values.high) if isinstance(values, Range) else values


def _placed(settings: Settings, chosen: Mapping[str, Any]) -> Settings:
    """The settings with other values of some of them, or of whole sections.

    Raises:
        SpecError: a name or a value is wrong.
    """
    values = settings.model_dump(mode="json")
    for name, value in chosen.items():
        *path, last = name.split(".")
        table = values
        for part in path:
            table = table.get(part) or {}
        table[last] = value
    return parse_settings(values)
