// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";

/// @title Roles
/// @notice The operational roles that the Authority hands out, and the one way in which a contract asks for them.
/// Membership of the network is not a role: it is data, and lives in the Registry.
library Roles {
    /// @notice Grants roles, mints credit, names the arbiter. The Authority's own administrator role.
    uint64 internal constant ADMIN = 0;
    /// @notice Admits, suspends, reinstates and revokes nodes.
    uint64 internal constant REGISTRAR = 1;
    /// @notice Opens tasks.
    uint64 internal constant PUBLISHER = 2;
    /// @notice Decides, last, what no proof can decide.
    uint64 internal constant COUNCIL = 3;
    /// @notice Stops new registrations and new tasks; never exits, claims or rounds.
    uint64 internal constant PAUSER = 4;

    /// @notice `caller` does not hold `role`, or holds it with an execution delay.
    error NotAuthorised(address caller, uint64 role);

    /// @notice Whether `account` may act in `role` at once.
    /// @dev Warning: a member with an execution delay is not authorised here. Scheduled calls arrive from the Authority
    /// itself, so such a role must be granted to the Authority's address too, or without a delay.
    function holds(IAccessManager authority, uint64 role, address account) internal view returns (bool) {
        (bool member, uint32 delay) = authority.hasRole(role, account);
        return member && delay == 0;
    }

    /// @notice Reverts with `NotAuthorised` unless `account` may act in `role` at once.
    function check(IAccessManager authority, uint64 role, address account) internal view {
        if (!holds(authority, role, account)) revert NotAuthorised(account, role);
    }
}
