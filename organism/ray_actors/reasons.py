"""What Ray says when it cannot reach an actor, for people."""

from __future__ import annotations

from ray.exceptions import ActorUnavailableError, RayError


def reason_of(error: RayError) -> str:
    """Ray's explanation without the addresses and advice around it."""
    if isinstance(error, ActorUnavailableError):
        return "its process cannot be reached at present"
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if "exit" in line.lower() or "killed" in line.lower() or "died" in line.lower()]
    return (telling or lines or ["unknown"])[-1].partition(" Some common causes")[0][:300].rstrip(". ")
