// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../src/interfaces/IArbiter.sol";
import {ILedger} from "../src/interfaces/ILedger.sol";
import {Adding} from "./support/Adding.sol";
import {Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

/// forge-config: default.fuzz.runs = 24
contract ArbiterWrongCoordinateTest is Adding {
    struct Case {
        ILedger.Header header;
        IArbiter.Taken[] taken;
        IArbiter.Chunk chunk;
        bytes shown;
        uint256 coordinate;
    }

    /// @notice The rule's result by selection: the smallest is taken out as often as there are values.
    function resultOf(Edge[] memory edges, uint256 coordinate, uint8 rule, uint256 trim)
        internal
        view
        returns (int256 sum)
    {
        int256[] memory values = new int256[](256);
        uint256 n = 0;
        for (uint256 e = 0; e < edges.length; ++e) {
            for (uint256 i = 0; i < edges[e].updates.length; ++i) {
                if (edges[e].updates[i].used == 0) continue;
                values[n++] = integerAt(edges[e].updates[i].chunk, coordinate, width);
            }
        }
        (uint256 from, uint256 to) = (trim, n - trim);
        if (rule == 3) (from, to) = ((n - 1) / 2, n / 2 + 1);
        for (uint256 rank = 0; rank < n; ++rank) {
            uint256 smallest = rank;
            for (uint256 i = rank; i < n; ++i) {
                if (values[i] < values[smallest]) smallest = i;
            }
            (values[rank], values[smallest]) = (values[smallest], values[rank]);
            if (rank >= from && rank < to) sum += values[rank];
        }
    }

    function caseOf(Edge[] memory edges, uint8 rule, uint8 trim, uint256 coordinate, int64 by)
        internal
        returns (Case memory c)
    {
        int256[] memory numbers = new int256[](256);
        for (uint256 i = 0; i < 256; ++i) {
            numbers[i] = int256(uint256(keccak256(abi.encode("elsewhere", i))));
        }
        numbers[coordinate] = resultOf(edges, coordinate, rule, trim) + by;
        Sum memory node = sumNode(numbers, 0, 4);
        c.header = nextHeader(id);
        c.header.inputsCount = uint64(edges.length);
        (c.header.chunksRoot, c.coordinate) = (nodeHashOf(node), coordinate);
        (c.chunk, c.shown) = (chunkProof(node), node.chunk);
        c.taken = new IArbiter.Taken[](edges.length);
        for (uint256 e = 0; e < edges.length; ++e) {
            c.taken[e].edge = edges[e].report;
            c.taken[e].updates = new bytes[](edges[e].updates.length);
            for (uint256 i = 0; i < edges[e].updates.length; ++i) {
                c.taken[e].updates[i] = packed(edges[e].updates[i]);
            }
        }
        c.header.inputsRoot = Trees.rootOf(inputsOf(edges));
        c.header.weightsRoot = Trees.rootOf(weightsOf(edges));
    }

    function edgesOf(uint256 many, uint256 each) internal view returns (Edge[] memory edges) {
        Fault memory none;
        edges = new Edge[](many);
        for (uint256 e = 0; e < many; ++e) {
            edges[e] = edgeWith(uint32(2 + e), updatesFrom(e == 1 ? 0 : each, e + 9), false, none, e);
        }
    }

    function prove(Case memory c) internal {
        vm.prank(STRANGER);
        arbiter.wrongCoordinate(c.header, block.timestamp, c.taken, c.chunk, c.shown, c.coordinate);
    }

    function anyCase(uint256 seed, int64 by) internal returns (Case memory) {
        uint8 rule = seed % 2 == 0 ? 3 : 4;
        width = seed >> 1 & 1 == 0 ? 2 : 4;
        Edge[] memory edges = edgesOf(between(seed >> 8, 1, 4), between(seed >> 16, 3, 5));
        for (uint256 i = 0; i < 3; ++i) {
            if (edges[0].updates[i].used == 0) {
                edges[0].updates[i].used = 1;
            }
        }
        Fault memory none;
        edges[0] = edgeWith(2, edges[0].updates, false, none, 0);
        id = openJudged(rule, rule == 4 ? 1 : 0, width, chunks);
        for (uint256 e = 0; e < edges.length; ++e) {
            edges[e] = edgeWith(uint32(2 + e), edges[e].updates, false, none, e);
        }
        return caseOf(edges, rule, rule == 4 ? 1 : 0, between(seed >> 24, 0, 255), by);
    }

    function test_a_wrong_median_or_trimmed_mean_costs_the_cloud_its_stake(uint256 seed, int32 by) public {
        vm.assume(by != 0);
        Case memory c = anyCase(seed, by);
        anchorAs(accountOf(1), c.header);
        expectProven("wrongCoordinate", THE_CLOUD, STRANGER);
        prove(c);
        equal(ledger.task(id).struck, 1);
        requirePunished("wrongCoordinate", THE_CLOUD, STRANGER);
    }

    function test_a_right_one_proves_nothing(uint256 seed) public {
        Case memory c = anyCase(seed, 0);
        anchorAs(accountOf(1), c.header);
        refused(IArbiter.NotProven.selector);
        prove(c);
    }

    function test_a_trim_that_leaves_nothing_decides_nothing() public {
        id = openJudged(4, 2, width, chunks);
        Edge[] memory edges = edgesOf(1, 3);
        Case memory c = caseOf(edges, 3, 0, 9, 1);
        anchorAs(accountOf(1), c.header);
        refused(IArbiter.NotProven.selector);
        prove(c);
    }

    function test_a_round_without_weight_decides_nothing() public {
        id = openJudged(3, 0, width, chunks);
        Update[] memory updates = updatesFrom(1, 3);
        updates[0].used = 0;
        Fault memory none;
        Edge[] memory edges = new Edge[](1);
        edges[0] = edgeWith(THE_EDGE, updates, false, none, 1);
        Case memory c = caseOf(edgesOf(1, 3), 3, 0, 9, 1);
        c.taken = caseTaken(edges);
        (c.header.inputsRoot, c.header.weightsRoot) = (Trees.rootOf(inputsOf(edges)), Trees.rootOf(weightsOf(edges)));
        anchorAs(accountOf(1), c.header);
        refused(IArbiter.NotProven.selector);
        prove(c);
    }

    function caseTaken(Edge[] memory edges) internal pure returns (IArbiter.Taken[] memory taken) {
        taken = new IArbiter.Taken[](1);
        taken[0].edge = edges[0].report;
        taken[0].updates = new bytes[](1);
        taken[0].updates[0] = packed(edges[0].updates[0]);
    }

    function test_evidence_has_the_shape_that_the_commitments_require(uint8 field) public {
        Case memory c = anyCase(0, 1);
        anchorAs(accountOf(1), c.header);
        field = uint8(between(field, 0, 4));
        if (field == 0) c.taken = new IArbiter.Taken[](9);
        if (field == 1) c.coordinate = 256;
        if (field == 2) c.shown = new bytes(2047);
        if (field == 3) c.taken[0].updates = new bytes[](c.taken[0].updates.length + 1);
        if (field == 4) c.taken[0].edge.count = 17;
        refused(IArbiter.BadShape.selector);
        prove(c);
    }

    function test_a_round_without_edges_decides_nothing() public {
        id = openJudged(3, 0, width, chunks);
        Case memory c = caseOf(edgesOf(1, 3), 3, 0, 9, 1);
        c.header.inputsCount = 0;
        c.taken = new IArbiter.Taken[](0);
        anchorAs(accountOf(1), c.header);
        refused(IArbiter.BadShape.selector);
        prove(c);
    }

    function test_more_than_sixteen_values_are_not_judged() public {
        id = openJudged(3, 0, width, chunks);
        Edge[] memory edges = edgesOf(4, 6);
        for (uint256 e = 0; e < 4; ++e) {
            for (uint256 i = 0; i < edges[e].updates.length; ++i) {
                edges[e].updates[i].used = 1;
            }
            Fault memory none;
            edges[e] = edgeWith(uint32(2 + e), edges[e].updates, false, none, e);
        }
        Case memory c = caseOf(edges, 3, 0, 9, 1);
        anchorAs(accountOf(1), c.header);
        refused(IArbiter.BadShape.selector);
        prove(c);
    }

    function test_evidence_that_was_changed_proves_nothing(uint8 field) public {
        Case memory c = anyCase(0, 1);
        anchorAs(accountOf(1), c.header);
        field = uint8(between(field, 0, 4));
        if (field == 0) c.taken[0].edge.rosterBlock += 1;
        if (field == 1) c.taken[0].updates[0][20] ^= 0x01;
        if (field == 2) c.shown[3] ^= 0x01;
        if (field == 3) c.chunk.found = "another";
        if (field == 4) c.chunk.sums = "another";
        expectBadProof();
        prove(c);
    }

    function test_a_node_of_the_committed_chunk_is_the_headers() public {
        Case memory c = anyCase(0, 1);
        c.header.chunksRoot = "another";
        anchorAs(accountOf(1), c.header);
        expectBadProof();
        prove(c);
    }

    function test_another_rule_is_not_judged_so() public {
        Case memory c = anyCase(0, 1);
        id = openJudged(1, 0, width, chunks);
        c.header = nextHeader(id);
        anchorAs(accountOf(1), c.header);
        vm.expectRevert(abi.encodeWithSelector(IArbiter.WrongRule.selector, 1));
        prove(c);
    }
}
