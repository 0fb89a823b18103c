// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../src/interfaces/ILedger.sol";
import {Trial} from "./support/Trial.sol";
import {vm} from "./support/Vm.sol";

/// @notice submitDirect, and what anchorRound then asks for.
contract LedgerSubmitDirectTest is Trial {
    function submit(ILedger.Leaf memory leaf, uint256 signer, bytes memory refusal) internal {
        bytes memory signature = signDirect(leaf, signer);
        if (refusal.length != 0) vm.expectRevert(refusal);
        vm.prank(STRANGER);
        ledger.submitDirect(leaf, signature);
    }

    function force(uint32 device) internal {
        submit(leafOf(device, 0), device, "");
    }

    function test_anybody_forces_a_signed_update_in(uint64 sequence, uint64 round, uint32 weight) public {
        ILedger.Leaf memory leaf = leafOf(DEVICE, sequence);
        leaf.round = uint64(between(round, 1, type(uint64).max));
        leaf.weight = uint32(between(weight, 1, type(uint32).max));
        bytes32 hash = hashOf(leaf);
        bytes32 chain = keccak256(abi.encode(bytes32(0), hash));
        bytes memory signature = signDirect(leaf, DEVICE);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILedger.Forced(id, leaf.round, DEVICE, 1, chain, hash, leaf);
        vm.prank(STRANGER);
        ledger.submitDirect(leaf, signature);
        equal(ledger.forcedChain(id), chain);
        equal(ledger.forcedIndex(id, chain), 1);
        equal(ledger.forcedAt(id, 1), block.timestamp);
        equal(ledger.task(id).forcedCount, 1);
        equal(ledger.task(id).forcedDone, 0);

        submit(leaf, DEVICE, abi.encodeWithSelector(ILedger.AlreadyForced.selector, id, leaf.round, DEVICE));
        force(DEVICE + 1);
        chain = keccak256(abi.encode(chain, hashOf(leafOf(DEVICE + 1, 0))));
        equal(ledger.forcedChain(id), chain);
        equal(ledger.forcedIndex(id, chain), 2);
    }

    function test_only_devices_of_the_tasks_edges_force() public {
        ILedger.Leaf memory leaf = leafOf(DEVICE, 0);
        leaf.task = 9;
        submit(leaf, DEVICE, abi.encodeWithSelector(ILedger.UnknownTask.selector, 9));
        leaf = leafOf(THE_EDGE, 0);
        submit(leaf, THE_EDGE, abi.encodeWithSelector(ILedger.NotActive.selector, THE_EDGE));
        leaf = leafOf(DEVICE, 0);
        leaf.edge = OTHER_EDGE;
        submit(leaf, DEVICE, abi.encodeWithSelector(ILedger.BadSender.selector, DEVICE));
        uint32 stranger = enrol(30, END, enrol(29, EDGE, enrol(28, CLOUD, 0)));
        leaf = leafOf(stranger, 0);
        leaf.edge = stranger - 1;
        submit(leaf, 30, abi.encodeWithSelector(ILedger.BadSender.selector, stranger));
        leaf = leafOf(DEVICE, 0);
        leaf.weight = 0;
        submit(leaf, DEVICE, abi.encodeWithSelector(ILedger.BadWeight.selector));
        vm.prank(REGISTRAR);
        registry.suspend(DEVICE);
        submit(leafOf(DEVICE, 0), DEVICE, abi.encodeWithSelector(ILedger.NotActive.selector, DEVICE));
    }

    function test_a_dead_edge_stops_nobody() public {
        vm.prank(REGISTRAR);
        registry.revoke(THE_EDGE);
        force(DEVICE);
    }

    function test_the_account_signs_this_leaf() public {
        bytes memory refusal = abi.encodeWithSelector(ILedger.BadSignature.selector);
        submit(leafOf(DEVICE, 0), DEVICE + 1, refusal);
        bytes memory signature = signDirect(leafOf(DEVICE, 1), DEVICE);
        vm.expectRevert(refusal);
        ledger.submitDirect(leafOf(DEVICE, 0), signature);
    }

    function test_only_coming_rounds_of_open_tasks_are_forced() public {
        anchorAs(accountOf(1), nextHeader(id));
        submit(leafOf(DEVICE, 0), DEVICE, abi.encodeWithSelector(ILedger.WrongRound.selector, 2, 1));
        vm.prank(PUBLISHER);
        ledger.closeTask(id);
        submit(leafOf(DEVICE, 0), DEVICE, abi.encodeWithSelector(ILedger.TaskClosed.selector, id));
    }

    /* ACKNOWLEDGEMENT */

    function anchorWith(bytes32 forced, bytes memory refusal) internal {
        ILedger.Header memory header = nextHeader(id);
        header.forced = forced;
        if (refusal.length != 0) vm.expectRevert(refusal);
        anchorAs(accountOf(1), header);
    }

    function wrong(uint32 done, uint32 got) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(ILedger.WrongForced.selector, done, got);
    }

    function test_headers_acknowledge_forced_updates_and_never_fewer(bytes32 nonsense) public {
        vm.assume(nonsense != 0);
        anchorWith(nonsense, wrong(0, 0));
        anchorWith(0, "");
        bytes32[3] memory chain;
        for (uint32 i = 0; i < 3; ++i) {
            ILedger.Leaf memory leaf = leafOf(DEVICE + i, 0);
            leaf.round = 50;
            submit(leaf, DEVICE + i, "");
            chain[i] = ledger.forcedChain(id);
        }
        anchorWith(0, "");
        anchorWith(chain[1], "");
        equal(ledger.task(id).forcedDone, 2);
        anchorWith(0, wrong(2, 0));
        anchorWith(chain[0], wrong(2, 1));
        anchorWith(chain[1], "");
        anchorWith(chain[2], "");
        equal(ledger.task(id).forcedDone, 3);
    }
}
