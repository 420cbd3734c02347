"""A step and a sample of a model at its full size: time, memory, and the share of the device's speed that is used."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp

from benchmarks.model_cells import Cell, TextLengths, random_cell
from benchmarks.model_sampling import sampling_row
from benchmarks.model_steps import INSULATED_FLOW, one_pass, peak_mb, sgd_step
from benchmarks.timing import say
from fastki.model.config import MODES, AttentionKernel, DType, LoraConfig, ModelConfig, Remat
from fastki.model.inputs import on_device
from fastki.model.params import Definition, Params, abstract_model, flatten, init_model, nest
from fastki.sequence.sizes import SIZES, stream_cost, vision_flops

Train = Literal["expert", "lora", "full"]
TRAINED: tuple[Train, ...] = ("expert", "lora", "full")
"""The expert by the flow, over a backbone that stays as it is; the same and low-rank additions to the backbone, by both
losses; everything by both. In the order of their memory, as a device tells no more than the most there ever was."""
PEAK_TFLOPS = {"H100 PCIe": 756, "H100": 989, "H200": 989, "A100": 312, "L4": 121, "RTX 4090": 165, "B200": 2250}
"""Published peaks, bfloat16 products that are dense, 10¹² operations a second."""
PI05_TEXT = TextLengths(200, 56)
_VOCAB = 4096  # Of sizes that come without one.


@dataclass(frozen=True)
class FullPlan:
    """What is run.

    Attributes:
        size: of the model.
        dtype: of computation, and of parameters that are not trained.
        batch: examples a step.
        text: tokens of prompt and of FAST.
        remat: what the backward pass recomputes.
        attention: kernel.
        train: which parameters.
        repetitions: of each timed call.
    """

    size: str = "pi05"
    dtype: DType = "bfloat16"
    batch: int = 8
    text: TextLengths = PI05_TEXT
    remat: Remat = "full"
    attention: AttentionKernel = "auto"
    train: tuple[Train, ...] = TRAINED
    repetitions: int = 10


def run_full(plan: FullPlan) -> dict[str, Any]:
    """Rows of training, and one of sampling, as JSON can hold them; a row that can't fit says so in ``refused``."""
    size = SIZES[plan.size]
    config = ModelConfig(size, vocab=size.vocab or _VOCAB, dtype=plan.dtype, remat=plan.remat, attention=plan.attention)
    cell = random_cell(config, plan.text, plan.batch)
    device = jax.devices()[0]
    rows = []
    for train in plan.train:
        say(f"{plan.size}, {train}, batch {plan.batch}")
        rows.append(_training_row(replace(cell, config=_config(cell.config, train)), train, plan))
    say(f"{plan.size}, sampling")
    return {
        "device": device.device_kind,
        "peak_tflops": peak_tflops(device.device_kind),
        "training": rows,
        "sampling": _sampled(cell, plan),
    }


def peak_tflops(device: str) -> int | None:
    """The published peak of a device of that name, None for those that are not in the table."""
    return next((peak for name, peak in PEAK_TFLOPS.items() if re.search(rf"\b{name}\b", device)), None)


def is_trained(name: str, train: Train) -> bool:
    """Whether a parameter, such as ``PaliGemma/llm/layers/mlp_1/linear``, is."""
    first, *rest = name.split("/")
    if train == "full" or first != "PaliGemma":
        return True
    return rest[0] == "llm" and (any(part.endswith("_1") for part in rest) or "lora" in rest[-1])


def step_flops(cell: Cell, train: Train) -> int:
    """Operations of a step's products for one example, without any that are done twice.

    A forward pass, as many for the gradient of what comes in, as many for that of weights; the last two only where
    something is trained before, or there.
    """
    size, config = cell.config.size, cell.config
    backward = {"expert": 0, "lora": 1, "full": 2}[train]
    batch = cell.prompt if train == "expert" else cell.full
    prefix = len(batch.observation.images) * size.vision.tokens + batch.observation.tokenized_prompt.shape[1]
    horizon = config.action_horizon
    total = (1 + backward) * stream_cost(size.backbone, prefix, prefix).total
    total += 3 * stream_cost(size.expert, horizon, prefix + horizon).total
    towers = len(batch.observation.images) * vision_flops(size.vision, size.backbone.width)
    total += (3 if train == "full" else 1) * towers
    if train != "expert":
        learnt = int(batch.observation.token_loss_mask.sum()) / len(batch)
        total += int((1 + backward) * 2 * learnt * size.backbone.width * config.vocab)
    return total


def _config(config: ModelConfig, train: Train) -> ModelConfig:
    return replace(config, backbone_lora=LoraConfig(16, 16.0)) if train == "lora" else config


