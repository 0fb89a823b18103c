"""Whether edges share one model, or have one each that meets the others' now and then."""

from __future__ import annotations

from typing import Final

import msgspec

from middleware.errors import require

PEERINGS: Final = ("hierarchical", "gossip", "choco", "push-sum", "gosgd")
LINKS: Final = ("ring", "complete", "exponential")
GAMMA_PARTS: Final = 256
MOST_PEERS: Final = 64  # edges with a model each


class Peers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Each edge keeps a model of its own, which its devices train from; after each round edges exchange (`maths.gossip`):

        hierarchical  nothing (rounds inside an edge, Liu et al. 2020)
        gossip        with their neighbours, and everyone with all now and then (Gossip-PGA)
        choco         compressed differences with their neighbours (Choco-SGD)
        push-sum      shares along directed links (SGP)
        gosgd         half of itself to one other, drawn anew in each round (GoSGD)

    Every `every` rounds, and in the task's last, all edges get the average of all.
    """

    kind: str
    every: int | None = None  # None: only in the last round
    links: str | None = None  # who is whose neighbour; None where that is fixed or drawn
    gamma: int | None = None  # choco: of 256 parts of a step towards the neighbours' copies
    density: float | None = None  # choco: the fraction of the coordinates that a peer sends

    def __post_init__(self) -> None:
        require(self.kind in PEERINGS, f"peers {self.kind!r}: choose one of {', '.join(PEERINGS)}")
        require(
            self.every is None or self.every > 0,
            f"every {self.every}: at least 1 round (--global-every)",
        )
        wanted = {"gossip": ("ring", "complete"), "choco": ("ring", "complete"), "push-sum": LINKS}.get(self.kind)
        if wanted is None:
            require(self.links is None, f"peers {self.kind} have no links of their own: leave them out")
        else:
            require(self.links in wanted, f"links {self.links!r}: peers {self.kind} take {' or '.join(wanted)}")
        if self.kind == "choco":
            require(
                self.gamma is not None and 0 < self.gamma <= GAMMA_PARTS,
                f"gamma {self.gamma}: 1 to {GAMMA_PARTS}",
            )
            require(
                self.density is not None and 0 < self.density <= 1,
                f"density {self.density}: above 0, at most 1",
            )
        else:
            require(
                self.gamma is None and self.density is None,
                "gossip-step and peer-density belong to peers choco",
            )
        require(
            self.kind != "hierarchical" or self.every is not None,
            "rounds inside edges without a cloud round between them: say every how many (--global-every)",
        )
