// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../../src/interfaces/ILedger.sol";
import {IRewards} from "../../src/interfaces/IRewards.sol";
import {Trees} from "./Trees.sol";
import {World} from "./World.sol";
import {vm} from "./Vm.sol";

/// @notice A task with eight devices, and shortcuts to promise and to claim.
abstract contract Paying is World {
    uint256 internal constant DEVICES = 8;

    uint64 internal id;
    uint32 internal firstDevice;

    function setUp() public virtual override {
        super.setUp();
        uint32 cloud = enrol(1, CLOUD, 0);
        uint32 edge = enrol(2, EDGE, cloud);
        firstDevice = edge + 1;
        for (uint256 i = 0; i < DEVICES; ++i) {
            enrol(3 + i, END, edge);
        }
        id = openTask(cloud);
    }

    function wallet(uint256 device) internal pure returns (address) {
        return accountOf(3 + device);
    }

    /// @notice What every device earned so far, as a function of a seed: at most 2^80 each.
    function promises(uint256 seed) internal view returns (Trees.Entry[] memory entries) {
        entries = new Trees.Entry[](DEVICES);
        for (uint256 i = 0; i < DEVICES; ++i) {
            entries[i] = Trees.Entry(firstDevice + uint32(i), 1 + uint80(uint256(keccak256(abi.encode(seed, i)))));
        }
    }

    /// @notice Anchors a round that makes these promises, and returns its header. It is final WINDOW seconds later.
    function pledge(Trees.Entry[] memory entries) internal returns (ILedger.Header memory header) {
        header = nextHeader(id);
        header.rewardsRoot = Trees.sumRoot(entries);
        anchorAs(accountOf(1), header);
    }

    function claimOf(Trees.Entry[] memory entries, uint256 index) internal pure returns (IRewards.Claim memory) {
        return IRewards.Claim({
            node: entries[index].node,
            cumulative: entries[index].amount,
            index: index,
            size: entries.length,
            path: Trees.sumPath(entries, index, 0, entries.length)
        });
    }

    /// @notice Sends a claim on a round, as anybody may.
    function claimFrom(ILedger.Header memory header, uint256 anchoredAt, IRewards.Claim memory claim_) internal {
        rewards.claim(header.task, header.round, keccak256(abi.encode(header)), anchoredAt, claim_);
    }

    function totalOf(Trees.Entry[] memory entries) internal pure returns (uint128) {
        return Trees.sumOf(entries, 0, entries.length);
    }

    function fund(uint256 amount) internal {
        fillWallet(PUBLISHER, amount, address(rewards));
        vm.prank(PUBLISHER);
        rewards.fund(id, amount);
    }
}
