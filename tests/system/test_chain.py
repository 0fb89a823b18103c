"""The devnet's chain and the children of a devnet: what survives a kill -9, and that nothing else does."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from devnet.chain import CHAIN_ID, Chain, State, free_port, operator_key
from devnet.processes import Processes
from ledger.rpc import hexed
from middleware.errors import ConfigurationError, Unavailable

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0  # seconds; far more than anything here takes
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
WILLING = "import time; print('up', flush=True); time.sleep(600)"


def until(what: Callable[[], Any]) -> Any:
    """The first true answer of `what`."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := what()):
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)
    return answer


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path / "logs") as children:
        yield children


def send(chain: Chain) -> str:
    """Mine one transaction of the funded account; its hash."""
    account = hexed(operator_key().account.address)
    transaction: str = chain.call("eth_sendTransaction", {"from": account, "to": account, "value": "0x1"})
    until(lambda: chain.call("eth_getTransactionReceipt", transaction))
    return transaction


# ------------------------------------------------------------------------------------------------------------ the chain


def test_a_chain_answers_mines_at_once_and_funds_the_operator(tmp_path: Path, processes: Processes) -> None:
    chain = Chain(tmp_path / "chain")
    chain.start(processes)
    assert int(chain.call("eth_chainId"), 16) == CHAIN_ID
    before = int(chain.call("eth_blockNumber"), 16)
    receipt = chain.call("eth_getTransactionReceipt", send(chain))
    assert receipt["status"] == "0x1"
    assert int(receipt["blockNumber"], 16) == before + 1
    assert int(chain.call("eth_getBalance", hexed(operator_key().account.address), "latest"), 16) > 10**21


def test_a_block_time_makes_blocks_without_transactions(tmp_path: Path, processes: Processes) -> None:
    chain = Chain(tmp_path / "chain", block_time=0.2)
    chain.start(processes)
    assert until(lambda: int(chain.call("eth_blockNumber"), 16) >= 2)


def test_a_stopped_chain_comes_back_with_every_block(tmp_path: Path) -> None:
    chain = Chain(tmp_path / "chain")
    with Processes(tmp_path / "logs") as first:
        chain.start(first)
        transaction = send(chain)
        block = chain.call("eth_getBlockByNumber", "latest", False)
    with Processes(tmp_path / "logs") as second:
        chain.start(second)
        assert chain.call("eth_getBlockByNumber", "latest", False) == block
        assert chain.call("eth_getTransactionReceipt", transaction)["blockHash"] == block["hash"]


def test_a_killed_chain_comes_back_on_its_port_with_what_was_dumped(tmp_path: Path, processes: Processes) -> None:
    chain = Chain(tmp_path / "chain")
    chain.start(processes)
    transaction = send(chain)
    until(lambda: chain.state.kept.exists() and transaction.encode() in chain.state.kept.read_bytes())
    processes.kill("chain")
    with pytest.raises(Unavailable):
        chain.call("eth_chainId")
    chain.start(processes)
    assert chain.call("eth_getTransactionReceipt", transaction)["status"] == "0x1"
    assert chain.call("eth_getTransactionReceipt", send(chain))["status"] == "0x1"


