//! What is known about an ONNX file before anything else reads it: a bounded walk over its bytes.
//!
//! The walk goes four messages deep (model, graph, node, attribute, tensor) and no further, keeps nothing of a file but
//! names and ranges, and knows one form of graph: the encoder classifier without graphs inside graphs. What the engine
//! gets is made from its result, not from the file.

use std::collections::HashSet;

use super::operators::OPERATORS;
use super::tensor::{Data, Head, MOST_NAME, MOST_RANK, short};
use super::wire::{Field, Fields};
use crate::error::{Error, Result};

/// Larger model files are refused.
pub(super) const MOST_BYTES: usize = 2 << 30;
/// Twelve layers of DeBERTa are 4500 nodes with the older exporter.
const MOST_NODES: usize = 20_000;
const MOST_INITIALIZERS: usize = 20_000;
/// Inputs or outputs of one node.
const MOST_WIRES: usize = 1024;
const MOST_ATTRIBUTES: usize = 32;
/// Integers, or other values, in one attribute.
const MOST_VALUES: usize = 4096;
/// Tensors in attributes: they are shape arithmetic and small tables.
const MOST_CONSTANT_BYTES: u64 = 64 << 20;
/// The operator sets that `torch.onnx` writes and the engine was tried with.
const OPSETS: std::ops::RangeInclusive<i64> = 9..=21;
/// The inputs that are fed.
pub(super) const INPUTS: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];

/// A file that passed.
pub(super) struct Checked<'a> {
    pub(super) opset: i64,
    /// The nodes as they stand in the graph, in an order in which each one's inputs come before it.
    pub(super) nodes: Vec<&'a [u8]>,
    /// Some of [`INPUTS`], in the file's order.
    pub(super) inputs: Vec<&'a str>,
    pub(super) output: &'a str,
    pub(super) initializers: Vec<Head<'a>>,
}

/// Walks over a model.
pub(super) fn check(model: &[u8]) -> Result<Checked<'_>> {
    if model.len() > MOST_BYTES {
        return Err(Error::limit(format!("{} bytes, at most {MOST_BYTES}", model.len())));
    }
    let (mut graph, mut opset) = (None, None);
    let mut fields = Fields::new("the model", model);
    while let Some(field) = fields.next()? {
        match field.number {
            7 if graph.is_some() => return Err(Error::corrupt("the file holds two graphs")),
            7 => graph = Some(field.bytes()?),
            8 => {
                let (domain, version) = operator_set(field)?;
                if is_standard(domain) && opset.replace(version).is_some() {
                    return Err(Error::corrupt("the file names its operator set twice"));
                }
            }
            20 => return Err(Error::unsupported("training information")),
            25 => return Err(Error::unsupported("functions of its own: export with them inlined")),
            _ => {}
        }
    }
    let opset = opset.filter(|v| OPSETS.contains(v)).ok_or_else(|| {
        let (low, high) = (OPSETS.start(), OPSETS.end());
        Error::unsupported(format!("operator set {opset:?}, {low} to {high} are read"))
    })?;
    let graph = graph.ok_or_else(|| Error::corrupt("the file holds no graph"))?;
    Graph::read(graph)?.checked(opset)
}

fn is_standard(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

fn operator_set(field: Field<'_>) -> Result<(&str, i64)> {
    let (mut domain, mut version) = ("", 0);
    let mut fields = Fields::new("an operator set", field.bytes()?);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => domain = field.text(MOST_NAME)?,
            2 => version = field.int()?,
            _ => {}
        }
    }
    Ok((domain, version))
}

/// The parts of a graph, each one whole in itself.
#[derive(Default)]
struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    initializers: Vec<Head<'a>>,
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
}

