//! The forward pass once more, plain and slow: f32 values, f64 sums, one token after the other, no code shared with `src/`.
//!
//! It reads a GGUF file of architecture `llama4` or `llama` and gives the residual stream after every block and the logits
//! of every position. It is compared with Hugging Face by `tests/oracle.rs` and then serves to find where the engine departs.

mod gguf;

use std::collections::HashMap;
use std::path::Path;

/// A model with all weights unpacked to f32.
pub(crate) struct Model {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    blocks: usize,
    eps: f64,
    theta: f64,
    chunk: usize,
    /// For each block, whether it rotates queries and keys.
    rotated: Vec<bool>,
    /// Experts that one token uses.
    used: usize,
    floor_scale: f64,
    attn_scale: f64,
    qk_norm: bool,
    tensors: HashMap<String, gguf::Tensor>,
}

/// What a forward pass leaves behind.
pub(crate) struct Trace {
    /// `streams[0]` is the embedding, `streams[l + 1]` the residual stream after block l, the last one the final norm: (tokens, width).
    pub(crate) streams: Vec<Vec<Vec<f32>>>,
    /// (tokens, vocabulary)
    pub(crate) logits: Vec<Vec<f32>>,
}

impl Trace {
    /// The log-probability of each id after the first, given those before it.
    pub(crate) fn next_logprobs(&self, ids: &[u32]) -> Vec<f64> {
        ids.iter().skip(1).zip(&self.logits).map(|(&id, row)| log_softmax(row, id as usize)).collect()
    }
}

/// ln of the softmax of `row` at `at`.
pub(crate) fn log_softmax(row: &[f32], at: usize) -> f64 {
    let top = row.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = row.iter().map(|&v| f64::from(v - top).exp()).sum();
    f64::from(row[at] - top) - sum.ln()
}

impl Model {
    pub(crate) fn load(path: &Path) -> Model {
        let (meta, tensors) = gguf::read(path);
        let arch = meta.text("general.architecture").expect("an architecture");
        let llama4 = match arch {
            "llama4" => true,
            "llama" => false,
            other => panic!("the reference knows llama4 and llama, not {other}"),
        };
        let num = |key: &str| meta.number(&format!("{arch}.{key}"));
        let count = |key: &str| num(key).map(|v| v as usize);
        let heads = count("attention.head_count").expect("head count");
        let width = count("embedding_length").expect("width");
        let blocks = count("block_count").expect("block count");
        // llama.cpp marks dense relatives whose blocks all rotate by a sliding window of 0.
        let every = if !llama4 || count("attention.sliding_window") == Some(0) { usize::MAX } else { 4 };
        let rotated = match meta.flags(&format!("{arch}.attention.rope_layers")) {
            Some(listed) => listed.to_vec(),
            None => (1..=blocks).map(|l| !l.is_multiple_of(every)).collect(),
        };
        Model {
            heads,
            kv_heads: count("attention.head_count_kv").unwrap_or(heads),
            head_dim: count("attention.key_length").unwrap_or(width / heads),
            blocks,
            eps: num("attention.layer_norm_rms_epsilon").expect("eps"),
            theta: num("rope.freq_base").unwrap_or(10000.0),
            // Real files leave these out; what holds then is the architecture's own.
            chunk: match count("attention.chunk_size").or(count("attention.sliding_window")) {
                _ if !llama4 => usize::MAX,
                Some(0) => usize::MAX,
                Some(chunk) => chunk,
                None => 8192,
            },
            rotated,
            used: count("expert_used_count").unwrap_or(1),
            floor_scale: num("attention.temperature_length").unwrap_or(8192.0),
            attn_scale: num("attention.temperature_scale").unwrap_or(0.1),
            qk_norm: llama4 && num("use_qk_norm").map_or(count("expert_count") != Some(128), |flag| flag != 0.0),
            tensors,
        }
    }

    /// Runs all of `ids` from position 0.
    pub(crate) fn forward(&self, ids: &[u32]) -> Trace {
        let embd = self.tensor("token_embd.weight");
        let mut x: Vec<Vec<f32>> = ids.iter().map(|&id| embd.row(id as usize).to_vec()).collect();
        let mut streams = vec![x.clone()];
        for l in 0..self.blocks {
            let attn = self.attention(l, &self.normed(&x, &format!("blk.{l}.attn_norm.weight")));
            add(&mut x, &attn);
            let ffn: Vec<_> =
                self.normed(&x, &format!("blk.{l}.ffn_norm.weight")).iter().map(|h| self.ffn(l, h)).collect();
            add(&mut x, &ffn);
            streams.push(x.clone());
        }
        let last = self.normed(&x, "output_norm.weight");
        let output = self.tensors.get("output.weight").unwrap_or(embd);
        let logits = last.iter().map(|h| output.times(h)).collect();
        streams.push(last);
        Trace { streams, logits }
    }

    fn tensor(&self, name: &str) -> &gguf::Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// w ⊙ x / √(mean x² + eps), row by row.
    fn normed(&self, x: &[Vec<f32>], weight: &str) -> Vec<Vec<f32>> {
        let w = self.tensor(weight).row(0);
        x.iter().map(|row| rms(row, self.eps).iter().zip(w).map(|(v, w)| v * w).collect()).collect()
    }

