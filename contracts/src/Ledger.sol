// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";

import {ILedger} from "./interfaces/ILedger.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {Roles} from "./libraries/Roles.sol";

/// @title Ledger
/// @notice See ILedger, which states every rule.
contract Ledger is ILedger {
    /* CONSTANTS */

    /// @dev The Registry's numbers.
    uint8 internal constant CLOUD = 3;
    uint8 internal constant ACTIVE = 2;

    /// @dev The most bytes of one encoded policy.
    uint256 internal constant MAX_POLICY_BYTES = 8192;

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

    mapping(uint64 id => Task) internal _tasks;

    /* CONSTRUCTOR */

    constructor(IAccessManager authority_, IRegistry registry_) {
        authority = authority_;
        registry = registry_;
    }

    /* TASKS */

    /// @inheritdoc ILedger
    function createTask(TaskSpec calldata spec) external returns (uint64 id) {
        Roles.check(authority, Roles.PUBLISHER, msg.sender);
        if (!registry.active(spec.cloud, CLOUD)) revert NotActive(spec.cloud);
        if (spec.policy.length == 0 || spec.policy.length > MAX_POLICY_BYTES) revert BadPolicy();
        if (paused) revert Paused();

        id = ++count;
        bytes32 policyHash = sha256(spec.policy);
        _tasks[id] = Task({
            publisher: msg.sender,
            cloud: spec.cloud,
            window: spec.window,
            open: true,
            head: 0,
            forcedCount: 0,
            openDisputes: 0,
            policyHash: policyHash,
            genesisModel: spec.genesisModel,
            lastHeader: 0,
            lastModel: spec.genesisModel
        });

        emit TaskCreated(id, spec.cloud, msg.sender, spec.window, policyHash, spec.genesisModel, spec.policy);
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

        t.head = round;
        t.lastHeader = hash;
        t.lastModel = header.modelOut;
        record[id][round] = _record(hash, block.timestamp);

        emit RoundAnchored(id, round, hash, header);
    }

    /* ADMINISTRATION */

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
    function isFinal(Header calldata header, uint256 anchoredAt) external view returns (bool) {
        // The record is compared first: it vouches for `anchoredAt`, so the sum below cannot overflow.
        if (record[header.task][header.round] != _record(headerHash(header), anchoredAt)) return false;
        Task storage t = _tasks[header.task];
        return t.openDisputes == 0 && block.timestamp >= anchoredAt + t.window;
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

    function _known(uint64 id) internal view returns (Task storage t) {
        t = _tasks[id];
        if (t.publisher == address(0)) revert UnknownTask(id);
    }

    function _record(bytes32 hash, uint256 anchoredAt) internal pure returns (bytes32) {
        return keccak256(abi.encode(hash, anchoredAt));
    }
}
