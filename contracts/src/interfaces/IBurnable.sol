// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IBurnable
/// @notice What the Registry asks of the stake's token beside ERC-20.
interface IBurnable {
    /// @notice Destroys `amount` of the caller's own, for ever.
    function burn(uint256 amount) external;
}
