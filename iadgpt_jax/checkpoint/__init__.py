"""What lies on disk, finding it and loading it. A checkpoint is one of two kinds of directory:

* a training workdir (files.py, workdir.py): model.json, tokenizer/ and checkpoints/<step>/. An imported model is a
  workdir whose only step is 0. A path to one of the steps names the workdir at that step;
* a Hugging Face directory: config.json, tokenizer files and safetensors (convert/hf_import.py).

`open_checkpoint` (load.py) opens whichever of them a user gave.
"""
