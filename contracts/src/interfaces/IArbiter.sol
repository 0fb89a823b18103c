// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "./ILedger.sol";

/// @title IArbiter
/// @notice Faults that the EVM can see for itself. Anybody brings the evidence, without a bond; what is proven takes the whole
/// stake of the accused, unbonding stake too: half for the beneficiary, the rest is burned, so that to accuse oneself never
/// pays. A fault is punished once for each (kind, task, round, accused); `collect` settles it, whoever sends that.
///
/// Signatures are EIP-712 in the Ledger's domain, by the node's account (ERC-1271 for contracts), or by an account that was
/// the node's until a day ago at most. A proven fault of the cloud strikes its round while the round may be disputed; what is
/// final stays final.
///
/// Sum trees have a fan-in of 16. A node of one is H(0x03 | R | K): R is the root over the chunks of its sums (256 signed 64-bit
/// integers each, modulo 2^64), K the root over its children's hashes, or zero for a group of updates. Within an edge, groups
/// of 16 updates by index are level 0; nodes are grouped by 16 until one is left. Over the edges, that node of every
/// edge in the inputs' order (forced updates, if any, one more member at the end) is grouped by 16, at least once, until one is
/// left: the header's `chunksRoot`. A member without usable weight is zero.
/// @dev Checks are made in the order in which each function lists its errors. Loops run over 16 children, or one path, at most.
interface IArbiter {
    /* TYPES */

    /// @notice An edge's promise to a device that a leaf is number `index` of its round; or the cloud's, in the place of the
    /// edge, to an edge. Signed as Receipt(uint64 task,uint64 round,uint32 edge,uint64 index,bytes32 leaf).
    struct Receipt {
        uint64 task;
        uint64 round;
        uint32 edge;
        uint64 index;
        bytes32 leaf;
    }

    /// @notice What an edge says of its round: signed as EdgeRoot(uint64 task,uint64 round,uint32 edge,bytes32 root,uint64
    /// count,bytes32 aggregate,bytes32 weights,uint64 rosterBlock), and a leaf under the header's `inputsRoot`: RFC 9162 over
    /// "drystone/edge/1" | chain id u64 | ledger 20 | the fields in order. `aggregate` and `weights` are zero unless the rule
    /// is linear in two levels.
    struct EdgeRoot {
        uint64 task;
        uint64 round;
        uint32 edge;
        bytes32 root;
        uint64 count;
        bytes32 aggregate;
        bytes32 weights;
        uint64 rosterBlock;
    }

    /// @notice A leaf and where it stands under an edge's root.
    struct Placed {
        ILedger.Leaf leaf;
        uint64 index;
        bytes32[] path;
    }

    /// @notice An edge's report and where it stands under a header's `inputsRoot`. `members` of the tree over the edges is
    /// `inputsCount`, or one more when updates were forced in.
    struct Member {
        EdgeRoot edge;
        uint64 index;
        bytes32[] path;
        uint64 members;
    }

    /// @notice One chunk of a node's sums. `sums` is R, `found` the leaf hash of chunk number `index` under it: the right chunk is
    /// computed here, so the wrong one need not be shown.
    struct Chunk {
        uint64 index;
        bytes32 sums;
        bytes32 found;
        bytes32[] path;
    }

    /// @notice One step up a sum tree: the parent's R, and the path from the child to the parent's K.
    struct Step {
        bytes32 sums;
        bytes32[] path;
    }

    /// @notice Group `number` of an edge's updates. Each of `updates` is packed: node u32 | sequence u64 | weight u32 |
    /// ciphertext 32 | updateRoot 32 | metrics 32 | used weight u64, then, if that is not zero, salt 16 | chunk | the chunk's
    /// path, 32 bytes a hash. `leaves` and `weights` lead from the group to the edge's two roots, `walk` from it to the top.
    struct Group {
        uint64 number;
        bytes[] updates;
        bytes32[] leaves;
        bytes32[] weights;
        Chunk chunk;
        Step[] walk;
    }

    /// @notice Inner node `number` of `level` (1 is the lowest). Each of `children` is packed: R 32 | K 32 | chunk 2,048 | the
    /// chunk's path, 32 bytes a hash; or empty for a child that is zero.
    struct Inner {
        uint8 level;
        uint64 number;
        bytes[] children;
        Chunk chunk;
        Step[] walk;
    }

