// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice stake, stakeWithPermit.
contract RegistryStakeTest is World {
    uint32 internal cloud;
    uint32 internal edge;

    function setUp() public override {
        super.setUp();
        cloud = enrol(1, CLOUD, 0);
        edge = registerAs(STRANGER, 2, EDGE, cloud);
    }

    function test_anybody_may_stake_for_a_node(address payer, uint96 amount) public {
        vm.assume(payer != address(0) && payer != address(registry));
        amount = uint96(between(amount, 0, MIN_STAKE_EDGE - 1));
        fillWallet(payer, amount, address(registry));
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.Staked(edge, amount);
        vm.prank(payer);
        registry.stake(edge, amount);
        equal(registry.node(edge).stake, amount);
        equal(registry.node(edge).status, PENDING);
        equal(credit.balanceOf(address(registry)), amount);
    }

    function test_the_minimum_admits_a_pending_node(uint96 first, uint96 more) public {
        first = uint96(between(first, 0, MIN_STAKE_EDGE - 1));
        more = uint96(between(more, MIN_STAKE_EDGE - first, 1e26));
        stakeFor(edge, first);
        equal(registry.node(edge).status, PENDING);
        stakeFor(edge, more);
        equal(registry.node(edge).status, ACTIVE);
        equal(registry.node(edge).stake, uint256(first) + more);
    }

    function test_a_minimum_of_zero_never_admits(uint96 amount) public {
        uint32 other = registerAs(STRANGER, 3, CLOUD, 0);
        equal(registry.minStake(CLOUD), 0);
        stakeFor(other, between(amount, 0, 1e26));
        equal(registry.node(other).status, PENDING);
    }

    function test_stake_does_not_reinstate_a_suspended_node() public {
        vm.prank(REGISTRAR);
        registry.admit(edge);
        vm.prank(REGISTRAR);
        registry.suspend(edge);
        stakeFor(edge, MIN_STAKE_EDGE);
        equal(registry.node(edge).status, SUSPENDED);
    }

    function test_a_revoked_or_unknown_node_takes_no_stake(uint32 other) public {
        vm.assume(other != cloud && other != edge);
        vm.prank(REGISTRAR);
        registry.revoke(edge);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadStatus.selector, edge, REVOKED));
        registry.stake(edge, 1);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, other));
        registry.stake(other, 1);
    }

    function test_nothing_is_staked_without_an_allowance(uint96 amount) public {
        amount = uint96(between(amount, 1, 1e26));
        credit.mint(address(this), amount);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(registry), 0, amount)
        );
        registry.stake(edge, amount);
    }

    function test_an_amount_that_no_stake_can_hold_is_refused(uint256 amount) public {
        amount = between(amount, 1 << 96, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(SafeCast.SafeCastOverflowedUintDowncast.selector, 96, amount));
        registry.stake(edge, amount);
    }

    function test_a_permit_saves_the_approval(uint96 amount, bool seenBefore) public {
        amount = uint96(between(amount, 1, 1e26));
        address payer = accountOf(9);
        credit.mint(payer, amount);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(secretOf(9), permitDigest(payer, amount));
        if (seenBefore) credit.permit(payer, address(registry), amount, block.timestamp, v, r, s);
        vm.prank(payer);
        registry.stakeWithPermit(edge, amount, block.timestamp, v, r, s);
        equal(registry.node(edge).stake, amount);
        equal(credit.balanceOf(payer), 0);
    }

    function test_a_false_permit_stakes_nothing(uint96 amount) public {
        amount = uint96(between(amount, 1, 1e26));
        address payer = accountOf(9);
        credit.mint(payer, amount);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(secretOf(8), permitDigest(payer, amount));
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(registry), 0, amount)
        );
        vm.prank(payer);
        registry.stakeWithPermit(edge, amount, block.timestamp, v, r, s);
    }

    function permitDigest(address payer, uint256 amount) internal view returns (bytes32) {
        bytes32 typeHash =
            keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
        bytes32 structHash = keccak256(abi.encode(typeHash, payer, address(registry), amount, 0, block.timestamp));
        return keccak256(abi.encodePacked("\x19\x01", credit.DOMAIN_SEPARATOR(), structHash));
    }
}
