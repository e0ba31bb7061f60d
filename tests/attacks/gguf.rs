//! Hostile GGUF files: one valid file, one defect each. Every one must give its kind of error and name the field.
//!
//! The defects are those that broke other readers: counts and lengths whose product wraps (also at 2^64/64, which a lazy
//! allocation would let pass), alignment 0, overlapping or wrapping offsets, types trusted by the consumer, duplicates.

use palisade::error::Kind::{self, Corrupt, Limit, Unsupported};
use palisade::gguf::Gguf;

use crate::raw::{Raw, Tensor, array, assert_little_memory, long_text, pair, peak_kib, text};

/// The defect, the file, the kind of error, and what its message must contain.
pub(crate) struct Attack {
    pub(crate) name: String,
    pub(crate) file: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) says: Vec<String>,
}

/// Counts that wrap or that no file can hold; 2^64/33 + 1 and 2^64/14 + 1 wrap for the smallest entry and pair.
const COUNTS: [u64; 8] =
    [u64::MAX, 1 << 63, 1 << 61, 1 << 58, 1 << 36, u64::MAX / 33 + 1, u64::MAX / 14 + 1, u32::MAX as u64 + 1];

/// Every attack.
pub(crate) fn all() -> Vec<Attack> {
    let mut all = Vec::new();
    header(&mut all);
    keys(&mut all);
    values(&mut all);
    arrays(&mut all);
    alignment(&mut all);
    names_and_shapes(&mut all);
    layout(&mut all);
    truncated(&mut all);
    all
}

fn add(all: &mut Vec<Attack>, name: impl Into<String>, raw: Raw, kind: Kind, says: &[&str]) {
    add_bytes(all, name, raw.bytes(), kind, says);
}

fn add_bytes(all: &mut Vec<Attack>, name: impl Into<String>, file: Vec<u8>, kind: Kind, says: &[&str]) {
    all.push(Attack { name: name.into(), file, kind, says: says.iter().map(|s| (*s).to_owned()).collect() });
}

fn header(all: &mut Vec<Attack>) {
    let v = Raw::valid;
    add_bytes(all, "empty file", vec![], Corrupt, &["magic", "needs 4 bytes"]);
    add_bytes(all, "file of four bytes", b"GGUF".to_vec(), Corrupt, &["version", "needs 4 bytes"]);
    for magic in [b"GGML", b"PK\x03\x04", b"\0\0\0\0"] {
        let says = magic.escape_ascii().to_string();
        add(all, format!("magic {says}"), v().but(|r| r.magic = *magic), Corrupt, &["magic is", &says, "expected"]);
    }
    add(all, "big-endian magic", v().but(|r| r.magic = *b"FUGG"), Unsupported, &["big-endian"]);
    add(
        all,
        "big-endian version",
        v().but(|r| r.version = 3u32.swap_bytes()),
        Unsupported,
        &["version is 3 in big-endian"],
    );
    for version in [0, 1, 4, 99, u32::MAX] {
        let says = format!("version is {version}, expected 2 or 3");
        add(all, format!("version {version}"), v().but(|r| r.version = version), Unsupported, &[&says]);
    }
    for n in COUNTS {
        let says = n.to_string();
        add(all, format!("tensor count {n}"), v().but(|r| r.tensor_count = Some(n)), Corrupt, &["tensor_count", &says]);
        add(
            all,
            format!("pair count {n}"),
            v().but(|r| r.pair_count = Some(n)),
            Corrupt,
            &["metadata_kv_count", &says],
        );
    }
    add(all, "one tensor too many", v().but(|r| r.tensor_count = Some(4)), Corrupt, &["tensor number 3"]);
    add(all, "one tensor too few", v().but(|r| r.tensor_count = Some(2)), Corrupt, &["84 bytes follow b.weight"]);
    add(all, "one pair too many", v().but(|r| r.pair_count = Some(6)), Corrupt, &["name of tensor number 0"]);
    let many_pairs = v().but(|r| {
        r.pairs.extend((0..65_536).map(|i| pair(format!("k{i}").as_bytes(), 0, &[0])));
    });
    add(all, "65,541 pairs", many_pairs, Limit, &["metadata_kv_count is 65541", "65536"]);
    let many_tensors = v().but(|r| {
        let t = r.tensors[0].clone();
        r.tensors = (0..65_537).map(|i| Tensor { name: format!("t{i}").into_bytes(), ..t.clone() }).collect();
    });
    add(all, "65,537 tensors", many_tensors, Limit, &["tensor_count is 65537", "65536"]);
}

