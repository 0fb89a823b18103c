// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {ILedger} from "./interfaces/ILedger.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IRewards} from "./interfaces/IRewards.sol";
import {MerkleLog} from "./libraries/MerkleLog.sol";

/// @title Rewards
/// @notice See IRewards, which states every rule.
contract Rewards is IRewards {
    using SafeCast for uint256;
    using SafeERC20 for IERC20;

    /* TYPES */

    /// @dev One slot, because a claim touches both.
    struct Pool {
        uint128 funded;
        uint128 paid;
    }

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
    mapping(uint64 task => mapping(uint32 node => uint128)) public claimed;

    mapping(uint64 task => Pool) internal _pools;

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

        _pools[task].funded += amount.toUint128();

        emit Funded(task, msg.sender, amount);

        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IRewards
    function claim(uint64 task, uint64 round, bytes32 headerHash, uint256 anchoredAt, Claim calldata claim_) external {
        (bytes32 root, uint256 total) =
            MerkleLog.sumRootFromInclusion(claim_.path, claim_.index, claim_.size, claim_.node, claim_.cumulative);
        if (!ledger.isFinal(task, round, headerHash, root, anchoredAt)) revert NotFinal(task, round);
        _pay(task, claim_.node, claim_.cumulative, total);
    }

    /// @inheritdoc IRewards
    function reclaim(ILedger.Header calldata header, uint256 anchoredAt, uint128 total, bytes32 tree) external {
        uint64 task = header.task;
        uint64 last = _lastOfEnded(task);
        bytes32 hash = keccak256(abi.encode(header));
        if (!ledger.isFinal(task, header.round, hash, header.rewardsRoot, anchoredAt)) {
            revert NotFinal(task, header.round);
        }
        if (header.round != last) revert NotLast(task, last);
        bytes32 root = total == 0 && tree == 0 ? bytes32(0) : MerkleLog.sumRootHash(total, tree);
        if (root != header.rewardsRoot) revert MerkleLog.BadProof();
        _reclaim(task, total);
    }

    /// @inheritdoc IRewards
    function reclaimUnused(uint64 task) external {
        uint64 last = _lastOfEnded(task);
        if (last != 0) revert NotLast(task, last);
        _reclaim(task, 0);
    }

    /* VIEWS */

    /// @inheritdoc IRewards
    function funded(uint64 task) external view returns (uint256) {
        return _pools[task].funded;
    }

    /// @inheritdoc IRewards
    function paid(uint64 task) external view returns (uint256) {
        return _pools[task].paid;
    }

    /* INTERNAL */

    /// @dev Pays a node what `cumulative`, part of a root's `total`, is above what it was paid.
    function _pay(uint64 task, uint32 node, uint128 cumulative, uint256 total) internal {
        // Tier and status do not matter: what was earned is owed.
        // slither-disable-next-line unused-return
        (address account,,) = registry.standing(node);
        if (account == address(0)) revert UnknownNode(node);
        mapping(uint32 node => uint128) storage had = claimed[task];
        uint128 before = had[node];
        if (cumulative <= before) revert NothingToClaim(node);
        uint256 amount = cumulative - before;
        Pool memory p = _pools[task];
        if (total > p.funded) revert PoolExceeded(task, total, p.funded);
        uint256 spent = uint256(p.paid) + amount;
        if (spent > p.funded) revert PoolExceeded(task, spent, p.funded);

        had[node] = cumulative;
        p.paid = spent.toUint128();
        _pools[task] = p;

        emit Claimed(task, node, account, amount, cumulative);

        token.safeTransfer(account, amount);
    }

    function _reclaim(uint64 task, uint128 promised) internal {
        Pool storage p = _pools[task];
        uint128 kept = promised < p.paid ? p.paid : promised;
        if (p.funded <= kept) revert NothingToReclaim(task);
        uint128 amount = p.funded - kept;

        p.funded = kept;

        emit Reclaimed(task, msg.sender, amount);

        token.safeTransfer(msg.sender, amount);
    }

    /// @dev The last round that counts of a task that its publisher, the caller, sees ended; 0 if none counts.
    function _lastOfEnded(uint64 task) internal view returns (uint64) {
        ILedger.Task memory t = ledger.task(task);
        if (msg.sender != t.publisher) revert NotPublisher(msg.sender);
        if (t.open) revert TaskOpen(task);
        return t.struck == 0 ? t.head : t.struck - 1;
    }
}
