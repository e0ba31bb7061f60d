//! Writes ONNX files by hand, byte for byte, so that each of their rules can be broken alone.

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

pub(crate) fn int(field: u64, value: i64) -> Vec<u8> {
    [varint(field << 3), varint(value.cast_unsigned())].concat()
}

pub(crate) fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

pub(crate) fn repeated(field: u64, values: &[i64]) -> Vec<u8> {
    bytes(field, values.iter().flat_map(|v| varint(v.cast_unsigned())).collect::<Vec<u8>>())
}

/// A `TensorProto` without data.
pub(crate) fn head(name: &str, dims: &[i64], kind: i64) -> Vec<u8> {
    [repeated(1, dims), int(2, kind), bytes(8, name)].concat()
}

pub(crate) const FLOAT: i64 = 1;
pub(crate) const INT64: i64 = 7;

pub(crate) fn floats(name: &str, dims: &[i64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    [head(name, dims, FLOAT), bytes(9, raw)].concat()
}

pub(crate) fn ints(name: &str, dims: &[i64], values: &[i64]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    [head(name, dims, INT64), bytes(9, raw)].concat()
}

/// A tensor whose data is said to lie elsewhere.
pub(crate) fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Vec<u8> {
    let entry = |(k, v): &(&str, &str)| bytes(13, [bytes(1, k), bytes(2, v)].concat());
    [head(name, dims, FLOAT), entries.iter().flat_map(entry).collect(), int(14, 1)].concat()
}

pub(crate) fn attribute_int(name: &str, value: i64) -> Vec<u8> {
    bytes(5, [bytes(1, name), int(3, value), int(20, 2)].concat())
}

pub(crate) fn attribute_ints(name: &str, values: &[i64]) -> Vec<u8> {
    bytes(5, [bytes(1, name), repeated(8, values), int(20, 7)].concat())
}

pub(crate) fn attribute_tensor(name: &str, tensor: &[u8]) -> Vec<u8> {
    bytes(5, [bytes(1, name), bytes(5, tensor), int(20, 4)].concat())
}

pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[u8]) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|i| bytes(1, i));
    let outputs = outputs.iter().flat_map(|o| bytes(2, o));
    [inputs.chain(outputs).collect(), bytes(3, format!("n.{}", op)), bytes(4, op), attributes.to_vec()].concat()
}

/// A `ValueInfoProto` of a tensor.
pub(crate) fn value(name: &str, kind: i64, rank: usize) -> Vec<u8> {
    let dims: Vec<u8> = (0..rank).flat_map(|i| bytes(1, bytes(2, format!("d{i}")))).collect();
    let tensor = [int(1, kind), bytes(2, dims)].concat();
    [bytes(1, name), bytes(2, bytes(1, tensor))].concat()
}

/// A model in parts.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) nodes: Vec<Vec<u8>>,
    pub(crate) initializers: Vec<Vec<u8>>,
    pub(crate) inputs: Vec<Vec<u8>>,
    pub(crate) outputs: Vec<Vec<u8>>,
    pub(crate) opset: Vec<u8>,
    /// Bytes at the end of the graph, and of the model.
    pub(crate) graph_tail: Vec<u8>,
    pub(crate) tail: Vec<u8>,
}

impl Model {
    /// The smallest classifier: each id has a row of two logits, and those of the unmasked ids are added up.
    pub(crate) fn valid() -> Self {
        let table: Vec<f32> = (0..16u8).map(|i| f32::from(i) / 8.0 - 1.0).collect();
        Self {
            nodes: vec![
                node("Gather", &["table", "input_ids"], &["rows"], &[]),
                node("Cast", &["attention_mask"], &["m"], &attribute_int("to", FLOAT)),
                node("Unsqueeze", &["m", "last"], &["mask"], &[]),
                node("Mul", &["rows", "mask"], &["kept"], &[]),
                node("ReduceSum", &["kept", "one"], &["logits"], &attribute_int("keepdims", 0)),
            ],
            initializers: vec![floats("table", &[8, 2], &table), ints("last", &[1], &[-1]), ints("one", &[1], &[1])],
            inputs: vec![value("input_ids", INT64, 2), value("attention_mask", INT64, 2)],
            outputs: vec![value("logits", FLOAT, 2)],
            opset: bytes(8, [bytes(1, ""), int(2, 17)].concat()),
            graph_tail: Vec::new(),
            tail: Vec::new(),
        }
    }

    pub(crate) fn graph(&self) -> Vec<u8> {
        let all = |field: u64, list: &[Vec<u8>]| list.iter().flat_map(|x| bytes(field, x)).collect::<Vec<u8>>();
        [
            all(1, &self.nodes),
            bytes(2, "g"),
            all(5, &self.initializers),
            all(11, &self.inputs),
            all(12, &self.outputs),
            self.graph_tail.clone(),
        ]
        .concat()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [int(1, 8), bytes(7, self.graph()), self.opset.clone(), self.tail.clone()].concat()
    }

    /// With nodes in front of the others, whose result `big` goes into the logits.
    pub(crate) fn beside(mut self, nodes: Vec<Vec<u8>>, initializers: Vec<Vec<u8>>) -> Self {
        self.nodes = [nodes, self.nodes].concat();
        self.nodes.pop();
        self.nodes.extend([
            node("ReduceSum", &["kept", "one"], &["sum"], &attribute_int("keepdims", 0)),
            node("Cast", &["big"], &["float"], &attribute_int("to", FLOAT)),
            node("ReduceMax", &["float"], &["peak"], &attribute_int("keepdims", 0)),
            node("Add", &["sum", "peak"], &["logits"], &[]),
        ]);
        self.initializers.extend(initializers);
        self
    }
}
