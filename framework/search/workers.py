"""Trials shared by the workers of a search: who runs which one, and what a worker that ended has left.

A search of n trials has n slots. The trial of a slot is the first one in the storage that has its number and was not given up;
storages number trials one after the other, so all workers agree on it. Whoever adds a later one withdraws it. A trial of a
worker that ended is given up, and its slot is free again; one that ends its workers has failed. Optuna is not imported
here, and training is in running.py.
"""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from ...errors import FusedstepError, HyperparameterError
from . import liveness
from .candidate import Candidate, SearchSpace
from .result import SearchTrial
from .storage import open_storage, shown, storage_errors, undisturbed

STUDY = "fusedstep"
POLL = 0.5
"""Seconds between two looks at trials of other workers."""
_SETTINGS, _CANDIDATE, _EPOCHS, _VALUE = "settings", "candidate", "epochs", "value"
_SLOT, _WORKER, _BEAT = "slot", "worker", "beat"
_RESUMED, _LEFT, _FAILED = "resumed", "left", "failed"
TRIES = 3
"""Times in a row that the workers of a trial may end, none further in it than one before, until it has failed."""

_OF_EACH = {"of_each_worker": True}
"""Marks messages that every worker logs for itself."""

_logger = logging.getLogger("fusedstep.search")


class TakenUp(FusedstepError):
    """The trial at hand was taken up by another worker, for which this one seemed dead. It never leaves this package."""


