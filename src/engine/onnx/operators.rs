//! The operators an encoder classifier may use.

/// What `torch.onnx` writes for encoders of the BERT, DeBERTa and convolution kind, with either of its exporters. Each of
/// them computes its output's shape from its inputs' shapes and small integer values; none holds a graph, reads a file or
/// draws random numbers.
pub(super) const OPERATORS: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "Cos",
    "DequantizeLinear",
    "Div",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "Gelu",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "IsNaN",
    "LayerNormalization",
    "Less",
    "LessOrEqual",
    "Log",
    "MatMul",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Pow",
    "Range",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Sign",
    "Sin",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Tile",
    "Transpose",
    "Unsqueeze",
    "Where",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_to_the_engine_and_stands_once() {
        let stock = tract_onnx::onnx();
        for pair in OPERATORS.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
        for op in OPERATORS {
            assert!(stock.op_register.0.contains_key(*op), "{op}");
        }
    }
}
