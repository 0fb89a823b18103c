// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../src/interfaces/ILedger.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IRewards} from "../src/interfaces/IRewards.sol";
import {Paying} from "./support/Paying.sol";
import {Trees} from "./support/Trees.sol";
import {vm} from "./support/Vm.sol";

/// @notice A world in which everybody acts at random, a cloud that promises whatever it likes among them. Refusals are part of
/// the game, so each action swallows them; the invariants look at what is left.
contract Crowd is Paying {
    /// @notice Times at which a revoked node was seen in another status, a record changed, or a head did not follow.
    uint256 public violations;

    /// @notice Another task, whose pool lies in the same contract and is nobody's here.
    uint64 public neighbour;

    ILedger.Header[] internal _headers;
    uint256[] internal _times;
    Trees.Entry[][] internal _promises;
    mapping(uint64 round => bytes32) internal _records;
    mapping(uint32 node => bool) internal _revoked;

    constructor() {
        super.setUp();
        registry.setArbiters(ARBITER, ARBITER);
        neighbour = openTask(1);
        fillWallet(address(this), 1e26, address(rewards));
        rewards.fund(neighbour, 1e26);
    }

    /// @dev The constructor did it; the crowd does not start the world again.
    function setUp() public override {}

    modifier watched() {
        _;
        for (uint32 i = 1; i <= registry.count(); ++i) {
            uint8 status = registry.node(i).status;
            if (_revoked[i] && status != REVOKED) ++violations;
            if (status == REVOKED) _revoked[i] = true;
        }
    }

    function anyNode(uint256 seed) internal view returns (uint32) {
        return uint32(between(seed, 1, registry.count()));
    }

    function stake(uint256 who, uint256 amount) external watched {
        uint32 node = anyNode(who);
        fillWallet(address(this), between(amount, 0, 1e24), address(registry));
        try registry.stake(node, credit.balanceOf(address(this))) {} catch {}
    }

    function unstake(uint256 who, uint256 amount) external watched {
        uint32 node = anyNode(who);
        IRegistry.Node memory n = registry.node(node);
        vm.prank(n.owner);
        try registry.unstake(node, between(amount, 0, n.stake)) {} catch {}
    }

    function withdraw(uint256 who) external watched {
        uint32 node = anyNode(who);
        address owner = registry.node(node).owner;
        vm.prank(owner);
        try registry.withdraw(node) {} catch {}
    }

    function slash(uint256 who, uint256 amount) external watched {
        // Not the cloud: a slashed node is suspended.
        uint32 node = uint32(between(who, 2, registry.count()));
        IRegistry.Node memory n = registry.node(node);
        vm.prank(ARBITER);
        try registry.slash(node, between(amount, 0, uint256(n.stake) + n.unbonding), "fault", STRANGER, 0) {} catch {}
    }

    function changeStatus(uint256 who, uint8 action, bool owner) external watched {
        // The cloud stays, or the game would be over early; stopping it has its own tests.
        uint32 node = uint32(between(who, 2, registry.count()));
        address caller = owner ? registry.node(node).owner : REGISTRAR;
        action = uint8(between(action, 0, 9));
        vm.prank(caller);
        if (action < 3) {
            try registry.admit(node) {} catch {}
        } else if (action < 6) {
            try registry.suspend(node) {} catch {}
        } else if (action < 9) {
            try registry.reinstate(node) {} catch {}
        } else {
            try registry.revoke(node) {} catch {}
        }
    }

    function wait(uint256 seconds_) external watched {
        vm.warp(block.timestamp + between(seconds_, 0, 2 * uint256(UNBONDING_SECONDS)));
    }

    /// @dev Never more than one root promises: the pool is as tight as a pool that pays can be.
    function topUp(uint256 which) external watched {
        if (_headers.length == 0) return;
        uint256 total = totalOf(_promises[between(which, 0, _headers.length - 1)]);
        if (total > rewards.funded(id)) fund(total - rewards.funded(id));
    }

    /// @dev The promises are random, so a later root may well promise a node less than an earlier one did.
    function anchor(uint256 seed) external watched {
        Trees.Entry[] memory entries = promises(seed);
        ILedger.Task memory before = ledger.task(id);
        ILedger.Header memory header = pledge(entries);
        if (ledger.task(id).head != before.head + 1 || header.prev != before.lastHeader) ++violations;
        _headers.push(header);
        _times.push(block.timestamp);
        _promises.push();
        for (uint256 i = 0; i < entries.length; ++i) {
            _promises[_promises.length - 1].push(entries[i]);
        }
        _records[header.round] = ledger.record(id, header.round);
    }

    function claimAll(uint256 which) external watched {
        if (_headers.length == 0) return;
        which = between(which, 0, _headers.length - 1);
        Trees.Entry[] memory entries = _promises[which];
        for (uint256 i = 0; i < DEVICES; ++i) {
            uint128 before = rewards.claimed(id, entries[i].node);
            try rewards.claim(_headers[which], _times[which], claimOf(entries, i)) {} catch {}
            if (rewards.claimed(id, entries[i].node) < before) ++violations;
        }
    }

    function changedRecords() external view returns (uint256 changed) {
        for (uint64 round = 1; round <= _headers.length; ++round) {
            if (ledger.record(id, round) != _records[round]) ++changed;
        }
    }

    function stakes() external view returns (uint256 owed, uint256 held) {
        for (uint32 i = 1; i <= registry.count(); ++i) {
            IRegistry.Node memory n = registry.node(i);
            owed += uint256(n.stake) + n.unbonding;
        }
        held = credit.balanceOf(address(registry));
    }

    function pool() external view returns (uint256 funded, uint256 paid, uint256 claimed, uint256 held) {
        for (uint256 i = 0; i < DEVICES; ++i) {
            claimed += rewards.claimed(id, firstDevice + uint32(i));
        }
        held = credit.balanceOf(address(rewards)) - rewards.funded(neighbour);
        return (rewards.funded(id), rewards.paid(id), claimed, held);
    }
}

/// @notice What must hold after any sequence of calls.
contract InvariantsTest is Paying {
    Crowd internal crowd;

    function setUp() public override {
        crowd = new Crowd();
    }

    /// @dev Asked by forge: whom to call.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(crowd);
    }

    function invariant_the_registry_holds_exactly_the_stake_that_it_owes() public view {
        (uint256 owed, uint256 held) = crowd.stakes();
        equal(held, owed);
    }

    function invariant_claims_never_exceed_the_pool() public view {
        (uint256 funded, uint256 paid, uint256 claimed, uint256 held) = crowd.pool();
        equal(paid, claimed);
        atMost(paid, funded);
        equal(held, funded - paid);
    }

    function invariant_records_claims_and_revocations_only_go_forward() public view {
        equal(crowd.violations(), 0);
        equal(crowd.changedRecords(), 0);
    }
}
