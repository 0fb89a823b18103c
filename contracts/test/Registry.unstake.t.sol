// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice unstake, withdraw.
contract RegistryUnstakeTest is World {
    uint32 internal cloud;
    uint32 internal edge;

    function setUp() public override {
        super.setUp();
        cloud = enrol(1, CLOUD, 0);
        edge = registerAs(STRANGER, 2, EDGE, cloud);
    }

    function unstake(uint32 id, uint256 amount) internal {
        vm.prank(registry.node(id).owner);
        registry.unstake(id, amount);
    }

    function withdraw(uint32 id) internal {
        vm.prank(registry.node(id).owner);
        registry.withdraw(id);
    }

    function test_stake_leaves_after_the_unbonding_time(uint96 held, uint96 amount, uint48 late) public {
        held = uint96(between(held, 1, 1e26));
        amount = uint96(between(amount, 1, held));
        stakeFor(cloud, held);
        uint256 until = block.timestamp + UNBONDING_SECONDS;

        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.Unbonding(cloud, amount, until);
        unstake(cloud, amount);
        equal(registry.node(cloud).stake, held - amount);
        equal(registry.node(cloud).unbonding, amount);
        equal(registry.node(cloud).unbondAt, until);

        vm.warp(until + between(late, 0, 1 << 40));
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.Withdrawn(cloud, amount);
        withdraw(cloud);
        equal(credit.balanceOf(accountOf(1)), amount);
        equal(credit.balanceOf(address(registry)), held - amount);
        equal(registry.node(cloud).unbonding, 0);
    }

    function test_nothing_leaves_before_its_time(uint96 amount, uint48 elapsed) public {
        amount = uint96(between(amount, 1, 1e26));
        stakeFor(cloud, amount);
        unstake(cloud, amount);
        uint256 until = block.timestamp + UNBONDING_SECONDS;
        vm.warp(block.timestamp + between(elapsed, 0, UNBONDING_SECONDS - 1));
        address owner = accountOf(1);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.StillBonded.selector, until));
        vm.prank(owner);
        registry.withdraw(cloud);
    }

    function test_a_second_unstake_starts_the_clock_again(uint48 elapsed) public {
        stakeFor(cloud, 10);
        unstake(cloud, 4);
        vm.warp(block.timestamp + between(elapsed, 1, 1 << 40));
        unstake(cloud, 6);
        equal(registry.node(cloud).unbonding, 10);
        equal(registry.node(cloud).unbondAt, block.timestamp + UNBONDING_SECONDS);
    }

    function test_nobody_takes_out_more_than_there_is(uint96 held, uint256 amount) public {
        held = uint96(between(held, 0, 1e26));
        amount = between(amount, uint256(held) + 1, type(uint256).max);
        stakeFor(cloud, held);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.InsufficientStake.selector, cloud, held));
        vm.prank(accountOf(1));
        registry.unstake(cloud, amount);
    }

    function test_a_node_that_stake_admitted_keeps_its_stake_while_it_is_active(uint96 held, uint96 amount) public {
        held = uint96(between(held, MIN_STAKE_EDGE, 1e26));
        amount = uint96(between(amount, held - MIN_STAKE_EDGE + 1, held));
        stakeFor(edge, held);
        yes(registry.active(edge, EDGE), "admitted by stake");
        address owner = accountOf(2);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.InsufficientStake.selector, edge, held));
        vm.prank(owner);
        registry.unstake(edge, amount);

        unstake(edge, held - MIN_STAKE_EDGE);
        vm.prank(owner);
        registry.suspend(edge);
        unstake(edge, MIN_STAKE_EDGE);
        equal(registry.node(edge).stake, 0);
    }

    function test_a_node_that_a_registrar_admitted_may_take_out_less_than_the_minimum(uint96 held) public {
        held = uint96(between(held, 1, MIN_STAKE_EDGE - 1));
        vm.prank(REGISTRAR);
        registry.admit(edge);
        stakeFor(edge, held);
        unstake(edge, held);
        equal(registry.node(edge).unbonding, held);
    }

    function test_a_revoked_node_still_gets_its_stake_back(uint96 held) public {
        held = uint96(between(held, 1, 1e26));
        stakeFor(edge, held);
        vm.prank(REGISTRAR);
        registry.revoke(edge);
        unstake(edge, held);
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        withdraw(edge);
        equal(credit.balanceOf(accountOf(2)), held);
    }

    function test_nothing_unbonding_is_nothing_to_withdraw() public {
        stakeFor(cloud, 5);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.InsufficientStake.selector, cloud, 0));
        vm.prank(accountOf(1));
        registry.withdraw(cloud);
    }

    function test_only_the_owner_moves_stake(address caller) public {
        vm.assume(caller != accountOf(1));
        stakeFor(cloud, 5);
        bytes memory refusal = abi.encodeWithSelector(IRegistry.NotOwner.selector, caller);
        vm.expectRevert(refusal);
        vm.prank(caller);
        registry.unstake(cloud, 5);
        vm.expectRevert(refusal);
        vm.prank(caller);
        registry.withdraw(cloud);
    }

    function test_an_unknown_node_is_refused(uint32 other) public {
        vm.assume(other != cloud && other != edge);
        bytes memory refusal = abi.encodeWithSelector(IRegistry.UnknownNode.selector, other);
        vm.expectRevert(refusal);
        registry.unstake(other, 0);
        vm.expectRevert(refusal);
        registry.withdraw(other);
    }
}
