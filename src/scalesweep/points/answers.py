"""Answers of a trained cell to a set of problems with one right answer each, as a table of probabilities."""

from dataclasses import dataclass

import numpy as np

from scalesweep.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Answers:
    """What a cell says of every token of the right answers, each given the right tokens before it (teacher forcing).

    With one right answer, greedy decoding finds it if and only if every token is the top one given the right prefix, and a
    sample at temperature 1 is right with probability exp(sum of `log_p`): both without sampling.
    """

    log_p: FloatArray
    """Log-probability of each answer token, nats, shape (problems, tokens)."""
    is_top: BoolArray
    """Whether it has the highest probability, shape (problems, tokens)."""
    rank: IntArray
    """Of the problem: 1 is met most often in training; 0 where problems have no rank. Shape (problems,)."""
    chance: float
    """Probability that a guess is right, such as 16^-4."""

    @property
    def nll(self) -> FloatArray:
        """-ln p of the right answer, nats an answer, shape (problems,)."""
        return np.asarray(-self.log_p.sum(axis=1))

    @property
    def is_exact(self) -> BoolArray:
        """Whether greedy decoding gives the right answer, shape (problems,)."""
        return np.asarray(self.is_top.all(axis=1))

    @property
    def token_accuracy(self) -> FloatArray:
        """Share of the answer's tokens that are the top one, shape (problems,)."""
        return np.asarray(self.is_top.mean(axis=1))

    @property
    def log_missed(self) -> FloatArray:
        """ln(1 - p) of one sample, shape (problems,); finite where p is 1 to rounding."""
        return np.asarray(np.log1p(-np.minimum(np.exp(-self.nll), 1 - 1e-15)))

    def pass_at(self, k: FloatArray) -> FloatArray:
        """Mean over problems of 1 - (1 - p)^k, the chance that one of k samples is right: exact, no sampling.

        Args:
            k: samples a problem, shape (numbers,).
        """
        return np.asarray(-np.expm1(np.multiply.outer(np.asarray(k, dtype=np.float64), self.log_missed)).mean(axis=1))
