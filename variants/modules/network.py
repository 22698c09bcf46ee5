"""The modules that a run can train: a net on one device, as two towers, or one tower of two."""

from __future__ import annotations

from typing import TypeAlias

from variants.modules.alexnet import AlexNet
from variants.modules.tower_rank import TowerRank
from variants.modules.towers import Towers

Network: TypeAlias = AlexNet | Towers | TowerRank
