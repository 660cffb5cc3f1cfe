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
        problems: tokens of one length, which begin where a window does.
        autocast: the context in which the cell's products are computed.
        after_part: called after every forward pass, and may raise.
    """
    device, m = model.embedding.device, problems.answer_tokens
    parts = math.ceil(len(problems.tokens) / windows_at_once(model, problems.tokens.shape[1]))
    log_p, is_top = [], []
    for part in np.array_split(problems.tokens, parts):
        tokens_BT = to_device([part], device)[0]
        with autocast():
            logits_BmV = model(tokens_BT[None, :, :-1])[0, :, -m:]
        right_Bm = tokens_BT[:, -m:]
        log_p.append(torch.log_softmax(logits_BmV.double(), dim=-1).gather(-1, right_Bm[..., None]).squeeze(-1).cpu())
        is_top.append((logits_BmV.argmax(dim=-1) == right_Bm).cpu())
        after_part()
    return Answers(torch.cat(log_p).numpy(), torch.cat(is_top).numpy(), problems.rank, problems.chance)