def test_a_dump_that_a_kill_cut_short_is_replaced_by_the_last_whole_one(tmp_path: Path, processes: Processes) -> None:
    chain = Chain(tmp_path / "chain")
    chain.start(processes)
    transaction = send(chain)
    until(lambda: chain.state.kept.exists() and transaction.encode() in chain.state.kept.read_bytes())
    processes.kill("chain")
    dump = chain.state.file.read_bytes()
    chain.state.file.write_bytes(dump[: len(dump) // 2])
    chain.start(processes)
    assert chain.call("eth_getTransactionReceipt", transaction)["status"] == "0x1"


def test_a_broken_dump_without_a_copy_is_refused_by_name(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.file.write_text('{"block": ')
    with pytest.raises(ConfigurationError, match=r"state\.json is broken"):
        state.repair()


def test_only_a_whole_dump_is_kept_and_only_once(tmp_path: Path) -> None:
    state = State(tmp_path)
    assert not state.keep()
    state.file.write_text('{"block": 1}')
    assert state.keep()
    assert not state.keep()
    state.file.write_text('{"block": 2, "acc')
    assert not state.keep()
    assert json.loads(state.kept.read_text()) == {"block": 1}
    state.repair()
    assert json.loads(state.file.read_text()) == {"block": 1}


def test_a_taken_port_is_refused_and_a_strangers_chain_is_not_mistaken_for_ours(
    tmp_path: Path, processes: Processes
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unavailable, match="is taken"):
            Chain(tmp_path / "chain", port=taken.getsockname()[1]).start(processes)
    assert processes.all == {}


def in_the_background() -> None:
    """A shell has what it starts with & ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_devnet_up_says_where_it_is_and_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    port = free_port()
    command = [
        sys.executable, "-m", "nodes.cli.main", "devnet", "up", "--home", str(tmp_path / "home"), "--port", str(port),
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=in_the_background) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            assert f"chain {CHAIN_ID} at http://127.0.0.1:{port}" in line
            offspring = [process.pid for process in psutil.Process(child.pid).children(recursive=True)]
            assert len(offspring) == 1
            child.send_signal(number)
            assert child.wait(PATIENCE) == 0
        finally:
            child.kill()  # leaving the block waits for it
    assert all(gone(pid) for pid in offspring)


# -------------------------------------------------------------------------------------------------------- the children


def test_children_are_stopped_in_the_reverse_order_of_their_start(tmp_path: Path) -> None:
    note = (
        "import signal, sys, time\ndef end(*_):\n    open({file!r}, 'a').write({name!r}); time.sleep(0.1); sys.exit()\n"
    )
    note += "signal.signal(signal.SIGTERM, end); print('up', flush=True); time.sleep(600)"
    order = tmp_path / "order"
    with Processes(tmp_path) as children:
        for name in ("a", "b", "c"):
            child = children.start(name, [sys.executable, "-c", note.format(file=str(order), name=name)])
            until(lambda child=child: "up" in child.tail())
        terminated: list[str] = []
        for process in children.all.values():
            original = process.terminate

            def told(name: str = process.name, original: Callable[[], None] = original) -> None:
                terminated.append(name)
                original()

            process.terminate = told  # type: ignore[method-assign]
    assert terminated == ["c", "b", "a"]
    assert sorted(order.read_text()) == ["a", "b", "c"], "each had the time to end by itself"


def test_a_child_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devnet.processes.GRACE_SECONDS", 0.2)
    with Processes(tmp_path) as children:
        child = children.start("stubborn", [sys.executable, "-c", STUBBORN])
        until(lambda: "up" in child.tail())
        pid = child.pid
    assert pid is not None
    assert gone(pid)


def test_a_child_that_ended_is_named_with_the_end_of_its_log(tmp_path: Path, processes: Processes) -> None:
    processes.start("fine", [sys.executable, "-c", WILLING])
    broken = processes.start(
        "broken", [sys.executable, "-c", "print('x' * 9000); print('the reason'); raise SystemExit(7)"]
    )
    until(lambda: not broken.running)
    with pytest.raises(Unavailable, match=r"(?s)broken ended with exit code 7.*the reason") as refused:
        processes.require_running()
    assert len(str(refused.value)) < 3_000


def test_one_child_is_killed_and_restarted_and_the_others_are_left_alone(processes: Processes) -> None:
    one = processes.start("one", [sys.executable, "-c", WILLING])
    other = processes.start("other", [sys.executable, "-c", WILLING])
    pids = one.pid, other.pid
    processes.kill("one")
    assert one.pid is None
    assert other.pid == pids[1]
    processes.restart("one")
    assert one.pid not in (None, pids[0])
    assert other.pid == pids[1]


def test_a_running_child_is_not_started_twice(processes: Processes) -> None:
    child = processes.start("one", [sys.executable, "-c", WILLING])
    with pytest.raises(ConfigurationError, match="one is running already"):
        processes.start("one", [sys.executable, "-c", WILLING])
    with pytest.raises(ConfigurationError, match="one is running already"):
        processes.restart("one")
    assert processes.all["one"] is child


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children whose parent was killed")
def test_kill_minus_nine_of_the_parent_leaves_no_child(tmp_path: Path) -> None:
    parent = (
        "import sys, time\nfrom pathlib import Path\nfrom devnet.processes import Processes\n"
        f"children = Processes(Path({str(tmp_path)!r}))\n"
        f"child = children.start('child', [sys.executable, '-c', {STUBBORN!r}])\n"
        "print(child.pid, flush=True)\ntime.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert not gone(pid)
        process.kill()
    assert until(lambda: gone(pid))
