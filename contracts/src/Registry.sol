// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IBurnable} from "./interfaces/IBurnable.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {MerkleLog} from "./libraries/MerkleLog.sol";
import {Roles} from "./libraries/Roles.sol";

/// @title Registry
/// @notice See IRegistry, which states every rule.
contract Registry is IRegistry, EIP712 {
    using SafeERC20 for IERC20;
    using SafeCast for uint256;

    /* CONSTANTS */

    uint8 internal constant END = 1;
    uint8 internal constant EDGE = 2;
    uint8 internal constant CLOUD = 3;

    uint8 internal constant NONE = 0;
    uint8 internal constant PENDING = 1;
    uint8 internal constant ACTIVE = 2;
    uint8 internal constant SUSPENDED = 3;
    uint8 internal constant REVOKED = 4;

    /// @dev The length of an ed25519 signature.
    uint256 internal constant PROOF_BYTES = 64;

    /// @dev The most members of one batch, by a registrar and by others: ids are 32 bits, and nobody may use them up.
    uint32 internal constant MAX_BATCH = 1 << 20;
    uint32 internal constant MAX_OPEN_BATCH = 1 << 14;

    /// @dev How long a retired account's signatures bind its node.
    uint256 internal constant RETIRED_SECONDS = 1 days;

    /// @dev What the data of a member's leaf begins with.
    bytes17 internal constant MEMBER_PURPOSE = "drystone/member/1";

    bytes32 internal constant REGISTRATION_TYPEHASH = keccak256(
        "Registration(bytes32 netKey,address account,address owner,uint8 tier,uint32 parent,bytes32 name,bytes32 metaHash,uint256 deadline)"
    );
    bytes32 internal constant KEY_ROTATION_TYPEHASH =
        keccak256("KeyRotation(uint32 id,bytes32 newKey,uint32 nonce,uint256 deadline)");

    /* IMMUTABLES */

    /// @notice Who answers for roles.
    IAccessManager public immutable authority;
    /// @notice What is staked.
    IERC20 public immutable token;
    /// @inheritdoc IRegistry
    uint48 public immutable unbondingSeconds;

    uint96 internal immutable _minStakeEnd;
    uint96 internal immutable _minStakeEdge;
    uint96 internal immutable _minStakeCloud;

    /* STORAGE */

    /// @inheritdoc IRegistry
    uint32 public count;
    /// @inheritdoc IRegistry
    bool public paused;
    /// @inheritdoc IRegistry
    // Beside two numbers that a slash reads or that are never zero, so that it costs no fresh slot.
    uint96 public seized;
    /// @inheritdoc IRegistry
    mapping(address account => bool) public isArbiter;
    /// @inheritdoc IRegistry
    mapping(address account => uint32 id) public idOfAccount;
    /// @inheritdoc IRegistry
    mapping(address account => uint48 time) public retiredAt;
    /// @inheritdoc IRegistry
    mapping(bytes32 netKey => uint32 id) public idOfKey;
    /// @inheritdoc IRegistry
    mapping(uint32 id => address account) public proposedAccount;

    mapping(uint32 id => Node) internal _nodes;
    mapping(uint32 first => Batch) internal _batches;
    address internal _firstArbiter;

    /* CONSTRUCTOR */

    /// @param authority_ Who answers for roles.
    /// @param token_ What is staked.
    /// @param minStake_ The stake that admits an end, an edge, a cloud, in token units; 0: stake never admits.
    /// @param unbondingSeconds_ Must be at least the longest challenge window of any task.
    constructor(IAccessManager authority_, IERC20 token_, uint96[3] memory minStake_, uint48 unbondingSeconds_)
        EIP712("Drystone", "1")
    {
        authority = authority_;
        token = token_;
        (_minStakeEnd, _minStakeEdge, _minStakeCloud) = (minStake_[0], minStake_[1], minStake_[2]);
        unbondingSeconds = unbondingSeconds_;
    }

    /* REGISTRATION */

    /// @inheritdoc IRegistry
    // A deadline in seconds: a proposer's few seconds of freedom decide nothing.
    // slither-disable-next-line timestamp
    function register(
        NodeSpec calldata spec,
        uint256 deadline,
        bytes calldata accountSignature,
        bytes calldata netKeyProof
    ) external returns (uint32 id) {
        if (paused) revert Paused();
        if (block.timestamp > deadline) revert Expired(deadline);
        if (spec.tier < END || spec.tier > CLOUD) revert BadTier(spec.tier);
        _checkSpec(spec, netKeyProof);
        if (spec.owner != spec.account && spec.owner != msg.sender) revert NotOwner(msg.sender);
        _checkSignature(spec.account, _registrationHash(spec, deadline), accountSignature);

        uint8 status = Roles.holds(authority, Roles.REGISTRAR, msg.sender) ? ACTIVE : PENDING;
        id = ++count;
        _write(id, spec, status, uint48(block.number), uint48(block.number));

        _emitRegistered(id, status, spec, deadline, accountSignature, netKeyProof);
    }

    /// @inheritdoc IRegistry
    // A deadline in seconds: a proposer's few seconds of freedom decide nothing.
    // slither-disable-next-line timestamp
    function rotateNetKey(
        uint32 id,
        bytes32 newKey,
        uint256 deadline,
        bytes calldata accountSignature,
        bytes calldata netKeyProof
    ) external {
        Node storage n = _known(id);
        _refuseRevoked(id, n);
        if (block.timestamp > deadline) revert Expired(deadline);
        if (newKey == 0 || netKeyProof.length != PROOF_BYTES) revert BadKey();
        if (idOfKey[newKey] != 0) revert KeyTaken(newKey);
        bytes32 structHash = keccak256(abi.encode(KEY_ROTATION_TYPEHASH, id, newKey, n.nonce, deadline));
        _checkSignature(n.account, structHash, accountSignature);

        n.nonce += 1;
        n.netKey = newKey;
        idOfKey[newKey] = id;

        emit KeyRotated(id, newKey, deadline, netKeyProof);
    }

    /// @inheritdoc IRegistry
    function proposeAccount(uint32 id, address newAccount) external {
        Node storage n = _spokenFor(id);
        _refuseRevoked(id, n);

        proposedAccount[id] = newAccount;

        emit AccountProposed(id, newAccount);
    }

    /// @inheritdoc IRegistry
    function acceptAccount(uint32 id) external {
        Node storage n = _known(id);
        if (msg.sender != proposedAccount[id]) revert NotOwner(msg.sender);
        _refuseRevoked(id, n);
        if (idOfAccount[msg.sender] != 0) revert AccountTaken(msg.sender);

        delete proposedAccount[id];
        retiredAt[n.account] = uint48(block.timestamp);
        n.account = msg.sender;
        idOfAccount[msg.sender] = id;

        emit AccountRotated(id, msg.sender);
    }

    /// @inheritdoc IRegistry
    function setMeta(uint32 id, bytes32 metaHash) external {
        Node storage n = _spokenFor(id);
        _refuseRevoked(id, n);

        emit MetaChanged(id, metaHash);
    }

    /* BATCHES */

    /// @inheritdoc IRegistry
    function registerBatch(bytes32 root, uint32 size, bytes32 list) external returns (uint32 first) {
        if (paused) revert Paused();
        bool registrar = Roles.holds(authority, Roles.REGISTRAR, msg.sender);
        if (size == 0 || size > (registrar ? MAX_BATCH : MAX_OPEN_BATCH)) revert BadBatch(size);

        uint8 status = registrar ? ACTIVE : PENDING;
        first = count + 1;
        count += size;
        _batches[first] = Batch(root, msg.sender, size, status, uint48(block.number), uint48(block.number));

        emit BatchRegistered(first, size, msg.sender, status, root, list);
    }

    /// @inheritdoc IRegistry
    function admitBatch(uint32 first) external {
        _moveBatch(first, PENDING, ACTIVE, false);
    }

    /// @inheritdoc IRegistry
    function suspendBatch(uint32 first) external {
        _moveBatch(first, ACTIVE, SUSPENDED, true);
    }

    /// @inheritdoc IRegistry
    function reinstateBatch(uint32 first) external {
        _moveBatch(first, SUSPENDED, ACTIVE, false);
    }

    /// @inheritdoc IRegistry
    function revokeBatch(uint32 first) external {
        _moveBatch(first, NONE, REVOKED, true);
    }

    /// @inheritdoc IRegistry
    function materialise(
        uint32 first,
        uint256 index,
        NodeSpec calldata spec,
        uint256 deadline,
        bytes calldata accountSignature,
        bytes calldata netKeyProof,
        bytes32[] calldata path
    ) external returns (uint32 id) {
        id = _checkMember(first, index, spec, path);
        _checkSpec(spec, netKeyProof);
        _checkSignature(spec.account, _registrationHash(spec, deadline), accountSignature);

        Batch storage b = _batches[first];
        _write(id, spec, b.status, b.since, b.statusBlock);

        _emitRegistered(id, b.status, spec, deadline, accountSignature, netKeyProof);
    }

    /* STATUS */

    /// @inheritdoc IRegistry
    function admit(uint32 id) external {
        Node storage n = _known(id);
        Roles.check(authority, Roles.REGISTRAR, msg.sender);
        if (n.status != PENDING) revert BadStatus(id, n.status);
        _setStatus(id, n, ACTIVE);
    }

    /// @inheritdoc IRegistry
    function suspend(uint32 id) external {
        Node storage n = _known(id);
        if (msg.sender != n.owner) Roles.check(authority, Roles.REGISTRAR, msg.sender);
        if (n.status != ACTIVE) revert BadStatus(id, n.status);
        _setStatus(id, n, SUSPENDED);
    }

    /// @inheritdoc IRegistry
    function reinstate(uint32 id) external {
        Node storage n = _known(id);
        Roles.check(authority, Roles.REGISTRAR, msg.sender);
        if (n.status != SUSPENDED) revert BadStatus(id, n.status);
        _setStatus(id, n, ACTIVE);
    }

    /// @inheritdoc IRegistry
    function revoke(uint32 id) external {
        Node storage n = _known(id);
        if (msg.sender != n.owner) Roles.check(authority, Roles.REGISTRAR, msg.sender);
        _refuseRevoked(id, n);
        _setStatus(id, n, REVOKED);
    }

    /* STAKE */

    /// @inheritdoc IRegistry
    function stake(uint32 id, uint256 amount) external {
        _stake(id, amount);
    }

    /// @inheritdoc IRegistry
    // The token is Credit, which calls nobody back; and the allowance is read after everything is written.
    // slither-disable-next-line reentrancy-benign,reentrancy-events
    function stakeWithPermit(uint32 id, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        // A watcher can send the permit first and so make this one fail; only the allowance counts (ERC-2612, security).
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _stake(id, amount);
    }

    /// @inheritdoc IRegistry
    function unstake(uint32 id, uint256 amount) external {
        Node storage n = _owned(id);
        uint96 held = n.stake;
        if (amount > held) revert InsufficientStake(id, held);
        uint256 least = minStake(n.tier);
        if (n.status == ACTIVE && held >= least && held - amount < least) revert InsufficientStake(id, held);

        uint48 until = (block.timestamp + unbondingSeconds).toUint48();
        n.stake = held - amount.toUint96();
        n.unbonding += amount.toUint96();
        n.unbondAt = until;

        emit Unbonding(id, amount, until);
    }

    /// @inheritdoc IRegistry
    // A deadline in seconds: a proposer's few seconds of freedom decide nothing.
    // slither-disable-next-line timestamp
    function withdraw(uint32 id) external {
        Node storage n = _owned(id);
        if (n.holds != 0) revert OnHold(id);
        if (block.timestamp < n.unbondAt) revert StillBonded(n.unbondAt);
        uint96 amount = n.unbonding;
        if (amount == 0) revert InsufficientStake(id, 0);

        n.unbonding = 0;

        emit Withdrawn(id, amount);

        token.safeTransfer(msg.sender, amount);
    }

    /* ARBITERS */

    /// @inheritdoc IRegistry
    function slash(uint32 id, uint256 amount, bytes32 reason) external {
        Node storage n = _judged(id);
        uint96 staked = n.stake;
        uint96 leaving = n.unbonding;
        if (amount > uint256(staked) + leaving) revert InsufficientStake(id, uint256(staked) + leaving);

        uint96 taken = amount < leaving ? amount.toUint96() : leaving;
        (n.stake, n.unbonding) = (staked - (amount.toUint96() - taken), leaving - taken);
        seized += amount.toUint96();

        emit Slashed(id, amount, reason);

        if (n.status == ACTIVE) _setStatus(id, n, SUSPENDED);
    }

    /// @inheritdoc IRegistry
    function settle(address to, uint256 reward, uint256 burned) external {
        if (!isArbiter[msg.sender]) revert NotArbiter(msg.sender);
        uint96 held = seized;
        if (reward > held || burned > held - reward) revert NotSeized(held);

        seized = held - (reward + burned).toUint96();

        emit Settled(to, reward, burned);

        if (burned != 0) IBurnable(address(token)).burn(burned);
        if (reward != 0) token.safeTransfer(to, reward);
    }

    /// @inheritdoc IRegistry
    function hold(uint32 id) external {
        Node storage n = _judged(id);
        uint16 holds = n.holds + 1;

        n.holds = holds;

        emit Held(id, holds);
    }

    /// @inheritdoc IRegistry
    function release(uint32 id) external {
        Node storage n = _judged(id);
        uint16 holds = n.holds;
        if (holds == 0) revert NotHeld(id);

        n.holds = holds - 1;

        emit Released(id, holds - 1);
    }

    /* ADMINISTRATION */

    /// @inheritdoc IRegistry
    function setArbiters(address first, address second) external {
        Roles.check(authority, Roles.ADMIN, msg.sender);
        if (_firstArbiter != address(0)) revert ArbiterAlreadySet(_firstArbiter);
        if (first == address(0) || second == address(0)) revert NotArbiter(address(0));
        _firstArbiter = first;
        isArbiter[first] = true;
        isArbiter[second] = true;
        emit ArbitersSet(first, second);
    }

    /// @inheritdoc IRegistry
    function pause() external {
        _setPaused(true);
    }

    /// @inheritdoc IRegistry
    function unpause() external {
        _setPaused(false);
    }

    /* VIEWS */

    /// @inheritdoc IRegistry
    function node(uint32 id) external view returns (Node memory) {
        return _nodes[id];
    }

    /// @inheritdoc IRegistry
    function standing(uint32 id) external view returns (address account, uint8 tier, uint8 status) {
        Node storage n = _nodes[id];
        return (n.account, n.tier, n.status);
    }

    /// @inheritdoc IRegistry
    function slashable(uint32 id) public view returns (uint256) {
        Node storage n = _nodes[id];
        return uint256(n.stake) + n.unbonding;
    }

    /// @inheritdoc IRegistry
    function active(uint32 id, uint8 tier) external view returns (bool) {
        Node storage n = _nodes[id];
        return n.status == ACTIVE && n.tier == tier;
    }

    /// @inheritdoc IRegistry
    // A day, in seconds: a proposer's few seconds of freedom decide nothing.
    // slither-disable-next-line timestamp
    function bound(uint32 id, address signer) external view returns (bool) {
        if (id == 0 || idOfAccount[signer] != id) return false;
        uint256 retired = retiredAt[signer];
        // slither-disable-next-line incorrect-equality
        return retired == 0 || block.timestamp <= retired + RETIRED_SECONDS;
    }

    /// @inheritdoc IRegistry
    function batch(uint32 first) external view returns (Batch memory) {
        return _batches[first];
    }

    /// @inheritdoc IRegistry
    function minStake(uint8 tier) public view returns (uint96) {
        if (tier == END) return _minStakeEnd;
        if (tier == EDGE) return _minStakeEdge;
        if (tier == CLOUD) return _minStakeCloud;
        revert BadTier(tier);
    }

    /* INTERNAL */

    function _stake(uint32 id, uint256 amount) internal {
        Node storage n = _known(id);
        _refuseRevoked(id, n);

        uint96 held = n.stake + amount.toUint96();
        n.stake = held;
        emit Staked(id, amount);
        uint96 least = minStake(n.tier);
        if (n.status == PENDING && least > 0 && held >= least) _setStatus(id, n, ACTIVE);

        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @dev Every change of status after the first goes through here, so `statusBlock` is never behind.
    function _setStatus(uint32 id, Node storage n, uint8 status) internal {
        n.status = status;
        n.statusBlock = uint48(block.number);
        emit StatusChanged(id, status);
    }

    /// @dev `from` NONE means any status but revoked.
    function _moveBatch(uint32 first, uint8 from, uint8 to, bool owner) internal {
        Batch storage b = _knownBatch(first);
        if (!owner || msg.sender != b.owner) Roles.check(authority, Roles.REGISTRAR, msg.sender);
        if (from == NONE ? b.status == REVOKED : b.status != from) revert BadStatus(first, b.status);

        b.status = to;
        b.statusBlock = uint48(block.number);

        emit BatchStatusChanged(first, to);
    }

    function _write(uint32 id, NodeSpec calldata spec, uint8 status, uint48 since, uint48 statusBlock) internal {
        idOfKey[spec.netKey] = id;
        idOfAccount[spec.account] = id;
        Node storage n = _nodes[id];
        n.netKey = spec.netKey;
        (n.account, n.tier, n.status, n.parent) = (spec.account, spec.tier, status, spec.parent);
        n.statusBlock = statusBlock;
        (n.owner, n.since) = (spec.owner, since);
    }

    function _setPaused(bool paused_) internal {
        Roles.check(authority, Roles.PAUSER, msg.sender);
        paused = paused_;
        emit PauseChanged(paused_);
    }

    function _emitRegistered(
        uint32 id,
        uint8 status,
        NodeSpec calldata spec,
        uint256 deadline,
        bytes calldata accountSignature,
        bytes calldata netKeyProof
    ) internal {
        emit Registered(
            id,
            spec.netKey,
            spec.account,
            spec.owner,
            spec.tier,
            status,
            spec.parent,
            spec.name,
            spec.metaHash,
            deadline,
            accountSignature,
            netKeyProof
        );
    }

    function _registrationHash(NodeSpec calldata spec, uint256 deadline) internal pure returns (bytes32) {
        // Every member of the struct is static, so its encoding is that of its members in order (EIP-712, encodeData).
        return keccak256(abi.encode(REGISTRATION_TYPEHASH, spec, deadline));
    }

    function _checkSignature(address signer, bytes32 structHash, bytes calldata signature) internal view {
        if (!SignatureChecker.isValidSignatureNowCalldata(signer, _hashTypedDataV4(structHash), signature)) {
            revert BadSignature();
        }
    }

    /// @dev What `register` and `materialise` both ask of a node before they look at signatures.
    function _checkSpec(NodeSpec calldata spec, bytes calldata netKeyProof) internal view {
        if (!_fits(spec.parent, spec.tier)) revert BadParent(spec.parent, spec.tier);
        if (spec.netKey == 0 || netKeyProof.length != PROOF_BYTES) revert BadKey();
        if (spec.name == 0) revert BadName();
        if (idOfKey[spec.netKey] != 0) revert KeyTaken(spec.netKey);
        if (idOfAccount[spec.account] != 0) revert AccountTaken(spec.account);
    }

    /// @dev Member number `index` of the batch is what `spec` says, and no node yet.
    function _checkMember(uint32 first, uint256 index, NodeSpec calldata spec, bytes32[] calldata path)
        internal
        view
        returns (uint32 id)
    {
        Batch storage b = _knownBatch(first);
        uint32 size = b.count;
        if (index >= size) revert NotMember(first, index);
        id = first + uint32(index);
        if (_nodes[id].status != NONE) revert AlreadyMaterialised(id);
        if (spec.tier != END) revert BadTier(spec.tier);
        if (spec.owner != b.owner) revert NotOwner(spec.owner);
        bytes32 root = MerkleLog.rootFromInclusion(path, index, size, _memberHash(spec));
        if (root != b.root) revert NotMember(first, index);
    }

    function _memberHash(NodeSpec calldata spec) internal pure returns (bytes32) {
        return MerkleLog.leafHash(
            abi.encodePacked(MEMBER_PURPOSE, spec.netKey, spec.account, spec.parent, spec.name, spec.metaHash)
        );
    }

    function _fits(uint32 parent, uint8 tier) internal view returns (bool) {
        if (tier == CLOUD) return parent == 0;
        Node storage p = _nodes[parent];
        return p.tier == tier + 1 && p.status != REVOKED;
    }

    function _known(uint32 id) internal view returns (Node storage n) {
        n = _nodes[id];
        if (n.status == NONE) revert UnknownNode(id);
    }

    function _knownBatch(uint32 first) internal view returns (Batch storage b) {
        b = _batches[first];
        if (b.status == NONE) revert UnknownBatch(first);
    }

    /// @dev Of a node that an arbiter deals with.
    function _judged(uint32 id) internal view returns (Node storage n) {
        if (!isArbiter[msg.sender]) revert NotArbiter(msg.sender);
        n = _known(id);
    }

    function _owned(uint32 id) internal view returns (Node storage n) {
        n = _known(id);
        if (msg.sender != n.owner) revert NotOwner(msg.sender);
    }

    function _spokenFor(uint32 id) internal view returns (Node storage n) {
        n = _known(id);
        if (msg.sender != n.account && msg.sender != n.owner) revert NotOwner(msg.sender);
    }

    function _refuseRevoked(uint32 id, Node storage n) internal view {
        if (n.status == REVOKED) revert BadStatus(id, REVOKED);
    }
}
