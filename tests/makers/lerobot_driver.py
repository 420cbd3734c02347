"""What fastki writes, given to LeRobot itself, which wants a newer Python and PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from other_python import python_with
from processes import PATIENCE

# Its π0.5 has one size, which is written into a function and into the configuration that its constructor makes; the
# text tokenizer is PaliGemma's, which has to be downloaded. Everything else here is LeRobot's.
POLICY = """
import json, sys, types
import numpy as np
import torch
from lerobot.policies.factory import make_pre_post_processors
from lerobot.policies.pi05 import modeling_pi05 as pi05
from lerobot.processor import tokenizer_processor

folder = sys.argv[1]
case, arrays = json.load(open(folder + "/case.json")), np.load(folder + "/case.npz")
vision, vocab, known = case["size"]["vision"], case["vocab"], pi05.CONFIG_MAPPING


def stream(variant):
    size = case["size"]["backbone" if variant == "gemma_2b" else "expert"]
    names = {"mlp": "mlp_dim", "heads": "num_heads", "kv_heads": "num_kv_heads"}
    return pi05.GemmaConfig(**{names.get(name, name): value for name, value in size.items()})


class Known:
    def __getitem__(self, kind):
        return lambda **given: self.made(kind, given)

    def made(self, kind, given):
        config = known[kind](**(given | {"vocab_size": vocab} if "vocab_size" in given else given))
        if kind == "paligemma":
            tower = config.vision_config
            tower.hidden_size, tower.patch_size = vision["width"], vision["patch"]
            tower.num_hidden_layers, tower.num_attention_heads = vision["depth"], vision["heads"]
        return config


def whole(config, make=pi05.PaliGemmaForConditionalGenerationWithPiGemma):
    config.vision_config.intermediate_size = vision["mlp"]
    config.vision_config.projection_dim = config.projection_dim = case["size"]["backbone"]["width"]
    config.text_config.vocab_size = config._vocab_size = vocab
    return make(config=config)


class Text:
    padding_side, heard = "right", []

    def __call__(self, text, **_):
        self.heard += text
        ids = torch.zeros(len(text), 1, dtype=torch.long)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


pi05.get_gemma_config, pi05.CONFIG_MAPPING, pi05.PaliGemmaForConditionalGenerationWithPiGemma = stream, Known(), whole
tokenizer_processor.AutoTokenizer = types.SimpleNamespace(from_pretrained=lambda *_, **__: Text())

policy = pi05.PI05Policy.from_pretrained(folder)
pictures = {
    name: torch.from_numpy(arrays[name]).permute(0, 3, 1, 2) / 255 for name in arrays if "images" in name
}
before, after = make_pre_post_processors(policy.config, pretrained_path=folder)
told = {"observation.state": torch.from_numpy(arrays["state"]).float(), "task": case["prompts"]}
images, masks = policy._preprocess_images(before(pictures | told))
tokens, mask = torch.from_numpy(arrays["tokens"]).long(), torch.from_numpy(arrays["mask"])
chunk = policy.model.sample_actions(images, masks, tokens, mask, noise=torch.from_numpy(arrays["noise"]))
native = after(torch.from_numpy(arrays["normalized"]).float())
print(json.dumps({"chunk": chunk.tolist(), "text": Text.heard, "native": native.tolist()}))
"""

TOKENIZER = """
import json, sys, types
import numpy as np
import torch
from lerobot.policies.pi0_fast.modeling_pi0_fast import PI0FastPolicy
from lerobot.processor import tokenizer_processor

ROWS, SKIP = 257_152, 128
text = types.SimpleNamespace(vocab_size=ROWS, bos_token_id=2, encode=lambda words, **_: [5] * len(words.split()))
tokenizer_processor.AutoTokenizer = types.SimpleNamespace(from_pretrained=lambda *_, **__: text)
step = tokenizer_processor.ActionTokenizerProcessorStep(action_tokenizer_name=sys.argv[1], max_action_tokens=1024)
chunks = np.load(sys.argv[2])
found, masks = step._tokenize_action(torch.from_numpy(chunks))
ids = [(ROWS - 1 - SKIP - row[mask][2:-1]).tolist() for row, mask in zip(found, masks)]
own = types.SimpleNamespace(action_tokenizer=step.action_tokenizer)
actions = PI0FastPolicy.decode_actions_with_fast(own, ids, *chunks.shape[1:])
print(json.dumps({"ids": ids, "actions": actions.tolist()}))
"""

DATASET = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset

ahead = {"action": [0.0, float(sys.argv[2])]}
data = LeRobotDataset("fastki/written", root=sys.argv[1], video_backend="pyav", delta_timestamps=ahead)
read = [
    {name: value.tolist() if hasattr(value, "tolist") else value for name, value in data[place].items()}
    for place in range(len(data))
]
answer = {"episodes": data.num_episodes, "frames": len(data), "fps": data.fps, "read": read}
print(json.dumps(answer | {"mean": data.meta.stats["action"]["mean"].tolist()}))
"""


def lerobot_python() -> str:
    """A Python that has LeRobot's π policies; the test is skipped where there is none."""
    what = "lerobot[pi,dataset], 0.6 or newer, which wants Python 3.12"
    return python_with("lerobot.policies.pi_gemma", "FASTKI_LEROBOT_PYTHON", what)


def run_lerobot(script: str, folder: Path, *more: object) -> dict[str, Any]:
    """What a script answers."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    words = [lerobot_python(), "-c", script, str(folder), *map(str, more)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE, env=environment)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
