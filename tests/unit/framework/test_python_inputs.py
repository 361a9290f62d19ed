"""What Python code gives as x and y: taken exactly as an array of the same numbers, or refused with its place and a remedy."""

from __future__ import annotations

import array
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import fusedstep as fs

pytestmark = pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")

X = np.random.default_rng(0).integers(-8, 9, (6, 3)).astype("f4") / 4.0
Y = np.random.default_rng(1).integers(-8, 9, (6, 1)).astype("f4") / 4.0
LABELS = np.array([0, 1, 0, 2, 1, 0])


class Labelled:
    """An array as that of xarray: it is no NumPy array, and has `__array__`, a shape and a length."""

    def __init__(self, values):
        self._values = values
        self.shape, self.dtype = values.shape, values.dtype

    def __len__(self):
        return len(self._values)

    def __array__(self, dtype=None, copy=None):
        return self._values if dtype is None else self._values.astype(dtype)


def frozen(values):
    values = values.copy()
    values.flags.writeable = False
    return values


def masked(values, *place):
    made = np.ma.array(values, mask=False)
    if place:
        made[place] = np.ma.masked
    return made


TAKEN = {
    "np.matrix": np.matrix,
    "an unmasked masked array": masked,
    "a frozen array": frozen,
    "swapped bytes": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "columns first": np.asfortranarray,
    "negative strides": lambda a: a[::-1].copy()[::-1],
    "objects": lambda a: a.astype(object),
    "objects of several types": lambda a: np.array([[np.float32(v) for v in row] for row in a.tolist()], dtype=object),
    "exact fractions": lambda a: np.vectorize(Fraction, otypes=[object])(a.astype(float)),
    "decimals": lambda a: np.vectorize(Decimal, otypes=[object])(a.astype(float)),
    "long double": lambda a: a.astype(np.longdouble),
    "half": lambda a: a.astype("f2"),
    "__array__": Labelled,
    "a memoryview": memoryview,
    "lists": lambda a: a.tolist(),
    "tuples": lambda a: tuple(map(tuple, a.tolist())),
    "a list of rows": list,
    "a list of array.array": lambda a: [array.array("d", row) for row in a.tolist()],
    "a list of unmasked rows": lambda a: list(masked(a)),
}


@pytest.fixture(params=["numpy", "numba"])
def name(request):
    return request.param


def a_step(name, outputs=1, loss=fs.MSE, **settings):
    return fs.TrainStep(fs.mlp([3, 4, outputs]), loss(), fs.Adam(1e-2), seed=0, backend=name, **settings)


def after(name, x, y, **settings):
    """Every number that a step, a loop, an evaluation and a prediction give for these inputs."""
    outputs, loss = (3, fs.SoftmaxCrossEntropy) if settings.pop("classes", False) else (1, fs.MSE)
    step = a_step(name, outputs, loss, **settings)
    losses = [float(step(x, y)), fs.Trainer(step).fit(x, y, epochs=1, batch_size=4)[0]["loss"], step.evaluate(x, y)["loss"]]
    return losses, np.asarray(step.model(x)).tolist()


@pytest.mark.parametrize("micro_batch", [None, 4])
@pytest.mark.parametrize("kind", TAKEN)
def test_whatever_holds_numbers_is_taken_exactly(name, kind, micro_batch):
    plain = after(name, X, Y, micro_batch=micro_batch)
    assert after(name, TAKEN[kind](X), Y, micro_batch=micro_batch) == plain
    assert after(name, X, TAKEN[kind](Y), micro_batch=micro_batch) == plain


@pytest.mark.parametrize(
    "labels",
    [
        LABELS[:, None], LABELS.astype(object), LABELS[:, None].astype(object), LABELS.tolist(),
        array.array("b", LABELS.tolist()), memoryview(LABELS), LABELS.astype("u8"), LABELS.astype(">i2"),
        LABELS.astype(np.longdouble), Labelled(LABELS), masked(LABELS), [Fraction(int(label)) for label in LABELS],
    ],
)  # fmt: skip
@pytest.mark.parametrize("micro_batch", [None, 4])
def test_labels_are_taken_from_a_column_and_from_whatever_holds_whole_numbers(name, labels, micro_batch):
    assert after(name, X, labels, classes=True, micro_batch=micro_batch) == after(
        name, X, LABELS, classes=True, micro_batch=micro_batch
    )


def test_labels_are_taken_from_a_matrix_of_one_column(name):
    assert after(name, X, np.matrix(LABELS).T, classes=True) == after(name, X, LABELS, classes=True)


