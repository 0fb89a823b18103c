// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IArbiter} from "./interfaces/IArbiter.sol";
import {ILedger} from "./interfaces/ILedger.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {Commitments} from "./libraries/Commitments.sol";
import {MerkleLog} from "./libraries/MerkleLog.sol";

/// @title Evidence
/// @notice What the Arbiter and the Court have in common: whether a piece of evidence is what it claims to be, and what
/// happens to whoever is found guilty.
abstract contract Evidence {
    /* CONSTANTS */

    /// @dev The Ledger's number of the rule by which edges add up themselves.
    uint8 internal constant TWO_LEVELS = 2;

    /* IMMUTABLES */

    /// @notice Where stake and accounts are.
    IRegistry public immutable registry;
    /// @notice Where headers are recorded; the domain of every signature.
    ILedger public immutable ledger;

    /* CONSTRUCTOR */

    constructor(IRegistry registry_, ILedger ledger_) {
        registry = registry_;
        ledger = ledger_;
    }

    /* INTERNAL: WHAT IS SHOWN */

    /// @dev Reverts unless the ledger recorded the header at that time.
    function _requireAnchored(ILedger.Header calldata header, uint256 anchoredAt) internal view {
        bytes32 record = Commitments.recordHash(keccak256(abi.encode(header)), header.rewardsRoot, anchoredAt);
        if (ledger.record(header.task, header.round) != record) {
            revert IArbiter.NotAnchored(header.task, header.round);
        }
    }

    /// @dev Reverts unless an edge's report is what the header's inputs hold at its index.
    function _requireMember(ILedger.Header calldata header, IArbiter.Member calldata member) internal view {
        IArbiter.EdgeRoot calldata edge = member.edge;
        if (edge.task != header.task || edge.round != header.round) revert IArbiter.Unrelated();
        bytes32 leaf = Commitments.edgeHash(edge, address(ledger));
        _requireUnder(member.path, member.index, header.inputsCount, leaf, header.inputsRoot);
    }

    /// @dev Reverts unless a leaf is what an edge took in at its index.
    function _requirePlaced(IArbiter.EdgeRoot calldata root, IArbiter.Placed calldata placed) internal view {
        bytes32 leaf = Commitments.leafHash(placed.leaf, address(ledger));
        _requireUnder(placed.path, placed.index, root.count, leaf, root.root);
    }

    /// @dev Reverts unless `leaf` is number `index` of the `size` leaves under `root`.
    function _requireUnder(bytes32[] calldata path, uint256 index, uint256 size, bytes32 leaf, bytes32 root)
        internal
        view
    {
        if (MerkleLog.rootFromInclusion(path, index, size, leaf) != root) revert MerkleLog.BadProof();
    }

    /// @dev Reverts unless what was signed binds the node.
    function _requireSigned(uint32 id, bytes32 structHash, bytes calldata signature) internal view {
        bytes32 digest = Commitments.digest(structHash, address(ledger));
        // Tier and status do not matter for what was signed.
        // slither-disable-next-line unused-return
        (address account,,) = registry.standing(id);
        if (SignatureChecker.isValidSignatureNowCalldata(account, digest, signature)) return;
        // slither-disable-next-line unused-return
        (address signer,,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (signer == address(0) || !registry.bound(id, signer)) revert IArbiter.BadSignature(id);
    }

    /* INTERNAL: WHAT FOLLOWS */

    /// @dev Pays half of what was taken to `beneficiary`, and burns the rest, so that to accuse oneself never pays.
    function _settle(uint256 amount, address beneficiary) internal {
        registry.settle(beneficiary, amount / 2, amount - amount / 2);
    }

    /// @dev Whether a round may still be disputed.
    // A window in seconds: a proposer's few seconds of freedom decide nothing.
    // slither-disable-next-line timestamp
    function _disputable(uint256 anchoredAt, uint32 window) internal view returns (bool) {
        return block.timestamp < anchoredAt + window;
    }
}
