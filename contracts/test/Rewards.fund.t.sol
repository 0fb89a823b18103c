// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";

import {IRewards} from "../src/interfaces/IRewards.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

contract RewardsFundTest is World {
    uint64 internal id;

    function setUp() public override {
        super.setUp();
        id = openTask(enrol(1, CLOUD, 0));
    }

    function test_anybody_adds_to_a_pool(address payer, uint96 first, uint96 more) public {
        vm.assume(payer != address(0) && payer != address(rewards));
        first = uint96(between(first, 0, 4e26));
        more = uint96(between(more, 0, 4e26));
        fillWallet(payer, uint256(first) + more, address(rewards));
        vm.expectEmit(true, true, true, true, address(rewards));
        emit IRewards.Funded(id, payer, first);
        vm.prank(payer);
        rewards.fund(id, first);
        vm.prank(payer);
        rewards.fund(id, more);
        equal(rewards.funded(id), uint256(first) + more);
        equal(credit.balanceOf(address(rewards)), uint256(first) + more);
        equal(rewards.paid(id), 0);
    }

    function test_an_unknown_task_has_no_pool(uint64 other) public {
        vm.assume(other != id);
        vm.expectRevert(abi.encodeWithSelector(IRewards.UnknownTask.selector, other));
        rewards.fund(other, 0);
    }

    function test_nothing_is_added_without_an_allowance(uint96 amount) public {
        amount = uint96(between(amount, 1, 1e26));
        credit.mint(address(this), amount);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(rewards), 0, amount)
        );
        rewards.fund(id, amount);
    }
}
