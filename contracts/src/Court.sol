// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {Evidence} from "./Evidence.sol";
import {IArbiter} from "./interfaces/IArbiter.sol";
import {ICourt} from "./interfaces/ICourt.sol";
import {ILedger} from "./interfaces/ILedger.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {Commitments} from "./libraries/Commitments.sol";
import {MerkleLog} from "./libraries/MerkleLog.sol";
import {Roles} from "./libraries/Roles.sol";

/// @title Court
/// @notice See ICourt, which states every rule.
contract Court is ICourt, Evidence {
    using SafeERC20 for IERC20;

    /* CONSTANTS */

    /// @dev The Registry's numbers.
    uint8 internal constant EDGE = 2;
    uint8 internal constant CLOUD = 3;
    uint8 internal constant ACTIVE = 2;

    uint8 internal constant LEAF = 1;
    uint8 internal constant CHUNK = 2;
    uint8 internal constant EDGE_ROOT = 3;

    uint8 internal constant WEIGHTS = 1;
    uint8 internal constant SUMS = 2;
    uint8 internal constant MODEL = 3;
    uint8 internal constant SCORES = 4;
    uint8 internal constant REWARDS = 5;
    uint8 internal constant MANIFEST = 6;

    /// @dev The most nodes that commit, and the least that decide.
    uint8 internal constant MOST = 7;
    uint8 internal constant LEAST = 3;

    uint256 internal constant SALT_BYTES = 16;
    uint256 internal constant INTEGERS = 256;

    /* IMMUTABLES */

    /// @notice Who answers for roles.
    IAccessManager public immutable authority;
    /// @notice What bonds are in.
    IERC20 public immutable token;
    /// @inheritdoc ICourt
    uint256 public immutable bond;
    /// @inheritdoc ICourt
    uint48 public immutable answerSeconds;
    /// @inheritdoc ICourt
    uint48 public immutable commitSeconds;
    /// @inheritdoc ICourt
    uint48 public immutable revealSeconds;
    /// @inheritdoc ICourt
    uint48 public immutable councilSeconds;

    /* STORAGE */

    /// @inheritdoc ICourt
    uint256 public count;
    /// @inheritdoc ICourt
    mapping(address account => uint256) public withdrawable;
    /// @inheritdoc ICourt
    mapping(uint256 id => mapping(uint32 node => bytes32)) public committedTo;

    mapping(uint256 id => Demand) internal _demands;
    mapping(uint256 id => Challenge) internal _challenges;
    mapping(uint256 id => mapping(address owner => bool)) internal _seated;
    mapping(uint256 id => address[]) internal _witnesses;

    /* CONSTRUCTOR */

    /// @param authority_ Who answers for roles.
    /// @param registry_ Where stake and accounts are.
    /// @param ledger_ Where headers are recorded.
    /// @param token_ What bonds are in.
    /// @param bond_ What a dispute costs, until it is decided, in token units.
    /// @param seconds_ How long to answer, to commit, to reveal, and to decide in the council.
    constructor(
        IAccessManager authority_,
        IRegistry registry_,
        ILedger ledger_,
        IERC20 token_,
        uint256 bond_,
        uint48[4] memory seconds_
    ) Evidence(registry_, ledger_) {
        authority = authority_;
        token = token_;
        bond = bond_;
        (answerSeconds, commitSeconds, revealSeconds, councilSeconds) =
        (seconds_[0], seconds_[1], seconds_[2], seconds_[3]);
    }

    /* DEMANDS */

    /// @inheritdoc ICourt
    function demand(
        ILedger.Header calldata header,
        uint256 anchoredAt,
        IArbiter.Member calldata member,
        uint8 kind,
        uint64 index,
        uint32 chunk
    ) external returns (uint256 id) {
        if (kind < LEAF || kind > EDGE_ROOT) revert BadKind(kind);
        _requireAnchored(header, anchoredAt);
        _requireMember(header, member);
        ILedger.Task memory t = ledger.task(header.task);
        _requireDisputable(anchoredAt, t.window);
        if (kind == EDGE_ROOT) index = 0;
        else if (index >= member.edge.count) revert OutOfRange();
        if (kind != CHUNK) chunk = 0;
        else if (chunk >= t.chunks) revert OutOfRange();

        id = ++count;
        Demand storage d = _demands[id];
        (d.challenger, d.kind, d.task, d.round) = (msg.sender, kind, header.task, header.round);
        d.deadline = uint48(block.timestamp) + answerSeconds;
        bool edge = kind == LEAF || (kind == CHUNK && t.rule == TWO_LEVELS);
        d.accused = edge ? member.edge.edge : t.cloud;
        d.asked = keccak256(abi.encode(member.edge, index, chunk));

        _emitDemanded(id, member.edge, index, chunk);
        _open(d.accused, d.task);
    }

    /// @inheritdoc ICourt
    function answerLeaf(uint256 id, IArbiter.EdgeRoot calldata edge, IArbiter.Placed calldata placed) external {
        _requireAsked(id, LEAF, edge, placed.index, 0);
        _requirePlaced(edge, placed);
        _answered(id, abi.encode(placed.leaf));
    }

    /// @inheritdoc ICourt
    function answerChunk(
        uint256 id,
        IArbiter.EdgeRoot calldata edge,
        IArbiter.Placed calldata placed,
        uint32 chunk,
        bytes calldata data,
        bytes32[] calldata path
    ) external {
        _requireAsked(id, CHUNK, edge, placed.index, chunk);
        _requirePlaced(edge, placed);
        ILedger.Task memory t = ledger.task(edge.task);
        if (data.length != SALT_BYTES + INTEGERS * t.width) revert MerkleLog.BadProof();
        _requireUnder(path, chunk, t.chunks, MerkleLog.leafHashCalldata(data), placed.leaf.updateRoot);
        _answered(id, data);
    }

    /// @inheritdoc ICourt
    function answerRoot(uint256 id, IArbiter.EdgeRoot calldata edge, bytes calldata signature) external {
        _requireAsked(id, EDGE_ROOT, edge, 0, 0);
        bytes32 digest = Commitments.digest(Commitments.edgeRootHash(edge), address(ledger));
        // Retired accounts count for ever here: an edge must not be able to make its cloud guilty by a rotation.
        // slither-disable-next-line unused-return
        (address signer,,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (edge.edge == 0 || registry.idOfAccount(signer) != edge.edge) {
            // slither-disable-next-line unused-return
            (address account,,) = registry.standing(edge.edge);
            if (!SignatureChecker.isValidSignatureNowCalldata(account, digest, signature)) {
                revert IArbiter.BadSignature(edge.edge);
            }
        }
        _answered(id, signature);
    }

    /// @inheritdoc ICourt
    // Minutes and more, in seconds: a proposer's few seconds of freedom decide nothing.
    // slither-disable-next-line timestamp
    function expire(uint256 id) external {
        Demand memory d = _knownDemand(id);
        if (block.timestamp < d.deadline) revert TooEarly(d.deadline);

        delete _demands[id];

        uint256 amount = registry.slashable(d.accused);
        emit Expired(id, d.accused, amount);
        _close(d.accused, d.task);
        _punish(d.accused, amount, "withheld", d.challenger);
        // slither-disable-next-line incorrect-equality
        if (d.accused == ledger.task(d.task).cloud) ledger.strike(d.task, d.round);
        token.safeTransfer(d.challenger, bond);
    }

    /* CHALLENGES */

    /// @inheritdoc ICourt
    function challenge(ILedger.Header calldata header, uint256 anchoredAt, uint8 subject, bytes32 claim)
        external
        returns (uint256 id)
    {
        bytes32 committed = _committed(header, subject);
        _requireAnchored(header, anchoredAt);
        ILedger.Task memory t = ledger.task(header.task);
        _requireDisputable(anchoredAt, t.window);
        if (claim == committed) revert SameClaim();

        id = ++count;
        Challenge storage c = _challenges[id];
        (c.challenger, c.accused, c.subject, c.committed) = (msg.sender, t.cloud, subject, committed);
        (c.task, c.round) = (header.task, header.round);
        c.commitEnd = uint48(block.timestamp) + commitSeconds;
        c.revealEnd = c.commitEnd + revealSeconds;

        emit Challenged(id, header.task, t.cloud, header.round, msg.sender, subject, committed, claim);
        _open(t.cloud, header.task);
    }

    /// @inheritdoc ICourt
    // slither-disable-next-line timestamp
    function commit(uint256 id, uint32 node, bytes32 hash) external {
        Challenge storage c = _knownChallenge(id);
        if (block.timestamp >= c.commitEnd) revert TooLate(c.commitEnd);
        address owner = _witness(id, node, c.accused, c.challenger);
        if (c.commits == MOST) revert TooMany(id);

        _seated[id][owner] = true;
        committedTo[id][node] = hash;
        ++c.commits;

        emit Committed(id, node, hash);
    }

    /// @inheritdoc ICourt
    // slither-disable-next-line timestamp
    function reveal(uint256 id, uint32 node, bytes32 digest, bytes32 salt) external {
        Challenge storage c = _knownChallenge(id);
        if (block.timestamp < c.commitEnd) revert TooEarly(c.commitEnd);
        if (block.timestamp >= c.revealEnd) revert TooLate(c.revealEnd);
        // Only the account counts: a node may be suspended after it committed.
        // slither-disable-next-line unused-return
        (address account,,) = registry.standing(node);
        bytes32 hash = keccak256(abi.encode(id, node, digest, salt));
        if (msg.sender != account || committedTo[id][node] != hash) revert BadReveal(node);

        delete committedTo[id][node];
        if (c.reveals == 0) c.digest = digest;
        else if (c.digest != digest) c.split = true;
        ++c.reveals;
        _witnesses[id].push(msg.sender);

        emit Revealed(id, node, digest);
    }

    /// @inheritdoc ICourt
    // slither-disable-next-line timestamp
    function conclude(uint256 id) external {
        Challenge storage c = _knownChallenge(id);
        if (block.timestamp < c.revealEnd) revert TooEarly(c.revealEnd);
        if (c.councilEnd != 0) revert TooLate(c.revealEnd);
        if (c.reveals < LEAST || c.split) {
            uint48 until = uint48(block.timestamp) + councilSeconds;
            c.councilEnd = until;
            emit Referred(id, until);
        } else if (c.digest == c.committed) {
            _share(_witnesses[id]);
            _acquit(id);
        } else {
            _convict(id);
        }
    }

    /// @inheritdoc ICourt
    // slither-disable-next-line timestamp
    function decide(uint256 id, bool guilty) external {
        Challenge storage c = _knownChallenge(id);
        Roles.check(authority, Roles.COUNCIL, msg.sender);
        if (c.councilEnd == 0) revert TooEarly(c.revealEnd);
        if (block.timestamp >= c.councilEnd) revert TooLate(c.councilEnd);
        if (guilty) {
            _convict(id);
        } else {
            // slither-disable-next-line unused-return
            (address account,,) = registry.standing(c.accused);
            withdrawable[account] += bond;
            _acquit(id);
        }
    }

    /// @inheritdoc ICourt
    // slither-disable-next-line timestamp
    function lapse(uint256 id) external {
        Challenge memory c = _knownChallenge(id);
        if (c.councilEnd == 0) revert TooEarly(c.revealEnd);
        if (block.timestamp < c.councilEnd) revert TooEarly(c.councilEnd);

        delete _challenges[id];

        emit Lapsed(id);
        _close(c.accused, c.task);
        token.safeTransfer(c.challenger, bond);
    }

    /* PAYMENTS */

    /// @inheritdoc ICourt
    function withdraw() external {
        uint256 amount = withdrawable[msg.sender];
        if (amount == 0) revert NothingToWithdraw(msg.sender);

        withdrawable[msg.sender] = 0;

        token.safeTransfer(msg.sender, amount);
    }

    /* VIEWS */

    /// @inheritdoc ICourt
    function demandOf(uint256 id) external view returns (Demand memory) {
        return _demands[id];
    }

    /// @inheritdoc ICourt
    function challengeOf(uint256 id) external view returns (Challenge memory) {
        return _challenges[id];
    }

    /* INTERNAL */

    /// @dev Holds what a dispute is about, and takes the caller's bond.
    function _open(uint32 accused, uint64 task) internal {
        registry.hold(accused);
        ledger.hold(task);
        token.safeTransferFrom(msg.sender, address(this), bond);
    }

    /// @dev Takes the whole stake of `accused`, and settles it.
    function _punish(uint32 accused, uint256 amount, bytes32 reason, address challenger) internal {
        registry.slash(accused, amount, reason);
        _settle(amount, challenger);
    }

    function _close(uint32 accused, uint64 task) internal {
        registry.release(accused);
        ledger.release(task);
    }

    function _answered(uint256 id, bytes memory data) internal {
        Demand memory d = _demands[id];

        delete _demands[id];

        emit Answered(id, msg.sender, data);
        _close(d.accused, d.task);
        token.safeTransfer(msg.sender, bond);
    }

    function _convict(uint256 id) internal {
        Challenge memory c = _challenges[id];

        delete _challenges[id];

        uint256 amount = registry.slashable(c.accused);
        emit Decided(id, c.accused, true, amount);
        _close(c.accused, c.task);
        _punish(c.accused, amount, "challenge", c.challenger);
        ledger.strike(c.task, c.round);
        token.safeTransfer(c.challenger, bond);
    }

    /// @dev The bond is somebody's already.
    function _acquit(uint256 id) internal {
        Challenge memory c = _challenges[id];

        delete _challenges[id];

        emit Decided(id, c.accused, false, 0);
        _close(c.accused, c.task);
    }

    /// @dev Shares the bond among at most seven; what does not divide is the last one's.
    function _share(address[] storage witnesses) internal {
        uint256 n = witnesses.length;
        uint256 part = bond / n;
        for (uint256 i = 0; i < n; ++i) {
            withdrawable[witnesses[i]] += part;
        }
        withdrawable[witnesses[n - 1]] += bond % n;
    }

    function _emitDemanded(uint256 id, IArbiter.EdgeRoot calldata edge, uint64 index, uint32 chunk) internal {
        Demand memory d = _demands[id];
        emit Demanded(id, d.task, d.accused, d.round, d.challenger, d.kind, edge, index, chunk, d.deadline);
    }

    // slither-disable-next-line timestamp
    function _knownDemand(uint256 id) internal view returns (Demand memory d) {
        d = _demands[id];
        if (d.challenger == address(0)) revert UnknownDispute(id);
    }

    function _knownChallenge(uint256 id) internal view returns (Challenge storage c) {
        c = _challenges[id];
        if (c.challenger == address(0)) revert UnknownDispute(id);
    }

    // slither-disable-next-line timestamp
    function _requireAsked(uint256 id, uint8 kind, IArbiter.EdgeRoot calldata edge, uint64 index, uint32 chunk)
        internal
        view
    {
        Demand memory d = _knownDemand(id);
        if (d.kind != kind) revert BadKind(kind);
        if (block.timestamp >= d.deadline) revert TooLate(d.deadline);
        if (keccak256(abi.encode(edge, index, chunk)) != d.asked) revert IArbiter.Unrelated();
    }

    function _requireDisputable(uint256 anchoredAt, uint32 window) internal view {
        if (!_disputable(anchoredAt, window)) revert TooLate(anchoredAt + window);
    }

    /// @dev The owner of a node that may judge here, and whose account calls.
    function _witness(uint256 id, uint32 node, uint32 accused, address challenger)
        internal
        view
        returns (address owner)
    {
        IRegistry.Node memory n = registry.node(node);
        owner = n.owner;
        if (msg.sender != n.account || n.status != ACTIVE || (n.tier != EDGE && n.tier != CLOUD)) {
            revert NotWitness(node);
        }
        if (_seated[id][owner] || owner == registry.node(accused).owner) revert NotWitness(node);
        if (owner == challenger || owner == registry.node(registry.idOfAccount(challenger)).owner) {
            revert NotWitness(node);
        }
    }

    function _committed(ILedger.Header calldata header, uint8 subject) internal pure returns (bytes32) {
        if (subject == WEIGHTS) return header.weightsRoot;
        if (subject == SUMS) return header.chunksRoot;
        if (subject == MODEL) return header.modelOut;
        if (subject == SCORES) return header.scoresRoot;
        if (subject == REWARDS) return header.rewardsRoot;
        if (subject == MANIFEST) return header.manifest;
        revert BadSubject(subject);
    }
}
