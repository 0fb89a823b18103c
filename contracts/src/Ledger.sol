// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {ILedger} from "./interfaces/ILedger.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {Commitments} from "./libraries/Commitments.sol";
import {MerkleLog} from "./libraries/MerkleLog.sol";
import {Roles} from "./libraries/Roles.sol";

/// @title Ledger
/// @notice See ILedger, which states every rule.
contract Ledger is ILedger, EIP712 {
    /* CONSTANTS */

    /// @dev The Registry's numbers.
    uint8 internal constant END = 1;
    uint8 internal constant CLOUD = 3;
    uint8 internal constant ACTIVE = 2;

    /// @dev The most bytes of one encoded policy.
    uint256 internal constant MAX_POLICY_BYTES = 8192;

    /// @dev Rules are numbered from 0; this is the last.
    uint8 internal constant TRIMMED_MEAN = 4;

    /* TYPES */

    struct Log {
        uint64 size;
        bytes32 root;
    }

    /* IMMUTABLES */

    /// @notice Who answers for roles.
    IAccessManager public immutable authority;
    /// @notice Who takes part.
    IRegistry public immutable registry;

    /* STORAGE */

    /// @inheritdoc ILedger
    uint64 public count;
    /// @inheritdoc ILedger
    bool public paused;
    /// @inheritdoc ILedger
    mapping(uint64 id => mapping(uint64 round => bytes32)) public record;

    /// @inheritdoc ILedger
    mapping(uint64 id => mapping(bytes32 chain => uint32 k)) public forcedIndex;
    /// @inheritdoc ILedger
    mapping(uint64 id => mapping(uint32 k => uint48 time)) public forcedAt;
    /// @inheritdoc ILedger
    mapping(uint64 id => bytes32) public forcedChain;
    /// @inheritdoc ILedger
    mapping(uint32 node => Log) public log;
    /// @inheritdoc ILedger
    mapping(address account => bool) public isArbiter;

    mapping(uint64 id => Task) internal _tasks;
    mapping(uint64 id => mapping(uint64 round => mapping(uint32 node => bool))) internal _forced;
    address internal _firstArbiter;

    /* CONSTRUCTOR */

    constructor(IAccessManager authority_, IRegistry registry_) EIP712("Drystone", "1") {
        authority = authority_;
        registry = registry_;
    }

    /* TASKS */

    /// @inheritdoc ILedger
    function createTask(TaskSpec calldata spec) external returns (uint64 id) {
        Roles.check(authority, Roles.PUBLISHER, msg.sender);
        if (!registry.active(spec.cloud, CLOUD)) revert NotActive(spec.cloud);
        if (spec.policy.length == 0 || spec.policy.length > MAX_POLICY_BYTES) revert BadPolicy();
        if (
            spec.rule > TRIMMED_MEAN || (spec.trim != 0 && spec.rule != TRIMMED_MEAN)
                || (spec.width != 2 && spec.width != 4)
        ) revert BadRule(spec.rule, spec.trim, spec.width);
        if (spec.chunks == 0) revert BadChunks();
        if (paused) revert Paused();

        id = ++count;
        bytes32 policyHash = sha256(spec.policy);
        _tasks[id] = Task({
            publisher: msg.sender,
            cloud: spec.cloud,
            open: true,
            rule: spec.rule,
            trim: spec.trim,
            width: spec.width,
            chunks: spec.chunks,
            head: 0,
            struck: 0,
            forcedCount: 0,
            forcedDone: 0,
            openDisputes: 0,
            window: spec.window,
            policyHash: policyHash,
            genesisModel: spec.genesisModel,
            lastHeader: 0,
            lastModel: spec.genesisModel
        });

        emit TaskCreated(
            id,
            spec.cloud,
            msg.sender,
            spec.window,
            policyHash,
            spec.genesisModel,
            spec.rule,
            spec.trim,
            spec.width,
            spec.chunks,
            spec.policy
        );
    }

    /// @inheritdoc ILedger
    function closeTask(uint64 id) external {
        Task storage t = _known(id);
        if (msg.sender != t.publisher) {
            // Tier and status do not matter to end a task.
            // slither-disable-next-line unused-return
            (address account,,) = registry.standing(t.cloud);
            if (msg.sender != account) revert Roles.NotAuthorised(msg.sender, Roles.PUBLISHER);
        }
        if (!t.open) revert TaskClosed(id);

        t.open = false;

        emit TaskEnded(id, t.head);
    }

    /* ROUNDS */

    /// @inheritdoc ILedger
    function anchorRound(Header calldata header) external {
        uint64 id = header.task;
        Task storage t = _known(id);
        bytes32 hash = headerHash(header);
        if (hash == t.lastHeader) return;
        // The tier never changes, and was the cloud's when the task was created.
        // slither-disable-next-line unused-return
        (address account,, uint8 status) = registry.standing(t.cloud);
        if (msg.sender != account || status != ACTIVE) revert NotCloud(msg.sender);
        if (!t.open) revert TaskClosed(id);
        uint64 round = t.head + 1;
        if (header.round != round) revert WrongRound(round, header.round);
        if (header.prev != t.lastHeader) revert WrongPrev(t.lastHeader);
        if (header.policy != t.policyHash) revert WrongPolicy(t.policyHash);
        if (header.modelIn != t.lastModel) revert WrongModel(t.lastModel);
        uint32 done = t.forcedDone;
        if (header.forced != 0 || done != 0) {
            uint32 k = forcedIndex[id][header.forced];
            if (k == 0 || k < done) revert WrongForced(done, k);
            t.forcedDone = k;
        }

        t.head = round;
        t.lastHeader = hash;
        t.lastModel = header.modelOut;
        record[id][round] = Commitments.recordHash(hash, header.rewardsRoot, block.timestamp);

        emit RoundAnchored(id, round, hash, header);
    }

    /// @inheritdoc ILedger
    function submitDirect(Leaf calldata leaf, bytes calldata signature) external {
        uint64 id = leaf.task;
        Task storage t = _known(id);
        bytes32 hash = _checkedDirect(t, leaf, signature);

        _forced[id][leaf.round][leaf.node] = true;
        uint32 k = ++t.forcedCount;
        bytes32 chain = keccak256(abi.encode(forcedChain[id], hash));
        forcedChain[id] = chain;
        forcedIndex[id][chain] = k;
        forcedAt[id][k] = uint48(block.timestamp);

        _emitForced(k, chain, hash, leaf);
    }

    /* LOGS */

    /// @inheritdoc ILedger
    function checkpoint(uint32 node, uint64 size, bytes32 root, bytes32[] calldata path) external {
        // Every tier keeps a log.
        // slither-disable-next-line unused-return
        (address account,, uint8 status) = registry.standing(node);
        if (msg.sender != account || status != ACTIVE) revert NotNode(msg.sender);
        if (size == 0) revert EmptyLog();
        Log storage kept = log[node];
        uint64 held = kept.size;
        if (size < held) revert LogRewound(held);
        if (size == held && root == kept.root) return;
        if (held != 0) MerkleLog.checkConsistency(held, kept.root, size, root, path);
        else if (path.length != 0) revert MerkleLog.BadProof();

        kept.size = size;
        kept.root = root;

        emit Checkpointed(node, size, root);
    }

    /* ARBITERS */

    /// @inheritdoc ILedger
    function strike(uint64 id, uint64 round) external {
        Task storage t = _judged(id);
        if (round == 0 || round > t.head) revert WrongRound(t.head, round);

        if (t.struck == 0 || round < t.struck) t.struck = round;
        t.open = false;

        emit RoundStruck(id, round);
    }

    /// @inheritdoc ILedger
    function hold(uint64 id) external {
        ++_judged(id).openDisputes;
    }

    /// @inheritdoc ILedger
    function release(uint64 id) external {
        Task storage t = _judged(id);
        if (t.openDisputes == 0) revert NotHeld(id);
        --t.openDisputes;
    }

    /* ADMINISTRATION */

    /// @inheritdoc ILedger
    function setArbiters(address first, address second) external {
        Roles.check(authority, Roles.ADMIN, msg.sender);
        if (_firstArbiter != address(0)) revert ArbiterAlreadySet(_firstArbiter);
        if (first == address(0) || second == address(0)) revert NotArbiter(address(0));
        _firstArbiter = first;
        isArbiter[first] = true;
        isArbiter[second] = true;
        emit ArbitersSet(first, second);
    }

    /// @inheritdoc ILedger
    function pause() external {
        _setPaused(true);
    }

    /// @inheritdoc ILedger
    function unpause() external {
        _setPaused(false);
    }

    /* VIEWS */

    /// @inheritdoc ILedger
    function task(uint64 id) external view returns (Task memory) {
        return _tasks[id];
    }

    /// @inheritdoc ILedger
    // A window in seconds: a proposer's few seconds of freedom decide nothing.
    // slither-disable-next-line timestamp
    function isFinal(uint64 id, uint64 round, bytes32 hash, bytes32 rewardsRoot, uint256 anchoredAt)
        external
        view
        returns (bool)
    {
        // The record is compared first: it vouches for `anchoredAt`, so the sum below cannot overflow.
        if (record[id][round] != Commitments.recordHash(hash, rewardsRoot, anchoredAt)) return false;
        Task storage t = _tasks[id];
        // One slot, read once.
        (uint64 struck, uint32 openDisputes, uint32 window) = (t.struck, t.openDisputes, t.window);
        return openDisputes == 0 && (struck == 0 || round < struck) && block.timestamp >= anchoredAt + window;
    }

    /// @inheritdoc ILedger
    function headerHash(Header calldata header) public pure returns (bytes32) {
        return keccak256(abi.encode(header));
    }

    /* INTERNAL */

    function _setPaused(bool paused_) internal {
        Roles.check(authority, Roles.PAUSER, msg.sender);
        paused = paused_;
        emit PauseChanged(paused_);
    }

    function _checkedDirect(Task storage t, Leaf calldata leaf, bytes calldata signature)
        internal
        view
        returns (bytes32 hash)
    {
        if (!t.open) revert TaskClosed(leaf.task);
        if (leaf.round <= t.head) revert WrongRound(t.head + 1, leaf.round);
        IRegistry.Node memory sender = registry.node(leaf.node);
        if (sender.tier != END || sender.status != ACTIVE) revert NotActive(leaf.node);
        if (sender.parent != leaf.edge || registry.node(leaf.edge).parent != t.cloud) revert BadSender(leaf.node);
        if (leaf.weight == 0) revert BadWeight();
        if (_forced[leaf.task][leaf.round][leaf.node]) revert AlreadyForced(leaf.task, leaf.round, leaf.node);
        hash = Commitments.leafHash(leaf, address(this));
        bytes32 digest = _hashTypedDataV4(Commitments.directHash(leaf, hash));
        if (!SignatureChecker.isValidSignatureNowCalldata(sender.account, digest, signature)) revert BadSignature();
    }

    function _emitForced(uint32 k, bytes32 chain, bytes32 hash, Leaf calldata leaf) internal {
        emit Forced(leaf.task, leaf.round, leaf.node, k, chain, hash, leaf);
    }

    /// @dev Of a task that an arbiter deals with.
    function _judged(uint64 id) internal view returns (Task storage t) {
        if (!isArbiter[msg.sender]) revert NotArbiter(msg.sender);
        t = _known(id);
    }

    function _known(uint64 id) internal view returns (Task storage t) {
        t = _tasks[id];
        if (t.publisher == address(0)) revert UnknownTask(id);
    }
}
