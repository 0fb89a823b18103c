// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleLog} from "../src/libraries/MerkleLog.sol";
import {Assertions} from "./support/Assertions.sol";
import {Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

/// @notice The library behind a call, so that a test can see it revert and paths travel as calldata.
contract MerkleLogCaller {
    function rootFromInclusion(bytes32[] calldata path, uint256 index, uint256 size, bytes32 leaf)
        external
        view
        returns (bytes32)
    {
        return MerkleLog.rootFromInclusion(path, index, size, leaf);
    }

    function checkConsistency(
        uint256 first,
        bytes32 firstRoot,
        uint256 second,
        bytes32 secondRoot,
        bytes32[] calldata path
    ) external view {
        MerkleLog.checkConsistency(first, firstRoot, second, secondRoot, path);
    }

    function sumRootFromInclusion(bytes calldata path, uint256 index, uint256 size, uint32 node, uint128 amount)
        external
        view
        returns (bytes32, uint256)
    {
        return MerkleLog.sumRootFromInclusion(path, index, size, node, amount);
    }
}

/// @notice Hash trees: vectors shared with Python, then a recursive reference.
contract MerkleLogTest is Assertions {
    /// @dev Fields in the order in which the JSON type below names them.
    struct PrefixStep {
        uint256 first;
        bytes32 first_root;
        bytes32[] path;
    }

    struct HashVector {
        uint256 size;
        bytes32 root;
        uint256 index;
        bytes32 leaf;
        bytes32[] path;
        PrefixStep[] consistency;
    }

    string internal constant VECTOR =
        "HashVector(uint256 size,bytes32 root,uint256 index,bytes32 leaf,bytes32[] path,PrefixStep[] consistency)PrefixStep(uint256 first,bytes32 first_root,bytes32[] path)";

    MerkleLogCaller internal log;

    function setUp() public {
        log = new MerkleLogCaller();
    }

    function leavesOf(uint256 size) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            leaves[i] = MerkleLog.leafHash(abi.encodePacked(uint64(i)));
        }
    }

    function test_I13_merkleLogAgrees_with_python_in_every_shared_vector() public view {
        string memory json = vm.readFile("../tests/vectors/merkle.json");
        HashVector[] memory vectors = abi.decode(vm.parseJsonTypeArray(json, "$", VECTOR), (HashVector[]));
        bytes32[] memory leaves = leavesOf(200);
        yes(vectors.length >= 200, "sizes 1 to 200");
        bool[201] memory seen;
        for (uint256 i = 0; i < vectors.length; ++i) {
            HashVector memory v = vectors[i];
            seen[v.size] = true;
            equal(v.leaf, leaves[v.index]);
            equal(log.rootFromInclusion(v.path, v.index, v.size, v.leaf), v.root);
            for (uint256 j = 0; j < v.consistency.length; ++j) {
                PrefixStep memory step = v.consistency[j];
                log.checkConsistency(step.first, step.first_root, v.size, v.root, step.path);
            }
        }
        for (uint256 size = 1; size <= 200; ++size) {
            yes(seen[size], "every size has a vector");
        }
    }

    function test_hashes_are_those_of_the_standard() public view {
        equal(MerkleLog.leafHash(""), 0x6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d);
        equal(MerkleLog.leafHash("L123456"), 0x395aa064aa4c29f7010acfe3f25db9485bbd4b91897b6ad7ad547639252b4d56);
        equal(
            MerkleLog.nodeHash(bytes32("N123"), bytes32("N456")),
            sha256(abi.encodePacked(hex"01", bytes32("N123"), bytes32("N456")))
        );
    }

    function test_the_path_that_the_reference_gives_leads_to_its_root(uint16 size, uint16 index) public view {
        size = uint16(between(size, 1, 70));
        index = uint16(between(index, 0, size - 1));
        bytes32[] memory leaves = leavesOf(size);
        bytes32[] memory path = Trees.path(leaves, index, 0, size);
        equal(log.rootFromInclusion(path, index, size, leaves[index]), Trees.root(leaves, 0, size));
    }

    function test_a_path_proves_one_position_only(uint16 size, uint16 index, uint16 other) public view {
        size = uint16(between(size, 2, 70));
        index = uint16(between(index, 0, size - 1));
        other = uint16(between(other, 0, size - 1));
        vm.assume(other != index);
        bytes32[] memory leaves = leavesOf(size);
        bytes32[] memory path = Trees.path(leaves, index, 0, size);
        try log.rootFromInclusion(path, other, size, leaves[index]) returns (bytes32 root) {
            yes(root != Trees.root(leaves, 0, size), "another position leads elsewhere");
        } catch (bytes memory reason) {
            equal(bytes32(bytes4(reason)), bytes32(MerkleLog.BadProof.selector));
        }
    }

    function test_a_path_of_another_length_is_refused(uint16 size, uint16 index, bytes32 extra) public {
        size = uint16(between(size, 2, 70));
        index = uint16(between(index, 0, size - 1));
        bytes32[] memory leaves = leavesOf(size);
        bytes32[] memory path = Trees.path(leaves, index, 0, size);
        vm.expectRevert(abi.encodeWithSelector(MerkleLog.BadProof.selector));
        log.rootFromInclusion(Trees.append(path, extra), index, size, leaves[index]);
        bytes32[] memory shorter = new bytes32[](path.length - 1);
        vm.expectRevert(abi.encodeWithSelector(MerkleLog.BadProof.selector));
        log.rootFromInclusion(shorter, index, size, leaves[index]);
    }

    function test_an_index_beyond_the_size_is_refused(uint256 size, uint256 index) public {
        size = between(size, 1, type(uint256).max);
        index = between(index, size, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(MerkleLog.BadProof.selector));
        log.rootFromInclusion(new bytes32[](0), index, size, 0);
    }

    function test_a_path_of_more_than_forty_hashes_is_refused(uint8 length) public {
        length = uint8(between(length, 41, 255));
        bytes memory refusal = abi.encodeWithSelector(MerkleLog.PathTooLong.selector, uint256(length));
        vm.expectRevert(refusal);
        log.rootFromInclusion(new bytes32[](length), 0, 1 << 41, 0);
        vm.expectRevert(refusal);
        log.checkConsistency(1, 0, 1 << 41, 0, new bytes32[](length));
        vm.expectRevert(refusal);
        log.sumRootFromInclusion(new bytes(48 * uint256(length)), 0, 1 << 41, 1, 1);
    }

    function test_a_prefix_is_proven(uint16 first, uint16 second) public view {
        second = uint16(between(second, 1, 70));
        first = uint16(between(first, 1, second));
        bytes32[] memory leaves = leavesOf(second);
        bytes32[] memory path = Trees.consistency(leaves, first, 0, second, true);
        log.checkConsistency(first, Trees.root(leaves, 0, first), second, Trees.root(leaves, 0, second), path);
    }

    function test_a_rewritten_log_is_refused(uint16 first, uint16 second, uint16 changed) public {
        second = uint16(between(second, 2, 70));
        first = uint16(between(first, 1, second - 1));
        bytes32[] memory leaves = leavesOf(second);
        bytes32 firstRoot = Trees.root(leaves, 0, first);
        leaves[between(changed, 0, first - 1)] = keccak256("rewritten");
        bytes32[] memory path = Trees.consistency(leaves, first, 0, second, true);
        bytes32 secondRoot = Trees.root(leaves, 0, second);
        vm.expectRevert(abi.encodeWithSelector(MerkleLog.BadProof.selector));
        log.checkConsistency(first, firstRoot, second, secondRoot, path);
    }

    function test_a_rewound_or_empty_or_padded_log_is_refused(uint16 first, uint16 second, bytes32 extra) public {
        second = uint16(between(second, 1, 70));
        first = uint16(between(first, 1, second));
        bytes32[] memory leaves = leavesOf(second);
        bytes32 firstRoot = Trees.root(leaves, 0, first);
        bytes32 secondRoot = Trees.root(leaves, 0, second);
        bytes32[] memory path = Trees.consistency(leaves, first, 0, second, true);
        vm.expectRevert(abi.encodeWithSelector(MerkleLog.BadProof.selector));
        log.checkConsistency(uint256(second) + 1, firstRoot, second, secondRoot, path);
        vm.expectRevert(abi.encodeWithSelector(MerkleLog.BadProof.selector));
        log.checkConsistency(0, firstRoot, second, secondRoot, path);
        vm.expectRevert(abi.encodeWithSelector(MerkleLog.BadProof.selector));
        log.checkConsistency(first, firstRoot, second, secondRoot, Trees.append(path, extra));
    }
}

