"""Layers for rows that are images [height, width, channels], channels last: Conv2d, MaxPool2d, Flatten.

A convolution is a matrix product on patches; the tables that cut the patches are in kernels/rows/patches.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import HyperparameterError, ShapeError
from ...kernels.formulas.elementwise import add_bias
from ...kernels.rows import patches
from ..engine.initializers import Initializer, initializer
from ..engine.parameter import Parameter
from ..engine.tape import Tape
from ..settings import whole
from .base import Array, Image, Layer, require_width
from .dense import affine_tangent, make_bias

Pair = tuple[int, int]


def pair(value: Any, name: str, low: int = 1) -> Pair:
    """(height, width) from one whole number or two."""
    both = value if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    if len(both) != 2:
        raise HyperparameterError(f"expected {name} to be a whole number or two of them; got {value!r}; write such as (3, 3)")
    return whole(both[0], name, low), whole(both[1], name, low)


class _Patchwise(Layer, public=False):
    """Base class of Conv2d and MaxPool2d: the sizes of image, kernel, stride and padding.

    The image size is declared in the first layer of a model; the following layers get it from the layers before.
    """

    kernel: Pair
    stride: Pair
    padding: Pair
    image: Image | None

    def output_image(self) -> Image:
        """(height, width, channels) of output rows."""
        raise NotImplementedError(f"{type(self).__name__} must define output_image")

    def known_image(self) -> Image:
        """(height, width, channels) of input rows; raises ShapeError, with advice, if they are not declared."""
        if self.image is None:
            raise ShapeError(
                f"{self!r} expected to know the height and width of its images; nothing says so; write "
                "image=(height, width) in the first Conv2d, or image=(height, width, channels) in a MaxPool2d before it"
            )
        return self.image

    @property
    def inputs(self) -> int | None:
        """Number of input columns; None if the image size is not known."""
        return None if self.image is None else self.image[0] * self.image[1] * self.image[2]

    def _sides(self) -> Pair:
        """(height, width) of output rows; raises ShapeError if the kernel is larger than the image."""
        image = self.known_image()
        height, width = (patches.extent(image[k], self.kernel[k], self.stride[k], self.padding[k]) for k in (0, 1))
        if height < 1 or width < 1:
            raise ShapeError(
                f"{self!r} expected images of at least {self.kernel[0]} x {self.kernel[1]}, padding included; got "
                f"{image[0]} x {image[1]}; use a smaller kernel, more padding or fewer poolings"
            )
        return height, width

    def output_width(self, width: int) -> int:
        """Number of columns of the output image."""
        image = self.known_image()
        require_width(self, image[0] * image[1] * image[2], width)
        height, across, channels = self.output_image()
        return height * across * channels

    def image_after(self, image: Image | None) -> Image | None:
        """Stores the image size if none was declared; returns that of the output."""
        if image is not None and self.image is None:
            vars(self)["image"] = image  # although the layer is frozen: it is not in use before its model is complete
        elif image is not None and image != self.image:
            raise ShapeError(
                f"{self!r} expected images [height, width, channels] of {list(self.known_image())}; got {list(image)}; "
                "declare the image in the first layer only, and use a separate layer for each size"
            )
        return None if self.image is None else self.output_image()


class Conv2d(_Patchwise):
    """y[i, j, o] = b[o] + sum over (a, b, c) of x[i s + a - p, j s + b - p, c] W[(a, b, c), o], zeros beyond the border.

    Each row is an image [height, width, channels], channels last; so is each output row, with size (height + 2 padding -
    kernel) // stride + 1 in each direction. Computed as patches(x) W; the gradients are those of a Linear layer and of the
    transposed patch extraction.

    Args: in_channels, out_channels; kernel_size, stride, padding – whole numbers or (vertical, horizontal) pairs, stride
        default 1, padding default 0; image – (height, width) of the input, needed in the first layer only; bias – whether to
        add b; weight_init – default "he_normal" with fan-in kernel height * kernel width * in_channels; bias_init.
    Parameters: weight [kernel height * kernel width * in_channels, out_channels], bias [out_channels].
    Raises: HyperparameterError; ShapeError for images that are too small or do not fit.
    Differs from: torch.nn.Conv2d, whose images are [channels, height, width] and whose weight is [out_channels, in_channels,
        height, width]: this layer's is w.permute(2, 3, 1, 0).reshape(-1, out_channels).
    Source: notes 001, 002; im2col: Chellapilla, Puri and Simard (2006).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        image: Pair | None = None,
        bias: bool = True,
        weight_init: str | float | Initializer = "he_normal",
        bias_init: str | float | Initializer = 0.0,
    ) -> None:
        self.in_channels = whole(in_channels, "in_channels of Conv2d")
        self.out_channels = whole(out_channels, "out_channels of Conv2d")
        self.kernel = pair(kernel_size, "kernel_size of Conv2d")
        self.stride = pair(stride, "stride of Conv2d")
        self.padding = pair(padding, "padding of Conv2d", 0)
        self.image = None if image is None else (*pair(image, "image of Conv2d"), self.in_channels)
        area = self.kernel[0] * self.kernel[1]
        fan_in, fan_out = area * self.in_channels, area * self.out_channels
        self.weight = Parameter("weight", (fan_in, self.out_channels), initializer(weight_init), fan_in, fan_out)
        self.bias = make_bias(self.out_channels, bias_init, fan_in) if bias else None
        if self.image is not None:
            self._sides()

    @property
    def settings(self) -> dict[str, Any]:
        """See Layer."""
        given = {"in_channels": self.in_channels, "out_channels": self.out_channels, "kernel_size": list(self.kernel)}
        given |= {"stride": list(self.stride), "padding": list(self.padding)}
        given |= {} if self.image is None else {"image": list(self.image[:2])}
        return given if self.bias else {**given, "bias": False}

    def output_image(self) -> Image:
        """See _Patchwise."""
        return (*self._sides(), self.out_channels)

    def image_after(self, image: Image | None) -> Image | None:
        """See _Patchwise; raises ShapeError for another number of channels."""
        if image is not None and image[2] != self.in_channels:
            raise ShapeError(
                f"{self!r} expected {self.in_channels} channels; got images [height, width, channels] of {list(image)}; "
                "change in_channels or the out_channels of the layer before"
            )
        return super().image_after(image)

    def _cut(self, x: Array, tape: Tape) -> Array:
        """The patches of all images, one per row: [B * positions, kernel height * kernel width * in_channels]."""
        table = tape.table(patches.patches, self.known_image(), self.kernel, self.stride, self.padding)
        cut = tape.empty((x.shape[0], table.shape[0]))
        tape.backend.rows("take_columns", x, table, cut)
        return tape.backend.xp.reshape(cut, (-1, self.weight.shape[0]))

    def forward(self, x: Array, tape: Tape) -> Array:
        """patches(x) W + b."""
        self.output_width(int(x.shape[1]))
        backend, cut = tape.backend, self._cut(x, tape)
        y = tape.empty((x.shape[0], cut.shape[0] // x.shape[0] * self.out_channels))
        flat = backend.xp.reshape(y, (-1, self.out_channels))
        backend.matmul(cut, tape.parameter(self.weight), flat)
        if self.bias is not None:
            backend.map(add_bias, flat, flat, tape.parameter(self.bias))
        tape.push(cut, x.shape)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """dW = patches(x)^T dY, db = sum of the rows of dY; dX = the transposed patch extraction of dY W^T."""
        cut, shape = tape.pop()
        backend = tape.backend
        flat = backend.xp.reshape(dy, (-1, self.out_channels))
        gradient, again = tape.gradient(self.weight)
        backend.matmul(cut, flat, gradient, transpose_a=True, accumulate=again)
        if self.bias is not None:
            tape.sum_rows(flat, self.bias)
        if not needs_input:
            return None
        width = cut.shape[0] // shape[0] * cut.shape[1]
        derivatives, dx = tape.empty((shape[0], width)), tape.empty(shape)
        backend.matmul(flat, tape.parameter(self.weight), backend.xp.reshape(derivatives, cut.shape), transpose_b=True)
        table = tape.table(patches.patches_transposed, self.known_image(), self.kernel, self.stride, self.padding)
        backend.rows("sum_columns", derivatives, table, dx)
        return dx

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dY = patches(dX) W + patches(X) dW + db."""
        y = self.forward(x, tape)
        cut, _ = tape.top()
        moved = None if dx is None else self._cut(dx, tape)
        values = tape.parameter(self.weight)
        shape = (cut.shape[0], self.out_channels)
        flat = affine_tangent(cut, moved, tape, self.weight, values, self.bias, shape, transposed=False)
        return y, tape.backend.xp.reshape(flat, y.shape)


class MaxPool2d(_Patchwise):
    """y[i, j, c] = the largest of x[i s + a, j s + b, c] over a, b < size, for each channel; the first one if several are
    equal.

    Args: size – a whole number or (vertical, horizontal); at most 256 elements in total; stride – default size; image –
        (height, width, channels), needed if no layer before declares it. Rows and columns that do not fill a window at the
        lower and right border are ignored.
    Source: notes 001.
    """

    padding = (0, 0)

    def __init__(self, size: int | Pair, stride: int | Pair | None = None, image: Sequence[int] | None = None) -> None:
        self.kernel = pair(size, "size of MaxPool2d")
        if self.kernel[0] * self.kernel[1] > patches.MOST_IN_WINDOW:
            raise HyperparameterError(
                f"expected windows of at most {patches.MOST_IN_WINDOW} elements in MaxPool2d; got {size!r}; pool twice"
            )
        self.stride = self.kernel if stride is None else pair(stride, "stride of MaxPool2d")
        if image is not None and (isinstance(image, str) or len(image) != 3):
            raise HyperparameterError(f"expected image=(height, width, channels) in MaxPool2d; got {image!r}")
        self.image = None if image is None else (*pair(image[:2], "image"), whole(image[2], "channels"))
        if self.image is not None:
            self._sides()

    @property
    def settings(self) -> dict[str, Any]:
        """See Layer."""
        given: dict[str, Any] = {"size": list(self.kernel), "stride": list(self.stride)}
        return given if self.image is None else {**given, "image": list(self.image)}

    def output_image(self) -> Image:
        """See _Patchwise."""
        return (*self._sides(), self.known_image()[2])

    def forward(self, x: Array, tape: Tape) -> Array:
        """The largest element of each window; saves its index."""
        self.output_width(int(x.shape[1]))
        table = tape.table(patches.windows, self.known_image(), self.kernel, self.stride)
        y = tape.empty((x.shape[0], table.shape[0]))
        winner = tape.empty(y.shape, "uint8")
        tape.backend.rows("largest_columns", x, table, y, winner)
        tape.push(x.shape, table, winner)
        return y

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:
        """Each gradient goes to the largest element of its window; gradients of overlapping windows are added."""
        shape, _, winner = tape.pop()
        if not needs_input:
            return None
        dx = tape.empty(shape)
        transposed = tape.table(patches.windows_transposed, self.known_image(), self.kernel, self.stride)
        tape.backend.rows("largest_columns_spread", dy, winner, transposed, dx)
        return dx

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """The directional derivatives of the largest elements."""
        y = self.forward(x, tape)
        _, table, winner = tape.top()
        dy = tape.empty(y.shape)
        if dx is None:
            tape.backend.fill(dy, 0.0)
        else:
            tape.backend.rows("largest_columns_pick", dx, table, winner, dy)
        return y, dy


class Flatten(Layer):
    """Ends the image: later layers see plain columns, in the order [height, width, channels]. Rows are flat already."""

    def forward(self, x: Array, tape: Tape) -> Array:  # noqa: ARG002
        """x."""
        return x

    def backward(self, dy: Array, tape: Tape, needs_input: bool = True) -> Array | None:  # noqa: ARG002
        """dy."""
        return dy

    def jvp(self, x: Array, dx: Array | None, tape: Tape) -> tuple[Array, Array]:
        """dx."""
        if dx is None:
            dx = tape.empty(x.shape)
            tape.backend.fill(dx, 0.0)
        return x, dx
