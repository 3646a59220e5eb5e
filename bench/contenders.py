"""The engines under comparison behind one face: prefill from nothing, then token by token, logits on request.

Each is used the way its own documentation shows for greedy generation; none is told about the others.
A peer that is not installed raises ImportError when it is made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longctx.models.decoder import Decoder


class Contender(ABC):
    """What the measurements ask of an engine."""

    @abstractmethod
    def prefill(self, tokens: Tensor, steps: bool = False) -> None:
        """Forget everything, take in (T,) tokens and compute the logits of the last one; steps may follow."""

    @abstractmethod
    def step(self, token: int) -> None:
        """Feed one token and compute its logits."""

    @abstractmethod
    def logits(self) -> Tensor:
        """Return the (vocab,) float32 logits of the last token."""


class Longctx(Contender):
    """Streams chunks into a state.

    Args:
        model: the model.
        chunk: tokens fed at once; 0 feeds everything at once.
        everything: compute the last layer's outputs for all tokens, as the other engines do. Otherwise
            do as the product does: read all tokens but the last for their state alone.
    """

    def __init__(self, model: Decoder, chunk: int, everything: bool):
        self.model, self.chunk, self.everything = model, chunk, everything
        self.state = model.new_state()
        self.last = torch.empty(0)

    def prefill(self, tokens: Tensor, steps: bool = False) -> None:
        """See Contender."""
        with torch.inference_mode():
            self.state = self.model.new_state()
            ids = tokens[None] if self.everything else tokens[None, :-1]
            hidden = torch.empty(0)
            for piece in torch.split(ids, self.chunk or len(tokens), dim=1):
                if self.everything:
                    hidden = self.model(piece, self.state)
                else:
                    self.model.absorb(piece, self.state)
            if not self.everything:
                hidden = self.model(tokens[None, -1:], self.state)
            self.last = self.model.logits(hidden[0, -1])

    def step(self, token: int) -> None:
        """See Contender."""
        with torch.inference_mode():
            hidden = self.model(torch.tensor([[token]]), self.state)
            self.last = self.model.logits(hidden[0, -1])

    def logits(self) -> Tensor:
        """See Contender."""
        return self.last.float()


class Transformers(Contender):
    """MiniMaxForCausalLM of transformers with its own attention and cache."""

    def __init__(self, folder: Path):
        import transformers

        self.model = transformers.MiniMaxForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.cache: object = None
        self.position = 0
        self.last = torch.empty(0)

    def prefill(self, tokens: Tensor, steps: bool = False) -> None:
        """See Contender."""
        self.cache = None
        with torch.inference_mode():
            output = self.model(tokens[None], use_cache=steps, logits_to_keep=1)
        self.last, self.position = output.logits[0, -1], len(tokens)
        self.cache = output.past_key_values if steps else None

    def step(self, token: int) -> None:
        """See Contender."""
        # Without explicit positions this class starts again at position 0.
        with torch.inference_mode():
            output = self.model(
                torch.tensor([[token]]),
                past_key_values=self.cache,
                position_ids=torch.tensor([[self.position]]),
                use_cache=True,
            )
        self.last = output.logits[0, -1]
        self.position += 1

    def logits(self) -> Tensor:
        """See Contender."""
        return self.last


class LlamaCpp(Contender):
    """llama.cpp through llama-cpp-python, on a GGUF file without a vocabulary.

    Args:
        path: the GGUF file.
        context: the longest text it has to hold.
        ubatch: tokens that llama.cpp computes at once.
        threads: how many.
    """

    def __init__(self, path: Path, context: int, ubatch: int, threads: int):
        import llama_cpp

        self.last_row = llama_cpp.llama_get_logits_ith
        self.llama: Any = llama_cpp.Llama(  # Any: the package is only half annotated
            str(path),
            n_ctx=context,
            n_batch=max(ubatch, 512),
            n_ubatch=ubatch,
            n_threads=threads,
            n_threads_batch=threads,
            verbose=False,
        )

    def prefill(self, tokens: Tensor, steps: bool = False) -> None:
        """See Contender."""
        self.llama.reset()
        self.llama.eval(tokens.tolist())

    def step(self, token: int) -> None:
        """See Contender."""
        self.llama.eval([token])

    def logits(self) -> Tensor:
        """See Contender."""
        pointer = self.last_row(self.llama.ctx, -1)
        row = np.ctypeslib.as_array(pointer, shape=(self.llama.n_vocab(),))
        return torch.from_numpy(row.copy())  # llama.cpp overwrites it with the next token's
