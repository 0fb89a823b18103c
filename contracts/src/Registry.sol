// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessManager} from "@openzeppelin/contracts/access/manager/IAccessManager.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IRegistry} from "./interfaces/IRegistry.sol";
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
    address public arbiter;
    /// @inheritdoc IRegistry
    mapping(address account => uint32 id) public idOfAccount;
    /// @inheritdoc IRegistry
    mapping(bytes32 netKey => uint32 id) public idOfKey;
    /// @inheritdoc IRegistry
    mapping(uint32 id => address account) public proposedAccount;

    mapping(uint32 id => Node) internal _nodes;

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
        if (!_fits(spec.parent, spec.tier)) revert BadParent(spec.parent, spec.tier);
        if (spec.netKey == 0 || netKeyProof.length != PROOF_BYTES) revert BadKey();
        if (spec.name == 0) revert BadName();
        if (idOfKey[spec.netKey] != 0) revert KeyTaken(spec.netKey);
        if (idOfAccount[spec.account] != 0) revert AccountTaken(spec.account);
        if (spec.owner != spec.account && spec.owner != msg.sender) revert NotOwner(msg.sender);
        _checkSignature(spec.account, _registrationHash(spec, deadline), accountSignature);

        uint8 status = Roles.holds(authority, Roles.REGISTRAR, msg.sender) ? ACTIVE : PENDING;
        id = ++count;
        idOfKey[spec.netKey] = id;
        idOfAccount[spec.account] = id;
        Node storage n = _nodes[id];
        n.netKey = spec.netKey;
        (n.account, n.tier, n.status, n.parent, n.since) =
        (spec.account, spec.tier, status, spec.parent, uint48(block.number));
        n.owner = spec.owner;
        n.metaHash = spec.metaHash;

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
        n.account = msg.sender;
        idOfAccount[msg.sender] = id;

        emit AccountRotated(id, msg.sender);
    }

    /// @inheritdoc IRegistry
    function setMeta(uint32 id, bytes32 metaHash) external {
        Node storage n = _spokenFor(id);
        _refuseRevoked(id, n);

        n.metaHash = metaHash;

        emit MetaChanged(id, metaHash);
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
        if (block.timestamp < n.unbondAt) revert StillBonded(n.unbondAt);
        uint96 amount = n.unbonding;
        if (amount == 0) revert InsufficientStake(id, 0);

        n.unbonding = 0;

        emit Withdrawn(id, amount);

        token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IRegistry
    function slash(uint32 id, uint256 amount, bytes32 reason, address to) external {
        if (msg.sender != arbiter) revert NotArbiter(msg.sender);
        Node storage n = _known(id);
        uint256 total = uint256(n.stake) + n.unbonding;
        if (amount > total) revert InsufficientStake(id, total);

        uint96 leaving = amount < n.unbonding ? amount.toUint96() : n.unbonding;
        n.unbonding -= leaving;
        n.stake -= amount.toUint96() - leaving;

        emit Slashed(id, amount, reason, to);

        token.safeTransfer(to, amount);
    }

    /* ADMINISTRATION */

    /// @inheritdoc IRegistry
    function setArbiter(address arbiter_) external {
        Roles.check(authority, Roles.ADMIN, msg.sender);
        if (arbiter != address(0)) revert ArbiterAlreadySet(arbiter);
        if (arbiter_ == address(0)) revert NotArbiter(arbiter_);
        arbiter = arbiter_;
        emit ArbiterSet(arbiter_);
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
    function active(uint32 id, uint8 tier) external view returns (bool) {
        Node storage n = _nodes[id];
        return n.status == ACTIVE && n.tier == tier;
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

    function _setStatus(uint32 id, Node storage n, uint8 status) internal {
        n.status = status;
        emit StatusChanged(id, status);
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

    function _fits(uint32 parent, uint8 tier) internal view returns (bool) {
        if (tier == CLOUD) return parent == 0;
        Node storage p = _nodes[parent];
        return p.tier == tier + 1 && p.status != REVOKED;
    }

    function _known(uint32 id) internal view returns (Node storage n) {
        n = _nodes[id];
        if (n.status == NONE) revert UnknownNode(id);
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
