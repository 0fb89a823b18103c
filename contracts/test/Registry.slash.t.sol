// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Roles} from "../src/libraries/Roles.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice slash, hold, release, setArbiters.
contract RegistrySlashTest is World {
    address internal constant CHALLENGER = address(0xC4A);

    uint32 internal cloud;

    function setUp() public override {
        super.setUp();
        cloud = enrol(1, CLOUD, 0);
    }

    function staked(uint96 stake, uint96 unbonding) internal {
        registry.setArbiters(ARBITER, SECOND_ARBITER);
        stakeFor(cloud, uint256(stake) + unbonding);
        vm.prank(accountOf(1));
        registry.unstake(cloud, unbonding);
    }

    function test_what_is_unbonding_is_slashed_first(uint96 stake, uint96 unbonding, uint96 amount) public {
        stake = uint96(between(stake, 0, 1e26));
        unbonding = uint96(between(unbonding, 0, 1e26));
        amount = uint96(between(amount, 0, uint256(stake) + unbonding));
        staked(stake, unbonding);
        equal(registry.slashable(cloud), uint256(stake) + unbonding);
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.Slashed(cloud, amount, "omission");
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.StatusChanged(cloud, SUSPENDED);
        vm.prank(ARBITER);
        registry.slash(cloud, amount, "omission");
        uint256 leaving = amount < unbonding ? amount : unbonding;
        equal(registry.node(cloud).unbonding, unbonding - leaving);
        equal(registry.node(cloud).stake, stake - (amount - leaving));
        equal(registry.seized(), amount);
        equal(credit.balanceOf(address(registry)), uint256(stake) + unbonding);
    }

    function test_what_was_seized_is_paid_and_burned(uint96 amount, uint96 reward, uint96 burned) public {
        amount = uint96(between(amount, 0, 1e26));
        reward = uint96(between(reward, 0, amount));
        burned = uint96(between(burned, 0, amount - reward));
        staked(amount, 0);
        vm.prank(ARBITER);
        registry.slash(cloud, amount, "omission");
        uint256 supply = credit.totalSupply();
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.Settled(CHALLENGER, reward, burned);
        vm.prank(SECOND_ARBITER);
        registry.settle(CHALLENGER, reward, burned);
        equal(credit.balanceOf(CHALLENGER), reward);
        equal(credit.totalSupply(), supply - burned);
        equal(registry.seized(), amount - reward - burned);
        equal(credit.balanceOf(address(registry)), amount - reward - burned);
    }

    function test_only_what_was_seized_is_settled(uint96 amount, uint256 reward, uint256 burned) public {
        amount = uint96(between(amount, 0, 1e26));
        staked(amount, 7);
        vm.prank(ARBITER);
        registry.slash(cloud, amount, "omission");
        vm.assume(reward > amount || burned > amount - reward);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotSeized.selector, amount));
        vm.prank(ARBITER);
        registry.settle(CHALLENGER, reward, burned);
    }

    function test_an_active_node_is_suspended_and_any_other_stays_as_it_is(uint8 way) public {
        staked(1, 0);
        vm.roll(2_000);
        way = uint8(between(way, 0, 2));
        uint8[3] memory expected = [SUSPENDED, SUSPENDED, REVOKED];
        if (way == 1) {
            vm.prank(REGISTRAR);
            registry.suspend(cloud);
        }
        if (way == 2) {
            vm.prank(REGISTRAR);
            registry.revoke(cloud);
        }
        vm.roll(3_000);
        vm.prank(SECOND_ARBITER);
        registry.slash(cloud, 1, "omission");
        equal(registry.node(cloud).status, expected[way]);
        equal(registry.node(cloud).statusBlock, way == 0 ? 3_000 : 2_000);
    }

    function test_a_held_node_withdraws_nothing_until_every_dispute_ends(uint8 disputes) public {
        vm.assume(disputes != 0);
        staked(0, 5);
        for (uint256 i = 0; i < disputes; ++i) {
            vm.expectEmit(true, true, true, true, address(registry));
            emit IRegistry.Held(cloud, uint16(i + 1));
            vm.prank(i % 2 == 0 ? ARBITER : SECOND_ARBITER);
            registry.hold(cloud);
        }
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        address owner = accountOf(1);
        for (uint256 i = disputes; i > 0; --i) {
            vm.expectRevert(abi.encodeWithSelector(IRegistry.OnHold.selector, cloud));
            vm.prank(owner);
            registry.withdraw(cloud);
            vm.expectEmit(true, true, true, true, address(registry));
            emit IRegistry.Released(cloud, uint16(i - 1));
            vm.prank(ARBITER);
            registry.release(cloud);
        }
        vm.prank(owner);
        registry.withdraw(cloud);
        equal(credit.balanceOf(owner), 5);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotHeld.selector, cloud));
        vm.prank(ARBITER);
        registry.release(cloud);
    }

    function test_only_an_arbiter_holds_and_releases(address caller) public {
        registry.setArbiters(ARBITER, SECOND_ARBITER);
        vm.assume(caller != ARBITER && caller != SECOND_ARBITER);
        bytes memory refusal = abi.encodeWithSelector(IRegistry.NotArbiter.selector, caller);
        vm.expectRevert(refusal);
        vm.prank(caller);
        registry.hold(cloud);
        vm.expectRevert(refusal);
        vm.prank(caller);
        registry.release(cloud);
        vm.expectRevert(refusal);
        vm.prank(caller);
        registry.settle(CHALLENGER, 0, 0);
    }

    function test_matured_stake_is_slashable_until_it_is_withdrawn(uint96 unbonding) public {
        unbonding = uint96(between(unbonding, 1, 1e26));
        staked(0, unbonding);
        vm.warp(block.timestamp + 10 * uint256(UNBONDING_SECONDS));
        vm.prank(ARBITER);
        registry.slash(cloud, unbonding, "omission");
        equal(registry.node(cloud).unbonding, 0);
    }

    function test_nobody_is_slashed_for_more_than_there_is(uint96 stake, uint96 unbonding, uint256 amount) public {
        stake = uint96(between(stake, 0, 1e26));
        unbonding = uint96(between(unbonding, 0, 1e26));
        uint256 total = uint256(stake) + unbonding;
        amount = between(amount, total + 1, type(uint256).max);
        staked(stake, unbonding);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.InsufficientStake.selector, cloud, total));
        vm.prank(ARBITER);
        registry.slash(cloud, amount, "omission");
    }

    function test_only_the_arbiter_slashes(address caller, bool named) public {
        vm.assume(caller != ARBITER && caller != SECOND_ARBITER);
        if (named) registry.setArbiters(ARBITER, SECOND_ARBITER);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotArbiter.selector, caller));
        vm.prank(caller);
        registry.slash(cloud, 0, "omission");
    }

    function test_an_unknown_node_is_not_slashed(uint32 other) public {
        vm.assume(other != cloud);
        registry.setArbiters(ARBITER, SECOND_ARBITER);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, other));
        vm.prank(ARBITER);
        registry.slash(other, 0, "omission");
    }

    function test_the_arbiters_are_named_once(address first, address second) public {
        vm.assume(first != address(0) && second != address(0));
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.ArbitersSet(first, second);
        registry.setArbiters(first, second);
        yes(registry.isArbiter(first) && registry.isArbiter(second), "both judge");
        vm.expectRevert(abi.encodeWithSelector(IRegistry.ArbiterAlreadySet.selector, first));
        registry.setArbiters(second, first);
    }

    function test_nobody_is_not_an_arbiter() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotArbiter.selector, address(0)));
        registry.setArbiters(address(0), ARBITER);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotArbiter.selector, address(0)));
        registry.setArbiters(ARBITER, address(0));
    }

    function test_only_the_administrator_names_the_arbiter(address caller) public {
        vm.assume(caller != address(this));
        expectNotAuthorised(caller, Roles.ADMIN);
        vm.prank(caller);
        registry.setArbiters(caller, caller);
    }
}
