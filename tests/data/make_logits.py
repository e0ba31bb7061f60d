"""Writes the tiny random models of tests/data/logits/ and what Hugging Face computes on them.

    pip install torch transformers gguf numpy
    python tests/data/make_logits.py

Every model is built by Hugging Face `transformers` from a seed, written to GGUF with the PyPI package `gguf` (names, layouts
and metadata keys as llama.cpp's converter writes them), and scored by Hugging Face itself: attention "eager", on the weights
as the file holds them (for a quantized file: dequantized by `gguf.quants.dequantize`), in float64 where the implementation
lets it (its norms and rotations stay float32). Nothing of Palisade takes part.

Each NAME.gguf has a NAME.json beside it: `ids`; `positions` and `next_logprobs` (entry i: the log-probability of
ids[positions[i] + 1] given ids[..= positions[i]]); `rows` (position -> all logits); and for one model `layers`
(position -> the residual stream after the embedding and after each block, then after the last norm).
"""

import json
import math
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from gguf.quants import dequantize, quantize
from transformers import Llama4ForCausalLM, Llama4TextConfig, LlamaConfig, LlamaForCausalLM

T = gguf.GGMLQuantizationType
OUT = Path(__file__).parent / "logits"
VOCAB = 320
LLAMA4_SPECIALS = (
    "begin_of_text end_of_text fim_prefix fim_middle fim_suffix header_start header_end eom eot step python_start python_end "
    "finetune_right_pad image_start image_end tile_x_separator tile_y_separator image patch reasoning_thinking_start "
    "reasoning_thinking_end"
).split()
LLAMA3_SPECIALS = (
    "begin_of_text end_of_text start_header_id end_header_id eot_id eom_id python_tag finetune_right_pad_id"
).split()
# In order of rank; "Ġ" is GPT-2's letter for a space.
MERGES = (
    "Ġ t|h e|i n|Ġ a|r e|o n|Ġt he|e r|Ġ s|a t|Ġ w|Ġ o|e n|Ġ c|i t|i s|a n|o r|e s|Ġ b|e d|Ġ f|in g|Ġ p|o u|Ġa n|a l|a r|Ġt o|"
    "Ġ m|Ġo f|Ġ in|Ġ d|Ġ h|Ġan d|Ġ is"
).split("|")


def vocabulary(specials):
    """256 bytes in GPT-2's order, one token per merge, fillers, special names: (tokens, types, merges, id of the first special)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    tokens = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens += [m.replace(" ", "") for m in MERGES]
    first = len(tokens)
    tokens += [f"<|{s}|>" for s in specials]
    tokens += [f"<|reserved_special_token_{i}|>" for i in range(VOCAB - len(tokens))]
    types = [int(gguf.TokenType.NORMAL)] * first + [int(gguf.TokenType.CONTROL)] * (VOCAB - first)
    assert len(tokens) == len(set(tokens)) == VOCAB
    return tokens, types, first


# --- weights -----------------------------------------------------------------------------------------------------------------


def randomize(model, seed):
    """Weights under which attention is peaked, routing is decided, every block matters and logits spread by about 1.5.

    Hotter ones (branches at 0.8, logits at 2) amplify the rounding of 8-bit activations to a mean of 0.05 and more.
    """
    gen = torch.Generator().manual_seed(seed)

    def fill(p, std):
        p.data = torch.randn(p.shape, generator=gen) * std

    for name, p in model.named_parameters():
        if "norm" in name:
            p.data = 1.0 + 0.2 * torch.randn(p.shape, generator=gen)
        elif "embed_tokens" in name:
            fill(p, 1.0 / math.sqrt(p.shape[1]) if model.config.tie_word_embeddings else 1.0)
        elif "lm_head" in name:
            fill(p, 1.5 / math.sqrt(p.shape[1]))
        elif "router" in name:
            fill(p, 3.0 / math.sqrt(p.shape[1]))
        elif "q_proj" in name or "k_proj" in name:
            fill(p, 1.3 / math.sqrt(p.shape[1]))
        elif "experts." in name:  # used as x·W: rows are the input
            fill(p, 0.5 / math.sqrt(p.shape[1]))
        else:
            fill(p, 0.5 / math.sqrt(p.shape[1]))
    model.tie_weights()
    return model.double().eval()


def permute(w, heads):
    """Hugging Face's half-split rotation rows -> adjacent pairs, as llama.cpp's converter does for architecture `llama`."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


