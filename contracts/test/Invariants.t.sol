// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../src/interfaces/IArbiter.sol";
import {ILedger} from "../src/interfaces/ILedger.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IRewards} from "../src/interfaces/IRewards.sol";
import {Trees} from "./support/Trees.sol";
import {Trial} from "./support/Trial.sol";
import {vm} from "./support/Vm.sol";

/// @notice A world in which everybody acts at random: a cloud that promises whatever it likes, an honest edge, an edge that
/// drops what it receipted, and adversaries who bring everything that was ever signed as evidence, changed and unchanged.
/// Refusals are part of the game, so each action swallows them; the invariants look at what is left.
contract Crowd is Trial {
    /// @notice What an edge signed of one round: receipts for leaves, and a report that keeps or breaks them.
    struct Book {
        uint64 round;
        uint64 closed;
        uint256 unreported;
        IArbiter.Receipt[] receipts;
        bytes[] receiptSignatures;
        ILedger.Leaf[] leaves;
        IArbiter.EdgeRoot[] roots;
        bytes[] rootSignatures;
    }

    struct Cheat {
        uint256 receipt;
        uint256 root;
        bytes32 found;
        bytes32[] path;
    }

    uint256 internal constant MOST_LEAVES = 4;

    /// @notice Another task, whose pool lies in the same contract and is nobody's here.
    uint64 public neighbour;
    /// @notice How often something happened that must not, for each invariant.
    mapping(uint256 invariant => uint256) public violations;
    /// @notice How often something happened at all, so that nobody praises an idle crowd.
    mapping(bytes32 action => uint256) public done;

    mapping(uint32 edge => Book) internal _books;
    Cheat[] internal _cheats;
    ILedger.Header[] internal _headers;
    uint256[] internal _times;
    Trees.Entry[][] internal _promises;
    mapping(uint64 round => bytes32) internal _records;
    mapping(uint32 node => bool) internal _revoked;
    mapping(uint32 node => uint256) internal _holds;
    bytes32[] internal _keys;
    uint32[] internal _keyOwners;
    uint256 internal _minted;
    uint256 internal _burned;
    uint256 internal _honestStake;
    uint64 internal _logSize;
    uint256 internal _newcomers;

    constructor() {
        super.setUp();
        neighbour = openTask(THE_CLOUD);
        fillWallet(address(this), 1e26, address(rewards));
        rewards.fund(neighbour, 1e26);
        _honestStake = STAKE;
        (_books[THE_EDGE].round, _books[OTHER_EDGE].round) = (1, 1);
        for (uint32 node = 1; node <= registry.count(); ++node) {
            _remember(registry.node(node).netKey, node);
        }
    }

    /// @dev The constructor did it; the crowd does not start the world again.
    function setUp() public override {}

    function _remember(bytes32 key, uint32 node) internal {
        _keys.push(key);
        _keyOwners.push(node);
    }

    modifier watched(bytes32 action) {
        _;
        ++done[action];
        for (uint32 i = 1; i <= registry.count(); ++i) {
            (,, uint8 status) = registry.standing(i);
            if (_revoked[i] && status != REVOKED) ++violations[5];
            if (status == REVOKED) _revoked[i] = true;
        }
    }

    /// @notice Any node but the cloud and the honest edge: they stay, or the game would be over early.
    function anyNode(uint256 seed) internal view returns (uint32) {
        return uint32(between(seed, OTHER_EDGE, registry.count()));
    }

    /* STAKE */

    function stake(uint256 who, uint256 amount) external watched("stake") {
        uint32 node = uint32(between(who, 1, registry.count()));
        amount = between(amount, 0, 1e24);
        fillWallet(address(this), amount, address(registry));
        try registry.stake(node, amount) {
            if (node == THE_EDGE) _honestStake += amount;
        } catch {}
    }

    function unstake(uint256 who, uint256 amount) external watched("unstake") {
        uint32 node = anyNode(who);
        IRegistry.Node memory n = registry.node(node);
        vm.prank(n.owner);
        try registry.unstake(node, between(amount, 0, n.stake)) {} catch {}
    }

    function withdraw(uint256 who) external watched("withdraw") {
        uint32 node = anyNode(who);
        IRegistry.Node memory n = registry.node(node);
        vm.prank(n.owner);
        try registry.withdraw(node) {
            if (block.timestamp < n.unbondAt || _holds[node] != 0) ++violations[7];
        } catch {}
    }

    /// @dev As the Court would; its own tests show when it does.
    function hold(uint256 who, bool release) external watched("hold") {
        uint32 node = anyNode(who);
        vm.prank(address(court));
        if (release) {
            try registry.release(node) {
                --_holds[node];
            } catch {}
        } else {
            try registry.hold(node) {
                ++_holds[node];
            } catch {}
        }
    }

    function slash(uint256 who, uint256 amount) external watched("slash") {
        uint32 node = anyNode(who);
        uint256 held = heldBy(node);
        vm.prank(address(court));
        try registry.slash(node, amount % (held + 2), "fault") {
            if (heldBy(node) != held - amount % (held + 2)) ++violations[7];
        } catch {
            if (amount % (held + 2) <= held) ++violations[7];
        }
    }

    /// @dev What the Arbiter seized stays for those who collect it.
    function settle(uint256 reward, uint256 burned) external watched("settle") {
        uint256 free = registry.seized() - owedByArbiter();
        reward = between(reward, 0, free);
        burned = between(burned, 0, free - reward);
        vm.prank(address(court));
        registry.settle(STRANGER, reward, burned);
    }

    uint256[] internal _verdictRounds;

    function owedByArbiter() internal view returns (uint256 owed) {
        for (uint256 i = 0; i < _verdictRounds.length; ++i) {
            (, uint96 amount) = arbiter.verdict("omission", id, uint64(_verdictRounds[i]), OTHER_EDGE);
            owed += amount;
        }
    }

    /* STATUS AND KEYS */

    function changeStatus(uint256 who, uint8 action, bool owner) external watched("changeStatus") {
        uint32 node = anyNode(who);
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

    function join(uint256 key, bool taken) external watched("join") {
        if (_newcomers == 5) return;
        IRegistry.NodeSpec memory spec = specOf(1_000 + _newcomers, END, THE_EDGE);
        spec.netKey = taken ? _keys[key % _keys.length] : keccak256(abi.encode("fresh", _newcomers));
        bytes memory signature = signed(secretOf(1_000 + _newcomers), registrationDigest(spec, block.timestamp));
        vm.prank(REGISTRAR);
        try registry.register(spec, block.timestamp, signature, proof()) returns (uint32 node) {
            if (taken) ++violations[6];
            ++_newcomers;
            _remember(spec.netKey, node);
            // The same signature again.
            vm.prank(REGISTRAR);
            try registry.register(spec, block.timestamp, signature, proof()) {
                ++violations[10];
            } catch {}
        } catch {
            if (!taken) ++violations[6];
        }
    }

    function rotate(uint256 device, uint256 key, bool taken) external watched("rotate") {
        uint32 node = uint32(between(device, DEVICE, DEVICE + TRIAL_DEVICES - 1));
        bytes32 next = taken ? _keys[key % _keys.length] : keccak256(abi.encode("rotated", _keys.length));
        bytes memory signature =
            signed(secretOf(node), rotationDigest(node, next, registry.node(node).nonce, block.timestamp));
        try registry.rotateNetKey(node, next, block.timestamp, signature, proof()) {
            if (taken || _revoked[node]) ++violations[6];
            _remember(next, node);
        } catch {}
        try registry.rotateNetKey(node, keccak256("third"), block.timestamp, signature, proof()) {
            ++violations[10];
        } catch {}
    }

    function wait(uint256 seconds_) external watched("wait") {
        vm.warp(block.timestamp + between(seconds_, 0, 2 * uint256(UNBONDING_SECONDS)));
        vm.roll(block.number + 1);
    }

    /* ROUNDS AND REWARDS */

    function anchor(uint256 seed, bool acknowledge) external watched("anchor") {
        Trees.Entry[] memory entries = new Trees.Entry[](TRIAL_DEVICES);
        for (uint256 i = 0; i < TRIAL_DEVICES; ++i) {
            uint80 amount = uint80(uint256(keccak256(abi.encode(seed, i))));
            entries[i] = Trees.Entry(DEVICE + uint32(i), uint128(1) + amount);
        }
        ILedger.Task memory before = ledger.task(id);
        ILedger.Header memory header = nextHeader(id);
        header.rewardsRoot = Trees.sumRoot(entries);
        header.forced = _headers.length == 0 ? bytes32(0) : _headers[_headers.length - 1].forced;
        if (acknowledge && before.forcedCount != 0) header.forced = ledger.forcedChain(id);
        anchorAs(accountOf(THE_CLOUD), header);
        ILedger.Task memory t = ledger.task(id);
        if (t.head != before.head + 1 || header.prev != before.lastHeader) ++violations[3];
        if (t.lastHeader != keccak256(abi.encode(header)) || t.forcedDone < before.forcedDone) ++violations[3];
        // The head again changes nothing.
        bytes32 kept = ledger.record(id, t.head);
        ledger.anchorRound(header);
        if (ledger.task(id).head != t.head || ledger.record(id, t.head) != kept) ++violations[10];
        _headers.push(header);
        _times.push(block.timestamp);
        _promises.push();
        for (uint256 i = 0; i < entries.length; ++i) {
            _promises[_promises.length - 1].push(entries[i]);
        }
        _records[header.round] = kept;
    }

    /// @dev Never more than one root promises: the pool is as tight as a pool that pays can be.
    function topUp(uint256 which) external watched("topUp") {
        if (_headers.length == 0) return;
        uint256 total = Trees.sumOf(_promises[which % _headers.length], 0, TRIAL_DEVICES);
        uint256 funded = rewards.funded(id);
        if (total <= funded) return;
        fillWallet(PUBLISHER, total - funded, address(rewards));
        vm.prank(PUBLISHER);
        rewards.fund(id, total - funded);
    }

    function claim(uint256 which, uint256 device) external watched("claim") {
        if (_headers.length == 0) return;
        which = which % _headers.length;
        device = device % TRIAL_DEVICES;
        Trees.Entry[] memory entries = _promises[which];
        bytes memory path = Trees.sumPath(entries, device, 0, entries.length);
        IRewards.Claim memory claim_ =
            IRewards.Claim(entries[device].node, entries[device].amount, device, entries.length, path);
        uint128 before = rewards.claimed(id, claim_.node);
        bool final_ = isFinal(_headers[which], _times[which]);
        (uint64 round, bytes32 hash) = (_headers[which].round, keccak256(abi.encode(_headers[which])));
        try rewards.claim(id, round, hash, _times[which], claim_) {
            if (!final_) ++violations[2];
            ++done["paid"];
            try rewards.claim(id, round, hash, _times[which], claim_) {
                ++violations[10];
            } catch {}
        } catch {}
        if (rewards.claimed(id, claim_.node) < before) ++violations[4];
    }

    function force(uint256 who, uint64 ahead) external watched("force") {
        uint32 device = uint32(between(who, DEVICE, DEVICE + TRIAL_DEVICES - 1));
        ILedger.Leaf memory leaf = leafOf(device, ahead);
        leaf.round = ledger.task(id).head + uint64(between(ahead, 0, 2));
        bytes memory signature = signDirect(leaf, device);
        (,, uint8 status) = registry.standing(device);
        try ledger.submitDirect(leaf, signature) {
            if (status != ACTIVE || leaf.round <= ledger.task(id).head) ++violations[5];
            try ledger.submitDirect(leaf, signature) {
                ++violations[10];
            } catch {}
        } catch {}
    }

    /* LOGS */

    function entries_(uint256 size, uint256 fork) internal pure returns (bytes32[] memory leaves) {
        leaves = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            leaves[i] = sha256(abi.encode(i < fork ? 0 : 1, i));
        }
    }

    /// @dev Entry i of the honest log depends on i alone; a fork differs somewhere in what is recorded.
    function checkpoint(uint256 size, uint256 fork, bool honest_) external watched("checkpoint") {
        size = between(size, 1, uint256(_logSize) + 3);
        fork = honest_ || _logSize == 0 ? size : fork % _logSize;
        bytes32[] memory leaves = entries_(size, fork);
        bytes32[] memory path =
            _logSize == 0 || size <= _logSize ? new bytes32[](0) : Trees.consistency(leaves, _logSize, 0, size, true);
        bytes32 root = Trees.rootOf(leaves);
        vm.prank(accountOf(THE_EDGE));
        try ledger.checkpoint(THE_EDGE, uint64(size), root, path) {
            if (size < _logSize || fork < size) ++violations[11];
            _logSize = uint64(size);
        } catch {
            if (size >= _logSize && fork == size) ++violations[11];
        }
    }

    function logHeld() external view returns (uint64 size, bytes32 root, bytes32 expected) {
        (size, root) = ledger.log(THE_EDGE);
        expected = _logSize == 0 ? bytes32(0) : Trees.rootOf(entries_(_logSize, _logSize));
        if (size != _logSize) expected = keccak256("another size");
    }

    /* EDGES */

    function _edge(bool honest) internal pure returns (uint32) {
        return honest ? THE_EDGE : OTHER_EDGE;
    }

    function _inRound(IArbiter.Receipt memory receipt, uint64 round) internal view returns (bytes memory signature) {
        receipt.round = round;
        bytes32 typeHash = keccak256("Receipt(uint64 task,uint64 round,uint32 edge,uint64 index,bytes32 leaf)");
        signature = signed(secretOf(receipt.edge), ledgerDigest(abi.encode(typeHash, receipt)));
    }

    /// @notice A device's update arrives and gets a receipt for the next place.
    function receive_(bool honest, uint256 device) external watched("receive") {
        uint32 edge = _edge(honest);
        Book storage b = _books[edge];
        if (b.unreported == MOST_LEAVES) return;
        ILedger.Leaf memory leaf = leafOf(DEVICE + uint32(device % TRIAL_DEVICES), uint64(b.receipts.length));
        (leaf.round, leaf.edge) = (b.round, edge);
        (IArbiter.Receipt memory receipt,) = receiptBy(edge, uint64(b.unreported), hashOf(leaf));
        b.receiptSignatures.push(_inRound(receipt, b.round));
        b.receipts.push(receipt);
        b.leaves.push(leaf);
        ++b.unreported;
    }

    /// @notice The edge reports its round; the other edge gives one place to another leaf, or ends before it.
    function report(bool honest, uint256 victim, bool short) external watched("report") {
        uint32 edge = _edge(honest);
        Book storage b = _books[edge];
        uint256 n = b.unreported;
        if (n == 0) return;
        uint256 from = b.receipts.length - n;
        victim = honest ? n : victim % n;
        uint256 size = short && !honest ? victim : n;
        bytes32[] memory leaves = new bytes32[](size);
        for (uint256 i = 0; i < size; ++i) {
            leaves[i] = i == victim ? sha256("another leaf") : b.receipts[from + i].leaf;
        }
        IArbiter.EdgeRoot memory root = reportOver(leaves);
        (root.round, root.edge) = (b.round, edge);
        b.roots.push(root);
        b.rootSignatures.push(signRoot(root));
        if (!honest) {
            bool there = victim < size;
            bytes32[] memory path = there ? Trees.pathOf(leaves, victim) : new bytes32[](0);
            _cheats.push(Cheat(from + victim, b.roots.length - 1, there ? leaves[victim] : bytes32(0), path));
        }
        (b.round, b.unreported) = (b.round + 1, 0);
    }

    /// @notice A device that was dropped proves it; then somebody collects, and nobody twice.
    function redress(uint256 which) external watched("redress") {
        if (_cheats.length == 0) return;
        Cheat memory c = _cheats[which % _cheats.length];
        Book storage b = _books[OTHER_EDGE];
        uint64 round = b.receipts[c.receipt].round;
        (address paid,) = arbiter.verdict("omission", id, round, OTHER_EDGE);
        try arbiter.omission(
            b.receipts[c.receipt],
            b.receiptSignatures[c.receipt],
            b.leaves[c.receipt],
            b.roots[c.root],
            b.rootSignatures[c.root],
            c.found,
            c.path
        ) {
            if (paid != address(0)) ++violations[10];
            _verdictRounds.push(round);
            ++done["omission"];
            if (heldBy(OTHER_EDGE) != 0) ++violations[9];
        } catch {
            if (paid == address(0)) ++violations[9];
        }
        try arbiter.collect("omission", id, round, OTHER_EDGE) {
            try arbiter.collect("omission", id, round, OTHER_EDGE) {
                ++violations[10];
            } catch {}
        } catch {}
    }

    struct Accusation {
        IArbiter.Receipt receipt;
        bytes signature;
        ILedger.Leaf leaf;
        IArbiter.EdgeRoot root;
        bytes rootSignature;
        bytes32[] path;
    }

    /// @notice Anything that was ever signed, brought against the honest edge, changed or not.
    function accuse(uint256 i, uint256 j, uint8 way, uint8 change, bytes32 noise) external watched("accuse") {
        Book storage b = _books[THE_EDGE];
        if (b.receipts.length == 0 || b.roots.length == 0) return;
        i = i % b.receipts.length;
        j = j % b.roots.length;
        Accusation memory a = Accusation(
            b.receipts[i],
            b.receiptSignatures[i],
            b.leaves[i],
            b.roots[j],
            b.rootSignatures[j],
            new bytes32[](uint256(noise) % 3)
        );
        _change(a, uint8(between(change, 0, 8)), noise);
        _bring(b, a, i, j, uint8(between(way, 0, 4)), noise);
        _trueProof(b, i, j);
    }

    function _change(Accusation memory a, uint8 change, bytes32 noise) internal view {
        if (change == 1) a.receipt.index = uint64(uint256(noise));
        if (change == 2) a.receipt.leaf = noise;
        if (change == 3) a.root.count = uint64(uint256(noise) % 3);
        if (change == 4) a.root.root = noise;
        if (change == 5) a.leaf.node = uint32(uint256(noise));
        if (change == 6) a.rootSignature = signed(secretOf(OTHER_EDGE), rootDigest(a.root));
        if (change == 7) (a.receipt.round, a.root.round) = (1, 1);
        if (change == 8) a.root.rosterBlock = uint64(uint256(noise));
    }

    function _bring(Book storage b, Accusation memory a, uint256 i, uint256 j, uint8 way, bytes32 noise) internal {
        IArbiter.Placed memory placed = IArbiter.Placed(a.leaf, a.receipt.index, a.path);
        if (way == 0) {
            try arbiter.omission(a.receipt, a.signature, a.leaf, a.root, a.rootSignature, noise, a.path) {} catch {}
        } else if (way == 1) {
            IArbiter.Receipt memory other = b.receipts[j % b.receipts.length];
            bytes memory signature = b.receiptSignatures[j % b.receipts.length];
            try arbiter.conflictingReceipts(a.receipt, a.signature, other, signature) {} catch {}
        } else if (way == 2) {
            IArbiter.EdgeRoot memory other = b.roots[i % b.roots.length];
            bytes memory signature = b.rootSignatures[i % b.roots.length];
            try arbiter.conflictingRoots(a.root, a.rootSignature, other, signature) {} catch {}
        } else if (way == 3) {
            try arbiter.inactiveSender(a.root, a.rootSignature, placed) {} catch {}
        } else {
            IArbiter.Placed memory again = IArbiter.Placed(a.leaf, uint64(j), a.path);
            try arbiter.duplicateSender(a.root, a.rootSignature, placed, again) {} catch {}
        }
    }

    /// @dev The strongest case against an honest edge: its own receipt, its own report of that round, and the true path.
    function _trueProof(Book storage b, uint256 i, uint256 j) internal {
        IArbiter.Receipt memory receipt = b.receipts[i];
        if (b.roots[j].round != receipt.round) return;
        uint256 n = b.roots[j].count;
        bytes32[] memory leaves = new bytes32[](n);
        for (uint256 k = 0; k < n; ++k) {
            leaves[k] = b.receipts[i - receipt.index + k].leaf;
        }
        bytes32[] memory path = Trees.pathOf(leaves, receipt.index);
        try arbiter.omission(
            receipt, b.receiptSignatures[i], b.leaves[i], b.roots[j], b.rootSignatures[j], leaves[receipt.index], path
        ) {
            ++violations[8];
        } catch (bytes memory reason) {
            if (bytes4(reason) != IArbiter.NotProven.selector) ++violations[8];
            ++done["true proof"];
        }
    }

    /* WHAT IS LEFT */

    function stakes() external view returns (uint256 owed, uint256 held) {
        for (uint32 i = 1; i <= registry.count(); ++i) {
            owed += heldBy(i);
        }
        owed += registry.seized();
        held = credit.balanceOf(address(registry));
    }

    function wallets() external view returns (uint256 sum, uint256 supply) {
        address[6] memory known =
            [address(registry), address(rewards), address(court), address(this), PUBLISHER, STRANGER];
        for (uint256 i = 0; i < known.length; ++i) {
            sum += credit.balanceOf(known[i]);
        }
        for (uint32 i = 1; i <= registry.count(); ++i) {
            sum += credit.balanceOf(registry.node(i).account);
        }
        supply = credit.totalSupply();
    }

    function pool() external view returns (uint256 funded, uint256 paid, uint256 claimed, uint256 held) {
        for (uint256 i = 0; i < TRIAL_DEVICES; ++i) {
            claimed += rewards.claimed(id, DEVICE + uint32(i));
        }
        held = credit.balanceOf(address(rewards)) - rewards.funded(neighbour);
        return (rewards.funded(id), rewards.paid(id), claimed, held);
    }

    function changedRecords() external view returns (uint256 changed) {
        bytes32 previous = 0;
        for (uint64 round = 1; round <= _headers.length; ++round) {
            if (ledger.record(id, round) != _records[round]) ++changed;
            if (_headers[round - 1].prev != previous) ++changed;
            previous = keccak256(abi.encode(_headers[round - 1]));
        }
    }

    function lostKeys() external view returns (uint256 lost) {
        for (uint256 i = 0; i < _keys.length; ++i) {
            if (registry.idOfKey(_keys[i]) != _keyOwners[i]) ++lost;
        }
    }

    function honestEdge() external view returns (uint256 stake_, uint256 expected, uint8 status) {
        (,, status) = registry.standing(THE_EDGE);
        return (heldBy(THE_EDGE), _honestStake, status);
    }
}

