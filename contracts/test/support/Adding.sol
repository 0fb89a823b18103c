// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../../src/interfaces/IArbiter.sol";
import {ILedger} from "../../src/interfaces/ILedger.sol";
import {Trees} from "./Trees.sol";
import {Trial} from "./Trial.sol";

/// @notice Rounds of a linear rule with their sum trees, added up here number by number. Of every tree over chunks one chunk
/// is real and its siblings are invented: nothing more is ever shown.
abstract contract Adding is Trial {
    struct Update {
        uint32 node;
        uint64 sequence;
        uint32 weight;
        bytes32 ciphertext;
        bytes32 updateRoot;
        bytes32 metrics;
        uint64 used;
        bytes16 salt;
        bytes chunk;
        bytes32[] path;
    }

    struct Sum {
        bytes32 sums;
        bytes32 children;
        bytes chunk;
        bytes32[] path;
    }

    /// @notice A sum that does not add up: this much is added to one coordinate. Level 0 with `everywhere` false is none.
    struct Fault {
        bool there;
        uint256 level;
        uint256 number;
        uint256 coordinate;
        int64 by;
    }

    struct Edge {
        Update[] updates;
        Sum[][] levels;
        bytes32[] leaves;
        bytes32[] entries;
        IArbiter.EdgeRoot report;
    }

    uint8 internal width = 2;
    uint32 internal chunks = 5;
    uint32 internal chunkIndex = 3;

    /* UPDATES */

    function siblings(uint256 seed) internal view returns (bytes32[] memory path) {
        path = new bytes32[](Trees.depth(chunkIndex, chunks));
        for (uint256 i = 0; i < path.length; ++i) {
            path[i] = keccak256(abi.encode("sibling", seed, i));
        }
    }

    function noise(uint256 seed, uint256 length) internal pure returns (bytes memory data) {
        data = new bytes(length);
        for (uint256 i = 0; i < length / 32; ++i) {
            bytes32 word = keccak256(abi.encode("noise", seed, i));
            assembly ("memory-safe") {
                mstore(add(add(data, 32), mul(i, 32)), word)
            }
        }
    }

    function updateFrom(uint256 seed, uint64 used) internal view returns (Update memory u) {
        u.node = uint32(100 + seed % 1000);
        u.sequence = uint64(seed % 5);
        u.weight = uint32(1 + seed % 300);
        u.ciphertext = keccak256(abi.encode("ciphertext", seed));
        u.metrics = keccak256(abi.encode("metrics", seed));
        u.used = used;
        u.salt = bytes16(keccak256(abi.encode("salt", seed)));
        u.chunk = noise(seed, 256 * uint256(width));
        u.path = siblings(seed);
        u.updateRoot = Trees.rootWith(u.path, chunkIndex, chunks, sha256(abi.encodePacked(uint8(0), u.salt, u.chunk)));
    }

    function packed(Update memory u) internal pure returns (bytes memory) {
        bytes memory head =
            abi.encodePacked(u.node, u.sequence, u.weight, u.ciphertext, u.updateRoot, u.metrics, u.used);
        return u.used == 0 ? head : abi.encodePacked(head, u.salt, u.chunk, u.path);
    }

    function leafHashOf(Update memory u, uint32 edge) internal view returns (bytes32) {
        return hashOf(
            ILedger.Leaf({
                task: id,
                round: 1,
                node: u.node,
                edge: edge,
                sequence: u.sequence,
                weight: u.weight,
                ciphertext: u.ciphertext,
                updateRoot: u.updateRoot,
                metrics: u.metrics
            })
        );
    }

    /* SUMS */

    function integerAt(bytes memory chunk, uint256 coordinate, uint256 size) internal pure returns (int256 value) {
        assembly ("memory-safe") {
            value := signextend(
                sub(size, 1),
                shr(sub(256, shl(3, size)), mload(add(add(chunk, 32), mul(coordinate, size))))
            )
        }
    }

    /// @notice The low 64 bits of each number, as a chunk of sums.
    function chunkOf(int256[] memory numbers) internal pure returns (bytes memory chunk) {
        chunk = new bytes(2048);
        for (uint256 c = 0; c < 256; ++c) {
            uint256 low = uint64(uint256(numbers[c]));
            assembly ("memory-safe") {
                let place := add(add(chunk, 32), mul(8, c))
                mstore(place, or(shl(192, low), and(mload(place), shr(64, not(0)))))
            }
        }
    }

    function addUpdates(Update[] memory updates, uint256 from, uint256 to) internal view returns (int256[] memory sum) {
        sum = new int256[](256);
        for (uint256 i = from; i < to; ++i) {
            if (updates[i].used == 0) continue;
            for (uint256 c = 0; c < 256; ++c) {
                sum[c] += int256(uint256(updates[i].used)) * integerAt(updates[i].chunk, c, width);
            }
        }
    }

    function addSums(Sum[] memory nodes, uint256 from, uint256 to) internal pure returns (int256[] memory sum) {
        sum = new int256[](256);
        for (uint256 i = from; i < to; ++i) {
            if (nodes[i].chunk.length == 0) continue;
            for (uint256 c = 0; c < 256; ++c) {
                sum[c] += integerAt(nodes[i].chunk, c, 8);
            }
        }
    }

    function sumNode(int256[] memory numbers, bytes32 children, uint256 seed) internal view returns (Sum memory node) {
        node.children = children;
        node.chunk = chunkOf(numbers);
        node.path = siblings(seed);
        node.sums = Trees.rootWith(node.path, chunkIndex, chunks, sha256(abi.encodePacked(uint8(0), node.chunk)));
    }

    /// @notice Zero for a member that does not count.
    function nodeHashOf(Sum memory node) internal pure returns (bytes32) {
        return node.chunk.length == 0 ? bytes32(0) : sha256(abi.encodePacked(uint8(3), node.sums, node.children));
    }

    function childLeaves(Sum[] memory nodes, uint256 from, uint256 to) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](to - from);
        for (uint256 i = from; i < to; ++i) {
            leaves[i - from] = sha256(abi.encodePacked(uint8(0), nodeHashOf(nodes[i])));
        }
    }

    function least(uint256 a, uint256 b) internal pure returns (uint256) {
        return a < b ? a : b;
    }

    /// @notice The level above `below`, faults included.
    function levelAbove(Sum[] memory below, uint256 level, Fault memory fault, uint256 seed)
        internal
        view
        returns (Sum[] memory above)
    {
        above = new Sum[]((below.length + 15) / 16);
        for (uint256 g = 0; g < above.length; ++g) {
            uint256 end = least(16 * g + 16, below.length);
            int256[] memory numbers = addSums(below, 16 * g, end);
            if (fault.there && fault.level == level && fault.number == g) numbers[fault.coordinate] += fault.by;
            above[g] = sumNode(
                numbers, Trees.rootOf(childLeaves(below, 16 * g, end)), uint256(keccak256(abi.encode(seed, level, g)))
            );
        }
    }

    function levelsOver(Sum[] memory lowest, bool once, Fault memory fault, uint256 seed)
        internal
        view
        returns (Sum[][] memory levels)
    {
        Sum[][] memory all = new Sum[][](5);
        all[0] = lowest;
        uint256 n = 1;
        while (all[n - 1].length > 1 || (once && n == 1)) {
            all[n] = levelAbove(all[n - 1], n, fault, seed);
            ++n;
        }
        levels = new Sum[][](n);
        for (uint256 i = 0; i < n; ++i) {
            levels[i] = all[i];
        }
    }

    /* EDGES */

    function edgeWith(uint32 edge, Update[] memory updates, bool twoLevels, Fault memory fault, uint256 seed)
        internal
        view
        returns (Edge memory e)
    {
        e.updates = updates;
        e.leaves = new bytes32[](updates.length);
        e.entries = new bytes32[](updates.length);
        for (uint256 i = 0; i < updates.length; ++i) {
            e.leaves[i] = leafHashOf(updates[i], edge);
            e.entries[i] = sha256(abi.encodePacked(uint8(0), updates[i].node, updates[i].used));
        }
        Sum[] memory lowest = new Sum[]((updates.length + 15) / 16);
        for (uint256 g = 0; g < lowest.length; ++g) {
            int256[] memory numbers = addUpdates(updates, 16 * g, least(16 * g + 16, updates.length));
            if (fault.there && fault.level == 0 && fault.number == g) numbers[fault.coordinate] += fault.by;
            lowest[g] = sumNode(numbers, 0, uint256(keccak256(abi.encode(seed, g))));
        }
        e.levels = levelsOver(lowest, false, fault, seed);
        e.report = reportOver(e.leaves);
        e.report.edge = edge;
        if (twoLevels) (e.report.aggregate, e.report.weights) = (nodeHashOf(topOf(e)), Trees.rootOf(e.entries));
    }

    function topOf(Edge memory e) internal pure returns (Sum memory none) {
        return e.updates.length == 0 ? none : e.levels[e.levels.length - 1][0];
    }

    function updatesFrom(uint256 count, uint256 seed) internal view returns (Update[] memory updates) {
        updates = new Update[](count);
        for (uint256 i = 0; i < count; ++i) {
            uint256 each = uint256(keccak256(abi.encode(seed, i)));
            updates[i] = updateFrom(each, uint64(each >> 64) % 4 == 0 ? 0 : 1 + uint64(each >> 128) % 1000);
        }
        if (count != 0 && updates[0].used == 0) updates[0].used = 3;
    }

    /* PROOFS */

    function chunkProof(Sum memory node) internal view returns (IArbiter.Chunk memory) {
        return IArbiter.Chunk(chunkIndex, node.sums, sha256(abi.encodePacked(uint8(0), node.chunk)), node.path);
    }

    /// @notice The steps from node `number` of `level` to the last level.
    function walkFrom(Sum[][] memory levels, uint256 level, uint256 number)
        internal
        pure
        returns (IArbiter.Step[] memory walk)
    {
        walk = new IArbiter.Step[](levels.length - 1 - level);
        for (uint256 i = 0; i < walk.length; ++i) {
            uint256 from = number - number % 16;
            bytes32[] memory leaves = childLeaves(levels[level], from, least(from + 16, levels[level].length));
            (walk[i].path, walk[i].sums) = (Trees.pathOf(leaves, number % 16), levels[level + 1][number / 16].sums);
            (level, number) = (level + 1, number / 16);
        }
    }

    function joined(IArbiter.Step[] memory a, IArbiter.Step[] memory b)
        internal
        pure
        returns (IArbiter.Step[] memory c)
    {
        c = new IArbiter.Step[](a.length + b.length);
        for (uint256 i = 0; i < c.length; ++i) {
            c[i] = i < a.length ? a[i] : b[i - a.length];
        }
    }

    function groupProof(Edge memory e, uint256 g) internal view returns (IArbiter.Group memory group) {
        uint256 size = least(16, e.updates.length - 16 * g);
        group.number = uint64(g);
        group.updates = new bytes[](size);
        for (uint256 i = 0; i < size; ++i) {
            group.updates[i] = packed(e.updates[16 * g + i]);
        }
        group.leaves = Trees.pathOf(Trees.groups(e.leaves), g);
        group.weights = Trees.pathOf(Trees.groups(e.entries), g);
        group.chunk = chunkProof(e.levels[0][g]);
        group.walk = walkFrom(e.levels, 0, g);
    }

    function innerProof(Sum[][] memory levels, uint256 level, uint256 number)
        internal
        view
        returns (IArbiter.Inner memory inner)
    {
        Sum[] memory below = levels[level - 1];
        uint256 size = least(16, below.length - 16 * number);
        (inner.level, inner.number) = (uint8(level), uint64(number));
        inner.children = new bytes[](size);
        for (uint256 i = 0; i < size; ++i) {
            Sum memory child = below[16 * number + i];
            if (child.chunk.length != 0) {
                inner.children[i] = abi.encodePacked(child.sums, child.children, child.chunk, child.path);
            }
        }
        inner.chunk = chunkProof(levels[level][number]);
        inner.walk = walkFrom(levels, level, number);
    }

    /* ROUNDS */

    /// @notice What a round of these edges commits to; `levels` is the tree over them.
    function headerOver(Edge[] memory edges, Sum[][] memory levels)
        internal
        view
        returns (ILedger.Header memory header)
    {
        header = nextHeader(id);
        header.inputsCount = uint64(edges.length);
        header.inputsRoot = Trees.rootOf(inputsOf(edges));
        header.weightsRoot = Trees.rootOf(weightsOf(edges));
        header.chunksRoot = nodeHashOf(levels[levels.length - 1][0]);
    }

    function treeOver(Edge[] memory edges, Fault memory fault) internal view returns (Sum[][] memory) {
        Sum[] memory lowest = new Sum[](edges.length);
        for (uint256 i = 0; i < edges.length; ++i) {
            lowest[i] = topOf(edges[i]);
        }
        return levelsOver(lowest, true, fault, 0xC10);
    }

    function inputsOf(Edge[] memory edges) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](edges.length);
        for (uint256 i = 0; i < edges.length; ++i) {
            leaves[i] = hashOf(edges[i].report);
        }
    }

    function weightsOf(Edge[] memory edges) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](edges.length);
        for (uint256 i = 0; i < edges.length; ++i) {
            leaves[i] = sha256(abi.encodePacked(uint8(0), Trees.rootOf(edges[i].entries)));
        }
    }

    function memberProof(Edge[] memory edges, uint256 index) internal view returns (IArbiter.Member memory) {
        return
            IArbiter.Member(
                edges[index].report, uint64(index), Trees.pathOf(inputsOf(edges), index), uint64(edges.length)
            );
    }
}
