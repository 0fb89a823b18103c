// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../src/interfaces/IArbiter.sol";
import {ICourt} from "../src/interfaces/ICourt.sol";
import {ILedger} from "../src/interfaces/ILedger.sol";
import {Adding} from "./support/Adding.sol";
import {Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

/// @notice demand, answerLeaf, answerChunk, answerRoot, expire.
/// forge-config: default.fuzz.runs = 24
contract CourtDemandTest is Adding {
    uint8 internal constant LEAF = 1;
    uint8 internal constant CHUNK = 2;
    uint8 internal constant EDGE_ROOT = 3;
    uint64 internal constant INDEX = 1;

    ILedger.Header internal header;
    uint256 internal anchoredAt;
    uint256 internal dispute;

    function setUp() public override {
        super.setUp();
        start(2);
    }

    function edges() internal view returns (Edge[] memory all) {
        Fault memory none;
        all = new Edge[](2);
        all[0] = edgeWith(THE_EDGE, updatesFrom(3, 1), true, none, 1);
        all[1] = edgeWith(OTHER_EDGE, updatesFrom(1, 2), true, none, 2);
    }

    function start(uint8 rule) internal {
        id = openJudged(rule, 0, width, chunks);
        Fault memory none;
        Edge[] memory all = edges();
        ILedger.Header memory h = headerOver(all, treeOver(all, none));
        anchorAs(accountOf(1), h);
        (header, anchoredAt) = (h, block.timestamp);
    }

    function demandAs(uint8 kind, uint64 index, uint32 chunk, bytes memory refusal) internal {
        (ILedger.Header memory h, IArbiter.Member memory member) = (header, memberProof(edges(), 0));
        fillWallet(STRANGER, BOND, address(court));
        if (refusal.length != 0) vm.expectRevert(refusal);
        vm.prank(STRANGER);
        dispute = court.demand(h, anchoredAt, member, kind, index, chunk);
    }

    function ask(uint8 kind) internal {
        demandAs(kind, INDEX, chunkIndex, "");
    }

    function placeOf(uint64 index) internal view returns (IArbiter.Placed memory) {
        Edge memory e = edges()[0];
        Update memory u = e.updates[index];
        ILedger.Leaf memory leaf = ILedger.Leaf({
            task: id,
            round: 1,
            node: u.node,
            edge: THE_EDGE,
            sequence: u.sequence,
            weight: u.weight,
            ciphertext: u.ciphertext,
            updateRoot: u.updateRoot,
            metrics: u.metrics
        });
        return IArbiter.Placed(leaf, index, Trees.pathOf(e.leaves, index));
    }

    function requireOver(address paid) internal view {
        equal(credit.balanceOf(paid), BOND);
        equal(credit.balanceOf(address(court)), 0);
        equal(court.demandOf(dispute).challenger, address(0));
        equal(registry.node(THE_EDGE).holds, 0);
        equal(registry.node(THE_CLOUD).holds, 0);
        equal(ledger.task(id).openDisputes, 0);
    }

    function test_a_demand_holds_the_accused_and_the_task(uint8 kind, bool twoLevels) public {
        kind = uint8(between(kind, 1, 3));
        if (!twoLevels) start(1);
        IArbiter.EdgeRoot memory edge = edges()[0].report;
        uint64 index = kind == EDGE_ROOT ? 0 : INDEX;
        uint32 chunk = kind == CHUNK ? chunkIndex : 0;
        uint32 accused = kind == LEAF || (kind == CHUNK && twoLevels) ? THE_EDGE : THE_CLOUD;
        uint256 until = block.timestamp + ANSWER;
        IArbiter.Member memory member = memberProof(edges(), 0);
        ILedger.Header memory h = header;
        fillWallet(STRANGER, BOND, address(court));
        vm.expectEmit(true, true, true, true, address(court));
        emit ICourt.Demanded(1, id, accused, 1, STRANGER, kind, edge, index, chunk, until);
        vm.prank(STRANGER);
        dispute = court.demand(h, anchoredAt, member, kind, INDEX, chunkIndex);
        equal(dispute, court.count());
        equal(court.demandOf(1).accused, accused);
        equal(registry.node(accused).holds, 1);
        equal(ledger.task(id).openDisputes, 1);
        equal(credit.balanceOf(address(court)), BOND);
        vm.warp(block.timestamp + WINDOW);
        yes(!isFinal(h, anchoredAt), "disputed");
    }

    function test_who_shows_the_leaf_in_time_gets_the_bond(uint48 elapsed) public {
        ask(LEAF);
        vm.warp(block.timestamp + between(elapsed, 0, ANSWER - 1));
        (IArbiter.EdgeRoot memory edge, IArbiter.Placed memory place) = (edges()[0].report, placeOf(INDEX));
        vm.expectEmit(true, true, true, true, address(court));
        emit ICourt.Answered(1, PUBLISHER, abi.encode(place.leaf));
        vm.prank(PUBLISHER);
        court.answerLeaf(1, edge, place);
        requireOver(PUBLISHER);
    }

    function test_who_shows_the_chunk_in_time_gets_the_bond() public {
        ask(CHUNK);
        Update memory u = edges()[0].updates[INDEX];
        (IArbiter.EdgeRoot memory edge, IArbiter.Placed memory place) = (edges()[0].report, placeOf(INDEX));
        bytes memory data = abi.encodePacked(u.salt, u.chunk);
        vm.expectEmit(true, true, true, true, address(court));
        emit ICourt.Answered(1, PUBLISHER, data);
        vm.prank(PUBLISHER);
        court.answerChunk(1, edge, place, chunkIndex, data, u.path);
        requireOver(PUBLISHER);
    }

    function test_a_chunk_that_is_another_is_no_answer(uint8 field) public {
        ask(CHUNK);
        Update memory u = edges()[0].updates[INDEX];
        (IArbiter.EdgeRoot memory edge, IArbiter.Placed memory place) = (edges()[0].report, placeOf(INDEX));
        bytes memory data = abi.encodePacked(u.salt, u.chunk);
        field = uint8(between(field, 0, 2));
        if (field == 0) data[100] ^= 0x01;
        if (field == 1) data = abi.encodePacked(data, uint8(0));
        if (field == 2) place.leaf.sequence += 1;
        expectBadProof();
        court.answerChunk(1, edge, place, chunkIndex, data, u.path);
    }

    function test_who_shows_the_signature_in_time_gets_the_bond(bool rotated) public {
        ask(EDGE_ROOT);
        IArbiter.EdgeRoot memory edge = edges()[0].report;
        bytes memory signature = signRoot(edge);
        if (rotated) {
            vm.prank(accountOf(THE_EDGE));
            registry.proposeAccount(THE_EDGE, address(0x1234));
            vm.prank(address(0x1234));
            registry.acceptAccount(THE_EDGE);
        }
        vm.expectEmit(true, true, true, true, address(court));
        emit ICourt.Answered(1, PUBLISHER, signature);
        vm.prank(PUBLISHER);
        court.answerRoot(1, edge, signature);
        requireOver(PUBLISHER);
    }

    function test_a_signature_of_another_is_no_answer() public {
        ask(EDGE_ROOT);
        IArbiter.EdgeRoot memory edge = edges()[0].report;
        bytes memory signature = signed(secretOf(OTHER_EDGE), rootDigest(edge));
        vm.expectRevert(abi.encodeWithSelector(IArbiter.BadSignature.selector, THE_EDGE));
        court.answerRoot(1, edge, signature);
    }

    function test_only_what_was_asked_is_an_answer() public {
        (IArbiter.EdgeRoot memory edge, IArbiter.Placed memory place) = (edges()[0].report, placeOf(0));
        vm.expectRevert(abi.encodeWithSelector(ICourt.UnknownDispute.selector, 1));
        court.answerLeaf(1, edge, place);
        ask(LEAF);
        refused(IArbiter.Unrelated.selector);
        court.answerLeaf(1, edge, place);
        vm.expectRevert(abi.encodeWithSelector(ICourt.BadKind.selector, EDGE_ROOT));
        court.answerRoot(1, edge, "");
        place = placeOf(INDEX);
        place.leaf.weight += 1;
        expectBadProof();
        court.answerLeaf(1, edge, place);
    }

    function test_silence_costs_the_accused_its_stake(uint8 kind) public {
        kind = uint8(between(kind, 1, 3));
        ask(kind);
        uint32 accused = kind == EDGE_ROOT ? THE_CLOUD : THE_EDGE;
        (IArbiter.EdgeRoot memory edge, IArbiter.Placed memory place) = (edges()[0].report, placeOf(INDEX));
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooEarly.selector, block.timestamp + ANSWER));
        court.expire(1);
        vm.warp(block.timestamp + ANSWER);
        if (kind == LEAF) {
            vm.expectRevert(abi.encodeWithSelector(ICourt.TooLate.selector, block.timestamp));
            court.answerLeaf(1, edge, place);
        }
        vm.expectEmit(true, true, true, true, address(court));
        emit ICourt.Expired(1, accused, STAKE);
        court.expire(1);
        equal(heldBy(accused), 0);
        equal(credit.balanceOf(STRANGER), BOND + STAKE / 2);
        equal(registry.seized(), 0);
        equal(ledger.task(id).openDisputes, 0);
        equal(ledger.task(id).struck, kind == EDGE_ROOT ? 1 : 0);
        vm.expectRevert(abi.encodeWithSelector(ICourt.UnknownDispute.selector, 1));
        court.expire(1);
    }

    function test_only_what_exists_is_demanded() public {
        demandAs(0, 0, 0, abi.encodeWithSelector(ICourt.BadKind.selector, 0));
        demandAs(4, 0, 0, abi.encodeWithSelector(ICourt.BadKind.selector, 4));
        demandAs(LEAF, 3, 0, abi.encodeWithSelector(ICourt.OutOfRange.selector));
        demandAs(CHUNK, 3, 0, abi.encodeWithSelector(ICourt.OutOfRange.selector));
        demandAs(CHUNK, 2, chunks, abi.encodeWithSelector(ICourt.OutOfRange.selector));
    }

    function test_the_edge_and_the_round_are_what_was_anchored() public {
        (ILedger.Header memory h, IArbiter.Member memory member) = (header, memberProof(edges(), 0));
        vm.expectRevert(abi.encodeWithSelector(IArbiter.NotAnchored.selector, id, 1));
        court.demand(h, anchoredAt + 1, member, LEAF, 0, 0);
        member.edge.count += 1;
        expectBadProof();
        court.demand(h, anchoredAt, member, LEAF, 0, 0);
        member.edge.round += 1;
        refused(IArbiter.Unrelated.selector);
        court.demand(h, anchoredAt, member, LEAF, 0, 0);
    }

    function test_a_final_round_owes_nothing(uint32 late) public {
        vm.warp(anchoredAt + WINDOW + late);
        demandAs(LEAF, 0, 0, abi.encodeWithSelector(ICourt.TooLate.selector, anchoredAt + WINDOW));
    }
}
