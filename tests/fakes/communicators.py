"""A process of two that train together, of which the other one has gradients and losses of 0: for devices of the simulator."""

from fusedstep.backends.communicators import Communicator


class SecondOfTwo(Communicator):
    """Sums on the stream, as NCCL does; counts the sums."""

    name = "second of two"
    on_stream = True
    rank, size = 1, 2
    hosts = ("here", "there")

    def __init__(self):
        super().__init__()
        self.sums = 0

    def start_sum(self, array):
        self.sum(array)
        return lambda: None

    def sum(self, array):
        self.sums += 1

    def sum_numbers(self, numbers):
        return list(numbers)

    def sum_losses(self, total, backend):
        self.tell_wishes()
        return total

    def gather(self, value):
        return [value, value]
