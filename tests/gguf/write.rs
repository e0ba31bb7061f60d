//! Writing: what was written is what is read, and nothing half-written ever has the name.

use std::path::Path;

use palisade::error::{Error, Kind};
use palisade::gguf::{Array, Gguf, StrArray, Value, Writer};
use palisade::quant::{BlockType, quantize};

use crate::read::{ramp, values};

/// A writer with every value type and one tensor of every block type, and the tensors' bytes.
fn everything() -> (Writer, Vec<(String, Value)>, Vec<Vec<u8>>) {
    let strings = StrArray::new(["Ġthe", "", "漢字"]).unwrap();
    let arrays = [
        Array::U8(vec![0, 255]),
        Array::I8(vec![-128, 127]),
        Array::U16(vec![65_535]),
        Array::I16(vec![-32_768]),
        Array::U32(vec![u32::MAX, 0]),
        Array::I32(vec![i32::MIN]),
        Array::F32(vec![0.1, -0.0]),
        Array::Bool(vec![true, false]),
        Array::Str(strings),
        Array::U64(vec![u64::MAX]),
        Array::I64(vec![i64::MIN]),
        Array::F64(vec![0.1]),
        Array::I32(vec![]),
        Array::Str(StrArray::default()),
    ];
    let mut values: Vec<Value> = arrays.into_iter().map(Value::Array).collect();
    values.extend([
        200u8.into(),
        (-100i8).into(),
        60_000u16.into(),
        (-30_000i16).into(),
        u32::MAX.into(),
        i32::MIN.into(),
    ]);
    values.extend([
        0.1f32.into(),
        true.into(),
        "naïve".into(),
        u64::MAX.into(),
        i64::MIN.into(),
        0.1f64.into(),
        "".into(),
    ]);
    let mut pairs = vec![("general.architecture".to_owned(), Value::from("llama4"))];
    pairs.extend(values.into_iter().enumerate().map(|(i, value)| (format!("v.{i}"), value)));
    let mut writer = Writer::new();
    for (key, value) in &pairs {
        writer.set(key, value.clone()).unwrap();
    }
    let data = BlockType::ALL.into_iter().enumerate().map(|(i, ty)| {
        let rows = i as u64 % 3 + 1;
        assert_eq!(writer.tensor(&format!("{ty}.weight"), &[256, rows], ty).unwrap(), i);
        let mut bytes = vec![];
        if ty.can_quantize() {
            quantize(ty, &(0..256 * rows as usize).map(ramp).collect::<Vec<_>>(), &mut bytes).unwrap();
        } else {
            bytes.extend((0..ty.row_bytes(256 * rows as usize).unwrap()).map(|i| (i * 37 % 251) as u8));
        }
        bytes
    });
    let data = data.collect();
    (writer, pairs, data)
}

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_written_is_what_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let (writer, pairs, data) = everything();
    // In pieces of a prime size, so that pieces and blocks do not meet.
    writer.write_to(&path, |i, sink| data[i].chunks(97).try_for_each(|piece| sink.write(piece))).unwrap();
    assert_eq!(files(dir.path()), ["m.gguf"]);
    let gguf = Gguf::open(&path).unwrap();
    let read: Vec<_> = gguf.metadata().iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
    assert_eq!(read, pairs);
    assert_eq!(gguf.tensors().len(), data.len());
    for (i, (t, bytes)) in gguf.tensors().iter().zip(&data).enumerate() {
        assert_eq!((t.block_type().unwrap(), t.dims.as_slice()), (BlockType::ALL[i], &[256, i as u64 % 3 + 1][..]));
        let mut got = vec![0; t.bytes as usize];
        gguf.read(t, 0, &mut got).unwrap();
        assert_eq!(&got, bytes, "{}", t.name);
    }
    assert_eq!(values(&gguf, "F32.weight"), (0..256).map(ramp).collect::<Vec<_>>());
    let mut again = vec![];
    writer.write_into(&mut again, |i, sink| sink.write(&data[i])).unwrap();
    assert_eq!(again, std::fs::read(&path).unwrap(), "the same bytes every time");
}

#[test]
fn setting_a_key_again_keeps_its_place() {
    let mut writer = Writer::new();
    for (key, value) in [("a", 1u32), ("b", 2), ("a", 3)] {
        writer.set(key, value).unwrap();
    }
    writer.set("general.alignment", 4096u32).unwrap();
    writer.tensor("t", &[3], BlockType::F32).unwrap();
    writer.tensor("u", &[1], BlockType::F32).unwrap();
    let mut file = vec![];
    writer.write_into(&mut file, |i, sink| sink.write(&[7; 12][..if i == 0 { 12 } else { 4 }])).unwrap();
    let gguf = Gguf::from_bytes("m", file).unwrap();
    assert_eq!(gguf.metadata().keys().collect::<Vec<_>>(), ["a", "b", "general.alignment"]);
    assert_eq!(gguf.metadata().get_u32("a").unwrap(), Some(3));
    let offsets: Vec<_> = gguf.tensors().iter().map(|t| t.offset).collect();
    assert_eq!(offsets, [4096, 8192]);
}