class Slot:
    """One GGUF tensor: where Hugging Face keeps it, and the change of layout each way."""

    def __init__(self, name, param, get=lambda w: w, put=None):
        self.name, self.param, self.get = name, param, get
        self.put = put or (lambda old, new: new)

    def read(self):
        return np.ascontiguousarray(self.get(self.param.detach().float().numpy()))

    def write(self, array):
        old = self.param.detach().numpy()
        self.param.data = torch.from_numpy(np.ascontiguousarray(self.put(old, array.astype(np.float64))))


def slots(model):
    c, core = model.config, model.model
    yield Slot("token_embd.weight", core.embed_tokens.weight)
    yield Slot("output_norm.weight", core.norm.weight)
    if not c.tie_word_embeddings:
        yield Slot("output.weight", model.lm_head.weight)
    for i, layer in enumerate(core.layers):
        at, ff, b = layer.self_attn, getattr(layer, "feed_forward", None) or layer.mlp, f"blk.{i}."
        yield Slot(b + "attn_norm.weight", layer.input_layernorm.weight)
        yield Slot(b + "ffn_norm.weight", layer.post_attention_layernorm.weight)
        for n, p, heads in (("q", at.q_proj, c.num_attention_heads), ("k", at.k_proj, c.num_key_value_heads)):
            if c.model_type == "llama":
                yield Slot(f"{b}attn_{n}.weight", p.weight, lambda w, h=heads: permute(w, h), lambda _, w, h=heads: unpermute(w, h))
            else:
                yield Slot(f"{b}attn_{n}.weight", p.weight)
        yield Slot(b + "attn_v.weight", at.v_proj.weight)
        yield Slot(b + "attn_output.weight", at.o_proj.weight)
        suffix = ""
        if hasattr(ff, "router"):
            half, ex = c.intermediate_size, ff.experts
            yield Slot(b + "ffn_gate_inp.weight", ff.router.weight)

            def turned(w):
                return w.swapaxes(1, 2)

            yield Slot(b + "ffn_gate_exps.weight", ex.gate_up_proj, lambda w, h=half: turned(w[..., :h]),
                       lambda old, w, h=half: np.concatenate([turned(w), old[..., h:]], axis=2))
            yield Slot(b + "ffn_up_exps.weight", ex.gate_up_proj, lambda w, h=half: turned(w[..., h:]),
                       lambda old, w, h=half: np.concatenate([old[..., :h], turned(w)], axis=2))
            yield Slot(b + "ffn_down_exps.weight", ex.down_proj, turned, lambda _, w: turned(w))
            ff, suffix = ff.shared_expert, "_shexp"
        for n in ("gate", "up", "down"):
            yield Slot(f"{b}ffn_{n}{suffix}.weight", getattr(ff, n + "_proj").weight)


# --- quantization the package lacks (any valid encoding will do: what the blocks mean is what `dequantize` says) -----------------


def quantize_q4_k(w):
    x = w.reshape(-1, 8, 32).astype(np.float64)
    low = np.minimum(x.min(2), 0)
    step = (x.max(2) - low) / 15
    d, dmin = ((v.max(1) / 63).astype(np.float16) for v in (step, -low))
    div = lambda a, s: np.divide(a, s.astype(np.float64)[:, None], out=np.zeros_like(a), where=s[:, None] > 0)
    sc, mn = (np.clip(np.rint(div(a, s)), 0, 63).astype(np.uint8) for a, s in ((step, d), (-low, dmin)))
    real, base = d.astype(np.float64)[:, None] * sc, dmin.astype(np.float64)[:, None] * mn
    q = np.divide(x + base[..., None], real[..., None], out=np.zeros_like(x), where=real[..., None] > 0)
    q = np.clip(np.rint(q), 0, 15).astype(np.uint8).reshape(-1, 4, 2, 32)
    packed = np.concatenate([sc[:, :4] | (sc[:, 4:] >> 4 << 6), mn[:, :4] | (mn[:, 4:] >> 4 << 6), (sc[:, 4:] & 15) | (mn[:, 4:] & 15) << 4], 1)
    blocks = [d.view(np.uint8).reshape(-1, 2), dmin.view(np.uint8).reshape(-1, 2), packed, (q[:, :, 0] | q[:, :, 1] << 4).reshape(-1, 128)]
    return np.concatenate(blocks, axis=1).reshape(*w.shape[:-1], -1)