    /// @notice Everything that one edge took in, packed as in a group.
    struct Taken {
        EdgeRoot edge;
        bytes[] updates;
    }

    /* ERRORS */

    /// @notice This was punished before.
    error AlreadyProven(bytes32 kind, uint64 task, uint64 round, uint32 accused);
    /// @notice There is no such verdict, or it was collected, or the accused had nothing.
    error NothingToCollect(bytes32 kind, uint64 task, uint64 round, uint32 accused);
    /// @notice The evidence holds, and shows no fault.
    error NotProven();
    /// @notice The pieces of evidence are not about the same round, edge or node.
    error Unrelated();
    /// @notice The node did not sign this.
    error BadSignature(uint32 node);
    /// @notice The ledger did not record this header at this time.
    error NotAnchored(uint64 task, uint64 round);
    /// @notice The task's rule is not judged so.
    error WrongRule(uint8 rule);
    /// @notice The evidence does not have the number or the length of parts that the commitments require.
    error BadShape();

    /* EVENTS */

    /// @notice A fault was proven: the accused lost `amount`, of which `beneficiary` may collect half.
    event Proven(
        bytes32 indexed kind,
        uint64 indexed task,
        uint64 round,
        uint32 indexed accused,
        address beneficiary,
        uint256 amount
    );

    /* WHO WAS LEFT OUT */

    /// @notice The edge promised a place to a leaf and gave it to `found`, or ended its round before it. The beneficiary is the
    /// leaf's node's account, whoever sends this. `found` and `path` are ignored when the index is beyond the count.
    ///
    /// Reverts: Unrelated, BadSignature, PathTooLong, BadProof, NotProven, AlreadyProven, what Registry.slash says (UnknownNode).
    /// @dev Warning: a member of a batch must be materialised first, or there is nobody to pay: Unrelated.
    function omission(
        Receipt calldata receipt,
        bytes calldata receiptSignature,
        ILedger.Leaf calldata leaf,
        EdgeRoot calldata root,
        bytes calldata rootSignature,
        bytes32 found,
        bytes32[] calldata path
    ) external;

    /// @notice The cloud promised a place to an edge's leaf and gave it to `found`, or ended the round before it.
    ///
    /// Reverts: NotAnchored, Unrelated, BadSignature, PathTooLong, BadProof, NotProven, AlreadyProven.
    function edgeOmission(
        Receipt calldata receipt,
        bytes calldata signature,
        ILedger.Header calldata header,
        uint256 anchoredAt,
        bytes32 found,
        bytes32[] calldata path
    ) external;

    /// @notice The cloud's head does not acknowledge forced update `k`, though it was anchored more than an hour after it.
    ///
    /// Reverts: NotAnchored, Unrelated (not the head), NotProven, AlreadyProven.
    function forcedIgnored(uint32 k, ILedger.Header calldata header, uint256 anchoredAt) external;

    /* WHO SAID TWO THINGS */

    /// @notice One place was promised to two leaves.
    ///
    /// Reverts: Unrelated, NotProven, BadSignature, AlreadyProven.
    function conflictingReceipts(
        Receipt calldata a,
        bytes calldata signatureA,
        Receipt calldata b,
        bytes calldata signatureB
    ) external;

    /// @notice One round was reported twice, differently.
    ///
    /// Reverts: Unrelated, NotProven, BadSignature, AlreadyProven.
    function conflictingRoots(
        EdgeRoot calldata a,
        bytes calldata signatureA,
        EdgeRoot calldata b,
        bytes calldata signatureB
    ) external;

    /* WHO WAS LET IN */

    /// @notice The edge took in a leaf that it must not: of another task, round or edge; or of a node that is unknown, no end
    /// device, another edge's, registered more than 32 blocks after the roster that the edge admitted by, or not active since
    /// 32 blocks before it. A member that is not materialised decides nothing.
    ///
    /// Reverts: BadSignature, PathTooLong, BadProof, NotProven, AlreadyProven.
    function inactiveSender(EdgeRoot calldata root, bytes calldata signature, Placed calldata placed) external;

    /// @notice The edge took in two leaves of one node.
    ///
    /// Reverts: BadSignature, Unrelated, PathTooLong, BadProof, AlreadyProven.
    function duplicateSender(EdgeRoot calldata root, bytes calldata signature, Placed calldata a, Placed calldata b)
        external;

