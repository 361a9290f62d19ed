"""Schedules as text, for the command line and for model files: "step:factor=0.5,every=5", "warmup:steps=100+cosine"."""

from __future__ import annotations

import inspect
from typing import Any

from ....errors import HyperparameterError
from ...sources.names import did_you_mean
from .base import RateSchedule
from .decay import CosineDecay, ExponentialDecay, InverseTimeDecay, StepDecay
from .observed import HalveOnWorse, ReduceOnPlateau
from .rising import CosLog, LinearWarmup, OneCycle

CONSTANT = "constant"

SCHEDULES: dict[str, type[RateSchedule]] = {
    "step": StepDecay,
    "halve-on-worse": HalveOnWorse,
    "exponential": ExponentialDecay,
    "inverse-time": InverseTimeDecay,
    "plateau": ReduceOnPlateau,
    "cosine": CosineDecay,
    "warmup": LinearWarmup,
    "one-cycle": OneCycle,
    "coslog": CosLog,
}


def parse_schedule(text: str) -> RateSchedule | None:
    """The schedule described by a text; None for "constant".

    The form is NAME or NAME:SETTING=VALUE,…, and a warm-up may precede another schedule: warmup:steps=100+step:every=10.

    Raises: HyperparameterError for an unknown name or setting, with the nearest known one, and for invalid values.
    """
    first, plus, rest = (part.strip() for part in text.partition("+"))
    name, colon, listed = (part.strip() for part in first.partition(":"))
    key = name.lower().replace("_", "-")
    if key == CONSTANT and not colon and not plus:
        return None
    if key not in SCHEDULES:
        known = [CONSTANT, *SCHEDULES]
        raise HyperparameterError(
            f"expected one of the schedules {', '.join(known)}; got {name!r}{did_you_mean(key, known)}"
            f"{'' if did_you_mean(key, known) else '; write step:factor=0.5,every=5, for instance'}"
        )
    if plus and (key != "warmup" or "+" in rest):
        raise HyperparameterError(
            f"expected one schedule, or a warm-up and one more; got {text!r}; write warmup:steps=100+step:every=5, for instance"
        )
    settings = _settings(key, listed)
    if plus:
        settings["then"] = parse_schedule(rest)
    try:
        return SCHEDULES[key](**settings)
    except TypeError as error:
        raise HyperparameterError(
            f"expected all required settings of {key!r}; got {text!r} ({error}); write {key}:k=0.001, for instance"
        ) from error


def _settings(name: str, listed: str) -> dict[str, Any]:
    """The settings after the colon."""
    known = {p: v.annotation for p, v in inspect.signature(SCHEDULES[name]).parameters.items() if p != "then"}
    settings: dict[str, Any] = {}
    for part in filter(None, (p.strip() for p in listed.split(","))):
        key, equals, value = (p.strip() for p in part.partition("="))
        if key not in known:
            raise HyperparameterError(
                f"expected a setting of {name!r}, one of {', '.join(known)}; got {key!r}{did_you_mean(key, known)}"
            )
        if not equals or not value or key in settings:
            raise HyperparameterError(
                f"expected each setting of {name!r} once, as {key}=VALUE; got {listed!r}; separate settings by commas"
            )
        settings[key] = value if known[key].startswith("str") else _number(name, key, value)
    return settings


def _number(name: str, key: str, text: str) -> int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    raise HyperparameterError(f"expected a number for {key} of {name!r}; got {text!r}; write {key}=0.5, for instance")


def schedule_text(schedule: RateSchedule | None) -> str:
    """The text from which `parse_schedule` makes the same schedule."""
    if schedule is None:
        return CONSTANT
    name = next(name for name, kind in SCHEDULES.items() if kind is type(schedule))
    settings = schedule.settings
    then = settings.pop("then", None)
    listed = ",".join(f"{key}={value}" for key, value in settings.items())
    return f"{name}:{listed}".rstrip(":") + ("" if then is None else f"+{schedule_text(then)}")
