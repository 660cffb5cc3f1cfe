"""What a study is: a statement, the sweeps that can decide it, and the rule that was fixed before they were measured."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from scalesweep.settings.base import Spec

Claims = Literal["at least", "at most"]
Word = Literal["supported", "contradicted", "cannot tell", "not valid", "reported"]
"""Of a part: by its thresholds; withheld because a control failed; or a number without thresholds."""
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
NAMED_ARM = re.compile(r"@([a-z][a-z0-9_]*)")
"""An arm in an override of another: its cells write the other's text."""


class PartSpec(Spec):
    """One effect of a study, and what it must be."""

    name: Name
    """By which the judge gives the effect."""
    asks: str
    """What the number is, in one sentence."""
    unit: str = ""
    """Of the number; empty for a ratio or an exponent."""
    claims: Claims = "at least"
    """Whether the statement holds for large effects or for small ones."""
    claim_at: float | None = None
    """The statement is an effect from here on; null for a number that is reported without a verdict."""
    null_at: float | None = None
    """Nothing, or the counter-claim, from here on. Effects between the two are told from neither."""

    @model_validator(mode="after")
    def _ordered(self) -> "PartSpec":
        if (self.claim_at is None) != (self.null_at is None):
            raise ValueError(f"part {self.name}: give both claim_at and null_at, or none of them")
        if self.claim_at is None or self.null_at is None:
            return self
        if (self.claim_at - self.null_at) * (1 if self.claims == "at least" else -1) < 0:
            raise ValueError(
                f"part {self.name}: it claims {self.claims} {self.claim_at:g}, and null_at = {self.null_at:g} is beyond"
            )
        return self


class PlantedSpec(Spec):
    """A table of the study's design with a known effect, of which the judge must say this word."""

    part: Name
    theta: float
    """The effect that is planted, in the part's unit."""
    word: Literal["supported", "contradicted"]


class FormSpec(Spec):
    """The sweeps of a study at one size."""

    common: tuple[str, ...] = ()
    """Overrides of every arm, as after `scalesweep run`."""
    arms: dict[Name, tuple[str, ...]] = Field(min_length=1)
    """Name of an arm -> its own overrides. In them @ARM is the cell at the same place of an earlier arm, as in
    data.cell=@base: the arm is planned when that one is measured."""

    def teachers(self, arm: str) -> tuple[str, ...]:
        """The arms that the overrides of an arm name, each once."""
        return tuple(dict.fromkeys(name for word in self.arms[arm] for name in NAMED_ARM.findall(word)))

    @property
    def is_staged(self) -> bool:
        """Whether an arm's text is written by cells of another."""
        return any(self.teachers(arm) for arm in self.arms)

    @model_validator(mode="after")
    def _names_earlier_arms(self) -> "FormSpec":
        names = list(self.arms)
        for i, arm in enumerate(names):
            if late := [name for name in self.teachers(arm) if name not in names[:i]]:
                raise ValueError(f"arm {arm}: @{late[0]} is no arm before it; those are {', '.join(names[:i]) or 'none'}")
        return self


class StudySpec(Spec):
    """A study: configs/study/NAME.yaml."""

    statement: str
    """The claim as people say it, in one sentence."""
    counter: str
    """What is said against it."""
    judge: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")]
    """Module with the function `judge`, and with `simulate` where its rule can be simulated."""
    parts: Annotated[tuple[PartSpec, ...], Field(min_length=1, max_length=12)]
    """What is decided; the word of the study is that of the first."""
    planted: tuple[PlantedSpec, ...] = ()
    """Controls by simulated tables of the study's own design and noise."""
    sealed: dict[Name, Name | tuple[Name, ...]] = Field(default={})
    """Arm -> part or parts: what no open arm has of the arm is measured after the judge has forecast it, or else they cannot
    tell. Other studies that are asked for at once wait with these cells."""
    answered: tuple[Name, ...] = ()
    """Arms whose cells answer the problem set of their task (data=facts, data=copy): the judge finds a column `answers`."""
    seed: int = 0
    """Of resamples and of planted tables."""
    draws: Annotated[int, Field(ge=20, le=10**5)] = 1000
    """Resamples behind every interval."""
    quick: FormSpec
    """Minutes on two cores."""
    full: FormSpec
    """Hours on a GPU."""

    @property
    def sealed_parts(self) -> tuple[tuple[str, str], ...]:
        """Every sealed arm with each part that rests on its forecast."""
        return tuple((arm, name) for arm, of in self.sealed.items() for name in ((of,) if isinstance(of, str) else of))

    @model_validator(mode="after")
    def _consistent(self) -> "StudySpec":
        parts = [part.name for part in self.parts]
        if len(set(parts)) < len(parts):
            raise ValueError("two parts have one name")
        for named in (*(planted.part for planted in self.planted), *(part for _, part in self.sealed_parts)):
            if named not in parts:
                raise ValueError(f"{named} is no part; the parts are {', '.join(parts)}")
        for form in (self.quick, self.full):
            for word, those in (("sealed", tuple(self.sealed)), ("answered", self.answered)):
                if missing := [arm for arm in those if arm not in form.arms]:
                    raise ValueError(f"{word} arm {missing[0]} is no arm; the arms are {', '.join(form.arms)}")
        return self