impl<'a> Graph<'a> {
    fn read(graph: &'a [u8]) -> Result<Self> {
        let mut out = Self::default();
        let mut constants = 0u64;
        let mut fields = Fields::new("the graph", graph);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => out.nodes.push(Node::read(field, &mut constants)?),
                5 => out.initializers.push(Head::read(field.bytes()?)?),
                11 => out.inputs.push(value_name(field)?),
                12 => out.outputs.push(value_name(field)?),
                15 => return Err(Error::unsupported("sparse initializers")),
                // Names, remarks and shapes that the exporter noted: nothing depends on them.
                _ => {}
            }
            let (nodes, tensors) = (out.nodes.len(), out.initializers.len());
            if nodes > MOST_NODES || tensors > MOST_INITIALIZERS || out.inputs.len() > MOST_INITIALIZERS {
                return Err(Error::limit(format!(
                    "more than {MOST_NODES} nodes or {MOST_INITIALIZERS} initializers or inputs"
                )));
            }
        }
        Ok(out)
    }

    /// Every name is defined once, before it is used; inputs are those we feed; the output is made by a node.
    fn checked(self, opset: i64) -> Result<Checked<'a>> {
        let mut defined = HashSet::with_capacity(self.nodes.len() * 2 + self.initializers.len());
        for head in &self.initializers {
            define(&mut defined, head.name)?;
        }
        // Until version 4 of the format initializers stood among the inputs as well.
        let fed = |name: &&str| !defined.contains(name);
        let inputs: Vec<&str> = self.inputs.iter().copied().filter(fed).collect();
        for name in &inputs {
            define(&mut defined, name)?;
        }
        let has = |name| inputs.contains(&name);
        if !has("input_ids") || !has("attention_mask") || inputs.iter().any(|i| !INPUTS.contains(i)) {
            let names: Vec<String> = inputs.iter().take(8).map(|n| short(n)).collect();
            return Err(Error::corrupt(format!(
                "the inputs are {names:?}, expected input_ids and attention_mask, and perhaps token_type_ids"
            )));
        }
        let mut made = HashSet::with_capacity(self.nodes.len());
        for node in &self.nodes {
            node.check(&defined)?;
            for output in node.outputs.iter().filter(|o| !o.is_empty()) {
                define(&mut defined, output)?;
                made.insert(*output);
            }
        }
        let output = match self.outputs[..] {
            [only] => Some(only),
            _ => self.outputs.iter().copied().find(|o| *o == "logits"),
        };
        let output = output.filter(|o| made.contains(o)).ok_or_else(|| {
            let names: Vec<String> = self.outputs.iter().take(8).map(|n| short(n)).collect();
            Error::corrupt(format!("the outputs are {names:?}, expected one that a node computes, or one named logits"))
        })?;
        let nodes = self.nodes.into_iter().map(|n| n.whole).collect();
        Ok(Checked { opset, nodes, inputs, output, initializers: self.initializers })
    }
}

fn define<'a>(defined: &mut HashSet<&'a str>, name: &'a str) -> Result<()> {
    if name.is_empty() || !defined.insert(name) {
        return Err(Error::corrupt(format!("the name {:?} is empty or stands for two values", short(name))));
    }
    Ok(())
}

/// The name of a `ValueInfoProto` and that it is a tensor of a sane rank.
fn value_name(field: Field<'_>) -> Result<&str> {
    let mut name = "";
    let mut fields = Fields::new("an input or output", field.bytes()?);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => name = field.text(MOST_NAME)?,
            2 => tensor_type(field)?,
            _ => {}
        }
    }
    Ok(name)
}

fn tensor_type(field: Field<'_>) -> Result<()> {
    let mut types = Fields::new("a type", field.bytes()?);
    while let Some(kind) = types.next()? {
        match kind.number {
            1 => {
                let mut tensor = Fields::new("a tensor type", kind.bytes()?);
                while let Some(part) = tensor.next()? {
                    if part.number == 2 {
                        let mut dims = Fields::new("a shape", part.bytes()?);
                        let mut rank = 0;
                        while dims.next()?.is_some() {
                            rank += 1;
                        }
                        if rank > MOST_RANK {
                            return Err(Error::limit(format!("a shape of {rank} dimensions, at most {MOST_RANK}")));
                        }
                    }
                }
            }
            6 => {}
            _ => return Err(Error::unsupported("an input or output that is no tensor")),
        }
    }
    Ok(())
}

struct Node<'a> {
    whole: &'a [u8],
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
    name: &'a str,
    op: &'a str,
}

