"""Thirty bugs that people write, each as one small edit of the code: a suite that lets one pass has a hole.

Each says which promise it breaks and which tests answer for its file. tests/unit/house/test_seeds.py keeps the list in
step with the code; tests/evidence/s12_seeded.py plants each in a copy of the tree and runs the suite on it.
"""

from __future__ import annotations

from tests.evidence.seeds_money import MONEY_SEEDS
from tests.evidence.seeds_traffic import TRAFFIC_SEEDS

SEEDS = (*MONEY_SEEDS, *TRAFFIC_SEEDS)
