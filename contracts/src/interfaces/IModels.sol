// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "./ILedger.sol";

/// @title IModels
/// @notice Who may run which model, and what for. A model is named by its root, the SHA-256 of its manifest. Its owner grants
/// licences and sets a price a unit of work. A user opens a channel to one edge with a deposit and pays by cumulative vouchers,
/// signed off chain; the edge redeems the last one, once. So a session costs two transactions, however many requests it has.
/// @dev Checks are made in the order in which each function lists its errors.
interface IModels {
    /* TYPES */

    /// @notice A published model. `price` in token units a unit of work, of which `share` ten-thousandths go to the edge that did
    /// it and the rest to the owner. `task` and `round` are its lineage, zeros for a model from elsewhere.
    struct Model {
        address owner;
        uint96 price;
        uint64 task;
        uint64 round;
        uint16 share;
        bytes32 licence;
    }

    /// @notice A licence: until `expiry` (seconds), for `quota` units of work in all, of which `used` were redeemed.
    struct Grant {
        uint64 expiry;
        uint64 quota;
        uint64 used;
    }

    /// @notice A payment channel from a user to an edge. `deposit` in token units, what was redeemed is no longer in it; `price` and
    /// `share` are the model's when it was opened; `closing` is when the user may take back what is left, 0 while it is open.
    struct Channel {
        address user;
        uint96 price;
        bytes32 root;
        uint128 deposit;
        uint64 redeemed;
        uint64 closing;
        uint32 edge;
        uint16 share;
    }

    /* ERRORS */

    /// @notice No model with this root.
    error UnknownModel(bytes32 root);
    /// @notice Somebody published this root before.
    error RootTaken(bytes32 root);
    /// @notice A root is not zero.
    error BadRoot();
    /// @notice `share` is more than the whole, 10,000.
    error BadShare(uint16 share);
    /// @notice `caller` may not do this with somebody else's model, task or channel.
    error NotOwner(address caller);
    /// @notice The round is not anchored like that, may still be disputed, is being disputed, or does not count.
    error NotFinal(uint64 task, uint64 round);
    /// @notice No such channel.
    error UnknownChannel(uint64 channel);
    /// @notice The node is no active edge.
    error BadEdge(uint32 edge);
    /// @notice The channel is being closed already.
    error Closing(uint64 channel);
    /// @notice The channel is open, or it is not `closing` (seconds) yet.
    error NotClosed(uint64 channel, uint64 closing);
    /// @notice The voucher was not signed by the channel's user.
    error BadVoucher(uint64 channel);
    /// @notice The voucher is for no more units than were redeemed.
    error NothingToRedeem(uint64 channel, uint64 redeemed);
    /// @notice The voucher promises `amount`, of which the channel holds `deposit` (token units).
    error DepositExceeded(uint64 channel, uint256 amount, uint128 deposit);

    /* EVENTS */

    /// @notice A model was published. `model` is the SHA-256 of the round's model blob, zero for one from elsewhere.
    event ModelPublished(
        bytes32 indexed root,
        address indexed owner,
        uint64 task,
        uint64 round,
        bytes32 model,
        bytes32 licence,
        uint96 price,
        uint16 share
    );
    /// @notice Channels that are opened from now on pay this.
    event PriceChanged(bytes32 indexed root, uint96 price);
    /// @notice A user may run a model until then, for so many units in all.
    event LicenceGranted(bytes32 indexed root, address indexed user, uint64 expiry, uint64 quota);
    /// @notice A user may no longer run a model.
    event LicenceRevoked(bytes32 indexed root, address indexed user);
    /// @notice A channel was opened.
    event ChannelOpened(
        uint64 indexed channel, bytes32 indexed root, address indexed user, uint32 edge, uint96 price, uint128 deposit
    );
    /// @notice A channel's deposit grew to this.
    event ChannelFunded(uint64 indexed channel, uint128 deposit);
    /// @notice A voucher was redeemed: the edge's account and the model's owner were paid. `chain` is the receipts that it names.
    event VoucherRedeemed(uint64 indexed channel, uint64 units, bytes32 chain, uint256 toEdge, uint256 toOwner);
    /// @notice The user wants the rest back; vouchers can be redeemed until then, and as long as he does not take it.
    event ChannelClosing(uint64 indexed channel, uint64 closing);
    /// @notice The user took back what was left.
    event ChannelClosed(uint64 indexed channel, uint128 returned);

