// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../src/interfaces/IArbiter.sol";
import {ILedger} from "../src/interfaces/ILedger.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IRewards} from "../src/interfaces/IRewards.sol";
import {Adding} from "./support/Adding.sol";
import {Paying} from "./support/Paying.sol";
import {Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

/// @notice What whole transactions cost: in isolated mode every call of a test is a transaction of its own, with its 21,000 and
/// its calldata. Each measurement goes into snapshots/gas.json, from which docs/gas.md is written.
/// forge-config: default.isolate = true
contract GasTest is Paying {
    uint256 internal constant TRANSACTION = 21_000;
    uint256 internal constant ANCHOR_LIMIT = 100_000;
    uint256 internal constant CLAIM_LIMIT = 110_000;
    /// @dev A balance that was zero: a storage slot set (20,000) and not changed (2,900).
    uint256 internal constant FIRST_BALANCE = 17_100;
    uint256 internal constant REGISTER_LIMIT = 180_000;

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

    function test_I12_gasIndependentOfN() public {
        uint256 first = anchored(10, "anchorRound, first of a task");
        uint256 few = anchored(10, "anchorRound, 10 inputs");
        uint256 many = anchored(10_000, "anchorRound, 10,000 inputs");
        atMost(anchored(1_000_000, "anchorRound, 1,000,000 inputs") - few, few / 100);
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
        atMost(measured("register, relayed"), REGISTER_LIMIT);
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

    function test_batches() public {
        vm.prank(REGISTRAR);
        uint32 first = registry.registerBatch(keccak256("root"), 10_000, keccak256("list"));
        measured("registerBatch, 10,000 devices");
        IRegistry.NodeSpec memory spec = specOf(60, END, 2);
        spec.owner = REGISTRAR;
        bytes32 leaf = sha256(
            abi.encodePacked(
                uint8(0), "drystone/member/1", spec.netKey, spec.account, spec.parent, spec.name, spec.metaHash
            )
        );
        bytes32[] memory path = new bytes32[](Trees.depth(777, 10_000));
        for (uint256 i = 0; i < path.length; ++i) {
            path[i] = keccak256(abi.encode(i));
        }
        bytes32 root = Trees.rootWith(path, 777, 10_000, leaf);
        vm.prank(REGISTRAR);
        first = registry.registerBatch(root, 10_000, keccak256("list"));
        registry.materialise(first, 777, spec, 0, signed(secretOf(60), registrationDigest(spec, 0)), proof(), path);
        measured("materialise, one of 10,000");
    }

    function test_models() public {
        bytes32 root = keccak256("root");
        address user = vm.addr(0xB0B0);
        models.publishForeign(root, keccak256("licence"), 3, 2_500);
        measured("publishForeign");
        ILedger.Header memory header = nextHeader(id);
        anchorAs(accountOf(1), header);
        uint256 time = block.timestamp;
        vm.warp(time + WINDOW);
        vm.prank(PUBLISHER);
        models.publish(keccak256("trained"), header, time, keccak256("licence"), 3, 2_500);
        measured("publish, the model of a final round");
        models.grant(root, user, type(uint64).max, type(uint64).max);
        measured("grant");
        fillWallet(user, 60_000, address(models));
        vm.prank(user);
        models.openChannel(root, 2, 60_000);
        uint256 deposit = measured("openChannel");
        bytes32 chain = keccak256("receipts");
        for (uint64 units = 10_000; units <= 20_000; units += 10_000) {
            bytes memory signature = voucher(units, chain);
            models.redeem(1, units, chain, signature);
            uint256 gas = measured(units == 10_000 ? "redeem, first of a channel" : "redeem, again");
            atMost(gas, CLAIM_LIMIT + 2 * FIRST_BALANCE);
            vm.snapshotValue("gas", "session of 10,000 requests: openChannel and redeem", deposit + gas);
        }
        models.revoke(root, user);
        measured("revoke, licence");
        vm.prank(user);
        models.closeChannel(1);
        measured("closeChannel");
        vm.warp(block.timestamp + models.CLOSING_SECONDS());
        vm.prank(user);
        models.withdraw(1);
        measured("withdraw, channel");
    }

    function voucher(uint64 units, bytes32 chain) internal view returns (bytes memory) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Drystone"),
                keccak256("1"),
                block.chainid,
                address(models)
            )
        );
        bytes32 data = keccak256(
            abi.encode(keccak256("Voucher(uint64 channel,uint64 units,bytes32 chain)"), uint64(1), units, chain)
        );
        return signed(0xB0B0, keccak256(abi.encodePacked("\x19\x01", domain, data)));
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
        claimFrom(header, time, claimOf(entries, 0));
        atMost(measured("claim, 8 nodes, first of a task"), CLAIM_LIMIT);
        claimFrom(header, time, claimOf(entries, 1));
        atMost(measured("claim, 8 nodes, first of a node"), CLAIM_LIMIT);
        credit.mint(wallet(2), 1);
        claimFrom(header, time, claimOf(entries, 2));
        atMost(measured("claim, 8 nodes, first of a node that holds credit"), CLAIM_LIMIT);
    }

    /// @dev Number 0 of `size` nodes, which were promised a hundred credits each or a little more; its path is as long as any.
    function promised(uint256 size) internal view returns (IRewards.Claim memory claim_, bytes32 root, uint128 total) {
        total = 100e18 + uint64(uint256(keccak256("amount")));
        (claim_.node, claim_.cumulative, claim_.size) = (firstDevice, total, size);
        bytes32 hash = sha256(abi.encodePacked(uint8(0), firstDevice, total));
        for (uint256 below = 1; below < size; below *= 2) {
            // What is not below this node's sibling does not exist.
            uint256 beside = size - below < below ? size - below : below;
            uint128 sum = uint128(beside) * 100e18 + uint64(uint256(keccak256(abi.encode("sum", below))));
            bytes32 sibling = keccak256(abi.encode("hash", below));
            claim_.path = bytes.concat(claim_.path, Trees.sumStep(sum, sibling));
            hash = sha256(abi.encodePacked(uint8(1), total, hash, sum, sibling));
            total += sum;
        }
        root = sha256(abi.encodePacked(uint8(2), total, hash));
    }

    function claimAmong(uint256 size, string memory name) internal returns (uint256) {
        (IRewards.Claim memory claim_, bytes32 root, uint128 total) = promised(size);
        fillWallet(PUBLISHER, total, address(rewards));
        vm.prank(PUBLISHER);
        rewards.fund(id, total);
        ILedger.Header memory header = nextHeader(id);
        header.rewardsRoot = root;
        anchorAs(accountOf(1), header);
        uint256 time = block.timestamp;
        vm.warp(time + WINDOW);
        claimFrom(header, time, claim_);
        uint256 gas = measured(name);
        equal(rewards.claimed(id, claim_.node), claim_.cumulative);
        return gas;
    }

    /// @dev Over the limit by what a first balance costs, and less: 11 more levels of siblings are 13,000 gas.
    function test_a_first_claim_among_ten_thousand() public {
        atMost(claimAmong(10_000, "claim, 10,000 nodes, first of a node"), CLAIM_LIMIT + FIRST_BALANCE);
    }

    function test_a_claim_among_ten_thousand_by_a_node_that_holds_credit() public {
        credit.mint(wallet(0), 1);
        atMost(claimAmong(10_000, "claim, 10,000 nodes, first of a node that holds credit"), CLAIM_LIMIT);
    }
}

