"""The order of the table: the limit, the floor, ours, then the peers from the leanest to the heaviest."""

from __future__ import annotations

from tests.bench.peers.base import Target
from tests.bench.peers.direct import Direct
from tests.bench.peers.envoy import Envoy
from tests.bench.peers.floor import Floor
from tests.bench.peers.litellm import LiteLLM
from tests.bench.peers.net import Net
from tests.bench.peers.penstock import Penstock
from tests.bench.peers.penstock_shared import PenstockShared
from tests.bench.peers.portkey import Portkey
from tests.bench.peers.tensorzero import TensorZero

TARGETS: tuple[type[Target], ...] = (
    Direct,
    Floor,
    Net,
    Penstock,
    PenstockShared,
    Envoy,
    TensorZero,
    Portkey,
    LiteLLM,
)