    /* MODELS */

    /// @notice Publishes a model that a task made: only the task's publisher, only from a round that is final.
    ///
    /// Reverts: BadRoot, RootTaken, BadShare, NotOwner, NotFinal.
    /// @dev Warning: that the root's manifest holds the round's model is for whoever fetches both to check.
    function publish(
        bytes32 root,
        ILedger.Header calldata header,
        uint256 anchoredAt,
        bytes32 licence,
        uint96 price,
        uint16 share
    ) external;

    /// @notice Publishes a model that comes from elsewhere, and says so.
    ///
    /// Reverts: BadRoot, RootTaken, BadShare.
    /// @dev Warning: whoever is first owns a root.
    function publishForeign(bytes32 root, bytes32 licence, uint96 price, uint16 share) external;

    /// @notice Sets what channels that are opened from now on pay. Only the owner. Open channels keep their price.
    ///
    /// Reverts: UnknownModel, NotOwner.
    function setPrice(bytes32 root, uint96 price) external;

    /// @notice Lets a user run a model until `expiry` (seconds), for `quota` units in all, counting what he used before. Only the
    /// owner; a new grant replaces an old one.
    ///
    /// Reverts: UnknownModel, NotOwner.
    function grant(bytes32 root, address user, uint64 expiry, uint64 quota) external;

    /// @notice Takes a user's licence back, at once. Only the owner. What was vouched for stays payable.
    ///
    /// Reverts: UnknownModel, NotOwner.
    function revoke(bytes32 root, address user) external;

    /* CHANNELS */

    /// @notice Opens a channel from the caller, who approved this contract, to an active edge, with `deposit` token units in it.
    ///
    /// Reverts: UnknownModel, BadEdge, what the token says.
    function openChannel(bytes32 root, uint32 edge, uint128 deposit) external returns (uint64 channel);

    /// @notice Adds to a channel's deposit, from the caller.
    ///
    /// Reverts: UnknownChannel, Closing, what the token says.
    function fundChannel(uint64 channel, uint128 amount) external;

    /// @notice Pays what a voucher promises beyond what was redeemed, to the edge's account and the model's owner. Anybody may send
    /// it. The user signed the EIP-712 struct Voucher(uint64 channel,uint64 units,bytes32 chain).
    ///
    /// Reverts: UnknownChannel, BadVoucher, NothingToRedeem, DepositExceeded.
    /// @dev Warning: open to suspended and revoked edges, and after a licence was revoked: what was earned is owed.
    function redeem(uint64 channel, uint64 units, bytes32 chain, bytes calldata signature) external;

    /// @notice Starts to close a channel; after CLOSING_SECONDS its user may take the rest. Only the user.
    ///
    /// Reverts: UnknownChannel, NotOwner, Closing.
    function closeChannel(uint64 channel) external;

    /// @notice Pays the user back what is left, and ends the channel. Only the user.
    ///
    /// Reverts: UnknownChannel, NotOwner, NotClosed.
    function withdraw(uint64 channel) external;

    /* VIEWS */

    /// @notice Whether a user has a licence now: granted, not expired, and not used up.
    function mayInfer(bytes32 root, address user) external view returns (bool);

    /// @notice A model, all zero if there is none.
    function model(bytes32 root) external view returns (Model memory);

    /// @notice A user's licence, all zero if he has none.
    function grantOf(bytes32 root, address user) external view returns (Grant memory);

    /// @notice A channel, all zero if there is none.
    function channelOf(uint64 channel) external view returns (Channel memory);

    /// @notice How many channels were ever opened.
    function channels() external view returns (uint64);
}
