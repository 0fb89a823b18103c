// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice proposeAccount, acceptAccount, setMeta.
contract RegistryAccountTest is World {
    address internal constant OWNER = address(0x0E4);

    uint32 internal id;

    function setUp() public override {
        super.setUp();
        IRegistry.NodeSpec memory spec = specOf(1, CLOUD, 0);
        spec.owner = OWNER;
        bytes memory signature = signed(secretOf(1), registrationDigest(spec, block.timestamp));
        vm.prank(OWNER);
        id = registry.register(spec, block.timestamp, signature, proof());
    }

    function spokesman(bool owner) internal pure returns (address) {
        return owner ? OWNER : accountOf(1);
    }

    function test_an_account_is_replaced_in_two_steps(bool owner, address next) public {
        vm.assume(registry.idOfAccount(next) == 0 && next != address(0));
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.AccountProposed(id, next);
        vm.prank(spokesman(owner));
        registry.proposeAccount(id, next);
        equal(registry.proposedAccount(id), next);
        equal(registry.node(id).account, accountOf(1));

        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.AccountRotated(id, next);
        vm.prank(next);
        registry.acceptAccount(id);
        equal(registry.node(id).account, next);
        equal(registry.node(id).owner, OWNER);
        equal(registry.idOfAccount(next), id);
        equal(registry.idOfAccount(accountOf(1)), id);
        equal(registry.proposedAccount(id), address(0));
    }

    function test_a_former_account_neither_speaks_nor_comes_back(address next) public {
        vm.assume(registry.idOfAccount(next) == 0 && next != address(0));
        vm.prank(OWNER);
        registry.proposeAccount(id, next);
        vm.prank(next);
        registry.acceptAccount(id);

        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotOwner.selector, accountOf(1)));
        vm.prank(accountOf(1));
        registry.setMeta(id, "mine");

        vm.prank(OWNER);
        registry.proposeAccount(id, accountOf(1));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.AccountTaken.selector, accountOf(1)));
        vm.prank(accountOf(1));
        registry.acceptAccount(id);
    }

    function test_only_the_proposed_account_accepts(address next, address other) public {
        vm.assume(next != other);
        vm.prank(OWNER);
        registry.proposeAccount(id, next);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotOwner.selector, other));
        vm.prank(other);
        registry.acceptAccount(id);
    }

    function test_a_proposal_can_be_withdrawn(address next) public {
        vm.assume(next != address(0));
        vm.prank(OWNER);
        registry.proposeAccount(id, next);
        vm.prank(OWNER);
        registry.proposeAccount(id, address(0));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotOwner.selector, next));
        vm.prank(next);
        registry.acceptAccount(id);
    }

    function test_an_account_of_another_node_cannot_accept() public {
        enrol(2, CLOUD, 0);
        vm.prank(OWNER);
        registry.proposeAccount(id, accountOf(2));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.AccountTaken.selector, accountOf(2)));
        vm.prank(accountOf(2));
        registry.acceptAccount(id);
    }

    function test_a_stranger_proposes_and_describes_nothing(address caller) public {
        vm.assume(caller != OWNER && caller != accountOf(1));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotOwner.selector, caller));
        vm.prank(caller);
        registry.proposeAccount(id, caller);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotOwner.selector, caller));
        vm.prank(caller);
        registry.setMeta(id, "mine");
    }

    function test_the_description_changes(bool owner, bytes32 metaHash) public {
        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.MetaChanged(id, metaHash);
        vm.prank(spokesman(owner));
        registry.setMeta(id, metaHash);
    }

    function test_a_revoked_node_changes_nothing() public {
        vm.prank(OWNER);
        registry.proposeAccount(id, STRANGER);
        vm.prank(OWNER);
        registry.revoke(id);
        bytes memory refusal = abi.encodeWithSelector(IRegistry.BadStatus.selector, id, REVOKED);
        vm.expectRevert(refusal);
        vm.prank(OWNER);
        registry.proposeAccount(id, STRANGER);
        vm.expectRevert(refusal);
        vm.prank(STRANGER);
        registry.acceptAccount(id);
        vm.expectRevert(refusal);
        vm.prank(OWNER);
        registry.setMeta(id, "late");
    }

    function test_an_unknown_node_is_refused(uint32 other) public {
        vm.assume(other != id);
        bytes memory refusal = abi.encodeWithSelector(IRegistry.UnknownNode.selector, other);
        vm.expectRevert(refusal);
        registry.proposeAccount(other, STRANGER);
        vm.expectRevert(refusal);
        registry.acceptAccount(other);
        vm.expectRevert(refusal);
        registry.setMeta(other, 0);
    }
}
