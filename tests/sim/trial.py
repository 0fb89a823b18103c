from __future__ import annotations
from ledger.dispute import Offence
from tests.sim.history import History
def tried(history: History, offence: Offence) -> None:
    pass
