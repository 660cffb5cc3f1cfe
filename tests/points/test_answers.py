import numpy as np
import pytest

from scalesweep.points.answers import Answers


@pytest.fixture
def answers():
    p = np.array([[0.5, 0.2], [1.0, 1.0], [0.9, 1e-30]])
    return Answers(np.log(p), np.array([[True, False], [True, True], [True, False]]), np.arange(1, 4), 1 / 256)


def test_an_answer_is_right_where_all_of_its_tokens_are(answers):
    assert list(answers.is_exact) == [False, True, False]
    assert list(answers.token_accuracy) == [0.5, 1.0, 0.5]
    assert np.exp(-answers.nll) == pytest.approx([0.1, 1.0, 9e-31])


def test_pass_at_k_is_the_mean_chance_that_one_of_k_samples_is_right(answers):
    k = np.array([1.0, 2.0, 10.0])
    assert answers.pass_at(k) == pytest.approx([(p + 1 + 0) / 3 for p in 1 - 0.9**k])


def test_pass_at_k_agrees_with_samples():
    rng = np.random.default_rng(0)
    p = rng.beta(0.3, 2, 200)
    answers = Answers(np.log(p)[:, None], np.ones((200, 1), bool), np.zeros(200, int), 0.0)
    right = rng.random((4000, 200, 5)) < p[:, None]
    assert float(answers.pass_at(np.array([5.0]))[0]) == pytest.approx(right.any(axis=2).mean(), abs=0.002)
