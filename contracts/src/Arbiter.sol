// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Evidence} from "./Evidence.sol";
import {IArbiter} from "./interfaces/IArbiter.sol";
import {ILedger} from "./interfaces/ILedger.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {Commitments} from "./libraries/Commitments.sol";
import {MerkleLog} from "./libraries/MerkleLog.sol";
import {Sums} from "./libraries/Sums.sol";

/// @title Arbiter
/// @notice See IArbiter, which states every rule.
contract Arbiter is IArbiter, Evidence {
    using SafeCast for uint256;

    /* CONSTANTS */

    /// @dev The Registry's numbers.
    uint8 internal constant END = 1;
    uint8 internal constant ACTIVE = 2;

    /// @dev The Ledger's numbers of the other rules.
    uint8 internal constant LINEAR = 1;
    uint8 internal constant MEDIAN = 3;
    uint8 internal constant TRIMMED_MEAN = 4;

    /// @dev Children of a node of a sum tree.
    uint256 internal constant FAN_IN = 16;
    /// @dev Blocks by which an honest edge's view of the roster may be off.
    uint256 internal constant REORG_BLOCKS = 32;
    /// @dev How long a cloud may leave a forced update unread.
    uint256 internal constant FORCED_SECONDS = 1 hours;

    /// @dev Where the parts of a packed update begin: sequence, what the leaf ends with, used weight, salt, chunk.
    // slither-disable-next-line unused-state
    uint256 internal constant SEQUENCE = 4;
    // slither-disable-next-line unused-state
    uint256 internal constant USED = 112;
    uint256 internal constant SALT = 120;
    uint256 internal constant INTEGERS = 136;

    /// @dev Where the parts of a packed child begin: its chunk, the chunk's path.
    uint256 internal constant CHILD_CHUNK = 64;
    uint256 internal constant CHILD_PATH = CHILD_CHUNK + Sums.BYTES;

    /* TYPES */

    /// @dev Who gets half of what was taken, until it is collected.
    struct Verdict {
        address beneficiary;
        uint96 amount;
    }

    /// @dev What was read of a group so far: leaf hashes, weights' leaf hashes, and sums; or of an inner node, its children's
    /// leaf hashes, and sums.
    struct Reading {
        bytes32[] leaves;
        bytes32[] entries;
        Sums.Lanes lanes;
    }

    /// @dev The first `used` of `list` are what the updates of a round say at one coordinate of one chunk.
    struct Values {
        uint256 chunk;
        uint256 coordinate;
        int256[] list;
        uint256 used;
    }

    /* STORAGE */

    mapping(bytes32 key => Verdict) internal _verdicts;

    /* CONSTRUCTOR */

    constructor(IRegistry registry_, ILedger ledger_) Evidence(registry_, ledger_) {}

    /* WHO WAS LEFT OUT */

    /// @inheritdoc IArbiter
    function omission(
        Receipt calldata receipt,
        bytes calldata receiptSignature,
        ILedger.Leaf calldata leaf,
        EdgeRoot calldata root,
        bytes calldata rootSignature,
        bytes32 found,
        bytes32[] calldata path
    ) external {
        if (receipt.task != root.task || receipt.round != root.round || receipt.edge != root.edge) {
            revert Unrelated();
        }
        if (Commitments.leafHash(leaf, address(ledger)) != receipt.leaf) revert Unrelated();
        // Tier and status do not matter: the leaf was promised a place.
        // slither-disable-next-line unused-return
        (address account,,) = registry.standing(leaf.node);
        if (account == address(0)) revert Unrelated();
        _requireSigned(receipt.edge, Commitments.receiptHash(receipt), receiptSignature);
        _requireSigned(root.edge, Commitments.edgeRootHash(root), rootSignature);
        _requireAbsent(receipt, found, path, root.count, root.root);
        _prove("omission", root.task, root.round, root.edge, account);
    }

    /// @inheritdoc IArbiter
    function edgeOmission(
        Receipt calldata receipt,
        bytes calldata signature,
        ILedger.Header calldata header,
        uint256 anchoredAt,
        bytes32 found,
        bytes32[] calldata path
    ) external {
        ILedger.Task memory t = _judgedRound(header, anchoredAt);
        if (receipt.task != header.task || receipt.round != header.round || receipt.edge != t.cloud) {
            revert Unrelated();
        }
        _requireSigned(t.cloud, Commitments.receiptHash(receipt), signature);
        _requireAbsent(receipt, found, path, header.inputsCount, header.inputsRoot);
        _proveCloud("edgeOmission", t, header, anchoredAt);
    }

    /// @inheritdoc IArbiter
    // An hour, in seconds: a proposer's few seconds of freedom decide nothing.
    // slither-disable-next-line timestamp
    function forcedIgnored(uint32 k, ILedger.Header calldata header, uint256 anchoredAt) external {
        ILedger.Task memory t = _judgedRound(header, anchoredAt);
        if (header.round != t.head) revert Unrelated();
        uint256 came = ledger.forcedAt(header.task, k);
        if (came == 0 || k <= t.forcedDone || anchoredAt <= came + FORCED_SECONDS) revert NotProven();
        _proveCloud("forcedIgnored", t, header, anchoredAt);
    }

    /* WHO SAID TWO THINGS */

    /// @inheritdoc IArbiter
    function conflictingReceipts(
        Receipt calldata a,
        bytes calldata signatureA,
        Receipt calldata b,
        bytes calldata signatureB
    ) external {
        if (a.task != b.task || a.round != b.round || a.edge != b.edge || a.index != b.index) {
            revert Unrelated();
        }
        if (a.leaf == b.leaf) revert NotProven();
        _requireSigned(a.edge, Commitments.receiptHash(a), signatureA);
        _requireSigned(b.edge, Commitments.receiptHash(b), signatureB);
        _prove("conflictingReceipts", a.task, a.round, a.edge, msg.sender);
    }

    /// @inheritdoc IArbiter
    function conflictingRoots(
        EdgeRoot calldata a,
        bytes calldata signatureA,
        EdgeRoot calldata b,
        bytes calldata signatureB
    ) external {
        if (a.task != b.task || a.round != b.round || a.edge != b.edge) revert Unrelated();
        bytes32 hashA = Commitments.edgeRootHash(a);
        bytes32 hashB = Commitments.edgeRootHash(b);
        if (hashA == hashB) revert NotProven();
        _requireSigned(a.edge, hashA, signatureA);
        _requireSigned(b.edge, hashB, signatureB);
        _prove("conflictingRoots", a.task, a.round, a.edge, msg.sender);
    }

    /* WHO WAS LET IN */

    /// @inheritdoc IArbiter
    function inactiveSender(EdgeRoot calldata root, bytes calldata signature, Placed calldata placed) external {
        _requireSigned(root.edge, Commitments.edgeRootHash(root), signature);
        _requirePlaced(root, placed);
        if (!_mustNotBeIn(root, placed.leaf)) revert NotProven();
        _prove("inactiveSender", root.task, root.round, root.edge, msg.sender);
    }

    /// @inheritdoc IArbiter
    function duplicateSender(EdgeRoot calldata root, bytes calldata signature, Placed calldata a, Placed calldata b)
        external
    {
        _requireSigned(root.edge, Commitments.edgeRootHash(root), signature);
        if (a.leaf.node != b.leaf.node || a.index == b.index) revert Unrelated();
        _requirePlaced(root, a);
        _requirePlaced(root, b);
        _prove("duplicateSender", root.task, root.round, root.edge, msg.sender);
    }

    /* WHO CANNOT ADD */

    /// @inheritdoc IArbiter
    function wrongGroup(
        ILedger.Header calldata header,
        uint256 anchoredAt,
        Member calldata member,
        bytes32 edgeWeights,
        bytes32[] calldata weightsPath,
        Group calldata group
    ) external {
        ILedger.Task memory t = _judgedRound(header, anchoredAt);
        if (t.rule != LINEAR) revert WrongRule(t.rule);
        _requireMember(header, member);
        _requireMembers(header, member.members);
        _requireUnder(weightsPath, member.index, member.members, MerkleLog.leafHashOf(edgeWeights), header.weightsRoot);
        bytes32 node = _wrongGroupNode(t, member.edge, edgeWeights, group);
        uint256 steps;
        (node, steps) = _climb(node, group.number, _groups(member.edge.count), group.walk, 0, false);
        _requireTop(header, node, member, group.walk, steps);
        _proveCloud("wrongGroup", t, header, anchoredAt);
    }

    /// @inheritdoc IArbiter
    function wrongEdgeGroup(EdgeRoot calldata root, bytes calldata signature, Group calldata group) external {
        ILedger.Task memory t = ledger.task(root.task);
        if (t.rule != TWO_LEVELS) revert WrongRule(t.rule);
        _requireSigned(root.edge, Commitments.edgeRootHash(root), signature);
        bytes32 node = _wrongGroupNode(t, root, root.weights, group);
        (bytes32 top, uint256 steps) = _climb(node, group.number, _groups(root.count), group.walk, 0, false);
        _requireEnd(top, root.aggregate, group.walk, steps);
        _prove("wrongEdgeGroup", root.task, root.round, root.edge, msg.sender);
    }

    /// @inheritdoc IArbiter
    function wrongNode(ILedger.Header calldata header, uint256 anchoredAt, uint64 members, Inner calldata inner)
        external
    {
        ILedger.Task memory t = _judgedRound(header, anchoredAt);
        if (t.rule != LINEAR && t.rule != TWO_LEVELS) revert WrongRule(t.rule);
        _requireMembers(header, members);
        (bytes32 node, uint256 size) = _wrongInner(t, members, inner, true);
        (bytes32 top, uint256 steps) = _climb(node, inner.number, size, inner.walk, 0, false);
        _requireEnd(top, header.chunksRoot, inner.walk, steps);
        _proveCloud("wrongNode", t, header, anchoredAt);
    }

    /// @inheritdoc IArbiter
    function wrongInnerNode(
        ILedger.Header calldata header,
        uint256 anchoredAt,
        Member calldata member,
        Inner calldata inner
    ) external {
        ILedger.Task memory t = _judgedRound(header, anchoredAt);
        if (t.rule != LINEAR) revert WrongRule(t.rule);
        _requireMember(header, member);
        _requireMembers(header, member.members);
        (bytes32 node, uint256 size) = _wrongInner(t, _groups(member.edge.count), inner, false);
        uint256 steps;
        (node, steps) = _climb(node, inner.number, size, inner.walk, 0, false);
        _requireTop(header, node, member, inner.walk, steps);
        _proveCloud("wrongInnerNode", t, header, anchoredAt);
    }

    /// @inheritdoc IArbiter
    function wrongEdgeNode(EdgeRoot calldata root, bytes calldata signature, Inner calldata inner) external {
        ILedger.Task memory t = ledger.task(root.task);
        if (t.rule != TWO_LEVELS) revert WrongRule(t.rule);
        _requireSigned(root.edge, Commitments.edgeRootHash(root), signature);
        (bytes32 node, uint256 size) = _wrongInner(t, _groups(root.count), inner, false);
        (bytes32 top, uint256 steps) = _climb(node, inner.number, size, inner.walk, 0, false);
        _requireEnd(top, root.aggregate, inner.walk, steps);
        _prove("wrongEdgeNode", root.task, root.round, root.edge, msg.sender);
    }

    /// @inheritdoc IArbiter
    function wrongMember(
        ILedger.Header calldata header,
        uint256 anchoredAt,
        Member calldata member,
        bytes32 found,
        Step[] calldata walk
    ) external {
        ILedger.Task memory t = _judgedRound(header, anchoredAt);
        if (t.rule != TWO_LEVELS) revert WrongRule(t.rule);
        _requireMember(header, member);
        _requireMembers(header, member.members);
        _requireTop(header, found, member, walk, 0);
        if (found == member.edge.aggregate) revert NotProven();
        _proveCloud("wrongMember", t, header, anchoredAt);
    }

    /// @inheritdoc IArbiter
    function wrongWeights(
        ILedger.Header calldata header,
        uint256 anchoredAt,
        Member calldata member,
        bytes32 found,
        bytes32[] calldata path
    ) external {
        ILedger.Task memory t = _judgedRound(header, anchoredAt);
        if (t.rule != TWO_LEVELS) revert WrongRule(t.rule);
        _requireMember(header, member);
        _requireMembers(header, member.members);
        _requireUnder(path, member.index, member.members, MerkleLog.leafHashOf(found), header.weightsRoot);
        if (found == member.edge.weights) revert NotProven();
        _proveCloud("wrongWeights", t, header, anchoredAt);
    }

    /// @inheritdoc IArbiter
    function wrongCoordinate(
        ILedger.Header calldata header,
        uint256 anchoredAt,
        Taken[] calldata taken,
        Chunk calldata chunk,
        bytes calldata shown,
        uint256 coordinate
    ) external {
        ILedger.Task memory t = _judgedRound(header, anchoredAt);
        if (t.rule != MEDIAN && t.rule != TRIMMED_MEAN) revert WrongRule(t.rule);
        if (taken.length != header.inputsCount || taken.length > FAN_IN) revert BadShape();
        if (coordinate >= Sums.INTEGERS || shown.length != Sums.BYTES) revert BadShape();
        Values memory v = Values(chunk.index, coordinate, new int256[](FAN_IN), 0);
        _readRound(t, header, taken, v);
        _requireUnder(chunk.path, chunk.index, t.chunks, chunk.found, chunk.sums);
        if (MerkleLog.leafHashCalldata(shown) != chunk.found) revert MerkleLog.BadProof();
        if (Sums.nodeHash(chunk.sums, 0) != header.chunksRoot) revert MerkleLog.BadProof();
        if (_result(t, v) == Sums.integerOf(shown, coordinate, 64)) revert NotProven();
        _proveCloud("wrongCoordinate", t, header, anchoredAt);
    }

    /* PAYMENTS */

    /// @inheritdoc IArbiter
    function collect(bytes32 kind, uint64 task, uint64 round, uint32 accused) external {
        Verdict storage v = _verdicts[_key(kind, task, round, accused)];
        uint256 amount = v.amount;
        if (amount == 0) revert NothingToCollect(kind, task, round, accused);

        v.amount = 0;

        _settle(amount, v.beneficiary);
    }

    /* VIEWS */

    /// @inheritdoc IArbiter
    function verdict(bytes32 kind, uint64 task, uint64 round, uint32 accused)
        external
        view
        returns (address beneficiary, uint96 amount)
    {
        Verdict storage v = _verdicts[_key(kind, task, round, accused)];
        return (v.beneficiary, v.amount);
    }

    /* INTERNAL: VERDICTS */

    function _prove(bytes32 kind, uint64 task, uint64 round, uint32 accused, address beneficiary) internal {
        Verdict storage v = _verdicts[_key(kind, task, round, accused)];
        if (v.beneficiary != address(0)) revert AlreadyProven(kind, task, round, accused);
        uint256 amount = registry.slashable(accused);

        (v.beneficiary, v.amount) = (beneficiary, amount.toUint96());

        emit Proven(kind, task, round, accused, beneficiary, amount);

        registry.slash(accused, amount, kind);
    }

    function _proveCloud(bytes32 kind, ILedger.Task memory t, ILedger.Header calldata header, uint256 anchoredAt)
        internal
    {
        _prove(kind, header.task, header.round, t.cloud, msg.sender);
        // What is final stays final: else a publisher and its cloud could take back what was earned and not yet claimed.
        if (_disputable(anchoredAt, t.window)) ledger.strike(header.task, header.round);
    }

    function _key(bytes32 kind, uint64 task, uint64 round, uint32 accused) internal pure returns (bytes32) {
        return keccak256(abi.encode(kind, task, round, accused));
    }

    /* INTERNAL: LEAVES */

    function _judgedRound(ILedger.Header calldata header, uint256 anchoredAt)
        internal
        view
        returns (ILedger.Task memory)
    {
        _requireAnchored(header, anchoredAt);
        return ledger.task(header.task);
    }

    /// @dev Reverts with `NotProven` if the receipt's leaf is where it was promised to be.
    function _requireAbsent(
        Receipt calldata receipt,
        bytes32 found,
        bytes32[] calldata path,
        uint64 count,
        bytes32 root
    ) internal view {
        if (receipt.index >= count) return;
        _requireUnder(path, receipt.index, count, found, root);
        if (found == receipt.leaf) revert NotProven();
    }

    /// @dev Whether an edge that read the roster of `rosterBlock`, give or take a reorganisation, had to refuse the leaf.
    function _mustNotBeIn(EdgeRoot calldata root, ILedger.Leaf calldata leaf) internal view returns (bool) {
        if (leaf.task != root.task || leaf.round != root.round || leaf.edge != root.edge) return true;
        if (leaf.node == 0 || leaf.node > registry.count()) return true;
        IRegistry.Node memory n = registry.node(leaf.node);
        // A member of a batch that is not materialised: what it is cannot be seen here.
        if (n.status == 0) return false;
        if (n.tier != END || n.parent != root.edge) return true;
        if (n.since > uint256(root.rosterBlock) + REORG_BLOCKS) return true;
        return n.status != ACTIVE && n.statusBlock + REORG_BLOCKS <= root.rosterBlock;
    }

    /* INTERNAL: SUM TREES */

    /// @dev How many groups `count` updates make.
    function _groups(uint256 count) internal pure returns (uint256) {
        return (count + FAN_IN - 1) / FAN_IN;
    }

    /// @dev How many children node `number` has, of a level above `below` nodes. Reverts if there is no such node.
    function _width(uint256 number, uint256 below) internal pure returns (uint256) {
        if (number >= _groups(below)) revert BadShape();
        uint256 rest = below - FAN_IN * number;
        return rest < FAN_IN ? rest : FAN_IN;
    }

    function _requireMembers(ILedger.Header calldata header, uint64 members) internal pure {
        if (members != header.inputsCount && (header.forced == 0 || members != uint256(header.inputsCount) + 1)) {
            revert BadShape();
        }
    }

    /// @dev From node `number` of a level of `size` nodes to the only node of the last level, `walk` from step `from` on; one
    /// step at least if `once`. Returns that node and the next step.
    function _climb(bytes32 node, uint256 number, uint256 size, Step[] calldata walk, uint256 from, bool once)
        internal
        view
        returns (bytes32, uint256)
    {
        while (size > 1 || once) {
            once = false;
            if (from >= walk.length) revert BadShape();
            node = _parent(node, number, size, walk[from]);
            number /= FAN_IN;
            size = _groups(size);
            ++from;
        }
        return (node, from);
    }

    /// @dev The parent of node `number` of a level of `size` nodes.
    function _parent(bytes32 node, uint256 number, uint256 size, Step calldata step) internal view returns (bytes32) {
        uint256 width = _width(number / FAN_IN, size);
        bytes32 leaf = MerkleLog.leafHashOf(node);
        return Sums.nodeHash(step.sums, MerkleLog.rootFromInclusion(step.path, number % FAN_IN, width, leaf));
    }

    /// @dev Reverts unless an edge's node leads to the header's `chunksRoot` by the rest of `walk`.
    function _requireTop(
        ILedger.Header calldata header,
        bytes32 node,
        Member calldata member,
        Step[] calldata walk,
        uint256 from
    ) internal view {
        (bytes32 top, uint256 steps) = _climb(node, member.index, member.members, walk, from, true);
        _requireEnd(top, header.chunksRoot, walk, steps);
    }

    function _requireEnd(bytes32 top, bytes32 root, Step[] calldata walk, uint256 steps) internal pure {
        if (steps != walk.length) revert BadShape();
        if (top != root) revert MerkleLog.BadProof();
    }

    /// @dev Reverts unless the committed chunk is there and is not the `right` one.
    function _requireWrong(ILedger.Task memory t, Chunk calldata chunk, bytes memory right) internal view {
        _requireUnder(chunk.path, chunk.index, t.chunks, chunk.found, chunk.sums);
        if (MerkleLog.leafHash(right) == chunk.found) revert NotProven();
    }

    /// @dev The node of a group of updates, whose sums are shown to be wrong.
    function _wrongGroupNode(ILedger.Task memory t, EdgeRoot calldata edge, bytes32 edgeWeights, Group calldata group)
        internal
        view
        returns (bytes32)
    {
        uint256 size = group.updates.length;
        if (size != _width(group.number, edge.count)) revert BadShape();
        Reading memory r =
            Reading(new bytes32[](size), new bytes32[](size), Sums.start(8 * t.width, _weights(group.updates)));
        for (uint256 i = 0; i < size; ++i) {
            _readUpdate(t, edge, group.updates[i], group.chunk.index, r, i);
        }
        size = _groups(edge.count);
        _requireUnder(group.leaves, group.number, size, MerkleLog.rootOf(r.leaves), edge.root);
        _requireUnder(group.weights, group.number, size, MerkleLog.rootOf(r.entries), edgeWeights);
        _requireWrong(t, group.chunk, Sums.encode(r.lanes));
        return Sums.nodeHash(group.chunk.sums, 0);
    }

    function _readUpdate(
        ILedger.Task memory t,
        EdgeRoot calldata edge,
        bytes calldata update,
        uint256 index,
        Reading memory r,
        uint256 i
    ) internal view {
        uint256 used;
        (r.leaves[i], r.entries[i], used) = _unpack(edge, update);
        if (used == 0) return;
        Sums.add(r.lanes, _integersOf(t, update, index), used);
    }

    /// @dev An inner node above `lowest` nodes of level 0, whose sums are shown to be wrong; and the number of nodes of its
    /// level. `once`: level 1 exists also above a single node.
    function _wrongInner(ILedger.Task memory t, uint256 lowest, Inner calldata inner, bool once)
        internal
        view
        returns (bytes32 node, uint256 size)
    {
        size = lowest;
        uint256 below = 0;
        for (uint256 level = 0; level < inner.level; ++level) {
            if (size <= 1 && !(once && level == 0)) revert BadShape();
            below = size;
            size = _groups(size);
        }
        if (inner.level == 0 || inner.children.length != _width(inner.number, below)) revert BadShape();
        Reading memory r = Reading(new bytes32[](inner.children.length), new bytes32[](0), Sums.start(64, FAN_IN));
        for (uint256 i = 0; i < r.leaves.length; ++i) {
            r.leaves[i] = MerkleLog.leafHashOf(_readChild(t, inner.children[i], inner.chunk.index, r));
        }
        _requireWrong(t, inner.chunk, Sums.encode(r.lanes));
        node = Sums.nodeHash(inner.chunk.sums, MerkleLog.rootOf(r.leaves));
    }

    /// @dev A packed child's hash; its chunk is shown to be number `index` of its sums.
    function _readChild(ILedger.Task memory t, bytes calldata child, uint256 index, Reading memory r)
        internal
        view
        returns (bytes32)
    {
        if (child.length == 0) return 0;
        if (child.length < CHILD_PATH) revert BadShape();
        bytes32 sums = bytes32(child[0:32]);
        bytes calldata integers = child[CHILD_CHUNK:CHILD_PATH];
        _requireUnder(_hashes(child[CHILD_PATH:]), index, t.chunks, MerkleLog.leafHashCalldata(integers), sums);
        Sums.add(r.lanes, integers, 1);
        return Sums.nodeHash(sums, bytes32(child[32:CHILD_CHUNK]));
    }

    /* INTERNAL: UPDATES */

    /// @dev A packed update's leaf hash, its weight's leaf hash, and the weight. An update without weight ends with it.
    function _unpack(EdgeRoot calldata edge, bytes calldata update)
        internal
        view
        returns (bytes32 leaf, bytes32 entry, uint64 used)
    {
        if (update.length < SALT) revert BadShape();
        used = uint64(bytes8(update[USED:SALT]));
        if (used == 0 && update.length != SALT) revert BadShape();
        bytes4 node = bytes4(update[0:SEQUENCE]);
        bytes memory place = abi.encodePacked(
            bytes1(0x00), Commitments.LEAF_PURPOSE, uint64(block.chainid), address(ledger), edge.task, edge.round
        );
        leaf = sha256(abi.encodePacked(place, node, edge.edge, update[SEQUENCE:USED]));
        entry = sha256(abi.encodePacked(bytes1(0x00), node, used));
    }

    /// @dev The sum of the weights that packed updates name; what they are is checked when they are unpacked.
    function _weights(bytes[] calldata updates) internal pure returns (uint256 sum) {
        for (uint256 i = 0; i < updates.length; ++i) {
            if (updates[i].length < SALT) revert BadShape();
            sum += uint64(bytes8(updates[i][USED:SALT]));
        }
    }

    /// @dev Chunk number `index` of a packed update, shown to be under its `updateRoot`.
    function _integersOf(ILedger.Task memory t, bytes calldata update, uint256 index)
        internal
        view
        returns (bytes calldata integers)
    {
        uint256 end = INTEGERS + Sums.INTEGERS * t.width;
        if (update.length < end) revert BadShape();
        integers = update[INTEGERS:end];
        bytes32 root = bytes32(update[48:80]);
        _requireUnder(_hashes(update[end:]), index, t.chunks, MerkleLog.leafHashCalldata(update[SALT:end]), root);
    }

    /// @dev Packed hashes as an array.
    // slither-disable-next-line assembly
    function _hashes(bytes calldata packed) internal pure returns (bytes32[] calldata path) {
        if (packed.length % 32 != 0) revert BadShape();
        assembly ("memory-safe") {
            path.offset := packed.offset
            path.length := shr(5, packed.length)
        }
    }

    /* INTERNAL: COORDINATES */

    /// @dev Reads what every update of weight above zero in the whole round says.
    function _readRound(ILedger.Task memory t, ILedger.Header calldata header, Taken[] calldata taken, Values memory v)
        internal
        view
    {
        if (taken.length == 0) revert BadShape();
        bytes32[] memory edges = new bytes32[](taken.length);
        bytes32[] memory weights = new bytes32[](taken.length);
        for (uint256 i = 0; i < taken.length; ++i) {
            edges[i] = Commitments.edgeHash(taken[i].edge, address(ledger));
            weights[i] = MerkleLog.leafHashOf(_readEdge(t, taken[i], v));
        }
        if (MerkleLog.rootOf(edges) != header.inputsRoot || MerkleLog.rootOf(weights) != header.weightsRoot) {
            revert MerkleLog.BadProof();
        }
    }

    /// @dev Reads everything that one edge took in, and returns the root over its weights.
    function _readEdge(ILedger.Task memory t, Taken calldata taken, Values memory v) internal view returns (bytes32) {
        uint256 count = taken.updates.length;
        if (count != taken.edge.count || count > FAN_IN) revert BadShape();
        // The root over no leaves is the hash of nothing.
        if (count == 0) return sha256("");
        bytes32[] memory leaves = new bytes32[](count);
        bytes32[] memory entries = new bytes32[](count);
        for (uint256 i = 0; i < count; ++i) {
            bytes calldata update = taken.updates[i];
            uint256 weight;
            (leaves[i], entries[i], weight) = _unpack(taken.edge, update);
            if (weight != 0) _readValue(t, update, v);
        }
        if (MerkleLog.rootOf(leaves) != taken.edge.root) revert MerkleLog.BadProof();
        return MerkleLog.rootOf(entries);
    }

    function _readValue(ILedger.Task memory t, bytes calldata update, Values memory v) internal view {
        if (v.used == FAN_IN) revert BadShape();
        v.list[v.used] = Sums.integerOf(_integersOf(t, update, v.chunk), v.coordinate, 8 * t.width);
        ++v.used;
    }

    /// @dev What the rule makes of the values, undivided. Sorts them where they are.
    function _result(ILedger.Task memory t, Values memory v) internal pure returns (int256 sum) {
        if (v.used == 0) revert NotProven();
        uint256 trim = t.rule == MEDIAN ? (v.used - 1) / 2 : t.trim;
        if (v.used <= 2 * trim) revert NotProven();
        int256[] memory list = v.list;
        for (uint256 i = 1; i < v.used; ++i) {
            int256 value = list[i];
            uint256 j = i;
            for (; j > 0 && list[j - 1] > value; --j) {
                list[j] = list[j - 1];
            }
            list[j] = value;
        }
        for (uint256 i = trim; i < v.used - trim; ++i) {
            sum += list[i];
        }
    }
}
