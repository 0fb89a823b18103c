// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../src/interfaces/ILedger.sol";
import {Roles} from "../src/libraries/Roles.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice strike, hold, release, setArbiters.
contract LedgerStrikeTest is World {
    uint64 internal id;

    function setUp() public override {
        super.setUp();
        id = openTask(enrol(1, CLOUD, 0));
    }

    function test_the_first_struck_round_counts_and_ends_the_task(uint8 rounds, uint64 first, uint64 second) public {
        ledger.setArbiters(ARBITER, SECOND_ARBITER);
        rounds = uint8(between(rounds, 1, 5));
        for (uint256 i = 0; i < rounds; ++i) {
            anchorAs(accountOf(1), nextHeader(id));
        }
        (first, second) = (uint64(between(first, 1, rounds)), uint64(between(second, 1, rounds)));
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILedger.RoundStruck(id, first);
        vm.prank(ARBITER);
        ledger.strike(id, first);
        vm.prank(SECOND_ARBITER);
        ledger.strike(id, second);
        equal(ledger.task(id).struck, first < second ? first : second);
        yes(!ledger.task(id).open, "over");
        ILedger.Header memory header = nextHeader(id);
        vm.expectRevert(abi.encodeWithSelector(ILedger.TaskClosed.selector, id));
        anchorAs(accountOf(1), header);
    }

    function test_only_anchored_rounds_are_struck(uint64 round) public {
        vm.assume(round != 1);
        ledger.setArbiters(ARBITER, SECOND_ARBITER);
        anchorAs(accountOf(1), nextHeader(id));
        vm.expectRevert(abi.encodeWithSelector(ILedger.WrongRound.selector, 1, round));
        vm.prank(ARBITER);
        ledger.strike(id, round);
        vm.expectRevert(abi.encodeWithSelector(ILedger.UnknownTask.selector, 7));
        vm.prank(ARBITER);
        ledger.strike(7, 1);
    }

    function test_only_arbiters_strike_hold_and_release(address caller) public {
        vm.assume(caller != ARBITER && caller != SECOND_ARBITER);
        ledger.setArbiters(ARBITER, SECOND_ARBITER);
        bytes memory refusal = abi.encodeWithSelector(ILedger.NotArbiter.selector, caller);
        vm.expectRevert(refusal);
        vm.prank(caller);
        ledger.strike(id, 1);
        vm.expectRevert(refusal);
        vm.prank(caller);
        ledger.hold(id);
        vm.expectRevert(refusal);
        vm.prank(caller);
        ledger.release(id);
        vm.expectRevert(abi.encodeWithSelector(ILedger.NotHeld.selector, id));
        vm.prank(ARBITER);
        ledger.release(id);
    }

    function test_the_arbiters_are_named_once(address first, address second) public {
        vm.assume(first != address(0) && second != address(0));
        bytes memory nobody = abi.encodeWithSelector(ILedger.NotArbiter.selector, address(0));
        vm.expectRevert(nobody);
        ledger.setArbiters(address(0), second);
        vm.expectRevert(nobody);
        ledger.setArbiters(first, address(0));
        expectNotAuthorised(STRANGER, Roles.ADMIN);
        vm.prank(STRANGER);
        ledger.setArbiters(first, second);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILedger.ArbitersSet(first, second);
        ledger.setArbiters(first, second);
        yes(ledger.isArbiter(first) && ledger.isArbiter(second), "both judge");
        vm.expectRevert(abi.encodeWithSelector(ILedger.ArbiterAlreadySet.selector, first));
        ledger.setArbiters(second, first);
    }
}
