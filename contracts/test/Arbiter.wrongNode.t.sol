// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../src/interfaces/IArbiter.sol";
import {ILedger} from "../src/interfaces/ILedger.sol";
import {Adding} from "./support/Adding.sol";
import {vm} from "./support/Vm.sol";

/// @notice wrongNode, wrongInnerNode.
/// forge-config: default.fuzz.runs = 16
contract ArbiterWrongNodeTest is Adding {
    Fault internal none;
    ILedger.Header internal header;

    function setUp() public override {
        super.setUp();
        id = openJudged(1, 0, width, chunks);
    }

    function edgesOf(uint256 many, uint256 count, Fault memory fault) internal view returns (Edge[] memory edges) {
        edges = new Edge[](many);
        for (uint256 i = 0; i < many; ++i) {
            edges[i] = edgeWith(uint32(2 + i), updatesFrom(i == 0 ? count : i % 2, i), false, fault, i);
        }
    }

    function roundOf(Edge[] memory edges, Fault memory fault) internal returns (Sum[][] memory levels) {
        levels = treeOver(edges, fault);
        ILedger.Header memory h = headerOver(edges, levels);
        anchorAs(accountOf(1), h);
        header = h;
    }

    function prove(uint256 members, IArbiter.Inner memory inner) internal {
        ILedger.Header memory h = header;
        vm.prank(STRANGER);
        arbiter.wrongNode(h, block.timestamp, uint64(members), inner);
    }

    function test_a_wrong_sum_of_edges_costs_the_cloud_its_stake(uint256 seed, int64 by) public {
        vm.assume(by != 0);
        uint256 many = between(seed, 1, 20);
        uint256 number = between(seed >> 8, 0, (many - 1) / 16);
        Sum[][] memory levels = roundOf(edgesOf(many, 1, none), Fault(true, 1, number, between(seed >> 16, 0, 255), by));
        IArbiter.Inner memory inner = innerProof(levels, 1, number);
        expectProven("wrongNode", THE_CLOUD, STRANGER);
        prove(many, inner);
        equal(ledger.task(id).struck, 1);
        requirePunished("wrongNode", THE_CLOUD, STRANGER);
    }

    function test_a_wrong_top_of_two_levels_too(bool twoLevels) public {
        if (twoLevels) id = openJudged(2, 0, width, chunks);
        Sum[][] memory levels = roundOf(edgesOf(17, 1, none), Fault(true, 2, 0, 200, -7));
        IArbiter.Inner memory inner = innerProof(levels, 2, 0);
        expectProven("wrongNode", THE_CLOUD, STRANGER);
        prove(17, inner);
    }

    function test_a_right_sum_of_edges_proves_nothing(uint256 seed) public {
        uint256 many = between(seed, 1, 20);
        Sum[][] memory levels = roundOf(edgesOf(many, 1, none), none);
        IArbiter.Inner memory inner = innerProof(levels, 1, between(seed >> 8, 0, (many - 1) / 16));
        refused(IArbiter.NotProven.selector);
        prove(many, inner);
    }

    function test_edges_that_do_not_count_add_up_to_zero() public {
        Edge[] memory edges = edgesOf(2, 0, none);
        edges[1] = edgesOf(1, 0, none)[0];
        Sum[][] memory levels = roundOf(edges, Fault(true, 1, 0, 3, 1));
        IArbiter.Inner memory inner = innerProof(levels, 1, 0);
        expectProven("wrongNode", THE_CLOUD, STRANGER);
        prove(2, inner);
    }

    function test_members_are_the_inputs_and_perhaps_forced_updates() public {
        Sum[][] memory levels = roundOf(edgesOf(2, 1, none), Fault(true, 1, 0, 3, 1));
        IArbiter.Inner memory inner = innerProof(levels, 1, 0);
        refused(IArbiter.BadShape.selector);
        prove(1, inner);
        refused(IArbiter.BadShape.selector);
        prove(3, inner);
    }

    function test_forced_updates_are_one_member_more() public {
        ILedger.Leaf memory leaf = leafOf(DEVICE, 0);
        ledger.submitDirect(leaf, signDirect(leaf, DEVICE));
        Edge[] memory edges = edgesOf(3, 1, none);
        Sum[][] memory levels = treeOver(edges, Fault(true, 1, 0, 3, 1));
        ILedger.Header memory h = headerOver(edges, levels);
        h.forced = ledger.forcedChain(id);
        h.inputsCount = 2;
        anchorAs(accountOf(1), h);
        header = h;
        IArbiter.Inner memory inner = innerProof(levels, 1, 0);
        expectProven("wrongNode", THE_CLOUD, STRANGER);
        prove(3, inner);
    }

    function test_only_linear_rules_add(uint8 rule) public {
        rule = uint8(between(rule, 2, 4));
        id = openJudged(rule == 2 ? 0 : rule, 0, width, chunks);
        Sum[][] memory levels = roundOf(edgesOf(1, 1, none), none);
        IArbiter.Inner memory inner = innerProof(levels, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IArbiter.WrongRule.selector, rule == 2 ? 0 : rule));
        prove(1, inner);
    }

    /* WITHIN AN EDGE */

    function test_a_wrong_sum_of_groups_costs_the_cloud_its_stake(uint256 seed, int64 by) public {
        vm.assume(by != 0);
        Edge[] memory edges = edgesOf(2, between(seed, 17, 36), Fault(true, 1, 0, between(seed >> 8, 0, 255), by));
        Sum[][] memory levels = roundOf(edges, none);
        IArbiter.Inner memory inner = innerProof(edges[0].levels, 1, 0);
        inner.walk = joined(inner.walk, walkFrom(levels, 0, 0));
        IArbiter.Member memory member = memberProof(edges, 0);
        ILedger.Header memory h = header;
        expectProven("wrongInnerNode", THE_CLOUD, STRANGER);
        vm.prank(STRANGER);
        arbiter.wrongInnerNode(h, block.timestamp, member, inner);
        requirePunished("wrongInnerNode", THE_CLOUD, STRANGER);
    }

    function test_a_right_sum_of_groups_proves_nothing_nor_does_another_rule() public {
        for (uint8 rule = 1; rule < 3; ++rule) {
            id = openJudged(rule, 0, width, chunks);
            Edge[] memory edges = edgesOf(2, 20, none);
            Sum[][] memory levels = roundOf(edges, none);
            IArbiter.Inner memory inner = innerProof(edges[0].levels, 1, 0);
            inner.walk = joined(inner.walk, walkFrom(levels, 0, 0));
            IArbiter.Member memory member = memberProof(edges, 0);
            ILedger.Header memory h = header;
            if (rule == 1) refused(IArbiter.NotProven.selector);
            else vm.expectRevert(abi.encodeWithSelector(IArbiter.WrongRule.selector, 2));
            arbiter.wrongInnerNode(h, block.timestamp, member, inner);
        }
    }
}
