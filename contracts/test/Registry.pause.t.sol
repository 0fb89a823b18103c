// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Roles} from "../src/libraries/Roles.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice pause, unpause, minStake.
contract RegistryPauseTest is World {
    function test_the_pauser_stops_and_allows_registrations() public {
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.PauseChanged(true);
        vm.prank(PAUSER);
        registry.pause();
        yes(registry.paused(), "paused");
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.PauseChanged(false);
        vm.prank(PAUSER);
        registry.unpause();
        yes(!registry.paused(), "not paused");
    }

    function test_only_the_pauser_does(address caller) public {
        vm.assume(caller != PAUSER);
        expectNotAuthorised(caller, Roles.PAUSER);
        vm.prank(caller);
        registry.pause();
        expectNotAuthorised(caller, Roles.PAUSER);
        vm.prank(caller);
        registry.unpause();
    }

    function test_a_pause_holds_up_nothing_but_registrations() public {
        uint32 cloud = enrol(1, CLOUD, 0);
        vm.prank(PAUSER);
        registry.pause();
        stakeFor(cloud, 10);
        vm.prank(accountOf(1));
        registry.unstake(cloud, 10);
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        vm.prank(accountOf(1));
        registry.withdraw(cloud);
        vm.prank(REGISTRAR);
        registry.suspend(cloud);
        vm.prank(REGISTRAR);
        registry.reinstate(cloud);
        equal(credit.balanceOf(accountOf(1)), 10);
    }

    function test_every_tier_and_no_other_has_a_minimum(uint8 tier) public {
        if (tier < END || tier > CLOUD) vm.expectRevert(abi.encodeWithSelector(IRegistry.BadTier.selector, tier));
        uint96 least = registry.minStake(tier);
        equal(least, tier == EDGE ? MIN_STAKE_EDGE : 0);
    }
}
