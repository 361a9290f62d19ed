"""Backends that are broken on purpose, each in one way that would be easy to overlook: the suite has to notice."""

import subprocess
import sys
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from fusedstep.backends import Backend, backend, conformance
from fusedstep.backends.conformance.signatures import METHODS
from fusedstep.backends.numpy.backend import NumpyBackend
from fusedstep.backends.slots import Slot
from fusedstep.kernels.rows.reference import ROWS


class Broken(NumpyBackend):
    name = "broken"


def with_rows(**own):
    """The table of NumPy with other functions in it."""
    return {**NumpyBackend.row_table, **own}


def unshifted_softmax(backend, x, out):
    raised = np.exp(x)
    out[...] = raised / raised.sum(axis=1, keepdims=True)


class SoftmaxWithoutShift(Broken):
    row_table = with_rows(softmax=unshifted_softmax)


def zeroing_softmax(backend, x, out):
    out[...] = 0.0
    ROWS["softmax"](backend, x, out)


class SoftmaxNotInPlace(Broken):
    row_table = with_rows(softmax=zeroing_softmax)


class IgnoredTranspose(Broken):
    def matmul(self, a, b, out, transpose_a=False, transpose_b=False, accumulate=False):
        super().matmul(a, b, out, transpose_a, transpose_b and b.shape[0] != b.shape[1], accumulate)


class ReadsUninitialised(Broken):
    def _matmul(self, a, b, out, accumulate):
        if a.shape[1]:
            super()._matmul(a, b, out, accumulate)


class NegativeLabels(Broken):
    def all_below(self, array, bound):
        return bool((array < bound).all())


class BoundIncluded(Broken):
    def all_below(self, array, bound):
        return super().all_below(array, bound + 1)


class HalfPrecisionProducts(Broken):
    def _matmul(self, a, b, out, accumulate):
        super()._matmul(a.astype("f2").astype(a.dtype), b, out, accumulate)


class ForgetsTheSlope(Broken):
    def dense_input_gradient(self, dz, weight, activation, settings, saved, out, mask=None, bias_gradient=None):
        self.matmul(dz, weight, out, transpose_b=True)
        return False


class PromisesASum(Broken):
    def dense_weight_gradient(self, x, dz, out, accumulate=False, bias_gradient=None):
        super().dense_weight_gradient(x, dz, out, accumulate)
        bias_gradient[...] = 0.0
        return True


def overwriting_column_sum(backend, x, out, accumulate=True):
    del accumulate
    out[...] = x.sum(axis=0)


class OverwritingColumnSum(Broken):
    row_table = with_rows(column_sum=overwriting_column_sum)


