"""What a trained model says of the right answers to a problem set, by teacher forcing: one forward pass, and no sampling."""

import math
from collections.abc import Callable

import numpy as np
import torch

from scalesweep.points.answers import Answers
from scalesweep.train.data.tasks import ProblemSet
from scalesweep.train.evaluate import windows_at_once
from scalesweep.train.gradient import Autocast
from scalesweep.train.model.module import Model
from scalesweep.train.stepper import to_device


@torch.inference_mode()
def answer(model: Model, problems: ProblemSet, autocast: Autocast, after_part: Callable[[], None] = lambda: None) -> Answers:
    """Log-probabilities, in float64, of every token of every right answer given the right tokens before it.

    Args:
        model: one run (R = 1), on any device.
        problems: windows that begin where one of training does.
        autocast: the context in which the cell's products are computed.
        after_part: called after every forward pass, and may raise.
    """
    device, (windows, length) = model.embedding.device, problems.tokens.shape
    log_p, is_top = [], []
    for part in np.array_split(np.arange(windows), math.ceil(windows / windows_at_once(model, length))):
        tokens_BT = to_device([problems.tokens[part]], device)[0]
        with autocast():
            logits_BTV = model(tokens_BT[None, :, :-1])[0]
        asked = (part[0] <= problems.window) & (problems.window <= part[-1])
        window_P1, place_Pm = (torch.from_numpy(array[asked]).to(device) for array in problems.answer_places)
        window_P1 = window_P1 - int(part[0])
        logits_PmV, right_Pm = logits_BTV[window_P1, place_Pm - 1], tokens_BT[window_P1, place_Pm]
        log_p.append(torch.log_softmax(logits_PmV.double(), dim=-1).gather(-1, right_Pm[..., None]).squeeze(-1).cpu())
        is_top.append((logits_PmV.argmax(dim=-1) == right_Pm).cpu())
        after_part()
    return Answers(torch.cat(log_p).numpy(), torch.cat(is_top).numpy(), problems.rank, problems.chance)
