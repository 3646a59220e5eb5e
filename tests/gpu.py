"""Runs the kernel tests, written for CPU tensors and Triton's interpreter, on a GPU, unchanged.

    LONGCTX_TEST_DEVICE=cuda TRITON_INTERPRET=0 pytest -p gpu tests/test_*_triton.py tests/test_rounded.py

As a pytest plugin it puts itself between the tests and the kernels' public functions: tensors are copied to
the device with their strides and overlaps, the kernel runs there, and what it has changed is copied back.
"""

import functools
import os
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from longctx.kernels.rounded import RoundedMatrix

DEVICE = torch.device(os.environ.get("LONGCTX_TEST_DEVICE", "cpu"))
on_gpu = pytest.mark.skipif(DEVICE.type != "cuda", reason="LONGCTX_TEST_DEVICE is not cuda")

PUBLIC = {
    "lightning_triton": ("lightning_prefill", "lightning_absorb"),
    "lightning_decode_triton": ("lightning_decode",),
    "attention_triton": ("attention_decode", "attention_pointer"),
    "attention_merge_triton": ("merge_partials",),
    "pages_triton": ("append_token",),
    "moe_triton": ("moe_decode", "moe_combine"),
    "norm_triton": ("rms_norm", "norm_gate"),
    "rounded_triton": ("rounded_linear", "widen", "moe_decode", "grouped_product"),
}


class Twin:
    """Memory on the device that mirrors storages on the CPU.

    Args:
        device: where the kernels run. A CPU works too: the twins are then other memory of it.
    """

    MOST_PAGES = 512  # mirrored at each call: more than one test uses, few enough to copy

    def __init__(self, device: torch.device):
        self.device = device
        self._pages: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}  # known by address

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as one that takes CPU tensors and leaves its results in them."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not any(x.device.type == "cpu" for x in _tensors((args, kwargs))):
                return function(*args, **kwargs)
            moved: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
            for ours, theirs in self._pages.values():
                theirs.copy_(ours)
            there = _replace((args, kwargs), lambda x: self._move(x, moved))
            result = function(*there[0], **there[1])
            for ours, theirs in (*moved.values(), *self._pages.values()):
                ours.copy_(theirs)
            return _replace(result, lambda x: x.cpu() if x.device.type != "cpu" else x.clone())

        return wrapped

    def wrap_table(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return `page_table` as one that names the twins' addresses; the pages are mirrored from then on."""

        @functools.wraps(function)
        def wrapped(logs: Any, rows: int) -> Tensor:
            moved = _replace(logs, lambda x: self._move(x, self._pages))
            for address in list(self._pages)[: -self.MOST_PAGES]:
                del self._pages[address]
            return function(moved, rows)

        return wrapped

    def _move(self, x: Tensor, moved: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]]) -> Tensor:
        if x.device.type != "cpu":
            return x
        storage = x.untyped_storage()
        # Views of one storage stay views of one storage.
        known = self._pages.get(storage.data_ptr()) or moved.get(storage.data_ptr())
        if known is not None and moved is self._pages:
            moved[storage.data_ptr()] = moved.pop(storage.data_ptr())  # in use again: now the youngest
        if known is None:
            twin = torch.empty(storage.nbytes(), dtype=torch.uint8, device=self.device).untyped_storage()
            twin.copy_(storage)
            known = moved[storage.data_ptr()] = (storage, twin)
        empty = torch.empty(0, dtype=x.dtype, device=self.device)
        return empty.set_(known[1], x.storage_offset(), x.shape, x.stride())


def install(twin: Twin) -> None:
    """Replace the public functions of the kernel modules; must run before test modules import them."""
    for module, names in PUBLIC.items():
        if find_spec(f"longctx.kernels.{module}") is None:
            continue
        loaded = import_module(f"longctx.kernels.{module}")
        for name in filter(lambda name: hasattr(loaded, name), names):
            setattr(loaded, name, twin.wrap(getattr(loaded, name)))
        if hasattr(loaded, "page_table"):
            setattr(loaded, "page_table", twin.wrap_table(loaded.page_table))  # noqa: B010  # a module has no such attribute for mypy


def pytest_configure() -> None:
    """Put the device between tests and kernels; pytest calls this when it is started with `-p gpu`."""
    if DEVICE.type == "cuda":
        install(Twin(DEVICE))


def _tensors(value: Any) -> Iterable[Tensor]:
    found: list[Tensor] = []
    _replace(value, found.append)
    return found


def _replace(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return tuples, lists, mappings and objects of tensors with every tensor changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple | list):
        parts = [_replace(each, change) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {name: _replace(each, change) for name, each in value.items()}
    if isinstance(value, RoundedMatrix):
        return RoundedMatrix(change(value.levels), change(value.steps))
    return value
