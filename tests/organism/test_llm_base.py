"""The errors of the LLM seam cross process borders and tell what to do."""

import pickle

import pytest

from organism.errors import ModelError
from organism.llm import base
from organism.llm.base import (
    BudgetExceeded,
    ModelNotFound,
    ModelProtocolError,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
    NoBackendAnswered,
    NoModelConfigured,
)

EXAMPLES = [
    NoModelConfigured(),
    ModelNotFound("gpt-9", ("gpt-5", "grok")),
    ModelNotFound(None, ()),
    ModelUnavailable("main", "cannot connect"),
    ModelProtocolError("main", "the reply broke off"),
    ModelTimeout("main", 1.5),
    ModelRateLimited("main", "slow down", 2.5),
    ModelRateLimited("main", "slow down", None),
    ModelRejected("main", 401, "wrong key"),
    ModelRejected("main", None, "no key"),
    NoBackendAnswered(("a failed", "b failed")),
    BudgetExceeded("thread", 120, 100),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_an_error_crosses_process_borders_unchanged(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_an_error_is_a_model_error_with_a_code_of_its_own(error):
    assert isinstance(error, ModelError)
    assert error.code != ModelError.code


def test_every_error_of_the_seam_has_an_example():
    defined = {each for each in vars(base).values() if isinstance(each, type) and issubclass(each, ModelError)}
    assert defined - {ModelError, base.BackendError} == {type(each) for each in EXAMPLES}


def test_without_a_model_the_error_shows_what_to_write_into_organism_yaml():
    text = str(NoModelConfigured())
    assert "organism.yaml" in text
    assert "backends:" in text
    assert "api_key_env" in text


def test_an_unknown_model_is_answered_with_those_there_are():
    assert "gpt-5, grok" in str(ModelNotFound("gpt-9", ("gpt-5", "grok")))