class SharedTrials:
    """The trials of one search in a storage, as one worker sees them.

    Args: optuna – the module; storage – as in search; settings – what has to be equal in all workers, as JSON.
    Raises: HyperparameterError for a storage of a search with other settings; OutputPathError, here and in all methods, for a
        storage that cannot be used.
    """

    def __init__(self, optuna: Any, storage: str | Path | None, settings: dict[str, Any]) -> None:
        self.optuna, self.where = optuna, storage
        self.finished_error = getattr(optuna.exceptions, "UpdateFinishedTrialError", RuntimeError)  # new in 4.2
        self._settings = json.loads(json.dumps(settings))
        self._worker = liveness.this_worker()
        self._watch = liveness.WorkerWatch()
        self._messages: set[str] = set()
        self._claimed = False
        with storage_errors(storage):
            self.storage = open_storage(optuna, storage)
            study = optuna.create_study(storage=self.storage, study_name=STUDY, direction="minimize", load_if_exists=True)
            self._study_id = self.storage.get_study_id_from_name(STUDY)
            trials = self._trials()  # before the settings, which are there before the first trial
            if _SETTINGS not in study.user_attrs:
                if trials:
                    raise ValueError("it has trials, but not the settings of their search")
                study.set_user_attr(_SETTINGS, self._settings)
        self._check_settings()
        with storage_errors(storage):
            # Version 0.1.0 wrote neither slots nor workers; it was the only process at a storage.
            for trial in self._running(self._trials()):
                if _WORKER not in trial.user_attrs:
                    self.give_up(trial._trial_id)

    def finished(self, total: int) -> dict[int, SearchTrial]:
        """The finished trials among the first `total`, by slot."""
        with storage_errors(self.where):
            running = self.optuna.trial.TrialState.RUNNING
            counted = self._counted(self._trials())
            return {slot: _result(self.optuna, trial) for slot, trial in sorted(counted.items())
                    if slot < total and trial.state is not running}  # fmt: skip

    def claim(self, total: int) -> Claim | None:
        """The free trial with the smallest number below `total`; None while other workers run all that are left."""
        self._check_settings()
        found = None
        try:
            with storage_errors(self.where):
                found = self._free(total)
        except BaseException:
            if found is not None:  # Ctrl-C has come
                found.drop()
            raise
        return found

    def _free(self, total: int) -> Claim | None:
        """See `claim`."""
        trials = self._trials()
        counted = {slot: trial for slot, trial in self._counted(trials).items() if slot < total}
        done = self._done(counted)
        if not self._claimed:
            self.log_resumed(len(done))
        self._claimed = True
        held = {slot: trial for slot, trial in counted.items() if slot not in done}
        dead = self._dead(held)
        if dead is None:
            names = ", ".join(str(slot + 1) for slot in sorted(held))
            self._log_once(
                f"Waiting up to {liveness.GRACE:.0f} seconds to see whether workers still run the trials {names}."
            )
            return None
        for slot in dead:
            if not self._leave(slot, held.pop(slot), trials):
                del counted[slot]
        for slot in range(total):
            if slot not in counted and (claim := self._take(slot, trials)):
                return claim
        if held:
            self._log_once(f"Waiting for what other workers run: trial {', '.join(str(slot + 1) for slot in sorted(held))}.")
        return None

    def attempts(self) -> int:
        """Number of all trials in the storage, also of those that were given up."""
        with storage_errors(self.where):
            return len(self._trials())

    def log_resumed(self, done: int) -> None:
        """Logs how many finished trials were there already, if any."""
        if done:
            _logger.info("Resuming after the %d finished trials in %s.", done, shown(self.where), extra=_OF_EACH)

    def wait(self) -> None:
        """Waits before the next look."""
        time.sleep(POLL)

    def give_up(self, trial_id: int) -> None:
        """Marks a trial as given up, unless it is finished."""
        with suppress(self.finished_error):
            self.storage.set_trial_state_values(trial_id, self.optuna.trial.TrialState.FAIL)

    def _leave(self, slot: int, left: Any, trials: list[Any]) -> bool:
        """Gives up a trial whose worker ended, or lets it fail if it ends all its workers; returns whether it failed."""
        tries, epochs, steps = 0, 0, 0
        for attempt in trials:
            attributes = attempt.user_attrs
            drawn = attributes.get(_SLOT) == slot and _CANDIDATE in attributes
            if drawn and (attempt is left or _LEFT in attributes):
                reported, resumed = len(attempt.intermediate_values), attributes.get(_RESUMED, 0)
                tries = 0 if reported > epochs or resumed > steps else tries + 1
                epochs, steps = max(epochs, reported), max(steps, resumed)
        with suppress(self.finished_error):
            if tries < TRIES:
                _logger.info("Trial %d was left by a worker that ended; it is run again.", slot + 1)
                self.storage.set_trial_user_attr(left._trial_id, _LEFT, True)
                self.give_up(left._trial_id)
                return False
            reason = f"{tries} workers that ran it ended, none further in it than one before; maybe it needs too much memory"
            _logger.info("Trial %d has failed: %s.", slot + 1, reason)
            self.fail(left._trial_id, reason)
        return True

    def fail(self, trial_id: int, reason: str) -> None:
        """Enters that a trial has failed; raises an error if it is finished."""
        self.storage.set_trial_user_attr(trial_id, _FAILED, reason)
        self.storage.set_trial_state_values(trial_id, self.optuna.trial.TrialState.COMPLETE, [math.inf])

    def _take(self, slot: int, trials: list[Any]) -> Claim | None:
        """A new trial of that slot, with the candidate of one that was given up; None if another worker was first."""
        optuna = self.optuna
        attributes: dict[str, Any] = {_SLOT: slot, _WORKER: self._worker, _BEAT: 0}
        drawn: dict[str, Any] = {}
        for left in trials:
            if left.user_attrs.get(_SLOT) == slot and _CANDIDATE in left.user_attrs:
                attributes[_CANDIDATE] = left.user_attrs[_CANDIDATE]
                drawn = {"params": left.params, "distributions": left.distributions}
        running = optuna.trial.TrialState.RUNNING
        new = optuna.trial.create_trial(state=running, user_attrs=attributes, **drawn)
        trial_id = self.storage.create_new_trial(self._study_id, template_trial=new)
        counted = self._counted(self._trials())[slot]
        if counted._trial_id != trial_id:
            self.give_up(trial_id)
            return None
        return Claim(self, slot, trial_id, counted.number)

    def _dead(self, held: dict[int, Any]) -> list[int] | None:
        """Slots whose workers ended; None if that cannot be known yet of one that was there from the start."""
        workers = {slot: trial.user_attrs[_WORKER] for slot, trial in held.items()}
        names = {slot: json.dumps(worker) for slot, worker in workers.items()}
        beats = {slot: (trial.number, trial.user_attrs[_BEAT]) for slot, trial in held.items()}
        self._watch.look({names[slot]: (workers[slot], beats[slot]) for slot in held})
        ended = {slot: self._watch.is_dead(names[slot], workers[slot]) for slot in held}
        return None if None in ended.values() else [slot for slot in sorted(ended) if ended[slot]]

    def _trials(self) -> list[Any]:
        return list(self.storage.get_all_trials(self._study_id, deepcopy=False))

    def _running(self, trials: list[Any]) -> list[Any]:
        return [trial for trial in trials if trial.state is self.optuna.trial.TrialState.RUNNING]

    def _counted(self, trials: list[Any]) -> dict[int, Any]:
        """The trial of each slot. Finished trials of version 0.1.0 have the first slots."""
        states = self.optuna.trial.TrialState
        result: dict[int, Any] = {}
        old = 0
        for trial in trials:
            if trial.state not in (states.RUNNING, states.COMPLETE, states.PRUNED):
                continue
            slot = trial.user_attrs.get(_SLOT)
            if slot is None:
                if trial.state is states.RUNNING:
                    continue
                slot, old = old, old + 1
            if not isinstance(slot, int) or slot < 0:
                raise ValueError(f"trial {trial.number} has the slot {slot!r}")
            result.setdefault(slot, trial)
        return result

    def _done(self, counted: dict[int, Any]) -> list[int]:
        return [slot for slot, trial in counted.items() if trial.state is not self.optuna.trial.TrialState.RUNNING]

    def _check_settings(self) -> None:
        """Also before each trial: two searches that start at the same moment both find an empty storage."""
        with storage_errors(self.where):
            before, after = self.storage.get_study_user_attrs(self._study_id)[_SETTINGS], self._settings
            names = ", ".join(name for name in {**after, **before} if before.get(name) != after.get(name))
        if before != after:
            raise HyperparameterError(
                f"expected the search that {shown(self.where)!r} was made for; got one with different {names or 'settings'}; "
                "give the settings of then, or another storage"
            )

    def _log_once(self, text: str) -> None:
        if text not in self._messages:
            self._messages.add(text)
            _logger.info("%s", text, extra=_OF_EACH)


