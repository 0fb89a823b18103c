// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../src/interfaces/IArbiter.sol";
import {Trial} from "./support/Trial.sol";
import {vm} from "./support/Vm.sol";

/// @notice conflictingReceipts, conflictingRoots.
contract ArbiterConflictsTest is Trial {
    function receipts(IArbiter.Receipt memory a, bytes memory signA, IArbiter.Receipt memory b, bytes memory signB)
        internal
    {
        vm.prank(STRANGER);
        arbiter.conflictingReceipts(a, signA, b, signB);
    }

    function test_one_place_promised_twice_costs_the_stake(uint64 index, bytes32 first, bytes32 second) public {
        vm.assume(first != second);
        (IArbiter.Receipt memory a, bytes memory signA) = receiptBy(THE_EDGE, index, first);
        (IArbiter.Receipt memory b, bytes memory signB) = receiptBy(THE_EDGE, index, second);
        expectProven("conflictingReceipts", THE_EDGE, STRANGER);
        receipts(a, signA, b, signB);
        requirePunished("conflictingReceipts", THE_EDGE, STRANGER);
    }

    function test_receipts_that_agree_prove_nothing(uint8 field) public {
        (IArbiter.Receipt memory a, bytes memory signA) = receiptBy(THE_EDGE, 1, "leaf");
        refused(IArbiter.NotProven.selector);
        receipts(a, signA, a, signA);
        (IArbiter.Receipt memory b,) = receiptBy(THE_EDGE, 1, "another leaf");
        field = uint8(between(field, 0, 3));
        if (field == 0) b.task += 1;
        if (field == 1) b.round += 1;
        if (field == 2) b.edge += 1;
        if (field == 3) b.index += 1;
        refused(IArbiter.Unrelated.selector);
        receipts(a, signA, b, signA);
    }

    function test_both_receipts_are_signed() public {
        (IArbiter.Receipt memory a, bytes memory signA) = receiptBy(THE_EDGE, 1, "leaf");
        (IArbiter.Receipt memory b, bytes memory signB) = receiptBy(THE_EDGE, 1, "another leaf");
        bytes memory refusal = abi.encodeWithSelector(IArbiter.BadSignature.selector, THE_EDGE);
        vm.expectRevert(refusal);
        receipts(a, signA, b, signA);
        vm.expectRevert(refusal);
        receipts(a, signB, b, signB);
    }

    function test_a_round_reported_twice_costs_the_stake(uint8 field) public {
        IArbiter.EdgeRoot memory a = reportOver(crowdWith(3, 3, 0));
        IArbiter.EdgeRoot memory b = reportOver(crowdWith(3, 3, 0));
        field = uint8(between(field, 0, 4));
        if (field == 0) b.root = "another";
        if (field == 1) b.count += 1;
        if (field == 2) b.aggregate = "another";
        if (field == 3) b.weights = "another";
        if (field == 4) b.rosterBlock += 1;
        expectProven("conflictingRoots", THE_EDGE, STRANGER);
        vm.prank(STRANGER);
        arbiter.conflictingRoots(a, signRoot(a), b, signRoot(b));
        requirePunished("conflictingRoots", THE_EDGE, STRANGER);
    }

    function test_reports_of_two_rounds_or_edges_or_the_same_prove_nothing(uint8 field) public {
        IArbiter.EdgeRoot memory a = reportOver(crowdWith(3, 3, 0));
        IArbiter.EdgeRoot memory b = reportOver(crowdWith(3, 3, 0));
        refused(IArbiter.NotProven.selector);
        arbiter.conflictingRoots(a, signRoot(a), b, signRoot(b));
        field = uint8(between(field, 0, 2));
        if (field == 0) b.task += 1;
        if (field == 1) b.round += 1;
        if (field == 2) b.edge += 1;
        refused(IArbiter.Unrelated.selector);
        arbiter.conflictingRoots(a, signRoot(a), b, signRoot(b));
    }

    function test_both_reports_are_signed() public {
        IArbiter.EdgeRoot memory a = reportOver(crowdWith(3, 3, 0));
        IArbiter.EdgeRoot memory b = reportOver(crowdWith(4, 4, 0));
        bytes memory refusal = abi.encodeWithSelector(IArbiter.BadSignature.selector, THE_EDGE);
        vm.expectRevert(refusal);
        arbiter.conflictingRoots(a, signRoot(a), b, signRoot(a));
        vm.expectRevert(refusal);
        arbiter.conflictingRoots(a, signRoot(b), b, signRoot(b));
    }

    function test_who_has_nothing_loses_nothing_and_is_suspended() public {
        (IArbiter.Receipt memory a, bytes memory signA) = receiptBy(DEVICE, 1, "leaf");
        (IArbiter.Receipt memory b, bytes memory signB) = receiptBy(DEVICE, 1, "another leaf");
        receipts(a, signA, b, signB);
        equal(registry.node(DEVICE).status, SUSPENDED);
        vm.expectRevert(
            abi.encodeWithSelector(IArbiter.NothingToCollect.selector, bytes32("conflictingReceipts"), id, 1, DEVICE)
        );
        arbiter.collect("conflictingReceipts", id, 1, DEVICE);
    }
}