/// @notice What disputes cost, in the same way. A proof's calldata is dear: since EIP-7623 a transaction pays at least 21,000
/// and 10 gas for each zero byte of it, 40 for each other; `withFloor` is that, where it is more than what was executed.
/// forge-config: default.isolate = true
contract GasOfDisputesTest is Adding {
    uint256 internal constant OMISSION_LIMIT = 130_000;
    uint256 internal constant WRONG_GROUP_LIMIT = 750_000;

    function floorOf(bytes memory data) internal pure returns (uint256 gas) {
        gas = 21_000;
        for (uint256 i = 0; i < data.length; ++i) {
            gas += data[i] == 0 ? 10 : 40;
        }
    }

    function measured(string memory name, bytes memory data) internal returns (uint256 gas) {
        gas = vm.snapshotGasLastCall("gas", name);
        uint256 least_ = floorOf(data);
        if (gas < least_) {
            gas = least_;
            vm.snapshotValue("gas", name, gas);
        }
    }

    function send(address target, bytes memory data) internal {
        vm.prank(STRANGER);
        (bool done,) = target.call(data);
        yes(done, "accepted");
    }

    /// @dev 250,000 parameters: 977 chunks, and 16 updates of random 16-bit integers of both signs.
    function bigRound(bool twoLevels, uint256 many, Fault memory fault) internal returns (Edge[] memory edges) {
        (chunks, chunkIndex) = (977, 500);
        id = openJudged(twoLevels ? 2 : 1, 0, 2, chunks);
        edges = new Edge[](many);
        for (uint256 e = 0; e < many; ++e) {
            Update[] memory updates = updatesFrom(e == 0 ? 16 : 1, e);
            for (uint256 i = 0; i < updates.length; ++i) {
                if (updates[i].used == 0) updates[i].used = 600;
            }
            edges[e] = edgeWith(uint32(2 + e), updates, twoLevels, fault, e);
        }
    }

    function test_wrong_group_bound_to_the_header() public {
        Fault memory none;
        Edge[] memory edges = bigRound(false, 1, Fault(true, 0, 0, 7, 1));
        Sum[][] memory levels = treeOver(edges, none);
        ILedger.Header memory header = headerOver(edges, levels);
        anchorAs(accountOf(1), header);
        IArbiter.Group memory group = groupProof(edges[0], 0);
        group.walk = walkFrom(levels, 0, 0);
        bytes memory data = abi.encodeCall(
            arbiter.wrongGroup,
            (header, block.timestamp, memberProof(edges, 0), Trees.rootOf(edges[0].entries), new bytes32[](0), group)
        );
        send(address(arbiter), data);
        atMost(measured("wrongGroup, 16 updates of 977 chunks", data), WRONG_GROUP_LIMIT);
    }

    function test_wrong_group_of_one_edge_among_sixteen() public {
        Fault memory fault = Fault(true, 0, 0, 7, 1);
        Edge[] memory edges = bigRound(false, 16, fault);
        fault.there = false;
        Sum[][] memory levels = treeOver(edges, fault);
        ILedger.Header memory header = headerOver(edges, levels);
        anchorAs(accountOf(1), header);
        IArbiter.Group memory group = groupProof(edges[0], 0);
        group.walk = walkFrom(levels, 0, 0);
        bytes memory data = abi.encodeCall(
            arbiter.wrongGroup,
            (
                header,
                block.timestamp,
                memberProof(edges, 0),
                Trees.rootOf(edges[0].entries),
                Trees.pathOf(weightsOf(edges), 0),
                group
            )
        );
        send(address(arbiter), data);
        atMost(measured("wrongGroup, 16 updates of 977 chunks, 16 edges", data), WRONG_GROUP_LIMIT);
    }

    function test_wrong_group_of_an_edge() public {
        Edge[] memory edges = bigRound(true, 1, Fault(true, 0, 0, 7, 1));
        bytes memory data = abi.encodeCall(
            arbiter.wrongEdgeGroup, (edges[0].report, signRoot(edges[0].report), groupProof(edges[0], 0))
        );
        send(address(arbiter), data);
        atMost(measured("wrongEdgeGroup, 16 updates of 977 chunks", data), WRONG_GROUP_LIMIT);
    }

    function test_wrong_node() public {
        Fault memory fault;
        Edge[] memory edges = bigRound(false, 16, fault);
        fault = Fault(true, 1, 0, 7, 1);
        Sum[][] memory levels = treeOver(edges, fault);
        ILedger.Header memory header = headerOver(edges, levels);
        anchorAs(accountOf(1), header);
        bytes memory data = abi.encodeCall(arbiter.wrongNode, (header, block.timestamp, 16, innerProof(levels, 1, 0)));
        send(address(arbiter), data);
        atMost(measured("wrongNode, 16 children of 977 chunks", data), 2 * WRONG_GROUP_LIMIT);
    }

    function test_omission() public {
        ILedger.Leaf memory leaf = leafOf(DEVICE, 0);
        bytes32[] memory leaves = crowdWith(1024, 1024, 0);
        (IArbiter.Receipt memory receipt, bytes memory signature) = receiptBy(THE_EDGE, 700, hashOf(leaf));
        IArbiter.EdgeRoot memory report = reportOver(leaves);
        bytes memory data = abi.encodeCall(
            arbiter.omission,
            (receipt, signature, leaf, report, signRoot(report), leaves[700], Trees.pathOf(leaves, 700))
        );
        send(address(arbiter), data);
        atMost(measured("omission, 1,024 leaves", data), OMISSION_LIMIT);
    }

    function test_forced_updates() public {
        for (uint256 i = 0; i < 2; ++i) {
            ILedger.Leaf memory leaf = leafOf(DEVICE + uint32(i), 0);
            bytes memory data = abi.encodeCall(ledger.submitDirect, (leaf, signDirect(leaf, DEVICE + i)));
            send(address(ledger), data);
            measured(i == 0 ? "submitDirect, first of a task" : "submitDirect", data);
        }
        ILedger.Header memory header = nextHeader(id);
        header.forced = ledger.forcedChain(id);
        anchorAs(accountOf(1), header);
        measured("anchorRound, first with forced updates", "");
    }
}
