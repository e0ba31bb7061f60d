"""Writes the tiny Hugging Face folders of tests/data/convert/ and what a converted file of each must hold and compute.

    pip install torch transformers safetensors gguf numpy
    python tests/data/convert/make_hf.py

Each folder NAME/ is written by `transformers` (`save_pretrained`) from a seed, in the type and the shards it names. NAME.json
beside it holds, made from the same weights without anything of Palisade:

- `tensors`: GGUF name -> [dimensions in ggml's order, SHA-256 of the values as little-endian float32], by the layouts of
  tests/data/make_logits.py (for the vision tower: those of llama.cpp's converter)
- `metadata`: GGUF key -> value
- `ids`, `next_logprobs`: entry i is the log-probability of ids[i + 1] given ids[..= i], by Hugging Face in float64
"""

import copy
import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import Llama4Config, Llama4ForCausalLM, Llama4ForConditionalGeneration, Llama4TextConfig, LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE.parent / "tokenizer"))
import make_logits as ml  # noqa: E402
from reference import PATTERNS  # noqa: E402


def tokenizer_json(family):
    specials = ml.LLAMA4_SPECIALS if family == "llama4" else ml.LLAMA3_SPECIALS
    tokens, _, first = ml.vocabulary(specials)
    return {
        "version": "1.0",
        "added_tokens": [
            dict(id=first + i, content=t, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
            for i, t in enumerate(tokens[first:])
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERNS[family]}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
            ],
        },
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens[:first])}, "merges": ml.MERGES},
    }


def digest(array):
    array = np.ascontiguousarray(array.astype(np.float32))
    return [list(reversed(array.shape)), hashlib.sha256(array.tobytes()).hexdigest()]


def text_tensors(core):
    out = {slot.name: digest(slot.read()) for slot in ml.slots(core)}
    rope = core.config.rope_parameters
    if rope["rope_type"] == "llama3":
        out["rope_freqs.weight"] = digest(ml.rope_divisors(core.config.head_dim, rope))
    return out


def vision_tensors(model):
    v, out = model.vision_model, {}
    add = lambda name, p: out.__setitem__(name, digest(p.detach().float().numpy()))
    add("v.patch_embd.weight", v.patch_embedding.linear.weight)
    add("v.class_embd", v.class_embedding)
    add("v.position_embd.weight", v.positional_embedding_vlm)
    for ours, norm in (("pre_ln", v.layernorm_pre), ("post_ln", v.layernorm_post)):
        add(f"v.{ours}.weight", norm.weight)
        add(f"v.{ours}.bias", norm.bias)
    for i, layer in enumerate(v.model.layers):
        at = layer.self_attn
        for ours, m in (("ln1", layer.input_layernorm), ("ln2", layer.post_attention_layernorm), ("attn_q", at.q_proj), ("attn_k", at.k_proj),
                        ("attn_v", at.v_proj), ("attn_out", at.o_proj), ("ffn_up", layer.mlp.fc1), ("ffn_down", layer.mlp.fc2)):
            add(f"v.blk.{i}.{ours}.weight", m.weight)
            add(f"v.blk.{i}.{ours}.bias", m.bias)
    add("mm.model.mlp.1.weight", v.vision_adapter.mlp.fc1.weight)
    add("mm.model.mlp.2.weight", v.vision_adapter.mlp.fc2.weight)
    add("mm.model.fc.weight", model.multi_modal_projector.linear_1.weight)
    return out


def metadata(c, family):
    arch = "llama" if family == "llama3" else "llama4"
    out = {
        "general.architecture": arch,
        f"{arch}.block_count": c.num_hidden_layers,
        f"{arch}.context_length": c.max_position_embeddings,
        f"{arch}.embedding_length": c.hidden_size,
        f"{arch}.feed_forward_length": c.intermediate_size_mlp if arch == "llama4" else c.intermediate_size,
        f"{arch}.attention.head_count": c.num_attention_heads,
        f"{arch}.attention.head_count_kv": c.num_key_value_heads,
        f"{arch}.attention.key_length": c.head_dim,
        f"{arch}.attention.value_length": c.head_dim,
        f"{arch}.rope.dimension_count": c.head_dim,
        f"{arch}.rope.freq_base": c.rope_parameters["rope_theta"],
        f"{arch}.vocab_size": ml.VOCAB,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama4" if arch == "llama4" else "llama-bpe",
        "general.license": "other",
        "general.license.name": "tiny-licence",
        "palisade.license.text": "The licence of tiny models.\n",
        "tokenizer.chat_template": "{{ messages }}",
    }
    if arch == "llama4":
        moe = len(c.moe_layers) > 0
        out |= {
            "llama4.expert_count": max(c.num_local_experts, 1),  # llama.cpp refuses 0
            "llama4.expert_used_count": 1,
            "llama4.expert_feed_forward_length": c.intermediate_size,
            "llama4.interleave_moe_layer_step": c.interleave_moe_layer_step if moe else 0,
            "llama4.use_qk_norm": bool(c.use_qk_norm),
            "llama4.attention.chunk_size": c.attention_chunk_size or 0,
            "llama4.attn_temperature_tuning": bool(c.attn_temperature_tuning),
        }
    specials = ml.LLAMA4_SPECIALS if arch == "llama4" else ml.LLAMA3_SPECIALS
    first = ml.vocabulary(specials)[2]
    out["tokenizer.ggml.bos_token_id"] = first
    out["tokenizer.ggml.eos_token_id"] = first + specials.index("eot" if arch == "llama4" else "eot_id")
    return out


def round_to(model, dtype):
    for p in model.parameters():
        p.data = p.data.to(dtype).double()


