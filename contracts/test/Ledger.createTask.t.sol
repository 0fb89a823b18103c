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
        return taskSpec(cloud, policy);
    }

    function expectCreated(ILedger.TaskSpec memory spec) internal {
        vm.expectEmit(true, true, true, true, address(ledger));
        emit ILedger.TaskCreated(
            1,
            cloud,
            PUBLISHER,
            spec.window,
            sha256(spec.policy),
            spec.genesisModel,
            spec.rule,
            spec.trim,
            spec.width,
            spec.chunks,
            spec.policy
        );
    }

    function test_a_task_is_stored_whole_and_its_policy_is_in_the_event(ILedger.TaskSpec memory spec) public {
        vm.assume(spec.policy.length > 0 && spec.chunks > 0);
        spec.cloud = cloud;
        spec.rule = uint8(between(spec.rule, 0, 4));
        spec.width = spec.width % 2 == 0 ? 2 : 4;
        if (spec.rule != 4) spec.trim = 0;
        expectCreated(spec);
        vm.prank(PUBLISHER);
        equal(ledger.createTask(spec), 1);
        equal(ledger.count(), 1);
        equal(keccak256(abi.encode(ledger.task(1))), keccak256(abi.encode(storedAs(spec))));
    }

    function storedAs(ILedger.TaskSpec memory spec) internal view returns (ILedger.Task memory) {
        return ILedger.Task({
            publisher: PUBLISHER,
            cloud: cloud,
            open: true,
            rule: spec.rule,
            trim: spec.trim,
            width: spec.width,
            chunks: spec.chunks,
            head: 0,
            struck: 0,
            forcedCount: 0,
            forcedDone: 0,
            openDisputes: 0,
            window: spec.window,
            policyHash: sha256(spec.policy),
            genesisModel: spec.genesisModel,
            lastHeader: 0,
            lastModel: spec.genesisModel
        });
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

    function refuses(ILedger.TaskSpec memory spec, bytes memory refusal) internal {
        vm.expectRevert(refusal);
        vm.prank(PUBLISHER);
        ledger.createTask(spec);
    }

    function test_a_rule_is_one_that_can_be_judged(uint8 rule, uint8 trim, uint8 width) public {
        ILedger.TaskSpec memory spec = specOfTask("{}");
        (spec.rule, spec.trim, spec.width) = (rule, trim, width);
        bool known = rule <= 4 && (trim == 0 || rule == 4) && (width == 2 || width == 4);
        if (known) {
            vm.prank(PUBLISHER);
            equal(ledger.createTask(spec), 1);
        } else {
            refuses(spec, abi.encodeWithSelector(ILedger.BadRule.selector, rule, trim, width));
        }
    }

    function test_rules_are_five_and_widths_two_or_four() public {
        ILedger.TaskSpec memory spec = specOfTask("{}");
        spec.rule = 5;
        refuses(spec, abi.encodeWithSelector(ILedger.BadRule.selector, 5, 0, 2));
        (spec.rule, spec.trim) = (3, 1);
        refuses(spec, abi.encodeWithSelector(ILedger.BadRule.selector, 3, 1, 2));
        (spec.trim, spec.width) = (0, 3);
        refuses(spec, abi.encodeWithSelector(ILedger.BadRule.selector, 3, 0, 3));
        (spec.width, spec.chunks) = (4, 0);
        refuses(spec, abi.encodeWithSelector(ILedger.BadChunks.selector));
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