/// @notice What must hold after any sequence of calls. I12 and I13 need no sequence: they are tests in Gas.t.sol and
/// MerkleLog.t.sol.
contract InvariantsTest is Trial {
    Crowd internal crowd;

    function setUp() public override {
        crowd = new Crowd();
    }

    /// @dev Asked by forge: whom to call.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(crowd);
    }

    function never(uint256 invariant) internal view {
        equal(crowd.violations(invariant), 0);
    }

    /// @dev The game is played: what the invariants are about does happen.
    function test_the_crowd_is_not_idle() public {
        for (uint256 i = 0; i < 12; ++i) {
            crowd.receive_(i % 2 == 0, i);
            crowd.receive_(i % 2 == 0, i + 1);
            crowd.report(i % 2 == 0, i, i % 4 == 1);
            crowd.redress(i);
            crowd.accuse(i, i / 2, uint8(i), uint8(i), bytes32(i));
            crowd.anchor(i, true);
            crowd.force(i, uint64(i));
            crowd.topUp(i);
            crowd.wait(WINDOW);
            crowd.claim(i, i);
            crowd.checkpoint(i, 0, true);
        }
        yes(crowd.done("omission") > 1 && crowd.done("paid") > 1 && crowd.done("true proof") > 1, "played");
        (uint64 size,,) = crowd.logHeld();
        yes(size > 1, "logs grow");
        for (uint256 i = 1; i < 12; ++i) {
            never(i);
        }
    }

    function invariant_I1_tokenConservation() public view {
        (uint256 owed, uint256 held) = crowd.stakes();
        equal(held, owed);
        (uint256 sum, uint256 supply) = crowd.wallets();
        equal(sum, supply);
    }

    function invariant_I2_claimsNeverExceedFunded() public view {
        (uint256 funded, uint256 paid, uint256 claimed, uint256 held) = crowd.pool();
        equal(paid, claimed);
        atMost(paid, funded);
        equal(held, funded - paid);
        never(2);
    }

    function invariant_I3_headerChain() public view {
        never(3);
        equal(crowd.changedRecords(), 0);
    }

    function invariant_I4_cumulativeMonotone() public view {
        never(4);
    }

    function invariant_I5_statusMachine() public view {
        never(5);
    }

    function invariant_I6_keyUnique() public view {
        never(6);
        equal(crowd.lostKeys(), 0);
    }

    function invariant_I7_slashAndWithdrawWithinBounds() public view {
        never(7);
    }

    function invariant_I8_honestNeverSlashed() public view {
        never(8);
        (uint256 stake, uint256 expected, uint8 status) = crowd.honestEdge();
        equal(stake, expected);
        equal(status, ACTIVE);
    }

    function invariant_I9_omissionAlwaysProvable() public view {
        never(9);
    }

    function invariant_I10_noReplay() public view {
        never(10);
    }

    function invariant_I11_checkpointAppendOnly() public view {
        never(11);
        (, bytes32 root, bytes32 expected) = crowd.logHeld();
        equal(root, expected);
    }
}
