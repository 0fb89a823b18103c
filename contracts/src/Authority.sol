// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessManager} from "@openzeppelin/contracts/access/manager/AccessManager.sol";

/// @title Authority
/// @notice Who holds which operational role: OpenZeppelin's AccessManager, unchanged. The numbers of the roles are in
/// the library Roles.
contract Authority is AccessManager {
    /// @param admin The first holder of the ADMIN role: a multisignature wallet outside a devnet.
    constructor(address admin) AccessManager(admin) {}
}
