// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

contract RegistryRotateNetKeyTest is World {
    uint32 internal id;

    function setUp() public override {
        super.setUp();
        id = enrol(1, CLOUD, 0);
    }

    function permission(bytes32 newKey, uint32 nonce, uint256 deadline) internal view returns (bytes memory) {
        return signed(secretOf(1), rotationDigest(id, newKey, nonce, deadline));
    }

    function test_anybody_may_send_a_signed_rotation(bytes32 newKey, uint32 ahead) public {
        vm.assume(newKey != 0 && registry.idOfKey(newKey) == 0);
        bytes32 oldKey = registry.node(id).netKey;
        uint256 deadline = block.timestamp + ahead;
        bytes memory signature = permission(newKey, 0, deadline);
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.KeyRotated(id, newKey, deadline, proof());
        vm.prank(STRANGER);
        registry.rotateNetKey(id, newKey, deadline, signature, proof());
        equal(registry.node(id).netKey, newKey);
        equal(registry.node(id).nonce, 1);
        equal(registry.idOfKey(newKey), id);
        equal(registry.idOfKey(oldKey), id);
    }

    function test_a_rotation_cannot_be_replayed_nor_a_key_come_back(bytes32 newKey) public {
        vm.assume(newKey != 0 && registry.idOfKey(newKey) == 0);
        bytes32 oldKey = registry.node(id).netKey;
        bytes memory signature = permission(newKey, 0, block.timestamp);
        registry.rotateNetKey(id, newKey, block.timestamp, signature, proof());

        vm.expectRevert(abi.encodeWithSelector(IRegistry.KeyTaken.selector, newKey));
        registry.rotateNetKey(id, newKey, block.timestamp, signature, proof());

        signature = permission(oldKey, 1, block.timestamp);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.KeyTaken.selector, oldKey));
        registry.rotateNetKey(id, oldKey, block.timestamp, signature, proof());
    }

    function test_a_signature_for_another_nonce_is_refused(uint32 nonce, bytes32 newKey) public {
        vm.assume(nonce != 0 && newKey != 0 && registry.idOfKey(newKey) == 0);
        bytes memory signature = permission(newKey, nonce, block.timestamp);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadSignature.selector));
        registry.rotateNetKey(id, newKey, block.timestamp, signature, proof());
    }

    function test_every_rotation_needs_the_next_nonce(bytes32 second, bytes32 third) public {
        vm.assume(second != 0 && registry.idOfKey(second) == 0);
        vm.assume(third != 0 && third != second && registry.idOfKey(third) == 0);
        registry.rotateNetKey(id, second, block.timestamp, permission(second, 0, block.timestamp), proof());
        bytes memory stale = permission(third, 0, block.timestamp);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadSignature.selector));
        registry.rotateNetKey(id, third, block.timestamp, stale, proof());
        registry.rotateNetKey(id, third, block.timestamp, permission(third, 1, block.timestamp), proof());
        equal(registry.node(id).nonce, 2);
    }

    function test_a_stranger_cannot_rotate(uint256 secret, bytes32 newKey) public {
        secret = between(secret, 1, 1 << 128);
        vm.assume(secret != secretOf(1) && newKey != 0 && registry.idOfKey(newKey) == 0);
        bytes memory signature = signed(secret, rotationDigest(id, newKey, 0, block.timestamp));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadSignature.selector));
        registry.rotateNetKey(id, newKey, block.timestamp, signature, proof());
    }

    function test_an_expired_rotation_is_refused(uint256 deadline) public {
        deadline = between(deadline, 0, block.timestamp - 1);
        bytes memory signature = permission("new", 0, deadline);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.Expired.selector, deadline));
        registry.rotateNetKey(id, "new", deadline, signature, proof());
    }

    function test_a_zero_key_and_a_proof_of_another_length_are_refused(bytes calldata given) public {
        vm.assume(given.length != 64);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadKey.selector));
        registry.rotateNetKey(id, 0, block.timestamp, "", proof());
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadKey.selector));
        registry.rotateNetKey(id, "new", block.timestamp, "", given);
    }

    function test_an_unknown_node_is_refused(uint32 other) public {
        vm.assume(other != id);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, other));
        registry.rotateNetKey(other, "new", block.timestamp, "", proof());
    }

    function test_every_status_but_revoked_may_rotate() public {
        vm.prank(REGISTRAR);
        registry.suspend(id);
        registry.rotateNetKey(id, "second", block.timestamp, permission("second", 0, block.timestamp), proof());
        vm.prank(REGISTRAR);
        registry.revoke(id);
        bytes memory signature = permission("third", 1, block.timestamp);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadStatus.selector, id, REVOKED));
        registry.rotateNetKey(id, "third", block.timestamp, signature, proof());
    }
}