def write(name, model, family, dtype, shard="1GB", seed=7, count=48, drop=(), change=None):
    """Saves the folder in `dtype`; what is scored are the rounded weights. `drop`, `change`: edits of config.json."""
    core = getattr(model, "language_model", model)
    torch.manual_seed(seed)
    round_to(model, dtype)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    # A copy: the cast also rounds buffers, such as the frequencies of the rotation.
    copy.deepcopy(model).to(dtype).save_pretrained(folder, max_shard_size=shard)
    for path in folder.glob("generation_config.json"):
        path.unlink()
    config = json.loads((folder / "config.json").read_text())
    for key in drop:
        config.pop(key, None)
    config |= change or {}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(family), ensure_ascii=False, separators=(",", ":")) + "\n")
    eot = "<|eot|>" if family == "llama4" else "<|eot_id|>"
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<|begin_of_text|>", "eos_token": {"content": eot}, "chat_template": "{{ messages }}"}, indent=1) + "\n")
    (folder / "README.md").write_text("---\nlicense: other\nlicense_name: tiny-licence\n---\nRandom weights.\n")
    (folder / "LICENSE").write_text("The licence of tiny models.\n")
    while True:
        ids = ml.token_ids(count, seed)
        logits, _, gaps = ml.score(core, ids)
        if gaps.min().item() > 3e-3:
            break
        seed += 1
    logp = torch.log_softmax(logits, dim=-1)
    alt = torch.log_softmax(ml.score(core, ids, torch.float32)[0].double(), dim=-1)
    model.double()
    noise = max(abs((alt - logp)[p, ids[p + 1]].item()) for p in range(count - 1))
    print(f"{name}: float32 and float64 differ by {noise:.1e}")
    doc = {
        "_comment": "Written by tests/data/convert/make_hf.py; see there for what each field holds.",
        "metadata": metadata(core.config, family),
        "tensors": text_tensors(core),
        "ids": ids,
        "next_logprobs": [round(logp[p, ids[p + 1]].item(), 7) for p in range(count - 1)],
    }
    if hasattr(model, "vision_model"):
        doc["vision"] = vision_tensors(model)
    (HERE / f"{name}.json").write_text(json.dumps(doc, separators=(",", ":")).replace('],"', '],\n"') + "\n")
    size = sum(p.stat().st_size for p in folder.iterdir())
    print(f"{name:16} {size:8} B in {len(list(folder.glob('*.safetensors')))} shards  mean logprob {logp.mean():.3f}  ids {seed}", flush=True)


TEXT = dict(vocab_size=ml.VOCAB, attn_implementation="eager", hidden_size=32, head_dim=16, num_attention_heads=2, num_key_value_heads=1,
            rms_norm_eps=1e-5, pad_token_id=None, bos_token_id=None, eos_token_id=None)


def scout():
    """Scout's flags with a vision tower; experts in every layer."""
    text = dict(TEXT, intermediate_size=32, intermediate_size_mlp=64, num_hidden_layers=4, num_local_experts=2, interleave_moe_layer_step=1,
                rope_parameters=ml.SCOUT_ROPE, max_position_embeddings=10485760)
    vision = dict(hidden_size=16, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14,
                  projector_input_dim=32, projector_output_dim=32, vision_output_dim=32)
    config = Llama4Config(text_config=text, vision_config=vision, attn_implementation="eager")
    model = Llama4ForConditionalGeneration(config)
    ml.randomize(model.language_model, 1)
    gen = torch.Generator().manual_seed(2)
    for name, p in model.named_parameters():
        if "language_model" not in name:
            p.data = torch.randn(p.shape, generator=gen, dtype=torch.float64) * 0.3
    return model.double().eval()


def text(seed, **options):
    return ml.randomize(Llama4ForCausalLM(Llama4TextConfig(**dict(TEXT, **options))), seed)


def main():
    torch.set_num_threads(1)
    write("scout", scout(), "llama4", torch.bfloat16, shard="60KB")
    write("maverick", text(3, intermediate_size=32, intermediate_size_mlp=64, num_hidden_layers=2, num_local_experts=4,
                           interleave_moe_layer_step=2, use_qk_norm=False, rope_parameters=ml.PLAIN_ROPE, max_position_embeddings=1048576),
          "llama4", torch.float16)
    # Llama Guard 4's kind: no experts, no chunks, and a list of rotating layers that has no period.
    write("guard", text(4, intermediate_size=64, intermediate_size_mlp=32, num_hidden_layers=3, num_local_experts=0, moe_layers=[],
                        interleave_moe_layer_step=1, attention_chunk_size=None, no_rope_layers=[1, 0, 0], layer_types=["full_attention"] * 3,
                        rope_parameters=ml.SCOUT_ROPE, max_position_embeddings=131072),
          "llama4", torch.float16, drop=("layer_types",))
    llama = dict(vocab_size=ml.VOCAB, attn_implementation="eager", rms_norm_eps=1e-5, hidden_size=32, intermediate_size=64,
                 num_attention_heads=2, num_key_value_heads=1, rope_parameters=ml.LLAMA3_ROPE, max_position_embeddings=131072,
                 pad_token_id=None, bos_token_id=None, eos_token_id=None)
    for name, tied, dtype, shard in (("llama3", False, torch.bfloat16, "30KB"), ("llama3-tied", True, torch.float32, "1GB")):
        model = ml.randomize(LlamaForCausalLM(LlamaConfig(num_hidden_layers=2, tie_word_embeddings=tied, **llama)), 5)
        write(name, model, "llama3", dtype, shard)


if __name__ == "__main__":
    main()
