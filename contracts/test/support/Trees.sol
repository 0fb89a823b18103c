// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice RFC 9162 section 2.1 as it is written, by recursion: the reference that MerkleLog's loops are held to. The sum tree
/// is the same recursion with amounts.
library Trees {
    struct Entry {
        uint32 node;
        uint128 amount;
    }

    /// @dev The largest power of two below n.
    function split(uint256 n) internal pure returns (uint256 k) {
        k = 1;
        while (k * 2 < n) k *= 2;
    }

    /* HASH TREE, over leaf hashes from..to */

    function root(bytes32[] memory leaves, uint256 from, uint256 to) internal pure returns (bytes32) {
        if (to - from == 1) return leaves[from];
        uint256 middle = from + split(to - from);
        return sha256(abi.encodePacked(uint8(1), root(leaves, from, middle), root(leaves, middle, to)));
    }

    function path(bytes32[] memory leaves, uint256 index, uint256 from, uint256 to)
        internal
        pure
        returns (bytes32[] memory)
    {
        if (to - from == 1) return new bytes32[](0);
        uint256 middle = from + split(to - from);
        return index < middle
            ? append(path(leaves, index, from, middle), root(leaves, middle, to))
            : append(path(leaves, index, middle, to), root(leaves, from, middle));
    }

    /// @notice The root of the tree of `size` leaves in which `leaf` is number `index` and `siblings` is its path.
    function rootWith(bytes32[] memory siblings, uint256 index, uint256 size, bytes32 leaf)
        internal
        pure
        returns (bytes32)
    {
        return rootWith(siblings, siblings.length, index, size, leaf);
    }

    function rootWith(bytes32[] memory siblings, uint256 used, uint256 index, uint256 size, bytes32 leaf)
        internal
        pure
        returns (bytes32)
    {
        if (size == 1) return leaf;
        uint256 k = split(size);
        bytes32 other = siblings[used - 1];
        return index < k
            ? sha256(abi.encodePacked(uint8(1), rootWith(siblings, used - 1, index, k, leaf), other))
            : sha256(abi.encodePacked(uint8(1), other, rootWith(siblings, used - 1, index - k, size - k, leaf)));
    }

    /// @notice How many siblings leaf `index` of `size` has.
    function depth(uint256 index, uint256 size) internal pure returns (uint256) {
        if (size == 1) return 0;
        uint256 k = split(size);
        return 1 + (index < k ? depth(index, k) : depth(index - k, size - k));
    }

    /// @notice The roots of groups of 16 neighbours.
    function groups(bytes32[] memory leaves) internal pure returns (bytes32[] memory roots) {
        roots = new bytes32[]((leaves.length + 15) / 16);
        for (uint256 g = 0; g < roots.length; ++g) {
            uint256 end = 16 * g + 16;
            roots[g] = root(leaves, 16 * g, end < leaves.length ? end : leaves.length);
        }
    }

    function rootOf(bytes32[] memory leaves) internal pure returns (bytes32) {
        return leaves.length == 0 ? sha256("") : root(leaves, 0, leaves.length);
    }

    function pathOf(bytes32[] memory leaves, uint256 index) internal pure returns (bytes32[] memory) {
        return path(leaves, index, 0, leaves.length);
    }

    /// @notice The consistency proof of RFC 9162 section 2.1.4.1, SUBPROOF(first, leaves[from:to], whole).
    function consistency(bytes32[] memory leaves, uint256 first, uint256 from, uint256 to, bool whole)
        internal
        pure
        returns (bytes32[] memory)
    {
        if (first == to - from) {
            return whole ? new bytes32[](0) : append(new bytes32[](0), root(leaves, from, to));
        }
        uint256 k = split(to - from);
        return first <= k
            ? append(consistency(leaves, first, from, from + k, whole), root(leaves, from + k, to))
            : append(consistency(leaves, first - k, from + k, to, false), root(leaves, from, from + k));
    }

    function append(bytes32[] memory list, bytes32 last) internal pure returns (bytes32[] memory longer) {
        longer = new bytes32[](list.length + 1);
        for (uint256 i = 0; i < list.length; ++i) {
            longer[i] = list[i];
        }
        longer[list.length] = last;
    }

    /* SUM TREE, over entries from..to */

    function sumOf(Entry[] memory entries, uint256 from, uint256 to) internal pure returns (uint128 sum) {
        for (uint256 i = from; i < to; ++i) {
            sum += entries[i].amount;
        }
    }

    function sumTree(Entry[] memory entries, uint256 from, uint256 to) internal pure returns (bytes32) {
        if (to - from == 1) return sha256(abi.encodePacked(uint8(0), entries[from].node, entries[from].amount));
        uint256 middle = from + split(to - from);
        return sha256(
            abi.encodePacked(
                uint8(1),
                sumOf(entries, from, middle),
                sumTree(entries, from, middle),
                sumOf(entries, middle, to),
                sumTree(entries, middle, to)
            )
        );
    }

    function sumRoot(Entry[] memory entries) internal pure returns (bytes32) {
        uint256 n = entries.length;
        return sha256(abi.encodePacked(uint8(2), sumOf(entries, 0, n), sumTree(entries, 0, n)));
    }

    /// @notice The path as it is sent: of each sibling its sum and its hash, from the leaf to the root.
    function sumPath(Entry[] memory entries, uint256 index, uint256 from, uint256 to)
        internal
        pure
        returns (bytes memory)
    {
        if (to - from == 1) return "";
        uint256 middle = from + split(to - from);
        bool left = index < middle;
        bytes memory below = left ? sumPath(entries, index, from, middle) : sumPath(entries, index, middle, to);
        (uint256 start, uint256 end) = left ? (middle, to) : (from, middle);
        return bytes.concat(below, sumStep(sumOf(entries, start, end), sumTree(entries, start, end)));
    }

    function sumStep(uint128 sum, bytes32 hash) internal pure returns (bytes memory) {
        return abi.encodePacked(sum, hash);
    }
}
