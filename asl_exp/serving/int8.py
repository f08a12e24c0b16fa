"""Static quantisation of an exported network: weights and activations as whole numbers of 8 bits.

Layers with weights alone are quantised; resizing, attention and the features of joints stay as they
are. Ranges are the smallest and largest values seen on the images given.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from asl_exp.config.errors import require_extra

_QUANTISED: Final = ("Conv", "Gemm", "MatMul")


def write_int8(network: Path, file: Path, batches: Iterator[dict[str, Any]]) -> None:
    """Write a network's ONNX file once more in 8 bits, with the same metadata.

    Args:
        network: the file with 32 bits.
        batches: images to calibrate on, as the file takes them.
    """
    require_extra("export", "onnx", "onnxruntime")
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, Any] | None:
            return next(batches, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(network, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            file,
            Batches(),
            op_types_to_quantize=list(_QUANTISED),
            nodes_to_exclude=_without_weights(onnx.load(prepared).graph),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # 7 bits: without VNNI sums of 8 overflow
        )
    made = onnx.load(file)
    told = {entry.key: entry.value for entry in onnx.load(network).metadata_props}
    onnx.helper.set_model_props(made, told)
    onnx.save(made, file)


def _without_weights(graph: Any) -> list[str]:
    """Return the names of products in which neither side is a constant of the graph."""
    constants = {tensor.name for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if node.op_type in _QUANTISED and not constants.intersection(node.input)
    ]