fn keys(all: &mut Vec<Attack>) {
    let v = Raw::valid;
    for n in COUNTS {
        let key = [long_text(n, b"key"), 0u32.to_le_bytes().to_vec(), vec![0]].concat();
        add(all, format!("key length {n}"), v().with(key), Corrupt, &["key of metadata pair 5", &n.to_string()]);
    }
    add(all, "empty key", v().with(pair(b"", 0, &[0])), Corrupt, &["key of metadata pair 5", "empty"]);
    add(all, "key of 65,536 bytes", v().with(pair(&[b'k'; 65_536], 0, &[0])), Limit, &["key", "65536", "65535"]);
    add(all, "key not UTF-8", v().with(pair(b"ab\xff", 0, &[0])), Corrupt, &["key of metadata pair 5", "UTF-8"]);
    add(all, "key with NUL", v().with(pair(b"a\0b", 0, &[0])), Corrupt, &["key of metadata pair 5", "NUL"]);
    let twice = pair(b"llama4.block_count", 4, &[3, 0, 0, 0]);
    add(all, "key twice", v().with(twice), Corrupt, &["metadata llama4.block_count", "twice"]);
}

fn values(all: &mut Vec<Attack>) {
    let v = |ty, value: &[u8]| Raw::valid().with(pair(b"x", ty, value));
    for ty in [13, 255, u32::MAX] {
        add(all, format!("value type {ty}"), v(ty, &[0; 8]), Corrupt, &["metadata x", &format!("type is {ty}")]);
    }
    for n in COUNTS {
        let says = n.to_string();
        add(all, format!("string length {n}"), v(8, &long_text(n, b"abc")), Corrupt, &["metadata x: length", &says]);
    }
    add(all, "string not UTF-8", v(8, &text(b"a\xc3\x28")), Corrupt, &["metadata x", "UTF-8 after its first 1 bytes"]);
    add(all, "string of 16 MiB and one", v(8, &text(&vec![b'a'; (16 << 20) + 1])), Limit, &["metadata x", "16777217"]);
    let template = pair(b"tokenizer.chat_template", 8, &text(&vec![b'a'; (1 << 20) + 1]));
    add(all, "template of 1 MiB and one", Raw::valid().with(template), Limit, &["chat_template", "1048577"]);
    for byte in [2, 255] {
        add(all, format!("bool {byte}"), v(7, &[byte]), Corrupt, &["metadata x", &format!("bool is {byte}")]);
    }
}

fn arrays(all: &mut Vec<Attack>) {
    let v = |ty, n, items: &[u8]| Raw::valid().with(pair(b"x", 9, &array(ty, n, items)));
    for ty in [13, u32::MAX] {
        let says = format!("array type is {ty}");
        add(all, format!("array type {ty}"), v(ty, 1, &[0; 8]), Corrupt, &["metadata x", &says]);
    }
    add(all, "array of arrays", v(9, 1, &array(0, 1, &[0])), Unsupported, &["metadata x", "array of arrays"]);
    for ty in [0, 4, 7, 8, 12] {
        for n in COUNTS {
            let says = n.to_string();
            let name = format!("array of type {ty} and length {n}");
            add(all, name, v(ty, n, &[0; 16]), Corrupt, &["metadata x: array length", &says]);
        }
    }
    for n in COUNTS {
        let items = [text(b"ok"), long_text(n, b"abc")].concat();
        let says = n.to_string();
        add(all, format!("second element's length {n}"), v(8, 2, &items), Corrupt, &["metadata x: element 1", &says]);
    }
    let items = [text(b"ok"), text(b""), text(b"\xff")].concat();
    add(all, "third element not UTF-8", v(8, 3, &items), Corrupt, &["metadata x: element 2", "UTF-8"]);
    let items = [text(b"\xc3"), text(b"\xa9")].concat();
    add(all, "character over two elements", v(8, 2, &items), Corrupt, &["metadata x", "character"]);
    add(all, "array of bool with 2", v(7, 3, &[0, 1, 2]), Corrupt, &["metadata x", "bool is 2"]);
    let long = vec![0; (4 << 20) + 1];
    add(all, "array of 4 Mi and one", v(0, (4 << 20) + 1, &long), Limit, &["metadata x", "4194305", "4194304"]);
}

