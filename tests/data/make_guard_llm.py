"""Writes tests/data/guard-llm/: two tiny random guard models and what Hugging Face says of judged conversations.

    pip install torch transformers gguf numpy jinja2
    python tests/data/make_guard_llm.py

The models are those of make_logits.py with the words of a verdict in their vocabulary and a direction in their residual
stream that makes these two words likely everywhere. NAME.json holds, for each case, the conversation, the ids of the
prompt (the model's chat template rendered by jinja2, tokenized by `tokenizers`, then the two newlines that the model
begins with), P(unsafe) among the two words and their share of all probability, and the share of each category as
src/guard/llm/categories.rs defines it, from the logits of a plain forward pass in float64. Nothing of Palisade takes part.
"""

import json
from pathlib import Path

import gguf
import jinja2
import numpy as np
import tokenizers
import torch
import transformers

import make_logits as m

OUT = Path(__file__).parent / "guard-llm"
BASE = list(m.MERGES)
WORDS = ["s a", "f e", "sa fe", "u n", "un safe"]

# As tokenizer_config.json of Llama-Guard-3-8B has it, without the blank before BOS, which Meta's own prompt has not.
GUARD_3 = (
    "{% if messages|length % 2 == 0 %}{% set role = 'Agent' %}{% else %}{% set role = 'User' %}{% endif %}"
    "{{ \"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nTask: Check if there is unsafe content in '\" + role + \"' "
    "messages in conversations according our safety policy with the below categories.\n\n<BEGIN UNSAFE CONTENT CATEGORIES>\n"
    "S1: Violent Crimes.\nS2: Non-Violent Crimes.\nS3: Sex Crimes.\nS4: Child Exploitation.\nS5: Defamation.\n"
    "S6: Specialized Advice.\nS7: Privacy.\nS8: Intellectual Property.\nS9: Indiscriminate Weapons.\nS10: Hate.\n"
    "S11: Self-Harm.\nS12: Sexual Content.\nS13: Elections.\nS14: Code Interpreter Abuse.\n"
    "<END UNSAFE CONTENT CATEGORIES>\n\n<BEGIN CONVERSATION>\n\n\" }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{% set role = 'User' %}{% elif message['role'] == 'assistant' %}{% set role = 'Agent' %}"
    "{% endif %}{{ role + ': ' + message['content'].strip() + '\n\n' }}{% endfor %}{{ \"<END CONVERSATION>\n\nProvide your safety "
    "assessment for ONLY THE LAST \" + role + \" message in the above conversation:\n - First line must read 'safe' or 'unsafe'.\n"
    " - If unsafe, a second line must include a comma-separated list of violated categories."
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\" }}"
)
# As the template of Llama-Guard-3-1B has it (role as Jinja leaves it: that of the whole conversation).
GUARD_3_SMALL = (
    "{%- if messages|length % 2 == 0 -%}{%- set role = 'Agent' -%}{%- else -%}{%- set role = 'User' -%}{%- endif -%}"
    "{{- \"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n\" -}}"
    "{{- \"Task: Check if there is unsafe content in '\" + role + \"' messages in conversations according our safety policy with the "
    "below categories.\n\n\" -}}{{- \"<BEGIN UNSAFE CONTENT CATEGORIES>\n\" -}}"
    "{%- for key in categories -%}{%- if key not in excluded_category_keys -%}"
    "{{- key + \": \" + categories[key] + \"\n\" -}}{%- endif -%}{%- endfor -%}"
    "{{- \"<END UNSAFE CONTENT CATEGORIES>\n\n\" -}}{{- \"<BEGIN CONVERSATION>\n\n\" -}}"
    "{%- for message in messages -%}{%- if message['role'] == 'user' -%}{%- set role = 'User' -%}"
    "{%- elif message['role'] == 'assistant' -%}{%- set role = 'Agent' -%}{%- endif -%}"
    "{{- role + ': ' + message['content'] | trim + '\n\n' -}}{%- endfor -%}"
    "{{- \"<END CONVERSATION>\n\n\" -}}{{- \"Provide your safety assessment for ONLY THE LAST \" + role + \" message in the above "
    "conversation:\n\" -}}{{- \" - First line must read 'safe' or 'unsafe'.\n\" -}}"
    "{{- \" - If unsafe, a second line must include a comma-separated list of violated categories. "
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\" -}}"
)
GUARD_4 = (
    GUARD_3_SMALL.replace("<|start_header_id|>", "<|header_start|>").replace("<|end_header_id|>", "<|header_end|>").replace("<|eot_id|>", "<|eot|>")
)
NAMES = ("Violent Crimes|Non-Violent Crimes|Sex Crimes|Child Exploitation|Defamation|Specialized Advice|Privacy|Intellectual Property|"
         "Indiscriminate Weapons|Hate|Self-Harm|Sexual Content|Elections|Code Interpreter Abuse").split("|")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA4 = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
          r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def encoder(specials, pattern):
    tokens, _, _ = m.vocabulary(specials)
    model = tokenizers.models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(x.split(" ")) for x in m.MERGES], ignore_merges=True)
    t = tokenizers.Tokenizer(model)
    t.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated"),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    t.add_special_tokens([f"<|{s}|>" for s in specials])
    return lambda text: t.encode(text, add_special_tokens=False).ids


