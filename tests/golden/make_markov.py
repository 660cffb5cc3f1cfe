"""The 20 losses of a fixed cell on the Markov source. `python tests/golden/make_markov.py` writes them to markov_losses.json.

Write them anew only for a change that is meant to move a loss, and say so in the change.
"""

import json
from pathlib import Path

import numpy as np
import torch

from scalesweep.plan.cell import Cell
from scalesweep.plan.flops import DecoderShape
from scalesweep.settings.data import DataSpec
from scalesweep.train.data.tasks import token_source
from scalesweep.train.gradient import Execution
from scalesweep.train.loop import Hooks, train
from scalesweep.train.pack import Run

FILE = Path(__file__).with_name("markov_losses.json")
STEPS = 20
CELL = Cell(
    shape=DecoderShape(width=16, depth=2, num_heads=2, ffn_width=40, vocab_size=8, context=16, qk_norm=True),
    rope_theta=10_000.0,
    embedding_std=1.0,
    residual_scale=1.0,
    corpus="markov-8",
    corpus_hash="golden",
    unique_tokens=20_000,
    seed=0,
    steps=STEPS,
    batch_sequences=8,
    warmup_steps=2,
    schedule="wsd",
    decay_steps=5,
    optimizer="adamw",
    hidden_lr=0.01,
    head_lr=0.01,
    embedding_lr=0.02,
    beta1=0.9,
    beta2=0.95,
    momentum=0.0,
    hidden_eps=1e-8,
    head_eps=1e-8,
    embedding_eps=1e-8,
    qk_norm_eps=1e-8,
    weight_decay=0.1,
    head_weight_decay=0.1,
    grad_clip=1.0,
    z_loss=0.0,
    precision="float32",
    validation_tokens=1024,
)


def measure() -> dict[str, list[float] | float]:
    """Training loss of each step and the validation loss, nats per token, on one CPU thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        source = token_source(DataSpec(source="markov", alphabet=8, tokenizer={"kind": "none"}))
        streams = [np.concatenate(list(source.draw(stream, num))) for stream, num in ((0, 20_000), (1, 2_000))]
        # So many points that every step has one.
        execution = Execution(torch.device("cpu"), curve_points=1000)
        outcome = train([Run(CELL)], *streams, execution, Hooks())[0]
    finally:
        torch.set_num_threads(threads)
    return {"losses": [point["loss"] for point in outcome.curve], "validation_loss": outcome.loss}


if __name__ == "__main__":
    FILE.write_text(json.dumps(measure(), indent=1) + "\n")
