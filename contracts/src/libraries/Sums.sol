// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Sums
/// @notice Weighted sums of chunks of 256 signed integers, all coordinates at once.
///
/// Two 128-bit lanes share a word. An integer x of b bits enters as x + 2^(b-1), which is not negative, so lanes never borrow;
/// and with at most 16 addends, weights below 2^64 and b at most 64 (then of weight 1), no lane overflows. `encode` takes the
/// bias away again. The result is exact modulo 2^64.
library Sums {
    /* CONSTANTS */

    /// @notice Integers in a chunk.
    uint256 internal constant INTEGERS = 256;
    /// @notice Bytes of a chunk of sums.
    uint256 internal constant BYTES = 2048;
    /// @dev Words of two lanes each.
    uint256 internal constant WORDS = 128;

    /* HASHES */

    /// @notice What a sum tree's node commits to: the root over its chunks of sums, and the root over its children.
    function nodeHash(bytes32 sums, bytes32 children) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x03), sums, children));
    }

    /* SUMS */

    /// @notice Adds `weight` times every integer of `chunk` (256 of `bits` bits: 16, 32 or 64) to the lanes.
    /// @dev Warning: the chunk must have 32 * `bits` bytes; `encode` must be told the same `bits`.
    function add(uint256[WORDS] memory lanes, bytes calldata chunk, uint256 bits, uint256 weight) internal pure {
        uint256 ones = (1 << bits) - 1;
        uint256 mask = ones | ones << 128;
        uint256 bias = type(uint256).max / ones << bits - 1;
        assembly ("memory-safe") {
            let target := lanes
            let source := chunk.offset
            // 256 integers of `bits` bits fill `bits` words.
            for { let end := add(source, shl(5, bits)) } lt(source, end) { source := add(source, 32) } {
                let word := xor(calldataload(source), bias)
                for { let shift := 0 } lt(shift, 128) { shift := add(shift, bits) } {
                    mstore(target, add(mload(target), mul(and(shr(shift, word), mask), weight)))
                    target := add(target, 32)
                }
            }
        }
    }

    /// @notice The sums as a chunk of 256 signed 64-bit integers. `weights` is the sum of all weights that were added.
    function encode(uint256[WORDS] memory lanes, uint256 bits, uint256 weights)
        internal
        pure
        returns (bytes memory chunk)
    {
        // 24 more bytes, because the last integer is written with a whole word.
        chunk = new bytes(BYTES + 24);
        uint256 bias = weights << bits - 1;
        assembly ("memory-safe") {
            let target := add(chunk, 32)
            let step := shl(5, div(128, bits))
            // An integer's place in its word decides its lane: the first half of a word is in the high lanes, last first.
            for { let group := lanes } lt(group, add(lanes, 4096)) { group := add(group, step) } {
                for { let lane := add(group, step) } gt(lane, group) {} {
                    lane := sub(lane, 32)
                    mstore(target, shl(192, sub(shr(128, mload(lane)), bias)))
                    target := add(target, 8)
                }
                for { let lane := add(group, step) } gt(lane, group) {} {
                    lane := sub(lane, 32)
                    mstore(target, shl(192, sub(mload(lane), bias)))
                    target := add(target, 8)
                }
            }
            mstore(chunk, BYTES)
        }
    }

    /// @notice Integer number `coordinate` of a chunk of integers of `bits` bits (16, 32 or 64).
    function integerOf(bytes calldata chunk, uint256 coordinate, uint256 bits) internal pure returns (int256 value) {
        uint256 width = bits / 8;
        bytes calldata packed = chunk[coordinate * width:(coordinate + 1) * width];
        // The integer comes first in the word; an arithmetic shift keeps its sign.
        return int256(uint256(bytes32(packed))) >> 256 - bits;
    }
}
