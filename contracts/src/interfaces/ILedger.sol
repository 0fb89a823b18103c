// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title ILedger
/// @notice What was promised and what was done: tasks with their policies, and one header for each round. The contract keeps
/// one slot a round; the events hold everything, and are the index that an auditor reads.
///
/// Rounds of a task are numbered from 1 and form a chain: each header names the one before, and starts from the model that the
/// one before ended with. A record never changes.
///
/// A device whose edge does not answer forces its update in by `submitDirect`: forced leaves form a chain, and each header names
/// the newest link that its cloud had read. A round that is proven wrong is struck: it and all later ones no longer count.
/// @dev Checks are made in the order in which each function lists its errors. Nothing here loops, so gas does not depend on
/// how many devices took part.
interface ILedger {
    /* TYPES */

    /// @notice What a publisher opens. `policy` is the canonical JSON that every participant obeys; `window` is how many
    /// seconds a round may be disputed before it is final; `genesisModel` is the SHA-256 of the model that round 1 starts from.
    /// `rule` says what the Arbiter may recompute: 0 nothing, 1 linear over all updates, 2 linear in two levels, 3 median, 4
    /// trimmed mean, which leaves out `trim` values at either end. An update has `chunks` chunks of 256 integers of `width` bytes.
    struct TaskSpec {
        uint32 cloud;
        uint32 window;
        uint8 rule;
        uint8 trim;
        uint8 width;
        uint32 chunks;
        bytes32 genesisModel;
        bytes policy;
    }

    /// @notice A task in storage. `head` is the last anchored round, `lastHeader` its hash, `lastModel` the model that it left.
    /// `struck` is the first round that does not count, 0 if all do. `forcedCount` updates were forced in, and the head
    /// acknowledges the first `forcedDone` of them. `openDisputes` keep every round from being final.
    struct Task {
        address publisher;
        uint32 cloud;
        bool open;
        uint8 rule;
        uint8 trim;
        uint8 width;
        uint32 chunks;
        uint64 head;
        uint64 struck;
        uint32 forcedCount;
        uint32 forcedDone;
        uint32 openDisputes;
        uint32 window;
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

    /// @notice What one update commits to. Its leaf hash is that of RFC 9162 over "drystone/leaf/1" | chain id u64 | ledger 20 |
    /// the fields in order.
    struct Leaf {
        uint64 task;
        uint64 round;
        uint32 node;
        uint32 edge;
        uint64 sequence;
        uint32 weight;
        bytes32 ciphertext;
        bytes32 updateRoot;
        bytes32 metrics;
    }

    /* ERRORS */

    /// @notice New tasks are paused.
    error Paused();
    /// @notice The node is not an active cloud.
    error NotActive(uint32 id);
    /// @notice The policy is empty or longer than 8,192 bytes.
    error BadPolicy();
    /// @notice No such rule, a trim without a trimmed mean, or integers of another width than 2 or 4 bytes.
    error BadRule(uint8 rule, uint8 trim, uint8 width);
    /// @notice An update has at least one chunk.
    error BadChunks();
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
    /// @notice The header names no forced update (`got` 0), or an earlier one than the `done` that the head acknowledges.
    error WrongForced(uint32 done, uint32 got);
    /// @notice The leaf's node does not send to the leaf's edge, or that edge not to the task's cloud.
    error BadSender(uint32 node);
    /// @notice The leaf declares no samples.
    error BadWeight();
    /// @notice The node forced an update into this round before.
    error AlreadyForced(uint64 task, uint64 round, uint32 node);
    /// @notice The node's account did not sign this.
    error BadSignature();
    /// @notice `caller` is not the account of the node, or that node is not active.
    error NotNode(address caller);
    /// @notice The log has `held` entries already: it may only grow.
    error LogRewound(uint64 held);
    /// @notice A log of no entries has nothing to keep.
    error EmptyLog();
    /// @notice Only an arbiter strikes and holds; and nobody is not an arbiter.
    error NotArbiter(address caller);
    /// @notice The arbiters were named before, and stay.
    error ArbiterAlreadySet(address arbiter);
    /// @notice No dispute of the task is open.
    error NotHeld(uint64 task);

    /* EVENTS */

    /// @notice A task was opened; this event is where its policy is kept.
    event TaskCreated(
        uint64 indexed task,
        uint32 indexed cloud,
        address indexed publisher,
        uint32 window,
        bytes32 policyHash,
        bytes32 genesisModel,
        uint8 rule,
        uint8 trim,
        uint8 width,
        uint32 chunks,
        bytes policy
    );
    /// @notice A round was anchored; this event is where its header is kept.
    event RoundAnchored(uint64 indexed task, uint64 indexed round, bytes32 indexed headerHash, Header header);
    /// @notice A device forced an update in, as number `k` of the task. `chain` is the value by which a header acknowledges it
    /// and all before it: keccak256(abi.encode(chain before or 0, leafHash)).
    event Forced(
        uint64 indexed task,
        uint64 indexed round,
        uint32 indexed node,
        uint32 k,
        bytes32 chain,
        bytes32 leafHash,
        Leaf leaf
    );
    /// @notice A node's log grew, or was seen first.
    event Checkpointed(uint32 indexed node, uint64 size, bytes32 root);
    /// @notice A round was proven wrong: it and all later ones do not count, and the task has ended.
    event RoundStruck(uint64 indexed task, uint64 indexed round);
    /// @notice The two arbiters were named, once and for all.
    event ArbitersSet(address indexed first, address indexed second);
    /// @notice A task ended after `head` rounds.
    event TaskEnded(uint64 indexed task, uint64 head);
    /// @notice New tasks were stopped or allowed again.
    event PauseChanged(bool paused);

