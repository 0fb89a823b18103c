// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../src/interfaces/IArbiter.sol";
import {ILedger} from "../src/interfaces/ILedger.sol";
import {Trees} from "./support/Trees.sol";
import {Trial} from "./support/Trial.sol";
import {vm} from "./support/Vm.sol";

contract ArbiterOmissionTest is Trial {
    struct Case {
        IArbiter.Receipt receipt;
        bytes signature;
        ILedger.Leaf leaf;
        IArbiter.EdgeRoot root;
        bytes rootSignature;
        bytes32 found;
        bytes32[] path;
    }

    /// @notice A receipt for `index` of a round of `size` leaves, in which another leaf has its place.
    function caseOf(uint256 size, uint256 index) internal view returns (Case memory c) {
        c.leaf = leafOf(DEVICE, 1);
        bytes32[] memory leaves = crowdWith(size, size, 0);
        (c.receipt, c.signature) = receiptBy(THE_EDGE, uint64(index), hashOf(c.leaf));
        c.root = reportOver(leaves);
        c.rootSignature = signRoot(c.root);
        if (index < size) (c.found, c.path) = (leaves[index], Trees.pathOf(leaves, index));
    }

    function prove(Case memory c) internal {
        vm.prank(STRANGER);
        arbiter.omission(c.receipt, c.signature, c.leaf, c.root, c.rootSignature, c.found, c.path);
    }

    function test_a_device_whose_place_was_given_away_is_paid(uint256 size, uint256 index) public {
        size = between(size, 1, 40);
        Case memory c = caseOf(size, between(index, 0, size - 1));
        expectProven("omission", THE_EDGE, accountOf(DEVICE));
        prove(c);
        requirePunished("omission", THE_EDGE, accountOf(DEVICE));
        equal(ledger.task(id).struck, 0);
    }

    function test_a_place_beyond_the_count_is_no_place(uint256 size, uint64 index) public {
        size = between(size, 0, 40);
        Case memory c = caseOf(size, between(index, size, type(uint64).max));
        prove(c);
        requirePunished("omission", THE_EDGE, accountOf(DEVICE));
    }

    function test_a_leaf_in_its_place_proves_nothing(uint256 size, uint256 index) public {
        size = between(size, 1, 40);
        index = between(index, 0, size - 1);
        Case memory c = caseOf(size, index);
        bytes32[] memory leaves = crowdWith(size, index, hashOf(c.leaf));
        c.root = reportOver(leaves);
        c.rootSignature = signRoot(c.root);
        (c.found, c.path) = (leaves[index], Trees.pathOf(leaves, index));
        refused(IArbiter.NotProven.selector);
        prove(c);
        c.found = "another";
        expectBadProof();
        prove(c);
    }

    function test_a_fault_is_punished_once() public {
        prove(caseOf(5, 2));
        Case memory c = caseOf(5, 3);
        vm.expectRevert(abi.encodeWithSelector(IArbiter.AlreadyProven.selector, bytes32("omission"), id, 1, THE_EDGE));
        prove(c);
    }

    function test_evidence_is_about_one_round_edge_and_leaf(uint8 field) public {
        Case memory c = caseOf(5, 2);
        field = uint8(between(field, 0, 4));
        if (field == 0) c.root.task += 1;
        if (field == 1) c.root.round += 1;
        if (field == 2) c.root.edge = OTHER_EDGE;
        if (field == 3) c.leaf.sequence += 1;
        if (field == 4) c.receipt.leaf = "another";
        refused(IArbiter.Unrelated.selector);
        prove(c);
    }

    function test_a_node_that_is_nobody_cannot_be_paid() public {
        Case memory c = caseOf(5, 2);
        c.leaf.node = 99;
        (c.receipt, c.signature) = receiptBy(THE_EDGE, 2, hashOf(c.leaf));
        refused(IArbiter.Unrelated.selector);
        prove(c);
    }

    function test_what_the_edge_did_not_sign_proves_nothing() public {
        Case memory c = caseOf(5, 2);
        c.signature = signRoot(c.root);
        bytes memory refusal = abi.encodeWithSelector(IArbiter.BadSignature.selector, THE_EDGE);
        vm.expectRevert(refusal);
        prove(c);
        c = caseOf(5, 2);
        c.rootSignature = "";
        vm.expectRevert(refusal);
        prove(c);
        c = caseOf(5, 2);
        c.root.count += 1;
        vm.expectRevert(refusal);
        prove(c);
    }

    function rotate(uint32 node, address next) internal {
        vm.prank(accountOf(node));
        registry.proposeAccount(node, next);
        vm.prank(next);
        registry.acceptAccount(node);
    }

    function test_a_rotation_hides_nothing_for_a_day(uint32 later) public {
        Case memory c = caseOf(5, 2);
        rotate(THE_EDGE, address(0x1234));
        later = uint32(between(later, 0, 1 days));
        vm.warp(block.timestamp + later);
        prove(c);
        equal(heldBy(THE_EDGE), 0);
    }

    function test_a_retired_account_binds_no_longer_than_a_day() public {
        Case memory c = caseOf(5, 2);
        rotate(THE_EDGE, address(0x1234));
        vm.warp(block.timestamp + 1 days + 1);
        vm.expectRevert(abi.encodeWithSelector(IArbiter.BadSignature.selector, THE_EDGE));
        prove(c);
    }

    function test_the_account_of_another_node_does_not_bind() public {
        Case memory c = caseOf(5, 2);
        c.signature = signed(secretOf(OTHER_EDGE), keccak256("anything"));
        vm.expectRevert(abi.encodeWithSelector(IArbiter.BadSignature.selector, THE_EDGE));
        prove(c);
    }
}
