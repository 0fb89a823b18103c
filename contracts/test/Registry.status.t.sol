// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Roles} from "../src/libraries/Roles.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice admit, suspend, reinstate, revoke: the whole status machine, from every status, by every kind of caller.
contract RegistryStatusTest is World {
    uint32 internal id;

    function setUp() public override {
        super.setUp();
        id = registerAs(STRANGER, 1, CLOUD, 0);
    }

    /// @dev Action 0 admits, 1 suspends, 2 reinstates, 3 revokes.
    function act(address caller, uint8 action, uint32 which) internal {
        vm.prank(caller);
        if (action == 0) registry.admit(which);
        if (action == 1) registry.suspend(which);
        if (action == 2) registry.reinstate(which);
        if (action == 3) registry.revoke(which);
    }

    function bring(uint8 status) internal {
        if (status != PENDING) act(REGISTRAR, 0, id);
        if (status == SUSPENDED) act(REGISTRAR, 1, id);
        if (status == REVOKED) act(REGISTRAR, 3, id);
        equal(registry.node(id).status, status);
    }

    function next(uint8 status, uint8 action) internal pure returns (uint8) {
        if (action == 0 && status == PENDING) return ACTIVE;
        if (action == 1 && status == ACTIVE) return SUSPENDED;
        if (action == 2 && status == SUSPENDED) return ACTIVE;
        if (action == 3 && status != REVOKED) return REVOKED;
        return 0;
    }

    function test_a_registrar_moves_a_node_along_the_machine_and_nowhere_else(uint8 status, uint8 action) public {
        status = uint8(between(status, PENDING, REVOKED));
        action = uint8(between(action, 0, 3));
        bring(status);
        uint8 wanted = next(status, action);
        if (wanted == 0) {
            vm.expectRevert(abi.encodeWithSelector(IRegistry.BadStatus.selector, id, status));
        } else {
            vm.expectEmit(true, true, true, true, address(registry));
            emit IRegistry.StatusChanged(id, wanted);
        }
        act(REGISTRAR, action, id);
        equal(registry.node(id).status, wanted == 0 ? status : wanted);
        yes(registry.active(id, CLOUD) == (registry.node(id).status == ACTIVE), "active says what the status says");
    }

    function test_an_owner_may_stop_its_node_but_not_start_it(uint8 status, uint8 action) public {
        status = uint8(between(status, PENDING, REVOKED));
        action = uint8(between(action, 0, 3));
        bring(status);
        address owner = accountOf(1);
        bool stops = action == 1 || action == 3;
        uint8 wanted = stops ? next(status, action) : 0;
        if (!stops) expectNotAuthorised(owner, Roles.REGISTRAR);
        else if (wanted == 0) vm.expectRevert(abi.encodeWithSelector(IRegistry.BadStatus.selector, id, status));
        act(owner, action, id);
        equal(registry.node(id).status, wanted == 0 ? status : wanted);
    }

    function test_a_stranger_moves_nothing(address caller, uint8 status, uint8 action) public {
        vm.assume(caller != REGISTRAR && caller != accountOf(1));
        status = uint8(between(status, PENDING, REVOKED));
        action = uint8(between(action, 0, 3));
        bring(status);
        expectNotAuthorised(caller, Roles.REGISTRAR);
        act(caller, action, id);
    }

    function test_an_unknown_node_is_refused(uint32 other, uint8 action) public {
        vm.assume(other != id);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, other));
        act(REGISTRAR, uint8(between(action, 0, 3)), other);
    }

    function test_an_unknown_node_is_all_zero(uint32 other) public view {
        vm.assume(other != id);
        IRegistry.Node memory none;
        equal(keccak256(abi.encode(registry.node(other))), keccak256(abi.encode(none)));
        (address account, uint8 tier, uint8 status) = registry.standing(other);
        yes(account == address(0) && tier == 0 && status == 0 && !registry.active(other, 0), "nobody");
    }
}
