// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Authority} from "../../src/Authority.sol";
import {Credit} from "../../src/Credit.sol";
import {Ledger} from "../../src/Ledger.sol";
import {Models} from "../../src/Models.sol";
import {Registry} from "../../src/Registry.sol";
import {Rewards} from "../../src/Rewards.sol";
import {ILedger} from "../../src/interfaces/ILedger.sol";
import {IRegistry} from "../../src/interfaces/IRegistry.sol";
import {MerkleLog} from "../../src/libraries/MerkleLog.sol";
import {Roles} from "../../src/libraries/Roles.sol";
import {Assertions} from "./Assertions.sol";
import {vm} from "./Vm.sol";

/// @notice All contracts deployed, one holder for each role, and shortcuts for what a test needs before it starts. Digests are
/// computed here from the standard's text, not by the contracts.
abstract contract World is Assertions {
    uint8 internal constant END = 1;
    uint8 internal constant EDGE = 2;
    uint8 internal constant CLOUD = 3;

    uint8 internal constant PENDING = 1;
    uint8 internal constant ACTIVE = 2;
    uint8 internal constant SUSPENDED = 3;
    uint8 internal constant REVOKED = 4;

    uint96 internal constant MIN_STAKE_EDGE = 100 ether;
    uint48 internal constant UNBONDING_SECONDS = 7 days;
    uint32 internal constant WINDOW = 1 hours;
    bytes32 internal constant GENESIS = keccak256("genesis model");

    address internal constant REGISTRAR = address(0xA001);
    address internal constant PUBLISHER = address(0xA002);
    address internal constant PAUSER = address(0xA004);
    address internal constant ARBITER = address(0xA5B);
    address internal constant SECOND_ARBITER = address(0xA5C);
    address internal constant STRANGER = address(0xBAD);

    /// @dev The secret keys of nodes' accounts count up from here.
    uint256 internal constant FIRST_SECRET = 0xACC0000;

    Authority internal authority;
    Credit internal credit;
    Registry internal registry;
    Ledger internal ledger;
    Rewards internal rewards;
    Models internal models;

    function setUp() public virtual {
        vm.warp(1_800_000_000);
        vm.roll(1_000);
        authority = new Authority(address(this));
        authority.grantRole(Roles.REGISTRAR, REGISTRAR, 0);
        authority.grantRole(Roles.PUBLISHER, PUBLISHER, 0);
        authority.grantRole(Roles.PAUSER, PAUSER, 0);
        credit = new Credit(authority);
        registry = new Registry(authority, credit, [uint96(0), MIN_STAKE_EDGE, 0], UNBONDING_SECONDS);
        ledger = new Ledger(authority, registry);
        rewards = new Rewards(authority, registry, ledger, credit);
        models = new Models(registry, ledger, credit);
    }

    /* NODES */

    function secretOf(uint256 number) internal pure returns (uint256) {
        return FIRST_SECRET + number;
    }

    function accountOf(uint256 number) internal pure returns (address) {
        return vm.addr(secretOf(number));
    }

    /// @notice What node `number` asks for: it owns itself, and its key and name follow from its number.
    function specOf(uint256 number, uint8 tier, uint32 parent) internal pure returns (IRegistry.NodeSpec memory) {
        return IRegistry.NodeSpec({
            netKey: keccak256(abi.encode("network key", number)),
            account: accountOf(number),
            owner: accountOf(number),
            tier: tier,
            parent: parent,
            name: bytes32("node"),
            metaHash: keccak256(abi.encode("description", number))
        });
    }

    function registerAs(address sender, uint256 number, uint8 tier, uint32 parent) internal returns (uint32) {
        IRegistry.NodeSpec memory spec = specOf(number, tier, parent);
        bytes memory signature = signed(secretOf(number), registrationDigest(spec, block.timestamp));
        vm.prank(sender);
        return registry.register(spec, block.timestamp, signature, proof());
    }

    /// @notice An active node, admitted by the registrar.
    function enrol(uint256 number, uint8 tier, uint32 parent) internal returns (uint32) {
        return registerAs(REGISTRAR, number, tier, parent);
    }

    function fillWallet(address owner, uint256 amount, address spender) internal {
        credit.mint(owner, amount);
        vm.prank(owner);
        credit.approve(spender, amount);
    }

    function stakeFor(uint32 id, uint256 amount) internal {
        address owner = registry.node(id).owner;
        fillWallet(owner, amount, address(registry));
        vm.prank(owner);
        registry.stake(id, amount);
    }

    /* SIGNATURES */

    function domainSeparator() internal view returns (bytes32) {
        return keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Drystone"),
                keccak256("1"),
                block.chainid,
                address(registry)
            )
        );
    }

    function registrationDigest(IRegistry.NodeSpec memory spec, uint256 deadline) internal view returns (bytes32) {
        bytes32 typeHash = keccak256(
            "Registration(bytes32 netKey,address account,address owner,uint8 tier,uint32 parent,bytes32 name,bytes32 metaHash,uint256 deadline)"
        );
        bytes memory data = abi.encode(
            typeHash, spec.netKey, spec.account, spec.owner, spec.tier, spec.parent, spec.name, spec.metaHash, deadline
        );
        return keccak256(abi.encodePacked("\x19\x01", domainSeparator(), keccak256(data)));
    }

    function rotationDigest(uint32 id, bytes32 newKey, uint32 nonce, uint256 deadline) internal view returns (bytes32) {
        bytes32 typeHash = keccak256("KeyRotation(uint32 id,bytes32 newKey,uint32 nonce,uint256 deadline)");
        bytes memory data = abi.encode(typeHash, id, newKey, nonce, deadline);
        return keccak256(abi.encodePacked("\x19\x01", domainSeparator(), keccak256(data)));
    }

    function signed(uint256 secret, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(secret, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @notice 64 bytes where an ed25519 signature goes; the contracts check nothing but the length.
    function proof() internal pure returns (bytes memory) {
        return abi.encodePacked(keccak256("first half"), keccak256("second half"));
    }

    /* TASKS */

    /// @notice A task that nothing is recomputed of.
    function taskSpec(uint32 cloud, bytes memory policy) internal pure returns (ILedger.TaskSpec memory) {
        return ILedger.TaskSpec({
            cloud: cloud, window: WINDOW, rule: 0, trim: 0, width: 2, chunks: 1, genesisModel: GENESIS, policy: policy
        });
    }

    function openTask(uint32 cloud) internal returns (uint64) {
        vm.prank(PUBLISHER);
        return ledger.createTask(taskSpec(cloud, "{\"rounds\":20}"));
    }

    /// @notice A header that the ledger accepts next.
    function nextHeader(uint64 id) internal view returns (ILedger.Header memory header) {
        ILedger.Task memory t = ledger.task(id);
        header.task = id;
        header.round = t.head + 1;
        header.prev = t.lastHeader;
        header.policy = t.policyHash;
        header.modelIn = t.lastModel;
        header.modelOut = keccak256(abi.encode("model", id, header.round));
        header.roster = keccak256("roster");
        header.inputsRoot = keccak256(abi.encode("inputs", id, header.round));
        header.inputsCount = 2;
        header.weightsRoot = keccak256("weights");
        header.chunksRoot = keccak256("chunks");
        header.manifest = keccak256(abi.encode("manifest", id, header.round));
    }

    function anchorAs(address sender, ILedger.Header memory header) internal {
        vm.prank(sender);
        ledger.anchorRound(header);
    }

    /* ERRORS */

    function expectNotAuthorised(address caller, uint64 role) internal {
        vm.expectRevert(abi.encodeWithSelector(Roles.NotAuthorised.selector, caller, role));
    }

    function isFinal(ILedger.Header memory header, uint256 anchoredAt) internal view returns (bool) {
        bytes32 hash = keccak256(abi.encode(header));
        return ledger.isFinal(header.task, header.round, hash, header.rewardsRoot, anchoredAt);
    }

    function expectBadProof() internal {
        vm.expectRevert(abi.encodeWithSelector(MerkleLog.BadProof.selector));
    }
}