@pytest.mark.parametrize("layout", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "coo_array"])
def test_sparse_matrices_are_refused_with_the_call_that_makes_them_dense_which_is_taken(name, layout):
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    made = getattr(sparse, layout)(X)
    for values in (lambda step: step(made, Y), lambda step: fs.Trainer(step).fit(made, Y, epochs=1)):
        with pytest.raises(fs.DtypeError, match=rf"^x: .*{layout} of shape \(6, 3\) .*\.toarray\(\) makes"):
            values(a_step(name))
    assert after(name, made.toarray(), Y) == after(name, made.todense(), Y) == after(name, X, Y)


def wrong_at(row, column, value):
    values = X.astype(object)
    values[row, column] = value
    return values


REFUSED = {
    "a masked entry": (lambda: masked(X, 2, 1), r"1 entries masked, the first in row 3, column 2 .*\.filled\(0\.0\)"),
    "a masked row in a list": (lambda: list(masked(X, 2, 1)), r"masked, the first in row 2 .*fill"),
    "None": (lambda: wrong_at(4, 0, None), r"a missing value \(None\) in row 5, column 1 .*fill in or drop"),
    "None in a list": (lambda: [[1.0, None, 2.0]] * 6, r"a missing value \(None\) in row 1, column 2 "),
    "text": (lambda: wrong_at(1, 2, "1.5"), r"'1\.5' in row 2, column 3 .*\.astype\(float\) converts it"),
    "text in a list": (lambda: [[1, "a", 2]] * 6, r"'a' in row 1, column 2 "),
    "an array of text": (lambda: X.astype(str), r"in row 1, column 1 .*\.astype\(float\)"),
    "bytes": (lambda: X.astype(str).astype("S"), r"with b'.*in row 1, column 1"),
    "a complex entry": (lambda: wrong_at(3, 0, 1j), r"with 1j in row 4, column 1 "),
    "complex numbers": (lambda: X + 1j, r"complex.*its \.real and \.imag"),
    "dates": (lambda: np.zeros((6, 3), "M8[s]"), r"datetime64.*turn dates into numbers"),
    "durations": (lambda: np.zeros((6, 3), "m8[s]"), r"timedelta64.*turn dates into numbers"),
    "a structured array": (lambda: np.zeros(6, [("a", "f4"), ("b", "f4")]), r"fields a, b; .*structured_to_unstructured"),
    "a record array": (lambda: np.zeros(6, [("a", "f4")]).view(np.recarray), r"fields a; "),
    "raw bytes": (lambda: np.zeros((6, 3), "V4"), r"dtype \|V4"),
    "uneven lists": (lambda: [[1, 2, 3], [1, 2], *[[1, 2, 3]] * 4], r"3 values in row 1 and 2 values in row 2; make all rows"),
    "uneven objects": (lambda: np.array([[1, 2], [1], *[[1]] * 4], dtype=object), r"2 values in row 1 and 1 values in row 2"),
    "a number among rows": (lambda: [[1, 2, 3], 4, *[[1, 2, 3]] * 4], r"3 values in row 1 and a single value in row 2"),
    "rows as objects": (lambda: rows_as_objects(), r"with a list in row 1 .*np\.stack"),
    "too large a number": (lambda: wrong_at(0, 0, 10**400), "a number that float64 cannot hold"),
    "a generator": (lambda: (row for row in X), r"generator; list\(rows\) makes a list of it; .*fs\.RowSource"),
    "an iterator": (lambda: iter(X), r"iterator; list\(rows\)"),
    "a map": (lambda: map(list, X), r"map; list\(rows\)"),
    "a mapping of columns": (lambda: {"a": X[:, 0], "b": X[:, 1]}, r"dict; np\.column_stack"),
    "a set": (lambda: {1, 2, 3, 4, 5, 6}, "set; a set has no order"),
    "nothing": (lambda: None, "NoneType; give an array, a list or an fs.RowSource"),
}


def rows_as_objects():
    values = np.empty(6, dtype=object)
    values[:] = [[1, 2, 3]] * 6
    return values


@pytest.mark.parametrize("micro_batch", [None, 4])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_number_is_refused_by_argument_and_place_with_a_remedy(name, kind, micro_batch):
    make, words = REFUSED[kind]
    for call in (
        lambda step: step(make(), Y),
        lambda step: fs.Trainer(step).fit(make(), Y, epochs=1),
        lambda step: fs.Trainer(step).fit(make(), Y, epochs=1, data="stream"),
        lambda step: step.evaluate(make(), Y),
        lambda step: step.model.predict(make()),
        lambda step: step.model(make()),
    ):
        step = a_step(name, micro_batch=micro_batch)
        with pytest.raises(fs.DtypeError, match=f"^x: .*{words}"):
            call(step)
        assert step.steps == 0