    /* WHO CANNOT ADD */

    /// @notice Linear over all updates: the cloud's sums of one group of an edge's updates are wrong in one chunk.
    /// `weightsPath` leads from the root over the edge's weights to the header's `weightsRoot`.
    ///
    /// Reverts: NotAnchored, WrongRule, Unrelated, BadShape, PathTooLong, BadProof, NotProven, AlreadyProven.
    function wrongGroup(
        ILedger.Header calldata header,
        uint256 anchoredAt,
        Member calldata member,
        bytes32 edgeWeights,
        bytes32[] calldata weightsPath,
        Group calldata group
    ) external;

    /// @notice Linear in two levels: the edge's sums of one group of its updates are wrong in one chunk.
    ///
    /// Reverts: WrongRule, BadSignature, BadShape, PathTooLong, BadProof, NotProven, AlreadyProven.
    function wrongEdgeGroup(EdgeRoot calldata root, bytes calldata signature, Group calldata group) external;

    /// @notice A node above the edges is not the sum of its children in one chunk. Accused is the cloud.
    ///
    /// Reverts: NotAnchored, WrongRule, Unrelated, BadShape, PathTooLong, BadProof, NotProven, AlreadyProven.
    function wrongNode(ILedger.Header calldata header, uint256 anchoredAt, uint64 members, Inner calldata inner)
        external;

    /// @notice Linear over all updates: a node within an edge is not the sum of its children. Accused is the cloud.
    ///
    /// Reverts: NotAnchored, WrongRule, Unrelated, BadShape, PathTooLong, BadProof, NotProven, AlreadyProven.
    function wrongInnerNode(
        ILedger.Header calldata header,
        uint256 anchoredAt,
        Member calldata member,
        Inner calldata inner
    ) external;

    /// @notice Linear in two levels: a node within an edge is not the sum of its children. Accused is the edge.
    ///
    /// Reverts: WrongRule, BadSignature, BadShape, PathTooLong, BadProof, NotProven, AlreadyProven.
    function wrongEdgeNode(EdgeRoot calldata root, bytes calldata signature, Inner calldata inner) external;

    /// @notice Linear in two levels: the cloud counts `found` where the edge reported its `aggregate`.
    ///
    /// Reverts: NotAnchored, WrongRule, Unrelated, BadShape, PathTooLong, BadProof, NotProven, AlreadyProven.
    function wrongMember(
        ILedger.Header calldata header,
        uint256 anchoredAt,
        Member calldata member,
        bytes32 found,
        Step[] calldata walk
    ) external;

    /// @notice Linear in two levels: the cloud names weights `found` where the edge reported its `weights`.
    ///
    /// Reverts: NotAnchored, WrongRule, Unrelated, BadShape, PathTooLong, BadProof, NotProven, AlreadyProven.
    function wrongWeights(
        ILedger.Header calldata header,
        uint256 anchoredAt,
        Member calldata member,
        bytes32 found,
        bytes32[] calldata path
    ) external;

    /// @notice Median or trimmed mean of at most 16 updates from at most 16 edges, all of them shown: the undivided result is
    /// wrong at one coordinate of one chunk, `shown` too (2,048 bytes). The median is the middle value, or the sum of the two middle
    /// ones; the trimmed mean is the sum without `trim` values at either end; updates of weight zero do not count.
    ///
    /// Reverts: NotAnchored, WrongRule, BadShape, PathTooLong, BadProof, NotProven, AlreadyProven.
    /// @dev Warning: a round with forced updates is not judged here.
    function wrongCoordinate(
        ILedger.Header calldata header,
        uint256 anchoredAt,
        Taken[] calldata taken,
        Chunk calldata chunk,
        bytes calldata shown,
        uint256 coordinate
    ) external;

    /* PAYMENTS */

    /// @notice Pays the beneficiary of a verdict, and burns the rest. Anybody may send it.
    ///
    /// Reverts: NothingToCollect.
    function collect(bytes32 kind, uint64 task, uint64 round, uint32 accused) external;

    /* VIEWS */

    /// @notice Who was to get half of `amount` for this fault, and what is not collected yet; zero if it was never proven.
    function verdict(bytes32 kind, uint64 task, uint64 round, uint32 accused)
        external
        view
        returns (address beneficiary, uint96 amount);
}
