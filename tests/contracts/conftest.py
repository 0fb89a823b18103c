"""One chain for a module's tests, and the contracts on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devnet.evm import Evm, bare_chain


@pytest.fixture(scope="module")
def anvil_rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a fresh chain."""
    with bare_chain(tmp_path_factory.mktemp("anvil") / "output") as rpc:
        yield rpc


@pytest.fixture(scope="module")
def evm(anvil_rpc: str) -> Iterator[Evm]:
    """The contracts, deployed once for the module by `devnet.evm.ADMIN`."""
    world = Evm(anvil_rpc)
    world.deploy()
    yield world
    world.close()
