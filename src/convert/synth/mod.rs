//! Synthetic models: any shape, any type, random weights at the speed of the disk, routing that follows a law.

mod noise;
mod routing;
mod shape;
mod vocabulary;

use std::collections::HashMap;
use std::sync::Arc;

pub use routing::Routing;
pub use shape::Shape;

use self::noise::{Noise, OwnRows, Pool, mix};
use self::routing::{Part, Plan, Rows};
use super::config::Config;
use super::pieces::{Content, Made, Origin};
use super::types::{EMBEDDING, Misfits, OUTPUT, Types};
use super::{Conversion, keys};
use crate::error::{Error, Result};
use crate::gguf::Writer;
use crate::quant::BlockType;

/// What a synthetic model is to be.
#[derive(Debug, Clone)]
pub struct SynthOptions {
    /// Dimensions.
    pub shape: Shape,
    /// Block types. Where routing is written into the weights and the main type cannot hold it exactly and quickly, the
    /// embedding and layer 0's attention are Q8_0 unless said otherwise.
    pub types: Types,
    /// How tokens choose experts; dense shapes pay no heed to it.
    pub routing: Routing,
    /// The same seed gives the same bytes.
    pub seed: u64,
}

/// Standard deviations, in units of `1 / √columns`, under which activations and logits stay moderate at any depth.
const QUERY: f32 = 1.3;
const BRANCH: f32 = 0.5;
const LOGITS: f32 = 1.5;

pub(super) fn plan(options: &SynthOptions) -> Result<Conversion> {
    let shape = &options.shape;
    shape.check()?;
    let config = shape.config();
    let bos = vocabulary::bos(config.architecture, config.vocab);
    let layers = |l: &u32| config.llama4.as_ref().is_some_and(|c| c.has_experts(*l));
    let moe_layers = (0..config.layers).filter(layers).count();
    let routing = if moe_layers > 0 {
        Some(Arc::new(Plan::new(shape, options.routing, moe_layers, bos, mix(options.seed))?))
    } else {
        None
    };
    let mut writer = Writer::new();
    writer.set("general.architecture", config.architecture.name())?;
    writer.set("general.type", "model")?;
    writer.set("general.name", format!("synthetic {}", shape.name))?;
    writer.set("general.license", "cc0-1.0")?;
    writer.set("general.description", "Random weights for measuring speed; what it says means nothing.")?;
    keys::decoder(&mut writer, &config, options.types.main)?;
    vocabulary::set(&mut writer, config.architecture, config.vocab)?;
    let content = Content { origin: Origin::Nothing, made: vec![], importance: None };
    let key = format!("synth {shape:?} {:?} seed {} types {}", options.routing, options.seed, options.types.describe());
    let conversion = Conversion { writer, planned: vec![], content, key, notes: vec![] };
    let mut synth = Synth {
        conversion,
        config,
        types: sturdy(options, routing.as_deref()),
        seed: options.seed,
        routing,
        pools: HashMap::new(),
        misfits: Misfits::default(),
    };
    synth.model()?;
    synth.conversion.notes.extend(synth.misfits.notes());
    Ok(synth.conversion)
}

/// The types, with Q8_0 where routing needs it and nothing else was said.
fn sturdy(options: &SynthOptions, routing: Option<&Plan>) -> Types {
    let mut types = options.types.clone();
    let exact =
        matches!(types.main, BlockType::F32 | BlockType::F16 | BlockType::Bf16 | BlockType::Q8_0 | BlockType::Q4_0);
    let Some(routing) = routing.filter(|_| !exact) else { return types };
    types.embedding = types.embedding.or(Some(BlockType::Q8_0));
    if routing.is_sticky() {
        types.first_attention = Some(BlockType::Q8_0);
    }
    types
}

struct Synth {
    conversion: Conversion,
    config: Config,
    types: Types,
    seed: u64,
    routing: Option<Arc<Plan>>,
    pools: HashMap<(BlockType, u32), Arc<Pool>>,
    misfits: Misfits,
}

impl Synth {
    fn model(&mut self) -> Result<()> {
        let c = self.config.clone();
        let (width, vocab) = (u64::from(c.width), u64::from(c.vocab));
        if let Some(divisors) = c.divisors {
            self.values("rope_freqs.weight", divisors)?;
        }
        // An embedding that is the output too is small enough for the logits.
        let embedding = if c.tied { LOGITS / (c.width as f32).sqrt() } else { 1.0 };
        self.noise(EMBEDDING, &[width, vocab], embedding, Some(Part::Embedding))?;
        let mut moe = 0;
        for l in 0..c.layers {
            self.layer(l, &mut moe)?;
        }
        self.values("output_norm.weight", vec![1.0; c.width as usize])?;
        if !c.tied {
            self.noise(OUTPUT, &[width, vocab], LOGITS / (c.width as f32).sqrt(), None)?;
        }
        Ok(())
    }

