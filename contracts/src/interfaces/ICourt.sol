// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IArbiter} from "./IArbiter.sol";
import {ILedger} from "./ILedger.sol";

/// @title ICourt
/// @notice Disputes that evidence alone cannot open: somebody keeps data back, or a result can only be judged by computing it
/// again. Both cost a bond, and both may be opened only while the round may be disputed. An open dispute holds the accused's
/// stake, and keeps every round of the task from being final.
///
/// A demand asks for one piece of data: who answers in time gets the bond; no answer costs the accused its whole stake, half
/// for the challenger, who gets the bond back. A challenge asks others to compute a result again: up to seven nodes of other
/// owners commit to a digest each and reveal it later. At least three, and all equal, decide; otherwise the council does.
/// Disputes are numbered 1, 2, 3, ... over both sorts.
/// @dev Checks are made in the order in which each function lists its errors. Loops run over seven reveals, or one path, at most.
interface ICourt {
    /* TYPES */

    /// @notice A demand in storage, until it ends. `kind` is 1 leaf, 2 chunk, 3 edge root. `asked` is keccak256(abi.encode(edge
    /// report, index, chunk)), with zeros for what the kind does not ask.
    struct Demand {
        address challenger;
        uint48 deadline;
        uint32 accused;
        uint8 kind;
        uint64 task;
        uint64 round;
        bytes32 asked;
    }

    /// @notice A challenge in storage, until it ends. `subject` is 1 weights, 2 sums, 3 model, 4 scores, 5 rewards, 6 manifest;
    /// `committed` is what the header says of it, `digest` what the first reveal said, and `split` whether another disagreed.
    /// `councilEnd` is zero until the council is asked.
    struct Challenge {
        address challenger;
        uint32 accused;
        uint8 subject;
        uint8 commits;
        uint8 reveals;
        bool split;
        uint64 task;
        uint64 round;
        uint48 commitEnd;
        uint48 revealEnd;
        uint48 councilEnd;
        bytes32 committed;
        bytes32 digest;
    }

    /* ERRORS */

    /// @notice No such demand or challenge is open.
    error UnknownDispute(uint256 id);
    /// @notice No such kind of demand.
    error BadKind(uint8 kind);
    /// @notice No such subject.
    error BadSubject(uint8 subject);
    /// @notice The edge or its updates have nothing at this place.
    error OutOfRange();
    /// @notice This was to be done before `until`, in seconds.
    error TooLate(uint256 until);
    /// @notice This is to be done from `from` on, in seconds.
    error TooEarly(uint256 from);
    /// @notice The challenge claims what the header says.
    error SameClaim();
    /// @notice The node is no active edge or cloud of the caller, or of an owner who may not judge here: the accused's, the
    /// challenger's, or one who committed already.
    error NotWitness(uint32 node);
    /// @notice Seven have committed.
    error TooMany(uint256 id);
    /// @notice The node did not commit to this.
    error BadReveal(uint32 node);
    /// @notice The caller has nothing here.
    error NothingToWithdraw(address caller);

    /* EVENTS */

    /// @notice Data was demanded: `index` and `chunk` of what `edge` reported.
    event Demanded(
        uint256 indexed id,
        uint64 indexed task,
        uint32 indexed accused,
        uint64 round,
        address challenger,
        uint8 kind,
        IArbiter.EdgeRoot edge,
        uint64 index,
        uint32 chunk,
        uint256 deadline
    );
    /// @notice A demand was met; here is what was asked for: a leaf (ABI-encoded), a salt and a chunk, or a signature.
    event Answered(uint256 indexed id, address indexed by, bytes data);
    /// @notice A demand was not met: the accused lost `amount`.
    event Expired(uint256 indexed id, uint32 indexed accused, uint256 amount);
    /// @notice A result was challenged: the header says `committed`, the challenger `claim`.
    event Challenged(
        uint256 indexed id,
        uint64 indexed task,
        uint32 indexed accused,
        uint64 round,
        address challenger,
        uint8 subject,
        bytes32 committed,
        bytes32 claim
    );
    /// @notice A node committed to a digest.
    event Committed(uint256 indexed id, uint32 indexed node, bytes32 hash);
    /// @notice A node revealed its digest.
    event Revealed(uint256 indexed id, uint32 indexed node, bytes32 digest);
    /// @notice The witnesses are too few, or do not agree: the council is asked, until `until`.
    event Referred(uint256 indexed id, uint256 until);
    /// @notice A challenge was decided; if guilty, the accused lost `amount`.
    event Decided(uint256 indexed id, uint32 indexed accused, bool guilty, uint256 amount);
    /// @notice A challenge ended without a decision.
    event Lapsed(uint256 indexed id);

    /* DEMANDS */

