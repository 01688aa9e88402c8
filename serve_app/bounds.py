"""What a bound key may see and do of agents, threads and messages: that in which its agents take part."""

from __future__ import annotations

from collections.abc import Iterable

from organism.access.principal import Principal
from organism.errors import AgentNotFound, DeadLetterNotFound, ThreadNotFound
from organism.messages import Message
from serve_app.dependencies import Replica

SCAN = 1000
"""Dead letters read at once."""


def check_agent(principal: Principal, name: str) -> None:
    """Raises: AgentNotFound."""
    if not principal.may_reach_agent(name):
        raise AgentNotFound(name)


def sees_any(principal: Principal, agents: Iterable[str]) -> bool:
    """Whether one of these agents is the principal's to see."""
    return principal.bounds is None or any(map(principal.may_reach_agent, agents))


def sees_message(principal: Principal, message: Message) -> bool:
    return sees_any(principal, (message.sender, message.recipient))


async def check_thread(replica: Replica, principal: Principal, thread_id: str) -> None:
    """Whether the principal may send into this thread, or end it: it must see it, and all of its agents must be its
    own. Agents that there are no more are not told from `console` and the like, so that alone opens no thread.

    Raises:
        ThreadNotFound
    """
    if principal.bounds is None:
        return
    thread = await replica.organism.thread(thread_id)
    agents = agents_of(thread.participants, replica)
    if not (sees_any(principal, thread.participants) and all(map(principal.may_reach_agent, agents))):
        raise ThreadNotFound(thread_id)


def agents_of(participants: Iterable[str], replica: Replica) -> list[str]:
    """Without `console` and the like, who are no agents."""
    known = replica.live.agent_views()
    return [name for name in participants if name in known]


async def check_letter(replica: Replica, principal: Principal, message_id: str) -> None:
    """Raises: DeadLetterNotFound, where its recipient is not the principal's."""
    if principal.bounds is None:
        return
    offset = 0
    while letters := (await replica.organism.dead_letters(None, SCAN, offset))[0]:
        for letter in letters:
            if letter.message.id == message_id and principal.may_reach_agent(letter.message.recipient):
                return
        offset += SCAN
    raise DeadLetterNotFound(message_id)
