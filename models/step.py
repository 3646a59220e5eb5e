"""One decode step in fixed memory: what a CUDA graph can hold and replay for any reading.

A step of a hybrid model is a hundred or more small kernels; launching them one by one costs more than
running them. So the step reads its tokens, positions, states and page tables from memory of its own,
and is captured once. A reading's states are moved in when it begins to write (lightning states are
small; of the KV log only addresses move) and moved out when another one takes the place.
"""

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from longctx.kernels.select import failures, serves
from longctx.models.decoder import HybridModel, angles_at
from longctx.models.device_log import DeviceLog
from longctx.models.state import KVState, LightningState, State

ROWS = 1024  # pages per branch: 16M tokens
WARM_UP = 3  # eager steps before a capture: kernels are compiled and libraries set up in them
MOST_AT_ONCE = 16  # branches


class DecodeStep:
    """A decode step of B branches, each a state of batch 1, that may be at different positions.

    Attributes:
        logits: (B, vocab_size) float32 of the last step; overwritten by the next one.
        pointed: position (B,) int64 and mass (B,) float32 of the pointer heads of the last softmax layer.

    Raises:
        StepError: when a kernel of the step cannot be built for the device.
    """

    def __init__(self, model: HybridModel, batch: int = 1):
        config, device = model.config, model.embed.weight.device
        self._model = model
        self._tokens = torch.zeros(batch, 1, dtype=torch.int64, device=device)
        self._positions = torch.zeros(batch, dtype=torch.float64, device=device)
        self._layers: list[LightningState | DeviceLog] = []
        last = max((i for i, layer in enumerate(config.layers) if layer.mixer == "softmax"), default=-1)
        for index, layer in enumerate(config.layers):
            if layer.mixer == "softmax":
                pointers = config.pointer_heads if index == last else ()
                self._layers.append(DeviceLog(batch, ROWS, config.n_kv_heads, pointers, device))
            else:
                size = (batch, config.n_heads, config.head_dim, config.head_dim)
                self._layers.append(LightningState(torch.zeros(size, device=device)))
        self._bound: list[weakref.ref[State] | None] = [None] * batch
        self._at = [-1] * batch  # the position at which each branch's tables and states are up to date
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            self._capture()

    @staticmethod
    def serves(model: HybridModel, batch: int = 1) -> bool:
        """Tell whether the kernels serve this model on its device."""
        config = model.config
        probe = model.norm.weight.new_empty(0, dtype=model.dtype)
        return (
            batch <= MOST_AT_ONCE
            and serves("lightning_decode", probe, config.head_dim, 1)
            and serves("attention_decode", probe, config.head_dim, 1)
            and (config.n_experts == 1 or serves("moe_decode", probe, config.hidden_size, batch))
        )

    @property
    def captured(self) -> bool:
        """Tell whether steps are replays of a graph; otherwise they are launched kernel by kernel."""
        return self._graph is not None

    @property
    def pointed(self) -> tuple[Tensor, Tensor] | None:
        """Return where the pointer heads of the last softmax layer looked, if the model has any."""
        logs = [layer for layer in self._layers if isinstance(layer, DeviceLog)]
        return logs[-1].pointed if logs else None

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
            for layer in state.layers:
                if isinstance(layer, KVState):
                    layer.advance()
        return self.logits

    def _step(self) -> None:
        angles = angles_at(self._model.config.rope, self._positions)
        hidden = self._model.run(self._tokens, self._layers, angles)
        self.logits = self._model.logits(hidden[:, -1])
        self._positions += 1

    def _enter(self, branch: int, state: State) -> None:
        """Let the branch work on `state`: its lightning states become views of the step's memory."""
        bound = self._bound[branch]
        current = bound is not None and bound() is state and self._at[branch] == state.position
        if bound is None or bound() is not state:
            self._leave(branch)
            self._bound[branch] = weakref.ref(state)
        if not current:
            self._positions[branch] = state.position
        for ours, theirs in zip(self._layers, state.layers, strict=True):
            if isinstance(ours, DeviceLog):
                assert isinstance(theirs, KVState)
                if not current or theirs.needs_page:
                    ours.show(branch, theirs.reserve())
            else:
                assert isinstance(theirs, LightningState)
                mine = ours.kv[branch : branch + 1]
                if theirs.kv.data_ptr() != mine.data_ptr():
                    mine.copy_(theirs.kv)
                    theirs.kv = mine

    def _leave(self, branch: int) -> None:
        """Give the state that works in a branch memory of its own again, if it still works here."""
        bound = self._bound[branch]
        state = bound() if bound else None
        for ours, theirs in zip(self._layers, state.layers if state else (), strict=False):
            if isinstance(theirs, LightningState):
                assert isinstance(ours, LightningState)
                if theirs.kv.data_ptr() == ours.kv[branch].data_ptr():
                    theirs.kv = theirs.kv.clone()

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
