// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../src/interfaces/ILedger.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IRewards} from "../src/interfaces/IRewards.sol";
import {Paying} from "./support/Paying.sol";
import {Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

/// @notice What whole transactions cost: in isolated mode every call of a test is a transaction of its own, with its 21,000 and
/// its calldata. Each measurement goes into snapshots/gas.json, from which docs/gas.md is written.
/// forge-config: default.isolate = true
contract GasTest is Paying {
    uint256 internal constant TRANSACTION = 21_000;
    uint256 internal constant ANCHOR_LIMIT = 100_000;

    function measured(string memory name) internal returns (uint256 gas) {
        gas = vm.snapshotGasLastCall("gas", name);
        yes(gas > TRANSACTION, "run in isolated mode: a whole transaction costs at least 21,000");
    }

    function anchored(uint64 inputsCount, string memory name) internal returns (uint256) {
        ILedger.Header memory header = nextHeader(id);
        header.inputsCount = inputsCount;
        // Filled, they cost the most calldata.
        (header.scoresRoot, header.budget) = (keccak256("b"), keccak256("c"));
        header.rewardsRoot = keccak256("d");
        anchorAs(accountOf(1), header);
        return measured(name);
    }

    function test_a_round_costs_the_same_however_many_took_part() public {
        uint256 first = anchored(10, "anchorRound, first of a task");
        uint256 few = anchored(10, "anchorRound, 10 inputs");
        uint256 many = anchored(10_000, "anchorRound, 10,000 inputs");
        uint256 most = anchored(type(uint64).max, "anchorRound, 2^64 - 1 inputs");
        atMost(first, ANCHOR_LIMIT + 20_000);
        atMost(few, ANCHOR_LIMIT);
        atMost(most, ANCHOR_LIMIT);
        atMost(many - few, few / 100);
        atMost(most - few, few / 100);
    }

    function test_a_head_sent_again() public {
        ILedger.Header memory header = nextHeader(id);
        anchorAs(accountOf(1), header);
        anchorAs(accountOf(1), header);
        measured("anchorRound, head sent again");
    }

    function test_tasks() public {
        vm.prank(PUBLISHER);
        ledger.createTask(taskSpec(1, new bytes(700)));
        measured("createTask, policy of 700 zero bytes");
        vm.prank(PUBLISHER);
        ledger.closeTask(id);
        measured("closeTask");
    }

    function test_nodes() public {
        registerAs(STRANGER, 20, END, 2);
        measured("register, relayed");
        registerAs(REGISTRAR, 21, END, 2);
        measured("register, by a registrar");
        vm.prank(REGISTRAR);
        registry.admit(3 + uint32(DEVICES));
        measured("admit");
        vm.prank(REGISTRAR);
        registry.suspend(3);
        measured("suspend");
        bytes memory signature = signed(secretOf(4), rotationDigest(4, "new", 0, block.timestamp));
        registry.rotateNetKey(4, "new", block.timestamp, signature, proof());
        measured("rotateNetKey");
    }

    function test_stake() public {
        fillWallet(accountOf(1), 10, address(registry));
        vm.prank(accountOf(1));
        registry.stake(1, 10);
        measured("stake");
        vm.prank(accountOf(1));
        registry.unstake(1, 10);
        measured("unstake");
        vm.warp(block.timestamp + UNBONDING_SECONDS);
        vm.prank(accountOf(1));
        registry.withdraw(1);
        measured("withdraw");
    }

    function test_rewards() public {
        Trees.Entry[] memory entries = promises(7);
        fillWallet(PUBLISHER, totalOf(entries), address(rewards));
        vm.prank(PUBLISHER);
        rewards.fund(id, totalOf(entries));
        measured("fund, first of a task");
        ILedger.Header memory header = pledge(entries);
        uint256 time = block.timestamp;
        vm.warp(time + WINDOW);
        rewards.claim(header, time, claimOf(entries, 0));
        measured("claim, 8 nodes, first of a task");
        rewards.claim(header, time, claimOf(entries, 1));
        measured("claim, 8 nodes, first of a node");
    }
}
