import jax
import numpy as np
import pytest

from hypjax.data.errors import UsageError
from hypjax.serving.answering import Answering, Missing, Question
from hypjax.stores import embeddings


@pytest.fixture(scope="module")
def answering(indexed):
    made = Answering(indexed.hold(indexed.index))
    made.warm_up()
    return made


def view(number):
    return np.random.default_rng(number).integers(0, 255, (32, 32, 3)).astype(np.uint8)


@pytest.mark.slow
def test_nothing_is_compiled_for_a_number_of_questions(answering, caplog):
    """The sizes are compiled as it warms up, and whatever comes is filled up to one of them."""
    with jax.log_compiles():
        jax.jit(lambda x: x + len(caplog.records))(1.0)
        assert "Compiling" in caplog.text
        caplog.clear()
        for count in (1, 2, 3, answering.most - 1, answering.most):
            replies = answering([Question(view=view(number), k=3) for number in range(count)])
            assert len(replies) == count
        assert "Compiling" not in caplog.text


@pytest.mark.slow
def test_what_a_batch_is_filled_up_with_changes_nothing(answering):
    alone = [answering([Question(view=view(number), k=2)])[0] for number in range(5)]
    together = answering([Question(view=view(number), k=2 + number) for number in range(5)])
    for number, (one, same) in enumerate(zip(alone, together, strict=True)):
        np.testing.assert_allclose(one.point, same.point, atol=1e-5)
        assert [hit.path for hit in one.answer.hits] == [hit.path for hit in same.answer.hits][:2]
        assert len(same.answer.hits) == 2 + number
        assert one.answer.word.probability == pytest.approx(same.answer.word.probability, abs=1e-4)


def test_one_bad_question_spoils_no_other(indexed, answering):
    point = embeddings.read(indexed.index).points[4]
    bad = [
        Question(point=np.full(8, 9.0, np.float32), k=2),
        Question(point=np.zeros(3, np.float32), k=2),
        Question(path="class 9/0.png", k=2),
        Question(point=point, k=2, where="no filter"),
        Question(point=point, k=2, risk=0.1),
    ]
    good = Question(point=point, uncertainty=0.3, k=2)
    *errors, reply = answering([*bad, good])
    assert [type(error) for error in errors] == [UsageError, UsageError, Missing, UsageError, UsageError]
    assert reply.answer.hits[0].path == "class 1/1.png"


def test_all_of_an_index_is_found_by_whoever_asks_for_more(answering):
    """By a picture 18, by a path 17, since it does not find itself, in one batch as well."""
    replies = answering([Question(path="class 1/1.png", k=100), Question(view=view(0), k=100), Question(view=view(1))])
    assert [reply.answer and len(reply.answer.hits) for reply in replies] == [17, 18, None]
