// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {Registry} from "../src/Registry.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice A wallet that accepts one digest (ERC-1271), as a smart account would.
contract Wallet {
    bytes32 internal immutable ACCEPTED;

    constructor(bytes32 accepted) {
        ACCEPTED = accepted;
    }

    function isValidSignature(bytes32 digest, bytes calldata) external view returns (bytes4) {
        return digest == ACCEPTED ? this.isValidSignature.selector : bytes4(0);
    }
}

contract RegistryRegisterTest is World {
    uint32 internal cloud;
    uint32 internal edge;

    function setUp() public override {
        super.setUp();
        cloud = enrol(1, CLOUD, 0);
        edge = enrol(2, EDGE, cloud);
    }

    function send(IRegistry.NodeSpec memory spec, uint256 secret, uint256 deadline) internal returns (uint32) {
        return registry.register(spec, deadline, signed(secret, registrationDigest(spec, deadline)), proof());
    }

    function expectRefusal(bytes memory refusal, IRegistry.NodeSpec memory spec, uint256 secret) internal {
        bytes memory signature = signed(secret, registrationDigest(spec, block.timestamp));
        vm.expectRevert(refusal);
        registry.register(spec, block.timestamp, signature, proof());
    }

    function test_a_relayed_registration_is_stored_whole_and_waits(
        uint256 secret,
        bytes32 netKey,
        bytes32 name,
        bytes32 metaHash,
        uint64 block_,
        uint32 ahead
    ) public {
        secret = between(secret, 1, 1 << 128);
        vm.assume(netKey != 0 && name != 0);
        vm.assume(registry.idOfKey(netKey) == 0 && registry.idOfAccount(vm.addr(secret)) == 0);
        uint48 since = uint48(between(block_, 1, 1 << 47));
        vm.roll(since);
        IRegistry.NodeSpec memory spec = IRegistry.NodeSpec({
            netKey: netKey,
            account: vm.addr(secret),
            owner: vm.addr(secret),
            tier: END,
            parent: edge,
            name: name,
            metaHash: metaHash
        });
        uint256 deadline = block.timestamp + ahead;
        bytes memory signature = signed(secret, registrationDigest(spec, deadline));

        vm.expectEmit(true, true, true, true, address(registry));
        emit IRegistry.Registered(
            3, netKey, spec.account, spec.owner, END, PENDING, edge, name, metaHash, deadline, signature, proof()
        );
        vm.prank(STRANGER);
        uint32 id = registry.register(spec, deadline, signature, proof());

        equal(id, 3);
        equal(registry.count(), 3);
        equal(registry.idOfKey(netKey), id);
        equal(registry.idOfAccount(spec.account), id);
        equal(
            keccak256(abi.encode(registry.node(id))),
            keccak256(
                abi.encode(
                    IRegistry.Node({
                        netKey: netKey,
                        account: spec.account,
                        tier: END,
                        status: PENDING,
                        parent: edge,
                        statusBlock: since,
                        owner: spec.owner,
                        nonce: 0,
                        since: since,
                        holds: 0,
                        stake: 0,
                        unbonding: 0,
                        unbondAt: 0
                    })
                )
            )
        );
    }

    function test_a_registrar_admits_at_once() public {
        uint32 id = enrol(3, END, edge);
        yes(registry.active(id, END), "active in its tier");
        yes(!registry.active(id, EDGE) && !registry.active(id, 0), "and in no other");
        (address account, uint8 tier, uint8 status) = registry.standing(id);
        equal(account, accountOf(3));
        equal(tier, END);
        equal(status, ACTIVE);
    }

    function test_a_registrar_with_a_delay_does_not_admit_at_once(uint32 delay) public {
        delay = uint32(between(delay, 1, type(uint32).max));
        authority.grantRole(1, STRANGER, delay);
        equal(registry.node(registerAs(STRANGER, 3, END, edge)).status, PENDING);
    }

    function test_an_owner_registers_a_node_with_an_account_of_its_own(address owner) public {
        vm.assume(owner != accountOf(3) && owner != REGISTRAR);
        IRegistry.NodeSpec memory spec = specOf(3, END, edge);
        spec.owner = owner;
        bytes memory signature = signed(secretOf(3), registrationDigest(spec, block.timestamp));
        vm.prank(owner);
        uint32 id = registry.register(spec, block.timestamp, signature, proof());
        equal(registry.node(id).owner, owner);
        equal(registry.node(id).account, accountOf(3));
    }

    function test_nobody_is_made_an_owner_by_somebody_else(address owner) public {
        vm.assume(owner != accountOf(3) && owner != address(this));
        IRegistry.NodeSpec memory spec = specOf(3, END, edge);
        spec.owner = owner;
        expectRefusal(abi.encodeWithSelector(IRegistry.NotOwner.selector, address(this)), spec, secretOf(3));
    }

    function test_a_smart_account_signs_by_its_own_rule(bytes calldata signature, uint32 late) public {
        IRegistry.NodeSpec memory spec = specOf(3, END, edge);
        // The wallet's address must be known before what it accepts: the next contract that this test creates.
        spec.account = create1Address(vm.getNonce(address(this)));
        spec.owner = spec.account;
        uint256 deadline = block.timestamp + late;
        Wallet wallet = new Wallet(registrationDigest(spec, deadline));
        equal(address(wallet), spec.account);
        equal(registry.register(spec, deadline, signature, proof()), 3);

        spec.netKey = keccak256("another");
        spec.account = address(new Wallet(0));
        spec.owner = spec.account;
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadSignature.selector));
        registry.register(spec, deadline, signature, proof());
    }

    function create1Address(uint64 nonce) internal view returns (address) {
        require(nonce < 0x80, "one byte of RLP");
        bytes1 encoded = nonce == 0 ? bytes1(0x80) : bytes1(uint8(nonce));
        return address(uint160(uint256(keccak256(abi.encodePacked(bytes2(0xd694), address(this), encoded)))));
    }

    function test_a_paused_registry_refuses_and_an_unpaused_one_accepts() public {
        vm.prank(PAUSER);
        registry.pause();
        expectRefusal(abi.encodeWithSelector(IRegistry.Paused.selector), specOf(3, END, edge), secretOf(3));
        vm.prank(PAUSER);
        registry.unpause();
        equal(registerAs(STRANGER, 3, END, edge), 3);
    }

    function test_an_expired_signature_is_refused(uint256 deadline) public {
        deadline = between(deadline, 0, block.timestamp - 1);
        IRegistry.NodeSpec memory spec = specOf(3, END, edge);
        bytes memory signature = signed(secretOf(3), registrationDigest(spec, deadline));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.Expired.selector, deadline));
        registry.register(spec, deadline, signature, proof());
    }

    function test_an_unknown_tier_is_refused(uint8 tier) public {
        vm.assume(tier < END || tier > CLOUD);
        expectRefusal(abi.encodeWithSelector(IRegistry.BadTier.selector, tier), specOf(3, tier, edge), secretOf(3));
    }

    function test_a_parent_must_be_one_tier_up(uint8 tier, uint32 parent) public {
        tier = uint8(between(tier, END, CLOUD));
        uint32 right = tier == CLOUD ? 0 : tier == EDGE ? cloud : edge;
        vm.assume(parent != right);
        bytes memory refusal = abi.encodeWithSelector(IRegistry.BadParent.selector, parent, tier);
        expectRefusal(refusal, specOf(3, tier, parent), secretOf(3));
    }

    function test_every_near_parent_is_judged(uint8 tier, uint32 parent) public {
        tier = uint8(between(tier, END, CLOUD));
        parent = uint32(between(parent, 0, 3));
        uint32 right = tier == CLOUD ? 0 : tier == EDGE ? cloud : edge;
        if (parent == right) {
            equal(registerAs(STRANGER, 3, tier, parent), 3);
        } else {
            bytes memory refusal = abi.encodeWithSelector(IRegistry.BadParent.selector, parent, tier);
            expectRefusal(refusal, specOf(3, tier, parent), secretOf(3));
        }
    }

    function test_a_suspended_parent_still_takes_children_but_a_revoked_one_does_not() public {
        vm.prank(REGISTRAR);
        registry.suspend(edge);
        equal(registerAs(STRANGER, 3, END, edge), 3);
        vm.prank(REGISTRAR);
        registry.revoke(edge);
        bytes memory refusal = abi.encodeWithSelector(IRegistry.BadParent.selector, edge, END);
        expectRefusal(refusal, specOf(4, END, edge), secretOf(4));
    }

    function test_a_zero_key_is_refused() public {
        IRegistry.NodeSpec memory spec = specOf(3, END, edge);
        spec.netKey = 0;
        expectRefusal(abi.encodeWithSelector(IRegistry.BadKey.selector), spec, secretOf(3));
    }

    function test_a_key_proof_of_another_length_is_refused(bytes calldata given) public {
        vm.assume(given.length != 64);
        IRegistry.NodeSpec memory spec = specOf(3, END, edge);
        bytes memory signature = signed(secretOf(3), registrationDigest(spec, block.timestamp));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadKey.selector));
        registry.register(spec, block.timestamp, signature, given);
    }

    function test_an_empty_name_is_refused() public {
        IRegistry.NodeSpec memory spec = specOf(3, END, edge);
        spec.name = 0;
        expectRefusal(abi.encodeWithSelector(IRegistry.BadName.selector), spec, secretOf(3));
    }

    function test_a_key_serves_one_node_even_after_its_revocation(bool revoked) public {
        IRegistry.NodeSpec memory spec = specOf(3, END, edge);
        spec.netKey = registry.node(edge).netKey;
        if (revoked) {
            uint32 other = enrol(4, EDGE, cloud);
            vm.prank(REGISTRAR);
            registry.revoke(edge);
            spec.parent = other;
        }
        expectRefusal(abi.encodeWithSelector(IRegistry.KeyTaken.selector, spec.netKey), spec, secretOf(3));
    }

    function test_an_account_serves_one_node() public {
        IRegistry.NodeSpec memory spec = specOf(3, END, edge);
        (spec.account, spec.owner) = (accountOf(2), accountOf(2));
        expectRefusal(abi.encodeWithSelector(IRegistry.AccountTaken.selector, accountOf(2)), spec, secretOf(2));
    }

    function test_a_registration_cannot_be_replayed() public {
        IRegistry.NodeSpec memory spec = specOf(3, END, edge);
        send(spec, secretOf(3), block.timestamp);
        expectRefusal(abi.encodeWithSelector(IRegistry.KeyTaken.selector, spec.netKey), spec, secretOf(3));
    }

    function test_a_signature_of_somebody_else_is_refused(uint256 secret) public {
        secret = between(secret, 1, 1 << 128);
        vm.assume(secret != secretOf(3));
        expectRefusal(abi.encodeWithSelector(IRegistry.BadSignature.selector), specOf(3, END, edge), secret);
    }

    function test_a_signature_covers_every_field(uint8 field, bytes32 other) public {
        IRegistry.NodeSpec memory spec = specOf(3, END, edge);
        uint256 deadline = block.timestamp + 10;
        bytes memory signature = signed(secretOf(3), registrationDigest(spec, deadline));
        field = uint8(between(field, 0, 5));
        vm.assume(other != 0 && other != spec.netKey && other != spec.name && other != spec.metaHash);
        vm.assume(registry.idOfKey(other) == 0);
        if (field == 0) spec.netKey = other;
        if (field == 1) spec.owner = address(this);
        if (field == 2) (spec.tier, spec.parent) = (EDGE, cloud);
        if (field == 3) spec.name = other;
        if (field == 4) spec.metaHash = other;
        if (field == 5) deadline += 1;
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadSignature.selector));
        registry.register(spec, deadline, signature, proof());
    }

    function test_a_signature_is_worth_nothing_on_another_registry_or_chain() public {
        Registry other = new Registry(authority, credit, [uint96(0), 0, 0], UNBONDING_SECONDS);
        IRegistry.NodeSpec memory spec = specOf(3, CLOUD, 0);
        bytes memory signature = signed(secretOf(3), registrationDigest(spec, block.timestamp));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadSignature.selector));
        other.register(spec, block.timestamp, signature, proof());

        vm.chainId(block.chainid + 1);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.BadSignature.selector));
        registry.register(spec, block.timestamp, signature, proof());
    }

    function test_an_account_of_zero_is_refused() public {
        IRegistry.NodeSpec memory spec = specOf(3, END, edge);
        (spec.account, spec.owner) = (address(0), address(0));
        expectRefusal(abi.encodeWithSelector(IRegistry.BadSignature.selector), spec, secretOf(3));
    }
}