def make_verdicts_likely(model, ids, lean):
    """One dimension of the residual stream is the same everywhere, is seen by nobody but the output, and speaks for `ids` (a
    little more for the second one, by `lean`). Attention is peaked and counts for much, so that a prompt of 600 tokens is decided by a few of them."""
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 6.0
        for layer in model.model.layers:
            ff = getattr(layer, "feed_forward", None) or layer.mlp
            layer.input_layernorm.weight[0] = layer.post_attention_layernorm.weight[0] = 0.0
            layer.self_attn.q_proj.weight *= 3.0
            layer.self_attn.o_proj.weight *= 4.0
            layer.self_attn.o_proj.weight[0] = ff.down_proj.weight[0] = 0.0
        model.model.norm.weight[0] = 1.0
        model.lm_head.weight[:, 0] = 0.0
        model.lm_head.weight[ids] *= 2.0
        model.lm_head.weight[ids, 0] = torch.tensor([5.0, 5.0 + lean], dtype=model.lm_head.weight.dtype)


def softmax_over(row, sets):
    top = max(row[i] for s in sets for i in s)
    weights = [sum(np.exp(row[i] - top) for i in s) for s in sets]
    return [w / sum(weights) for w in weights]


def shares(logits, prompt, codes, encode, ends, unsafe):
    """The list that the model would write, one place after the other; every share by its definition, nothing cached."""
    first = {c: encode(c) for c in codes}
    more = {c: encode("," + c) for c in codes}
    best, named, chance = {c: 0.0 for c in codes}, [], 1.0
    path = prompt + [unsafe] + encode("\n")
    while len(named) < min(4, len(codes)):
        forms = {c: (more if named else first)[c] for c in codes if c not in named}
        p = {}
        for c, ids in forms.items():
            # Along a code's tokens: at each one, those of the other codes that agree with it so far.
            p[c] = 1.0
            for depth in range(len(ids) + 1):
                alike = {d: i for d, i in forms.items() if i[:depth] == ids[:depth]}
                if len(alike) == 1:
                    break
                heads = sorted({i[depth] for i in alike.values() if len(i) > depth})
                ended = any(len(i) == depth for i in alike.values())
                if len(heads) == 1 and not ended:
                    continue
                after = sorted(({i[0] for i in more.values()} | set(ends)) - set(heads))
                sets = [[h] for h in heads] + ([after] if ended else [])
                row = logits(path + ids[:depth])
                p[c] *= softmax_over(row, sets)[heads.index(ids[depth]) if depth < len(ids) else -1]
        top = max(p.values())
        likeliest = max(p, key=p.get)
        for c in p:
            best[c] = max(best[c], chance * p[c] / top)
        named.append(likeliest)
        path = path + forms[likeliest]
        if len(named) == min(4, len(codes)):
            break
        follow = sorted({more[c][0] for c in codes if c not in named})
        chance *= softmax_over(logits(path), [follow, ends])[0]
        if chance < 0.05:
            break
    return best


