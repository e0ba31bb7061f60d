//! Every tensor type number ggml has given out: enough to name a type and to know its size, whether this build reads it or not.

/// A type of ggml's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GgmlType {
    /// ggml's name.
    pub name: &'static str,
    /// Values in one block.
    pub block_len: u32,
    /// Bytes of one block.
    pub block_bytes: u32,
}

/// The type with this number; `None` for numbers that ggml has not given out or has withdrawn.
#[must_use]
pub fn ggml_type(id: u32) -> Option<GgmlType> {
    let (name, block_len, block_bytes) = match id {
        0 => ("F32", 1, 4),
        1 => ("F16", 1, 2),
        2 => ("Q4_0", 32, 18),
        3 => ("Q4_1", 32, 20),
        6 => ("Q5_0", 32, 22),
        7 => ("Q5_1", 32, 24),
        8 => ("Q8_0", 32, 34),
        9 => ("Q8_1", 32, 36),
        10 => ("Q2_K", 256, 84),
        11 => ("Q3_K", 256, 110),
        12 => ("Q4_K", 256, 144),
        13 => ("Q5_K", 256, 176),
        14 => ("Q6_K", 256, 210),
        15 => ("Q8_K", 256, 292),
        16 => ("IQ2_XXS", 256, 66),
        17 => ("IQ2_XS", 256, 74),
        18 => ("IQ3_XXS", 256, 98),
        19 => ("IQ1_S", 256, 50),
        20 => ("IQ4_NL", 32, 18),
        21 => ("IQ3_S", 256, 110),
        22 => ("IQ2_S", 256, 82),
        23 => ("IQ4_XS", 256, 136),
        24 => ("I8", 1, 1),
        25 => ("I16", 1, 2),
        26 => ("I32", 1, 4),
        27 => ("I64", 1, 8),
        28 => ("F64", 1, 8),
        29 => ("IQ1_M", 256, 56),
        30 => ("BF16", 1, 2),
        34 => ("TQ1_0", 256, 54),
        35 => ("TQ2_0", 256, 66),
        39 => ("MXFP4", 32, 17),
        40 => ("NVFP4", 64, 36),
        41 => ("Q1_0", 128, 18),
        _ => return None,
    };
    Some(GgmlType { name, block_len, block_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quant::BlockType;

    #[test]
    fn the_list_agrees_with_the_block_types() {
        for ty in BlockType::ALL {
            let listed = ggml_type(ty.ggml_id()).unwrap();
            assert_eq!(listed.name, ty.name());
            assert_eq!(listed.block_len as usize, ty.block_len());
            assert_eq!(listed.block_bytes as usize, ty.block_bytes());
            assert_eq!(BlockType::from_ggml(ty.ggml_id()), Some(ty));
        }
        assert_eq!(ggml_type(4), None, "withdrawn");
        assert_eq!(ggml_type(u32::MAX), None);
    }
}
