"""What reports call the workloads."""

from __future__ import annotations

from typing import NamedTuple


class Wording(NamedTuple):
    """Words for one workload.

    Args: section – heading; unit – heading of the times; subject – of a sentence about a
        contender; method – how it is measured, beside what holds for all.
    """

    section: str
    unit: str
    subject: str
    method: str = ""


WORDING = {
    "step": Wording("Training steps", "ms/step", "A step of fusedstep"),
    "fit": Wording(
        "Whole trainings", "ms/epoch", "An epoch of fusedstep",
        "Trainings: a call trains several epochs, each of which takes the rows in a new order, the same for all contenders, "
        "and ends with loss and accuracy of the validation rows. fusedstep draws the orders; the others receive them. "
        "Compared are the mean training loss of the first epoch and the validation loss after it (of scikit-learn only the "
        "former).",
    ),
    "predict": Wording(
        "Predictions", "ms", "A prediction of fusedstep",
        "Predictions: probabilities of the classes, from a NumPy array to a NumPy array. Compared is the mean of -log p of "
        "each class.",
    ),
    "start": Wording(
        "Starts", "ms", "A process of fusedstep",
        "Starts: a new process for each call, with the files it reads already in memory, until it prints the loss of its first "
        "step or has imported PyTorch; commands run to their end.",
    ),
    "ranks": Wording(
        "Steps by ranks", "ms/step", "A step of fusedstep",
        "By ranks: processes on this machine share its cores, each with its part of the threads, and its rows of each "
        "minibatch; one process has all threads. Each number of processes is a group of its own, which sleeps until it is its "
        'turn. The time is that of the slowest process of a group; its first step is not timed. "sum" is the sum of the '
        "gradient alone, and the bound 1 + its time over that of a step of one process. PyTorch runs DistributedDataParallel "
        "over gloo; its processes know the losses of their own rows only, whose means are compared.",
    ),
    "ranks-fit": Wording("Whole trainings by ranks", "ms/epoch", "An epoch of fusedstep"),
}  # fmt: skip