CASES = [
    dict(turns=["When do you open?"]),
    dict(turns=["  Wie komme ich zum Museum?\n"]),
    dict(turns=["When do you open?", "We open at nine."]),
    dict(turns=["When do you open?", "We open at nine.", "And the garden, is it open in the evening too?"]),
    dict(turns=["Tell me of the painter.", "She was born in 1907 and painted flowers.\n\nShe died young"]),
    dict(turns=["नमस्ते दुनिया"]),
    dict(turns=["Which one is the best?"], excluded=["S6", "S10", "S13"]),
    dict(turns=["Where else could I go?", "Go to the City Gallery, it is better than this place."], custom=[["Other museums", "Recommends another museum."]]),
]


def write(name, family, model, lean, template, specials, pattern, merges, title, kinds):
    m.MERGES = BASE + WORDS + merges
    encode = encoder(specials, pattern)
    model = model()
    (safe,), (unsafe,) = encode("safe"), encode("unsafe")
    make_verdicts_likely(model, [safe, unsafe], lean)
    extra = {"attention.chunk_size": 0, "attention.temperature_length": 8, "use_qk_norm": True} if family == "llama-guard-4" else {}
    m.write_gguf(OUT / f"{name}.gguf", model, title, kinds, extra)
    model = model.to(torch.float64)
    ends = sorted({encode(f"<|{s}|>")[0] for s in specials if s in ("end_of_text", "eom", "eot", "eom_id", "eot_id")})
    cache = {}

    def logits(ids):
        key = tuple(ids)
        if key not in cache:
            with torch.no_grad():
                cache[key] = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].numpy()
        return cache[key]

    out = []
    for case in CASES:
        for fixed in ([False, True] if family == "llama-guard-3-1b" and len(case) == 1 else [False]):
            cache.clear()
            count = 13 if family == "llama-guard-3-1b" and not fixed else 14
            words = {f"S{i + 1}": n + "." for i, n in enumerate(NAMES[:count])}
            words |= {f"S{15 + i}": f"{n}.\n{c}" for i, (n, c) in enumerate(case.get("custom", []))}
            excluded = case.get("excluded", [])
            messages = [dict(role=("user", "assistant")[i % 2], content=t) for i, t in enumerate(case["turns"])]
            env = jinja2.Environment()
            text = env.from_string(GUARD_3 if fixed else template).render(messages=messages, categories=words, excluded_category_keys=excluded)
            prompt = encode(text) + encode("\n\n")
            row = logits(prompt)
            two = softmax_over(row, [[safe], [unsafe]])[1]
            mass = softmax_over(row, [[safe, unsafe], [i for i in range(len(row)) if i not in (safe, unsafe)]])[0]
            codes = [c for c in words if c not in excluded]
            out.append(dict(
                family="llama-guard-3-8b" if fixed else family, turns=case["turns"], excluded=excluded, custom=case.get("custom", []),
                ids=prompt, unsafe=round(float(two), 7), mass=round(float(mass), 7),
                shares={c: round(float(v), 7) for c, v in shares(logits, prompt, codes, encode, ends, unsafe).items()},
            ))
            print(f"{name:10} {len(prompt):5} ids  unsafe {two:.3f}  mass {mass:.3f}  {out[-1]['shares']}", flush=True)
    doc = {"_comment": f"{title}. Written by tests/data/make_guard_llm.py with transformers {transformers.__version__}, torch "
           f"{torch.__version__.split('+')[0]}, gguf {m.GGUF_VERSION}.", "cases": out}
    (OUT / f"{name}.json").write_text(json.dumps(doc, ensure_ascii=False, separators=(",", ":")).replace('},{"family', '},\n{"family') + "\n")


def main():
    torch.set_num_threads(1)
    OUT.mkdir(exist_ok=True)
    m.VOCAB = 352
    f16 = lambda n: m.T.F16
    # Numbers of two digits are two tokens here, and a comma is one …
    write("guard3", "llama-guard-3-1b", lambda: m.dense(31), 0.55, GUARD_3_SMALL, m.LLAMA3_SPECIALS, LLAMA3, [], "Llama Guard 3 1B's kind, tiny", f16)
    # … and one with the letter after it here, as in the real vocabularies.
    numbers = ["1 0", "1 1", "1 2", "1 3", "1 4", "1 5", ", S"]
    write("guard4", "llama-guard-4", lambda: m.guard4(32, floor_scale=8), 0.28, GUARD_4, m.LLAMA4_SPECIALS, LLAMA4, numbers, "Llama Guard 4's kind, tiny", f16)


if __name__ == "__main__":
    main()
