//! A model that recites: asked for a text by its name, it says that text in the pieces it was given.
//!
//! It is an ordinary GGUF of the `llama` architecture, small because its weights are made and not trained, and it runs
//! through engine, guard, stream and C ABI like any other. Embeddings are one-hot. The one attention head looks for the
//! name of a text in the question and writes it beside the current token; the output matrix maps a token to the one
//! that follows it in the text of that name. The feed-forward part is zero.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use palisade::gguf::{Array, StrArray, Writer};
use palisade::quant::BlockType;
use palisade::{Error, Result};

const SPECIALS: [&str; 6] =
    ["<|begin_of_text|>", "<|end_of_text|>", "<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>"];
/// What the name of a text scores in attention above any other token; a thousand of those together weigh a thousandth.
const ATTENDS: f32 = 14.0;
/// What follows a token, and what belongs to the text that was asked for.
const FOLLOWS: f32 = 10.0;
const BELONGS: f32 = 4.0;
/// Names have two capital letters.
pub const MOST_TEXTS: usize = 26 * 26;

/// The name of the `n`-th text.
pub fn name(n: usize) -> String {
    let letter = |i: usize| char::from(b'A' + (i % 26) as u8);
    [letter(n / 26), letter(n)].iter().collect()
}

/// The question that is answered with the `n`-th text. No other two capitals may stand in it.
pub fn question(n: usize) -> String {
    format!("When is room {} open?", name(n))
}

/// Writes the model that recites `texts`, each given as pieces: one piece is one token.
pub fn write(path: &Path, texts: &[&[Vec<u8>]]) -> Result<()> {
    if texts.len() > MOST_TEXTS {
        return Err(Error::limit(format!("{} texts, at most {MOST_TEXTS}", texts.len())));
    }
    let mut words = Words::new();
    let names: Vec<usize> = (0..texts.len()).map(|n| words.id(name(n).as_bytes())).collect();
    let mut chains = Vec::with_capacity(texts.len());
    for text in texts {
        // The header of an answer ends with a line break, from which every text begins.
        let mut chain = vec![usize::from(b'\n')];
        chain.extend(text.iter().map(|piece| words.id(piece)));
        chains.push(chain);
    }
    let first_special = words.list.len();
    let eot = first_special + SPECIALS.len() - 1;
    chains.iter_mut().for_each(|chain| chain.push(eot));
    check(&chains)?;
    let shape = Shape::of(eot + 1, texts.len());
    let mut w = Writer::new();
    describe(&mut w, &shape)?;
    vocabulary(&mut w, &words, texts.len())?;
    let tensors = shape.tensors(&names, &chains);
    for (name, dims, _) in &tensors {
        w.tensor(name, dims, BlockType::F32)?;
    }
    w.write_to(path, |i, sink| {
        let values = tensors.get(i).map(|t| t.2.as_slice()).unwrap_or_default();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        sink.write(&bytes)
    })
}

/// Whether each text has one way through its pieces: whatever follows a piece in another text must not be in this one.
fn check(chains: &[Vec<usize>]) -> Result<()> {
    let mut follow: HashMap<usize, HashSet<usize>> = HashMap::new();
    let pairs =
        |chain: &[usize]| -> Vec<(usize, usize)> { chain.iter().copied().zip(chain.iter().copied().skip(1)).collect() };
    for (from, to) in chains.iter().flat_map(|chain| pairs(chain)) {
        follow.entry(from).or_default().insert(to);
    }
    for (n, chain) in chains.iter().enumerate() {
        let here: HashSet<usize> = chain.iter().copied().collect();
        for (from, to) in pairs(chain) {
            if follow.get(&from).is_some_and(|all| all.iter().any(|other| *other != to && here.contains(other))) {
                return Err(Error::internal(format!(
                    "text {n} cannot be recited: a piece of it has two that may follow"
                )));
            }
        }
    }
    Ok(())
}

/// The tokens by their bytes, each once.
struct Words {
    list: Vec<Vec<u8>>,
    ids: HashMap<Vec<u8>, usize>,
}

impl Words {
    fn new() -> Self {
        let list: Vec<Vec<u8>> = (0..=255u8).map(|b| vec![b]).collect();
        let ids = list.iter().cloned().zip(0..).collect();
        Self { list, ids }
    }

    fn id(&mut self, bytes: &[u8]) -> usize {
        *self.ids.entry(bytes.to_vec()).or_insert_with(|| {
            self.list.push(bytes.to_vec());
            self.list.len() - 1
        })
    }
}

/// A byte in GPT-2's printable alphabet.
fn printable(byte: u8) -> char {
    let plain = |b: u8| (33..=126).contains(&b) || (161..=172).contains(&b) || b >= 174;
    if plain(byte) {
        return char::from(byte);
    }
    let number = (0..byte).filter(|b| !plain(*b)).count();
    char::from_u32(256 + number as u32).unwrap_or(' ')
}

