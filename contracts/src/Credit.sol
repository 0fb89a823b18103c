// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Capped} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Capped.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

import {IBurnable} from "./interfaces/IBurnable.sol";
import {Roles} from "./libraries/Roles.sol";

/// @title Credit
/// @notice The network's unit of account: an ERC-20 with permit (ERC-2612), without hooks, capped for ever.
contract Credit is IBurnable, ERC20Capped, ERC20Permit {
    /* CONSTANTS */

    /// @notice The most credit that can ever exist: 10^9 units of 10^18. Fits 96 bits, in which stakes are kept.
    uint256 public constant CAP = 1e27;

    /* IMMUTABLES */

    /// @notice Who answers for roles.
    IAccessManager public immutable authority;

    /* CONSTRUCTOR */

    constructor(IAccessManager authority_)
        ERC20("Drystone Credit", "DRY")
        ERC20Capped(CAP)
        ERC20Permit("Drystone Credit")
    {
        authority = authority_;
    }

    /* HOLDERS */

    /// @inheritdoc IBurnable
    function burn(uint256 amount) external {
        _burn(msg.sender, amount);
    }

    /* ADMINISTRATION */

    /// @notice Creates `amount` for `to`. Only ADMIN; reverts with `ERC20ExceededCap` above the cap.
    function mint(address to, uint256 amount) external {
        Roles.check(authority, Roles.ADMIN, msg.sender);
        _mint(to, amount);
    }

    /* INTERNAL */

    /// @dev Both parents define it; the cap is checked after every mint.
    function _update(address from, address to, uint256 value) internal override(ERC20, ERC20Capped) {
        super._update(from, to, value);
    }
}
