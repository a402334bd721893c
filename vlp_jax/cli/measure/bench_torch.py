"""Torch's side of a benchmark: a model of the same architecture, trained with fused AdamW."""

import os
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vlp_jax.cli.measure.bench_turns import Measured, Program
from vlp_jax.cli.measure.torch_albef import Albef
from vlp_jax.cli.measure.torch_huggingface import Lxmert, VisualBert
from vlp_jax.cli.measure.torch_single_stream import SingleStream
from vlp_jax.config import ExperimentConfig

TWINS: Mapping[str, Callable[[ExperimentConfig, int], nn.Module]] = {
    "albef": Albef,
    "uniter": SingleStream,
    "uniter_large": SingleStream,
    "oscar": SingleStream,
    "oscarplus": SingleStream,
    "lxmert": Lxmert,
    "visualbert": VisualBert,
}
"""Model to time → the class of its torch model: (experiment, rows that the word head reads)."""


class TorchSide:
    """What runs in torch: on the GPU if there is one, with a thread for each core of this process.

    Subclasses have `parameters`, how many there are.
    """

    def __init__(self):
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self.device = "cuda" if torch.cuda.is_available() else "cpu"

    def _measured(self, run: Callable, function: Callable, compiled: bool = False) -> Measured:
        flops = _flops(lambda: run(function))
        function = torch.compile(function) if compiled else function
        program = Program(lambda: run(function), self._wait)
        return Measured(program, flops, self._memory_bytes(program), self.parameters)

    def _memory_bytes(self, program: Program) -> int | None:
        """Returns the most that a call takes of a GPU; None without one."""
        if self.device == "cpu":
            return None
        program.seconds(1)
        torch.cuda.reset_peak_memory_stats()
        program.seconds(1)
        return torch.cuda.max_memory_allocated()

    def _wait(self, result: Any) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


class Twin(TorchSide):
    """A torch model on a batch of ours, in the precision of the experiment, by autocast."""

    def __init__(self, name: str, config: ExperimentConfig, batch: Mapping[str, Any]):
        super().__init__()
        self.batch = {key: _tensor(x, self.device) for key, x in batch.items()}
        self.model = TWINS[name](config, int((batch["mlm_labels"] >= 0).sum())).to(self.device)
        self._autocast = partial(
            torch.autocast, self.device, torch.bfloat16, config.training.dtype == "bfloat16"
        )
        self._clip = config.optimizer.clip_norm
        self._optimizer = torch.optim.AdamW(self._trained, lr=1e-5, fused=True)

    @property
    def parameters(self) -> int:
        """How many are trained."""
        return sum(x.numel() for x in self._trained)

    def train(self, compiled: bool = False) -> Measured:
        """Returns the train step; `compiled` by `torch.compile`."""
        return self._measured(self._step, self.model.loss, compiled)

    def infer(self, compiled: bool = False) -> Measured:
        """Returns the forward pass; `compiled` by `torch.compile`."""
        return self._measured(self._infer, self.model.forward, compiled)

    @property
    def _trained(self) -> list[Tensor]:
        return [x for x in self.model.parameters() if x.requires_grad]

    def _step(self, loss: Callable) -> Tensor:
        self.model.train()
        with self._autocast():
            value = loss(self.batch)
        value.backward()
        if self._clip:
            torch.nn.utils.clip_grad_norm_(self._trained, self._clip)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return value

    @torch.inference_mode()
    def _infer(self, forward: Callable) -> Tensor:
        self.model.eval()
        with self._autocast():
            return forward(self.batch)


def _flops(run: Callable[[], Any]) -> float:
    """Returns the operations of a call, attention in full."""
    with (
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        run()
    return float(counter.get_total_flops())


def torch_matmul(side: int, dtype: str) -> Program:
    """Returns a matrix product of torch's, on the GPU if there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    matrix = torch.randn(side, side, dtype=getattr(torch, dtype), device=device)
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    return Program(lambda: matrix @ matrix, lambda _: wait())


def _tensor(values: Any, device: str) -> Tensor:
    tensor = torch.from_numpy(np.array(values)).to(device)
    return tensor.long() if tensor.dtype == torch.int32 else tensor
