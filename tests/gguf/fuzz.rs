//! Random damage: whatever happens to the bytes, opening and reading answers with a value or an error.

use palisade::error::Kind;
use palisade::gguf::Gguf;
use palisade::quant::dequantize;

use crate::raw::{Raw, array, assert_little_memory, pair, text};

/// A small generator with a fixed seed, so that a failure repeats.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Values that break arithmetic.
const EDGES: [u64; 12] =
    [0, 1, 31, 33, 255, 65_535, 1 << 31, u32::MAX as u64, 1 << 58, 1 << 63, u64::MAX - 31, u64::MAX];

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let (at, edge) = (random.below(bytes.len().max(1)), EDGES[random.below(EDGES.len())]);
        match random.below(8) {
            0..=2 => bytes.iter_mut().skip(at).take(1).for_each(|b| *b = random.next() as u8),
            3 => bytes.iter_mut().skip(at).take(1).for_each(|b| *b ^= 1 << random.below(8)),
            4 => bytes.iter_mut().skip(at).zip(edge.to_le_bytes()).for_each(|(b, new)| *b = new),
            5 => bytes.iter_mut().skip(at).zip((edge as u32).to_le_bytes()).for_each(|(b, new)| *b = new),
            6 => drop(bytes.drain(at..(at + random.below(20)).min(bytes.len()))),
            _ => {
                let piece = bytes[at.min(bytes.len())..(at + random.below(20)).min(bytes.len())].to_vec();
                bytes.splice(at.min(bytes.len())..at.min(bytes.len()), piece);
            }
        }
    }
}

/// Uses everything a file that opened offers.
fn use_all(gguf: &Gguf) {
    let meta = gguf.metadata();
    for (key, value) in meta.iter() {
        assert!(!value.to_string().is_empty());
        let _ =
            (meta.get_u32(key), meta.get_u64(key), meta.get_f32(key), meta.get_bool(key), meta.get_u32_or_array(key));
        let _ = (meta.get_i32_array(key), meta.get_u32_array(key), meta.get_f32_array(key));
        if let Ok(Some(all)) = meta.get_str_array(key) {
            assert_eq!(all.iter().count(), all.len());
        }
    }
    let size: u64 = gguf.parts().iter().map(|part| part.len()).sum();
    for t in gguf.tensors() {
        assert!(t.bytes <= size && t.offset + t.bytes <= size, "{t:?}");
        let mut bytes = vec![0; t.bytes as usize];
        gguf.read(t, 0, &mut bytes).unwrap();
        assert!(gguf.read(t, t.bytes, &mut [0]).is_err());
        assert_eq!(t.rows() * t.cols(), t.elements());
        if let Ok(ty) = t.block_type() {
            dequantize(ty, &bytes, &mut vec![0.0; t.elements() as usize]).unwrap();
        }
    }
}

#[test]
fn damaged_files_give_values_or_errors_and_take_no_memory() {
    let first = Raw::valid();
    let second = Raw::valid()
        .with(pair(b"general.alignment", 4, &32u32.to_le_bytes()))
        .with(pair(b"x.u16s", 9, &array(2, 3, &[1, 0, 2, 0, 3, 0])))
        .with(pair(b"x.f64", 12, &0.5f64.to_le_bytes()))
        .with(pair(b"tokenizer.chat_template", 8, &text("{{ naïve }}".as_bytes())));
    let files = [first.bytes(), second.bytes()];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut opened = 0;
    let before = crate::raw::peak_kib();
    for round in 0..20_000 {
        let mut bytes = files[round % 2].clone();
        damage(&mut bytes, &mut random);
        match Gguf::from_bytes("fuzz", bytes) {
            Ok(gguf) => {
                opened += 1;
                use_all(&gguf);
            }
            Err(e) => {
                assert!(matches!(e.kind(), Kind::Corrupt | Kind::Unsupported | Kind::Limit), "round {round}: {e}")
            }
        }
    }
    // Damage to names, values and weights leaves the file readable: both ways must have been walked.
    assert!((500..19_500).contains(&opened), "{opened} of 20000 opened");
    assert_little_memory(before);
}