/// @notice Sum trees: vectors shared with Python, then the recursive reference.
contract SumTreeTest is Assertions {
    struct SumVector {
        uint256 size;
        bytes32 root;
        uint256 total;
        uint256 index;
        uint256 node;
        uint256 cumulative;
        uint128[] sums;
        bytes32[] hashes;
    }

    string internal constant VECTOR =
        "SumVector(uint256 size,bytes32 root,uint256 total,uint256 index,uint256 node,uint256 cumulative,uint128[] sums,bytes32[] hashes)";

    MerkleLogCaller internal log;

    function setUp() public {
        log = new MerkleLogCaller();
    }

    function entriesOf(uint256 size, uint256 seed) internal pure returns (Trees.Entry[] memory entries) {
        entries = new Trees.Entry[](size);
        for (uint256 i = 0; i < size; ++i) {
            entries[i] = Trees.Entry(uint32(3 * i + 1), uint112(uint256(keccak256(abi.encode(seed, i)))));
        }
    }

    function test_every_shared_vector_holds() public view {
        string memory json = vm.readFile("../tests/vectors/merkle_sum.json");
        SumVector[] memory vectors = abi.decode(vm.parseJsonTypeArray(json, "$", VECTOR), (SumVector[]));
        yes(vectors.length >= 200, "sizes 1 to 200");
        for (uint256 i = 0; i < vectors.length; ++i) {
            SumVector memory v = vectors[i];
            bytes memory path;
            for (uint256 level = 0; level < v.sums.length; ++level) {
                path = bytes.concat(path, Trees.sumStep(v.sums[level], v.hashes[level]));
            }
            (bytes32 root, uint256 total) =
                log.sumRootFromInclusion(path, v.index, v.size, uint32(v.node), uint128(v.cumulative));
            equal(root, v.root);
            equal(total, v.total);
        }
    }

    function test_the_path_that_the_reference_gives_leads_to_its_root_and_total(uint16 size, uint16 index, uint256 seed)
        public
        view
    {
        size = uint16(between(size, 1, 40));
        index = uint16(between(index, 0, size - 1));
        Trees.Entry[] memory entries = entriesOf(size, seed);
        bytes memory path = Trees.sumPath(entries, index, 0, size);
        (bytes32 root, uint256 total) =
            log.sumRootFromInclusion(path, index, size, entries[index].node, entries[index].amount);
        equal(root, Trees.sumRoot(entries));
        equal(total, Trees.sumOf(entries, 0, size));
    }

    function test_another_amount_leads_to_another_root(uint16 size, uint16 index, uint256 seed, uint112 amount)
        public
        view
    {
        size = uint16(between(size, 1, 40));
        index = uint16(between(index, 0, size - 1));
        Trees.Entry[] memory entries = entriesOf(size, seed);
        vm.assume(amount != entries[index].amount);
        bytes memory path = Trees.sumPath(entries, index, 0, size);
        (bytes32 root,) = log.sumRootFromInclusion(path, index, size, entries[index].node, amount);
        yes(root != Trees.sumRoot(entries), "the leaf binds the amount");
    }

    function test_a_sibling_cannot_hide_what_it_was_promised(uint16 size, uint16 index, uint256 seed, uint16 level)
        public
        view
    {
        size = uint16(between(size, 2, 40));
        index = uint16(between(index, 0, size - 1));
        Trees.Entry[] memory entries = entriesOf(size, seed);
        bytes memory path = Trees.sumPath(entries, index, 0, size);
        // One less in the last byte of one sibling's sum.
        uint256 place = 48 * between(level, 0, path.length / 48 - 1) + 15;
        vm.assume(path[place] != 0);
        path[place] = bytes1(uint8(path[place]) - 1);
        (bytes32 root,) = log.sumRootFromInclusion(path, index, size, entries[index].node, entries[index].amount);
        yes(root != Trees.sumRoot(entries), "every sum is bound");
    }

    function test_a_total_beyond_128_bits_is_refused(uint128 amount, uint128 sum) public {
        amount = uint128(between(amount, 1, type(uint128).max));
        sum = uint128(between(sum, type(uint128).max - amount + 1, type(uint128).max));
        bytes memory path = Trees.sumStep(sum, 0);
        vm.expectRevert(abi.encodeWithSelector(MerkleLog.BadProof.selector));
        log.sumRootFromInclusion(path, 0, 2, 1, amount);
    }

    function test_a_path_of_another_length_is_refused(uint16 length, uint16 size) public {
        size = uint16(between(size, 1, 70));
        length = uint16(between(length, 0, 12 * 48));
        uint256 right = 0;
        while (1 << right < size) ++right;
        vm.assume(length != 48 * right);
        vm.expectRevert(abi.encodeWithSelector(MerkleLog.BadProof.selector));
        log.sumRootFromInclusion(new bytes(length), 0, size, 1, 1);
    }

    function test_an_index_beyond_the_size_is_refused(uint256 size, uint256 index) public {
        size = between(size, 1, type(uint256).max);
        index = between(index, size, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(MerkleLog.BadProof.selector));
        log.sumRootFromInclusion("", index, size, 1, 1);
    }
}
