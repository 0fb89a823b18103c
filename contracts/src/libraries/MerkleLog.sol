// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title MerkleLog
/// @notice Trees of the shape of RFC 9162 section 2.1, any size, with SHA-256: leaf hash = sha256(0x00 || data), node =
/// sha256(0x01 || left || right), the left child of n leaves holds the largest power of two below n. Positions are bound,
/// so a proof shows an index and a size, not only membership.
///
/// The sum tree has the same shape and commits, beside each hash, to the sum of the amounts below it: leaf = sha256(0x00 ||
/// node u32 || amount u128), node = sha256(0x01 || left sum u128 || left hash || right sum u128 || right hash), root =
/// sha256(0x02 || total u128 || tree hash). A false root can then not promise more than its own total.
/// @dev The Python twin is middleware/trust/merkle.py; both are held to tests/vectors/merkle.json.
library MerkleLog {
    /* CONSTANTS */

    /// @notice The most hashes in one path: enough for 2^40 leaves.
    uint256 internal constant MAX_PATH = 40;

    /// @notice Bytes of one step of a sum tree's path: the sibling's sum, and its hash.
    uint256 internal constant SUM_STEP = 48;

    /* ERRORS */

    /// @notice The path does not have the length or the shape that the index and the size require, or proves another root.
    error BadProof();

    /// @notice The path has more than `MAX_PATH` hashes.
    error PathTooLong(uint256 length);

    /* HASHES */

    /// @notice The hash of a leaf that holds `data`.
    function leafHash(bytes memory data) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x00), data));
    }

    /// @notice The hash of a leaf that holds the `data` of a call.
    /// @dev As `leafHash`, in memory that is free again afterwards.
    // slither-disable-next-line assembly
    function leafHashCalldata(bytes calldata data) internal view returns (bytes32 hash) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore8(free, 0)
            calldatacopy(add(free, 1), data.offset, data.length)
            if iszero(staticcall(gas(), 2, free, add(data.length, 1), 0, 32)) { revert(0, 0) }
            hash := mload(0)
        }
    }

    /// @notice The hash of a leaf that holds one hash.
    // slither-disable-next-line assembly
    function leafHashOf(bytes32 data) internal view returns (bytes32 hash) {
        assembly ("memory-safe") {
            mstore8(0, 0)
            mstore(1, data)
            if iszero(staticcall(gas(), 2, 0, 33, 0, 32)) { revert(0, 0) }
            hash := mload(0)
        }
    }

    /// @notice The hash of an inner node.
    /// @dev sha256(abi.encodePacked(bytes1(0x01), left, right)), in memory that is free again afterwards: a path has up to 40.
    // slither-disable-next-line assembly
    function nodeHash(bytes32 left, bytes32 right) internal view returns (bytes32 hash) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore8(free, 1)
            mstore(add(free, 1), left)
            mstore(add(free, 33), right)
            // Precompile 2 is SHA-256. It fails only for want of gas, and the caller then has none left either.
            if iszero(staticcall(gas(), 2, free, 65, 0, 32)) { revert(0, 0) }
            hash := mload(0)
        }
    }

    /// @notice The hash of a sum tree's leaf: `amount` belongs to `node`.
    /// @dev sha256(abi.encodePacked(bytes1(0x00), node, amount)), in scratch memory.
    // slither-disable-next-line assembly
    function sumLeafHash(uint32 node, uint128 amount) internal view returns (bytes32 hash) {
        assembly ("memory-safe") {
            mstore(0, or(shl(216, node), shl(88, amount)))
            if iszero(staticcall(gas(), 2, 0, 21, 0, 32)) { revert(0, 0) }
            hash := mload(0)
        }
    }

    /// @notice The commitment to a whole sum tree.
    /// @dev sha256(abi.encodePacked(bytes1(0x02), total, tree)), in scratch memory.
    // slither-disable-next-line assembly
    function sumRootHash(uint128 total, bytes32 tree) internal view returns (bytes32 hash) {
        assembly ("memory-safe") {
            mstore(0, or(shl(248, 2), shl(120, total)))
            mstore(17, tree)
            if iszero(staticcall(gas(), 2, 0, 49, 0, 32)) { revert(0, 0) }
            hash := mload(0)
        }
    }

    /* SMALL TREES */

    /// @notice The root over all of a few leaves (leaf hashes), at least one. Uses the array as its workspace.
    /// @dev Pairing neighbours and carrying an odd last one up gives the standard's shape.
    function rootOf(bytes32[] memory leaves) internal view returns (bytes32) {
        uint256 n = leaves.length;
        while (n > 1) {
            for (uint256 i = 0; i < n / 2; ++i) {
                leaves[i] = nodeHash(leaves[2 * i], leaves[2 * i + 1]);
            }
            if (n & 1 == 1) leaves[n / 2] = leaves[n - 1];
            n = (n + 1) / 2;
        }
        return leaves[0];
    }

    /* PROOFS */

    /// @notice The root of the tree of `size` leaves in which `leaf` (a leaf hash) is number `index`, by RFC 9162 section
    /// 2.1.3.2.
    /// @dev Warning: the caller compares the result with a root that it trusts, and must know `size` from a trusted place
    /// too if the position matters.
    // slither-disable-next-line assembly
    function rootFromInclusion(bytes32[] calldata path, uint256 index, uint256 size, bytes32 leaf)
        internal
        view
        returns (bytes32 root)
    {
        if (path.length > MAX_PATH) revert PathTooLong(path.length);
        if (index >= size) revert BadProof();
        uint256 last = size - 1;
        root = leaf;
        bool short = true;
        // A wrong aggregate takes 170 of these steps, so they are in assembly.
        assembly ("memory-safe") {
            let left := add(mload(0x40), 1)
            mstore8(sub(left, 1), 1)
            let next := path.offset
            for { let end := add(next, shl(5, path.length)) } lt(next, end) { next := add(next, 32) } {
                short := and(short, gt(last, 0))
                // 0 for a left child, 32 for a right one, or one at the right edge.
                let odd := and(index, 1)
                let side := shl(5, or(odd, eq(index, last)))
                mstore(add(left, side), root)
                mstore(add(left, sub(32, side)), calldataload(next))
                // Precompile 2 is SHA-256. It fails only for want of gas, and the caller then has none left either.
                if iszero(staticcall(gas(), 2, sub(left, 1), 65, 0, 32)) { revert(0, 0) }
                root := mload(0)
                if gt(side, shl(5, odd)) {
                    // A node at the right edge without a sibling is carried up to the level where it is a right child.
                    for {} iszero(or(and(index, 1), iszero(index))) {} {
                        index := shr(1, index)
                        last := shr(1, last)
                    }
                }
                index := shr(1, index)
                last := shr(1, last)
            }
        }
        if (last != 0 || !short) revert BadProof();
    }

    /// @notice Reverts unless the tree of `first` leaves under `firstRoot` is a prefix of the tree of `second` leaves under
    /// `secondRoot`, by RFC 9162 section 2.1.4.2. A tree is a prefix of itself with an empty path.
    /// @dev Warning: `first` must be positive; every tree continues the empty one, so there is nothing to prove.
    // The standard's steps stay together, to be read beside it.
    // slither-disable-next-line cyclomatic-complexity
    function checkConsistency(
        uint256 first,
        bytes32 firstRoot,
        uint256 second,
        bytes32 secondRoot,
        bytes32[] calldata path
    ) internal view {
        if (path.length > MAX_PATH) revert PathTooLong(path.length);
        if (first == 0 || first > second) revert BadProof();
        if (first == second) {
            if (path.length != 0 || firstRoot != secondRoot) revert BadProof();
            return;
        }
        uint256 position = first - 1;
        uint256 last = second - 1;
        while (position & 1 == 1) {
            position >>= 1;
            last >>= 1;
        }
        // A first tree that is a perfect subtree of the second is its own starting hash, and the path leaves it out.
        uint256 next = position == 0 ? 0 : 1;
        if (path.length < next) revert BadProof();
        bytes32 firstHash = next == 0 ? firstRoot : path[0];
        bytes32 secondHash = firstHash;
        for (; next < path.length; ++next) {
            if (last == 0) revert BadProof();
            if (position & 1 == 1 || position == last) {
                firstHash = nodeHash(path[next], firstHash);
                secondHash = nodeHash(path[next], secondHash);
                (position, last) = _climb(position, last);
            } else {
                secondHash = nodeHash(secondHash, path[next]);
            }
            position >>= 1;
            last >>= 1;
        }
        if (last != 0 || firstHash != firstRoot || secondHash != secondRoot) revert BadProof();
    }

    /// @notice The root commitment and the total of the sum tree of `size` leaves in which number `index` says that `amount`
    /// belongs to `node`. `path` is the siblings', from the leaf to the root, 48 bytes each: sum u128, hash.
    /// @dev Reverts with `BadProof` when the total does not fit 128 bits: no honest tree has such a total.
    function sumRootFromInclusion(bytes calldata path, uint256 index, uint256 size, uint32 node, uint128 amount)
        internal
        view
        returns (bytes32 root, uint256 total)
    {
        if (path.length > SUM_STEP * MAX_PATH) revert PathTooLong(path.length / SUM_STEP);
        if (index >= size || path.length % SUM_STEP != 0) revert BadProof();
        (root, total) = _sumTop(path, index, size - 1, sumLeafHash(node, amount), amount);
        if (total > type(uint128).max) revert BadProof();
        root = sumRootHash(uint128(total), root);
    }

    /* INTERNAL */

    /// @dev A node at the right edge without a sibling is carried up, unhashed, to the level where it is a right child.
    function _climb(uint256 position, uint256 last) private pure returns (uint256, uint256) {
        while (position & 1 == 0 && position != 0) {
            position >>= 1;
            last >>= 1;
        }
        return (position, last);
    }

    /// @dev Walks a sum tree's path from the leaf `top`, number `index` of `last` + 1, up to the tree's hash. A path that the
    /// tree cannot have gives a `sum` of more than 128 bits.
    // A claim among 10,000 takes 14 of these steps, so they are in assembly.
    // slither-disable-next-line assembly
    function _sumTop(bytes calldata path, uint256 index, uint256 last, bytes32 top, uint256 total)
        private
        view
        returns (bytes32 hash, uint256 sum)
    {
        hash = top;
        sum = total;
        assembly ("memory-safe") {
            // Of a node's 97 bytes, the left child's begin here, and the right child's 48 further.
            let left := add(mload(0x40), 1)
            mstore8(sub(left, 1), 1)
            let end := add(path.offset, path.length)
            for {} lt(path.offset, end) { path.offset := add(path.offset, 48) } {
                // Too long a path: a bit that no sum reaches, for sums are of 128 bits and a path has 40.
                sum := or(sum, shl(255, iszero(last)))
                // 0 for a left child, 48 for a right one, or one at the right edge.
                let side := mul(48, or(and(index, 1), eq(index, last)))
                mstore(add(left, side), shl(128, sum))
                mstore(add(add(left, 16), side), hash)
                calldatacopy(add(left, sub(48, side)), path.offset, 48)
                sum := add(sum, shr(128, calldataload(path.offset)))
                // Precompile 2 is SHA-256. It fails only for want of gas, and the caller then has none left either.
                if iszero(staticcall(gas(), 2, sub(left, 1), 97, 0, 32)) { revert(0, 0) }
                hash := mload(0)
                if gt(side, mul(48, and(index, 1))) {
                    // A node at the right edge without a sibling is carried up to the level where it is a right child.
                    for {} iszero(or(and(index, 1), iszero(index))) {} {
                        index := shr(1, index)
                        last := shr(1, last)
                    }
                }
                index := shr(1, index)
                last := shr(1, last)
            }
            // Too short a path, in the same way.
            sum := or(sum, shl(255, iszero(iszero(last))))
        }
    }
}
