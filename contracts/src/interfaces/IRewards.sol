// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "./ILedger.sol";

/// @title IRewards
/// @notice Pays nodes what final rounds promised them. A header's `rewardsRoot` is a sum tree over (node, everything the node
/// ever earned in the task); a claim pays the difference to what was already paid. One root serves every node, so
/// rounds cost no transaction per device, and a device claims when it likes, or never.
/// @dev Checks are made in the order in which each function lists its errors.
interface IRewards {
    /* TYPES */

    /// @notice That number `index` of the `size` entries under the root says `cumulative` for `node`. `path` is the siblings',
    /// from the leaf to the root, 48 bytes each: sum u128, hash.
    struct Claim {
        uint32 node;
        uint128 cumulative;
        uint256 index;
        uint256 size;
        bytes path;
    }

    /* ERRORS */

    /// @notice No such task.
    error UnknownTask(uint64 task);
    /// @notice No such node.
    error UnknownNode(uint32 node);
    /// @notice No such header, with the rewards root that was shown, was anchored then; or it may still be disputed, or is being
    /// disputed.
    error NotFinal(uint64 task, uint64 round);
    /// @notice Everything that this root promises the node was paid before.
    error NothingToClaim(uint32 node);
    /// @notice `total`, promised by the root or paid with this claim, is more than the pool was ever given.
    error PoolExceeded(uint64 task, uint256 total, uint256 funded);

    /// @notice `caller` did not open the task.
    error NotPublisher(address caller);
    /// @notice The task may still promise rewards.
    error TaskOpen(uint64 task);
    /// @notice The last round that counts is `last`, 0 if none does.
    error NotLast(uint64 task, uint64 last);
    /// @notice Everything left in the pool is promised or paid.
    error NothingToReclaim(uint64 task);

    /* EVENTS */

    /// @notice A task's pool grew.
    event Funded(uint64 indexed task, address indexed from, uint256 amount);
    /// @notice A node was paid `amount`, and `cumulative` altogether.
    event Claimed(
        uint64 indexed task, uint32 indexed node, address indexed account, uint256 amount, uint128 cumulative
    );

    /// @notice What a task's pool had beyond its promises went back to its publisher.
    event Reclaimed(uint64 indexed task, address indexed publisher, uint256 amount);

    /* POOLS */

    /// @notice Adds `amount` to a task's pool, from the caller, who approved it.
    ///
    /// Reverts: UnknownTask, what the token says.
    /// @dev Warning: what no root promises goes to the task's publisher in the end, whoever gave it.
    function fund(uint64 task, uint256 amount) external;

    /// @notice Pays a node's account what it has not had yet. Anybody may send it; the money goes to the account that the
    /// Registry names now. Never pausable, and open to suspended and revoked nodes: what was earned is owed. The rewards
    /// root is not sent: it is what the claim's path leads to, and the record must hold it beside `headerHash`.
    ///
    /// Reverts: PathTooLong, BadProof (no path of such a tree), NotFinal, UnknownNode, NothingToClaim, PoolExceeded.
    /// @dev Warning: the root must carry its own total, and the total must be in the pool, before anybody is paid from it. So a
    /// false root cannot take what it does not promise; and all roots together cannot take more than the pool.
    function claim(uint64 task, uint64 round, bytes32 headerHash, uint256 anchoredAt, Claim calldata claim_) external;

    /// @notice Pays back what the last round that counts does not promise, once the task has ended. Only its publisher.
    /// `total` and `tree` are what the round's `rewardsRoot` is the hash of, zeros when it has none.
    ///
    /// Reverts: NotPublisher, TaskOpen, NotFinal, NotLast, BadProof, NothingToReclaim.
    /// @dev Warning: what was paid already stays covered too, also when a false root promises less than was paid.
    function reclaim(ILedger.Header calldata header, uint256 anchoredAt, uint128 total, bytes32 tree) external;

    /// @notice Pays back everything that was not paid, once the task has ended and no round counts. Only its publisher.
    ///
    /// Reverts: NotPublisher, TaskOpen, NotLast, NothingToReclaim.
    function reclaimUnused(uint64 task) external;

    /* VIEWS */

    /// @notice Everything that a task's pool was given and not paid back, in token units.
    function funded(uint64 task) external view returns (uint256);

    /// @notice Everything that a task's pool paid, in token units.
    function paid(uint64 task) external view returns (uint256);

    /// @notice Everything that a node was paid in a task, in token units.
    function claimed(uint64 task, uint32 node) external view returns (uint128);
}
