// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../src/interfaces/IArbiter.sol";
import {ILedger} from "../src/interfaces/ILedger.sol";
import {Adding} from "./support/Adding.sol";
import {Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

/// @notice wrongEdgeGroup, wrongEdgeNode, wrongMember, wrongWeights: linear in two levels.
/// forge-config: default.fuzz.runs = 16
contract ArbiterWrongEdgeGroupTest is Adding {
    Fault internal none;

    function setUp() public override {
        super.setUp();
        id = openJudged(2, 0, width, chunks);
    }

    function edgeOf(uint256 count, Fault memory fault) internal view returns (Edge memory) {
        return edgeWith(THE_EDGE, updatesFrom(count, 77), true, fault, 1);
    }

    function test_a_wrong_sum_of_updates_costs_the_edge_its_stake(uint256 seed, int64 by) public {
        vm.assume(by != 0);
        uint256 count = between(seed, 1, 33);
        uint256 g = between(seed >> 8, 0, (count - 1) / 16);
        Edge memory e = edgeOf(count, Fault(true, 0, g, between(seed >> 16, 0, 255), by));
        IArbiter.Group memory group = groupProof(e, g);
        bytes memory signature = signRoot(e.report);
        expectProven("wrongEdgeGroup", THE_EDGE, STRANGER);
        vm.prank(STRANGER);
        arbiter.wrongEdgeGroup(e.report, signature, group);
        requirePunished("wrongEdgeGroup", THE_EDGE, STRANGER);
    }

    function test_a_right_sum_of_updates_proves_nothing(uint256 seed) public {
        uint256 count = between(seed, 1, 33);
        Edge memory e = edgeOf(count, none);
        IArbiter.Group memory group = groupProof(e, between(seed >> 8, 0, (count - 1) / 16));
        bytes memory signature = signRoot(e.report);
        refused(IArbiter.NotProven.selector);
        arbiter.wrongEdgeGroup(e.report, signature, group);
    }

    function test_the_edge_signed_it_and_the_rule_is_judged_so() public {
        Edge memory e = edgeOf(2, Fault(true, 0, 0, 1, 1));
        IArbiter.Group memory group = groupProof(e, 0);
        vm.expectRevert(abi.encodeWithSelector(IArbiter.BadSignature.selector, THE_EDGE));
        arbiter.wrongEdgeGroup(e.report, "", group);
        e.report.task = openJudged(1, 0, width, chunks);
        vm.expectRevert(abi.encodeWithSelector(IArbiter.WrongRule.selector, 1));
        arbiter.wrongEdgeGroup(e.report, "", group);
        IArbiter.Inner memory inner;
        vm.expectRevert(abi.encodeWithSelector(IArbiter.WrongRule.selector, 1));
        arbiter.wrongEdgeNode(e.report, "", inner);
        e.report.task = id;
        vm.expectRevert(abi.encodeWithSelector(IArbiter.BadSignature.selector, THE_EDGE));
        arbiter.wrongEdgeNode(e.report, "", inner);
    }

    function test_a_wrong_sum_of_groups_costs_the_edge_its_stake(uint256 seed, int64 by) public {
        vm.assume(by != 0);
        Edge memory e = edgeOf(between(seed, 17, 40), Fault(true, 1, 0, between(seed >> 16, 0, 255), by));
        IArbiter.Inner memory inner = innerProof(e.levels, 1, 0);
        bytes memory signature = signRoot(e.report);
        expectProven("wrongEdgeNode", THE_EDGE, STRANGER);
        vm.prank(STRANGER);
        arbiter.wrongEdgeNode(e.report, signature, inner);
        requirePunished("wrongEdgeNode", THE_EDGE, STRANGER);
    }

    function test_a_right_sum_of_groups_proves_nothing(uint256 seed) public {
        Edge memory e = edgeOf(between(seed, 17, 40), none);
        IArbiter.Inner memory inner = innerProof(e.levels, 1, 0);
        bytes memory signature = signRoot(e.report);
        refused(IArbiter.NotProven.selector);
        arbiter.wrongEdgeNode(e.report, signature, inner);
    }

    function test_a_node_has_the_shape_that_the_count_requires() public {
        Edge memory e = edgeOf(17, Fault(true, 1, 0, 3, 3));
        bytes memory signature = signRoot(e.report);
        for (uint8 level = 0; level < 4; ++level) {
            if (level == 1) continue;
            IArbiter.Inner memory odd = innerProof(e.levels, 1, 0);
            odd.level = level;
            refused(IArbiter.BadShape.selector);
            arbiter.wrongEdgeNode(e.report, signature, odd);
        }
        IArbiter.Inner memory inner = innerProof(e.levels, 1, 0);
        inner.number = 1;
        refused(IArbiter.BadShape.selector);
        arbiter.wrongEdgeNode(e.report, signature, inner);
        inner = innerProof(e.levels, 1, 0);
        inner.children[1] = new bytes(2111);
        refused(IArbiter.BadShape.selector);
        arbiter.wrongEdgeNode(e.report, signature, inner);
        inner = innerProof(e.levels, 1, 0);
        inner.children[1] = "";
        expectBadProof();
        arbiter.wrongEdgeNode(e.report, signature, inner);
        inner = innerProof(e.levels, 1, 0);
        inner.children[1] = abi.encodePacked(inner.children[1], uint8(0));
        refused(IArbiter.BadShape.selector);
        arbiter.wrongEdgeNode(e.report, signature, inner);
    }

    /* THE CLOUD'S TREE */

    function test_a_cloud_counts_what_the_edge_reported(bool swapped) public {
        Edge[] memory edges = new Edge[](2);
        edges[0] = edgeOf(3, none);
        edges[1] = edgeWith(OTHER_EDGE, updatesFrom(2, 5), true, none, 5);
        IArbiter.EdgeRoot memory honest = edges[0].report;
        if (swapped) edges[0] = edgeWith(THE_EDGE, updatesFrom(3, 78), true, none, 1);
        Sum[][] memory levels = treeOver(edges, none);
        bytes32 found = nodeHashOf(levels[0][0]);
        bytes32 weights = Trees.rootOf(edges[0].entries);
        bytes32[] memory weightsPath = Trees.pathOf(weightsOf(edges), 0);
        edges[0].report = honest;
        ILedger.Header memory header = headerOver(edges, levels);
        anchorAs(accountOf(1), header);
        IArbiter.Member memory member = memberProof(edges, 0);
        IArbiter.Step[] memory walk = walkFrom(levels, 0, 0);
        if (!swapped) refused(IArbiter.NotProven.selector);
        else expectProven("wrongMember", THE_CLOUD, STRANGER);
        vm.prank(STRANGER);
        arbiter.wrongMember(header, block.timestamp, member, found, walk);
        if (swapped) requirePunished("wrongMember", THE_CLOUD, STRANGER);
        if (!swapped) refused(IArbiter.NotProven.selector);
        arbiter.wrongWeights(header, block.timestamp, member, weights, weightsPath);
        (address beneficiary,) = arbiter.verdict("wrongWeights", id, 1, THE_CLOUD);
        equal(beneficiary, swapped ? address(this) : address(0));
    }

    function test_members_are_judged_in_two_levels_only() public {
        id = openJudged(1, 0, width, chunks);
        Edge[] memory edges = new Edge[](1);
        edges[0] = edgeOf(3, none);
        Sum[][] memory levels = treeOver(edges, none);
        ILedger.Header memory header = headerOver(edges, levels);
        anchorAs(accountOf(1), header);
        IArbiter.Member memory member = memberProof(edges, 0);
        IArbiter.Step[] memory walk = walkFrom(levels, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(IArbiter.WrongRule.selector, 1));
        arbiter.wrongMember(header, block.timestamp, member, 0, walk);
        vm.expectRevert(abi.encodeWithSelector(IArbiter.WrongRule.selector, 1));
        arbiter.wrongWeights(header, block.timestamp, member, 0, new bytes32[](0));
    }
}
