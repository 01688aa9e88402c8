"""What clients may choose of models: those that the backends of llm.backends list."""

from __future__ import annotations

from organism.config import LlmSection, SessionsSection
from organism.llm.base import ModelNotFound
from organism.llm.router import backend_names
from organism.sessions.records import ModelChoice
from organism.sessions.wire import ModelOffer


def offers_of(llm: LlmSection) -> tuple[ModelOffer, ...]:
    """Each backend by name, in the order of the configuration."""
    names = backend_names(llm.backends)
    return tuple(ModelOffer(name, each.models) for name, each in zip(names, llm.backends, strict=True))


def default_model(sessions: SessionsSection, llm: LlmSection) -> ModelChoice | None:
    """The default agent's own model, else the first that a backend lists; None where there is none."""
    wanted = sessions.offered[0].model
    for provider, models in offers_of(llm):
        if wanted is None and models:
            return ModelChoice(provider=provider, id=models[0])
        if wanted is not None and (wanted in models or not models):
            return ModelChoice(provider=provider, id=wanted)
    return None


def check_model(choice: ModelChoice, llm: LlmSection) -> None:
    """A backend that lists no models takes any name.

    Raises:
        ModelNotFound: no backend has it.
    """
    offers = offers_of(llm)
    for provider, models in offers:
        if choice.provider in ("", provider) and (not models or choice.id in models):
            return
    name = f"{choice.provider}/{choice.id}" if choice.provider else choice.id
    raise ModelNotFound(name, tuple(dict.fromkeys(model for offer in offers for model in offer.models)))