fn alignment(all: &mut Vec<Attack>) {
    let key = b"general.alignment";
    for n in [0u32, 1, 3, 4, 24, 33, 131_072, 1 << 31, u32::MAX] {
        let raw = Raw::valid().with(pair(key, 4, &n.to_le_bytes()));
        add(all, format!("alignment {n}"), raw, Corrupt, &["general.alignment", &format!(" {n} "), "power of two"]);
    }
    for (ty, value) in [(10, &32u64.to_le_bytes()[..]), (5, &32i32.to_le_bytes()), (6, &32f32.to_le_bytes()), (7, &[1])]
    {
        let raw = Raw::valid().with(pair(key, ty, value));
        add(all, format!("alignment of type {ty}"), raw, Corrupt, &["general.alignment", "of type u32"]);
    }
    let raw = Raw::valid().with(pair(key, 8, &text(b"32")));
    add(all, "alignment in words", raw, Corrupt, &["general.alignment", "\"32\" of type string"]);
}

fn names_and_shapes(all: &mut Vec<Attack>) {
    let v = |change: &dyn Fn(&mut Tensor)| Raw::valid().but(|r| change(&mut r.tensors[1]));
    for n in COUNTS {
        let raw = v(&|t| t.name_len = Some(n));
        add(all, format!("name length {n}"), raw, Corrupt, &["name of tensor number 1", &n.to_string()]);
    }
    add(all, "empty name", v(&|t| t.name = vec![]), Corrupt, &["name of tensor number 1", "0 bytes"]);
    add(all, "name of 65 bytes", v(&|t| t.name = vec![b'n'; 65]), Limit, &["name of tensor number 1", "65 bytes"]);
    add(all, "name not UTF-8", v(&|t| t.name = vec![0xc0]), Corrupt, &["name of tensor number 1", "UTF-8"]);
    add(all, "name with NUL", v(&|t| t.name = b"b\0".into()), Corrupt, &["name of tensor number 1", "NUL"]);
    add(all, "name twice", v(&|t| t.name = b"a.weight".into()), Corrupt, &["a.weight is listed twice"]);
    for rank in [0, 5, 255, u32::MAX] {
        let says = format!("n_dimensions is {rank}, expected 1 to 4");
        add(all, format!("rank {rank}"), v(&|t| t.rank = Some(rank)), Corrupt, &["tensor b.weight", &says]);
    }
    add(all, "dimension 0", v(&|t| t.dims = vec![64, 0]), Corrupt, &["tensor b.weight: dimension 1 is 0"]);
    let wraps: [(&[u64], u32); 9] = [
        (&[1 << 32, 1 << 32], 0),
        (&[1 << 62], 0),
        (&[1 << 63], 0),
        (&[u64::MAX], 0),
        (&[u64::MAX - 31], 2),
        (&[1 << 16, 1 << 16, 1 << 16, 1 << 16], 1),
        (&[32, 1 << 63, 2], 2),
        (&[1 << 61], 28),
        (&[8, u64::MAX / 8 + 3], 24),
    ];
    for (dims, ty) in wraps {
        let raw = v(&|t| (t.dims, t.ty) = (dims.into(), ty));
        add(all, format!("dims {dims:?} of type {ty}"), raw, Corrupt, &["tensor b.weight", &format!("{dims:?}")]);
    }
    for ty in [4, 5, 31, 36, 99, u32::MAX] {
        let raw = v(&|t| t.ty = ty);
        add(all, format!("tensor type {ty}"), raw, Unsupported, &["tensor b.weight", &format!("type {ty} is unknown")]);
    }
    let raw = v(&|t| t.dims = vec![33, 3]);
    add(all, "part of a block", raw, Corrupt, &["tensor b.weight", "33 values", "Q4_0 blocks of 32"]);
}