def last_of_equal_pieces(backend, z, out, winner):
    pieces = z.reshape(out.shape[0], z.shape[1] // out.shape[1], out.shape[1])[:, ::-1]
    out[...] = pieces.max(axis=1)
    winner[...] = pieces.shape[1] - 1 - pieces.argmax(axis=1)


class LastOfEqualPieces(Broken):
    row_table = with_rows(maxout=last_of_equal_pieces)


class NoGate(Broken):
    def update(self, formula, arrays, scalars, segments, random=None):
        super().update(formula, arrays, np.nan_to_num(scalars, nan=1.0), segments, random)


class FirstGroupForAll(Broken):
    def segments(self, ranges):
        return super().segments([(start, stop, 0) for start, stop, _ in ranges])


class UpdatesTheGaps(Broken):
    def segments(self, ranges):
        last = max((stop for _, stop, _ in ranges), default=0)
        return super().segments([(start, min(last, -(-stop // 64) * 64), group) for start, stop, group in ranges])


class OtherRandomNumbers(Broken):
    def random_bits(self, rows, width, random):
        return np.random.default_rng(int(random.state[2])).integers(0, 2**32, (rows, width), dtype=np.uint32)


class DropoutOfThisRunOnly(Broken):
    noise = np.random.default_rng()

    def _map(self, formula, outputs, arguments, random):
        if random is not None:
            random = random._replace(stream=int(self.noise.integers(2**20)))
        super()._map(formula, outputs, arguments, random)


class TakesAnything(Broken):
    def require(self, *arrays):
        pass


class CopiesItsOwn(Broken):
    def asarray(self, values, dtype=None):
        return super().asarray(values, dtype).copy()


class LendsItsMemory(Broken):
    def to_numpy(self, array):
        return array


class WrongDtypeOfZeros(Broken):
    def zeros(self, shape, dtype="float32"):
        return np.zeros(tuple(shape), "f4" if dtype == "float64" else dtype)


class HidesNaN(Broken):
    def sum_of_squares(self, x):
        return super().sum_of_squares(np.nan_to_num(x))


class ClipsTheWrongWay(Broken):
    def limit_norm(self, scales, squares, largest, most=sys.float_info.max):
        super().limit_norm(scales, squares, 1.0 / largest if largest > 0 else largest, most)


class WithoutWeights(Broken):
    row_table = with_rows(
        softmax_cross_entropy=lambda backend, logits, labels, weights, *further: ROWS["softmax_cross_entropy"](
            backend, logits, labels, None, *further
        )
    )


class ForgetsTheLossScale(Broken):
    row_table = with_rows(
        softmax_cross_entropy_soft=lambda backend, *arguments: ROWS["softmax_cross_entropy_soft"](backend, *arguments[:7])
    )


class ForgetsWeightsOfRows(Broken):
    row_table = with_rows(
        softmax_cross_entropy_soft=lambda backend, *arguments: ROWS["softmax_cross_entropy_soft"](backend, *arguments[:8])
    )


class LacksAnOperation(Broken):
    row_table = {name: function for name, function in NumpyBackend.row_table.items() if name != "maxout"}


class OverridesAMethodThatNobodyCalls(Broken):
    def softmax(self, x, out):
        self.rows("softmax", x, out)


class OtherParameterNames(Broken):
    def argmax(self, values):
        return super().argmax(values)


class FillsTheFirstRow(Broken):
    def fill(self, array, value):
        self.require(array)
        array[:1] = value


class FirstStepForEver(Broken):
    def set_step(self, state, step):
        super().set_step(state, 1)


class StandsStill(Broken):
    def advance(self, state):
        pass


class FirstRowForEver(Broken):
    def set_first_row(self, state, row):
        pass


class SaysWhatWasSaidFirst(Broken):
    def sender(self, out):
        said = []

        def send(values):
            said.append(np.array(values))
            self.copy(said[0], out)

        return send


class SendsAllButTheLastRow(Broken):
    def slot(self, kinds):
        class Short(Slot):
            def receive(self, rows):
                return tuple(np.concatenate([own[: rows - 1], own[:1]]) for own in super().receive(rows))

        return Short(self, kinds)


class EveryErrorIsALackOfMemory(Broken):
    def out_of_memory(self, error):
        return True


class EntersOnce(Broken):
    held = False

    @contextmanager
    def exclusive(self):
        if self.held:
            raise RuntimeError("this thread would wait for itself")
        self.held = True
        try:
            yield
        finally:
            self.held = False


class HidesErrors(Broken):
    def exclusive(self):
        return suppress(ArithmeticError)


BROKEN = [
    (SoftmaxWithoutShift, "rows", "softmax-float32-10000.0"),
    (SoftmaxNotInPlace, "rows", "softmax-float64-1.0"),
    (IgnoredTranspose, "products", "matmul-float32-nt-False"),
    (ReadsUninitialised, "products", "matmul-float64-nn-False"),
    (HalfPrecisionProducts, "products", "matmul-float32-nn-False"),
    (NegativeLabels, "arrays", "all_below-int32"),
    (BoundIncluded, "arrays", "all_below-float32"),
    (ForgetsTheSlope, "products", "dense-tanh-float32-True"),
    (PromisesASum, "products", "dense_weight_gradient-float64-True"),
    (OverwritingColumnSum, "rows", "column_sum-float32-True"),
    (LastOfEqualPieces, "rows", "maxout-float32-2"),
    (NoGate, "updates", "nan_gate-float32"),
    (FirstGroupForAll, "updates", "values-adam_outside_update-float32"),
    (UpdatesTheGaps, "updates", "values-sgd_update-float64"),
    (OtherRandomNumbers, "random", "known_answer"),
    (DropoutOfThisRunOnly, "formulas", "dropout_masks-float32"),
    (DropoutOfThisRunOnly, "training", "twice_the_same-classifier-float32"),
    (TakesAnything, "errors", "foreign_array-softmax-float32"),
    (CopiesItsOwn, "arrays", "conversions"),
    (LendsItsMemory, "arrays", "there_and_back-float32"),
    (WrongDtypeOfZeros, "arrays", "empty_and_zeros-float64"),
    (HidesNaN, "reductions", "not_finite-float32"),
    (ClipsTheWrongWay, "reductions", "limit_norm-float64"),
    (WithoutWeights, "rows", "softmax_cross_entropy-float32-1.0-True-0.0"),
    (ForgetsTheLossScale, "rows", "cross_entropy_with_sums-float64-True-False"),
    (ForgetsWeightsOfRows, "rows", "cross_entropy_with_sums-float64-True-True"),
    (OtherParameterNames, "signatures", "signature-argmax"),
    (LacksAnOperation, "signatures", "row_operations"),
    (OverridesAMethodThatNobodyCalls, "signatures", "row_operations"),
    (FillsTheFirstRow, "arrays", "filled-float64"),
    (EntersOnce, "arrays", "work_may_be_exclusive"),
    (HidesErrors, "arrays", "work_may_be_exclusive"),
    (FirstStepForEver, "random", "state"),
    (StandsStill, "random", "state"),
    (FirstRowForEver, "random", "state"),
    (FirstRowForEver, "training", "micro_batches_of_a_minibatch-classifier-float32"),
    (SaysWhatWasSaidFirst, "arrays", "sender-float32"),
    (SaysWhatWasSaidFirst, "training", "agrees_with_numpy-classifier-float64"),
    (SendsAllButTheLastRow, "arrays", "slots-float32"),
    (SendsAllButTheLastRow, "training", "streamed_rows-float64"),
    (EveryErrorIsALackOfMemory, "arrays", "memory"),
    (FirstStepForEver, "training", "agrees_with_numpy-classifier-float64"),
]


@pytest.mark.parametrize(("kind", "group", "name"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_what_is_broken_is_found(kind, group, name):
    chosen = [check for check in conformance.checks([group]) if check.name == name]
    assert len(chosen) == 1, f"no check {group}/{name}"
    chosen[0](backend("numpy"))
    with np.errstate(all="ignore"), pytest.raises(conformance.ConformanceError):
        chosen[0](kind())


def test_the_report_names_what_failed():
    report = conformance.run(OverwritingColumnSum(), groups=["rows"], small=True)
    assert not report.passed
    assert set(report.failures) == {"rows/column_sum-float32-True", "rows/column_sum-float64-True"}
    assert "FAILED rows/column_sum-float32-True" in str(report)
    assert "expected values within" in str(report)


def test_an_exception_is_a_failure():
    class Raises(Broken):
        def total(self, x):
            raise ZeroDivisionError("no luck")

    report = conformance.run(Raises(), groups=["reductions"], small=True)
    assert "ZeroDivisionError: no luck" in report.failures["reductions/total-float32"]


def test_checks_have_unique_names_and_groups():
    everything = conformance.checks()
    assert len({str(check) for check in everything}) == len(everything)
    assert {check.group for check in everything} == set(conformance.GROUPS)
    assert [str(check) for check in conformance.checks(small=True)] == [str(check) for check in everything]
    assert {check.group for check in conformance.checks(["random", "rows"])} == {"random", "rows"}
    with pytest.raises(ValueError, match=r"expected groups out of .* got colours"):
        conformance.checks(["colours"])


def test_every_method_of_the_contract_is_called():
    called = set()

    class Recording(NumpyBackend):
        def __getattribute__(self, name):
            called.add(name)
            return super().__getattribute__(name)

    groups = [group for group in conformance.GROUPS if group not in ("formulas", "updates")]
    assert conformance.run(Recording(), groups, small=True).passed
    missing = set(METHODS) - called - {"map", "update", "segments", "unavailable"}
    assert not missing, f"no check calls {missing}"
    assert set(METHODS) >= {"map", "matmul", "rows", "unavailable"}
    assert "require" in dir(Backend)


def test_every_row_operation_is_run():
    run = set()

    class Recording(NumpyBackend):
        def rows(self, operation, *arguments):
            run.add(operation)
            return super().rows(operation, *arguments)

    assert conformance.run(Recording(), ["rows"], small=True).passed
    assert run == set(ROWS) == set(conformance.errors.ROW_CALLS)


def test_every_formula_is_covered():
    from fusedstep.kernels.formulas.activations import ACTIVATIONS
    from fusedstep.kernels.formulas.updates import FEATURES, RULES, update_formula

    names = {check.name for check in conformance.checks(["formulas", "updates"])}
    for activation in ACTIVATIONS.values():
        assert {f"values-{f.name}-float32" for f in (activation.forward, activation.backward)} <= names
    for rule in RULES.values():
        assert {f"values-{update_formula(rule, f).name}-float64" for f in ((), FEATURES)} <= names


def test_a_registered_formula_of_other_code_is_left_out():
    from fusedstep.backends.conformance.formulas import own_formulas
    from fusedstep.kernels.formula import REGISTRY, Each, formula

    @formula
    def made_in_this_test(x: Each) -> Each:
        return x + 1.0

    try:
        assert made_in_this_test.name in REGISTRY
        assert made_in_this_test not in own_formulas()
    finally:
        del REGISTRY[made_in_this_test.name]


def test_it_needs_no_pytest():
    code = "import sys; from fusedstep.backends import conformance; print('pytest' in sys.modules, 'numba' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["False"] * 2
    )


@pytest.mark.parametrize(
    ("result", "reference", "agrees"),
    [
        ([1.0, np.nan], [1.0, np.nan], True),
        ([1.0, np.inf], [1.0, np.inf], True),
        ([1.0, -np.inf], [1.0, np.inf], False),
        ([1.0, 2.0], [1.0, np.inf], False),
        ([1.0, np.nan], [1.0, 2.0], False),
        ([1.0, np.inf], [1.0, 2.0], False),
        ([1.0 + 1e-5], [1.0], True),
        ([1.0 + 3e-5], [1.0], False),
    ],
)
def test_comparison(result, reference, agrees):
    if agrees:
        conformance.close(result, reference, "float32", "product")
    else:
        with pytest.raises(conformance.ConformanceError, match="expected values within"):
            conformance.close(result, reference, "float32", "product")


def test_comparison_of_bits():
    conformance.exactly(np.array([np.nan, 0.0]), np.array([np.nan, 0.0]))
    for other in (np.array([np.nan, -0.0]), np.array([0.0, 0.0]), np.array([np.nan, 0.0], "f4"), np.array([[np.nan, 0.0]])):
        with pytest.raises(conformance.ConformanceError):
            conformance.exactly(other, np.array([np.nan, 0.0]))
