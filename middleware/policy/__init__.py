"""What a task promises: nouns like those of `types`, fixed when the task is created and the same for everyone after.

One file a question: `grid` (which integers), `codec` (how updates travel), `rule` (how they become one), `server` (how the
model moves by it), `training` (what a device does), `schedule` (whom a round waits for), `peers` (whose model it is),
`privacy` (what nobody may learn), and `task`, the policy that holds them all and refuses what cannot hold together;
`combinations` is the table of which rule goes with what.
"""

from middleware.policy.architecture import WIDTH_ONE
from middleware.policy.codec import AUTO, CODECS, UPLOAD_SECONDS, CodecSpec
from middleware.policy.grid import Grid
from middleware.policy.peers import LINKS, MOST_PEERS, PEERINGS, Peers
from middleware.policy.privacy import MICRO, NOISE_ONE, RATE_ONE, LocalPrivacy, Privacy, Promise, RecordPrivacy
from middleware.policy.rule import RULES, Rule
from middleware.policy.schedule import Schedule
from middleware.policy.server import SERVER_STEPS, Server
from middleware.policy.task import ARRANGEMENTS, MOST_SLICES, PAYS, Policy, Task
from middleware.policy.training import Training

__all__ = [
    "ARRANGEMENTS", "AUTO", "CODECS", "LINKS", "MICRO", "MOST_PEERS", "MOST_SLICES", "NOISE_ONE", "PAYS", "PEERINGS",
    "RATE_ONE", "RULES", "SERVER_STEPS", "UPLOAD_SECONDS", "WIDTH_ONE",
    "CodecSpec", "Grid", "LocalPrivacy", "Peers", "Policy", "Privacy",
    "Promise", "RecordPrivacy", "Rule", "Schedule", "Server", "Task", "Training",
]  # fmt: skip
