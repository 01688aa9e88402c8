import pytest
from fake_organism import FakeOrganism

from organism.errors import AgentNotFound, OrganismUnreachable
from serve_app.errors import PayloadClassMissing
from serve_app.payload_classes import PayloadClasses


async def test_each_agent_has_the_class_of_the_configuration(organism):
    classes = PayloadClasses(organism)
    await classes.load(await organism.snapshot())
    assert classes.of("greeter").name == "Greeting"
    with pytest.raises(AgentNotFound):
        classes.of("nobody")


async def test_before_the_first_load_nothing_can_be_validated(organism):
    with pytest.raises(OrganismUnreachable):
        PayloadClasses(organism).of("greeter")


async def test_a_class_that_cannot_be_imported_keeps_no_other_from_being_used():
    organism = FakeOrganism()
    organism.agents["console"]["payload_class"] = "handlers.nothing.Here"
    classes = PayloadClasses(organism)
    await classes.load(await organism.snapshot())
    with pytest.raises(PayloadClassMissing):
        classes.of("console")
    assert classes.of("greeter").name == "Greeting"


async def test_a_bundle_is_fetched_once(organism, monkeypatch):
    fetched = 0
    bundle = organism.bundle

    async def counted() -> bytes:
        nonlocal fetched
        fetched += 1
        return await bundle()

    monkeypatch.setattr(organism, "bundle", counted)
    classes = PayloadClasses(organism)
    for _ in range(3):
        await classes.load(await organism.snapshot())
    assert fetched == 1
