// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../src/interfaces/ILedger.sol";
import {Roles} from "../src/libraries/Roles.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice createTask, pause, unpause.
contract LedgerCreateTaskTest is World {
    uint32 internal cloud;

    function setUp() public override {
        super.setUp();
        cloud = enrol(1, CLOUD, 0);
    }

    function specOfTask(bytes memory policy) internal view returns (ILedger.TaskSpec memory) {
        return ILedger.TaskSpec({cloud: cloud, window: WINDOW, genesisModel: GENESIS, policy: policy});
    }

    function test_a_task_is_stored_whole_and_its_policy_is_in_the_event(
        bytes calldata policy,
        uint32 window,
        bytes32 genesisModel
    ) public {
        vm.assume(policy.length > 0);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILedger.TaskCreated(1, cloud, PUBLISHER, window, sha256(policy), genesisModel, policy);
        vm.prank(PUBLISHER);
        uint64 id = ledger.createTask(ILedger.TaskSpec(cloud, window, genesisModel, policy));
        equal(id, 1);
        equal(ledger.count(), 1);
        equal(
            keccak256(abi.encode(ledger.task(id))),
            keccak256(
                abi.encode(
                    ILedger.Task({
                        publisher: PUBLISHER,
                        cloud: cloud,
                        window: window,
                        open: true,
                        head: 0,
                        forcedCount: 0,
                        openDisputes: 0,
                        policyHash: sha256(policy),
                        genesisModel: genesisModel,
                        lastHeader: 0,
                        lastModel: genesisModel
                    })
                )
            )
        );
    }

    function test_tasks_are_numbered_in_order() public {
        equal(openTask(cloud), 1);
        equal(openTask(cloud), 2);
        equal(ledger.count(), 2);
    }

    function test_only_a_publisher_opens_tasks(address caller) public {
        vm.assume(caller != PUBLISHER);
        expectNotAuthorised(caller, Roles.PUBLISHER);
        vm.prank(caller);
        ledger.createTask(specOfTask("{}"));
    }

    function test_the_cloud_must_be_an_active_cloud(uint32 other, bool suspended) public {
        enrol(2, EDGE, cloud);
        registerAs(STRANGER, 3, CLOUD, 0);
        if (suspended) {
            vm.prank(REGISTRAR);
            registry.suspend(cloud);
        }
        other = uint32(between(other, 0, 4));
        vm.assume(other != cloud || suspended);
        ILedger.TaskSpec memory spec = specOfTask("{}");
        spec.cloud = other;
        vm.expectRevert(abi.encodeWithSelector(ILedger.NotActive.selector, other));
        vm.prank(PUBLISHER);
        ledger.createTask(spec);
    }

    function test_a_policy_is_neither_empty_nor_too_long() public {
        vm.expectRevert(abi.encodeWithSelector(ILedger.BadPolicy.selector));
        vm.prank(PUBLISHER);
        ledger.createTask(specOfTask(""));
        vm.expectRevert(abi.encodeWithSelector(ILedger.BadPolicy.selector));
        vm.prank(PUBLISHER);
        ledger.createTask(specOfTask(new bytes(8193)));
        vm.prank(PUBLISHER);
        equal(ledger.createTask(specOfTask(new bytes(8192))), 1);
    }

    function test_a_pause_stops_new_tasks_and_nothing_else() public {
        uint64 id = openTask(cloud);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILedger.PauseChanged(true);
        vm.prank(PAUSER);
        ledger.pause();
        vm.expectRevert(abi.encodeWithSelector(ILedger.Paused.selector));
        vm.prank(PUBLISHER);
        ledger.createTask(specOfTask("{}"));

        anchorAs(accountOf(1), nextHeader(id));
        vm.prank(PUBLISHER);
        ledger.closeTask(id);

        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILedger.PauseChanged(false);
        vm.prank(PAUSER);
        ledger.unpause();
        equal(openTask(cloud), 2);
    }

    function test_only_the_pauser_pauses(address caller) public {
        vm.assume(caller != PAUSER);
        expectNotAuthorised(caller, Roles.PAUSER);
        vm.prank(caller);
        ledger.pause();
        expectNotAuthorised(caller, Roles.PAUSER);
        vm.prank(caller);
        ledger.unpause();
    }
}
