// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "../src/interfaces/IArbiter.sol";
import {ICourt} from "../src/interfaces/ICourt.sol";
import {ILedger} from "../src/interfaces/ILedger.sol";
import {Roles} from "../src/libraries/Roles.sol";
import {Trial} from "./support/Trial.sol";
import {vm} from "./support/Vm.sol";

/// @notice challenge, commit, reveal, conclude, decide, lapse, withdraw.
contract CourtChallengeTest is Trial {
    bytes32 internal constant CLAIM = keccak256("what it should be");
    uint256 internal constant FIRST_WITNESS = 30;

    ILedger.Header internal header;
    uint256 internal anchoredAt;

    function setUp() public override {
        super.setUp();
        for (uint256 i = 0; i < 8; ++i) {
            enrol(FIRST_WITNESS + i, i % 2 == 0 ? EDGE : CLOUD, i % 2 == 0 ? THE_CLOUD : 0);
        }
        ILedger.Header memory h = nextHeader(id);
        (h.scoresRoot, h.rewardsRoot) = (keccak256("scores"), keccak256("rewards"));
        anchorAs(accountOf(1), h);
        (header, anchoredAt) = (h, block.timestamp);
    }

    function witness(uint256 i) internal view returns (uint32) {
        return registry.idOfAccount(accountOf(FIRST_WITNESS + i));
    }

    function challengeAs(address challenger, uint8 subject, bytes32 claim) internal {
        ILedger.Header memory h = header;
        fillWallet(challenger, BOND, address(court));
        vm.prank(challenger);
        court.challenge(h, anchoredAt, subject, claim);
    }

    function salt(uint256 i) internal pure returns (bytes32) {
        return keccak256(abi.encode("salt", i));
    }

    function commitAs(uint256 i, bytes32 digest) internal {
        uint32 node = witness(i);
        bytes32 hash = keccak256(abi.encode(uint256(1), node, digest, salt(i)));
        vm.prank(accountOf(FIRST_WITNESS + i));
        court.commit(1, node, hash);
    }

    function revealAs(uint256 i, bytes32 digest) internal {
        uint32 node = witness(i);
        vm.prank(accountOf(FIRST_WITNESS + i));
        court.reveal(1, node, digest, salt(i));
    }

    /// @notice The first witnesses commit to these digests and reveal them; the clock stands at the end of the reveals.
    function hear(bytes32[] memory digests) internal {
        for (uint256 i = 0; i < digests.length; ++i) {
            commitAs(i, digests[i]);
        }
        vm.warp(anchoredAt + COMMIT);
        for (uint256 i = 0; i < digests.length; ++i) {
            revealAs(i, digests[i]);
        }
        vm.warp(anchoredAt + COMMIT + REVEAL);
    }

    function all(uint256 n, bytes32 digest) internal pure returns (bytes32[] memory digests) {
        digests = new bytes32[](n);
        for (uint256 i = 0; i < n; ++i) {
            digests[i] = digest;
        }
    }

    function requireOver() internal view {
        equal(court.challengeOf(1).challenger, address(0));
        equal(registry.node(THE_CLOUD).holds, 0);
        equal(ledger.task(id).openDisputes, 0);
    }

    function test_every_subject_is_compared_with_what_the_header_says(uint8 subject) public {
        subject = uint8(between(subject, 1, 6));
        ILedger.Header memory h = header;
        bytes32[6] memory fields = [h.weightsRoot, h.chunksRoot, h.modelOut, h.scoresRoot, h.rewardsRoot, h.manifest];
        vm.expectRevert(abi.encodeWithSelector(ICourt.SameClaim.selector));
        court.challenge(h, anchoredAt, subject, fields[subject - 1]);
        fillWallet(STRANGER, BOND, address(court));
        vm.expectEmit(true, true, true, true, address(court));
        emit ICourt.Challenged(1, id, THE_CLOUD, 1, STRANGER, subject, fields[subject - 1], CLAIM);
        vm.prank(STRANGER);
        equal(court.challenge(h, anchoredAt, subject, CLAIM), 1);
        ICourt.Challenge memory c = court.challengeOf(1);
        equal(c.committed, fields[subject - 1]);
        equal(c.commitEnd, block.timestamp + COMMIT);
        equal(c.revealEnd, block.timestamp + COMMIT + REVEAL);
        equal(registry.node(THE_CLOUD).holds, 1);
        equal(ledger.task(id).openDisputes, 1);
        equal(credit.balanceOf(address(court)), BOND);
    }

    function test_only_a_disputable_round_is_challenged() public {
        ILedger.Header memory h = header;
        vm.expectRevert(abi.encodeWithSelector(ICourt.BadSubject.selector, 0));
        court.challenge(h, anchoredAt, 0, CLAIM);
        vm.expectRevert(abi.encodeWithSelector(ICourt.BadSubject.selector, 7));
        court.challenge(h, anchoredAt, 7, CLAIM);
        vm.expectRevert(abi.encodeWithSelector(IArbiter.NotAnchored.selector, id, 1));
        court.challenge(h, anchoredAt - 1, 1, CLAIM);
        vm.warp(anchoredAt + WINDOW);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooLate.selector, anchoredAt + WINDOW));
        court.challenge(h, anchoredAt, 1, CLAIM);
    }

    function test_witnesses_who_agree_against_the_header_convict(uint256 n, bytes32 digest) public {
        vm.assume(digest != header.modelOut);
        challengeAs(STRANGER, 3, CLAIM);
        hear(all(between(n, 3, 7), digest));
        vm.expectEmit(true, true, true, true, address(court));
        emit ICourt.Decided(1, THE_CLOUD, true, STAKE);
        court.conclude(1);
        requireOver();
        equal(heldBy(THE_CLOUD), 0);
        equal(ledger.task(id).struck, 1);
        equal(credit.balanceOf(STRANGER), BOND + STAKE / 2);
        equal(credit.balanceOf(address(court)), 0);
    }

    function test_witnesses_who_agree_with_the_header_share_the_bond(uint256 n) public {
        n = between(n, 3, 7);
        challengeAs(STRANGER, 3, CLAIM);
        hear(all(n, header.modelOut));
        vm.expectEmit(true, true, true, true, address(court));
        emit ICourt.Decided(1, THE_CLOUD, false, 0);
        court.conclude(1);
        requireOver();
        equal(heldBy(THE_CLOUD), STAKE);
        for (uint256 i = 0; i < n; ++i) {
            address account = accountOf(FIRST_WITNESS + i);
            uint256 due = BOND / n + (i == n - 1 ? BOND % n : 0);
            equal(court.withdrawable(account), due);
            vm.prank(account);
            court.withdraw();
            equal(credit.balanceOf(account), due);
            vm.expectRevert(abi.encodeWithSelector(ICourt.NothingToWithdraw.selector, account));
            vm.prank(account);
            court.withdraw();
        }
        equal(credit.balanceOf(address(court)), 0);
    }

    function refer(bool split) internal {
        challengeAs(STRANGER, 3, CLAIM);
        bytes32[] memory digests = all(split ? 4 : 2, CLAIM);
        if (split) digests[2] = header.modelOut;
        hear(digests);
        vm.expectEmit(true, true, true, true, address(court));
        emit ICourt.Referred(1, block.timestamp + COUNCIL_TIME);
        court.conclude(1);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooLate.selector, block.timestamp));
        court.conclude(1);
    }

    function test_the_council_decides_where_witnesses_are_few_or_do_not_agree(bool split, bool guilty) public {
        refer(split);
        expectNotAuthorised(STRANGER, Roles.COUNCIL);
        vm.prank(STRANGER);
        court.decide(1, guilty);
        vm.prank(COUNCIL);
        court.decide(1, guilty);
        requireOver();
        equal(heldBy(THE_CLOUD), guilty ? 0 : STAKE);
        equal(ledger.task(id).struck, guilty ? 1 : 0);
        equal(credit.balanceOf(STRANGER), guilty ? BOND + STAKE / 2 : 0);
        equal(court.withdrawable(accountOf(1)), guilty ? 0 : BOND);
    }

    function test_a_council_that_says_nothing_in_time_ends_it(bool split) public {
        refer(split);
        uint256 until = block.timestamp + COUNCIL_TIME;
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooEarly.selector, until));
        court.lapse(1);
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooLate.selector, until));
        vm.prank(COUNCIL);
        court.decide(1, true);
        vm.expectEmit(true, true, true, true, address(court));
        emit ICourt.Lapsed(1);
        court.lapse(1);
        requireOver();
        equal(credit.balanceOf(STRANGER), BOND);
        vm.expectRevert(abi.encodeWithSelector(ICourt.UnknownDispute.selector, 1));
        court.lapse(1);
    }

    function test_everything_has_its_time() public {
        vm.expectRevert(abi.encodeWithSelector(ICourt.UnknownDispute.selector, 1));
        court.conclude(1);
        challengeAs(STRANGER, 3, CLAIM);
        (uint256 commitEnd, uint256 revealEnd) = (anchoredAt + COMMIT, anchoredAt + COMMIT + REVEAL);
        commitAs(0, CLAIM);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooEarly.selector, commitEnd));
        court.reveal(1, 1, CLAIM, 0);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooEarly.selector, revealEnd));
        vm.prank(COUNCIL);
        court.decide(1, true);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooEarly.selector, revealEnd));
        court.lapse(1);
        vm.warp(commitEnd);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooLate.selector, commitEnd));
        court.commit(1, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooEarly.selector, revealEnd));
        court.conclude(1);
        vm.warp(revealEnd);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooLate.selector, revealEnd));
        court.reveal(1, 1, CLAIM, 0);
    }

    function refusedWitness(uint32 node, address caller) internal {
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotWitness.selector, node));
        vm.prank(caller);
        court.commit(1, node, CLAIM);
    }

    function test_only_active_edges_and_clouds_of_others_judge() public {
        challengeAs(accountOf(FIRST_WITNESS + 7), 3, CLAIM);
        refusedWitness(DEVICE, accountOf(DEVICE));
        refusedWitness(THE_CLOUD, accountOf(THE_CLOUD));
        refusedWitness(witness(7), accountOf(FIRST_WITNESS + 7));
        refusedWitness(witness(0), STRANGER);
        uint32 first = witness(0);
        vm.prank(REGISTRAR);
        registry.suspend(first);
        refusedWitness(first, accountOf(FIRST_WITNESS));
        commitAs(1, CLAIM);
        refusedWitness(witness(1), accountOf(FIRST_WITNESS + 1));
    }

    function test_a_challenger_who_owns_a_node_by_another_account_does_not_judge() public {
        uint32 node = witness(7);
        vm.prank(accountOf(FIRST_WITNESS + 7));
        registry.proposeAccount(node, STRANGER);
        vm.prank(STRANGER);
        registry.acceptAccount(node);
        challengeAs(STRANGER, 3, CLAIM);
        refusedWitness(node, STRANGER);
    }

    function test_seven_judge() public {
        challengeAs(STRANGER, 3, CLAIM);
        for (uint256 i = 0; i < 7; ++i) {
            uint32 node = witness(i);
            vm.expectEmit(true, true, true, true, address(court));
            emit ICourt.Committed(1, node, keccak256(abi.encode(uint256(1), node, CLAIM, salt(i))));
            commitAs(i, CLAIM);
        }
        uint32 eighth = witness(7);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooMany.selector, 1));
        vm.prank(accountOf(FIRST_WITNESS + 7));
        court.commit(1, eighth, CLAIM);
    }

    function test_only_what_was_committed_is_revealed_once() public {
        challengeAs(STRANGER, 3, CLAIM);
        commitAs(0, CLAIM);
        vm.warp(anchoredAt + COMMIT);
        uint32 node = witness(0);
        address account = accountOf(FIRST_WITNESS);
        bytes memory refusal = abi.encodeWithSelector(ICourt.BadReveal.selector, node);
        vm.expectRevert(refusal);
        vm.prank(STRANGER);
        court.reveal(1, node, CLAIM, salt(0));
        vm.expectRevert(refusal);
        vm.prank(account);
        court.reveal(1, node, "another", salt(0));
        vm.expectRevert(refusal);
        vm.prank(account);
        court.reveal(1, node, CLAIM, salt(1));
        vm.expectEmit(true, true, true, true, address(court));
        emit ICourt.Revealed(1, node, CLAIM);
        vm.prank(account);
        court.reveal(1, node, CLAIM, salt(0));
        vm.expectRevert(refusal);
        vm.prank(account);
        court.reveal(1, node, CLAIM, salt(0));
    }
}
