"""How a task's updates become one: which rules there are, what each needs, and what each goes together with.

A rule's name is one of `KINDS`, or one of them behind a step that is taken before it: "nnm+median", "bucketing+krum",
"fang-err:trimmed-mean". The rules themselves are `maths.aggregate`; their bounds stand here once more, because a policy
is judged where no array is at hand (a test holds the two together).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from middleware.errors import ConfigurationError, require

BUCKET: Final = 2  # updates that bucketing averages into one
MIXERS: Final = ("nnm", "bucketing")  # "MIXER+RULE": each update is mixed with others before the rule sees it
SCREENS: Final = (
    "fang-err",
    "fang-lfr",
    "fang-union",
)  # "SCREEN:RULE": what does harm on a server's data is left out first


class Kind(NamedTuple):
    """What is true of one rule. The least number of updates for which its bound holds is `slope * f + least`."""

    slope: int
    least: int
    linear: bool  # the result is integer weights times the updates themselves
    coordinatewise: bool = (
        False  # each coordinate of the result follows from that coordinate of the updates, by their order
    )
    sums: bool = False  # an edge can add its own updates up, without seeing the others'
    remembers: bool = False  # carries something from round to round
    senders: bool = False  # what it carries is about nodes, not a vector
    mixes: bool = True  # a mixer may stand before it
    says: str = ""


KINDS: Final[dict[str, Kind]] = {
    "mean": Kind(0, 1, True, sums=True, says="the mean weighted by declared samples; one liar is enough against it"),
    "median": Kind(2, 1, False, True, says="the middle value of each coordinate"),
    "trimmed-mean": Kind(2, 1, False, True, says="each coordinate's mean without the f largest and f smallest"),
    "krum": Kind(2, 3, True, says="the one update that is nearest to its n - f - 2 nearest others"),
    "multi-krum": Kind(2, 3, True, says="the mean of the n - f updates that Krum scores best"),
    "bulyan": Kind(4, 3, False, says="Krum again and again, then the values nearest to each coordinate's median"),
    "geometric-median": Kind(2, 1, True, says="the point with the least sum of distances to the updates"),
    "centred-clipping": Kind(2, 1, False, remembers=True, says="the last aggregate, and the clipped differences to it"),
    "norm-clipping": Kind(0, 1, False, says="the mean of updates that are cut to a common length"),
    "afa": Kind(2, 1, True, remembers=True, senders=True, mixes=False,
                says="the mean without those whose direction strays; who strays often is blocked"),
    "contra": Kind(2, 1, True, remembers=True, senders=True, mixes=False,
                   says="updates that are too much alike lose weight, and their senders reputation"),
    "sign-majority": Kind(2, 1, False, True, says="in each coordinate one step in the direction of most signs"),
}  # fmt: skip

RULES: Final = tuple(KINDS)


class Parts(NamedTuple):
    """A rule's name taken apart: at most one of `mixer` and `screen` is not empty."""

    mixer: str
    screen: str
    core: str


def parts_of(name: str) -> Parts:
    """The parts of a rule's name; ConfigurationError for one that no rule has."""
    mixer, plus, core = name.rpartition("+")
    screen, colon, screened = name.partition(":")
    if colon:
        parts = Parts("", screen, screened)
        known = screen in SCREENS and screened in KINDS and not KINDS[screened].remembers
    else:
        parts = Parts(mixer, "", core)
        known = core in KINDS and (not plus or (mixer in MIXERS and KINDS[core].mixes))
    if not known:
        raise ConfigurationError(
            f"aggregator {name!r}: choose one of {', '.join(RULES)}, or one behind {' or '.join(f'{m}+' for m in MIXERS)} "
            f"(not afa or contra), or behind {', '.join(f'{s}:' for s in SCREENS)} (not those that remember)"
        )
    return parts


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How updates become one; `f` is the number of lying devices that the task must survive."""

    name: str = "multi-krum"
    f: int = 1

    def __post_init__(self) -> None:
        parts_of(self.name)
        require(self.f >= 0, "the number of tolerated liars cannot be negative")

    @property
    def parts(self) -> Parts:
        return parts_of(self.name)

    @property
    def kind(self) -> Kind:
        """What is true of the rule that stands behind a mixer or a screen."""
        return KINDS[self.parts.core]

    @property
    def plain(self) -> bool:
        """Whether the name is one of `KINDS` alone."""
        return self.name in KINDS

    @property
    def adds(self) -> bool:
        """Whether updates can be added up as they arrive, edge by edge."""
        return self.plain and self.kind.sums

    @property
    def linear(self) -> bool:
        """Whether the result is integer weights times the updates themselves, so that each has a share in it."""
        return self.plain and self.kind.linear

    @property
    def remembers(self) -> bool:
        """Whether the rule carries something from round to round."""
        return self.kind.remembers

    @property
    def carries_vector(self) -> bool:
        """Whether what it carries is a vector as long as the model."""
        return self.kind.remembers and not self.kind.senders

    @property
    def measures(self) -> bool:
        """Whether the rule needs data of the server's own to measure with."""
        return bool(self.parts.screen)

    @property
    def least_updates(self) -> int:
        """The fewest updates for which the rule's bound holds."""
        least = self.kind.slope * self.f + self.kind.least
        mixer, screen, _ = self.parts
        if mixer == "nnm":
            return max(least, 2 * self.f + 1)
        if mixer == "bucketing":
            return BUCKET * (least - 1) + 1
        if screen:
            return max(least + self.f, 2 * self.f + 1)
        return least
