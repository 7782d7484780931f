"""Every case of the suite: what is played under a running platform, and what under one that drains."""

from __future__ import annotations

from tests.faults.before import BEFORE
from tests.faults.case import cases
from tests.faults.drain import DRAINS
from tests.faults.rivals import RIVALS, SPARED
from tests.faults.stand_ins import STAND_INS
from tests.faults.within import WITHIN

FAULTS = (*BEFORE, *WITHIN, *RIVALS, *SPARED, *STAND_INS, *DRAINS)
DRAINED = cases(DRAINS)
CASES = cases((*BEFORE, *WITHIN, *RIVALS, *SPARED, *STAND_INS))
