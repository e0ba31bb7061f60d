//! Hostile packed files: a real one with one lie each. Every one is refused with its kind and with words that name the lie.

use std::sync::Arc;

use palisade::Kind::{self, Corrupt, Unsupported};
use palisade::engine::{Decoder, DecoderOptions};
use palisade::gguf::Gguf;
use palisade::model::Model;
use sha2::{Digest, Sha256};

/// A packed model and where in it things are said.
struct Victim {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    ends: Vec<usize>,
    names: Vec<String>,
}

impl Victim {
    fn new(name: &str) -> Self {
        let (_folder, out) = super::packed(name);
        let gguf = Gguf::open(&out).unwrap();
        let runs = gguf.packed().unwrap().runs();
        let ends = runs.iter().flat_map(|run| (1..=run.count).map(|n| (run.at + n * run.stride) as usize)).collect();
        let last = runs.last().unwrap();
        Self {
            bytes: std::fs::read(&out).unwrap(),
            start: runs[0].at as usize,
            end: (last.at + last.stride * last.count) as usize,
            ends,
            names: gguf.tensors().iter().map(|t| t.name.clone()).collect(),
        }
    }

    /// Where the last occurrence of `what` in the header ends.
    fn after(&self, what: &str) -> usize {
        // With its length in front, as every text of a header has it.
        let text = [&(what.len() as u64).to_le_bytes(), what.as_bytes()].concat();
        let found = self.bytes[..self.start].windows(text.len()).rposition(|w| w == text);
        found.unwrap_or_else(|| panic!("no {what}")) + text.len()
    }

    /// Where the elements of an array of numbers begin.
    fn array(&self, key: &str) -> usize {
        self.after(key) + 4 + 4 + 8
    }

    /// Where the offset of tensor number `i` is said.
    fn offset(&self, i: usize) -> usize {
        let rank_at = self.after(&self.names[i]);
        let rank = u32::from_le_bytes(self.bytes[rank_at..rank_at + 4].try_into().unwrap()) as usize;
        rank_at + 4 + 8 * rank + 4
    }

    /// The file with these bytes at `at`, and a header checksum that fits them.
    fn with(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut file = self.bytes.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        let digest = Sha256::digest(&file[..self.start]);
        file[self.end..self.end + 32].copy_from_slice(&digest);
        file
    }
}

fn refused(what: &str, file: Vec<u8>, kind: Kind, says: &str) {
    let e = Gguf::from_bytes("attack", file).err().unwrap_or_else(|| panic!("{what}: accepted"));
    assert!(e.kind() == kind && e.message().contains(says) && e.message().len() < 400, "{what}: {:?} {e}", e.kind());
}

#[test]
fn headers_that_lie_are_refused() {
    let v = Victim::new("maverick-q4_0");
    for version in [0u32, 2, 3, u32::MAX] {
        refused("version", v.with(4, &version.to_le_bytes()), Unsupported, "packed version is");
    }
    for alignment in [32u32, 2048, 8192, 0, 3] {
        let at = v.after("general.alignment") + 4;
        refused("alignment", v.with(at, &alignment.to_le_bytes()), Corrupt, "alignment");
    }
    for key in ["layout", "bytes", "group"] {
        let key = format!("palisade.packed.{key}");
        let missing = v.with(v.after(&key) - 1, b"X");
        refused(&key, missing, Corrupt, &format!("{key} is missing"));
        // Another element type of the same size, or one that reads on into what follows.
        for len in [0u64, 1, 1 << 32, 1 << 61, u64::MAX] {
            let file = v.with(v.after(&key) + 8, &len.to_le_bytes());
            assert!(Gguf::from_bytes("attack", file).is_err(), "{key} of length {len}");
        }
    }
    let signed = v.with(v.after("palisade.packed.group") + 4, &5u32.to_le_bytes());
    refused("groups of i32", signed, Corrupt, "palisade.packed.group is of type");
    // A GGUF file by its first word alone.
    let e = Gguf::from_bytes("attack", v.with(0, b"GGUF\x03\0\0\0")).unwrap_err();
    assert!(e.kind() == Corrupt, "{e}");
}

