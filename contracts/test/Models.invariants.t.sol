// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IModels} from "../src/interfaces/IModels.sol";
import {World} from "./support/World.sol";
import {vm} from "./support/Vm.sol";

/// @notice Users who open channels, pay, cheat and take their money back, in any order. Refusals are part of the game.
contract Market is World {
    struct Held {
        uint64 channel;
        uint64 units;
        bytes signature;
    }

    uint96 internal constant PRICE = 3;
    uint256 internal constant USERS = 3;
    bytes32 internal constant ROOT = keccak256("root");
    bytes32 internal constant CHAIN = keccak256("receipts");
    address internal constant OWNER = address(0x0E);

    uint32 public edge;
    /// @notice Everything that users put in, and everything that left.
    uint256 public deposited;
    uint256 public returned;
    uint256 public earned;
    /// @notice How often a voucher that the channel covers could not be redeemed; and how often one paid twice.
    uint256 public unpaid;
    uint256 public doubled;
    mapping(bytes32 action => uint256) public done;

    Held[] internal _vouchers;
    mapping(uint64 channel => uint64) internal _redeemed;

    constructor() {
        super.setUp();
        edge = enrol(2, EDGE, enrol(1, CLOUD, 0));
        vm.prank(OWNER);
        models.publishForeign(ROOT, 0, PRICE, 2_500);
    }

    /// @dev The constructor did it.
    function setUp() public override {}

    function secret(uint256 user) internal pure returns (uint256) {
        return 0xB0B0 + user % USERS;
    }

    function open(uint256 user, uint64 deposit) external {
        address account = vm.addr(secret(user));
        fillWallet(account, deposit, address(models));
        vm.prank(account);
        models.openChannel(ROOT, edge, deposit);
        deposited += deposit;
        ++done["open"];
    }

    function pay(uint256 user, uint64 channel, uint64 units) external {
        channel = uint64(between(channel, 0, models.channels()));
        units = uint64(between(units, 0, 1e6));
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Drystone"),
                keccak256("1"),
                block.chainid,
                address(models)
            )
        );
        bytes32 data = keccak256(
            abi.encode(keccak256("Voucher(uint64 channel,uint64 units,bytes32 chain)"), channel, units, CHAIN)
        );
        bytes memory signature = signed(secret(user), keccak256(abi.encodePacked("\x19\x01", domain, data)));
        _vouchers.push(Held(channel, units, signature));
    }

    function redeem(uint256 which) external {
        if (_vouchers.length == 0) return;
        Held memory held = _vouchers[which % _vouchers.length];
        IModels.Channel memory c = models.channelOf(held.channel);
        uint256 before = credit.balanceOf(address(models));
        try models.redeem(held.channel, held.units, CHAIN, held.signature) {
            if (held.units <= _redeemed[held.channel]) ++doubled;
            _redeemed[held.channel] = held.units;
            earned += before - credit.balanceOf(address(models));
            ++done["redeem"];
        } catch (bytes memory reason) {
            bool covered = held.units > c.redeemed && uint256(held.units - c.redeemed) * c.price <= c.deposit;
            bool forged = bytes4(reason) == IModels.BadVoucher.selector || c.user == address(0);
            if (covered && !forged) ++unpaid;
        }
    }

    function close(uint256 user, uint64 channel) external {
        channel = uint64(between(channel, 0, models.channels()));
        vm.prank(vm.addr(secret(user)));
        try models.closeChannel(channel) {} catch {}
    }

    function withdraw(uint256 user, uint64 channel) external {
        channel = uint64(between(channel, 0, models.channels()));
        uint128 left = models.channelOf(channel).deposit;
        vm.prank(vm.addr(secret(user)));
        try models.withdraw(channel) {
            returned += left;
            ++done["withdraw"];
        } catch {}
    }

    function wait(uint32 time) external {
        vm.warp(block.timestamp + between(time, 0, 2 days));
    }

    function held() external view returns (uint256 balance, uint256 deposits) {
        for (uint64 i = 1; i <= models.channels(); ++i) {
            deposits += models.channelOf(i).deposit;
        }
        return (credit.balanceOf(address(models)), deposits);
    }

    function wallets() external view returns (uint256 edgeHolds, uint256 ownerHolds) {
        return (credit.balanceOf(accountOf(2)), credit.balanceOf(OWNER));
    }
}

contract ModelsInvariantsTest is World {
    Market internal market;

    function setUp() public override {
        market = new Market();
    }

    /// @dev Asked by forge: whom to call.
    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(market);
    }

    function test_the_market_is_not_idle() public {
        for (uint256 i = 0; i < 6; ++i) {
            market.open(i, 1_000);
            market.pay(i, uint64(i + 1), uint64(i + 1));
            market.redeem(i);
            market.close(i, uint64(i + 1));
        }
        market.wait(2 days);
        market.withdraw(0, 1);
        equal(market.done("redeem"), 6);
        equal(market.done("withdraw"), 1);
    }

    function invariant_I1_depositsAreCovered() public view {
        (uint256 balance, uint256 deposits) = market.held();
        equal(balance, deposits);
        equal(market.deposited(), deposits + market.returned() + market.earned());
        (uint256 edgeHolds, uint256 ownerHolds) = market.wallets();
        equal(edgeHolds + ownerHolds, market.earned());
    }

    function invariant_I14_aCoveredVoucherIsPayableAndPaidOnce() public view {
        equal(market.unpaid(), 0);
        equal(market.doubled(), 0);
    }
}
