//! A GGUF file as the plan of another one.

use std::path::Path;

use super::folder::stamps;
use super::pieces::{Content, Made, Origin};
use super::types::{Misfits, OUTPUT};
use super::view::{Order, View};
use super::{Conversion, Options, keys};
use crate::error::{Error, Result};
use crate::gguf::{Gguf, TensorInfo, Writer};
use crate::quant::BlockType;

/// Keys that say how the old file was split and what its types are.
const LEFT_OUT: [&str; 5] =
    ["split.no", "split.count", "split.tensors.count", "general.file_type", "general.quantization_version"];

/// Matrices in one tensor: more experts than any model has.
const MOST_COPIES: u64 = 1 << 16;

pub(super) fn plan(path: &Path, options: &Options) -> Result<Conversion> {
    let gguf = Gguf::open(path)?;
    if gguf.packed().is_some() {
        return Err(Error::unsupported(format!(
            "{} is packed for running, expected a GGUF file: take the one it was packed from",
            path.display()
        )));
    }
    let mut writer = Writer::new();
    for (key, value) in gguf.metadata().iter().filter(|(key, _)| !LEFT_OUT.contains(key)) {
        writer.set(key, value.clone())?;
    }
    if let Some(name) = &options.name {
        writer.set("general.name", name.clone())?;
    }
    keys::set_types(&mut writer, options.types.main)?;
    let key = format!("gguf {}{}", stamps(gguf.parts())?, options.describe());
    let content = Content { origin: Origin::Nothing, made: vec![], importance: options.importance.clone() };
    let mut this = Conversion { writer, planned: vec![], content, key, notes: vec![] };
    let tied = gguf.tensor(OUTPUT).is_none();
    let (mut twice, mut misfits) = (vec![], Misfits::default());
    for tensor in gguf.tensors() {
        let from = tensor.block_type()?;
        let ty = options.types.of(&tensor.name, &tensor.dims, tied, &mut misfits)?;
        if from.block_len() > 1 && from != ty {
            twice.push(from);
        }
        this.plan(&tensor.name, &tensor.dims, Some(from), ty)?;
        this.content.made.push(Made::Views(views(tensor, from)?));
    }
    note_twice(&twice, &mut this.notes);
    this.content.origin = Origin::Gguf(gguf);
    this.notes.extend(misfits.notes());
    this.note_importance()?;
    Ok(this)
}

fn note_twice(twice: &[BlockType], notes: &mut Vec<String>) {
    if twice.is_empty() {
        return;
    }
    let mut types: Vec<&str> = twice.iter().map(|ty| ty.name()).collect();
    types.sort_unstable();
    types.dedup();
    notes.push(format!(
        "{} tensors are quantized already ({}); rounding twice loses more than rounding once from full precision",
        twice.len(),
        types.join(", ")
    ));
}

/// The matrices of a tensor, one after the other.
fn views(tensor: &TensorInfo, ty: BlockType) -> Result<Vec<View>> {
    let (cols, rows) = (tensor.dims.first().copied().unwrap_or(1), tensor.dims.get(1).copied().unwrap_or(1));
    let copies: u64 = tensor.dims.iter().skip(2).product();
    if copies > MOST_COPIES {
        return Err(Error::limit(format!("tensor {}: {copies} matrices, the limit is {MOST_COPIES}", tensor.name)));
    }
    let each = tensor.bytes / copies.max(1);
    let view = |copy: u64| {
        let offset = copy.checked_mul(each).and_then(|n| n.checked_add(tensor.offset));
        let offset = offset.ok_or_else(|| Error::limit(format!("tensor {}: an offset passes 2^64", tensor.name)))?;
        Ok(View { part: tensor.part, offset, ty, rows, cols, order: Order::Rows })
    };
    (0..copies).map(view).collect()
}
