// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../src/interfaces/ILedger.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice anchorRound, headerHash, record.
contract LedgerAnchorRoundTest is World {
    address internal account;
    uint32 internal cloud;
    uint64 internal id;

    function setUp() public override {
        super.setUp();
        cloud = enrol(1, CLOUD, 0);
        account = accountOf(1);
        id = openTask(cloud);
    }

    function expectRefusal(bytes memory refusal, ILedger.Header memory header) internal {
        vm.expectRevert(refusal);
        anchorAs(account, header);
    }

    function test_a_round_is_recorded_in_one_slot_and_told_whole(
        bytes32[9] calldata free,
        uint64 inputsCount,
        uint32 elapsed
    ) public {
        vm.warp(block.timestamp + elapsed);
        ILedger.Header memory header = nextHeader(id);
        (header.roster, header.inputsRoot, header.inputsCount) = (free[0], free[1], uint64(uint256(free[2])));
        (header.weightsRoot, header.modelOut, header.chunksRoot) = (free[3], free[4], free[5]);
        (header.scoresRoot, header.rewardsRoot, header.budget) = (free[6], free[7], free[8]);
        header.inputsCount = inputsCount;
        bytes32 hash = keccak256(abi.encode(header));
        equal(ledger.headerHash(header), hash);

        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILedger.RoundAnchored(id, 1, hash, header);
        anchorAs(account, header);

        equal(ledger.record(id, 1), keccak256(abi.encode(hash, header.rewardsRoot, block.timestamp)));
        ILedger.Task memory t = ledger.task(id);
        equal(t.head, 1);
        equal(t.lastHeader, hash);
        equal(t.lastModel, header.modelOut);
        equal(t.genesisModel, GENESIS);
    }

    function test_rounds_form_a_chain_and_records_stay(uint8 rounds) public {
        rounds = uint8(between(rounds, 1, 12));
        bytes32[] memory records = new bytes32[](rounds + 1);
        bytes32 previous = 0;
        for (uint64 round = 1; round <= rounds; ++round) {
            ILedger.Header memory header = nextHeader(id);
            equal(header.prev, previous);
            anchorAs(account, header);
            previous = ledger.headerHash(header);
            records[round] = ledger.record(id, round);
            vm.warp(block.timestamp + 10);
        }
        for (uint64 round = 1; round <= rounds; ++round) {
            equal(ledger.record(id, round), records[round]);
            yes(records[round] != 0, "recorded");
        }
        equal(ledger.record(id, uint64(rounds) + 1), 0);
    }

    function test_the_head_sent_again_by_anybody_changes_nothing(address sender, uint32 elapsed) public {
        ILedger.Header memory header = nextHeader(id);
        anchorAs(account, header);
        bytes32 before = ledger.record(id, 1);
        vm.warp(block.timestamp + elapsed);
        anchorAs(sender, header);
        equal(ledger.record(id, 1), before);
        equal(ledger.task(id).head, 1);

        vm.prank(PUBLISHER);
        ledger.closeTask(id);
        anchorAs(sender, header);
        equal(ledger.record(id, 1), before);
    }

    function test_an_older_header_sent_again_is_refused() public {
        ILedger.Header memory first = nextHeader(id);
        anchorAs(account, first);
        anchorAs(account, nextHeader(id));
        expectRefusal(abi.encodeWithSelector(ILedger.WrongRound.selector, uint64(3), uint64(1)), first);
    }

    function test_only_the_clouds_account_anchors(address sender) public {
        vm.assume(sender != account);
        ILedger.Header memory header = nextHeader(id);
        vm.expectRevert(abi.encodeWithSelector(ILedger.NotCloud.selector, sender));
        anchorAs(sender, header);
    }

    function test_a_suspended_or_revoked_cloud_does_not_anchor(bool revoked) public {
        vm.prank(REGISTRAR);
        revoked ? registry.revoke(cloud) : registry.suspend(cloud);
        expectRefusal(abi.encodeWithSelector(ILedger.NotCloud.selector, account), nextHeader(id));
    }

    function test_a_rotated_account_takes_over(address next) public {
        vm.assume(next != address(0) && registry.idOfAccount(next) == 0);
        vm.prank(account);
        registry.proposeAccount(cloud, next);
        vm.prank(next);
        registry.acceptAccount(cloud);
        ILedger.Header memory header = nextHeader(id);
        expectRefusal(abi.encodeWithSelector(ILedger.NotCloud.selector, account), header);
        anchorAs(next, header);
        equal(ledger.task(id).head, 1);
    }

    function test_a_closed_task_takes_no_rounds() public {
        vm.prank(PUBLISHER);
        ledger.closeTask(id);
        expectRefusal(abi.encodeWithSelector(ILedger.TaskClosed.selector, id), nextHeader(id));
    }

    function test_an_unknown_task_takes_no_rounds(uint64 other) public {
        vm.assume(other != id);
        ILedger.Header memory header = nextHeader(id);
        header.task = other;
        expectRefusal(abi.encodeWithSelector(ILedger.UnknownTask.selector, other), header);
    }

    function test_a_round_out_of_order_is_refused(uint64 round, bool later) public {
        if (later) anchorAs(account, nextHeader(id));
        ILedger.Header memory header = nextHeader(id);
        uint64 expected = header.round;
        vm.assume(round != expected);
        header.round = round;
        expectRefusal(abi.encodeWithSelector(ILedger.WrongRound.selector, expected, round), header);
    }

    function test_a_header_that_forks_the_chain_is_refused(bytes32 prev, bool later) public {
        if (later) anchorAs(account, nextHeader(id));
        ILedger.Header memory header = nextHeader(id);
        bytes32 expected = header.prev;
        vm.assume(prev != expected);
        header.prev = prev;
        expectRefusal(abi.encodeWithSelector(ILedger.WrongPrev.selector, expected), header);
    }

    function test_a_header_under_another_policy_is_refused(bytes32 policy) public {
        ILedger.Header memory header = nextHeader(id);
        bytes32 expected = header.policy;
        vm.assume(policy != expected);
        header.policy = policy;
        expectRefusal(abi.encodeWithSelector(ILedger.WrongPolicy.selector, expected), header);
    }

    function test_a_header_from_another_model_is_refused(bytes32 model, bool later) public {
        if (later) anchorAs(account, nextHeader(id));
        ILedger.Header memory header = nextHeader(id);
        bytes32 expected = header.modelIn;
        vm.assume(model != expected);
        header.modelIn = model;
        expectRefusal(abi.encodeWithSelector(ILedger.WrongModel.selector, expected), header);
    }

    function test_tasks_do_not_touch_each_other() public {
        uint64 other = openTask(cloud);
        anchorAs(account, nextHeader(id));
        anchorAs(account, nextHeader(id));
        equal(ledger.task(other).head, 0);
        anchorAs(account, nextHeader(other));
        equal(ledger.task(id).head, 2);
        equal(ledger.task(other).head, 1);
    }
}
