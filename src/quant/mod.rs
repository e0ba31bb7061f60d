//! Block types: layout, size, dequantize, quantize.
