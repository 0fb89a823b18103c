// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IRegistry
/// @notice Who takes part: every node's network key, account, owner, tier, status and stake. A node joins with the
/// signatures of both of its keys; anybody may send them, so a device never needs gas.
///
/// Tiers are 1 end, 2 edge, 3 cloud. Statuses are 0 none, 1 pending, 2 active, 3 suspended, 4 revoked; revoked is final.
/// A network key or an account that was ever used belongs to that node for ever, so a signature names one node.
/// @dev Checks are made in the order in which each function lists its errors.
interface IRegistry {
    /* TYPES */

    /// @notice What a node asks to be registered as. `name` is UTF-8, padded with zeros on the right.
    struct NodeSpec {
        bytes32 netKey;
        address account;
        address owner;
        uint8 tier;
        uint32 parent;
        bytes32 name;
        bytes32 metaHash;
    }

    /// @notice A node in storage, four slots. Amounts are in token units, `unbondAt` in seconds. `since` is the block that
    /// registered the node, `statusBlock` the block of its last change of status (at first, `since`). `nonce` counts its key
    /// rotations, `holds` the open disputes against it. Its description's hash is in the events only: no contract reads it.
    struct Node {
        bytes32 netKey;
        address account;
        uint8 tier;
        uint8 status;
        uint32 parent;
        uint48 statusBlock;
        address owner;
        uint32 nonce;
        uint48 since;
        uint16 holds;
        uint96 stake;
        uint96 unbonding;
        uint48 unbondAt;
    }

    /// @notice A batch of devices, known by its first id: the members' ids are first .. first + count - 1, and `root` is the
    /// tree over their leaves. Status and blocks are those of every member that is not materialised.
    struct Batch {
        bytes32 root;
        address owner;
        uint32 count;
        uint8 status;
        uint48 since;
        uint48 statusBlock;
    }

    /* ERRORS */

    /// @notice Registrations are paused.
    error Paused();
    /// @notice The signed deadline has passed.
    error Expired(uint256 deadline);
    /// @notice No such tier.
    error BadTier(uint8 tier);
    /// @notice The parent is not a registered, unrevoked node one tier up (a cloud has parent 0).
    error BadParent(uint32 parent, uint8 tier);
    /// @notice The network key is zero, or its proof does not have the 64 bytes of an ed25519 signature.
    error BadKey();
    /// @notice The name is empty.
    error BadName();
    /// @notice The network key was used before, by whatever node.
    error KeyTaken(bytes32 netKey);
    /// @notice The account was used before, by whatever node.
    error AccountTaken(address account);
    /// @notice `caller` does not speak for the node.
    error NotOwner(address caller);
    /// @notice The account did not sign this.
    error BadSignature();
    /// @notice No such node.
    error UnknownNode(uint32 id);
    /// @notice The node's status forbids it.
    error BadStatus(uint32 id, uint8 status);
    /// @notice The unbonding stake is locked until `until`, in seconds.
    error StillBonded(uint256 until);
    /// @notice The node has only `stake` to move.
    error InsufficientStake(uint32 id, uint256 stake);
    /// @notice Only an arbiter slashes and holds; and nobody is not an arbiter.
    error NotArbiter(address caller);
    /// @notice The arbiters were named before, and stay.
    error ArbiterAlreadySet(address arbiter);
    /// @notice A dispute against the node is open: its stake stays until that ends.
    error OnHold(uint32 id);
    /// @notice Only `seized` is there to settle.
    error NotSeized(uint256 seized);
    /// @notice The node is not held.
    error NotHeld(uint32 id);
    /// @notice A batch has 1 to 2^20 members, and to 2^14 when the caller is not a registrar.
    error BadBatch(uint32 count);
    /// @notice No batch begins at this id.
    error UnknownBatch(uint32 first);
    /// @notice The batch has no such member.
    error NotMember(uint32 first, uint256 index);
    /// @notice The member is a node of its own already.
    error AlreadyMaterialised(uint32 id);

    /* EVENTS */