fn describe(w: &mut Writer, shape: &Shape) -> Result<()> {
    w.set("general.architecture", "llama")?;
    w.set("general.name", "Recital for conformance")?;
    w.set("general.license", "palisade-conform")?;
    w.set(
        "palisade.license.text",
        "This model was made by `palisade conform` to test a host application. It recites texts and knows nothing.",
    )?;
    let counts = [
        ("block_count", 1),
        ("context_length", 4096),
        ("embedding_length", shape.width),
        ("feed_forward_length", 8),
        ("attention.head_count", 1),
        ("attention.head_count_kv", 1),
        ("attention.key_length", shape.head),
        ("attention.value_length", shape.head),
        ("rope.dimension_count", shape.head),
    ];
    for (key, value) in counts {
        w.set(&format!("llama.{key}"), u32::try_from(value).unwrap_or(u32::MAX))?;
    }
    // The last pair of a head then turns by a millionth of a radian a position: attention does not see where a name stands.
    w.set("llama.rope.freq_base", 1.0e6_f32)
}

fn vocabulary(w: &mut Writer, words: &Words, texts: usize) -> Result<()> {
    let mut list: Vec<String> = words.list.iter().map(|t| t.iter().map(|b| printable(*b)).collect()).collect();
    let text_tokens = list.len();
    list.extend(SPECIALS.iter().map(ToString::to_string));
    let types = (0..list.len()).map(|id| if id < text_tokens { 1 } else { 3 }).collect();
    let merges: Vec<String> = (0..texts)
        .map(|n| {
            let name = name(n);
            let (a, b) = name.split_at(1);
            format!("{a} {b}")
        })
        .collect();
    w.set("tokenizer.ggml.model", "gpt2")?;
    w.set("tokenizer.ggml.pre", "llama4")?;
    w.set("tokenizer.ggml.tokens", Array::Str(StrArray::new(&list)?))?;
    w.set("tokenizer.ggml.token_type", Array::I32(types))?;
    w.set("tokenizer.ggml.merges", Array::Str(StrArray::new(&merges)?))?;
    w.set("tokenizer.ggml.bos_token_id", text_tokens as u32)?;
    w.set("tokenizer.ggml.eos_token_id", (list.len() - 1) as u32)
}

/// The sizes: a place of the residual stream for each token, then one for each text.
struct Shape {
    vocab: usize,
    texts: usize,
    width: usize,
    /// A place for each text, and the last one where names and questions meet.
    head: usize,
}

/// Name, dimensions in ggml's order, values row by row.
type Tensor = (&'static str, Vec<u64>, Vec<f32>);

impl Shape {
    fn of(vocab: usize, texts: usize) -> Self {
        Self { vocab, texts, width: (vocab + texts).next_multiple_of(32), head: (texts + 2).next_multiple_of(32) }
    }

    fn tensors(&self, names: &[usize], chains: &[Vec<usize>]) -> Vec<Tensor> {
        let (width, head, vocab) = (self.width, self.head, self.vocab);
        // A one-hot vector comes out of its norm with this in the one place.
        let one = (width as f32).sqrt();
        let (last, meet) = (head - 1, (ATTENDS * (head as f32).sqrt()).sqrt() / one);
        let mut embedding = Grid::new(vocab, width);
        let (mut q, mut k, mut v) = (Grid::new(head, width), Grid::new(head, width), Grid::new(head, width));
        let (mut o, mut output) = (Grid::new(width, head), Grid::new(vocab, width));
        for id in 0..vocab {
            embedding.set(id, id, 1.0);
            q.set(last, id, meet);
        }
        for (text, id) in names.iter().enumerate() {
            k.set(last, *id, meet);
            v.set(text, *id, 1.0 / one);
        }
        for text in 0..self.texts {
            o.set(vocab + text, text, 1.0);
        }
        for (text, chain) in chains.iter().enumerate() {
            for pair in chain.windows(2) {
                if let [from, to] = *pair {
                    output.set(to, from, FOLLOWS);
                    output.set(to, vocab + text, BELONGS);
                }
            }
        }
        vec![
            embedding.tensor("token_embd.weight"),
            ("output_norm.weight", vec![width as u64], vec![1.0; width]),
            output.tensor("output.weight"),
            ("blk.0.attn_norm.weight", vec![width as u64], vec![1.0; width]),
            q.tensor("blk.0.attn_q.weight"),
            k.tensor("blk.0.attn_k.weight"),
            v.tensor("blk.0.attn_v.weight"),
            o.tensor("blk.0.attn_output.weight"),
            ("blk.0.ffn_norm.weight", vec![width as u64], vec![1.0; width]),
            Grid::new(8, width).tensor("blk.0.ffn_gate.weight"),
            Grid::new(8, width).tensor("blk.0.ffn_up.weight"),
            Grid::new(width, 8).tensor("blk.0.ffn_down.weight"),
        ]
    }
}

/// A matrix of zeros until something is set; places outside it do not exist.
struct Grid {
    rows: usize,
    cols: usize,
    values: Vec<f32>,
}

impl Grid {
    fn new(rows: usize, cols: usize) -> Self {
        Self { rows, cols, values: vec![0.0; rows * cols] }
    }

    fn set(&mut self, row: usize, col: usize, value: f32) {
        if let Some(place) = self.values.get_mut(row * self.cols + col) {
            *place = value;
        }
    }

    fn tensor(self, name: &'static str) -> Tensor {
        (name, vec![self.cols as u64, self.rows as u64], self.values)
    }
}
