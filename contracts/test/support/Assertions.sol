// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice What a test demands. The error shows both values.
abstract contract Assertions {
    error NotEqual(uint256 got, uint256 wanted);
    error NotEqualHash(bytes32 got, bytes32 wanted);
    error NotEqualAddress(address got, address wanted);
    error NotTrue(string what);
    error NotBelow(uint256 got, uint256 limit);

    function equal(uint256 got, uint256 wanted) internal pure {
        if (got != wanted) revert NotEqual(got, wanted);
    }

    function equal(bytes32 got, bytes32 wanted) internal pure {
        if (got != wanted) revert NotEqualHash(got, wanted);
    }

    function equal(address got, address wanted) internal pure {
        if (got != wanted) revert NotEqualAddress(got, wanted);
    }

    function yes(bool condition, string memory what) internal pure {
        if (!condition) revert NotTrue(what);
    }

    function atMost(uint256 got, uint256 limit) internal pure {
        if (got > limit) revert NotBelow(got, limit);
    }

    /// @notice `value` folded into low..high, both included.
    function between(uint256 value, uint256 low, uint256 high) internal pure returns (uint256) {
        return low + value % (high - low + 1);
    }
}
