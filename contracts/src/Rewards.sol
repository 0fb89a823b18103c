// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {ILedger} from "./interfaces/ILedger.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRewards} from "./interfaces/IRewards.sol";
import {MerkleLog} from "./libraries/MerkleLog.sol";

/// @title Rewards
/// @notice See IRewards, which states every rule.
contract Rewards is IRewards {
    using SafeERC20 for IERC20;

    /* IMMUTABLES */

    /// @notice Who answers for roles. No function of this contract asks.
    IAccessManager public immutable authority;
    /// @notice Where accounts are named.
    IRegistry public immutable registry;
    /// @notice Where headers are recorded.
    ILedger public immutable ledger;
    /// @notice What is paid.
    IERC20 public immutable token;

    /* STORAGE */

    /// @inheritdoc IRewards
    mapping(uint64 task => uint256) public funded;
    /// @inheritdoc IRewards
    mapping(uint64 task => uint256) public paid;
    /// @inheritdoc IRewards
    mapping(uint64 task => mapping(uint32 node => uint128)) public claimed;

    /* CONSTRUCTOR */

    constructor(IAccessManager authority_, IRegistry registry_, ILedger ledger_, IERC20 token_) {
        authority = authority_;
        registry = registry_;
        ledger = ledger_;
        token = token_;
    }

    /* POOLS */

    /// @inheritdoc IRewards
    function fund(uint64 task, uint256 amount) external {
        if (task == 0 || task > ledger.count()) revert UnknownTask(task);

        funded[task] += amount;

        emit Funded(task, msg.sender, amount);

        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IRewards
    function claim(ILedger.Header calldata header, uint256 anchoredAt, Claim calldata claim_) external {
        uint64 task = header.task;
        uint32 node = claim_.node;
        if (!ledger.isFinal(header, anchoredAt)) revert NotFinal(task, header.round);
        uint256 total = _provenTotal(header.rewardsRoot, claim_);
        // Tier and status do not matter: what was earned is owed.
        // slither-disable-next-line unused-return
        (address account,,) = registry.standing(node);
        if (account == address(0)) revert UnknownNode(node);
        uint128 before = claimed[task][node];
        if (claim_.cumulative <= before) revert NothingToClaim(node);
        uint256 amount = claim_.cumulative - before;
        uint256 pool = funded[task];
        if (total > pool) revert PoolExceeded(task, total, pool);
        uint256 spent = paid[task] + amount;
        if (spent > pool) revert PoolExceeded(task, spent, pool);

        claimed[task][node] = claim_.cumulative;
        paid[task] = spent;

        emit Claimed(task, node, account, amount, claim_.cumulative);

        token.safeTransfer(account, amount);
    }

    /* INTERNAL */

    function _provenTotal(bytes32 expected, Claim calldata claim_) internal pure returns (uint128) {
        (bytes32 root, uint128 total) = MerkleLog.sumRootFromInclusion(
            claim_.sums, claim_.hashes, claim_.index, claim_.size, claim_.node, claim_.cumulative
        );
        if (root != expected) revert MerkleLog.BadProof();
        return total;
    }
}
