// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../src/interfaces/ILedger.sol";
import {Trees} from "./support/Trees.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

contract LedgerCheckpointTest is World {
    uint32 internal node;

    function setUp() public override {
        super.setUp();
        node = enrol(1, CLOUD, 0);
    }

    function entries(uint256 size) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            leaves[i] = sha256(abi.encode("entry", i));
        }
    }

    function checkpoint(uint256 size, bytes32 root, bytes32[] memory path, bytes memory refusal) internal {
        address account = accountOf(1);
        if (refusal.length != 0) vm.expectRevert(refusal);
        vm.prank(account);
        ledger.checkpoint(node, uint64(size), root, path);
    }

    function held(uint256 size) internal view {
        (uint64 kept, bytes32 root) = ledger.log(node);
        equal(kept, size);
        equal(root, Trees.rootOf(entries(size)));
    }

    function test_a_log_grows_by_proof(uint256 first, uint256 more) public {
        first = between(first, 1, 40);
        more = between(more, 1, 40);
        checkpoint(first, Trees.rootOf(entries(first)), new bytes32[](0), "");
        held(first);
        bytes32[] memory all = entries(first + more);
        bytes32[] memory path = Trees.consistency(all, first, 0, first + more, true);
        bytes32 root = Trees.rootOf(all);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILedger.Checkpointed(node, uint64(first + more), root);
        checkpoint(first + more, root, path, "");
        held(first + more);
        checkpoint(first + more, root, path, "");
        checkpoint(first, root, path, abi.encodeWithSelector(ILedger.LogRewound.selector, first + more));
        held(first + more);
    }

    function test_a_fork_is_refused(uint256 first, uint256 more, bytes32 root) public {
        first = between(first, 1, 40);
        more = between(more, 0, 40);
        checkpoint(first, Trees.rootOf(entries(first)), new bytes32[](0), "");
        bytes32[] memory all = entries(first + more);
        bytes32[] memory path = more == 0 ? new bytes32[](0) : Trees.consistency(all, first, 0, first + more, true);
        vm.assume(root != Trees.rootOf(all));
        expectBadProof();
        checkpoint(first + more, root, path, "");
        held(first);
    }

    function test_the_first_checkpoint_proves_nothing() public {
        checkpoint(0, 0, new bytes32[](0), abi.encodeWithSelector(ILedger.EmptyLog.selector));
        expectBadProof();
        checkpoint(1, 0, new bytes32[](1), "");
    }

    function test_only_an_active_nodes_account_speaks_for_its_log(address caller) public {
        vm.assume(caller != accountOf(1));
        vm.expectRevert(abi.encodeWithSelector(ILedger.NotNode.selector, caller));
        vm.prank(caller);
        ledger.checkpoint(node, 1, 0, new bytes32[](0));
        vm.prank(REGISTRAR);
        registry.suspend(node);
        checkpoint(1, 0, new bytes32[](0), abi.encodeWithSelector(ILedger.NotNode.selector, accountOf(1)));
    }
}
