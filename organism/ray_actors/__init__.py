"""Pump and cells as Ray actors: the only folder of this package that knows Ray.

Classes stay plain; Ray is applied from outside. Batches travel as bytes (see encoding.py).
"""

from organism.ray_actors.access import connect_access
from organism.ray_actors.organism import RayOrganism, connect, shut_down, start_pump
from organism.ray_actors.pump_name import PUMP
from organism.ray_actors.sessions import connect_sessions

__all__ = ["PUMP", "RayOrganism", "connect", "connect_access", "connect_sessions", "shut_down", "start_pump"]
