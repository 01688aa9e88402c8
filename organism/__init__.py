"""An actor-model runtime for multi-agent systems on Ray: what the author of an agent imports."""

from organism.handlers import Completion, Context, Payload, Reply, Send, SystemError
from organism.messages import Message

__all__ = ["Completion", "Context", "Message", "Payload", "Reply", "Send", "SystemError"]
__version__ = "0.1.0"