fn layout(all: &mut Vec<Attack>) {
    let at = |i: usize, offset| Raw::valid().but(|r| r.tensors[i].offset = offset);
    for offset in [1, 65, 80, 96 - 1] {
        let says = format!("tensor b.weight: offset {offset} is not a multiple of the alignment 32");
        add(all, format!("offset {offset}"), at(1, offset), Corrupt, &[&says]);
    }
    add(all, "overlap with the first", at(1, 0), Corrupt, &["tensor b.weight: offset 0 overlaps a.weight"]);
    add(all, "overlap by half", at(1, 32), Corrupt, &["tensor b.weight: offset 32 overlaps a.weight"]);
    add(all, "all at once", at(2, 64), Corrupt, &["tensor c.weight: offset 64 overlaps b.weight"]);
    add(all, "hole", at(1, 96), Corrupt, &["tensor b.weight: offset 96 leaves a hole after a.weight", "expected 64"]);
    add(all, "hole at the front", at(0, 32), Corrupt, &["tensor a.weight: offset 32 leaves a hole"]);
    let swapped = Raw::valid().but(|r| r.tensors.swap(0, 2));
    add(all, "not in order", swapped, Corrupt, &["tensor c.weight: offset 192"]);
    for offset in [224, 1 << 20, 1 << 40, 1 << 63, u64::MAX - 31] {
        let raw = at(2, offset);
        add(all, format!("offset {offset} past the end"), raw, Corrupt, &["tensor c.weight: offset", "past the end"]);
    }
    let raw = Raw::valid().but(|r| r.tensors[2].dims = vec![64, 1 << 40]);
    add(all, "size past the end", raw, Corrupt, &["tensor c.weight", "140737488355328 bytes run past the end"]);
    for more in [1, 32, 1 << 20] {
        let raw = Raw::valid().but(|r| r.data.resize(224 + more, 7));
        add(all, format!("{more} bytes after the padding"), raw, Corrupt, &["bytes follow c.weight"]);
    }
    let raw = Raw::valid().but(|r| (r.tensors, r.data) = (vec![], vec![7; 64]));
    add(all, "bytes after a header without tensors", raw, Corrupt, &["bytes follow the header"]);
}

fn truncated(all: &mut Vec<Attack>) {
    let whole = Raw::valid().bytes();
    for i in 1..16 {
        let file = whole[..whole.len() * i / 16].to_vec();
        add_bytes(all, format!("truncated at {i}/16"), file, Corrupt, &[]);
    }
    let end = Raw::valid().content_end();
    add_bytes(all, "last byte missing", whole[..end - 1].to_vec(), Corrupt, &["tensor c.weight", "past the end"]);
}

#[test]
fn every_attack_is_refused_with_its_kind_and_the_field_named() {
    let before = peak_kib();
    let all = all();
    assert!(all.len() >= 150, "{}", all.len());
    for Attack { name, file, kind, says } in all {
        let e = Gguf::from_bytes("attack.gguf", file).err().unwrap_or_else(|| panic!("{name}: accepted"));
        assert_eq!(e.kind(), kind, "{name}: {e}");
        assert!(e.message().starts_with("attack.gguf: "), "{name}: {e}");
        assert!(e.message().len() < 400, "{name}: {e}");
        for part in says {
            assert!(e.message().contains(&part), "{name}: {e} does not say {part:?}");
        }
    }
    assert_little_memory(before);
}

#[test]
fn every_prefix_is_refused_until_only_padding_is_missing() {
    let raw = Raw::valid();
    let whole = raw.bytes();
    for len in 0..raw.content_end() {
        let e =
            Gguf::from_bytes("prefix", whole[..len].to_vec()).err().unwrap_or_else(|| panic!("{len} bytes accepted"));
        assert_eq!(e.kind(), Corrupt, "{len}: {e}");
    }
    for len in raw.content_end()..=whole.len() {
        assert!(Gguf::from_bytes("prefix", whole[..len].to_vec()).is_ok(), "{len}");
    }
}
