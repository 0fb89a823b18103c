"""The fixture that the attacks on a real edge share."""

from tests.attacks.edge_world import world

__all__ = ["world"]
