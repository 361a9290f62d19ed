"""Schedules for the learning rate and the momentum: functions of time, and rules that monitor the history.

Pass them to a Trainer as `schedule=` and `momentum=`; any function (epoch, step) -> value works, too.
"""

from .base import RateSchedule, Schedule
from .decay import CosineDecay, ExponentialDecay, InverseTimeDecay, StepDecay
from .named import SCHEDULES, parse_schedule, schedule_text
from .observed import HalveOnWorse, ReduceOnPlateau
from .rising import CosLog, LinearWarmup, MomentumRamp, OneCycle
from .runner import ScheduleRunner, UserSchedule

__all__ = [
    "SCHEDULES",
    "CosLog",
    "CosineDecay",
    "ScheduleRunner",
    "ExponentialDecay",
    "HalveOnWorse",
    "InverseTimeDecay",
    "LinearWarmup",
    "MomentumRamp",
    "OneCycle",
    "RateSchedule",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
    "UserSchedule",
    "parse_schedule",
    "schedule_text",
]
