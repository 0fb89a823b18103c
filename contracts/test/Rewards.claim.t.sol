// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../src/interfaces/ILedger.sol";
import {IRewards} from "../src/interfaces/IRewards.sol";
import {MerkleLog} from "../src/libraries/MerkleLog.sol";
import {Paying} from "./support/Paying.sol";
import {Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

contract RewardsClaimTest is Paying {
    function expectExceeded(uint256 total, uint256 pool) internal {
        vm.expectRevert(abi.encodeWithSelector(IRewards.PoolExceeded.selector, id, total, pool));
    }

    function test_anybody_has_every_node_paid_its_due(uint256 seed, address sender) public {
        Trees.Entry[] memory entries = promises(seed);
        fund(totalOf(entries));
        ILedger.Header memory header = pledge(entries);
        uint256 time = block.timestamp;
        vm.warp(time + WINDOW);
        for (uint256 i = 0; i < DEVICES; ++i) {
            uint128 due = entries[i].amount;
            vm.expectEmit(true, true, true, true, address(rewards));
            emit IRewards.Claimed(id, entries[i].node, wallet(i), due, due);
            vm.prank(sender);
            claimFrom(header, time, claimOf(entries, i));
            equal(credit.balanceOf(wallet(i)), due);
            equal(rewards.claimed(id, entries[i].node), due);
        }
        equal(rewards.paid(id), totalOf(entries));
        equal(credit.balanceOf(address(rewards)), 0);
    }

    function test_a_later_round_pays_the_difference(uint256 seed, uint64[8] calldata earned, uint256 device) public {
        device = between(device, 0, DEVICES - 1);
        Trees.Entry[] memory entries = promises(seed);
        fund(uint256(totalOf(entries)) + 8 * uint256(type(uint64).max));
        ILedger.Header memory first = pledge(entries);
        uint256 time = block.timestamp;
        vm.warp(time + WINDOW);
        claimFrom(first, time, claimOf(entries, device));
        uint128 before = entries[device].amount;

        for (uint256 i = 0; i < DEVICES; ++i) {
            entries[i].amount += earned[i];
        }
        vm.assume(earned[device] > 0);
        ILedger.Header memory second = pledge(entries);
        time = block.timestamp;
        vm.warp(time + WINDOW);
        claimFrom(second, time, claimOf(entries, device));
        equal(credit.balanceOf(wallet(device)), uint256(before) + earned[device]);
        equal(rewards.paid(id), uint256(before) + earned[device]);
    }

    function test_nothing_is_paid_twice_nor_by_an_older_round(uint256 seed, uint256 device, uint64 more) public {
        device = between(device, 0, DEVICES - 1);
        Trees.Entry[] memory entries = promises(seed);
        ILedger.Header memory older = pledge(entries);
        uint256 time = block.timestamp;
        IRewards.Claim memory stale = claimOf(entries, device);
        entries[device].amount += more;
        ILedger.Header memory newer = pledge(entries);
        fund(totalOf(entries));
        vm.warp(time + WINDOW);
        claimFrom(newer, time, claimOf(entries, device));
        bytes memory refusal = abi.encodeWithSelector(IRewards.NothingToClaim.selector, entries[device].node);
        IRewards.Claim memory again = claimOf(entries, device);
        vm.expectRevert(refusal);
        claimFrom(newer, time, again);
        vm.expectRevert(refusal);
        claimFrom(older, time, stale);
    }

    function test_nothing_is_paid_before_the_round_is_final(uint256 seed, uint32 elapsed, uint256 falseTime) public {
        Trees.Entry[] memory entries = promises(seed);
        fund(totalOf(entries));
        ILedger.Header memory header = pledge(entries);
        uint256 time = block.timestamp;
        IRewards.Claim memory claim = claimOf(entries, 0);
        bytes memory refusal = abi.encodeWithSelector(IRewards.NotFinal.selector, id, uint64(1));
        vm.warp(time + between(elapsed, 0, WINDOW - 1));
        vm.expectRevert(refusal);
        claimFrom(header, time, claim);
        vm.assume(falseTime != time);
        vm.expectRevert(refusal);
        claimFrom(header, falseTime, claim);
    }

    function test_a_header_that_was_never_anchored_pays_nothing(uint256 seed, uint256 time) public {
        Trees.Entry[] memory entries = promises(seed);
        fund(totalOf(entries));
        ILedger.Header memory header = nextHeader(id);
        header.rewardsRoot = Trees.sumRoot(entries);
        IRewards.Claim memory claim = claimOf(entries, 0);
        vm.expectRevert(abi.encodeWithSelector(IRewards.NotFinal.selector, id, uint64(1)));
        claimFrom(header, time, claim);
    }

    function test_a_claim_for_another_node_or_amount_is_refused(uint256 seed, uint8 field, uint64 other) public {
        Trees.Entry[] memory entries = promises(seed);
        fund(totalOf(entries));
        ILedger.Header memory header = pledge(entries);
        uint256 time = block.timestamp;
        vm.warp(time + WINDOW);
        IRewards.Claim memory claim = claimOf(entries, 3);
        field = uint8(between(field, 0, 4));
        if (field == 0) claim.node += 1;
        if (field == 1) claim.cumulative += uint128(other) + 1;
        if (field == 2) claim.index = between(other, 4, 7);
        if (field == 3) claim.size = between(other, 0, 3);
        if (field == 4) claim.path[between(other, 0, claim.path.length - 1)] ^= 0x01;
        // A path that no tree of that size has is seen as such; any other leads to a root that was not anchored.
        if (field == 3) expectBadProof();
        else vm.expectRevert(abi.encodeWithSelector(IRewards.NotFinal.selector, id, uint64(1)));
        claimFrom(header, time, claim);
    }

    function test_a_round_without_rewards_pays_nothing(bytes32 nonsense) public {
        ILedger.Header memory header = nextHeader(id);
        header.rewardsRoot = 0;
        anchorAs(accountOf(1), header);
        uint256 time = block.timestamp;
        vm.warp(time + WINDOW);
        IRewards.Claim memory claim;
        (claim.node, claim.cumulative, claim.size) = (firstDevice, uint128(uint256(nonsense)), 1);
        vm.expectRevert(abi.encodeWithSelector(IRewards.NotFinal.selector, id, uint64(1)));
        claimFrom(header, time, claim);
    }

    function test_a_path_of_more_than_forty_hashes_is_refused() public {
        ILedger.Header memory header = nextHeader(id);
        anchorAs(accountOf(1), header);
        uint256 time = block.timestamp;
        vm.warp(time + WINDOW);
        IRewards.Claim memory claim;
        claim.size = 1 << 41;
        claim.path = new bytes(48 * 41);
        vm.expectRevert(abi.encodeWithSelector(MerkleLog.PathTooLong.selector, 41));
        claimFrom(header, time, claim);
    }

    function test_a_root_that_promises_more_than_the_pool_pays_nobody(uint256 seed, uint128 missing) public {
        Trees.Entry[] memory entries = promises(seed);
        uint256 total = totalOf(entries);
        missing = uint128(between(missing, 1, total));
        fund(total - missing);
        ILedger.Header memory header = pledge(entries);
        uint256 time = block.timestamp;
        vm.warp(time + WINDOW);
        IRewards.Claim memory claim = claimOf(entries, 0);
        expectExceeded(total, total - missing);
        claimFrom(header, time, claim);
        fund(missing);
        claimFrom(header, time, claim);
        equal(credit.balanceOf(wallet(0)), entries[0].amount);
    }

    function test_roots_that_each_promise_the_pool_to_another_cannot_take_it_twice(uint96 pool) public {
        pool = uint96(between(pool, 1, 1e26));
        uint64 other = openTask(1);
        fund(pool);
        fillWallet(PUBLISHER, pool, address(rewards));
        vm.prank(PUBLISHER);
        rewards.fund(other, pool);

        Trees.Entry[] memory entries = new Trees.Entry[](1);
        entries[0] = Trees.Entry(firstDevice, pool);
        ILedger.Header memory first = pledge(entries);
        IRewards.Claim memory claim = claimOf(entries, 0);
        entries[0].node += 1;
        ILedger.Header memory second = pledge(entries);
        uint256 time = block.timestamp;
        vm.warp(time + WINDOW);
        claimFrom(first, time, claim);
        claim = claimOf(entries, 0);
        expectExceeded(2 * uint256(pool), pool);
        claimFrom(second, time, claim);
        equal(credit.balanceOf(address(rewards)), pool);
    }

    function test_a_promise_to_a_node_that_does_not_exist_is_refused(uint32 node) public {
        vm.assume(node == 0 || node > registry.count());
        Trees.Entry[] memory entries = new Trees.Entry[](1);
        entries[0] = Trees.Entry(node, 5);
        fund(5);
        ILedger.Header memory header = pledge(entries);
        uint256 time = block.timestamp;
        vm.warp(time + WINDOW);
        IRewards.Claim memory claim = claimOf(entries, 0);
        vm.expectRevert(abi.encodeWithSelector(IRewards.UnknownNode.selector, node));
        claimFrom(header, time, claim);
    }

    function test_a_revoked_node_is_paid_at_its_newest_account(address next) public {
        vm.assume(next != address(0) && next != address(rewards) && registry.idOfAccount(next) == 0);
        vm.prank(wallet(0));
        registry.proposeAccount(firstDevice, next);
        vm.prank(next);
        registry.acceptAccount(firstDevice);
        Trees.Entry[] memory entries = promises(1);
        fund(totalOf(entries));
        ILedger.Header memory header = pledge(entries);
        uint256 time = block.timestamp;
        vm.prank(REGISTRAR);
        registry.revoke(firstDevice);
        vm.warp(time + WINDOW);
        claimFrom(header, time, claimOf(entries, 0));
        equal(credit.balanceOf(next), entries[0].amount);
    }
}