@pytest.mark.parametrize("micro_batch", [None, 4])
@pytest.mark.parametrize("kind", ["a masked entry", "None", "text", "a complex entry", "dates", "a generator", "an iterator"])
def test_targets_are_refused_as_y(name, kind, micro_batch):
    make, words = REFUSED[kind]
    step = a_step(name, 3, micro_batch=micro_batch)
    for call in (lambda: step(X, make()), lambda: fs.Trainer(step).fit(X, make(), epochs=1), lambda: step.evaluate(X, make())):
        with pytest.raises(fs.DtypeError, match=f"^y: .*{words}"):
            call()


def test_a_label_in_a_micro_batch_is_found_by_where_counting_began(name):
    step = a_step(name, 3, fs.SoftmaxCrossEntropy, micro_batch=2)
    with pytest.raises(fs.LabelError, match=r"got 7 in row 2 .*counted from row 3 of the minibatch on"):
        step(X, [0, 1, 0, 7, 1, 0])


class TestFrames:
    """pandas and polars, whose columns have names."""

    def test_mixed_and_nullable_columns_are_taken_if_nothing_is_missing(self, name):
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        plain = np.array([[1, 1, 0.5], [2, 0, 1.5], [3, 1, 2.5]] * 2)
        frame = pandas.DataFrame({
            "n": pandas.array(plain[:, 0].astype(int), dtype="Int64"),
            "b": pandas.array(plain[:, 1].astype(bool), dtype="boolean"),
            "f": plain[:, 2],
        })  # fmt: skip
        assert after(name, frame, pandas.DataFrame({"y": Y[:, 0]})) == after(name, plain, Y)
        expected = after(name, plain, LABELS, classes=True)
        assert after(name, frame, pandas.Series(LABELS, dtype="Int64"), classes=True) == expected
        assert after(name, frame, pandas.DataFrame({"y": LABELS}), classes=True) == expected

    @pytest.mark.parametrize(
        ("column", "words"),
        [
            ([1, None, 3] * 2, r"a missing value \(.*\) in row 2, column 'age' .*fill in or drop"),
            (["a", "b", "c"] * 2, r"'a' in row 1, column 'age' .*encode text"),
        ],
    )
    def test_missing_entries_and_text_are_refused_by_the_name_of_the_column(self, name, column, words):
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        kind = "string" if isinstance(column[0], str) else "Int64"
        frame = pandas.DataFrame({"id": range(6), "age": pandas.array(column, dtype=kind), "w": np.ones(6)})
        with pytest.raises(fs.DtypeError, match=f"^x: .*{words}"):
            a_step(name)(frame, Y)

    def test_a_frame_of_polars_is_taken_and_its_text_named(self, name):
        polars = pytest.importorskip("polars", reason="polars is not installed")
        frame = polars.DataFrame(X, schema=["a", "b", "c"])
        assert after(name, frame, polars.DataFrame({"y": Y[:, 0]})) == after(name, X, Y)
        with pytest.raises(fs.DtypeError, match=r"^x: .*'u' in row 1, column 'b' "):
            a_step(name)(frame.with_columns(polars.lit("u").alias("b")), Y)


class TestOtherCallers:
    """Searches, ensembles and surfaces take what a step takes."""

    @staticmethod
    def network(width=3):
        return fs.mlp([width, 4, 3])

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_ensembles(self, jobs):
        def fitted(x, y):
            made = fs.Bagging(TestOtherCallers.network, fs.SoftmaxCrossEntropy(), 2, seed=0, backend="numpy", n_jobs=jobs)
            return made.fit(x, y, epochs=1).predict_proba(X).tolist()

        if jobs > 1:
            pytest.importorskip("joblib", reason="members are trained in processes by joblib")
        for x, y in ((memoryview(X), memoryview(LABELS)), (np.matrix(X), LABELS[:, None]), (X.tolist(), LABELS.astype(object))):
            assert fitted(x, y) == fitted(X, LABELS)
        with pytest.raises(fs.DtypeError, match=r"^x: .*generator"):
            fitted((row for row in X), LABELS)
        with pytest.raises(fs.DtypeError, match=r"^y: .*generator"):
            fitted(X, (label for label in LABELS))

    def test_searches_take_a_column_of_labels(self):
        pytest.importorskip("optuna", reason="searches need Optuna")

        def found(x, y):
            return fs.search(x, y, (x, y), trials=1, epochs=1, backend="numpy").best_trial.value

        assert found(np.matrix(X), LABELS[:, None]) == found(X, LABELS)
        with pytest.raises(fs.DtypeError, match=r"^x: .*generator"):
            found((row for row in X), LABELS)
        with pytest.raises(fs.ShapeError, match=r"matrix x \[rows, columns\]; got shape \(6,\)"):
            found(X[:, 0], LABELS)

    def test_surfaces(self, name):
        model = self.network().initialize(0, name)
        with pytest.raises(fs.DtypeError, match=r"^y: .*generator"):
            fs.loss_surface(model, fs.SoftmaxCrossEntropy(), X, (label for label in LABELS))
