// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../src/interfaces/IArbiter.sol";
import {ILedger} from "../src/interfaces/ILedger.sol";
import {MerkleLog} from "../src/libraries/MerkleLog.sol";
import {Adding} from "./support/Adding.sol";
import {Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

/// @notice wrongGroup: linear over all updates, accused is the cloud.
/// forge-config: default.fuzz.runs = 24
contract ArbiterWrongGroupTest is Adding {
    struct Case {
        ILedger.Header header;
        IArbiter.Member member;
        bytes32 weights;
        bytes32[] weightsPath;
        IArbiter.Group group;
    }

    function setUp() public override {
        super.setUp();
        id = openJudged(1, 0, width, chunks);
    }

    /// @notice A round of `many` edges; the one at `index` has `count` updates, of which group `g` is shown.
    function caseOf(uint256 many, uint256 index, uint256 count, uint256 g, Fault memory fault)
        internal
        returns (Case memory c)
    {
        Fault memory none;
        Edge[] memory edges = new Edge[](many);
        for (uint256 i = 0; i < many; ++i) {
            edges[i] = i == index
                ? edgeWith(THE_EDGE, updatesFrom(count, 77), false, fault, 1)
                : edgeWith(uint32(500 + i), updatesFrom(i % 3, i), false, none, i);
        }
        Sum[][] memory levels = treeOver(edges, none);
        c.header = headerOver(edges, levels);
        anchorAs(accountOf(1), c.header);
        c.member = memberProof(edges, index);
        c.weights = Trees.rootOf(edges[index].entries);
        c.weightsPath = Trees.pathOf(weightsOf(edges), index);
        c.group = groupProof(edges[index], g);
        c.group.walk = joined(c.group.walk, walkFrom(levels, 0, index));
    }

    function prove(Case memory c) internal {
        vm.prank(STRANGER);
        arbiter.wrongGroup(c.header, block.timestamp, c.member, c.weights, c.weightsPath, c.group);
    }

    function refusedAs(Case memory c, bytes4 selector) internal {
        refused(selector);
        prove(c);
    }

    function test_a_wrong_sum_of_updates_costs_the_cloud_its_stake(uint256 seed, int64 by) public {
        vm.assume(by != 0);
        uint256 count = between(seed, 1, 33);
        uint256 g = between(seed >> 8, 0, (count - 1) / 16);
        uint256 many = between(seed >> 16, 1, 3);
        Fault memory fault = Fault(true, 0, g, between(seed >> 24, 0, 255), by);
        Case memory c = caseOf(many, between(seed >> 32, 0, many - 1), count, g, fault);
        expectProven("wrongGroup", THE_CLOUD, STRANGER);
        prove(c);
        equal(ledger.task(id).struck, 1);
        requirePunished("wrongGroup", THE_CLOUD, STRANGER);
        vm.expectRevert(
            abi.encodeWithSelector(IArbiter.AlreadyProven.selector, bytes32("wrongGroup"), id, 1, THE_CLOUD)
        );
        prove(c);
    }

    function test_a_right_sum_proves_nothing(uint256 seed) public {
        uint256 count = between(seed, 1, 33);
        uint256 many = between(seed >> 16, 1, 3);
        Fault memory none;
        Case memory c =
            caseOf(many, between(seed >> 32, 0, many - 1), count, between(seed >> 8, 0, (count - 1) / 16), none);
        refusedAs(c, IArbiter.NotProven.selector);
    }

    function test_a_tree_over_seventeen_edges_has_two_levels_above_them() public {
        Case memory c = caseOf(17, 16, 2, 0, Fault(true, 0, 0, 5, -1));
        equal(c.group.walk.length, 2);
        expectProven("wrongGroup", THE_CLOUD, STRANGER);
        prove(c);
    }

    function test_wide_integers_add_up_too() public {
        width = 4;
        id = openJudged(1, 0, width, chunks);
        Fault memory none;
        refusedAs(caseOf(2, 1, 18, 1, none), IArbiter.NotProven.selector);
        id = openJudged(1, 0, width, chunks);
        Case memory c = caseOf(2, 1, 18, 1, Fault(true, 0, 1, 255, 1));
        expectProven("wrongGroup", THE_CLOUD, STRANGER);
        prove(c);
    }

    function test_the_largest_weights_add_up_modulo_2_64() public {
        Update[] memory updates = updatesFrom(16, 3);
        for (uint256 i = 0; i < 16; ++i) {
            updates[i].used = type(uint64).max - uint64(i);
        }
        Fault memory none;
        Edge[] memory edges = new Edge[](1);
        edges[0] = edgeWith(THE_EDGE, updates, false, none, 1);
        Sum[][] memory levels = treeOver(edges, none);
        Case memory c;
        c.header = headerOver(edges, levels);
        anchorAs(accountOf(1), c.header);
        (c.member, c.weights) = (memberProof(edges, 0), Trees.rootOf(edges[0].entries));
        c.group = groupProof(edges[0], 0);
        c.group.walk = walkFrom(levels, 0, 0);
        refusedAs(c, IArbiter.NotProven.selector);
    }

    function test_a_group_of_no_weight_must_be_zero() public {
        Update[] memory updates = updatesFrom(2, 3);
        (updates[0].used, updates[1].used) = (0, 0);
        Fault memory none;
        Edge[] memory edges = new Edge[](1);
        edges[0] = edgeWith(THE_EDGE, updates, false, Fault(true, 0, 0, 9, 4), 1);
        Sum[][] memory levels = treeOver(edges, none);
        Case memory c;
        c.header = headerOver(edges, levels);
        anchorAs(accountOf(1), c.header);
        (c.member, c.weights) = (memberProof(edges, 0), Trees.rootOf(edges[0].entries));
        c.group = groupProof(edges[0], 0);
        c.group.walk = walkFrom(levels, 0, 0);
        expectProven("wrongGroup", THE_CLOUD, STRANGER);
        prove(c);
    }

    function faulty() internal returns (Case memory) {
        return caseOf(2, 0, 18, 1, Fault(true, 0, 1, 7, 1));
    }

    function test_a_round_that_was_not_anchored_proves_nothing() public {
        Case memory c = faulty();
        c.header.manifest = "another";
        vm.expectRevert(abi.encodeWithSelector(IArbiter.NotAnchored.selector, id, 1));
        prove(c);
    }

    function test_another_rule_is_not_judged_so() public {
        id = openJudged(2, 0, width, chunks);
        Case memory c = faulty();
        vm.expectRevert(abi.encodeWithSelector(IArbiter.WrongRule.selector, 2));
        prove(c);
    }

    function test_an_edge_of_another_task_or_round_proves_nothing() public {
        Case memory c = faulty();
        c.member.edge.round = 2;
        refusedAs(c, IArbiter.Unrelated.selector);
        c.member.edge.round = 1;
        c.member.edge.task += 1;
        refusedAs(c, IArbiter.Unrelated.selector);
    }

    function test_evidence_has_the_shape_that_the_commitments_require() public {
        Case memory c = faulty();
        c.member.members = 3;
        refusedAs(c, IArbiter.BadShape.selector);

        c = again(c);
        c.group.number = 2;
        refusedAs(c, IArbiter.BadShape.selector);

        c = again(c);
        c.group.updates = new bytes[](1);
        refusedAs(c, IArbiter.BadShape.selector);

        c = again(c);
        (IArbiter.Step[] memory one, IArbiter.Step memory first) = (new IArbiter.Step[](1), c.group.walk[0]);
        one[0] = first;
        c.group.walk = one;
        refusedAs(c, IArbiter.BadShape.selector);

        c = again(c);
        c.group.walk = joined(c.group.walk, new IArbiter.Step[](1));
        refusedAs(c, IArbiter.BadShape.selector);
    }

    function again(Case memory) internal returns (Case memory) {
        id = openJudged(1, 0, width, chunks);
        return faulty();
    }

    function test_an_update_has_the_length_that_its_weight_requires(uint8 way) public {
        Case memory c = faulty();
        Update memory u = updatesFrom(18, 77)[16];
        bytes memory whole = packed(u);
        way = uint8(between(way, 0, 3));
        if (way == 0) c.group.updates[0] = new bytes(119);
        if (way == 1) c.group.updates[0] = new bytes(121);
        if (way == 2) c.group.updates[0] = abi.encodePacked(whole, uint8(0));
        if (way == 3) {
            u.used = 1;
            u.chunk = new bytes(100);
            u.path = new bytes32[](0);
            c.group.updates[0] = packed(u);
        }
        refusedAs(c, IArbiter.BadShape.selector);
    }

    function test_evidence_that_was_changed_proves_nothing(uint8 field) public {
        Case memory c = faulty();
        field = uint8(between(field, 0, 8));
        if (field == 0) c.member.edge.count += 1;
        if (field == 1) c.weights = "another";
        if (field == 2) c.weightsPath[0] = "another";
        if (field == 3) c.group.leaves[0] = "another";
        if (field == 4) c.group.weights[0] = "another";
        if (field == 5) c.group.chunk.found = "another";
        if (field == 6) c.group.walk[0].sums = "another";
        if (field == 7) c.group.updates[0][60] ^= 0x01;
        if (field == 8) c.group.updates[0][400] ^= 0x01;
        expectBadProof();
        prove(c);
    }

    function test_a_final_round_is_punished_and_stays_final() public {
        Case memory c = faulty();
        uint256 time = block.timestamp;
        vm.warp(time + WINDOW);
        arbiter.wrongGroup(c.header, time, c.member, c.weights, c.weightsPath, c.group);
        requirePunished("wrongGroup", THE_CLOUD, address(this));
        yes(isFinal(c.header, time), "what is final stays final");
    }
}
