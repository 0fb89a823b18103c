// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title ILedger
/// @notice What was promised and what was done: tasks with their policies, and one header for each round. The contract keeps
/// one slot a round; the events hold everything, and are the index that an auditor reads.
///
/// Rounds of a task are numbered from 1 and form a chain: each header names the one before, and starts from the model that the
/// one before ended with. A record never changes.
/// @dev Checks are made in the order in which each function lists its errors. Nothing here loops, so gas does not depend on
/// how many devices took part.
interface ILedger {
    /* TYPES */

    /// @notice What a publisher opens. `policy` is the canonical JSON that every participant obeys; `window` is how many
    /// seconds a round may be disputed before it is final; `genesisModel` is the SHA-256 of the model that round 1 starts from.
    struct TaskSpec {
        uint32 cloud;
        uint32 window;
        bytes32 genesisModel;
        bytes policy;
    }

    /// @notice A task in storage. `head` is the last anchored round, `lastHeader` its hash, `lastModel` the model that it left.
    /// `forcedCount` and `openDisputes` are kept for forced inclusion and disputes, and are zero until then.
    struct Task {
        address publisher;
        uint32 cloud;
        uint32 window;
        bool open;
        uint64 head;
        uint64 forcedCount;
        uint64 openDisputes;
        bytes32 policyHash;
        bytes32 genesisModel;
        bytes32 lastHeader;
        bytes32 lastModel;
    }

    /// @notice What one round commits to. A zero hash means "none". Its hash is keccak256(abi.encode(header)).
    struct Header {
        uint64 task;
        uint64 round;
        bytes32 prev;
        bytes32 roster;
        bytes32 policy;
        bytes32 modelIn;
        bytes32 inputsRoot;
        uint64 inputsCount;
        bytes32 forced;
        bytes32 weightsRoot;
        bytes32 modelOut;
        bytes32 chunksRoot;
        bytes32 scoresRoot;
        bytes32 rewardsRoot;
        bytes32 budget;
        bytes32 manifest;
    }

    /* ERRORS */

    /// @notice New tasks are paused.
    error Paused();
    /// @notice The node is not an active cloud.
    error NotActive(uint32 id);
    /// @notice The policy is empty or longer than 8,192 bytes.
    error BadPolicy();
    /// @notice No such task.
    error UnknownTask(uint64 task);
    /// @notice `caller` is not the account of the task's cloud, or that node is not active.
    error NotCloud(address caller);
    /// @notice The task has ended.
    error TaskClosed(uint64 task);
    /// @notice Rounds come in order, each once.
    error WrongRound(uint64 expected, uint64 got);
    /// @notice The header does not name the one before it.
    error WrongPrev(bytes32 expected);
    /// @notice The header names another policy than the task's.
    error WrongPolicy(bytes32 expected);
    /// @notice The header does not start from the model that the round before left.
    error WrongModel(bytes32 expected);

    /* EVENTS */

    /// @notice A task was opened; this event is where its policy is kept.
    event TaskCreated(
        uint64 indexed task,
        uint32 indexed cloud,
        address indexed publisher,
        uint32 window,
        bytes32 policyHash,
        bytes32 genesisModel,
        bytes policy
    );
    /// @notice A round was anchored; this event is where its header is kept.
    event RoundAnchored(uint64 indexed task, uint64 indexed round, bytes32 indexed headerHash, Header header);
    /// @notice A task ended after `head` rounds.
    event TaskEnded(uint64 indexed task, uint64 head);
    /// @notice New tasks were stopped or allowed again.
    event PauseChanged(bool paused);

    /* TASKS */

    /// @notice Opens a task and returns its id: 1, 2, 3, ... Only a publisher.
    ///
    /// Reverts: NotAuthorised, NotActive, BadPolicy, Paused.
    /// @dev Warning: the policy is not parsed here. Whoever joins a task reads it first; a policy that cannot hold is refused by
    /// every honest node.
    function createTask(TaskSpec calldata spec) external returns (uint64 id);

    /// @notice Ends a task: no more rounds. Only the publisher that opened it, or the account of its cloud. Never pausable.
    ///
    /// Reverts: UnknownTask, NotAuthorised, TaskClosed.
    function closeTask(uint64 id) external;

    /* ROUNDS */

    /// @notice Records a round. Only the account of the task's cloud, while that node is active. The header that is already the
    /// head's is accepted again from anybody and changes nothing, so a sender that lost its receipt may send again.
    ///
    /// Reverts: UnknownTask, NotCloud, TaskClosed, WrongRound, WrongPrev, WrongPolicy, WrongModel.
    /// @dev Warning: nothing else in the header is judged here. It is a promise that others check, off chain and in disputes.
    function anchorRound(Header calldata header) external;

    /* ADMINISTRATION */

    /// @notice Stops new tasks, and nothing else. Only PAUSER.
    function pause() external;

    /// @notice Allows new tasks again. Only PAUSER.
    function unpause() external;

    /* VIEWS */

    /// @notice Everything stored about a task; all zero if there is none.
    function task(uint64 id) external view returns (Task memory);

    /// @notice How many tasks were ever opened; also the newest id.
    function count() external view returns (uint64);

    /// @notice keccak256(abi.encode(header hash, time of the block that anchored it)); zero if the round was not anchored.
    function record(uint64 id, uint64 round) external view returns (bytes32);

    /// @notice Whether this header was anchored at `anchoredAt` (seconds), can no longer be disputed, and is not being disputed.
    function isFinal(Header calldata header, uint256 anchoredAt) external view returns (bool);

    /// @notice The hash under which a header is recorded.
    function headerHash(Header calldata header) external pure returns (bytes32);

    /// @notice Whether new tasks are stopped.
    function paused() external view returns (bool);
}
