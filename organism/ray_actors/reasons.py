"""What Ray says when it cannot reach an actor, for people."""

from __future__ import annotations

from ray.exceptions import ActorUnavailableError, RayError

from organism.masking import mask_text

DETAIL = "Worker exit detail: "
NO_GOODBYE = "connection error code 2"
MAX_CHARACTERS = 300


def reason_of(error: RayError) -> str:
    """Ray's explanation without the addresses and advice around it."""
    if isinstance(error, ActorUnavailableError):
        return "its process cannot be reached at present"
    text = mask_text(str(error))
    if NO_GOODBYE in text:
        return "its process was killed or crashed"
    lines = [line.strip() for line in text.splitlines()]
    telling = [line for line in lines if "exit" in line.lower() or "killed" in line.lower() or "died" in line.lower()]
    reason = (telling or lines or ["unknown"])[-1]
    return reason.partition(DETAIL)[2][:MAX_CHARACTERS] or reason[:MAX_CHARACTERS]