    /// @notice A node joined. The signatures are here so that anyone can check them again, the ed25519 proof above all.
    event Registered(
        uint32 indexed id,
        bytes32 indexed netKey,
        address indexed account,
        address owner,
        uint8 tier,
        uint8 status,
        uint32 parent,
        bytes32 name,
        bytes32 metaHash,
        uint256 deadline,
        bytes accountSignature,
        bytes netKeyProof
    );
    /// @notice A node's status changed after its registration.
    event StatusChanged(uint32 indexed id, uint8 status);
    /// @notice A node's network key changed; the old one stays the node's, for what it signed.
    event KeyRotated(uint32 indexed id, bytes32 indexed newKey, uint256 deadline, bytes netKeyProof);
    /// @notice `account` may now take the node's account over by `acceptAccount`.
    event AccountProposed(uint32 indexed id, address account);
    /// @notice A node's account changed.
    event AccountRotated(uint32 indexed id, address indexed account);
    /// @notice A node's description changed.
    event MetaChanged(uint32 indexed id, bytes32 metaHash);
    /// @notice Stake came in.
    event Staked(uint32 indexed id, uint256 amount);
    /// @notice `amount` more is on its way out; all that is unbonding is free at `until`.
    event Unbonding(uint32 indexed id, uint256 amount, uint256 until);
    /// @notice Stake left.
    event Withdrawn(uint32 indexed id, uint256 amount);
    /// @notice Stake was taken, for `reason`, and is seized until it is settled.
    event Slashed(uint32 indexed id, uint256 amount, bytes32 reason);
    /// @notice Of what was seized, `reward` went to `to`, and `burned` was burned.
    event Settled(address indexed to, uint256 reward, uint256 burned);
    /// @notice One more dispute holds the node's stake; `holds` do now.
    event Held(uint32 indexed id, uint16 holds);
    /// @notice A dispute let go of the node's stake; `holds` are left.
    event Released(uint32 indexed id, uint16 holds);
    /// @notice The two arbiters were named, once and for all.
    event ArbitersSet(address indexed first, address indexed second);
    /// @notice `count` devices joined under one root. `list` is the SHA-256 of the blob that lists them.
    event BatchRegistered(
        uint32 indexed first, uint32 count, address indexed owner, uint8 status, bytes32 root, bytes32 list
    );
    /// @notice The status of every member that is not materialised changed.
    event BatchStatusChanged(uint32 indexed first, uint8 status);
    /// @notice Registrations were stopped or allowed again.
    event PauseChanged(bool paused);

    /* REGISTRATION */

    /// @notice Registers a node and returns its id: 1, 2, 3, ... The node is active if the caller is a registrar, else pending.
    /// `accountSignature` is the account's EIP-712 signature (ERC-1271 for contracts) of Registration(bytes32 netKey,address
    /// account,address owner,uint8 tier,uint32 parent,bytes32 name,bytes32 metaHash,uint256 deadline); `netKeyProof` is the
    /// network key's ed25519 signature of the same 32-byte digest.
    ///
    /// Reverts: Paused, Expired, BadTier, BadParent, BadKey, BadName, KeyTaken, AccountTaken, NotOwner (unless the owner is
    /// the account or the caller), BadSignature.
    /// @dev Warning: the EVM has no ed25519. Only the length of `netKeyProof` is checked here; readers of the event check the
    /// signature, and treat a node with a false one as if it did not exist.
    function register(
        NodeSpec calldata spec,
        uint256 deadline,
        bytes calldata accountSignature,
        bytes calldata netKeyProof
    ) external returns (uint32 id);

    /// @notice Replaces a node's network key. The account signs KeyRotation(uint32 id,bytes32 newKey,uint32 nonce,uint256
    /// deadline) with the node's current nonce, the new key signs the same digest. Anybody may send it.
    ///
    /// Reverts: UnknownNode, BadStatus (revoked), Expired, BadKey, KeyTaken, BadSignature.
    function rotateNetKey(
        uint32 id,
        bytes32 newKey,
        uint256 deadline,
        bytes calldata accountSignature,
        bytes calldata netKeyProof
    ) external;

    /// @notice Names the account that may take over by `acceptAccount`; zero withdraws the proposal. Only account or owner.
    ///
    /// Reverts: UnknownNode, NotOwner, BadStatus (revoked).
    function proposeAccount(uint32 id, address newAccount) external;

