"""Writes the golden cases of convolutional trunks, from ``*/make.py``.

A case is a folder: ``model.safetensors`` holds the weights under the library's names,
``expected.safetensors`` an input, the last feature map and its mean in inference and
in training mode, and ``step.safetensors`` what a training pass leaves: for each
parameter the gradient of ``sum(map * weight)``, for each running statistic its value
afterwards. All is computed in float64.
"""

import torch
from safetensors.torch import save_file


def shake(model):
    """Give norms statistics, scales and shifts that a mistake would show in."""
    for key, tensor in model.state_dict().items():
        if key.endswith("running_mean"):
            tensor.copy_(0.2 * torch.randn(tensor.shape))
        elif key.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape) + 0.5)
        elif tensor.ndim == 1 and tensor.is_floating_point():
            tensor.add_(0.2 * torch.randn(tensor.shape))


def store(folder, model, features, shape, seed):
    """Store a model whose last feature map `features` makes of pixels of this shape."""
    torch.manual_seed(seed)
    shake(model)
    weights = {k: v.clone() for k, v in model.state_dict().items()}
    pixels = torch.randn(shape).double().requires_grad_()
    model.eval()
    with torch.no_grad():
        inferred = features(pixels)
    model.train()
    trained = features(pixels)
    weight = torch.randn(trained.shape).double()
    (trained * weight).sum().backward()
    step = {k: p.grad for k, p in model.named_parameters() if p.grad is not None}
    step |= {k: v for k, v in model.state_dict().items() if "running" in k}
    expected = {
        "pixels": pixels,
        "pixels_gradient": pixels.grad,
        "inferred": inferred,
        "pooled": inferred.mean((2, 3)),
        "trained": trained,
        "weight": weight,
    }
    folder.mkdir(exist_ok=True)
    for file, tensors in [("model", weights), ("expected", expected), ("step", step)]:
        tensors = {k: v.detach().float().contiguous() for k, v in tensors.items()}
        save_file(tensors, folder / f"{file}.safetensors")