    /* TASKS */

    /// @notice Opens a task and returns its id: 1, 2, 3, ... Only a publisher.
    ///
    /// Reverts: NotAuthorised, NotActive, BadPolicy, BadRule, BadChunks, Paused.
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
    /// Reverts: UnknownTask, NotCloud, TaskClosed, WrongRound, WrongPrev, WrongPolicy, WrongModel, WrongForced.
    /// @dev Warning: nothing else in the header is judged here. It is a promise that others check, off chain and in disputes.
    function anchorRound(Header calldata header) external;

    /// @notice Forces an update into a coming round, past an edge that does not answer. Anybody may send it; `signature` is the
    /// node's account's EIP-712 signature (ERC-1271 for contracts) of Direct(uint64 task,uint64 round,uint32 node,bytes32
    /// leaf), with the leaf hash. A node forces one update a round.
    ///
    /// Reverts: UnknownTask, TaskClosed, WrongRound, NotActive, BadSender, BadWeight, AlreadyForced, BadSignature.
    /// @dev Warning: the update itself is not here. The device leaves it where the task's blobs are kept.
    function submitDirect(Leaf calldata leaf, bytes calldata signature) external;

    /* LOGS */

    /// @notice Records how far a node's own log has grown. Only the node's account, while the node is active. `path` is the
    /// consistency proof of RFC 9162 from what is recorded, empty the first time. What is recorded already changes nothing.
    ///
    /// Reverts: NotNode, EmptyLog, LogRewound, PathTooLong, BadProof (a fork).
    function checkpoint(uint32 node, uint64 size, bytes32 root, bytes32[] calldata path) external;

    /* ARBITERS */

    /// @notice Declares that a round does not count, nor any later one, and ends the task. Only an arbiter.
    ///
    /// Reverts: NotArbiter, UnknownTask, WrongRound (not anchored).
    function strike(uint64 id, uint64 round) external;

    /// @notice Keeps every round of a task from being final until `release`. Holds count up. Only an arbiter.
    ///
    /// Reverts: NotArbiter, UnknownTask.
    function hold(uint64 id) external;

    /// @notice Ends one hold. Only an arbiter.
    ///
    /// Reverts: NotArbiter, UnknownTask, NotHeld.
    function release(uint64 id) external;

    /* ADMINISTRATION */

    /// @notice Names the two arbiters, once. Only ADMIN.
    ///
    /// Reverts: NotAuthorised, ArbiterAlreadySet, NotArbiter (zero).
    function setArbiters(address first, address second) external;

    /// @notice Stops new tasks, and nothing else. Only PAUSER.
    function pause() external;

    /// @notice Allows new tasks again. Only PAUSER.
    function unpause() external;

    /* VIEWS */

    /// @notice Everything stored about a task; all zero if there is none.
    function task(uint64 id) external view returns (Task memory);

    /// @notice How many tasks were ever opened; also the newest id.
    function count() external view returns (uint64);

    /// @notice keccak256(abi.encode(header hash, the header's `rewardsRoot`, time of the block that anchored it)); zero if the
    /// round was not anchored. The root stands beside the hash so that who claims a reward need not show the whole header.
    function record(uint64 id, uint64 round) external view returns (bytes32);

    /// @notice Whether the header of this hash and with this rewards root was anchored as this round at `anchoredAt` (seconds),
    /// can no longer be disputed, is not being disputed, and was not struck, nor any before it.
    function isFinal(uint64 id, uint64 round, bytes32 hash, bytes32 rewardsRoot, uint256 anchoredAt)
        external
        view
        returns (bool);

    /// @notice The hash under which a header is recorded.
    function headerHash(Header calldata header) external pure returns (bytes32);

    /// @notice The number of the forced update whose chain value this is, counted from 1; 0 if it is none's.
    function forcedIndex(uint64 id, bytes32 chain) external view returns (uint32 k);

    /// @notice When the task's forced update number `k` came, in seconds; 0 if it never did.
    function forcedAt(uint64 id, uint32 k) external view returns (uint48);

    /// @notice The chain value of the task's newest forced update; zero if there is none.
    function forcedChain(uint64 id) external view returns (bytes32);

    /// @notice How far a node's log was recorded; zero if it never was.
    function log(uint32 node) external view returns (uint64 size, bytes32 root);

    /// @notice Whether this address may strike and hold.
    function isArbiter(address account) external view returns (bool);

    /// @notice Whether new tasks are stopped.
    function paused() external view returns (bool);
}
