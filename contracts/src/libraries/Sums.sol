// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Sums
/// @notice Weighted sums of chunks of 256 signed integers, all coordinates at once.
///
/// Lanes of 64 or 128 bits share a word. An integer x of b bits enters as x + 2^(b-1), which is not negative, so lanes never
/// borrow; and a lane never overflows when the weights' sum is at most 2^(lane - b). `encode` takes the bias away again. The
/// result is exact modulo 2^64.
library Sums {
    /* CONSTANTS */

    /// @notice Integers in a chunk.
    uint256 internal constant INTEGERS = 256;
    /// @notice Bytes of a chunk of sums.
    uint256 internal constant BYTES = 2048;
    /// @dev Words that 256 lanes of 128 bits take.
    uint256 internal constant WORDS = 128;

    /* TYPES */

    /// @notice Sums so far: of integers of `bits` bits (16, 32 or 64), in lanes of `lane` bits (64 or 128), with `weights` in sum.
    struct Lanes {
        uint256 bits;
        uint256 lane;
        uint256 weights;
        uint256[WORDS] words;
    }

    /* HASHES */

    /// @notice What a sum tree's node commits to: the root over its chunks of sums, and the root over its children.
    function nodeHash(bytes32 sums, bytes32 children) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x03), sums, children));
    }

    /* SUMS */

    /// @notice No sums yet, of integers of `bits` bits whose weights are `weights` in sum at most.
    function start(uint256 bits, uint256 weights) internal pure returns (Lanes memory lanes) {
        lanes.bits = bits;
        lanes.lane = weights <= 1 << 64 - bits ? 64 : 128;
    }

    /// @notice Adds `weight` times every integer of `chunk` to the sums.
    /// @dev Warning: the chunk must have 256 integers, and the weights no more than `start` was told, nor than 2^68.
    // slither-disable-next-line assembly
    function add(Lanes memory lanes, bytes calldata chunk, uint256 weight) internal pure {
        (uint256 bits, uint256 lane) = (lanes.bits, lanes.lane);
        uint256[WORDS] memory words = lanes.words;
        lanes.weights += weight;
        uint256 ones = (1 << bits) - 1;
        uint256 mask = lane == 128 ? ones | ones << 128 : ones | ones << 64 | ones << 128 | ones << 192;
        uint256 bias = type(uint256).max / ones << bits - 1;
        assembly ("memory-safe") {
            let target := words
            let source := chunk.offset
            // 256 integers of `bits` bits fill `bits` words.
            let end := add(source, shl(5, bits))
            // Four steps at once where there are four: 16 updates take 1,024 steps.
            if eq(lane, shl(2, bits)) {
                for {} lt(source, end) { source := add(source, 32) } {
                    let word := xor(calldataload(source), bias)
                    mstore(target, add(mload(target), mul(and(word, mask), weight)))
                    target := add(target, 32)
                    word := shr(bits, word)
                    mstore(target, add(mload(target), mul(and(word, mask), weight)))
                    target := add(target, 32)
                    word := shr(bits, word)
                    mstore(target, add(mload(target), mul(and(word, mask), weight)))
                    target := add(target, 32)
                    word := shr(bits, word)
                    mstore(target, add(mload(target), mul(and(word, mask), weight)))
                    target := add(target, 32)
                }
            }
            for {} lt(source, end) { source := add(source, 32) } {
                let word := xor(calldataload(source), bias)
                for { let shift := 0 } lt(shift, lane) { shift := add(shift, bits) } {
                    mstore(target, add(mload(target), mul(and(shr(shift, word), mask), weight)))
                    target := add(target, 32)
                }
            }
        }
    }

    /// @notice The sums as a chunk of 256 signed 64-bit integers.
    // slither-disable-next-line assembly
    function encode(Lanes memory lanes) internal pure returns (bytes memory chunk) {
        // 24 more bytes, because the last integer is written with a whole word.
        chunk = new bytes(BYTES + 24);
        uint256[WORDS] memory words = lanes.words;
        (uint256 bits, uint256 lane) = (lanes.bits, lanes.lane);
        uint256 bias = lanes.weights << bits - 1;
        assembly ("memory-safe") {
            let target := add(chunk, 32)
            // A word of integers became lane / bits words of lanes. Its integers are, first to last, in the highest lane of
            // the last to the first of these words, then in the next lane of the last to the first, and so on.
            let step := shl(5, div(lane, bits))
            let end := add(words, mul(bits, step))
            for { let first := words } lt(first, end) { first := add(first, step) } {
                for { let shift := 256 } shift {} {
                    shift := sub(shift, lane)
                    for { let word := add(first, step) } gt(word, first) {} {
                        // Two at once: their number is even.
                        mstore(target, shl(192, sub(shr(shift, mload(sub(word, 32))), bias)))
                        word := sub(word, 64)
                        mstore(add(target, 8), shl(192, sub(shr(shift, mload(word)), bias)))
                        target := add(target, 16)
                    }
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