    fn layer(&mut self, l: u32, moe: &mut usize) -> Result<()> {
        let c = self.config.clone();
        let (width, heads) = (u64::from(c.width), u64::from(c.heads * c.head_dim));
        let kv = u64::from(c.kv_heads * c.head_dim);
        let norm = vec![1.0; c.width as usize];
        let name = |part: &str| format!("blk.{l}.{part}.weight");
        let group = (c.heads / c.kv_heads) as usize;
        let looks = l == 0 && self.routing.as_ref().is_some_and(|r| r.is_sticky());
        let looking = |part: Part| looks.then_some(part);
        let over = |gain: f32, cols: u64| gain / (cols as f32).sqrt();
        self.values(&name("attn_norm"), norm.clone())?;
        self.noise(&name("attn_q"), &[width, heads], over(QUERY, width), looking(Part::Query { group }))?;
        self.noise(&name("attn_k"), &[width, kv], over(QUERY, width), looking(Part::Key))?;
        self.noise(&name("attn_v"), &[width, kv], over(BRANCH, width), looking(Part::Value))?;
        let shows = looking(Part::Shows { group }).unwrap_or(Part::Writes);
        self.noise(&name("attn_output"), &[heads, width], over(BRANCH, heads), Some(shows))?;
        self.values(&name("ffn_norm"), norm)?;
        let Some(llama4) = c.llama4.as_ref().filter(|llama4| llama4.has_experts(l)) else {
            return self.mlp(l, "", u64::from(c.ffn), &[]);
        };
        let (experts, ffn) = (u64::from(llama4.experts), u64::from(llama4.expert_ffn));
        self.noise(&name("ffn_gate_inp"), &[width, experts], over(1.0, width), Some(Part::Router(*moe)))?;
        *moe += 1;
        self.mlp(l, "_exps", ffn, &[experts])?;
        self.mlp(l, "_shexp", ffn, &[])
    }

    fn mlp(&mut self, l: u32, suffix: &str, ffn: u64, copies: &[u64]) -> Result<()> {
        let width = u64::from(self.config.width);
        for (part, cols, rows) in [("gate", width, ffn), ("up", width, ffn), ("down", ffn, width)] {
            let dims: Vec<u64> = [cols, rows].into_iter().chain(copies.iter().copied()).collect();
            let writes = (part == "down").then_some(Part::Writes);
            self.noise(&format!("blk.{l}.ffn_{part}{suffix}.weight"), &dims, BRANCH / (cols as f32).sqrt(), writes)?;
        }
        Ok(())
    }

    fn values(&mut self, name: &str, values: Vec<f32>) -> Result<()> {
        self.conversion.plan(name, &[values.len() as u64], None, BlockType::F32)?;
        self.conversion.content.made.push(Made::Values(values));
        Ok(())
    }

    /// A matrix of noise with this deviation, but for the rows that routing has a say in.
    fn noise(&mut self, name: &str, dims: &[u64], deviation: f32, part: Option<Part>) -> Result<()> {
        let tied = self.config.tied && name == EMBEDDING;
        let ty = self.types.of(name, dims, tied, &mut self.misfits)?;
        let cols = dims.first().and_then(|n| usize::try_from(*n).ok()).ok_or_else(|| Error::argument("no columns"))?;
        if part == Some(Part::Embedding) && self.routing.is_some() && ty.block_len() > routing::ALIGN {
            let (len, most) = (ty.block_len(), routing::ALIGN);
            return Err(Error::argument(format!(
                "{name} of type {ty} with blocks of {len} values: routing is written there in blocks of {most} at most"
            )));
        }
        let own = part
            .zip(self.routing.as_ref())
            .map(|(part, plan)| Box::new(Rows { plan: Arc::clone(plan), part, cols }) as Box<dyn OwnRows>);
        let seed = mix(self.seed ^ mix(self.conversion.planned.len() as u64 + 1));
        let pool = self.pool(ty, deviation)?;
        self.conversion.plan(name, dims, None, ty)?;
        self.conversion.content.made.push(Made::Random(Box::new(Noise { pool, seed, cols, own })));
        Ok(())
    }

    fn pool(&mut self, ty: BlockType, deviation: f32) -> Result<Arc<Pool>> {
        let key = (ty, deviation.to_bits());
        if let Some(pool) = self.pools.get(&key) {
            return Ok(Arc::clone(pool));
        }
        let pool = Arc::new(Pool::new(ty, deviation, self.seed ^ u64::from(key.1))?);
        self.pools.insert(key, Arc::clone(&pool));
        Ok(pool)
    }
}
