// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../src/interfaces/IArbiter.sol";
import {ILedger} from "../src/interfaces/ILedger.sol";
import {Trees} from "./support/Trees.sol";
import {Trial} from "./support/Trial.sol";
import {vm} from "./support/Vm.sol";

/// @notice inactiveSender, duplicateSender.
contract ArbiterSendersTest is Trial {
    uint256 internal constant SIZE = 5;
    uint256 internal constant PLACE = 3;

    function setUp() public override {
        super.setUp();
        vm.roll(10_000);
    }

    function placed(ILedger.Leaf memory leaf, uint64 rosterBlock)
        internal
        view
        returns (IArbiter.EdgeRoot memory root, IArbiter.Placed memory place)
    {
        bytes32[] memory leaves = crowdWith(SIZE, PLACE, hashOf(leaf));
        root = reportOver(leaves);
        root.rosterBlock = rosterBlock;
        place = IArbiter.Placed(leaf, uint64(PLACE), Trees.pathOf(leaves, PLACE));
    }

    /// @notice What is expected comes last: hashing calls a precompile.
    function accuse(ILedger.Leaf memory leaf, uint64 rosterBlock, bool guilty) internal {
        (IArbiter.EdgeRoot memory root, IArbiter.Placed memory place) = placed(leaf, rosterBlock);
        bytes memory signature = signRoot(root);
        if (guilty) expectProven("inactiveSender", THE_EDGE, STRANGER);
        else refused(IArbiter.NotProven.selector);
        vm.prank(STRANGER);
        arbiter.inactiveSender(root, signature, place);
    }

    function requireGuilty(ILedger.Leaf memory leaf, uint64 rosterBlock) internal {
        accuse(leaf, rosterBlock, true);
        requirePunished("inactiveSender", THE_EDGE, STRANGER);
    }

    function requireInnocent(ILedger.Leaf memory leaf, uint64 rosterBlock) internal {
        accuse(leaf, rosterBlock, false);
    }

    function test_an_active_device_of_the_edge_may_send(uint64 rosterBlock) public {
        rosterBlock = uint64(between(rosterBlock, 1_000 - 32, type(uint64).max));
        requireInnocent(leafOf(DEVICE, 0), rosterBlock);
    }

    function test_a_device_that_was_suspended_long_before_must_not_send(uint64 after_) public {
        vm.prank(REGISTRAR);
        registry.suspend(DEVICE);
        requireGuilty(leafOf(DEVICE, 0), uint64(between(after_, 10_032, type(uint64).max)));
    }

    function test_a_suspension_that_the_edge_may_not_have_seen_is_no_fault(uint64 before) public {
        vm.prank(REGISTRAR);
        registry.revoke(DEVICE);
        requireInnocent(leafOf(DEVICE, 0), uint64(between(before, 968, 10_031)));
    }

    function test_a_device_that_was_reinstated_may_send() public {
        vm.prank(REGISTRAR);
        registry.suspend(DEVICE);
        vm.prank(REGISTRAR);
        registry.reinstate(DEVICE);
        requireInnocent(leafOf(DEVICE, 0), 20_000);
    }

    function test_a_device_that_was_registered_later_must_not_be_in(uint64 before) public {
        uint32 late = enrol(20, END, THE_EDGE);
        requireInnocent(leafOf(late, 0), 10_000 - 32);
        requireGuilty(leafOf(late, 0), uint64(between(before, 0, 10_000 - 33)));
    }

    function test_a_device_that_was_never_admitted_must_not_be_in() public {
        uint32 pending = registerAs(STRANGER, 20, END, THE_EDGE);
        requireInnocent(leafOf(pending, 0), 10_031);
        requireGuilty(leafOf(pending, 0), 10_032);
    }

    function test_another_edges_device_must_not_be_in() public {
        requireGuilty(leafOf(enrol(20, END, OTHER_EDGE), 0), 10_000);
    }

    function test_an_edge_is_no_device() public {
        requireGuilty(leafOf(OTHER_EDGE, 0), 10_000);
    }

    function test_an_unknown_node_must_not_be_in(uint32 node) public {
        vm.assume(node == 0 || node > registry.count());
        requireGuilty(leafOf(node, 0), 10_000);
    }

    function test_a_leaf_of_another_task_round_or_edge_must_not_be_in(uint8 field) public {
        ILedger.Leaf memory leaf = leafOf(DEVICE, 0);
        field = uint8(between(field, 0, 2));
        if (field == 0) leaf.task += 1;
        if (field == 1) leaf.round += 1;
        if (field == 2) leaf.edge += 1;
        requireGuilty(leaf, 10_000);
    }

    function test_a_member_that_is_not_materialised_decides_nothing() public {
        vm.prank(REGISTRAR);
        uint32 first = registry.registerBatch("root", 10, "list");
        requireInnocent(leafOf(first + 9, 0), 0);
    }

    function test_the_leaf_is_where_it_is_said_to_be_and_signed_for() public {
        (IArbiter.EdgeRoot memory root, IArbiter.Placed memory place) = placed(leafOf(99, 0), 10_000);
        bytes memory signature = signRoot(root);
        place.index = 2;
        expectBadProof();
        arbiter.inactiveSender(root, signature, place);
        place.index = uint64(PLACE);
        root.rosterBlock += 1;
        vm.expectRevert(abi.encodeWithSelector(IArbiter.BadSignature.selector, THE_EDGE));
        arbiter.inactiveSender(root, signature, place);
    }

    /* TWICE */

    function pair(uint32 first, uint32 second)
        internal
        view
        returns (IArbiter.EdgeRoot memory root, IArbiter.Placed memory a, IArbiter.Placed memory b)
    {
        ILedger.Leaf memory one = leafOf(first, 1);
        ILedger.Leaf memory two = leafOf(second, 2);
        bytes32[] memory leaves = crowdWith(SIZE, 1, hashOf(one));
        leaves[4] = hashOf(two);
        root = reportOver(leaves);
        a = IArbiter.Placed(one, 1, Trees.pathOf(leaves, 1));
        b = IArbiter.Placed(two, 4, Trees.pathOf(leaves, 4));
    }

    function test_a_device_that_is_in_twice_costs_the_edge_its_stake() public {
        (IArbiter.EdgeRoot memory root, IArbiter.Placed memory a, IArbiter.Placed memory b) = pair(DEVICE, DEVICE);
        expectProven("duplicateSender", THE_EDGE, STRANGER);
        vm.prank(STRANGER);
        arbiter.duplicateSender(root, signRoot(root), a, b);
        requirePunished("duplicateSender", THE_EDGE, STRANGER);
    }

    function test_two_devices_or_one_place_are_no_duplicate() public {
        (IArbiter.EdgeRoot memory root, IArbiter.Placed memory a, IArbiter.Placed memory b) = pair(DEVICE, DEVICE + 1);
        bytes memory signature = signRoot(root);
        refused(IArbiter.Unrelated.selector);
        arbiter.duplicateSender(root, signature, a, b);
        refused(IArbiter.Unrelated.selector);
        arbiter.duplicateSender(root, signature, a, a);
        b.leaf.node = DEVICE;
        expectBadProof();
        arbiter.duplicateSender(root, signature, a, b);
        root.count += 1;
        vm.expectRevert(abi.encodeWithSelector(IArbiter.BadSignature.selector, THE_EDGE));
        arbiter.duplicateSender(root, signature, a, b);
    }
}
