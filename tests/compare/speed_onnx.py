"""The rows of ``speed.py`` as onnxruntime runs them, from torch's own export."""

from __future__ import annotations

from pathlib import Path

import torch
from speed_rows import ROWS, Run, opened
from torch import Tensor, nn


def onnx_run(name: str, folder: Path, threads: int) -> Run:
    """Make what onnxruntime times, from torch's own export."""
    import onnxruntime

    path = folder / "model.onnx"
    model, data = opened(name, folder)
    if not path.exists():
        arguments = tuple(data.values())
        torch.onnx.export(
            _States(model) if ROWS[name].config is not None else model,
            arguments,
            path,
            input_names=list(data),
            output_names=["out"],
            dynamo=True,
            verbose=False,
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    feeds = {key: x.numpy() for key, x in data.items()}
    return lambda: torch.from_numpy(session.run(["out"], feeds)[0])


class _States(nn.Module):
    """A text model as a function of its ids."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(input_ids=ids).last_hidden_state