class Claim:
    """A trial that this worker runs: as a context, it sends heartbeats, and gives the trial up if an error ends it.

    Attributes: slot – number of the trial, from 0; number – of this attempt at it, by which the storage counts all attempts;
        finished – whether its result is in the storage.
    """

    def __init__(self, shared: SharedTrials, slot: int, trial_id: int, number: int) -> None:
        self.slot, self.number, self.finished = slot, number, False
        self._shared, self._trial_id = shared, trial_id
        self._reported: list[float] = []
        self._trial: Any = None
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="fusedstep heartbeat", daemon=True)

    def __enter__(self) -> Claim:
        if self._shared.where is not None:
            self._beating.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        self._ended.set()
        if self._beating.is_alive():
            self._beating.join()
        if not self.finished:
            with suppress(Exception):  # the error at hand matters more
                self.drop()
        if isinstance(error, TakenUp):
            _logger.info("Trial %d was taken up by another worker; it is not continued here.", self.slot + 1)
            return True
        return False

    def drop(self) -> None:
        """Gives the trial back."""
        with undisturbed():
            self._shared.give_up(self._trial_id)

    def draw(self, space: SearchSpace, sampler: Any, pruner: Any) -> Candidate:
        """The candidate, which is drawn unless an earlier trial of this slot has drawn it."""
        shared = self._shared
        with self._writing():
            study = shared.optuna.load_study(study_name=STUDY, storage=shared.storage, sampler=sampler, pruner=pruner)
            self._trial = shared.optuna.trial.Trial(study, self._trial_id)
            candidate = space.draw(self._trial)
            self._trial.set_user_attr(_CANDIDATE, candidate.as_dict())
        return candidate

    def resume(self, steps: int) -> None:
        """Notes that the trial is resumed after so many steps."""
        with self._writing():
            self._trial.set_user_attr(_RESUMED, steps)

    def report(self, value: float) -> None:
        """Reports an epoch."""
        with self._writing():
            self._trial.report(value, len(self._reported))
            self._reported.append(value)

    def is_poor(self) -> bool:
        """Whether the trial should be stopped early."""
        with self._writing():
            return bool(self._trial.should_prune())

    def finish(self, value: float, pruned: bool) -> None:
        """Enters the result.

        Args: value – infinite if training diverged; pruned – whether the trial was stopped early.
        """
        states = self._shared.optuna.trial.TrialState
        with self._writing():
            self._trial.set_user_attr(_EPOCHS, len(self._reported))
            self._trial.set_user_attr(_VALUE, value if math.isfinite(value) else None)
            state, stored = (states.PRUNED, self._reported[-1]) if pruned else (states.COMPLETE, value)
            self._shared.storage.set_trial_state_values(self._trial_id, state, [stored])
        self.finished = True

    def fail(self, reason: str) -> None:
        """Enters that the trial cannot be run."""
        with self._writing():
            self._shared.fail(self._trial_id, reason)
        self.finished = True

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with storage_errors(self._shared.where):
            try:
                yield
            except self._shared.finished_error as error:
                raise TakenUp from error

    def _beat(self) -> None:
        beats = 0
        while not self._ended.wait(liveness.BEAT):
            beats += 1
            with suppress(Exception):  # the next report meets the same error in the thread that can raise it
                self._shared.storage.set_trial_user_attr(self._trial_id, _BEAT, beats)


def _result(optuna: Any, trial: Any) -> SearchTrial:
    """A finished trial."""
    attributes = trial.user_attrs
    candidate = Candidate.from_dict(attributes[_CANDIDATE])
    if _FAILED in attributes and _VALUE not in attributes:
        return SearchTrial(candidate, math.inf, len(trial.intermediate_values), "failed", str(attributes[_FAILED]))
    value = math.inf if attributes[_VALUE] is None else float(attributes[_VALUE])
    value = value if math.isfinite(value) else math.inf
    pruned = trial.state is optuna.trial.TrialState.PRUNED
    state = "diverged" if math.isinf(value) else "pruned" if pruned else "complete"
    return SearchTrial(candidate, value, int(attributes[_EPOCHS]), state)
