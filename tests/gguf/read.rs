//! Reading: files of the PyPI package `gguf`, the getters, limits, versions.

use std::borrow::Cow;
use std::path::PathBuf;

use palisade::CancelFlag;
use palisade::error::Kind;
use palisade::gguf::{Array, Gguf, Limits, PerLayer, TensorType, Value};
use palisade::quant::{BlockType, dequantize};

use crate::raw::{Raw, array, pair};

/// A file of tests/data/gguf, written by tests/data/make_gguf.py.
pub(crate) fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", "gguf", name].iter().collect()
}

/// Element `i` of every tensor that make_gguf.py writes.
pub(crate) fn ramp(i: usize) -> f32 {
    ((i * 7 + 3) % 29) as f32 / 8.0 - 14.0 / 8.0
}

/// All values of a tensor.
pub(crate) fn values(gguf: &Gguf, name: &str) -> Vec<f32> {
    let t = gguf.tensor(name).unwrap();
    let mut bytes = vec![0; t.bytes as usize];
    gguf.read(t, 0, &mut bytes).unwrap();
    let mut out = vec![0.0; t.elements() as usize];
    dequantize(t.block_type().unwrap(), &bytes, &mut out).unwrap();
    out
}

#[test]
fn metadata_of_the_gguf_package_is_read_in_all_types() {
    let gguf = Gguf::open(fixture("pypi.gguf")).unwrap();
    let meta = gguf.metadata();
    assert_eq!((gguf.version(), gguf.architecture().unwrap()), (3, "llama4"));
    let expected = [
        ("t.u8", Value::U8(200)),
        ("t.i8", Value::I8(-100)),
        ("t.u16", Value::U16(60_000)),
        ("t.i16", Value::I16(-30_000)),
        ("t.u32", Value::U32(4_000_000_000)),
        ("t.i32", Value::I32(-2_000_000_000)),
        ("t.f32", Value::F32(0.1)),
        ("t.bool", Value::Bool(true)),
        ("t.string", Value::Str("naïve café".into())),
        ("t.u64", Value::U64((1 << 63) + 1)),
        ("t.i64", Value::I64(-(1 << 62))),
        ("t.f64", Value::F64(0.1)),
        ("t.a_i32", Value::Array(Array::I32(vec![-1, 0, 7]))),
        ("t.a_f32", Value::Array(Array::F32(vec![0.5, -0.25]))),
        ("t.a_bool", Value::Array(Array::Bool(vec![true, false, true]))),
        ("general.alignment", Value::U32(64)),
    ];
    for (key, value) in &expected {
        assert_eq!(meta.get(key), Some(value), "{key}");
    }
    let strings = meta.require_str_array("t.a_string").unwrap();
    assert_eq!(strings.iter().collect::<Vec<_>>(), ["Ġthe", "", "漢字", &"x".repeat(300)]);
    assert_eq!((strings.len(), strings.get(2), strings.get(4)), (4, Some("漢字"), None));
    assert_eq!(meta.keys().next(), Some("general.architecture"));
    assert_eq!(meta.len(), expected.len() + 2);
}

#[test]
fn tensors_of_the_gguf_package_have_their_values() {
    let gguf = Gguf::open(fixture("pypi.gguf")).unwrap();
    let embd = gguf.tensor("token_embd.weight").unwrap();
    assert_eq!((embd.dims.as_slice(), embd.cols(), embd.rows()), (&[64, 5][..], 64, 5));
    assert_eq!(embd.offset % 64, 0, "the file's own alignment");
    for (name, bound) in [
        ("token_embd.weight", 0.0),
        ("half.weight", 0.0),
        ("blk.0.BF16.weight", 0.0),
        ("blk.0.Q8_0.weight", 1.75 / 254.0 + 1e-3),
        ("blk.0.Q4_0.weight", 1.75 / 8.0 + 1e-3),
    ] {
        let got = values(&gguf, name);
        assert!(got.len() >= 21, "{name}");
        for (i, x) in got.iter().enumerate() {
            assert!((x - ramp(i)).abs() <= bound, "{name} value {i}: {x} for {}", ramp(i));
        }
    }
}

#[test]
fn reads_by_position_stay_inside_the_tensor() {
    let gguf = Gguf::open(fixture("pypi.gguf")).unwrap();
    let t = gguf.tensor("token_embd.weight").unwrap();
    let mut four = [0; 4];
    gguf.read(t, 4 * 70, &mut four).unwrap();
    assert_eq!(f32::from_le_bytes(four), ramp(70));
    gguf.read(t, t.bytes, &mut []).unwrap();
    for offset in [t.bytes - 3, t.bytes, u64::MAX - 1, u64::MAX] {
        let e = gguf.read(t, offset, &mut four).unwrap_err();
        assert_eq!(e.kind(), Kind::Argument);
        assert!(e.message().contains("token_embd.weight"), "{e}");
    }
}

#[test]
fn a_type_this_build_does_not_read_is_listed_and_fails_on_use() {
    let gguf = Gguf::open(fixture("pypi.gguf")).unwrap();
    let other = gguf.tensor("other.weight").unwrap();
    assert_eq!((other.ty, other.ty.to_string(), other.bytes), (TensorType::Unsupported(40), "NVFP4".into(), 2 * 36));
    let e = other.block_type().unwrap_err();
    assert_eq!(e.kind(), Kind::Unsupported);
    assert_eq!(e.message(), "tensor other.weight: type NVFP4 (40) is not supported by this build");
    assert_eq!(gguf.tensor("half.weight").unwrap().block_type().unwrap(), BlockType::F16);
    assert!(gguf.tensor("none").is_none());
}

