"""The architecture of a model as plain values for JSON, and the way back.

    [{"class": "Linear", "settings": {"inputs": 4, "outputs": 4}}, {"class": "Residual", "layers": […]}, {"again": [0]}]

A path is the list of indices that lead to a layer: {"again": path} is a layer that stands at several places, and
{"layer": path}, as a setting, the layer whose weights another one shares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import ModelFileError
from ..engine.model import Sequential
from ..layers import LAYERS, Layer
from ..layers.sequence import Sequence

MOST_LAYERS = 10_000
"""Largest number of layers, each counted as often as it is run, where a description repeats whole sequences of them."""



def described(model: Sequential) -> list[dict[str, Any]]:
    """The layers of a model as plain values."""
    paths: dict[int, list[int]] = {}
    for path, layer in _placed(model, []):
        paths.setdefault(id(layer), path)
    return _described(model, [], paths)


def built(layers: list[dict[str, Any]], head: str | None) -> Sequential:
    """The model without parameters, from what `described` gave."""
    return Sequential(*_Builder(layers).layers, head=head)


def require_same_parameters(layers: list[dict[str, Any]], model: Sequential) -> None:
    """Raises ModelFileError where a model that is built from the description would have other parameters."""
    own = {name: parameter.shape for name, parameter in model.declared()}
    other = {name: parameter.shape for name, parameter in built(layers, model.head).declared()}
    if own != other:
        name = min(set(own.items()) ^ set(other.items()))[0]
        raise ModelFileError(
            f"expected layers whose settings tell all about their parameters; {name!r} would come back otherwise than it is; "
            "share weights by TiedLinear or by using one layer twice, not by putting a Parameter into another layer"
        )


def _placed(chain: Sequence, path: list[int]) -> Iterator[tuple[list[int], Layer]]:
    """(path, layer) of every layer, those inside others after them; a path is the indices that lead to the layer."""
    for index, layer in enumerate(chain.layers):
        yield [*path, index], layer
        if isinstance(layer, Sequence):
            yield from _placed(layer, [*path, index])


def _described(chain: Sequence, path: list[int], paths: Mapping[int, list[int]]) -> list[dict[str, Any]]:
    """The layers of a chain as plain values; `paths` – the first one of each layer, by which it is known."""
    return [_description(layer, [*path, index], paths) for index, layer in enumerate(chain.layers)]


def _description(layer: Layer, path: list[int], paths: Mapping[int, list[int]]) -> dict[str, Any]:
    if paths[id(layer)] != path:
        return {"again": paths[id(layer)]}
    name = type(layer).__name__
    if name in LAYERS and LAYERS[name] is not type(layer):
        raise ModelFileError(
            f"expected {name!r} to be the layer that is known by that name; got another class of the same name from "
            f"{type(layer).__module__}; rename it, or it would be loaded as the other class"
        )
    if isinstance(layer, Sequence):
        return {"class": name, "layers": _described(layer, path, paths)}
    settings = {key: _setting(layer, value, paths) for key, value in layer.settings.items()}
    return {"class": name, "settings": settings}


def _setting(layer: Layer, value: Any, paths: Mapping[int, list[int]]) -> Any:
    if not isinstance(value, Layer):
        return value
    if id(value) not in paths:
        raise ModelFileError(
            f"expected the layer that {type(layer).__name__} shares weights with to be in the model; {value!r} is not; "
            "put it in the model, or use a separate Linear"
        )
    return {"layer": paths[id(value)]}


class _Builder:
    """The way back; layers that others refer to are built when they are first needed."""

    def __init__(self, described: Any) -> None:
        _require_few_layers(described)
        self._described = described
        self._built: dict[tuple[int, ...], Layer] = {}
        self.layers = self._chain(described, ())

    def _chain(self, described: list[dict[str, Any]], path: tuple[int, ...]) -> list[Layer]:
        return [self._layer(entry, (*path, index)) for index, entry in enumerate(described)]

    def _layer(self, entry: dict[str, Any], path: tuple[int, ...]) -> Layer:
        if path not in self._built:
            self._built[path] = self._at(entry["again"]) if "again" in entry else self._make(entry, path)
        return self._built[path]

    def _at(self, path: list[int]) -> Layer:
        return self._layer(_entry_at(self._described, path), tuple(path))

    def _make(self, entry: dict[str, Any], path: tuple[int, ...]) -> Layer:
        name = entry["class"]
        kind = Sequence if name == "Sequence" else LAYERS.get(name)
        if kind is None:
            raise ModelFileError(
                f"expected layers that are known here ({', '.join(sorted(LAYERS))}); found {name!r}; import the module "
                "that defines it first, or update fusedstep"
            )
        if "layers" in entry:
            return kind(*self._chain(entry["layers"], path))
        return kind(**{key: self._value(value) for key, value in entry["settings"].items()})

    def _value(self, value: Any) -> Any:
        return self._at(value["layer"]) if isinstance(value, dict) and "layer" in value else value


def _entry_at(described: Any, path: Any) -> dict[str, Any]:
    """The entry to which a path leads; LookupError or TypeError if there is none."""
    if not isinstance(path, list) or not path or not all(type(index) is int and index >= 0 for index in path):
        raise TypeError(f"expected the indices of a layer; found {path!r}")
    entry: Any = {"layers": described}
    for index in path:
        entry = entry["layers"][index]
    return dict(entry)


def _require_few_layers(described: Any) -> None:
    """Raises ModelFileError where references make more layers out of a description than are written in it, and very many.

    To be called before anything is built: each reference may double their number.
    """
    written, counted = 0, dict[tuple[int, ...], int]()

    def count(entry: Any, path: tuple[int, ...]) -> int:
        """Layers that an entry stands for; RecursionError for one that contains itself."""
        nonlocal written
        if path not in counted:
            written += 1
            if "again" in entry:
                counted[path] = count(_entry_at(described, entry["again"]), tuple(entry["again"]))
            else:
                counted[path] = 1 + sum(count(inner, (*path, k)) for k, inner in enumerate(entry.get("layers", ())))
        return counted[path]

    layers = sum(count(entry, (index,)) for index, entry in enumerate(described))
    if layers > max(written, MOST_LAYERS):
        raise ModelFileError(
            f"expected at most {MOST_LAYERS:,} layers out of {written} described ones, of which some stand at several places; "
            f"found {'more than 10^18' if layers > 10**18 else f'{layers:,}'}; use fewer repetitions of whole sequences"
        )
