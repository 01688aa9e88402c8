from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import APIRouter
from starlette.types import Scope

from librarian.errors import LibraryNotFound
from organism.access.principal import LOCAL, Bounds, Principal, Role
from organism.errors import AgentNotFound, Forbidden, OrganismUnreachable, Unauthenticated
from serve_app.auth import PRINCIPAL, GuardedRoute, address_of, check_role, need_of, needs, principal_of, record_of
from serve_app.authority import Authority

BOUND = Principal("key:bound", Role.ADMIN, Bounds(frozenset({"planner"}), frozenset({"lib"})), "id")


def scope_of(principal: Principal | None = None, **more: Any) -> Scope:
    return {"type": "http", "headers": [], "client": ("10.0.0.7", 5), "path_params": {}, PRINCIPAL: principal, **more}


def route(role: Role | None = Role.VIEWER, **options: Any) -> GuardedRoute:
    @needs(role, **options)
    async def endpoint() -> None: ...

    return GuardedRoute("/x", endpoint)


def app_that(is_informed: bool) -> SimpleNamespace:
    authority = Authority(lambda: True, None)
    if is_informed:
        authority.take([])
    access = SimpleNamespace(authority=authority)
    return SimpleNamespace(state=SimpleNamespace(replica=SimpleNamespace(access=access)))


def test_a_route_that_does_not_say_what_it_needs_cannot_be_made():
    router = APIRouter(route_class=GuardedRoute)

    async def forgotten() -> None: ...

    with pytest.raises(TypeError, match="forgotten does not say what it needs"):
        router.get("/x")(forgotten)


def test_a_need_is_read_from_the_endpoint():
    assert need_of(route(Role.ADMIN, audit="stop", bound="handled").endpoint) == (Role.ADMIN, "stop", "handled")


def test_nobody_known_is_told_how_to_say_who_it_is():
    with pytest.raises(Unauthenticated, match="X-API-Key"):
        principal_of(scope_of(app=app_that(is_informed=True)))


def test_a_replica_that_does_not_know_the_keys_does_not_blame_the_client():
    with pytest.raises(OrganismUnreachable):
        principal_of(scope_of(app=app_that(is_informed=False)))


@pytest.mark.parametrize("has", Role)
@pytest.mark.parametrize("needed", Role)
def test_a_role_may_do_what_those_before_it_may(has, needed):
    principal = Principal("key:a", has)
    if has >= needed:
        check_role(principal, needed)
        route(needed)._admit(scope_of(principal))
    else:
        text = f"this needs the role {needed.label}; key:a is {has.label}"
        with pytest.raises(Forbidden, match=text):
            check_role(principal, needed)
        with pytest.raises(Forbidden, match=text):
            route(needed)._admit(scope_of(principal))


def test_a_route_for_everybody_asks_nobody():
    route(None)._admit(scope_of(None))


def test_a_bound_key_reaches_no_route_that_does_not_mind_bounds():
    with pytest.raises(Forbidden, match="key:bound is bound"):
        route()._admit(scope_of(BOUND))
    route()._admit(scope_of(LOCAL))
    route(bound="handled")._admit(scope_of(BOUND))


def test_a_bound_key_reaches_its_agents_and_libraries_and_does_not_see_others():
    route(bound="agent")._admit(scope_of(BOUND, path_params={"name": "planner"}))
    with pytest.raises(AgentNotFound):
        route(bound="agent")._admit(scope_of(BOUND, path_params={"name": "other"}))
    route(bound="library")._admit(scope_of(BOUND, path_params={"library_id": "lib"}))
    with pytest.raises(LibraryNotFound):
        route(bound="library")._admit(scope_of(BOUND, path_params={"library_id": "other"}))


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        (("10.0.0.7", 5), None, "10.0.0.7"),
        (("10.0.0.7", 5), b"1.2.3.4", "10.0.0.7"),  # anyone can say so
        (("127.0.0.1", 5), b"1.2.3.4", "1.2.3.4"),
        (("127.0.0.1", 5), b"6.6.6.6, 1.2.3.4", "1.2.3.4"),  # the proxy's own word is the last
        (("::1", 5), b" ", "::1"),
        (("127.0.0.1", 5), None, "127.0.0.1"),
        (("testclient", 5), b"1.2.3.4", "testclient"),
        (None, None, ""),
    ],
)
def test_the_address_is_the_clients(client, forwarded, address):
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded)]
    assert address_of(scope_of(client=client, headers=headers)) == address


@pytest.mark.parametrize(
    ("status", "outcome", "detail"),
    [(200, "ok", ""), (303, "ok", ""), (403, "refused", "status 403"), (503, "failed", "status 503")],
)
def test_a_record_says_who_did_what_and_how_it_went(status, outcome, detail):
    record = record_of(scope_of(BOUND), "pause", "planner", status)
    assert record[1:] == ("key:bound", "pause", "planner", "10.0.0.7", outcome, detail, 0)


def test_a_record_of_nobody_names_nobody():
    assert record_of(scope_of(None), "login", "/ws", 401, "no key").who == ""
