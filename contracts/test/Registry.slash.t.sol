// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Roles} from "../src/libraries/Roles.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice slash, setArbiter.
contract RegistrySlashTest is World {
    address internal constant ARBITER = address(0xA5B);
    address internal constant CHALLENGER = address(0xC4A);

    uint32 internal cloud;

    function setUp() public override {
        super.setUp();
        cloud = enrol(1, CLOUD, 0);
    }

    function hold(uint96 stake, uint96 unbonding) internal {
        registry.setArbiter(ARBITER);
        stakeFor(cloud, uint256(stake) + unbonding);
        vm.prank(accountOf(1));
        registry.unstake(cloud, unbonding);
    }

    function test_what_is_unbonding_is_slashed_first(uint96 stake, uint96 unbonding, uint96 amount) public {
        stake = uint96(between(stake, 0, 1e26));
        unbonding = uint96(between(unbonding, 0, 1e26));
        amount = uint96(between(amount, 0, uint256(stake) + unbonding));
        hold(stake, unbonding);
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.Slashed(cloud, amount, "omission", CHALLENGER);
        vm.prank(ARBITER);
        registry.slash(cloud, amount, "omission", CHALLENGER);
        uint256 leaving = amount < unbonding ? amount : unbonding;
        equal(registry.node(cloud).unbonding, unbonding - leaving);
        equal(registry.node(cloud).stake, stake - (amount - leaving));
        equal(credit.balanceOf(CHALLENGER), amount);
        equal(credit.balanceOf(address(registry)), uint256(stake) + unbonding - amount);
    }

    function test_matured_stake_is_slashable_until_it_is_withdrawn(uint96 unbonding) public {
        unbonding = uint96(between(unbonding, 1, 1e26));
        hold(0, unbonding);
        vm.warp(block.timestamp + 10 * uint256(UNBONDING_SECONDS));
        vm.prank(ARBITER);
        registry.slash(cloud, unbonding, "omission", CHALLENGER);
        equal(registry.node(cloud).unbonding, 0);
    }

    function test_nobody_is_slashed_for_more_than_there_is(uint96 stake, uint96 unbonding, uint256 amount) public {
        stake = uint96(between(stake, 0, 1e26));
        unbonding = uint96(between(unbonding, 0, 1e26));
        uint256 total = uint256(stake) + unbonding;
        amount = between(amount, total + 1, type(uint256).max);
        hold(stake, unbonding);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.InsufficientStake.selector, cloud, total));
        vm.prank(ARBITER);
        registry.slash(cloud, amount, "omission", CHALLENGER);
    }

    function test_only_the_arbiter_slashes(address caller, bool named) public {
        vm.assume(caller != ARBITER && (named || caller != address(0)));
        if (named) registry.setArbiter(ARBITER);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotArbiter.selector, caller));
        vm.prank(caller);
        registry.slash(cloud, 0, "omission", CHALLENGER);
    }

    function test_an_unknown_node_is_not_slashed(uint32 other) public {
        vm.assume(other != cloud);
        registry.setArbiter(ARBITER);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, other));
        vm.prank(ARBITER);
        registry.slash(other, 0, "omission", CHALLENGER);
    }

    function test_the_arbiter_is_named_once(address arbiter, address other) public {
        vm.assume(arbiter != address(0));
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.ArbiterSet(arbiter);
        registry.setArbiter(arbiter);
        equal(registry.arbiter(), arbiter);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.ArbiterAlreadySet.selector, arbiter));
        registry.setArbiter(other);
    }

    function test_nobody_is_not_an_arbiter() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotArbiter.selector, address(0)));
        registry.setArbiter(address(0));
    }

    function test_only_the_administrator_names_the_arbiter(address caller) public {
        vm.assume(caller != address(this));
        expectNotAuthorised(caller, Roles.ADMIN);
        vm.prank(caller);
        registry.setArbiter(caller);
    }
}