#[test]
fn a_file_without_tensors_is_a_file() {
    let mut file = vec![];
    Writer::new().write_into(&mut file, |_, _| Ok(())).unwrap();
    assert_eq!(file.len(), 32);
    assert_eq!(Gguf::from_bytes("m", file).unwrap().tensors().len(), 0);
}

#[test]
fn what_could_not_be_read_back_is_refused() {
    let mut w = Writer::new();
    w.tensor("t", &[64, 2], BlockType::Q4_0).unwrap();
    let errors = [
        (w.set("", 1u32), Kind::Argument),
        (w.set("a\0b", 1u32), Kind::Argument),
        (w.set(&"k".repeat(65_536), 1u32), Kind::Limit),
        (w.set("s", "x".repeat((16 << 20) + 1)), Kind::Limit),
        (w.set("tokenizer.chat_template", "x".repeat((1 << 20) + 1)), Kind::Limit),
        (w.set("a", Array::U8(vec![0; (4 << 20) + 1])), Kind::Limit),
        (w.set("general.alignment", 64u32), Kind::Argument),
        (Writer::new().set("general.alignment", 3u32), Kind::Argument),
        (Writer::new().set("general.alignment", 64u64), Kind::Argument),
        (w.tensor("t", &[64], BlockType::F32).map(drop), Kind::Argument),
        (w.tensor("", &[64], BlockType::F32).map(drop), Kind::Argument),
        (w.tensor(&"n".repeat(65), &[64], BlockType::F32).map(drop), Kind::Argument),
        (w.tensor("u", &[], BlockType::F32).map(drop), Kind::Argument),
        (w.tensor("u", &[1; 5], BlockType::F32).map(drop), Kind::Argument),
        (w.tensor("u", &[4, 0], BlockType::F32).map(drop), Kind::Argument),
        (w.tensor("u", &[33], BlockType::Q4_0).map(drop), Kind::Argument),
        (w.tensor("u", &[1 << 32, 1 << 32], BlockType::F32).map(drop), Kind::Argument),
    ];
    for (i, (result, kind)) in errors.into_iter().enumerate() {
        assert_eq!(result.err().map(|e| e.kind()), Some(kind), "case {i}");
    }
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, b"the old file").unwrap();
    let (writer, _, data) = everything();
    let few = writer.write_to(&path, |i, sink| sink.write(&data[i][1..])).unwrap_err();
    assert_eq!(few.kind(), Kind::Argument);
    assert!(few.message().contains("tensor F32.weight: 1 of its 1024 bytes were not given"), "{few}");
    let many = writer.write_to(&path, |i, sink| sink.write(&data[i]).and_then(|()| sink.write(&[0]))).unwrap_err();
    assert_eq!(many.kind(), Kind::Argument);
    assert!(many.message().contains("tensor F32.weight: more than its 1024 bytes"), "{many}");
    let own =
        writer.write_to(&path, |i, sink| if i == 3 { Err(Error::cancelled("enough")) } else { sink.write(&data[i]) });
    assert_eq!(own.unwrap_err().kind(), Kind::Cancelled);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        writer.write_to(&path, |_, _| panic!("a fault in the caller")).unwrap();
    }));
    assert!(panicked.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"the old file");
    assert_eq!(files(dir.path()), ["m.gguf"]);
    writer.write_to(&path, |i, sink| sink.write(&data[i])).unwrap();
    assert!(Gguf::open(&path).is_ok());
}

#[test]
fn places_that_take_no_file_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &Path| Writer::new().write_to(path, |_, _| Ok(())).unwrap_err().kind();
    assert_eq!(write(dir.path()), Kind::Argument);
    assert_eq!(write(Path::new("/dev/null")), Kind::Argument);
    assert_eq!(write(&dir.path().join("none").join("m.gguf")), Kind::Io);
    assert_eq!(write(Path::new("..")), Kind::Argument);
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

/// Tells the child below where to write.
const CHILD: &str = "PALISADE_TEST_UNFINISHED";

/// Half a file, and then nothing until the parent kills this process.
#[test]
#[ignore = "the child of a_kill_leaves_the_old_file"]
fn child_that_never_finishes() {
    let path = std::path::PathBuf::from(std::env::var_os(CHILD).expect("started by its parent"));
    let (writer, _, data) = everything();
    let result = writer.write_to(&path, |i, sink| {
        if i == 3 {
            std::fs::write(path.with_extension("ready"), b"").unwrap();
            std::thread::sleep(std::time::Duration::from_secs(60));
        }
        sink.write(&data[i])
    });
    panic!("not killed: {result:?}");
}

#[test]
fn a_kill_leaves_the_old_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    std::fs::write(&path, b"the old file").unwrap();
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "write::child_that_never_finishes"])
        .env(CHILD, &path)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !path.with_extension("ready").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"the old file");
    let left = files(dir.path());
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.iter().any(|name| name.starts_with(".m.gguf.") && name.ends_with(".unfinished")), "{left:?}");
    let (writer, _, data) = everything();
    writer.write_to(&path, |i, sink| sink.write(&data[i])).unwrap();
    assert!(Gguf::open(&path).is_ok());
}
