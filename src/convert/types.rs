//! Which block type each tensor gets.

use regex_automata::meta::Regex;

use crate::error::{Error, Result};
use crate::quant::BlockType;

/// The tensor of the embedding.
pub(super) const EMBEDDING: &str = "token_embd.weight";
/// The tensor of the output matrix.
pub(super) const OUTPUT: &str = "output.weight";

/// The types asked for. Vectors, norms, routers and learned positions stay F32 whatever is asked.
#[derive(Debug, Clone)]
pub struct Types {
    /// What matrices become that nothing else is said about.
    pub main: BlockType,
    /// The output matrix (the embedding, where the model uses it as output too). `None`: as llama.cpp does, Q6_K beside
    /// quantized types of fewer bits, else the main type.
    pub output: Option<BlockType>,
    /// The embedding. `None`: the main type.
    pub embedding: Option<BlockType>,
    /// The attention matrices of layer 0, where something exact is written into them.
    pub(super) first_attention: Option<BlockType>,
    patterns: Vec<(String, Regex, BlockType)>,
}

impl Default for Types {
    fn default() -> Self {
        Self::new(BlockType::Q8_0)
    }
}

impl Types {
    /// Everything of one type, but for what llama.cpp holds higher.
    #[must_use]
    pub fn new(main: BlockType) -> Self {
        Self { main, output: None, embedding: None, first_attention: None, patterns: vec![] }
    }

    /// Matrices whose name the regular expression finds become `ty`; of several that do, the first one said counts.
    ///
    /// # Errors
    /// [`crate::error::Kind::Argument`] for what is no regular expression.
    pub fn add_pattern(&mut self, pattern: &str, ty: BlockType) -> Result<()> {
        let regex =
            Regex::new(pattern).map_err(|e| Error::argument(format!("{pattern:?} is no regular expression: {e}")))?;
        self.patterns.push((pattern.to_owned(), regex, ty));
        Ok(())
    }

    /// The type of a tensor. `tied` says that the embedding is the output too.
    pub(super) fn of(&self, name: &str, dims: &[u64], tied: bool, misfits: &mut Misfits) -> Result<BlockType> {
        if dims.len() < 2 || name.contains("_norm") || name.contains("ffn_gate_inp") || name.contains("position_embd") {
            return Ok(BlockType::F32);
        }
        let said = self.patterns.iter().find(|(_, regex, _)| regex.is_match(name)).map(|(_, _, ty)| *ty);
        let is_output = name == OUTPUT || (tied && name == EMBEDDING);
        let ty = said.unwrap_or_else(|| match name {
            _ if is_output => self.output.or(self.embedding.filter(|_| tied)).unwrap_or_else(|| self.default_output()),
            EMBEDDING => self.embedding.unwrap_or(self.main),
            _ if name.starts_with("blk.0.attn_") => self.first_attention.unwrap_or(self.main),
            _ => self.main,
        });
        if !ty.can_quantize() {
            return Err(Error::unsupported(format!("tensor {name}: this build does not write type {ty}")));
        }
        Ok(misfits.fitting(name, dims, ty))
    }

    fn default_output(&self) -> BlockType {
        let ratio = |ty: BlockType| ty.block_bytes() as f64 / ty.block_len() as f64;
        if ratio(self.main) < ratio(BlockType::Q6K) { BlockType::Q6K } else { self.main }
    }

    /// What the patterns are, for the journal's key.
    pub(super) fn describe(&self) -> String {
        let patterns: Vec<String> = self.patterns.iter().map(|(p, _, ty)| format!("{p:?}={ty}")).collect();
        format!("{} output {:?} embedding {:?} {}", self.main, self.output, self.embedding, patterns.join(" "))
    }
}

/// Matrices whose rows are no whole blocks of the type that they were to have.
#[derive(Debug, Default)]
pub(super) struct Misfits(Vec<Misfit>);

#[derive(Debug)]
struct Misfit {
    cols: u64,
    ty: BlockType,
    instead: BlockType,
    first: String,
    count: usize,
}

impl Misfits {
    /// The type itself where rows are whole blocks, else Q8_0, else F16.
    fn fitting(&mut self, name: &str, dims: &[u64], ty: BlockType) -> BlockType {
        let cols = dims.first().copied().unwrap_or(1);
        let fits = |ty: BlockType| cols.is_multiple_of(ty.block_len() as u64);
        if fits(ty) {
            return ty;
        }
        let instead = if fits(BlockType::Q8_0) { BlockType::Q8_0 } else { BlockType::F16 };
        match self.0.iter_mut().find(|m| (m.cols, m.ty) == (cols, ty)) {
            Some(known) => known.count += 1,
            None => self.0.push(Misfit { cols, ty, instead, first: name.to_owned(), count: 1 }),
        }
        instead
    }

    /// What the user should know of them.
    pub(super) fn notes(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|m| {
            format!(
                "rows of {} values are not whole {} blocks of {}: {} instead for {} matrices, {} the first of them",
                m.cols,
                m.ty,
                m.ty.block_len(),
                m.instead,
                m.count,
                m.first
            )
        })
    }
}

/// The number under which llama.cpp knows files of mostly this type (`general.file_type`).
pub(super) fn file_type(ty: BlockType) -> Option<u32> {
    Some(match ty.name() {
        "F32" => 0,
        "F16" => 1,
        "Q4_0" => 2,
        "Q4_1" => 3,
        "Q8_0" => 7,
        "Q5_0" => 8,
        "Q5_1" => 9,
        "Q2_K" => 10,
        "Q3_K" => 12,
        "Q4_K" => 15,
        "Q5_K" => 17,
        "Q6_K" => 18,
        "IQ2_XXS" => 19,
        "IQ2_XS" => 20,
        "IQ3_XXS" => 23,
        "IQ1_S" => 24,
        "IQ4_NL" => 25,
        "IQ3_S" => 26,
        "IQ2_S" => 28,
        "IQ4_XS" => 30,
        "IQ1_M" => 31,
        "BF16" => 32,
        "TQ1_0" => 36,
        "TQ2_0" => 37,
        _ => return None,
    })
}
