// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../src/interfaces/IArbiter.sol";
import {ILedger} from "../src/interfaces/ILedger.sol";
import {Trees} from "./support/Trees.sol";
import {Trial} from "./support/Trial.sol";
import {vm} from "./support/Vm.sol";

/// @notice edgeOmission, forcedIgnored.
contract ArbiterEdgeOmissionTest is Trial {
    bytes32 internal constant EDGE_LEAF = keccak256("an edge's leaf");

    function anchored(bytes32[] memory inputs) internal returns (ILedger.Header memory header) {
        header = nextHeader(id);
        header.inputsRoot = Trees.rootOf(inputs);
        header.inputsCount = uint64(inputs.length);
        anchorAs(accountOf(1), header);
    }

    /// @notice What is expected comes last: hashing calls a precompile.
    function prove(uint64 index, ILedger.Header memory header, bytes32[] memory inputs, bytes memory refusal) internal {
        (IArbiter.Receipt memory receipt, bytes memory signature) = receiptBy(THE_CLOUD, index, EDGE_LEAF);
        bytes32[] memory path = index < inputs.length ? Trees.pathOf(inputs, index) : new bytes32[](0);
        bytes32 found = index < inputs.length ? inputs[index] : bytes32(0);
        if (refusal.length == 0) expectProven("edgeOmission", THE_CLOUD, STRANGER);
        else vm.expectRevert(refusal);
        vm.prank(STRANGER);
        arbiter.edgeOmission(receipt, signature, header, block.timestamp, found, path);
    }

    function test_a_cloud_that_drops_an_edge_loses_its_stake_and_the_round(uint256 size, uint64 index) public {
        size = between(size, 1, 20);
        bytes32[] memory inputs = crowdWith(size, size, 0);
        ILedger.Header memory header = anchored(inputs);
        prove(uint64(between(index, 0, size + 3)), header, inputs, "");
        requirePunished("edgeOmission", THE_CLOUD, STRANGER);
        equal(ledger.task(id).struck, 1);
        yes(!ledger.task(id).open, "a struck task is over");
    }

    function test_an_edge_in_its_place_proves_nothing(uint256 size, uint64 index) public {
        size = between(size, 1, 20);
        index = uint64(between(index, 0, size - 1));
        bytes32[] memory inputs = crowdWith(size, index, EDGE_LEAF);
        ILedger.Header memory header = anchored(inputs);
        prove(index, header, inputs, abi.encodeWithSelector(IArbiter.NotProven.selector));
    }

    function test_the_receipt_is_the_clouds_for_this_round() public {
        bytes32[] memory inputs = crowdWith(3, 3, 0);
        ILedger.Header memory header = anchored(inputs);
        (IArbiter.Receipt memory receipt, bytes memory signature) = receiptBy(THE_EDGE, 1, EDGE_LEAF);
        bytes32[] memory path = Trees.pathOf(inputs, 1);
        refused(IArbiter.Unrelated.selector);
        arbiter.edgeOmission(receipt, signature, header, block.timestamp, inputs[1], path);
        (receipt, signature) = receiptBy(THE_CLOUD, 1, EDGE_LEAF);
        receipt.round = 2;
        refused(IArbiter.Unrelated.selector);
        arbiter.edgeOmission(receipt, signature, header, block.timestamp, inputs[1], path);
        (receipt.round, receipt.index) = (1, 2);
        vm.expectRevert(abi.encodeWithSelector(IArbiter.BadSignature.selector, THE_CLOUD));
        arbiter.edgeOmission(receipt, signature, header, block.timestamp, inputs[1], path);
    }

    function test_the_header_is_the_one_that_was_anchored() public {
        bytes32[] memory inputs = crowdWith(3, 3, 0);
        ILedger.Header memory header = anchored(inputs);
        header.inputsCount = 0;
        prove(1, header, inputs, abi.encodeWithSelector(IArbiter.NotAnchored.selector, id, 1));
    }

    /* FORCED UPDATES */

    function force(uint32 device) internal {
        ILedger.Leaf memory leaf = leafOf(device, 0);
        leaf.round = 9;
        ledger.submitDirect(leaf, signDirect(leaf, device));
    }

    function test_a_cloud_that_ignores_a_forced_update_for_an_hour_loses_its_stake(uint32 late) public {
        force(DEVICE);
        vm.warp(block.timestamp + 1 hours + between(late, 1, 30 days));
        ILedger.Header memory header = anchored(crowdWith(2, 2, 0));
        expectProven("forcedIgnored", THE_CLOUD, STRANGER);
        vm.prank(STRANGER);
        arbiter.forcedIgnored(1, header, block.timestamp);
        requirePunished("forcedIgnored", THE_CLOUD, STRANGER);
        equal(ledger.task(id).struck, 1);
    }

    function test_a_cloud_has_an_hour_to_read(uint32 early) public {
        force(DEVICE);
        vm.warp(block.timestamp + between(early, 0, 1 hours));
        ILedger.Header memory header = anchored(crowdWith(2, 2, 0));
        uint256 time = block.timestamp;
        vm.warp(time + 30 days);
        refused(IArbiter.NotProven.selector);
        arbiter.forcedIgnored(1, header, time);
    }

    function test_what_was_acknowledged_was_not_ignored() public {
        force(DEVICE);
        force(DEVICE + 1);
        vm.warp(block.timestamp + 2 hours);
        ILedger.Header memory header = nextHeader(id);
        header.forced = keccak256(abi.encode(bytes32(0), hashOf9(DEVICE)));
        anchorAs(accountOf(1), header);
        refused(IArbiter.NotProven.selector);
        arbiter.forcedIgnored(1, header, block.timestamp);
        refused(IArbiter.NotProven.selector);
        arbiter.forcedIgnored(3, header, block.timestamp);
        arbiter.forcedIgnored(2, header, block.timestamp);
        equal(heldBy(THE_CLOUD), 0);
    }

    function hashOf9(uint32 device) internal view returns (bytes32) {
        ILedger.Leaf memory leaf = leafOf(device, 0);
        leaf.round = 9;
        return hashOf(leaf);
    }

    function test_only_the_head_shows_what_was_read() public {
        force(DEVICE);
        vm.warp(block.timestamp + 2 hours);
        ILedger.Header memory header = anchored(crowdWith(2, 2, 0));
        uint256 time = block.timestamp;
        ILedger.Header memory head = nextHeader(id);
        head.forced = ledger.forcedChain(id);
        anchorAs(accountOf(1), head);
        refused(IArbiter.Unrelated.selector);
        arbiter.forcedIgnored(1, header, time);
    }
}
