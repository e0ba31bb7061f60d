//! A model that says what a test wants: a real GGUF of the Llama 4 architecture whose weights are a chain of tokens.
//!
//! Embeddings are one-hot, attention and experts are zero, and the output matrix maps each token to its successor, so the
//! engine, run as for any model, walks the chain that starts after the assistant's header.

use std::path::Path;

use palisade::gguf::{Array, StrArray, Writer};
use palisade::quant::BlockType;

const SPECIALS: [&str; 6] =
    ["<|begin_of_text|>", "<|end_of_text|>", "<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>"];

/// GPT-2's printable stand-ins for the 256 bytes.
fn printable(byte: u8) -> char {
    let plain = |b: u8| (33..=126).contains(&b) || (161..=172).contains(&b) || b >= 174;
    if plain(byte) {
        return char::from(byte);
    }
    let number = (0..byte).filter(|b| !plain(*b)).count();
    char::from_u32(256 + number as u32).unwrap()
}

/// Writes a model whose answer to anything is `pieces`, one token each, and then the end of the turn.
pub(crate) fn write_chain(path: &Path, pieces: &[&[u8]]) {
    let mut names: Vec<String> = (0..=255).map(|b| printable(b).to_string()).collect();
    let mut chain = vec![usize::from(b'\n')]; // the assistant's header ends on a line break
    for piece in pieces {
        if let [byte] = piece {
            chain.push(usize::from(*byte));
        } else {
            chain.push(names.len());
            names.push(piece.iter().map(|b| printable(*b)).collect());
        }
    }
    let first_special = names.len();
    names.extend(SPECIALS.iter().map(ToString::to_string));
    let eot = names.len() - 1;
    chain.push(eot);
    let vocab = names.len();
    let types = (0..vocab).map(|id| if id < first_special { 1 } else { 3 }).collect();

    let mut w = Writer::new();
    w.set("general.architecture", "llama4").unwrap();
    w.set("general.name", "Chain of tokens").unwrap();
    w.set("general.license", "test-only").unwrap();
    w.set("palisade.license.text", "For tests.").unwrap();
    let width = vocab.next_multiple_of(8);
    let counts = [
        ("block_count", 1),
        ("context_length", 512),
        ("embedding_length", width),
        ("feed_forward_length", 8),
        ("expert_feed_forward_length", 8),
        ("attention.head_count", 1),
        ("attention.head_count_kv", 1),
        ("attention.key_length", 8),
        ("attention.value_length", 8),
        ("rope.dimension_count", 8),
        ("expert_count", 2),
        ("expert_used_count", 1),
    ];
    for (key, value) in counts {
        w.set(&format!("llama4.{key}"), value as u32).unwrap();
    }
    w.set("tokenizer.ggml.model", "gpt2").unwrap();
    w.set("tokenizer.ggml.pre", "llama4").unwrap();
    w.set("tokenizer.ggml.tokens", Array::Str(StrArray::new(&names).unwrap())).unwrap();
    w.set("tokenizer.ggml.token_type", Array::I32(types)).unwrap();
    w.set("tokenizer.ggml.merges", Array::Str(StrArray::new(Vec::<String>::new()).unwrap())).unwrap();
    w.set("tokenizer.ggml.bos_token_id", first_special as u32).unwrap();
    w.set("tokenizer.ggml.eos_token_id", eot as u32).unwrap();

    let next = |row: usize, col: usize| if chain.windows(2).any(|s| s == [col, row]) { 10.0 } else { 0.0 };
    let tensors: Vec<(&str, Vec<usize>, Vec<f32>)> = vec![
        ("token_embd.weight", vec![width, vocab], grid(vocab, width, |r, c| if r == c { 1.0 } else { 0.0 })),
        ("output_norm.weight", vec![width], vec![1.0; width]),
        ("output.weight", vec![width, vocab], grid(vocab, width, next)),
        ("blk.0.attn_norm.weight", vec![width], vec![1.0; width]),
        ("blk.0.attn_q.weight", vec![width, 8], vec![0.0; 8 * width]),
        ("blk.0.attn_k.weight", vec![width, 8], vec![0.0; 8 * width]),
        ("blk.0.attn_v.weight", vec![width, 8], vec![0.0; 8 * width]),
        ("blk.0.attn_output.weight", vec![8, width], vec![0.0; 8 * width]),
        ("blk.0.ffn_norm.weight", vec![width], vec![1.0; width]),
        ("blk.0.ffn_gate_inp.weight", vec![width, 2], vec![0.0; 2 * width]),
        ("blk.0.ffn_gate_exps.weight", vec![width, 8, 2], vec![0.0; 16 * width]),
        ("blk.0.ffn_up_exps.weight", vec![width, 8, 2], vec![0.0; 16 * width]),
        ("blk.0.ffn_down_exps.weight", vec![8, width, 2], vec![0.0; 16 * width]),
        ("blk.0.ffn_gate_shexp.weight", vec![width, 8], vec![0.0; 8 * width]),
        ("blk.0.ffn_up_shexp.weight", vec![width, 8], vec![0.0; 8 * width]),
        ("blk.0.ffn_down_shexp.weight", vec![8, width], vec![0.0; 8 * width]),
    ];
    for (name, dims, _) in &tensors {
        let dims: Vec<u64> = dims.iter().map(|d| *d as u64).collect();
        w.tensor(name, &dims, BlockType::F32).unwrap();
    }
    w.write_to(path, |i, sink| {
        let bytes: Vec<u8> = tensors[i].2.iter().flat_map(|v| v.to_le_bytes()).collect();
        sink.write(&bytes)
    })
    .unwrap();
}

fn grid(rows: usize, cols: usize, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    (0..rows * cols).map(|i| value(i / cols, i % cols)).collect()
}
