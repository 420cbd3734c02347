"""The files that LeRobot makes a pi05 policy and its processors of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastki.data.normalize import Method
from fastki.export.source import Source
from fastki.export.stats import FEATURES, MODES

if TYPE_CHECKING:
    from fastki.training.card import PolicyCard

PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor", "policy_postprocessor"
NORMALIZER_STATE = f"{PREPROCESSOR}_step_2_normalizer_processor.safetensors"
UNNORMALIZER_STATE = f"{POSTPROCESSOR}_step_0_unnormalizer_processor.safetensors"
"""LeRobot names the state of a step by its pipeline, its place and its own name."""
_PALIGEMMA = "google/paligemma-3b-pt-224"


def policy_config(source: Source, card: PolicyCard) -> dict[str, Any]:
    """``config.json`` of a ``PI05Policy``; what is not said has LeRobot's default."""
    model, size = card.model, card.model.size.vision.image_size
    features = _features(source, card)
    return {
        "type": "pi05",
        "paligemma_variant": "gemma_2b",
        "action_expert_variant": "gemma_300m",
        "dtype": "float32",
        "n_obs_steps": 1,
        "chunk_size": model.action_horizon,
        "n_action_steps": model.action_horizon,
        "max_state_dim": model.action_dim,
        "max_action_dim": model.action_dim,
        "image_resolution": [size, size],
        "tokenizer_max_length": model.max_token_len,
        "normalization_mapping": norm_map(source),
        "input_features": {name: one for name, one in features.items() if name != FEATURES["actions"]},
        "output_features": {FEATURES["actions"]: features[FEATURES["actions"]]},
    }


def preprocessor(source: Source, card: PolicyCard) -> dict[str, Any]:
    """``policy_preprocessor.json``: names, statistics, the state as text, ids, the device."""
    model = card.model
    steps = [
        _step("rename_observations_processor", rename_map=rename_map(card)),
        _step("to_batch_processor"),
        _normalizing("normalizer_processor", NORMALIZER_STATE, source, _features(source, card)),
        _step("pi05_prepare_state_tokenizer_processor_step"),
        _step(
            "tokenizer_processor",
            max_length=model.max_token_len,
            task_key="task",
            padding_side="right",
            padding="max_length",
            truncation=True,
            tokenizer_name=_PALIGEMMA,
        ),
        _step("device_processor", device="cpu", float_dtype=None),
    ]
    return {"name": PREPROCESSOR, "steps": steps}


def postprocessor(source: Source, card: PolicyCard) -> dict[str, Any]:
    """``policy_postprocessor.json``: actions in native units, on the processor."""
    action = FEATURES["actions"]
    features = {action: _features(source, card)[action]}
    steps = [
        _normalizing("unnormalizer_processor", UNNORMALIZER_STATE, source, features),
        _step("device_processor", device="cpu", float_dtype=None),
    ]
    return {"name": POSTPROCESSOR, "steps": steps}


def norm_map(source: Source) -> dict[str, str]:
    """LeRobot's mode of each kind of feature."""
    found = source.normalizers[source.asset_id]
    methods: dict[str, Method] = {key: one.method for key, one in found.items()}
    return {
        "VISUAL": "IDENTITY",
        "STATE": MODES[methods.get("state", "none")],
        "ACTION": MODES[methods.get("actions", "none")],
    }


def rename_map(card: PolicyCard) -> dict[str, str]:
    """LeRobot's name of each camera of the data → the name that the policy knows its pictures by."""
    return {_camera(slot.camera): _picture(slot.name) for slot in card.slots if slot.camera is not None}


def _camera(name: str) -> str:
    """As a LeRobot robot calls its camera, if it is called as in data of another format."""
    return name if name.startswith("observation.") else f"observation.images.{name.rpartition('/')[2]}"


def _picture(slot: str) -> str:
    return f"observation.images.{slot}"


def _features(source: Source, card: PolicyCard) -> dict[str, Any]:
    """Name → type and shape."""
    found, size = source.normalizers[source.asset_id], card.model.size.vision.image_size
    pictures = [_picture(slot.name) for slot in card.slots if slot.camera is not None]
    features = {name: {"type": "VISUAL", "shape": [3, size, size]} for name in pictures}
    kinds = {"state": "STATE", "actions": "ACTION"}
    for key, kind in kinds.items():
        if key in found:
            features[FEATURES[key]] = {"type": kind, "shape": [found[key].action_dim]}
    return features


def _step(name: str, **config: Any) -> dict[str, Any]:
    return {"registry_name": name, "config": config}


def _normalizing(name: str, state: str, source: Source, features: dict[str, Any]) -> dict[str, Any]:
    config = {"eps": 1e-8, "features": features, "norm_map": norm_map(source)}
    return {"registry_name": name, "config": config, "state_file": state}
