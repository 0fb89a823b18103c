// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../src/interfaces/ILedger.sol";
import {IModels} from "../src/interfaces/IModels.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

contract ModelsPublishTest is World {
    bytes32 internal constant ROOT = keccak256("root");
    bytes32 internal constant LICENCE = keccak256("licence");
    address internal constant USER = address(0xB0B);

    uint64 internal id;

    function setUp() public override {
        super.setUp();
        id = openTask(enrol(1, CLOUD, 0));
    }

    function anchored() internal returns (ILedger.Header memory header, uint256 anchoredAt) {
        header = nextHeader(id);
        anchorAs(accountOf(1), header);
        anchoredAt = block.timestamp;
    }

    function test_a_model_of_a_final_round_carries_its_lineage(uint96 price, uint16 share) public {
        share = uint16(between(share, 0, 10_000));
        (ILedger.Header memory header, uint256 anchoredAt) = anchored();
        vm.warp(anchoredAt + WINDOW + 1);
        vm.expectEmit(true, true, true, true, address(models));
        emit IModels.ModelPublished(ROOT, PUBLISHER, id, 1, header.modelOut, LICENCE, price, share);
        vm.prank(PUBLISHER);
        models.publish(ROOT, header, anchoredAt, LICENCE, price, share);
        IModels.Model memory m = models.model(ROOT);
        yes(m.owner == PUBLISHER && m.task == id && m.round == 1 && m.licence == LICENCE, "the model is as published");
        equal(m.price, price);
        equal(m.share, share);
    }

    function test_a_round_that_is_not_final_publishes_nothing() public {
        (ILedger.Header memory header, uint256 anchoredAt) = anchored();
        vm.expectRevert(abi.encodeWithSelector(IModels.NotFinal.selector, id, 1));
        vm.prank(PUBLISHER);
        models.publish(ROOT, header, anchoredAt, LICENCE, 1, 0);
        vm.warp(anchoredAt + WINDOW + 1);
        header.modelOut = keccak256("another model");
        vm.expectRevert(abi.encodeWithSelector(IModels.NotFinal.selector, id, 1));
        vm.prank(PUBLISHER);
        models.publish(ROOT, header, anchoredAt, LICENCE, 1, 0);
    }

    function test_only_the_tasks_publisher_publishes_its_model(address caller) public {
        vm.assume(caller != PUBLISHER);
        (ILedger.Header memory header, uint256 anchoredAt) = anchored();
        vm.warp(anchoredAt + WINDOW + 1);
        vm.expectRevert(abi.encodeWithSelector(IModels.NotOwner.selector, caller));
        vm.prank(caller);
        models.publish(ROOT, header, anchoredAt, LICENCE, 1, 0);
    }

    function test_a_foreign_model_says_so_and_a_root_is_taken_once(address owner, address other) public {
        vm.assume(owner != address(0));
        vm.expectEmit(true, true, true, true, address(models));
        emit IModels.ModelPublished(ROOT, owner, 0, 0, 0, LICENCE, 7, 10_000);
        vm.prank(owner);
        models.publishForeign(ROOT, LICENCE, 7, 10_000);
        vm.expectRevert(abi.encodeWithSelector(IModels.RootTaken.selector, ROOT));
        vm.prank(other);
        models.publishForeign(ROOT, LICENCE, 7, 0);
    }

    function test_no_root_and_more_than_the_whole_are_refused(uint16 share) public {
        vm.expectRevert(abi.encodeWithSelector(IModels.BadRoot.selector));
        models.publishForeign(0, LICENCE, 7, 0);
        share = uint16(between(share, 10_001, type(uint16).max));
        vm.expectRevert(abi.encodeWithSelector(IModels.BadShare.selector, share));
        models.publishForeign(ROOT, LICENCE, 7, share);
    }

    function test_a_licence_holds_until_it_expires_or_is_revoked(uint64 expiry) public {
        expiry = uint64(between(expiry, block.timestamp + 1, type(uint64).max));
        models.publishForeign(ROOT, LICENCE, 7, 0);
        yes(!models.mayInfer(ROOT, USER), "nobody was granted anything");
        models.grant(ROOT, USER, expiry, 5);
        yes(models.mayInfer(ROOT, USER), "the grant holds");
        yes(!models.mayInfer(ROOT, STRANGER), "for him alone");
        vm.warp(expiry);
        yes(!models.mayInfer(ROOT, USER), "it expired");
        vm.warp(expiry - 1);
        vm.expectEmit(true, true, true, true, address(models));
        emit IModels.LicenceRevoked(ROOT, USER);
        models.revoke(ROOT, USER);
        yes(!models.mayInfer(ROOT, USER), "it was revoked");
    }

    function test_a_quota_of_nothing_is_no_licence() public {
        models.publishForeign(ROOT, LICENCE, 7, 0);
        models.grant(ROOT, USER, type(uint64).max, 0);
        yes(!models.mayInfer(ROOT, USER), "nothing may be used");
    }

    function test_only_the_owner_grants_revokes_and_prices(address caller) public {
        vm.assume(caller != address(this));
        models.publishForeign(ROOT, LICENCE, 7, 0);
        bytes memory refusal = abi.encodeWithSelector(IModels.NotOwner.selector, caller);
        vm.expectRevert(refusal);
        vm.prank(caller);
        models.grant(ROOT, USER, 1, 1);
        vm.expectRevert(refusal);
        vm.prank(caller);
        models.revoke(ROOT, USER);
        vm.expectRevert(refusal);
        vm.prank(caller);
        models.setPrice(ROOT, 1);
        bytes32 other = keccak256("other");
        vm.expectRevert(abi.encodeWithSelector(IModels.UnknownModel.selector, other));
        models.grant(other, USER, 1, 1);
    }
}
