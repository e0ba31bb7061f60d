//! The GGUF file format: header, metadata, tensor directory, split files, writer.