impl<'a> Node<'a> {
    fn read(field: Field<'a>, constants: &mut u64) -> Result<Self> {
        let mut out = Self { whole: field.whole, inputs: Vec::new(), outputs: Vec::new(), name: "", op: "" };
        let (mut domain, mut attributes) = ("", Vec::new());
        let mut fields = Fields::new("a node", field.bytes()?);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => out.inputs.push(field.text(MOST_NAME)?),
                2 => out.outputs.push(field.text(MOST_NAME)?),
                3 => out.name = field.text(MOST_NAME)?,
                4 => out.op = field.text(MOST_NAME)?,
                5 => attributes.push(field.bytes()?),
                7 => domain = field.text(MOST_NAME)?,
                _ => {}
            }
            if out.inputs.len().max(out.outputs.len()) > MOST_WIRES || attributes.len() > MOST_ATTRIBUTES {
                return Err(out.at(Error::limit(format!(
                    "more than {MOST_WIRES} inputs or outputs, or {MOST_ATTRIBUTES} attributes"
                ))));
            }
        }
        if !is_standard(domain) || OPERATORS.binary_search(&out.op).is_err() {
            let (op, domain) = (short(out.op), short(domain));
            return Err(out.at(Error::unsupported(format!(
                "operator {op:?} of domain {domain:?} is none that encoder classifiers use"
            ))));
        }
        for attribute in attributes {
            check_attribute(out.op, attribute, constants).map_err(|e| out.at(e))?;
        }
        Ok(out)
    }

    fn check(&self, defined: &HashSet<&str>) -> Result<()> {
        if self.outputs.first().is_none_or(|o| o.is_empty()) {
            return Err(self.at(Error::corrupt("has no output")));
        }
        match self.inputs.iter().find(|i| !i.is_empty() && !defined.contains(*i)) {
            Some(input) => {
                Err(self.at(Error::corrupt(format!("reads {:?}, which nothing before it makes", short(input)))))
            }
            None => Ok(()),
        }
    }

    fn at(&self, e: Error) -> Error {
        let name = if self.name.is_empty() { self.outputs.first().copied().unwrap_or_default() } else { self.name };
        e.context(format!("node {:?} ({})", short(name), short(self.op)))
    }
}

fn check_attribute(op: &str, attribute: &[u8], constants: &mut u64) -> Result<()> {
    let (mut name, mut tensor, mut values) = ("", None, 0usize);
    let mut ints = Vec::new();
    let mut fields = Fields::new("an attribute", attribute);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => name = field.text(MOST_NAME)?,
            3 => ints.push(field.int()?),
            4 => values = values.saturating_add(field.bytes()?.len()),
            5 if tensor.is_some() => return Err(Error::corrupt("an attribute with two tensors")),
            5 => tensor = Some(field.bytes()?),
            7 => values = values.saturating_add(field.count(4)?),
            8 => field.ints(&mut ints, MOST_VALUES)?,
            9 => values = values.saturating_add(field.bytes()?.len()).saturating_add(1),
            6 | 10 | 11 | 14 | 15 | 21 | 22 | 23 => {
                return Err(Error::unsupported(format!("attribute {:?} holds no plain value", short(name))));
            }
            _ => {}
        }
        if values > MOST_VALUES || ints.len() > MOST_VALUES {
            return Err(Error::limit(format!("attribute {:?} has more than {MOST_VALUES} values", short(name))));
        }
    }
    // Sizes in attributes, unlike those in values, are never ends of open ranges.
    if op == "Conv" && ints.iter().any(|i| !(0..=4096).contains(i)) {
        return Err(Error::limit(format!("attribute {:?} is {ints:?}", short(name))));
    }
    if op == "Concat" && ints.iter().any(|i| i.unsigned_abs() > MOST_RANK as u64) {
        return Err(Error::limit(format!("attribute {:?} is {ints:?}", short(name))));
    }
    let Some(tensor) = tensor else { return Ok(()) };
    let head = Head::read(tensor)?;
    *constants = constants.saturating_add(head.bytes());
    if matches!(head.data, Data::External(_)) {
        return Err(Error::unsupported("a constant keeps its data in another file"));
    }
    if *constants > MOST_CONSTANT_BYTES {
        return Err(Error::limit(format!("constants of nodes hold more than {MOST_CONSTANT_BYTES} bytes")));
    }
    Ok(())
}
