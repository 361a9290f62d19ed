"""Models as ONNX files: the graph, the nodes of each layer, of each kind of column, and of the answers."""