def quantize_q6_k(w):
    x = w.reshape(-1, 16, 16).astype(np.float64)
    step = np.abs(x).max(2) / 31
    d = (step.max(1) / 127).astype(np.float16)
    sc = np.clip(np.rint(step / d.astype(np.float64)[:, None]), 1, 127).astype(np.int8)
    q = np.clip(np.rint(x / (d.astype(np.float64)[:, None] * sc)[..., None]) + 32, 0, 63).astype(np.uint8).reshape(-1, 2, 4, 32)
    low, high = q & 15, q >> 4
    ql = np.stack([low[:, :, 0] | low[:, :, 2] << 4, low[:, :, 1] | low[:, :, 3] << 4], 2).reshape(-1, 128)
    qh = (high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6).reshape(-1, 64)
    return np.concatenate([ql, qh, sc.view(np.uint8), d.view(np.uint8).reshape(-1, 2)], axis=1).reshape(*w.shape[:-1], -1)


def encode(w, kind):
    if kind == T.F32:
        return w.astype(np.float32)
    data = {T.Q4_K: quantize_q4_k, T.Q6_K: quantize_q6_k}.get(kind, lambda a: quantize(a, kind))(w)
    error = np.abs(dequantize(data, kind).reshape(w.shape) - w).max() / np.abs(w).max()
    assert error < 0.2, f"{kind.name}: {error}"
    return data


# --- GGUF --------------------------------------------------------------------------------------------------------------------


