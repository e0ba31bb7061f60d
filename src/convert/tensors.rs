//! A decoder's tensors: their names in Hugging Face's files and in ours, and the change of layout between.

use std::collections::HashSet;

use super::config::{Config, Llama4};
use super::pieces::Made;
use super::shards::{Shards, Stored};
use super::types::{EMBEDDING, OUTPUT};
use super::view::{Order, View};
use crate::error::{Error, Result};
use crate::model::Architecture;

/// What stands before the decoder's names, in the exports that occur.
const PREFIXES: [&str; 4] = ["language_model.model.", "model.language_model.", "model.", ""];
const OUTPUTS: [&str; 4] = ["language_model.lm_head.weight", "lm_head.weight", "model.lm_head.weight", "output.weight"];
/// What belongs to the vision tower, which has a file of its own.
const VISION: [&str; 4] =
    ["vision_model.", "multi_modal_projector.", "model.vision_model.", "model.multi_modal_projector."];

/// One tensor of the new file: its name, its dimensions in ggml's order, and where its values lie.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) name: String,
    pub(super) dims: Vec<u64>,
    pub(super) made: Made,
}

/// The decoder's tensors in the order in which they are written.
pub(super) fn decoder(shards: &Shards, config: &Config) -> Result<Vec<Mapped>> {
    let embedding = |prefix: &&str| shards.get(&format!("{prefix}embed_tokens.weight")).is_some();
    let prefix = PREFIXES.into_iter().find(embedding);
    let prefix =
        prefix.ok_or_else(|| Error::corrupt("tensor embed_tokens.weight is missing under every known name"))?;
    let mut map = Mapper { shards, config, used: HashSet::new(), out: vec![] };
    let (width, vocab) = (u64::from(config.width), u64::from(config.vocab));
    if let Some(divisors) = &config.divisors {
        let dims = vec![divisors.len() as u64];
        map.out.push(Mapped { name: "rope_freqs.weight".into(), dims, made: Made::Values(divisors.clone()) });
    }
    map.matrix(EMBEDDING, &format!("{prefix}embed_tokens.weight"), vocab, width, Order::Rows)?;
    for l in 0..config.layers {
        map.layer(l, &format!("{prefix}layers.{l}."))?;
    }
    map.vector("output_norm.weight", &format!("{prefix}norm.weight"), width)?;
    let output = OUTPUTS.into_iter().find(|name| shards.get(name).is_some());
    match output {
        Some(name) if !config.tied => map.matrix(OUTPUT, name, vocab, width, Order::Rows)?,
        // Some exports of tied models hold the same matrix twice.
        Some(name) => drop(map.used.insert(name.to_owned())),
        None if config.tied => {}
        None => return Err(Error::corrupt("tensor lm_head.weight is missing, and tie_word_embeddings is not set")),
    }
    map.check_all_used()?;
    Ok(map.out)
}

struct Mapper<'a> {
    shards: &'a Shards,
    config: &'a Config,
    used: HashSet<String>,
    out: Vec<Mapped>,
}

