"""A judge of the smallest study: the loss falls with tokens."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from scalesweep.report.charts.chart import Missing
from scalesweep.studies.base import Arms, Control, Effect, Findings, Rule, arm, replicate_noise, with_losses


def judge(arms: Arms, rule: Rule) -> Findings:
    """The drop of log loss over the budgets, and how far the sealed forecast was off."""
    points = arm(arms, "base")
    gain = _gain(arms)
    spread = 0.005
    effects = {"gain": Effect(gain, gain - spread, gain + spread), "error": Effect.missing("Nothing was forecast.")}
    if rule.sealed and "long" in arms:
        error = float(np.mean(np.log(arms["long"].loss))) - rule.sealed["log_loss"]
        effects["error"] = Effect(error, error - 0.1, error + 0.1)
    finite = Control("finite", "Every loss is below 100", bool((points.loss < 100).all()))
    chart = Missing("toy", "Loss against tokens", "it is a toy")
    return Findings(effects, f"The loss fell by {gain:.0%}.", chart, (finite,), replicate_noise(points)[0])


def simulate(arms: Arms, part: str, theta: float, noise: float, rng: np.random.Generator) -> Arms:
    """Losses that fall by theta from the smallest budget to the largest, without noise."""
    if part != "gain":
        raise KeyError(part)
    points = arm(arms, "base")
    d = np.log(points.d)
    share = (d - d.min()) / (d.max() - d.min())
    return {"base": with_losses(points, np.exp(1 - theta * share))}


def forecast(arms: Arms, targets: Arms, rule: Rule) -> Mapping[str, Any]:
    """The same drop once more."""
    return {"log_loss": float(np.log(arm(arms, "base").loss).min()) - _gain(arms), "cells": len(targets["long"].n)}


def _gain(arms: Arms) -> float:
    points = arm(arms, "base")
    log_loss = np.log(points.loss)
    return float(log_loss[points.d == points.d.min()].mean() - log_loss[points.d == points.d.max()].mean())