def rope_divisors(head_dim, rope):
    """`rope_freqs.weight` as llama.cpp's converter computes it."""
    out = []
    for i in range(head_dim // 2):
        wave = 2 * math.pi * rope["rope_theta"] ** (2 * i / head_dim)
        old, low, high = (rope[k] for k in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor"))
        if wave < old / high:
            out.append(1.0)
        elif wave > old / low:
            out.append(rope["factor"])
        else:
            smooth = (old / wave - low) / (high - low)
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(out, dtype=np.float32)


def write_gguf(path, model, title, kinds, extra):
    """Writes the model and puts what the file holds, dequantized, back into it. `kinds`: tensor name -> block type."""
    c = model.config
    llama4 = c.model_type != "llama"
    arch = "llama4" if llama4 else "llama"
    w = gguf.GGUFWriter(path, arch)
    w.add_name(title)
    w.add_license("apache-2.0")
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size_mlp if llama4 else c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_dimension_count(c.head_dim)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    w.add_vocab_size(VOCAB)
    if llama4:
        w.add_key_length(c.head_dim)
        w.add_value_length(c.head_dim)
        w.add_expert_count(c.num_local_experts)
        w.add_expert_used_count(c.num_experts_per_tok)
        w.add_expert_feed_forward_length(c.intermediate_size)
        w.add_interleave_moe_layer_step(c.interleave_moe_layer_step)
    for key, value in extra.items():
        {bool: w.add_bool, int: w.add_uint32, float: w.add_float32, list: w.add_array}[type(value)](f"{arch}.{key}", value)
    specials = LLAMA4_SPECIALS if llama4 else LLAMA3_SPECIALS
    tokens, types, first = vocabulary(specials)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("llama4" if llama4 else "llama-bpe")
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges(MERGES)
    w.add_bos_token_id(first)
    w.add_eos_token_id(first + specials.index("eot" if llama4 else "eot_id"))
    w.add_pad_token_id(first + specials.index("finetune_right_pad" if llama4 else "finetune_right_pad_id"))
    if c.rope_parameters["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", rope_divisors(c.head_dim, c.rope_parameters))
    used = set()
    for slot in list(slots(model)):
        array = slot.read()
        kind = T.F32 if array.ndim == 1 or "ffn_gate_inp" in slot.name else kinds(slot.name)
        data = encode(array, kind)
        w.add_tensor(slot.name, data, raw_dtype=kind)
        slot.write(array if kind == T.F32 else dequantize(data, kind).reshape(array.shape))
        used.add(kind)
    if used - {T.F32, T.F16}:
        w.add_quantization_version(2)
    w.add_file_type({(): 0, (T.F16,): 1, (T.Q8_0,): 7, (T.Q4_0,): 2}.get(tuple(used - {T.F32}), 15))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# --- what Hugging Face says ------------------------------------------------------------------------------------------------------


def token_ids(count, seed):
    rng = np.random.default_rng(seed)
    bos = 256 + len(MERGES)
    ids = rng.integers(0, bos, count)
    ids[5:9] = ids[1:5]  # something seen before
    ids[0] = bos
    return [int(i) for i in ids]


def score(model, ids, dtype=torch.float64):
    """(logits, residual streams, gap between the two best experts at each position) for one sequence; no cache."""
    streams, gaps, hooks = [], [], []
    core = model.to(dtype).model
    hooks.append(core.embed_tokens.register_forward_hook(lambda m, a, out: streams.append(out[0])))
    for layer in core.layers:
        hooks.append(layer.register_forward_hook(lambda m, a, out: streams.append((out[0] if isinstance(out, tuple) else out)[0])))
        router = getattr(getattr(layer, "feed_forward", None), "router", None)
        if router is not None:
            hooks.append(router.register_forward_hook(lambda m, a, out: gaps.append(out[1].topk(2, dim=1).values.diff(dim=1).abs()[:, 0])))
    hooks.append(core.norm.register_forward_hook(lambda m, a, out: streams.append(out[0])))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    for h in hooks:
        h.remove()
    return logits, streams, torch.stack(gaps).amin(dim=0) if gaps else torch.full((len(ids),), math.inf)


def write_expected(path, model, seed, count, positions, title, rows, layers):
    # A tie between two experts is nobody's error: take the first sequence in which no choice judged here is close to one.
    while True:
        ids = token_ids(count, seed)
        logits, streams, gaps = score(model, ids)
        gap = gaps[positions].min().item()
        if gap > 3e-3:
            break
        seed += 1
    logp = torch.log_softmax(logits, dim=-1)
    picked = [logp[p, ids[p + 1]].item() for p in positions]
    alt = torch.log_softmax(score(model, ids, torch.float32)[0].double(), dim=-1)
    noise = max(abs(alt[p, ids[p + 1]].item() - v) for p, v in zip(positions, picked))
    assert noise < 5e-5, f"float32 and float64 differ by {noise}"
    doc = {
        "_comment": f"{title}. Written by tests/data/make_logits.py with transformers {transformers.__version__}, torch "
        f"{torch.__version__.split('+')[0]}, gguf {GGUF_VERSION}; see there for what each field holds.",
        "file": path.with_suffix(".gguf").name,
        "ids": ids,
        "positions": positions,
        "next_logprobs": [round(v, 7) for v in picked],
        "rows": {str(p): [round(v, 6) for v in logits[p].tolist()] for p in rows},
    }
    if layers:
        doc["layers"] = {str(p): [[round(v, 6) for v in s[p].tolist()] for s in streams] for p in layers}
    path.write_text(json.dumps(doc, separators=(",", ":")).replace('],"', '],\n"').replace('","', '",\n"') + "\n")
    print(f"{path.stem:22} {path.with_suffix('.gguf').stat().st_size:9} B  mean logprob {np.mean(picked):7.3f}  spread {logits.std():.2f}  "
          f"ids {seed}  expert gap {gap:.1e}  |f32-f64| {noise:.1e}", flush=True)


# --- the models ------------------------------------------------------------------------------------------------------------------

SCOUT_ROPE = dict(rope_type="llama3", rope_theta=500000.0, factor=16.0, low_freq_factor=1.0, high_freq_factor=1.0, original_max_position_embeddings=8192)
LLAMA3_ROPE = dict(SCOUT_ROPE, factor=32.0, high_freq_factor=4.0)
PLAIN_ROPE = dict(rope_type="default", rope_theta=500000.0)
GGUF_VERSION = __import__("importlib.metadata", fromlist=["version"]).version("gguf")


def llama4(seed, **options):
    c = Llama4TextConfig(vocab_size=VOCAB, attn_implementation="eager", **dict(dict(head_dim=32), **options))
    return randomize(Llama4ForCausalLM(c), seed)


def llama3(seed, **options):
    c = LlamaConfig(vocab_size=VOCAB, attn_implementation="eager", rms_norm_eps=1e-5, **options)
    return randomize(LlamaForCausalLM(c), seed)


def scout(seed):
    return llama4(seed, hidden_size=64, intermediate_size=32, intermediate_size_mlp=64, num_hidden_layers=8, num_attention_heads=4,
                  num_key_value_heads=2, num_local_experts=4, rope_parameters=SCOUT_ROPE, max_position_embeddings=10485760)


def maverick(seed):
    return llama4(seed, hidden_size=32, intermediate_size=32, intermediate_size_mlp=96, num_hidden_layers=4, num_attention_heads=4,
                  num_key_value_heads=1, num_local_experts=128, interleave_moe_layer_step=2, use_qk_norm=False,
                  rope_parameters=PLAIN_ROPE, max_position_embeddings=1048576)


def dense(seed, tied=False):
    return llama3(seed, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                  rope_parameters=LLAMA3_ROPE, max_position_embeddings=131072, tie_word_embeddings=tied)


def long(seed, **options):
    return llama4(seed, **dict(dict(hidden_size=32, intermediate_size=32, intermediate_size_mlp=32, num_hidden_layers=4,
                  num_attention_heads=2, num_key_value_heads=1, num_local_experts=2, rope_parameters=SCOUT_ROPE,
                  max_position_embeddings=10485760), **options))


def guard4(seed, **options):
    """A dense relative: no experts, no chunks (null in its config), its flags its own."""
    return llama4(seed, **dict(dict(hidden_size=64, intermediate_size=64, intermediate_size_mlp=96, num_hidden_layers=5, num_attention_heads=4,
                  num_key_value_heads=2, num_local_experts=0, moe_layers=[], attention_chunk_size=None, rope_parameters=SCOUT_ROPE,
                  max_position_embeddings=163840), **options))


def behemoth(seed, **options):
    """Shapes of nobody's: dimensions, period and layers from the file alone."""
    return llama4(seed, **dict(dict(hidden_size=64, intermediate_size=32, intermediate_size_mlp=96, num_hidden_layers=5, head_dim=64,
                  num_attention_heads=3, num_key_value_heads=1, num_local_experts=16, interleave_moe_layer_step=3,
                  no_rope_layers=[0, 1, 1, 0, 1], use_qk_norm=False, attention_chunk_size=24, floor_scale=16, attn_scale=0.2,
                  rope_parameters=dict(PLAIN_ROPE, rope_theta=1000000.0), rms_norm_eps=1e-6, max_position_embeddings=65536), **options))


BEHEMOTH_KEYS = {"attention.rope_layers": [False, True, True, False, True], "use_qk_norm": False, "attention.chunk_size": 24,
                 "attention.temperature_length": 16, "attention.temperature_scale": 0.2}


def kmix(seed):
    return llama4(seed, hidden_size=256, intermediate_size=256, intermediate_size_mlp=256, num_hidden_layers=2, num_attention_heads=2,
                  num_key_value_heads=1, num_local_experts=2, interleave_moe_layer_step=2, rope_parameters=SCOUT_ROPE,
                  max_position_embeddings=10485760)


def kmix_kind(name):
    """As llama.cpp's mixes go: most at four bits, down projections and the output at six, small matrices at sixteen."""
    if "attn_output" in name or "attn_k" in name:
        return T.BF16
    if "attn_v" in name:
        return T.F16
    return T.Q6_K if "down" in name or name == "output.weight" else T.Q4_K


def one(name, model, title, kinds=lambda n: T.F32, extra={}, seed=7, count=72, positions=None, rows=(0, 1, 7), layers=()):
    if len(sys.argv) > 1 and name not in sys.argv[1:]:
        return
    positions = positions or list(range(count - 1))
    write_gguf(OUT / f"{name}.gguf", model, name, kinds, extra)
    write_expected(OUT / f"{name}.json", model, seed, count, positions, title, [*rows, positions[-1]], layers)


def main():
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    for kind in (T.F32, T.Q8_0, T.Q4_0):
        tag, keep = kind.name.lower(), (lambda n, k=kind: k)
        one(f"scout-{tag}", scout(1), "Scout's shape, tiny: experts in every block, QK norm, RoPE divisors 1 and 16", keep,
            layers=(0, 1, 7, 71) if kind == T.F32 else ())
        many = "Maverick's shape, tiny: 128 experts in every other block, no QK norm, no RoPE scaling"
        if kind == T.F32:  # the routed experts at half the bytes; what Hugging Face computes on is the F16 value
            one("maverick-f16", maverick(2), many + "; routed experts F16, the rest F32", lambda n: T.F16 if "exps" in n else T.F32)
        else:
            one(f"maverick-{tag}", maverick(2), many, keep)
        one(f"llama3-{tag}", dense(3), "Llama 3's shape, tiny: dense, RoPE scaling 32/1/4", keep)
        one("guard4-f16" if kind == T.F32 else f"guard4-{tag}", guard4(10, floor_scale=8), "Llama Guard 4's kind, tiny: dense, no chunk, every fourth layer without RoPE, QK norm",
            lambda n: T.F16 if kind == T.F32 else kind,
            extra={"attention.chunk_size": 0, "attention.temperature_length": 8, "use_qk_norm": True})
        one("behemoth-f16" if kind == T.F32 else f"behemoth-{tag}", behemoth(11),
            "Sixteen experts in every third block, layers without RoPE where the file lists them, chunks of 24",
            lambda n: T.F16 if kind == T.F32 else kind, extra=BEHEMOTH_KEYS)
    one("mobile-q8_0", guard4(12, tie_word_embeddings=True, no_rope_layers=[1] * 5, rope_parameters=PLAIN_ROPE),
        "MobileLLM's kind as llama.cpp writes it: dense, tied, all layers rotate because sliding_window is 0", lambda n: T.Q8_0,
        extra={"attention.sliding_window": 0})
    one("mobile-f16", guard4(13, tie_word_embeddings=True, no_rope_layers=[1] * 5, rope_parameters=PLAIN_ROPE), "The same in F16", lambda n: T.F16,
        extra={"attention.sliding_window": 0})
    one("two-experts-f16", behemoth(14, num_experts_per_tok=2, num_local_experts=5, num_hidden_layers=3, no_rope_layers=[1, 0, 1], interleave_moe_layer_step=1),
        "Two of five experts for each token", lambda n: T.F16, extra=dict(BEHEMOTH_KEYS, **{"attention.rope_layers": [True, False, True]}))
    one("llama31-q8_0", llama3(15, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=1,
        rope_parameters=dict(LLAMA3_ROPE, factor=8.0), max_position_embeddings=131072), "Llama 3.1 and Llama Guard 3 8B: RoPE scaling 8/1/4", lambda n: T.Q8_0)
    one("llama3-tied-q8_0", dense(4, tied=True), "As llama3-q8_0, the embedding used as output too", lambda n: T.Q8_0)
    one("scout-kmix", kmix(5), "Q4_K, Q6_K, F16 and BF16 in one file; a dense and an expert block", kmix_kind)
    # Keys that real files lack: chunk and temperature short enough to matter in 72 tokens, and no QK norm.
    one("scout-chunk16", long(6, attention_chunk_size=16, floor_scale=8, attn_scale=0.3, use_qk_norm=False),
        "Chunks of 16, temperature 0.3 from position 7 on, QK norm switched off by its key",
        extra={"attention.chunk_size": 16, "attention.temperature_length": 8, "attention.temperature_scale": 0.3, "use_qk_norm": False})
    one("scout-long", long(8, num_attention_heads=1), "Past the chunk of 8192: positions on both sides of it",
        seed=9, count=8300, positions=[0, 1, 7, 100, *range(8185, 8200), 8250, 8298], rows=(8190, 8191, 8192, 8193))


if __name__ == "__main__":
    main()
