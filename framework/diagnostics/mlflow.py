"""MLflow: writes training metrics to a run of an MLflow experiment, with MLflow's own client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ...errors import OutputPathError
from ..suggestions import suggests_arguments
from .tracker import Points, Tracker, settings_of

if TYPE_CHECKING:
    from ..training.trainer import Trainer

MOST_METRICS = 1000
"""Values in one request to a server, at most."""
MOST_CHARACTERS = 500
"""Of a parameter; some stores refuse longer ones."""


@suggests_arguments
class MLflow(Tracker):
    """Writes a run of an MLflow experiment during training.

    The run has the settings of the step as parameters. After each epoch it gets the row of the history, under the names of the
    history, the loss of every minibatch ("minibatch_loss"), and the samples of a LayerStatistics among the callbacks
    ("activation_std/0.Linear"); the step of each value is the step number of the TrainStep. Further fits of the Trainer, and
    fits that resume a checkpoint, go on with the run. It ends as FINISHED, or as FAILED if an error ends the fit. Runs that are
    active in the process are left alone.

    Args: experiment – its name; it is created if it does not exist; run – name of the run, default a made-up one; uri – of
        the tracking server, or of a file such as "sqlite:///mlflow.db"; None (default): as MLFLOW_TRACKING_URI says.
    Attributes: run_id – of the run, None before the first epoch.
    Raises: MissingDependency without MLflow; OutputPathError, before the first epoch, for a server or file that cannot be used.

        fs.Trainer(step, callbacks=[fs.MLflow("digits", uri="sqlite:///mlflow.db")]).fit(x, y)
    """

    _extra = "mlflow"

    def __init__(self, experiment: str, run: str | None = None, uri: str | None = None) -> None:
        super().__init__("experiment", experiment)
        self.experiment, self.run, self.uri = experiment, run, uri

    def _open(self, trainer: Trainer) -> None:
        try:
            self._connection = self._library.MlflowClient(tracking_uri=self.uri)
            if self.run_id is None:
                self.run_id = self._new_run(trainer)
            else:
                self._connection.set_terminated(self.run_id, "RUNNING")
        except (self._library.MlflowException, OSError, ImportError) as error:
            uri = self.uri or self._library.get_tracking_uri()
            raise OutputPathError(
                f"expected a tracking server or a file of MLflow that can be used; {uri!r} cannot ({error}); give another uri, "
                "such as 'sqlite:///mlflow.db'"
            ) from error

    def _new_run(self, trainer: Trainer) -> str:
        known = self._connection.get_experiment_by_name(self.experiment)
        experiment = self._connection.create_experiment(self.experiment) if known is None else known.experiment_id
        identity: str = self._connection.create_run(experiment, run_name=self.run).info.run_id
        for name, value in settings_of(trainer.step).items():
            self._connection.log_param(identity, name, f"{value!s:.{MOST_CHARACTERS}}")
        return identity

    def _write(self, points: Points) -> None:
        metric, now = self._library.entities.Metric, int(1000 * time.time())
        values = [metric(name, value, now, step) for step, row in points.items() for name, value in row.items()]
        for start in range(0, len(values), MOST_METRICS):
            self._connection.log_batch(self.run_id, values[start : start + MOST_METRICS])

    def _close(self, failed: bool) -> None:
        self._connection.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")