    /// @notice Demands a leaf (1), a chunk of it with its salt (2), or the edge's signature under its report (3). The caller
    /// approved the bond. Accused is the edge; of a signature, and of a chunk unless the rule is linear in two levels, the cloud.
    ///
    /// Reverts: BadKind, NotAnchored, Unrelated, PathTooLong, BadProof, TooLate, OutOfRange, what the token says.
    /// @dev Warning: the other roles must watch for this. Silence is guilt.
    function demand(
        ILedger.Header calldata header,
        uint256 anchoredAt,
        IArbiter.Member calldata member,
        uint8 kind,
        uint64 index,
        uint32 chunk
    ) external returns (uint256 id);

    /// @notice Shows the leaf that was asked for. Anybody may, and gets the bond.
    ///
    /// Reverts: UnknownDispute, BadKind, TooLate, Unrelated (not what was asked), PathTooLong, BadProof.
    function answerLeaf(uint256 id, IArbiter.EdgeRoot calldata edge, IArbiter.Placed calldata placed) external;

    /// @notice Shows the chunk that was asked for, and its leaf: `data` is salt 16 | 256 integers. Anybody may, and gets the bond.
    ///
    /// Reverts: UnknownDispute, BadKind, TooLate, Unrelated (not what was asked), PathTooLong, BadProof.
    function answerChunk(
        uint256 id,
        IArbiter.EdgeRoot calldata edge,
        IArbiter.Placed calldata placed,
        uint32 chunk,
        bytes calldata data,
        bytes32[] calldata path
    ) external;

    /// @notice Shows the edge's signature under its report: of any account that the edge ever had. Anybody may, and gets the
    /// bond.
    ///
    /// Reverts: UnknownDispute, BadKind, TooLate, Unrelated (not what was asked), BadSignature.
    /// @dev Warning: a contract's signature can be revoked. A cloud that takes reports of edges whose account is a contract may
    /// be left without an answer.
    function answerRoot(uint256 id, IArbiter.EdgeRoot calldata edge, bytes calldata signature) external;

    /// @notice Ends a demand that nobody met in time.
    ///
    /// Reverts: UnknownDispute, TooEarly.
    function expire(uint256 id) external;

    /* CHALLENGES */

    /// @notice Claims that a header's weights (1), sums (2), model (3), scores (4), rewards (5) or manifest (6) should be
    /// `claim`. The caller approved the bond. Accused is the cloud.
    ///
    /// Reverts: BadSubject, NotAnchored, TooLate, SameClaim, what the token says.
    function challenge(ILedger.Header calldata header, uint256 anchoredAt, uint8 subject, bytes32 claim)
        external
        returns (uint256 id);

    /// @notice Commits a node to a digest: `hash` is keccak256(abi.encode(id, node, digest, salt)). Only the account of an
    /// active edge or cloud; one node an owner, none of the accused's or the challenger's owner.
    ///
    /// Reverts: UnknownDispute, TooLate, NotWitness, TooMany.
    function commit(uint256 id, uint32 node, bytes32 hash) external;

    /// @notice Reveals what a node committed to. Only its account.
    ///
    /// Reverts: UnknownDispute, TooEarly, TooLate, BadReveal.
    function reveal(uint256 id, uint32 node, bytes32 digest, bytes32 salt) external;

    /// @notice Ends the time for reveals: three or more that agree decide. If they say what the header says, they share the
    /// bond; else the accused loses its stake, half of it to the challenger, who gets the bond back. Otherwise the council is
    /// asked.
    ///
    /// Reverts: UnknownDispute, TooEarly, TooLate (the council was asked already).
    function conclude(uint256 id) external;

    /// @notice Decides where witnesses could not. Only the council. Not guilty: the bond goes to the accused's account.
    ///
    /// Reverts: UnknownDispute, NotAuthorised, TooEarly (it was not asked), TooLate.
    function decide(uint256 id, bool guilty) external;

    /// @notice Ends a challenge that the council left undecided; the bond goes back.
    ///
    /// Reverts: UnknownDispute, TooEarly.
    function lapse(uint256 id) external;

    /* PAYMENTS */

    /// @notice Pays the caller its shares of bonds.
    ///
    /// Reverts: NothingToWithdraw.
    function withdraw() external;

    /* VIEWS */

    /// @notice How many disputes were ever opened; also the newest id.
    function count() external view returns (uint256);

    /// @notice An open demand; all zero if there is none.
    function demandOf(uint256 id) external view returns (Demand memory);

    /// @notice An open challenge; all zero if there is none.
    function challengeOf(uint256 id) external view returns (Challenge memory);

    /// @notice What a node committed to in an open challenge; zero if nothing, or if it was revealed.
    function committedTo(uint256 id, uint32 node) external view returns (bytes32);

    /// @notice What an address may withdraw.
    function withdrawable(address account) external view returns (uint256);

    /// @notice What opening a dispute costs, until it is decided, in token units.
    function bond() external view returns (uint256);

    /// @notice How long a demand may be answered, in seconds.
    function answerSeconds() external view returns (uint48);

    /// @notice How long nodes may commit, in seconds.
    function commitSeconds() external view returns (uint48);

    /// @notice How long they may reveal after that, in seconds.
    function revealSeconds() external view returns (uint48);

    /// @notice How long the council may decide after that, in seconds.
    function councilSeconds() external view returns (uint48);
}