#[test]
fn lengths_groups_and_offsets_that_lie_are_refused() {
    let v = Victim::new("maverick-q4_0");
    for i in 0..v.names.len() {
        let at = v.array("palisade.packed.bytes") + 8 * i;
        let now = u64::from_le_bytes(v.bytes[at..at + 8].try_into().unwrap());
        for bytes in [0, 1 << 32, 1 << 62, 1 << 63, u64::MAX, u64::MAX / 4, now + 4096, now * 2 + 8192] {
            let file = v.with(at, &bytes.to_le_bytes());
            let e = Gguf::from_bytes("attack", file).err().unwrap_or_else(|| panic!("tensor {i}: {bytes} accepted"));
            assert_eq!(e.kind(), Corrupt, "{e}");
        }
        let at = v.offset(i);
        let now = u64::from_le_bytes(v.bytes[at..at + 8].try_into().unwrap());
        for offset in [now + 1, now + 64, now + 4096, now.wrapping_sub(4096), 1 << 40, 1 << 63, u64::MAX] {
            let says = format!("tensor {}: offset {offset}, expected {now}", v.names[i]);
            refused("offset", v.with(at, &offset.to_le_bytes()), Corrupt, &says);
        }
        let at = v.array("palisade.packed.group") + 4 * i;
        let now = u32::from_le_bytes(v.bytes[at..at + 4].try_into().unwrap());
        for group in [0, 1, 2, 77, u32::MAX].into_iter().filter(|g| *g != now) {
            let file = v.with(at, &group.to_le_bytes());
            // A tensor of one matrix that calls itself a group of one lies where it lay.
            if let Ok(gguf) = Gguf::from_bytes("attack", file) {
                assert!(now == 0 && gguf.verify(&Default::default(), &mut |_, _| ()).is_ok(), "tensor {i} in {group}");
            }
        }
    }
}

#[test]
fn every_end_but_the_right_one_is_refused() {
    let v = Victim::new("scout-q4_0");
    for end in v.ends.iter().copied().chain([v.start, v.end, v.end + 32, v.bytes.len()]) {
        for len in [end - 4096, end - 1, end, end + 1, end + 4096].into_iter().filter(|len| *len != v.bytes.len()) {
            let mut file = v.bytes.clone();
            file.resize(len, 0);
            let e = Gguf::from_bytes("attack", file).err().unwrap_or_else(|| panic!("{len} bytes accepted"));
            assert_eq!(e.kind(), Corrupt, "{len}: {e}");
        }
    }
}

#[test]
fn layouts_that_are_not_ours_are_refused_before_a_weight_is_read() {
    let v = Victim::new("scout-q4_0");
    let end = v.after("rows8.q4_0/1");
    for (at, name) in
        [(end - 1, &b"2"[..]), (end - 12, b"cols8.q4_0/1"), (end - 12, b"rows8.q8_0/1"), (end - 3, b"\x1b[m")]
    {
        let gguf = Gguf::from_bytes("attack", v.with(at, name)).unwrap();
        let e = Model::from_gguf(&gguf).unwrap_err();
        assert!(e.kind() == Unsupported && e.message().contains("pack the model again"), "{e}");
        assert!(e.message().contains("rows8.q4_0/1") && !e.message().contains('\x1b'), "{e}");
    }
    // A size that differs inside the padding is found by who knows the layout.
    let at = v.array("palisade.packed.bytes");
    let now = u64::from_le_bytes(v.bytes[at..at + 8].try_into().unwrap());
    let gguf = Arc::new(Gguf::from_bytes("attack", v.with(at, &(now - 16).to_le_bytes())).unwrap());
    let e = Decoder::load(&gguf, &DecoderOptions::default(), &mut |_| true).unwrap_err();
    assert!(e.kind() == Corrupt && e.message().contains(&format!("expected {now}")), "{e}");
}

#[test]
fn any_flipped_bit_is_found() {
    let v = Victim::new("two-experts-f16");
    let flipped = |at: usize, bit: u8| {
        let mut file = v.bytes.clone();
        file[at] ^= 1 << bit;
        file
    };
    for at in (0..v.start).step_by((v.start / 4000).max(1)) {
        assert!(Gguf::from_bytes("attack", flipped(at, (at % 8) as u8)).is_err(), "byte {at} of the header");
    }
    for at in (v.start..v.end).step_by((v.end - v.start) / 60) {
        let gguf = Gguf::from_bytes("attack", flipped(at, (at % 8) as u8)).unwrap();
        let e = gguf.verify(&Default::default(), &mut |_, _| ()).unwrap_err();
        assert!(e.kind() == Corrupt && e.message().contains("section"), "{e}");
    }
}

/// Bits flipped in the header by someone who can count checksums: an error or a model, nothing else, and little memory.
#[test]
fn headers_of_a_skilled_attacker_never_panic() {
    let v = Victim::new("two-experts-f16");
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    // Where the lengths, shapes and places are.
    let from = v.after("palisade.packed.layout");
    let (mut opened, mut loaded) = (0, 0);
    for _ in 0..4000 {
        let mut file = v.bytes.clone();
        for _ in 0..1 + random(2) {
            let at = from + random(v.start - from);
            file[at] = [0, 1, 0x7f, 0x80, 0xff, file[at] ^ 1 << random(8)][random(6)];
        }
        let digest = Sha256::digest(&file[..v.start]);
        file[v.end..v.end + 32].copy_from_slice(&digest);
        let Ok(gguf) = Gguf::from_bytes("attack", file) else { continue };
        opened += 1;
        let budget = [0, 200_000][random(2)];
        let options = DecoderOptions { memory_budget: budget, context: 16, threads: 1, ..DecoderOptions::default() };
        loaded += u32::from(Decoder::load(&Arc::new(gguf), &options, &mut |_| true).is_ok());
    }
    assert!(opened > 20 && loaded > 0, "{opened} opened, {loaded} loaded");
}