    /// The attention half of block `l` for every row of `x`, without the residual.
    fn attention(&self, l: usize, x: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let part = |n: &str| self.tensor(&format!("blk.{l}.attn_{n}.weight"));
        let rope = self.rotated[l];
        let (wq, wk, wv) = (part("q"), part("k"), part("v"));
        let keys: Vec<Vec<f32>> = x.iter().enumerate().map(|(p, row)| self.placed(wk.times(row), p, rope)).collect();
        let values: Vec<Vec<f32>> = x.iter().map(|row| wv.times(row)).collect();
        let one = |p: usize| {
            let mut q = self.placed(wq.times(&x[p]), p, rope);
            if !rope {
                let s = 1.0 + self.attn_scale * ((p as f64 + 1.0) / self.floor_scale).floor().ln_1p();
                q.iter_mut().for_each(|v| *v = (f64::from(*v) * s) as f32);
            }
            let first = if rope { p - p % self.chunk } else { 0 };
            part("output").times(&self.mixed(&q, &keys[first..=p], &values[first..=p]))
        };
        in_two_threads(x.len(), one)
    }

    /// Rotates the heads of a query or key to position `p` and normalizes them, where the layer does so.
    fn placed(&self, mut heads: Vec<f32>, p: usize, rope: bool) -> Vec<f32> {
        if !rope {
            return heads;
        }
        let divisors = self.tensors.get("rope_freqs.weight").map(|t| t.row(0));
        for head in heads.chunks_exact_mut(self.head_dim) {
            for i in 0..self.head_dim / 2 {
                let angle = p as f64 * self.theta.powf(-2.0 * i as f64 / self.head_dim as f64)
                    / divisors.map_or(1.0, |d| f64::from(d[i]));
                let (a, b) = (f64::from(head[2 * i]), f64::from(head[2 * i + 1]));
                head[2 * i] = (a * angle.cos() - b * angle.sin()) as f32;
                head[2 * i + 1] = (a * angle.sin() + b * angle.cos()) as f32;
            }
            if self.qk_norm {
                head.copy_from_slice(&rms(head, self.eps));
            }
        }
        heads
    }

    /// Softmax attention of one token's query heads over the visible keys: (heads · head_dim).
    fn mixed(&self, q: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>]) -> Vec<f32> {
        let d = self.head_dim;
        let mut out = Vec::with_capacity(q.len());
        for (h, q) in q.chunks_exact(d).enumerate() {
            let at = h / (self.heads / self.kv_heads) * d;
            let scores: Vec<f64> = keys.iter().map(|k| dot(q, &k[at..at + d]) / (d as f64).sqrt()).collect();
            let top = scores.iter().copied().fold(f64::MIN, f64::max);
            let mut sum = 0.0;
            let mut acc = vec![0.0; d];
            for (s, v) in scores.iter().zip(values) {
                let e = (s - top).exp();
                sum += e;
                for (a, v) in acc.iter_mut().zip(&v[at..at + d]) {
                    *a += e * f64::from(*v);
                }
            }
            out.extend(acc.iter().map(|a| (a / sum) as f32));
        }
        out
    }

    /// The feed-forward half of block `l` for one normed row, without the residual.
    fn ffn(&self, l: usize, x: &[f32]) -> Vec<f32> {
        let part = |n: &str| self.tensor(&format!("blk.{l}.ffn_{n}.weight"));
        if !self.tensors.contains_key(&format!("blk.{l}.ffn_gate_inp.weight")) {
            return swiglu(x, part("gate"), part("up"), part("down"), 0);
        }
        let router = part("gate_inp").times(x);
        let mut order: Vec<usize> = (0..router.len()).collect();
        order.sort_by(|a, b| router[*b].total_cmp(&router[*a])); // stable: among equals the lowest index
        let mut y = swiglu(x, part("gate_shexp"), part("up_shexp"), part("down_shexp"), 0);
        for &e in &order[..self.used] {
            // A chosen expert reads the input times the sigmoid of its own logit; the shared expert reads it as it is.
            let sigma = 1.0 / (1.0 + (-f64::from(router[e])).exp());
            let scaled: Vec<f32> = x.iter().map(|v| (f64::from(*v) * sigma) as f32).collect();
            let routed = swiglu(&scaled, part("gate_exps"), part("up_exps"), part("down_exps"), e);
            y.iter_mut().zip(routed).for_each(|(y, r)| *y += r);
        }
        y
    }
}

/// down · (silu(gate · x) ⊙ (up · x)) with matrix `e` of each stack.
fn swiglu(x: &[f32], gate: &gguf::Tensor, up: &gguf::Tensor, down: &gguf::Tensor, e: usize) -> Vec<f32> {
    let silu = |v: f32| (f64::from(v) / (1.0 + (-f64::from(v)).exp())) as f32;
    let inner: Vec<f32> = gate.times_of(e, x).into_iter().zip(up.times_of(e, x)).map(|(g, u)| silu(g) * u).collect();
    down.times_of(e, &inner)
}

fn rms(x: &[f32], eps: f64) -> Vec<f32> {
    let scale = (dot(x, x) / x.len() as f64 + eps).sqrt().recip();
    x.iter().map(|v| (f64::from(*v) * scale) as f32).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0; 8]; // so that the long sequence takes seconds
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
            *s += f64::from(*a) * f64::from(*b);
        }
    }
    sums.iter().sum()
}

fn add(x: &mut [Vec<f32>], y: &[Vec<f32>]) {
    for (x, y) in x.iter_mut().flatten().zip(y.iter().flatten()) {
        *x += y;
    }
}

/// `one(0)`, `one(1)`, … in order, the even ones and the odd ones in a thread each.
fn in_two_threads(n: usize, one: impl Fn(usize) -> Vec<f32> + Sync) -> Vec<Vec<f32>> {
    let half = |start: usize| (start..n).step_by(2).map(&one).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let odd = scope.spawn(|| half(1));
        let mut even = half(0).into_iter();
        let mut odd = odd.join().expect("the other half").into_iter();
        (0..n).filter_map(|i| if i % 2 == 0 { even.next() } else { odd.next() }).collect()
    })
}
