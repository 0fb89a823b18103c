// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../interfaces/IArbiter.sol";
import {ILedger} from "../interfaces/ILedger.sol";
import {MerkleLog} from "./MerkleLog.sol";

/// @title Commitments
/// @notice What participants sign and what trees hold, as hashes: each leaf begins with its purpose, the chain and the Ledger,
/// so it means nothing elsewhere. Signatures are EIP-712 in the Ledger's domain.
/// @dev The Python twins are middleware/wire/commitment.py and middleware/trust/eip712.py.
library Commitments {
    /* CONSTANTS */

    bytes15 internal constant LEAF_PURPOSE = "drystone/leaf/1";
    bytes15 internal constant EDGE_PURPOSE = "drystone/edge/1";

    bytes32 internal constant DIRECT_TYPEHASH = keccak256("Direct(uint64 task,uint64 round,uint32 node,bytes32 leaf)");
    bytes32 internal constant RECEIPT_TYPEHASH =
        keccak256("Receipt(uint64 task,uint64 round,uint32 edge,uint64 index,bytes32 leaf)");
    bytes32 internal constant EDGE_ROOT_TYPEHASH = keccak256(
        "EdgeRoot(uint64 task,uint64 round,uint32 edge,bytes32 root,uint64 count,bytes32 aggregate,bytes32 weights,uint64 rosterBlock)"
    );
    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 internal constant NAME_HASH = keccak256("Drystone");
    bytes32 internal constant VERSION_HASH = keccak256("1");

    /* RECORDS */

    /// @notice What the Ledger keeps of a round: its header's hash, with the rewards root that the header names, and the time of
    /// the block that anchored it.
    function recordHash(bytes32 headerHash, bytes32 rewardsRoot, uint256 anchoredAt) internal pure returns (bytes32) {
        return keccak256(abi.encode(headerHash, rewardsRoot, anchoredAt));
    }

    /* LEAVES */

    /// @notice The leaf hash of an update, under its edge's root.
    function leafHash(ILedger.Leaf calldata leaf, address ledger) internal view returns (bytes32) {
        bytes memory place = abi.encodePacked(
            LEAF_PURPOSE, uint64(block.chainid), ledger, leaf.task, leaf.round, leaf.node, leaf.edge, leaf.sequence
        );
        return MerkleLog.leafHash(abi.encodePacked(place, leaf.weight, leaf.ciphertext, leaf.updateRoot, leaf.metrics));
    }

    /// @notice The leaf hash of an edge's report, under the header's `inputsRoot`.
    function edgeHash(IArbiter.EdgeRoot calldata edge, address ledger) internal view returns (bytes32) {
        bytes memory place = abi.encodePacked(
            EDGE_PURPOSE, uint64(block.chainid), ledger, edge.task, edge.round, edge.edge, edge.root, edge.count
        );
        return MerkleLog.leafHash(abi.encodePacked(place, edge.aggregate, edge.weights, edge.rosterBlock));
    }

    /* SIGNED STATEMENTS */

    /// @notice EIP-712 hashStruct of what a device signs to force its update in.
    function directHash(ILedger.Leaf calldata leaf, bytes32 hash) internal pure returns (bytes32) {
        return keccak256(abi.encode(DIRECT_TYPEHASH, leaf.task, leaf.round, leaf.node, hash));
    }

    /// @notice EIP-712 hashStruct of a receipt.
    function receiptHash(IArbiter.Receipt calldata receipt) internal pure returns (bytes32) {
        // Every member of the struct is static, so its encoding is that of its members in order (EIP-712, encodeData).
        return keccak256(abi.encode(RECEIPT_TYPEHASH, receipt));
    }

    /// @notice EIP-712 hashStruct of an edge's report.
    function edgeRootHash(IArbiter.EdgeRoot calldata edge) internal pure returns (bytes32) {
        return keccak256(abi.encode(EDGE_ROOT_TYPEHASH, edge));
    }

    /// @notice The digest that is signed: EIP-712 in the domain of `ledger` on this chain.
    function digest(bytes32 structHash, address ledger) internal view returns (bytes32) {
        bytes32 separator = keccak256(abi.encode(DOMAIN_TYPEHASH, NAME_HASH, VERSION_HASH, block.chainid, ledger));
        return keccak256(abi.encodePacked(hex"1901", separator, structHash));
    }
}