def _training_row(cell: Cell, train: Train, plan: FullPlan) -> dict[str, Any]:
    row: dict[str, Any] = {"train": train, "batch": plan.batch}
    definition, shapes = abstract_model(cell.config)
    trained, frozen = split(_typed(shapes, train, plan.dtype), train)
    room = memory_bytes()
    # Parameters and the gradient of those that are trained: no need to compile what exceeds that.
    least = _bytes(trained) * 2 + _bytes(frozen)
    if least > room:
        return row | {"refused": _refusal(train, plan.batch, least, room)}
    batch = cell.prompt if train == "expert" else cell.full
    data = on_device((batch, cell.draw))
    start = time.perf_counter()
    step = jax.jit(_step(definition, train), donate_argnums=0).lower(trained, frozen, *data).compile()
    row |= {"compile_s": time.perf_counter() - start, "planned_mb": peak_mb(step)}
    if row["planned_mb"] * 1e6 > room:
        return row | {"refused": _refusal(train, plan.batch, row["planned_mb"] * 1e6, room)}
    trained, frozen = split(_initial(cell.config, train, plan.dtype), train)
    seconds = []
    for _ in range(plan.repetitions + 1):
        start = time.perf_counter()
        trained, loss = step(trained, frozen, *data)
        row["loss"] = float(loss)
        seconds.append(time.perf_counter() - start)
    return row | _speed(cell, train, plan, statistics.median(seconds[1:]))


def _speed(cell: Cell, train: Train, plan: FullPlan, seconds: float) -> dict[str, Any]:
    device = jax.devices()[0]
    flops = step_flops(cell, train) * plan.batch
    peak = peak_tflops(device.device_kind) if plan.dtype == "bfloat16" else None
    used = (device.memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "step_s": seconds,
        "examples_per_s": plan.batch / seconds,
        "tflops": flops / seconds / 1e12,
        "mfu": None if peak is None else flops / seconds / 1e12 / peak,
        "used_mb": None if used is None else used / 1e6,
    }


def _step(definition: Definition, train: Train) -> Callable[..., tuple[Params, jax.Array]]:
    loss = one_pass(definition, INSULATED_FLOW if train == "expert" else MODES["ki"])

    def of_trained(trained: Params, frozen: Params, *data: Any) -> jax.Array:
        return loss(nest({**trained, **frozen}), *data)

    return sgd_step(jax.value_and_grad(of_trained))


def split(params: Params, train: Train) -> tuple[Params, Params]:
    """Those trained and those not, by name."""
    flat = flatten(params)
    chosen = {name for name in flat if is_trained(name, train)}
    return {name: flat[name] for name in flat if name in chosen}, {
        name: flat[name] for name in flat if name not in chosen
    }


def _typed(params: Params, train: Train | None, dtype: str) -> Params:
    """Trained parameters as they are, the others in the dtype of computation; arrays or their shapes. None: all."""

    def typed(name: str, leaf: Any) -> Any:
        if train is not None and is_trained(name, train):
            return leaf
        return (
            jax.ShapeDtypeStruct(leaf.shape, dtype)
            if isinstance(leaf, jax.ShapeDtypeStruct)
            else leaf.astype(jnp.dtype(dtype))
        )

    return nest({name: typed(name, leaf) for name, leaf in flatten(params).items()})


def _initial(config: ModelConfig, train: Train | None, dtype: str) -> Params:
    """Made on the device, so that no parameter is ever there in float32 that need not be."""
    params: Params = jax.jit(lambda: _typed(init_model(config)[1], train, dtype))()
    return params


def _sampled(cell: Cell, plan: FullPlan) -> dict[str, Any]:
    definition, shapes = abstract_model(cell.config)
    least, room = _bytes(flatten(_typed(shapes, None, plan.dtype))), memory_bytes()
    if least > room:
        return {"name": cell.name, "refused": _refusal("sampling", 1, least, room)}
    return sampling_row(cell, definition, _initial(cell.config, None, plan.dtype), plan.repetitions)


def memory_bytes() -> float:
    """What the device has in all or, for a processor, the machine has free."""
    limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
    return float(limit or os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _bytes(flat: Params) -> int:
    return sum(leaf.size * jnp.dtype(leaf.dtype).itemsize for leaf in flat.values())


def _refusal(what: str, batch: int, needed: float, room: float) -> str:
    return (
        f"{what}, batch {batch}, takes {needed / 1e9:.1f} GB or more and there are {room / 1e9:.1f} GB: give a smaller "
        "--batch, --remat full, or --train expert"
    )
