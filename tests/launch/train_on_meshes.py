"""What test_local.py runs in several processes: `python train_on_meshes.py SETTINGS.json` trains on mesh after mesh.

Each mesh gets a workdir of its own in the folder of the settings, named like 1x2x2.
"""

import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from iadgpt_jax.distributed import joined
from launch.train import quiet, train

if __name__ == "__main__":
    quiet()
    file = Path(sys.argv[1])
    settings = json.loads(file.read_text())
    with joined():
        for sizes in settings["meshes"]:
            config = importlib.import_module("configs.stage3").get_config("tiny")
            config.update_from_flattened_dict(settings["config"])
            config.mesh.update(dict(zip(("data", "fsdp", "tensor"), sizes, strict=True)))
            train(config, str(file.parent / "x".join(map(str, sizes))))
