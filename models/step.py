"""One decode step in fixed memory, which a CUDA graph can hold and replay for any reading.

A step of a hybrid model is a hundred or more small kernels; launching them one by one costs more than
running them. So the step reads its tokens, positions, states and page tables from memory of its own,
and is captured once. A reading's states are moved in when it begins to write (lightning states are
small; of the KV log only addresses move) and moved out when another one takes the place.
"""

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from longctx.kernels.select import failures
from longctx.models.decoder import Decoder
from longctx.models.mixers.memory import StepError, StepMemory
from longctx.models.rotary import Positions
from longctx.models.state import State

MOST_PAGES = 1024  # pages per branch: 16M tokens
WARM_UP = 3  # eager steps before a capture: kernels are compiled and libraries set up in them
MOST_AT_ONCE = 16  # branches


class DecodeStep:
    """A decode step of B branches, each a state of batch 1 at its own position.

    While a state is in the step, its memories live in the step's buffers; you can still read and fork
    them. They move out when another state takes the branch.

    Attributes:
        logits: (B, vocab_size) float32 of the last step; overwritten by the next one.

    Raises:
        StepError: when a kernel of the step does not run on the device, or there are too many branches.
    """

    def __init__(self, model: Decoder, batch: int = 1):
        device = model.device
        self._model = model
        self._tokens = torch.zeros(batch, 1, dtype=torch.int64, device=device)
        self._positions = torch.zeros(batch, dtype=torch.float64, device=device)
        self._layers: list[StepMemory[Any]] = []
        for layer in model.blocks():
            memory = layer.mixer.new_steps(batch, MOST_PAGES, device)
            # What a step holds are the addresses of pages, unless attention runs branch by branch.
            if memory is None or batch > MOST_AT_ONCE or (model.kv.room and device.type == "cuda"):
                raise StepError
            self._layers.append(memory)
        self._bound: list[weakref.ref[State] | None] = [None] * batch
        self._at = [-1] * batch  # the position at which each branch's tables and states are up to date
        self._graph: torch.cuda.CUDAGraph | None = None
        # Which experts are brought to the device is decided by the host, layer by layer: no graph holds that.
        if device.type == "cuda" and model.experts is None:
            self._capture()

    @property
    def captured(self) -> bool:
        """Tell whether steps are replays of a graph; otherwise they are launched kernel by kernel."""
        return self._graph is not None

    @property
    def places(self) -> int:
        """Return the number of branches."""
        return len(self._bound)

    @torch.inference_mode()
    def run(self, tokens: Sequence[int], states: Sequence[State]) -> Tensor:
        """Move each state past its token and return the logits, (B, vocab_size) float32.

        States are of batch 1, one per branch. The result is overwritten by the next step.
        """
        for branch, (token, state) in enumerate(zip(tokens, states, strict=True)):
            self._tokens[branch].fill_(token)
            self._enter(branch, state)
        if self._graph:
            self._graph.replay()
        else:
            self._step()
        for branch, state in enumerate(states):
            state.position += 1
            self._at[branch] = state.position
            for ours, theirs in zip(self._layers, state.layers, strict=True):
                ours.advance(branch, theirs)
        return self.logits

    def _step(self) -> None:
        positions = Positions(self._positions)
        x = self._model.embedded(self._tokens)
        for layer, memory in zip(self._model.blocks(), self._layers, strict=True):
            x = layer.step(x, memory, positions)
        self.logits = self._model.logits(self._model.normed(x)[:, -1])
        self._positions += 1

    def _enter(self, branch: int, state: State) -> None:
        """Bring `state` into the branch."""
        bound = self._bound[branch]
        here = bound is not None and bound() is state
        current = here and self._at[branch] == state.position
        if not here:
            self._leave(branch)
            self._bound[branch] = weakref.ref(state)
        if not current:
            self._positions[branch] = state.position
        for ours, theirs in zip(self._layers, state.layers, strict=True):
            ours.enter(branch, theirs, moved=not current)

    def _leave(self, branch: int) -> None:
        """Move the state out of a branch, if there is one."""
        bound = self._bound[branch]
        state = bound() if bound else None
        for ours, theirs in zip(self._layers, state.layers if state else (), strict=False):
            ours.leave(branch, theirs)

    def _capture(self) -> None:
        """Run the step on a state that nobody needs, then record it."""
        scratch = [self._model.new_state() for _ in self._bound]
        for branch, state in enumerate(scratch):
            self._enter(branch, state)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.inference_mode(), torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.inference_mode(), torch.cuda.graph(graph):
                self._step()
        except RuntimeError as error:
            # Something in the step waits for the device; it still runs, launch by launch.
            failures["cuda_graph"] = str(error).strip().splitlines()[0]
        else:
            self._graph = graph
        self._at = [-1] * len(self._bound)
