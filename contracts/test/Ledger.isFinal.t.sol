// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../src/interfaces/ILedger.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

contract LedgerIsFinalTest is World {
    uint64 internal id;
    uint256 internal anchoredAt;
    ILedger.Header internal header;

    function setUp() public override {
        super.setUp();
        id = openTask(enrol(1, CLOUD, 0));
        header = nextHeader(id);
        anchorAs(accountOf(1), header);
        anchoredAt = block.timestamp;
    }

    function test_a_round_is_final_when_its_window_is_over_and_not_before(uint48 elapsed) public {
        vm.warp(anchoredAt + elapsed);
        yes(isFinal(header, anchoredAt) == (elapsed >= WINDOW), "final from the window's end");
    }

    function test_the_windows_last_second_is_not_final() public {
        vm.warp(anchoredAt + WINDOW - 1);
        yes(!isFinal(header, anchoredAt), "one second early");
        vm.warp(anchoredAt + WINDOW);
        yes(isFinal(header, anchoredAt), "on time");
    }

    function test_a_disputed_task_is_not_final_until_every_dispute_ends(uint8 disputes) public {
        vm.assume(disputes != 0);
        ledger.setArbiters(ARBITER, SECOND_ARBITER);
        for (uint256 i = 0; i < disputes; ++i) {
            vm.prank(i % 2 == 0 ? ARBITER : SECOND_ARBITER);
            ledger.hold(id);
        }
        equal(ledger.task(id).openDisputes, disputes);
        vm.warp(anchoredAt + WINDOW);
        for (uint256 i = 0; i < disputes; ++i) {
            yes(!isFinal(header, anchoredAt), "disputes come first");
            vm.prank(ARBITER);
            ledger.release(id);
        }
        yes(isFinal(header, anchoredAt), "no dispute is left");
    }

    function test_a_struck_round_and_later_ones_are_never_final(uint64 struck) public {
        ledger.setArbiters(ARBITER, SECOND_ARBITER);
        ILedger.Header memory second = nextHeader(id);
        anchorAs(accountOf(1), second);
        struck = uint64(between(struck, 1, 2));
        vm.prank(ARBITER);
        ledger.strike(id, struck);
        vm.warp(anchoredAt + WINDOW);
        yes(isFinal(header, anchoredAt) == (struck == 2), "only what came before counts");
        yes(!isFinal(second, anchoredAt), "struck, or after what was struck");
    }

    function test_another_time_is_never_final(uint256 claimedTime) public {
        vm.assume(claimedTime != anchoredAt);
        vm.warp(anchoredAt + WINDOW);
        yes(!isFinal(header, claimedTime), "the record binds the time");
    }

    function test_another_header_is_never_final(uint8 field, bytes32 other) public {
        vm.warp(anchoredAt + WINDOW);
        ILedger.Header memory forged = header;
        field = uint8(between(field, 0, 4));
        if (field == 0) forged.rewardsRoot = other;
        if (field == 1) forged.manifest = other;
        if (field == 2) forged.round += 1;
        if (field == 3) forged.task += 1;
        if (field == 4) forged.inputsCount += 1;
        vm.assume(ledger.headerHash(forged) != ledger.headerHash(header));
        yes(!isFinal(forged, anchoredAt), "the record binds the header");
    }

    function test_a_header_with_another_rewards_root_beside_it_is_never_final(bytes32 root) public {
        vm.assume(root != header.rewardsRoot);
        vm.warp(anchoredAt + WINDOW);
        bytes32 hash = ledger.headerHash(header);
        yes(ledger.isFinal(id, 1, hash, header.rewardsRoot, anchoredAt), "as it was anchored");
        yes(!ledger.isFinal(id, 1, hash, root, anchoredAt), "the record binds the root");
    }

    function test_a_round_that_was_never_anchored_is_not_final(bytes32 anything, uint256 time) public view {
        ILedger.Header memory invented;
        invented.task = id;
        invented.round = 2;
        invented.manifest = anything;
        yes(!isFinal(invented, time), "no record");
    }
}
