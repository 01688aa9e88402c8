"""Agent sessions over Socket.IO. A client is a queue of what it is sent, its commands, and the sessions it follows."""
