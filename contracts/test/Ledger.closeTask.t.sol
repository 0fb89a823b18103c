// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../src/interfaces/ILedger.sol";
import {Roles} from "../src/libraries/Roles.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

contract LedgerCloseTaskTest is World {
    uint64 internal id;

    function setUp() public override {
        super.setUp();
        id = openTask(enrol(1, CLOUD, 0));
    }

    function test_the_publisher_or_the_cloud_ends_a_task(bool publisher, uint8 rounds) public {
        rounds = uint8(between(rounds, 0, 4));
        for (uint256 i = 0; i < rounds; ++i) {
            anchorAs(accountOf(1), nextHeader(id));
        }
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILedger.TaskEnded(id, rounds);
        vm.prank(publisher ? PUBLISHER : accountOf(1));
        ledger.closeTask(id);
        yes(!ledger.task(id).open, "closed");
        equal(ledger.task(id).head, rounds);
    }

    function test_another_publisher_does_not() public {
        authority.grantRole(Roles.PUBLISHER, STRANGER, 0);
        expectNotAuthorised(STRANGER, Roles.PUBLISHER);
        vm.prank(STRANGER);
        ledger.closeTask(id);
    }

    function test_a_stranger_does_not(address caller) public {
        vm.assume(caller != PUBLISHER && caller != accountOf(1));
        expectNotAuthorised(caller, Roles.PUBLISHER);
        vm.prank(caller);
        ledger.closeTask(id);
    }

    function test_a_task_ends_once() public {
        vm.prank(PUBLISHER);
        ledger.closeTask(id);
        vm.expectRevert(abi.encodeWithSelector(ILedger.TaskClosed.selector, id));
        vm.prank(accountOf(1));
        ledger.closeTask(id);
    }

    function test_an_unknown_task_is_refused(uint64 other) public {
        vm.assume(other != id);
        vm.expectRevert(abi.encodeWithSelector(ILedger.UnknownTask.selector, other));
        vm.prank(PUBLISHER);
        ledger.closeTask(other);
    }
}
