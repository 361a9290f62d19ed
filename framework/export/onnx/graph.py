"""`Graph`: the nodes, constants, inputs and outputs of an ONNX model while it is put together.

Which nodes a layer needs is in layers.py, a column in columns.py, an answer in answers.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ....errors import HyperparameterError
from ...optional import require
from ...settings import whole

FIRST_OPSET = 17
"""The first one with LayerNormalization."""
TEXT_OPSET = 20
"""The first one with RegexFullMatch, with which blank text is found."""
_TABLES = "ai.onnx.ml"
_TABLES_OPSET = 2
"""The first one whose LabelEncoder takes several types."""


class Graph:
    """A graph to which nodes are added; values are known by their names.

    Args: opset – of the standard operators; reserved – names of inputs and outputs, which no other value gets.
    """

    def __init__(self, opset: int, reserved: Iterable[str] = ()) -> None:
        self.onnx = require("onnx", "onnx", "export_onnx")
        newest = self.onnx.defs.onnx_opset_version()
        self.opset = whole(opset, "opset of export_onnx", FIRST_OPSET, newest, "leave it out, or install a newer onnx")
        self._names = set(reserved)
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._domains = {""}

    def free_name(self, wanted: str) -> str:
        """The name, with a number behind it if it is taken."""
        name, number = wanted, 1
        while name in self._names:
            number += 1
            name = f"{wanted}_{number}"
        self._names.add(name)
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The result of a new node of a standard operator."""
        return self._add(operator, "", inputs, attributes)

    def encode(self, text: str, numbers: Mapping[str, int], default: int) -> str:
        """int64: the number of each text, `default` for other texts."""
        given = {"keys_strings": list(numbers), "values_int64s": list(numbers.values()), "default_int64": default}
        return self._add("LabelEncoder", _TABLES, (text,), given)

    def cast(self, value: str, dtype: str) -> str:
        """A value in another type."""
        return self.add("Cast", value, to=self._element_type(dtype))

    def constant(self, values: Any, dtype: str | None = None) -> str:
        """A constant array; equal small ones are stored once."""
        array = np.ascontiguousarray(np.asarray(values, dtype)).reshape(np.shape(values))
        key = (array.dtype.str, array.shape, array.tobytes()) if array.dtype != object and array.size <= 64 else None
        if key in self._constants:
            return self._constants[key]
        name = self.free_name("constant")
        self._initializers.append(self._tensor(name, array))
        if key is not None:
            self._constants[key] = name
        return name

    def parameter(self, name: str, values: Any) -> str:
        """A parameter of the network, as float32."""
        name = self.free_name(name)
        self._initializers.append(self._tensor(name, np.ascontiguousarray(values, np.float32)))
        return name

    def input(self, name: str, dtype: str, *shape: int | str) -> str:
        """A new input; sizes that are text vary."""
        self._inputs.append(self.onnx.helper.make_tensor_value_info(name, self._element_type(dtype), list(shape)))
        return name

    def output(self, name: str, value: str, dtype: str, *shape: int | str) -> None:
        """A value as an output of that name."""
        self._nodes.append(self.onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self.onnx.helper.make_tensor_value_info(name, self._element_type(dtype), list(shape)))

    def finish(self, description: str, metadata: dict[str, str]) -> Any:
        """The checked ModelProto."""
        from .... import __version__

        helper = self.onnx.helper
        graph = helper.make_graph(self._nodes, "fusedstep", self._inputs, self._outputs, self._initializers)
        domains = {"": self.opset, _TABLES: _TABLES_OPSET}
        opsets = [helper.make_opsetid(domain, domains[domain]) for domain in sorted(self._domains)]
        # The oldest format with these operators, because runtimes refuse files of a newer one than they know.
        oldest = helper.find_min_ir_version_for(opsets)
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=oldest, producer_name="fusedstep", producer_version=__version__,
            doc_string=description,
        )  # fmt: skip
        helper.set_model_props(model, metadata)
        if model.ByteSize() >= 2**31:
            raise HyperparameterError(
                f"expected a model of less than 2 GiB, the largest size of one ONNX file; got {model.ByteSize():,} bytes; "
                "use smaller layers"
            )
        self.onnx.checker.check_model(model, full_check=True)
        return model

    def _add(self, operator: str, domain: str, inputs: Sequence[str], attributes: dict[str, Any]) -> str:
        made = self.free_name(operator.lower())
        self._domains.add(domain)
        self._nodes.append(self.onnx.helper.make_node(operator, list(inputs), [made], domain=domain, **attributes))
        return made

    def _tensor(self, name: str, array: np.ndarray[Any, Any]) -> Any:
        if array.dtype != object:
            return self.onnx.numpy_helper.from_array(array, name)
        encoded = [text.encode() for text in array.reshape(-1).tolist()]
        return self.onnx.helper.make_tensor(name, self.onnx.TensorProto.STRING, array.shape, encoded)

    def _element_type(self, dtype: str) -> Any:
        tensor = self.onnx.TensorProto
        return tensor.STRING if dtype == "object" else self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