    /// @notice Takes over as the node's account. Only the proposed one.
    ///
    /// Reverts: UnknownNode, NotOwner, BadStatus (revoked), AccountTaken.
    /// @dev Warning: an owner that was its own account stays the owner. What the old account signed binds the node for a day
    /// more, so that no fault escapes by a rotation.
    function acceptAccount(uint32 id) external;

    /// @notice Changes the hash of the node's description. Only account or owner.
    ///
    /// Reverts: UnknownNode, NotOwner, BadStatus (revoked).
    function setMeta(uint32 id, bytes32 metaHash) external;

    /* BATCHES */

    /// @notice Registers `size` devices at once and returns the first id; the others follow it. The batch is active if the
    /// caller is a registrar, else pending, and the caller owns it. A member's leaf under `root`, in order of ids, is the data
    /// "drystone/member/1" | netKey 32 | account 20 | parent u32 | name 32 | metaHash 32.
    ///
    /// Reverts: Paused, BadBatch.
    /// @dev Warning: nothing about the members is judged here. A member whose keys or parent do not hold is nobody: it can
    /// never be materialised, and readers of the list leave it out.
    function registerBatch(bytes32 root, uint32 size, bytes32 list) external returns (uint32 first);

    /// @notice Pending to active, for members that are not materialised. Only a registrar.
    ///
    /// Reverts: UnknownBatch, NotAuthorised, BadStatus.
    function admitBatch(uint32 first) external;

    /// @notice Active to suspended, for members that are not materialised. Only a registrar or the owner.
    ///
    /// Reverts: UnknownBatch, NotAuthorised, BadStatus.
    function suspendBatch(uint32 first) external;

    /// @notice Suspended to active, for members that are not materialised. Only a registrar.
    ///
    /// Reverts: UnknownBatch, NotAuthorised, BadStatus.
    function reinstateBatch(uint32 first) external;

    /// @notice Any status to revoked, for ever, for members that are not materialised. Only a registrar or the owner.
    ///
    /// Reverts: UnknownBatch, NotAuthorised, BadStatus.
    function revokeBatch(uint32 first) external;

    /// @notice Makes member number `index` of a batch a node of its own, with the batch's status and blocks: whatever its
    /// status, for what it earned is owed. Anybody may send it; the signatures are those of `register`, and `deadline` may
    /// have passed, as the batch took the member in time. Never pausable.
    ///
    /// Reverts: UnknownBatch, NotMember, AlreadyMaterialised, BadTier (not end), NotOwner (not the batch's), PathTooLong,
    /// BadProof, NotMember, BadParent, BadKey, BadName, KeyTaken, AccountTaken, BadSignature.
    /// @dev Warning: from then on the node's own status counts, not the batch's.
    function materialise(
        uint32 first,
        uint256 index,
        NodeSpec calldata spec,
        uint256 deadline,
        bytes calldata accountSignature,
        bytes calldata netKeyProof,
        bytes32[] calldata path
    ) external returns (uint32 id);

    /* STATUS */

    /// @notice Pending to active. Only a registrar.
    ///
    /// Reverts: UnknownNode, NotAuthorised, BadStatus.
    function admit(uint32 id) external;

    /// @notice Active to suspended. Only a registrar or the owner.
    ///
    /// Reverts: UnknownNode, NotAuthorised, BadStatus.
    function suspend(uint32 id) external;

    /// @notice Suspended to active. Only a registrar.
    ///
    /// Reverts: UnknownNode, NotAuthorised, BadStatus.
    function reinstate(uint32 id) external;

    /// @notice Any status to revoked, for ever. Only a registrar or the owner.
    ///
    /// Reverts: UnknownNode, NotAuthorised, BadStatus.
    /// @dev Warning: stake is not touched; the owner takes it out as always.
    function revoke(uint32 id) external;

    /* STAKE */

    /// @notice Adds `amount` to a node's stake, from the caller, who approved it. A pending node whose stake reaches its
    /// tier's minimum becomes active; a minimum of zero never admits.
    ///
    /// Reverts: UnknownNode, BadStatus (revoked), what the token says.
    /// @dev Warning: the token must move exactly what it is told to move. Credit does.
    function stake(uint32 id, uint256 amount) external;

