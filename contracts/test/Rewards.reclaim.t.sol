// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../src/interfaces/ILedger.sol";
import {IRewards} from "../src/interfaces/IRewards.sol";
import {Paying} from "./support/Paying.sol";
import {Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

/// @notice reclaim, reclaimUnused.
contract RewardsReclaimTest is Paying {
    function setUp() public override {
        super.setUp();
        ledger.setArbiters(ARBITER, SECOND_ARBITER);
    }

    function close() internal {
        vm.prank(PUBLISHER);
        ledger.closeTask(id);
    }

    function reclaimAs(
        address caller,
        ILedger.Header memory header,
        uint256 time,
        uint128 total,
        bytes32 tree,
        bytes memory refusal
    ) internal {
        if (refusal.length != 0) vm.expectRevert(refusal);
        vm.prank(caller);
        rewards.reclaim(header, time, total, tree);
    }

    function test_what_is_not_promised_goes_back_and_what_is_promised_stays(uint256 seed, uint96 more) public {
        more = uint96(between(more, 1, 1e26));
        Trees.Entry[] memory entries = promises(seed);
        uint128 total = totalOf(entries);
        fund(uint256(total) + more);
        ILedger.Header memory header = pledge(entries);
        uint256 time = block.timestamp;
        close();
        vm.warp(time + WINDOW);
        if (seed % 2 == 0) claimFrom(header, time, claimOf(entries, 0));
        bytes32 tree = Trees.sumTree(entries, 0, DEVICES);
        vm.expectEmit(true, true, true, true, address(rewards));
        emit IRewards.Reclaimed(id, PUBLISHER, more);
        reclaimAs(PUBLISHER, header, time, total, tree, "");
        equal(credit.balanceOf(PUBLISHER), more);
        equal(rewards.funded(id), total);
        bytes memory nothing = abi.encodeWithSelector(IRewards.NothingToReclaim.selector, id);
        reclaimAs(PUBLISHER, header, time, total, tree, nothing);
        for (uint256 i = 1; i < DEVICES; ++i) {
            claimFrom(header, time, claimOf(entries, i));
            equal(credit.balanceOf(wallet(i)), entries[i].amount);
        }
    }

    function test_what_was_paid_is_never_taken_from_another_task() public {
        Trees.Entry[] memory entries = new Trees.Entry[](1);
        entries[0] = Trees.Entry(firstDevice, 100);
        ILedger.Header memory first = pledge(entries);
        entries[0].amount = 40;
        ILedger.Header memory second = pledge(entries);
        uint256 time = block.timestamp;
        entries[0].amount = 100;
        fund(300);
        close();
        vm.warp(time + WINDOW);
        claimFrom(first, time, claimOf(entries, 0));
        entries[0].amount = 40;
        reclaimAs(PUBLISHER, second, time, 40, Trees.sumTree(entries, 0, 1), "");
        equal(rewards.funded(id), 100);
        equal(credit.balanceOf(PUBLISHER), 200);
        equal(credit.balanceOf(address(rewards)), 0);
    }

    function test_only_the_publisher_of_an_ended_task_reclaims(address caller) public {
        Trees.Entry[] memory entries = promises(1);
        ILedger.Header memory header = pledge(entries);
        uint256 time = block.timestamp;
        uint128 total = totalOf(entries);
        bytes32 tree = Trees.sumTree(entries, 0, DEVICES);
        fund(uint256(total) + 1);
        vm.assume(caller != PUBLISHER);
        bytes memory stranger = abi.encodeWithSelector(IRewards.NotPublisher.selector, caller);
        reclaimAs(caller, header, time, total, tree, stranger);
        vm.expectRevert(stranger);
        vm.prank(caller);
        rewards.reclaimUnused(id);
        reclaimAs(PUBLISHER, header, time, total, tree, abi.encodeWithSelector(IRewards.TaskOpen.selector, id));
        close();
        reclaimAs(PUBLISHER, header, time, total, tree, abi.encodeWithSelector(IRewards.NotFinal.selector, id, 1));
        vm.warp(time + WINDOW);
        expectBadProof();
        reclaimAs(PUBLISHER, header, time, total - 1, tree, "");
        vm.expectRevert(abi.encodeWithSelector(IRewards.NotLast.selector, id, 1));
        vm.prank(PUBLISHER);
        rewards.reclaimUnused(id);
    }

    function test_the_last_round_that_counts_decides(bool struck) public {
        Trees.Entry[] memory entries = promises(1);
        ILedger.Header memory first = pledge(entries);
        ILedger.Header memory second = nextHeader(id);
        anchorAs(accountOf(1), second);
        uint256 time = block.timestamp;
        uint128 total = totalOf(entries);
        fund(uint256(total) + 1);
        if (struck) {
            vm.prank(ARBITER);
            ledger.strike(id, 2);
        } else {
            close();
        }
        vm.warp(time + WINDOW);
        bytes32 tree = Trees.sumTree(entries, 0, DEVICES);
        bytes memory late = abi.encodeWithSelector(IRewards.NotLast.selector, id, 2);
        reclaimAs(PUBLISHER, first, time, total, tree, struck ? bytes("") : late);
        bytes memory refusal = abi.encodeWithSelector(IRewards.NotFinal.selector, id, 2);
        reclaimAs(PUBLISHER, second, time, 0, 0, struck ? refusal : bytes(""));
        equal(credit.balanceOf(PUBLISHER), struck ? 1 : uint256(total) + 1);
    }

    function test_a_task_without_a_round_that_counts_gives_everything_back(uint96 amount, bool struck) public {
        amount = uint96(between(amount, 1, 1e26));
        fund(amount);
        if (struck) {
            anchorAs(accountOf(1), nextHeader(id));
            vm.prank(ARBITER);
            ledger.strike(id, 1);
        } else {
            vm.expectRevert(abi.encodeWithSelector(IRewards.TaskOpen.selector, id));
            vm.prank(PUBLISHER);
            rewards.reclaimUnused(id);
            close();
        }
        vm.prank(PUBLISHER);
        rewards.reclaimUnused(id);
        equal(credit.balanceOf(PUBLISHER), amount);
        equal(rewards.funded(id), 0);
        vm.expectRevert(abi.encodeWithSelector(IRewards.NothingToReclaim.selector, id));
        vm.prank(PUBLISHER);
        rewards.reclaimUnused(id);
    }
}
