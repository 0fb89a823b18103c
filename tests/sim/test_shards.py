"""A sharded parameter server in a task: the model of four servers is the model of one, to the bit, and the audit agrees."""

from __future__ import annotations

import pytest

from ledger.audit.check import verify
from middleware.errors import ConfigurationError
from middleware.policy import Peers, Policy, Rule, Schedule, Server
from middleware.protocol.settlement import Forced, Opening, Reported, Settlement, settle
from middleware.types import Verdict
from middleware.wire.policy import decode_policy, encode_policy
from nodes.shards import ShardServers
from tests.sim.history import DOMAIN, History, policy_of

RULES = [Rule("mean", 0), Rule("trimmed-mean", 1), Rule("multi-krum", 0)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("server", [None, Server("adam", rate=0.1)], ids=["plain", "adam"])
def test_parameter_server_with_four_shards_equals_one_to_the_bit(rule: Rule, server: Server | None) -> None:
    one = History(policy_of(rule=rule, server=server)).run()
    four = History(policy_of(rule=rule, server=server, shards=4)).run()
    assert [m.model_out for m in four.manifests] == [m.model_out for m in one.manifests]
    assert [m.state for m in four.manifests] == [m.state for m in one.manifests]
    report = verify(four.record, four.store)
    assert report.verdict is Verdict.VALID, report.first and report.first.line()


class OverProcesses(History):
    """The servers are processes, and one of them is killed before each round but the first."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.servers = ShardServers(policy)
        self.killed: list[int] = []

    def settle(self, opening: Opening, received: list[Reported], forced: Forced) -> Settlement:
        running = self.servers.servers[1]
        if running is not None:
            self.killed.append(running.process.pid)
            running.process.kill()
            running.process.wait()
        return settle(DOMAIN.context, self.policy, opening, received, forced, servers=self.servers)


def test_parameter_server_a_killed_shard_is_named_and_started_again_and_no_round_has_a_hole(
    caplog: pytest.LogCaptureFixture,
) -> None:
    policy = policy_of(rule=Rule("mean", 0), server=Server("momentum", rate=0.5), shards=3)
    history = OverProcesses(policy)
    try:
        history.run()
        assert sorted(history.servers.processes()) == [0, 1, 2]
    finally:
        history.servers.close()
    assert len(history.killed) == len(history.manifests) - 1 > 0
    told = [record.getMessage() for record in caplog.records]
    assert sum("shard 1 of 3 is gone" in line for line in told) == len(history.killed)
    whole = History(policy).run()
    assert [m.model_out for m in history.manifests] == [m.model_out for m in whole.manifests]
    assert verify(history.record, history.store).verdict is Verdict.VALID


def test_parameter_server_shards_are_left_out_of_the_policys_bytes_where_there_are_none() -> None:
    assert b"shards" not in encode_policy(policy_of())
    sharded = policy_of(shards=4)
    assert decode_policy(encode_policy(sharded)) == sharded


@pytest.mark.parametrize("shards", [1, 65])
def test_parameter_server_counts_that_make_no_sense_are_refused(shards: int) -> None:
    with pytest.raises(ConfigurationError, match="leave it out"):
        policy_of(shards=shards)


def test_parameter_server_what_a_shard_cannot_divide_by_itself_is_refused() -> None:
    late = Schedule(arrivals=3, staleness="inverse")
    with pytest.raises(ConfigurationError, match="use no --peers"):
        policy_of(rule=Rule("mean", 0), min_updates=1, schedule=late, shards=4)
    with pytest.raises(ConfigurationError, match="use no --peers"):
        policy_of(rule=Rule("mean", 0), peers=Peers("gossip", None, "ring", None, None), shards=4)
