// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IModels} from "../src/interfaces/IModels.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

contract ModelsChannelTest is World {
    bytes32 internal constant ROOT = keccak256("root");
    bytes32 internal constant CHAIN = keccak256("receipts");
    uint256 internal constant USER_SECRET = 0xB0B0;
    uint96 internal constant PRICE = 3;
    uint16 internal constant SHARE = 2_500;
    address internal constant OWNER = address(0x0E);

    address internal user;
    uint32 internal edge;
    uint64 internal channel;

    function setUp() public override {
        super.setUp();
        user = vm.addr(USER_SECRET);
        edge = enrol(2, EDGE, enrol(1, CLOUD, 0));
        vm.prank(OWNER);
        models.publishForeign(ROOT, 0, PRICE, SHARE);
        vm.prank(OWNER);
        models.grant(ROOT, user, type(uint64).max, 1_000);
        channel = opened(3_000);
    }

    function opened(uint128 deposit) internal returns (uint64) {
        fillWallet(user, deposit, address(models));
        vm.prank(user);
        return models.openChannel(ROOT, edge, deposit);
    }

    function voucher(uint256 secret, uint64 id, uint64 units, bytes32 chain) internal view returns (bytes memory) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Drystone"),
                keccak256("1"),
                block.chainid,
                address(models)
            )
        );
        bytes32 data =
            keccak256(abi.encode(keccak256("Voucher(uint64 channel,uint64 units,bytes32 chain)"), id, units, chain));
        return signed(secret, keccak256(abi.encodePacked("\x19\x01", domain, data)));
    }

    function redeemed(uint64 id, uint64 units) internal {
        models.redeem(id, units, CHAIN, voucher(USER_SECRET, id, units, CHAIN));
    }

    function test_a_voucher_pays_the_edge_its_share_and_the_owner_the_rest(uint64 units) public {
        units = uint64(between(units, 1, 1_000));
        uint256 amount = uint256(units) * PRICE;
        uint256 toEdge = amount * SHARE / 10_000;
        vm.expectEmit(true, true, true, true, address(models));
        emit IModels.VoucherRedeemed(channel, units, CHAIN, toEdge, amount - toEdge);
        redeemed(channel, units);
        equal(credit.balanceOf(accountOf(2)), toEdge);
        equal(credit.balanceOf(OWNER), amount - toEdge);
        equal(credit.balanceOf(address(models)), 3_000 - amount);
        equal(models.grantOf(ROOT, user).used, units);
    }

    function test_vouchers_are_cumulative(uint64 first, uint64 second) public {
        first = uint64(between(first, 1, 999));
        second = uint64(between(second, first + 1, 1_000));
        redeemed(channel, first);
        redeemed(channel, second);
        equal(credit.balanceOf(accountOf(2)) + credit.balanceOf(OWNER), uint256(second) * PRICE);
        equal(models.channelOf(channel).redeemed, second);
    }

    function test_a_voucher_that_is_repeated_or_shrunk_pays_nothing(uint64 units, uint64 less) public {
        units = uint64(between(units, 1, 1_000));
        less = uint64(between(less, 0, units));
        redeemed(channel, units);
        bytes memory again = voucher(USER_SECRET, channel, less, CHAIN);
        vm.expectRevert(abi.encodeWithSelector(IModels.NothingToRedeem.selector, channel, units));
        models.redeem(channel, less, CHAIN, again);
    }

    function test_a_foreign_voucher_is_refused(uint256 secret) public {
        secret = between(secret, 1, type(uint128).max);
        vm.assume(secret != USER_SECRET);
        bytes memory refusal = abi.encodeWithSelector(IModels.BadVoucher.selector, channel);
        bytes memory another = voucher(secret, channel, 5, CHAIN);
        vm.expectRevert(refusal);
        models.redeem(channel, 5, CHAIN, another);
        uint64 second = opened(10);
        bytes memory elsewhere = voucher(USER_SECRET, second, 5, CHAIN);
        vm.expectRevert(refusal);
        models.redeem(channel, 5, CHAIN, elsewhere);
        bytes memory receipts = voucher(USER_SECRET, channel, 5, keccak256("other receipts"));
        vm.expectRevert(refusal);
        models.redeem(channel, 5, CHAIN, receipts);
        vm.chainId(block.chainid + 1);
        bytes memory chain = voucher(USER_SECRET, channel, 5, CHAIN);
        vm.chainId(block.chainid - 1);
        vm.expectRevert(refusal);
        models.redeem(channel, 5, CHAIN, chain);
    }

    function test_more_than_the_deposit_is_not_paid(uint64 units) public {
        units = uint64(between(units, 1_001, type(uint64).max));
        bytes memory signature = voucher(USER_SECRET, channel, units, CHAIN);
        vm.expectRevert(
            abi.encodeWithSelector(IModels.DepositExceeded.selector, channel, uint256(units) * PRICE, uint128(3_000))
        );
        models.redeem(channel, units, CHAIN, signature);
    }

    function test_a_channel_keeps_the_price_that_it_was_opened_with(uint96 later) public {
        vm.prank(OWNER);
        models.setPrice(ROOT, later);
        equal(models.channelOf(channel).price, PRICE);
        equal(models.channelOf(opened(1)).price, later);
    }

    function test_a_quota_is_used_by_what_is_redeemed_and_never_keeps_a_voucher_from_being_paid() public {
        redeemed(channel, 999);
        yes(models.mayInfer(ROOT, user), "one unit is left");
        redeemed(channel, 1_000);
        yes(!models.mayInfer(ROOT, user), "the quota is used up");
        vm.prank(OWNER);
        models.setPrice(ROOT, 0);
        uint64 free = opened(0);
        redeemed(free, type(uint64).max);
        equal(models.grantOf(ROOT, user).used, type(uint64).max);
        vm.prank(OWNER);
        models.setPrice(ROOT, 1);
        uint64 paid = opened(5);
        redeemed(paid, 5);
        equal(models.grantOf(ROOT, user).used, type(uint64).max);
    }

    function test_a_revoked_licence_leaves_what_was_vouched_for_payable() public {
        vm.prank(OWNER);
        models.revoke(ROOT, user);
        vm.prank(REGISTRAR);
        registry.revoke(edge);
        redeemed(channel, 10);
        equal(credit.balanceOf(accountOf(2)), uint256(30) * SHARE / 10_000);
    }

    function test_a_user_gets_the_rest_back_after_a_day_and_the_edge_its_voucher_until_then(uint64 units) public {
        units = uint64(between(units, 1, 1_000));
        vm.prank(user);
        models.closeChannel(channel);
        uint64 closing = uint64(block.timestamp) + models.CLOSING_SECONDS();
        vm.expectRevert(abi.encodeWithSelector(IModels.NotClosed.selector, channel, closing));
        vm.prank(user);
        models.withdraw(channel);
        vm.expectRevert(abi.encodeWithSelector(IModels.Closing.selector, channel));
        vm.prank(user);
        models.closeChannel(channel);
        vm.expectRevert(abi.encodeWithSelector(IModels.Closing.selector, channel));
        vm.prank(user);
        models.fundChannel(channel, 1);
        redeemed(channel, units);
        vm.warp(closing);
        vm.prank(user);
        models.withdraw(channel);
        equal(credit.balanceOf(user), 3_000 - uint256(units) * PRICE);
        equal(credit.balanceOf(address(models)), 0);
        bytes memory late = voucher(USER_SECRET, channel, units, CHAIN);
        vm.expectRevert(abi.encodeWithSelector(IModels.UnknownChannel.selector, channel));
        models.redeem(channel, units, CHAIN, late);
    }

    function test_an_open_channel_is_not_withdrawn_and_nobody_else_closes_it(address caller) public {
        vm.assume(caller != user);
        vm.expectRevert(abi.encodeWithSelector(IModels.NotClosed.selector, channel, 0));
        vm.prank(user);
        models.withdraw(channel);
        vm.expectRevert(abi.encodeWithSelector(IModels.NotOwner.selector, caller));
        vm.prank(caller);
        models.closeChannel(channel);
        vm.expectRevert(abi.encodeWithSelector(IModels.NotOwner.selector, caller));
        vm.prank(caller);
        models.withdraw(channel);
    }

    function test_anybody_adds_to_a_deposit(uint96 amount) public {
        amount = uint96(between(amount, 0, 1e26));
        fillWallet(STRANGER, amount, address(models));
        vm.prank(STRANGER);
        models.fundChannel(channel, amount);
        equal(models.channelOf(channel).deposit, 3_000 + uint256(amount));
    }

    function test_channels_lead_to_active_edges_and_known_models() public {
        vm.expectRevert(abi.encodeWithSelector(IModels.BadEdge.selector, uint32(1)));
        models.openChannel(ROOT, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IModels.BadEdge.selector, uint32(9)));
        models.openChannel(ROOT, 9, 0);
        vm.prank(REGISTRAR);
        registry.suspend(edge);
        vm.expectRevert(abi.encodeWithSelector(IModels.BadEdge.selector, edge));
        models.openChannel(ROOT, edge, 0);
        bytes32 other = keccak256("other");
        vm.expectRevert(abi.encodeWithSelector(IModels.UnknownModel.selector, other));
        models.openChannel(other, edge, 0);
        vm.expectRevert(abi.encodeWithSelector(IModels.UnknownChannel.selector, uint64(7)));
        models.fundChannel(7, 0);
    }
}