#[test]
fn getters_convert_what_fits_and_refuse_the_rest_by_name() {
    let gguf = Gguf::open(fixture("pypi.gguf")).unwrap();
    let meta = gguf.metadata();
    assert_eq!(meta.get_u32("t.u8").unwrap(), Some(200));
    assert_eq!(meta.get_u64("t.u64").unwrap(), Some((1 << 63) + 1));
    assert_eq!(meta.get_f32("t.f64").unwrap(), Some(0.1));
    assert_eq!(meta.get_f32("t.i8").unwrap(), Some(-100.0));
    assert_eq!((meta.get_bool("t.bool").unwrap(), meta.get_bool("t.u8").unwrap()), (Some(true), Some(true)));
    assert_eq!(meta.get_i32_array("t.a_i32").unwrap(), Some(Cow::Borrowed(&[-1, 0, 7][..])));
    assert_eq!(meta.get_u32_or_array("t.u16").unwrap(), Some(PerLayer::All(60_000)));
    assert_eq!(meta.get_bool_array("t.a_bool").unwrap(), Some(&[true, false, true][..]));
    assert_eq!((meta.get_u32("none").unwrap(), meta.get_str("none").unwrap()), (None, None));

    let refused = [
        (meta.get_u32("t.i8").err(), "metadata t.i8: -100 is of type i8"),
        (meta.get_u32("t.u64").err(), "metadata t.u64: 9223372036854775809 is of type u64"),
        (meta.get_u32("t.f32").err(), "metadata t.f32: 0.1 is of type f32"),
        (meta.get_f32("t.bool").err(), "metadata t.bool: true is of type bool"),
        (meta.get_bool("t.f32").err(), "metadata t.f32"),
        (meta.get_str("t.u8").err(), "expected a string"),
        (
            meta.get_str_array("t.a_i32").err(),
            "array of i32 of 3 elements is of type array of i32, expected an array of string",
        ),
        (meta.get_f32_array("t.a_i32").err(), "expected an array of f32"),
        (meta.get_u32_array("t.a_i32").err(), "metadata t.a_i32: element 0 is -1"),
        (meta.get_u32_or_array("t.string").err(), "metadata t.string"),
        (meta.get_i32_array("t.u8").err(), "metadata t.u8"),
        (meta.require_u32("none").err(), "metadata none is missing"),
        (meta.require_str_array("none").err(), "metadata none is missing"),
    ];
    for (e, says) in refused {
        let e = e.unwrap();
        assert_eq!(e.kind(), Kind::Corrupt, "{e}");
        assert!(e.message().contains(says), "{e} does not say {says:?}");
    }
}

#[test]
fn per_layer_numbers_come_as_one_or_many() {
    let many = pair(b"n", 9, &array(5, 3, &[8, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0]));
    let gguf = Gguf::from_bytes("many", Raw::valid().with(many).bytes()).unwrap();
    let n = gguf.metadata().get_u32_or_array("n").unwrap().unwrap();
    assert_eq!((n.get(0), n.get(2), n.get(3)), (Some(8), Some(2), None));
    assert_eq!(PerLayer::All(8).get(70), Some(8));
}

#[test]
fn version_2_reads_like_version_3() {
    let gguf = Gguf::from_bytes("v2", Raw::valid().but(|r| r.version = 2).bytes()).unwrap();
    assert_eq!(gguf.version(), 2);
    assert_eq!(gguf.tensors().len(), 3);
    assert_eq!(values(&gguf, "a.weight").len(), 16);
}

#[test]
fn each_limit_can_be_lowered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, Raw::valid().bytes()).unwrap();
    let all = Limits::default();
    let lowered = [
        (Limits { pairs: 4, ..all }, "metadata_kv_count"),
        (Limits { key_bytes: 19, ..all }, "length is 20, the limit is 19"),
        (Limits { string_bytes: 5, ..all }, "metadata general.architecture: length is 6"),
        (Limits { array_items: 2, ..all }, "metadata tokenizer.ggml.tokens: array length is 3"),
        (Limits { metadata_bytes: 900, ..all }, "metadata passes the limit of 900 bytes"),
        (Limits { tensors: 2, ..all }, "tensor_count is 3"),
        (Limits { name_bytes: 7, ..all }, "8 bytes long"),
    ];
    for (limits, says) in lowered {
        let e = Gguf::open_with(&path, &limits, &CancelFlag::new()).unwrap_err();
        assert_eq!(e.kind(), Kind::Limit, "{e}");
        assert!(e.message().contains(says), "{e} does not say {says:?}");
    }
    assert!(Gguf::open_with(&path, &all, &CancelFlag::new()).is_ok());
}

#[test]
fn a_raised_flag_stops_the_open() {
    let cancel = CancelFlag::new();
    cancel.raise();
    let e = Gguf::open_with(fixture("pypi.gguf"), &Limits::default(), &cancel).unwrap_err();
    assert_eq!(e.kind(), Kind::Cancelled);
}
