"""EMA: which average of the parameters a step keeps. It is computed in the update, by kernels/formulas/updates.py."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import fraction
from ..suggestions import suggests_arguments


@suggests_arguments
@dataclass(frozen=True)
class EMA:
    """An exponential moving average of the parameters: average = keep average + (1 - keep) theta after each step.

    keep = 1 - (1 - decay) / (1 - decay^t), so that the average after step t is the mean of theta_1, …, theta_t with weights
    proportional to decay^(t - k), without a bias towards the first ones; with debias=False, keep = decay from step 2 on.

    Args: decay – in [0, 1), default 0.999: the average extends over the last 1 / (1 - decay) steps or so; debias – as above,
        default True.
    Differs from: torch.optim.swa_utils, timm, whose average begins with the parameters after the first step at full weight, as
        with debias=False; timm's warm-up is another remedy for that.
    Source: Polyak and Juditsky (1992) for averages of iterates; Kingma and Ba (2015), section 3, for the correction.

        step = fs.TrainStep(model, loss, fs.AdamW(1e-3), average=fs.EMA(0.999))
    """

    decay: float = 0.999
    debias: bool = True

    def __post_init__(self) -> None:
        fraction(self.decay, "decay of EMA")

    def keep(self, t: int) -> float:
        """The fraction of the average that step t = 1, 2, … keeps; 0 in the first."""
        if t == 1:
            return 0.0
        return 1.0 - (1.0 - self.decay) / (1.0 - self.decay**t) if self.debias else self.decay
