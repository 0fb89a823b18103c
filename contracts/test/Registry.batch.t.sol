// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {MerkleLog} from "../src/libraries/MerkleLog.sol";
import {Roles} from "../src/libraries/Roles.sol";
import {Trees} from "./support/Trees.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice registerBatch, admitBatch, suspendBatch, reinstateBatch, revokeBatch, materialise.
contract RegistryBatchTest is World {
    address internal constant OWNER = address(0x0117);
    uint32 internal constant SIZE = 7;
    uint256 internal constant FIRST_MEMBER = 50;

    uint32 internal edge;
    uint32 internal first;

    function setUp() public override {
        super.setUp();
        edge = enrol(2, EDGE, enrol(1, CLOUD, 0));
    }

    function member(uint256 index) internal view returns (IRegistry.NodeSpec memory spec) {
        spec = specOf(FIRST_MEMBER + index, END, edge);
        spec.owner = OWNER;
    }

    function memberLeaf(IRegistry.NodeSpec memory s) internal pure returns (bytes32) {
        return
            sha256(abi.encodePacked(uint8(0), "drystone/member/1", s.netKey, s.account, s.parent, s.name, s.metaHash));
    }

    function memberLeaves() internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](SIZE);
        for (uint256 i = 0; i < SIZE; ++i) {
            leaves[i] = memberLeaf(member(i));
        }
    }

    function batchBy(address owner) internal returns (uint32) {
        bytes32 root = Trees.rootOf(memberLeaves());
        vm.prank(owner);
        return registry.registerBatch(root, SIZE, "list");
    }

    function makeOwnerRegistrar() internal {
        authority.grantRole(Roles.REGISTRAR, OWNER, 0);
    }

    function materialise(uint256 index, IRegistry.NodeSpec memory spec, uint256 deadline, bytes memory refusal)
        internal
        returns (uint32)
    {
        bytes32[] memory path = Trees.pathOf(memberLeaves(), index < SIZE ? index : 0);
        bytes memory signature = signed(secretOf(FIRST_MEMBER + index), registrationDigest(spec, deadline));
        if (refusal.length != 0) vm.expectRevert(refusal);
        vm.prank(STRANGER);
        return registry.materialise(first, index, spec, deadline, signature, proof(), path);
    }

    function test_a_batch_takes_ids_and_one_transaction(bytes32 root, uint32 count, bytes32 list, bool registrar)
        public
    {
        if (registrar) makeOwnerRegistrar();
        count = uint32(between(count, 1, registrar ? 1 << 20 : 1 << 14));
        vm.roll(3_000);
        uint8 status = registrar ? ACTIVE : PENDING;
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.BatchRegistered(3, count, OWNER, status, root, list);
        vm.prank(OWNER);
        equal(registry.registerBatch(root, count, list), 3);
        equal(registry.count(), 2 + count);
        IRegistry.Batch memory b = IRegistry.Batch(root, OWNER, count, status, 3_000, 3_000);
        equal(keccak256(abi.encode(registry.batch(3))), keccak256(abi.encode(b)));
        equal(registry.node(3).status, 0);
        equal(enrol(3, EDGE, 1), 3 + count);
    }

    function test_a_batch_has_a_size(uint32 count, bool registrar) public {
        if (registrar) makeOwnerRegistrar();
        count = uint32(between(count, (registrar ? 1 << 20 : 1 << 14) + 1, type(uint32).max));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadBatch.selector, count));
        vm.prank(OWNER);
        registry.registerBatch("root", count, "list");
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadBatch.selector, 0));
        vm.prank(OWNER);
        registry.registerBatch("root", 0, "list");
        vm.prank(PAUSER);
        registry.pause();
        vm.expectRevert(abi.encodeWithSelector(IRegistry.Paused.selector));
        vm.prank(OWNER);
        registry.registerBatch("root", 1, "list");
    }

    function test_a_member_becomes_a_node_with_the_batchs_status_and_blocks(uint256 index, uint8 way) public {
        index = between(index, 0, SIZE - 1);
        way = uint8(between(way, 0, 3));
        first = batchBy(OWNER);
        vm.roll(2_000);
        if (way > 0) {
            vm.prank(REGISTRAR);
            registry.admitBatch(first);
        }
        if (way > 1) {
            vm.prank(OWNER);
            way == 2 ? registry.suspendBatch(first) : registry.revokeBatch(first);
        }
        vm.roll(3_000);
        vm.prank(PAUSER);
        registry.pause();
        IRegistry.NodeSpec memory spec = member(index);
        uint32 id = materialise(index, spec, block.timestamp - 1, "");
        equal(id, first + index);
        uint8[4] memory statuses = [PENDING, ACTIVE, SUSPENDED, REVOKED];
        IRegistry.Node memory n = registry.node(id);
        equal(n.status, statuses[way]);
        equal(n.since, 1_000);
        equal(n.statusBlock, way == 0 ? 1_000 : 2_000);
        equal(n.account, spec.account);
        equal(n.owner, OWNER);
        equal(n.netKey, spec.netKey);
        equal(n.parent, edge);
        equal(n.tier, END);
        equal(registry.idOfAccount(spec.account), id);
        equal(registry.idOfKey(spec.netKey), id);
        equal(registry.count(), 2 + SIZE);
        materialise(index, spec, 0, abi.encodeWithSelector(IRegistry.AlreadyMaterialised.selector, id));
    }

    function test_a_member_that_was_materialised_goes_its_own_way() public {
        makeOwnerRegistrar();
        first = batchBy(OWNER);
        uint32 id = materialise(2, member(2), 0, "");
        vm.prank(OWNER);
        registry.revokeBatch(first);
        equal(registry.node(id).status, ACTIVE);
    }

    function test_only_a_member_is_materialised() public {
        first = batchBy(OWNER);
        bytes memory refusal = abi.encodeWithSelector(IRegistry.NotMember.selector, first, 1);
        materialise(SIZE, member(SIZE), 0, abi.encodeWithSelector(IRegistry.NotMember.selector, first, SIZE));
        IRegistry.NodeSpec memory spec = member(1);
        spec.tier = EDGE;
        materialise(1, spec, 0, abi.encodeWithSelector(IRegistry.BadTier.selector, EDGE));
        (spec.tier, spec.owner) = (END, STRANGER);
        materialise(1, spec, 0, abi.encodeWithSelector(IRegistry.NotOwner.selector, STRANGER));
        spec = member(1);
        spec.metaHash = "another";
        materialise(1, spec, 0, refusal);
        spec = member(2);
        materialise(1, spec, 0, refusal);
        first += 1;
        materialise(1, member(1), 0, abi.encodeWithSelector(IRegistry.UnknownBatch.selector, first));
    }

    function test_a_path_of_another_shape_is_refused() public {
        first = batchBy(OWNER);
        IRegistry.NodeSpec memory spec = member(1);
        bytes32[] memory path = new bytes32[](1);
        bytes memory signature = signed(secretOf(FIRST_MEMBER + 1), registrationDigest(spec, 0));
        expectBadProof();
        registry.materialise(first, 1, spec, 0, signature, proof(), path);
    }

    function test_a_member_signs_as_in_a_registration() public {
        first = batchBy(OWNER);
        IRegistry.NodeSpec memory spec = member(1);
        bytes32[] memory path = Trees.pathOf(memberLeaves(), 1);
        bytes memory signature = signed(secretOf(FIRST_MEMBER + 2), registrationDigest(spec, 0));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadSignature.selector));
        registry.materialise(first, 1, spec, 0, signature, proof(), path);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadKey.selector));
        registry.materialise(first, 1, spec, 0, signature, "short", path);
    }

    function test_keys_and_parents_are_those_of_registrations() public {
        first = batchBy(OWNER);
        vm.prank(REGISTRAR);
        registry.revoke(edge);
        materialise(1, member(1), 0, abi.encodeWithSelector(IRegistry.BadParent.selector, edge, END));
    }

    function test_a_key_that_was_used_before_is_refused() public {
        first = batchBy(OWNER);
        enrol(FIRST_MEMBER + 3, END, edge);
        IRegistry.NodeSpec memory spec = member(3);
        materialise(3, spec, 0, abi.encodeWithSelector(IRegistry.KeyTaken.selector, spec.netKey));
    }

    /* STATUS */

    function move(uint8 action) internal {
        if (action == 0) registry.admitBatch(first);
        if (action == 1) registry.suspendBatch(first);
        if (action == 2) registry.reinstateBatch(first);
        if (action == 3) registry.revokeBatch(first);
    }

    /// @dev The table of a node: which action is allowed in which status, and where it leads.
    function test_a_batchs_status_moves_as_a_nodes(uint256 seed) public {
        first = batchBy(OWNER);
        uint8 status = PENDING;
        for (uint256 step = 0; step < 8; ++step) {
            uint8 action = uint8(seed >> 8 * step) % 4;
            uint8[4] memory from = [PENDING, ACTIVE, SUSPENDED, status];
            uint8[4] memory to = [ACTIVE, SUSPENDED, ACTIVE, REVOKED];
            bool allowed = status == from[action] && status != REVOKED;
            vm.roll(block.number + 1);
            if (allowed) {
                vm.expectEmit(true, true, true, true, address(registry));
                emit IRegistry.BatchStatusChanged(first, to[action]);
            } else {
                vm.expectRevert(abi.encodeWithSelector(IRegistry.BadStatus.selector, first, status));
            }
            vm.prank(REGISTRAR);
            move(action);
            if (allowed) {
                status = to[action];
                equal(registry.batch(first).statusBlock, block.number);
            }
            equal(registry.batch(first).status, status);
        }
    }

    function test_only_registrars_and_owners_move_a_batch(address caller, uint8 action) public {
        first = batchBy(OWNER);
        vm.assume(caller != OWNER && caller != REGISTRAR);
        action = uint8(between(action, 0, 3));
        expectNotAuthorised(caller, Roles.REGISTRAR);
        vm.prank(caller);
        move(action);
        uint8 reserved = action % 2 == 0 ? action : 0;
        expectNotAuthorised(OWNER, Roles.REGISTRAR);
        vm.prank(OWNER);
        move(reserved);
        first = 1;
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownBatch.selector, 1));
        move(action);
    }

    /* RETIRED ACCOUNTS */

    function test_a_retired_account_binds_its_node_for_a_day(uint48 elapsed, address next) public {
        vm.assume(next != address(0) && registry.idOfAccount(next) == 0);
        address old = accountOf(2);
        yes(registry.bound(edge, old), "its account");
        yes(!registry.bound(1, old) && !registry.bound(0, next), "and no other node's");
        vm.prank(old);
        registry.proposeAccount(edge, next);
        vm.prank(next);
        registry.acceptAccount(edge);
        equal(registry.retiredAt(old), block.timestamp);
        equal(registry.retiredAt(next), 0);
        vm.warp(block.timestamp + elapsed);
        yes(registry.bound(edge, old) == (elapsed <= 1 days), "for a day");
        yes(registry.bound(edge, next), "the new one for good");
    }
}
