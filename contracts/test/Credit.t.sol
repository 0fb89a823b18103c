// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";

import {Roles} from "../src/libraries/Roles.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

contract CreditTest is World {
    function test_the_administrator_mints(address to, uint256 amount) public {
        vm.assume(to != address(0));
        amount = between(amount, 0, credit.CAP());
        credit.mint(to, amount);
        equal(credit.balanceOf(to), amount);
        equal(credit.totalSupply(), amount);
    }

    function test_nobody_else_mints(address caller, uint256 amount) public {
        vm.assume(caller != address(this));
        expectNotAuthorised(caller, Roles.ADMIN);
        vm.prank(caller);
        credit.mint(caller, amount);
    }

    function test_the_cap_holds(uint256 first, uint256 more) public {
        uint256 cap = credit.CAP();
        first = between(first, 0, cap);
        more = between(more, cap - first + 1, type(uint128).max);
        credit.mint(STRANGER, first);
        vm.expectRevert(abi.encodeWithSelector(ERC20Capped.ERC20ExceededCap.selector, first + more, cap));
        credit.mint(STRANGER, more);
    }

    function test_every_stake_fits_its_slot() public view {
        atMost(credit.CAP(), type(uint96).max);
        equal(keccak256(bytes(credit.symbol())), keccak256("DRY"));
    }

    function test_anybody_burns_its_own(uint96 held, uint96 amount) public {
        held = uint96(between(held, 0, 1e26));
        amount = uint96(between(amount, 0, held));
        credit.mint(STRANGER, held);
        vm.prank(STRANGER);
        credit.burn(amount);
        equal(credit.balanceOf(STRANGER), held - amount);
        equal(credit.totalSupply(), held - amount);
    }

    function test_nobody_burns_more_than_it_has(uint96 held, uint256 amount) public {
        held = uint96(between(held, 0, 1e26));
        vm.assume(amount > held);
        credit.mint(STRANGER, held);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, STRANGER, held, amount));
        vm.prank(STRANGER);
        credit.burn(amount);
    }
}
