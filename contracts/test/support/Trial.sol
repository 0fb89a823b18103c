// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Arbiter} from "../../src/Arbiter.sol";
import {Court} from "../../src/Court.sol";
import {IArbiter} from "../../src/interfaces/IArbiter.sol";
import {ILedger} from "../../src/interfaces/ILedger.sol";
import {Roles} from "../../src/libraries/Roles.sol";
import {Trees} from "./Trees.sol";
import {World} from "./World.sol";
import {vm} from "./Vm.sol";

/// @notice A world with its two arbiters, a cloud (node 1), two edges (2 and 3) and devices of the first (from 4 on), all with
/// stake; and what they sign. Leaves and digests are computed here from the texts, not by the contracts.
abstract contract Trial is World {
    uint256 internal constant STAKE = 1_000 ether + 1;
    uint256 internal constant BOND = 10 ether + 1;
    uint256 internal constant TRIAL_DEVICES = 3;
    uint48 internal constant ANSWER = 10 minutes;
    uint48 internal constant COMMIT = 20 minutes;
    uint48 internal constant REVEAL = 30 minutes;
    uint48 internal constant COUNCIL_TIME = 2 days;
    address internal constant COUNCIL = address(0xA003);

    uint32 internal constant THE_CLOUD = 1;
    uint32 internal constant THE_EDGE = 2;
    uint32 internal constant OTHER_EDGE = 3;
    uint32 internal constant DEVICE = 4;

    Arbiter internal arbiter;
    Court internal court;
    uint64 internal id;

    function setUp() public virtual override {
        super.setUp();
        authority.grantRole(Roles.COUNCIL, COUNCIL, 0);
        arbiter = new Arbiter(registry, ledger);
        court = new Court(authority, registry, ledger, credit, BOND, [ANSWER, COMMIT, REVEAL, COUNCIL_TIME]);
        registry.setArbiters(address(arbiter), address(court));
        ledger.setArbiters(address(arbiter), address(court));
        enrol(1, CLOUD, 0);
        enrol(2, EDGE, THE_CLOUD);
        enrol(3, EDGE, THE_CLOUD);
        for (uint256 i = 0; i < TRIAL_DEVICES; ++i) {
            enrol(4 + i, END, THE_EDGE);
        }
        for (uint32 node = 1; node <= 3; ++node) {
            stakeFor(node, STAKE);
        }
        id = openJudged(1, 0, 2, 1);
    }

    function openJudged(uint8 rule, uint8 trim, uint8 width, uint32 chunks) internal returns (uint64) {
        ILedger.TaskSpec memory spec = taskSpec(THE_CLOUD, "{}");
        (spec.rule, spec.trim, spec.width, spec.chunks) = (rule, trim, width, chunks);
        vm.prank(PUBLISHER);
        return ledger.createTask(spec);
    }

    /* WHAT IS HASHED */

    function leafOf(uint32 node, uint64 sequence) internal view returns (ILedger.Leaf memory) {
        return ILedger.Leaf({
            task: id,
            round: 1,
            node: node,
            edge: THE_EDGE,
            sequence: sequence,
            weight: 7,
            ciphertext: keccak256(abi.encode("ciphertext", node, sequence)),
            updateRoot: keccak256(abi.encode("update", node, sequence)),
            metrics: keccak256(abi.encode("metrics", node, sequence))
        });
    }

    function hashOf(ILedger.Leaf memory leaf) internal view returns (bytes32) {
        bytes memory head = abi.encodePacked(
            uint8(0), "drystone/leaf/1", uint64(block.chainid), address(ledger), leaf.task, leaf.round, leaf.node
        );
        bytes memory tail =
            abi.encodePacked(leaf.edge, leaf.sequence, leaf.weight, leaf.ciphertext, leaf.updateRoot, leaf.metrics);
        return sha256(abi.encodePacked(head, tail));
    }

    function hashOf(IArbiter.EdgeRoot memory edge) internal view returns (bytes32) {
        bytes memory head = abi.encodePacked(
            uint8(0), "drystone/edge/1", uint64(block.chainid), address(ledger), edge.task, edge.round, edge.edge
        );
        bytes memory tail = abi.encodePacked(edge.root, edge.count, edge.aggregate, edge.weights, edge.rosterBlock);
        return sha256(abi.encodePacked(head, tail));
    }

    /* WHAT IS SIGNED */

    function ledgerDigest(bytes memory data) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Drystone"),
                keccak256("1"),
                block.chainid,
                address(ledger)
            )
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, keccak256(data)));
    }

    function receiptBy(uint32 edge, uint64 index, bytes32 leaf)
        internal
        view
        returns (IArbiter.Receipt memory receipt, bytes memory signature)
    {
        receipt = IArbiter.Receipt({task: id, round: 1, edge: edge, index: index, leaf: leaf});
        bytes32 typeHash = keccak256("Receipt(uint64 task,uint64 round,uint32 edge,uint64 index,bytes32 leaf)");
        signature =
            signed(secretOf(edge), ledgerDigest(abi.encode(typeHash, receipt.task, receipt.round, edge, index, leaf)));
    }

    function rootDigest(IArbiter.EdgeRoot memory e) internal view returns (bytes32) {
        bytes32 typeHash = keccak256(
            "EdgeRoot(uint64 task,uint64 round,uint32 edge,bytes32 root,uint64 count,bytes32 aggregate,bytes32 weights,uint64 rosterBlock)"
        );
        return ledgerDigest(
            abi.encode(typeHash, e.task, e.round, e.edge, e.root, e.count, e.aggregate, e.weights, e.rosterBlock)
        );
    }

    function signRoot(IArbiter.EdgeRoot memory edge) internal view returns (bytes memory) {
        return signed(secretOf(edge.edge), rootDigest(edge));
    }

    function signDirect(ILedger.Leaf memory leaf, uint256 number) internal view returns (bytes memory) {
        bytes32 typeHash = keccak256("Direct(uint64 task,uint64 round,uint32 node,bytes32 leaf)");
        return
            signed(secretOf(number), ledgerDigest(abi.encode(typeHash, leaf.task, leaf.round, leaf.node, hashOf(leaf))));
    }

    /// @notice A report of the edge over leaf hashes.
    function reportOver(bytes32[] memory leaves) internal view returns (IArbiter.EdgeRoot memory) {
        return IArbiter.EdgeRoot({
            task: id,
            round: 1,
            edge: THE_EDGE,
            root: Trees.rootOf(leaves),
            count: uint64(leaves.length),
            aggregate: 0,
            weights: 0,
            rosterBlock: uint64(block.number)
        });
    }

    /// @notice Leaf hashes of other devices' updates, with `leaf` at `index`.
    function crowdWith(uint256 size, uint256 index, bytes32 leaf) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            leaves[i] = i == index ? leaf : sha256(abi.encode("another leaf", i));
        }
    }

    /* WHAT FOLLOWS */

    function expectProven(bytes32 kind, uint32 accused, address beneficiary) internal {
        uint256 amount = heldBy(accused);
        vm.expectEmit(true, true, true, true, address(arbiter));
        emit IArbiter.Proven(kind, id, 1, accused, beneficiary, amount);
    }

    function heldBy(uint32 node) internal view returns (uint256) {
        return uint256(registry.node(node).stake) + registry.node(node).unbonding;
    }

    /// @notice The accused lost everything and is suspended; the beneficiary collects half, the rest is burned, and only once.
    function requirePunished(bytes32 kind, uint32 accused, address beneficiary) internal {
        equal(heldBy(accused), 0);
        equal(registry.node(accused).status, SUSPENDED);
        equal(registry.seized(), STAKE);
        (address named, uint96 amount) = arbiter.verdict(kind, id, 1, accused);
        equal(named, beneficiary);
        equal(amount, STAKE);
        (uint256 had, uint256 supply) = (credit.balanceOf(beneficiary), credit.totalSupply());
        arbiter.collect(kind, id, 1, accused);
        equal(credit.balanceOf(beneficiary), had + STAKE / 2);
        equal(credit.totalSupply(), supply - (STAKE - STAKE / 2));
        equal(registry.seized(), 0);
        vm.expectRevert(abi.encodeWithSelector(IArbiter.NothingToCollect.selector, kind, id, 1, accused));
        arbiter.collect(kind, id, 1, accused);
    }

    function refused(bytes4 selector) internal {
        vm.expectRevert(abi.encodeWithSelector(selector));
    }
}