    /// @notice `stake` with an ERC-2612 permit of the caller. A permit that fails is ignored: somebody may have sent it
    /// before, and the allowance decides.
    function stakeWithPermit(uint32 id, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Starts to take `amount` out; it stays slashable until it is withdrawn. Only the owner. An active node may not
    /// fall below its tier's minimum: suspend or revoke it first.
    ///
    /// Reverts: UnknownNode, NotOwner, InsufficientStake.
    /// @dev Warning: the clock starts again for everything that is already unbonding.
    function unstake(uint32 id, uint256 amount) external;

    /// @notice Pays out what has finished unbonding, to the owner. Only the owner. Never pausable.
    ///
    /// Reverts: UnknownNode, NotOwner, OnHold, StillBonded, InsufficientStake (nothing is unbonding).
    function withdraw(uint32 id) external;

    /* ARBITERS */

    /// @notice Takes `amount` from a node, from what is unbonding first, and seizes it. An active node becomes suspended. Only an
    /// arbiter, which settles it later: what punishes need not pay.
    ///
    /// Reverts: NotArbiter, UnknownNode, InsufficientStake.
    function slash(uint32 id, uint256 amount, bytes32 reason) external;

    /// @notice Pays `reward` of what was seized to `to`, and burns `burned` of it. Only an arbiter.
    ///
    /// Reverts: NotArbiter, NotSeized.
    function settle(address to, uint256 reward, uint256 burned) external;

    /// @notice Keeps a node's stake from leaving until `release`. Holds count up. Only an arbiter.
    ///
    /// Reverts: NotArbiter, UnknownNode.
    function hold(uint32 id) external;

    /// @notice Ends one hold. Only an arbiter.
    ///
    /// Reverts: NotArbiter, UnknownNode, NotHeld.
    function release(uint32 id) external;

    /* ADMINISTRATION */

    /// @notice Names the two arbiters, once. Only ADMIN.
    ///
    /// Reverts: NotAuthorised, ArbiterAlreadySet, NotArbiter (zero).
    function setArbiters(address first, address second) external;

    /// @notice Stops registrations, and nothing else. Only PAUSER.
    function pause() external;

    /// @notice Allows registrations again. Only PAUSER.
    function unpause() external;

    /* VIEWS */

    /// @notice Everything stored about a node; all zero if there is none, or if it is a member that is not materialised.
    function node(uint32 id) external view returns (Node memory);

    /// @notice Who speaks for a node, and whether it may: one slot, for other contracts. All zero if there is none.
    function standing(uint32 id) external view returns (address account, uint8 tier, uint8 status);

    /// @notice What `slash` can take from a node: its stake and what is unbonding, in token units.
    function slashable(uint32 id) external view returns (uint256);

    /// @notice Whether the node is active in exactly this tier.
    function active(uint32 id, uint8 tier) external view returns (bool);

    /// @notice The node that uses, or used, an account; 0 if none did.
    function idOfAccount(address account) external view returns (uint32);

    /// @notice The node that uses, or used, a network key; 0 if none did.
    function idOfKey(bytes32 netKey) external view returns (uint32);

    /// @notice The account that may accept to become the node's; zero if none was proposed.
    function proposedAccount(uint32 id) external view returns (address);

    /// @notice How many nodes were ever registered, members of batches among them; also the newest id.
    function count() external view returns (uint32);

    /// @notice The stake that admits a pending node of a tier, in token units; 0: only a registrar admits.
    function minStake(uint8 tier) external view returns (uint96);

    /// @notice How long stake stays slashable after `unstake`, in seconds.
    function unbondingSeconds() external view returns (uint48);

    /// @notice Whether this address may slash and hold.
    function isArbiter(address account) external view returns (bool);

    /// @notice What was slashed and not settled yet, in token units.
    function seized() external view returns (uint96);

    /// @notice When the account was replaced as its node's account, in seconds; 0 if it never was.
    function retiredAt(address account) external view returns (uint48);

    /// @notice Whether what `signer` signed binds the node: it is its account, or was until a day ago at most.
    function bound(uint32 id, address signer) external view returns (bool);

    /// @notice Everything stored about a batch; all zero if none begins there.
    function batch(uint32 first) external view returns (Batch memory);

    /// @notice Whether registrations are stopped.
    function paused() external view returns (bool);
}
