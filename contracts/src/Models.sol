// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {ILedger} from "./interfaces/ILedger.sol";
import {IModels} from "./interfaces/IModels.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";

/// @title Models
/// @notice See IModels, which states every rule.
contract Models is IModels, EIP712 {
    using SafeERC20 for IERC20;

    /* CONSTANTS */

    /// @notice How long an edge has to redeem its last voucher once a channel is being closed.
    uint64 public constant CLOSING_SECONDS = 1 days;
    /// @dev Of a price: the whole.
    uint16 internal constant WHOLE = 10_000;
    /// @dev Registry's numbers.
    uint8 internal constant TIER_EDGE = 2;
    uint8 internal constant STATUS_ACTIVE = 2;

    bytes32 internal constant VOUCHER_TYPE = keccak256("Voucher(uint64 channel,uint64 units,bytes32 chain)");

    /* IMMUTABLES */

    /// @notice Where edges are named.
    IRegistry public immutable registry;
    /// @notice Where headers are recorded.
    ILedger public immutable ledger;
    /// @notice What is paid.
    IERC20 public immutable token;

    /* STORAGE */

    /// @inheritdoc IModels
    uint64 public channels;

    mapping(bytes32 root => Model) internal _models;
    mapping(bytes32 root => mapping(address user => Grant)) internal _grants;
    mapping(uint64 channel => Channel) internal _channels;

    /* CONSTRUCTOR */

    constructor(IRegistry registry_, ILedger ledger_, IERC20 token_) EIP712("Drystone", "1") {
        registry = registry_;
        ledger = ledger_;
        token = token_;
    }

    /* MODELS */

    /// @inheritdoc IModels
    function publish(
        bytes32 root,
        ILedger.Header calldata header,
        uint256 anchoredAt,
        bytes32 licence,
        uint96 price,
        uint16 share
    ) external {
        _requireNew(root, share);
        (uint64 task, uint64 round) = (header.task, header.round);
        if (msg.sender != ledger.task(task).publisher) revert NotOwner(msg.sender);
        bytes32 hash = keccak256(abi.encode(header));
        if (!ledger.isFinal(task, round, hash, header.rewardsRoot, anchoredAt)) revert NotFinal(task, round);

        _models[root] = Model(msg.sender, price, task, round, share, licence);

        emit ModelPublished(root, msg.sender, task, round, header.modelOut, licence, price, share);
    }

    /// @inheritdoc IModels
    function publishForeign(bytes32 root, bytes32 licence, uint96 price, uint16 share) external {
        _requireNew(root, share);

        _models[root] = Model(msg.sender, price, 0, 0, share, licence);

        emit ModelPublished(root, msg.sender, 0, 0, 0, licence, price, share);
    }

    /// @inheritdoc IModels
    function setPrice(bytes32 root, uint96 price) external {
        _owned(root).price = price;

        emit PriceChanged(root, price);
    }

    /// @inheritdoc IModels
    function grant(bytes32 root, address user, uint64 expiry, uint64 quota) external {
        _owned(root);
        Grant storage g = _grants[root][user];

        g.expiry = expiry;
        g.quota = quota;

        emit LicenceGranted(root, user, expiry, quota);
    }

    /// @inheritdoc IModels
    function revoke(bytes32 root, address user) external {
        _owned(root);

        _grants[root][user].expiry = 0;

        emit LicenceRevoked(root, user);
    }

    /* CHANNELS */

    /// @inheritdoc IModels
    function openChannel(bytes32 root, uint32 edge, uint128 deposit) external returns (uint64 channel) {
        Model storage m = _known(root);
        (address account, uint8 tier, uint8 status) = registry.standing(edge);
        if (account == address(0) || tier != TIER_EDGE || status != STATUS_ACTIVE) revert BadEdge(edge);

        channel = ++channels;
        _channels[channel] = Channel(msg.sender, m.price, root, deposit, 0, 0, edge, m.share);

        emit ChannelOpened(channel, root, msg.sender, edge, m.price, deposit);

        token.safeTransferFrom(msg.sender, address(this), deposit);
    }

    /// @inheritdoc IModels
    function fundChannel(uint64 channel, uint128 amount) external {
        Channel storage c = _open(channel);
        if (c.closing != 0) revert Closing(channel);

        c.deposit += amount;

        emit ChannelFunded(channel, c.deposit);

        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IModels
    function redeem(uint64 channel, uint64 units, bytes32 chain, bytes calldata signature) external {
        Channel storage c = _open(channel);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(VOUCHER_TYPE, channel, units, chain)));
        if (!SignatureChecker.isValidSignatureNowCalldata(c.user, digest, signature)) revert BadVoucher(channel);
        uint64 before = c.redeemed;
        if (units <= before) revert NothingToRedeem(channel, before);
        uint256 amount = uint256(units - before) * c.price;
        if (amount > c.deposit) revert DepositExceeded(channel, amount, c.deposit);
        uint256 toEdge = amount * c.share / WHOLE;
        // Tier and status do not matter: what was earned is owed.
        // slither-disable-next-line unused-return
        (address account,,) = registry.standing(c.edge);
        address owner = _models[c.root].owner;

        c.redeemed = units;
        // It is at most the deposit.
        // forge-lint: disable-next-line(unsafe-typecast)
        c.deposit -= uint128(amount);
        _use(_grants[c.root][c.user], units - before);

        emit VoucherRedeemed(channel, units, chain, toEdge, amount - toEdge);

        token.safeTransfer(account, toEdge);
        token.safeTransfer(owner, amount - toEdge);
    }

    /// @inheritdoc IModels
    function closeChannel(uint64 channel) external {
        Channel storage c = _open(channel);
        if (msg.sender != c.user) revert NotOwner(msg.sender);
        if (c.closing != 0) revert Closing(channel);
        uint64 closing = uint64(block.timestamp) + CLOSING_SECONDS;

        c.closing = closing;

        emit ChannelClosing(channel, closing);
    }

    /// @inheritdoc IModels
    function withdraw(uint64 channel) external {
        Channel storage c = _open(channel);
        if (msg.sender != c.user) revert NotOwner(msg.sender);
        // A block's time may be off by seconds; the wait is days.
        // slither-disable-next-line timestamp
        if (c.closing == 0 || block.timestamp < c.closing) revert NotClosed(channel, c.closing);
        uint128 left = c.deposit;

        delete _channels[channel];

        emit ChannelClosed(channel, left);

        token.safeTransfer(msg.sender, left);
    }

    /* VIEWS */

    /// @inheritdoc IModels
    function mayInfer(bytes32 root, address user) external view returns (bool) {
        Grant storage g = _grants[root][user];
        // slither-disable-next-line timestamp
        return block.timestamp < g.expiry && g.used < g.quota;
    }

    /// @inheritdoc IModels
    function model(bytes32 root) external view returns (Model memory) {
        return _models[root];
    }

    /// @inheritdoc IModels
    function grantOf(bytes32 root, address user) external view returns (Grant memory) {
        return _grants[root][user];
    }

    /// @inheritdoc IModels
    function channelOf(uint64 channel) external view returns (Channel memory) {
        return _channels[channel];
    }

    /* INTERNAL */

    /// @dev Stops at the end of the numbers: a model that was free once must not keep a later voucher from being paid.
    function _use(Grant storage g, uint64 units) internal {
        uint64 left = type(uint64).max - g.used;
        g.used += units < left ? units : left;
    }

    function _requireNew(bytes32 root, uint16 share) internal view {
        if (root == 0) revert BadRoot();
        if (_models[root].owner != address(0)) revert RootTaken(root);
        if (share > WHOLE) revert BadShare(share);
    }

    function _known(bytes32 root) internal view returns (Model storage m) {
        m = _models[root];
        if (m.owner == address(0)) revert UnknownModel(root);
    }

    function _owned(bytes32 root) internal view returns (Model storage m) {
        m = _known(root);
        if (msg.sender != m.owner) revert NotOwner(msg.sender);
    }

    function _open(uint64 channel) internal view returns (Channel storage c) {
        c = _channels[channel];
        if (c.user == address(0)) revert UnknownChannel(channel);
    }
}