impl<'a> Mapper<'a> {
    fn find(&mut self, name: &str, shape: &[u64]) -> Result<&'a Stored> {
        let stored = self.shards.get(name).ok_or_else(|| Error::corrupt(format!("tensor {name} is missing")))?;
        if stored.shape != shape {
            return Err(Error::corrupt(format!("tensor {name}: shape {:?}, expected {shape:?}", stored.shape)));
        }
        self.used.insert(name.to_owned());
        Ok(stored)
    }

    fn push(&mut self, name: &str, dims: &[u64], views: Vec<View>) {
        self.out.push(Mapped { name: name.to_owned(), dims: dims.to_vec(), made: Made::Views(views) });
    }

    fn vector(&mut self, ours: &str, theirs: &str, len: u64) -> Result<()> {
        let stored = self.find(theirs, &[len])?;
        self.push(ours, &[len], vec![view(stored, 0, 1, len, Order::Rows)]);
        Ok(())
    }

    fn matrix(&mut self, ours: &str, theirs: &str, rows: u64, cols: u64, order: Order) -> Result<()> {
        let stored = self.find(theirs, &[rows, cols])?;
        self.push(ours, &[cols, rows], vec![view(stored, 0, rows, cols, order)]);
        Ok(())
    }

    fn layer(&mut self, l: u32, theirs: &str) -> Result<()> {
        let (c, ours) = (self.config, format!("blk.{l}."));
        let (width, dim) = (u64::from(c.width), u64::from(c.head_dim));
        let (q, kv) = (u64::from(c.heads) * dim, u64::from(c.kv_heads) * dim);
        let turned = if c.architecture == Architecture::Llama { Order::Heads { dim } } else { Order::Rows };
        let name = |part: &str| (format!("{ours}{part}.weight"), format!("{theirs}self_attn."));
        self.vector(&format!("{ours}attn_norm.weight"), &format!("{theirs}input_layernorm.weight"), width)?;
        for (part, proj, rows, cols, order) in [
            ("attn_q", "q_proj", q, width, turned),
            ("attn_k", "k_proj", kv, width, turned),
            ("attn_v", "v_proj", kv, width, Order::Rows),
            ("attn_output", "o_proj", width, q, Order::Rows),
        ] {
            let (ours, theirs) = name(part);
            self.matrix(&ours, &format!("{theirs}{proj}.weight"), rows, cols, order)?;
        }
        self.vector(&format!("{ours}ffn_norm.weight"), &format!("{theirs}post_attention_layernorm.weight"), width)?;
        match &c.llama4 {
            Some(llama4) if llama4.has_experts(l) => self.experts(&ours, &format!("{theirs}feed_forward."), llama4),
            Some(_) => self.mlp(&ours, &format!("{theirs}feed_forward."), "", u64::from(c.ffn)),
            None => self.mlp(&ours, &format!("{theirs}mlp."), "", u64::from(c.ffn)),
        }
    }

    fn mlp(&mut self, ours: &str, theirs: &str, suffix: &str, ffn: u64) -> Result<()> {
        let width = u64::from(self.config.width);
        for (part, rows, cols) in [("gate", ffn, width), ("up", ffn, width), ("down", width, ffn)] {
            let ours = format!("{ours}ffn_{part}{suffix}.weight");
            self.matrix(&ours, &format!("{theirs}{part}_proj.weight"), rows, cols, Order::Rows)?;
        }
        Ok(())
    }

    /// A layer with experts. `theirs` ends in `feed_forward.`.
    fn experts(&mut self, ours: &str, theirs: &str, c: &Llama4) -> Result<()> {
        let (width, ffn, count) = (u64::from(self.config.width), u64::from(c.expert_ffn), u64::from(c.experts));
        let router = format!("{theirs}router.weight");
        self.matrix(&format!("{ours}ffn_gate_inp.weight"), &router, count, width, Order::Rows)?;
        let experts = format!("{theirs}experts.");
        for (part, rows, cols) in [("gate", ffn, width), ("up", ffn, width), ("down", width, ffn)] {
            let views = self.stack(&experts, part, count, rows, cols)?;
            self.push(&format!("{ours}ffn_{part}_exps.weight"), &[cols, rows, count], views);
        }
        self.mlp(ours, &format!("{theirs}shared_expert."), "_shexp", ffn)
    }

    /// The matrices `(rows, cols)` of all experts, in whichever of the layouts that occur they are.
    fn stack(&mut self, experts: &str, part: &str, count: u64, rows: u64, cols: u64) -> Result<Vec<View>> {
        let own = format!("{experts}{part}_proj");
        let fused = format!("{experts}gate_up_proj");
        let half = u64::from(part == "up") * rows;
        let there = |name: &str| self.shards.get(name).is_some();
        if part != "down" && there(&fused) {
            // A parameter used as x·W: columns are gate's, then up's.
            let stored = self.find(&fused, &[count, cols, 2 * rows])?;
            let one = |e| view(stored, e * cols * 2 * rows + half, rows, cols, Order::Columns { stride: 2 * rows });
            return Ok((0..count).map(one).collect());
        }
        let fused_linear = format!("{fused}.weight");
        if part != "down" && there(&fused_linear) {
            let stored = self.find(&fused_linear, &[count, 2 * rows, cols])?;
            return Ok((0..count)
                .map(|e| view(stored, (e * 2 * rows + half) * cols, rows, cols, Order::Rows))
                .collect());
        }
        if there(&own) {
            let stored = self.find(&own, &[count, cols, rows])?;
            let one = |e| view(stored, e * cols * rows, rows, cols, Order::Columns { stride: rows });
            return Ok((0..count).map(one).collect());
        }
        let linear = format!("{own}.weight");
        if there(&linear) {
            let stored = self.find(&linear, &[count, rows, cols])?;
            return Ok((0..count).map(|e| view(stored, e * rows * cols, rows, cols, Order::Rows)).collect());
        }
        let each = |e: u64| format!("{experts}{e}.{part}_proj.weight");
        if !there(&each(0)) {
            return Err(Error::corrupt(format!(
                "tensor {own} is missing: neither fused, nor stacked, nor one tensor for each expert"
            )));
        }
        (0..count).map(|e| Ok(view(self.find(&each(e), &[rows, cols])?, 0, rows, cols, Order::Rows))).collect()
    }

    /// A tensor that nothing here takes would be silently dropped, and the model would compute something else.
    fn check_all_used(&self) -> Result<()> {
        let known = |name: &str| {
            self.used.contains(name) || name.ends_with(".inv_freq") || VISION.iter().any(|v| name.starts_with(v))
        };
        let Some(first) = self.shards.names().filter(|name| !known(name)).min() else { return Ok(()) };
        let more = self.shards.names().filter(|name| !known(name)).count() - 1;
        Err(Error::unsupported(format!(
            "tensor {first} (and {more} more) is no part of a {} as config.json describes it",
            self.config.architecture.name()
        )))
    }
}

/// `rows × cols` values of a stored tensor from value `first` on. Shapes were compared, so products fit.
pub(super) fn view(stored: &Stored, first: u64, rows: u64, cols: u64, order: Order) -> View {
    let offset = stored.offset.saturating_add(first.saturating_mul(stored.ty.block_bytes() as u64));
    View { part: stored.part, offset, ty: stored.ty, rows, cols, order }
}
