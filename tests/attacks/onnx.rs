//! Hostile ONNX files: one for each rule, every prefix of a valid one, and thousands of mutations. Each gives one clear error
//! or a model that works; none panics the caller, hangs, or fills the memory.

use std::path::Path;
use std::time::{Duration, Instant};

use palisade::Kind;
use palisade::engine::{OnnxClassifier, OnnxOptions};

use super::protobuf::*;

fn load(model: &[u8]) -> palisade::Result<OnnxClassifier> {
    OnnxClassifier::from_bytes("hostile.onnx", model)
}

/// Breaks a rule, in the valid model, and says which kind of error and which words are expected.
type Case = (fn(&mut Model), Kind, &'static str);

fn refused(cases: &[Case]) {
    for (n, (breaks, kind, words)) in cases.iter().enumerate() {
        let mut model = Model::valid();
        breaks(&mut model);
        let started = Instant::now();
        let Err(error) = load(&model.bytes()) else { panic!("case {n} is taken, expected {words}") };
        assert!(
            error.kind() == *kind && error.message().contains(words),
            "case {n}, {words}: {:?} {error}",
            error.kind()
        );
        assert!(error.message().len() < 2000, "{words}: {} bytes", error.message().len());
        assert!(started.elapsed() < Duration::from_secs(10), "{words}: {:?}", started.elapsed());
    }
}

#[test]
fn the_model_they_are_made_from_works() {
    let model = load(&Model::valid().bytes()).unwrap();
    assert_eq!(model.labels(), 2);
    let logits = model.logits(&[1, 2, 7], &[1, 1, 0], 1, 3, &|| Ok(())).unwrap();
    assert_eq!(logits, [-1.25, -1.0]);
}

#[test]
fn files_that_are_not_one_graph_of_known_operators() {
    refused(&[
        (|m| m.tail = bytes(7, m.graph()), Kind::Corrupt, "two graphs"),
        (|m| m.tail = bytes(25, []), Kind::Unsupported, "functions"),
        (|m| m.tail = bytes(20, []), Kind::Unsupported, "training"),
        (|m| m.tail = m.opset.clone(), Kind::Corrupt, "operator set twice"),
        (|m| m.opset = Vec::new(), Kind::Unsupported, "operator set None"),
        (|m| m.opset = bytes(8, int(2, 99)), Kind::Unsupported, "operator set Some(99)"),
        (|m| m.opset = bytes(8, int(2, -1)), Kind::Unsupported, "operator set Some(-1)"),
        (|m| m.graph_tail = bytes(15, []), Kind::Unsupported, "sparse"),
        (|m| m.nodes[0] = node("If", &["input_ids"], &["rows"], &[]), Kind::Unsupported, "operator \"If\""),
        (|m| m.nodes[0] = node("QMoE", &["input_ids"], &["rows"], &[]), Kind::Unsupported, "node \"n.QMoE\" (QMoE)"),
        (|m| m.nodes[0].extend(bytes(7, "com.microsoft")), Kind::Unsupported, "domain \"com.microsoft\""),
        (
            |m| m.nodes[0].extend(bytes(5, [bytes(1, "body"), bytes(6, Model::valid().graph())].concat())),
            Kind::Unsupported,
            "\"body\"",
        ),
        (|m| m.nodes[0].extend(bytes(5, [bytes(1, "a"), bytes(21, "b")].concat())), Kind::Unsupported, "\"a\""),
        (|m| m.outputs = vec![value("nobody", FLOAT, 2)], Kind::Corrupt, "\"nobody\""),
        (|m| m.outputs = vec![value("table", FLOAT, 2)], Kind::Corrupt, "\"table\""),
        (|m| m.outputs.clear(), Kind::Corrupt, "the outputs are []"),
        (|m| m.inputs.push(value("pixels", FLOAT, 4)), Kind::Corrupt, "\"pixels\""),
        (|m| drop(m.inputs.pop()), Kind::Corrupt, "the inputs are [\"input_ids\"]"),
        (|m| m.inputs[0] = value("input_ids", INT64, 300), Kind::Limit, "300 dimensions"),
        (|m| m.inputs[0] = [bytes(1, "input_ids"), bytes(2, bytes(4, []))].concat(), Kind::Unsupported, "no tensor"),
        (|m| m.nodes.swap(0, 3), Kind::Corrupt, "which nothing before it makes"),
        (|m| m.nodes.push(m.nodes[0].clone()), Kind::Corrupt, "stands for two values"),
        (|m| m.initializers.push(m.initializers[0].clone()), Kind::Corrupt, "stands for two values"),
        (|m| m.nodes[0] = node("Gather", &["table", "input_ids"], &[], &[]), Kind::Corrupt, "no output"),
        (|m| m.outputs = vec![value("rows", FLOAT, 3)], Kind::Corrupt, "expected f32 logits"),
    ]);
    let no_graph = load(&int(1, 8)).unwrap_err();
    assert_eq!(no_graph.kind(), Kind::Unsupported, "{no_graph}");
    for model in [&b""[..], b"\x00", b"{}", b"GGUF", &[0xff; 64]] {
        assert!(load(model).is_err());
    }
}

#[test]
fn files_whose_wire_format_is_broken() {
    refused(&[
        (|m| m.tail = vec![0x0b], Kind::Corrupt, "wire type 3"),
        (|m| m.tail = vec![0x0c], Kind::Corrupt, "wire type 4"),
        (|m| m.graph_tail = vec![0x0f], Kind::Corrupt, "wire type 7"),
        (
            |m| m.tail = vec![0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            Kind::Corrupt,
            "bytes, 0 are left",
        ),
        (|m| m.graph_tail = vec![0x12, 5, 1], Kind::Corrupt, "claims 5 bytes, 1 are left"),
        (|m| m.tail = vec![0x80; 12], Kind::Corrupt, "a number without an end"),
        (|m| m.tail = vec![0x00], Kind::Corrupt, "field number 0"),
        (|m| m.nodes[0].extend(bytes(4, [0xff, 0xfe])), Kind::Corrupt, "UTF-8"),
        (|m| m.nodes[0].extend(bytes(1, vec![b'x'; 2000])), Kind::Limit, "a name of 2000 bytes"),
        (|m| m.nodes[0].extend(int(4, 3)), Kind::Corrupt, "is not bytes"),
        (|m| m.nodes[0].extend(bytes(1, "").repeat(1100)), Kind::Limit, "1024 inputs"),
        (|m| m.nodes[0].extend(attribute_int("a", 1).repeat(40)), Kind::Limit, "32 attributes"),
        (|m| m.nodes[0].extend(attribute_ints("a", &[1; 5000])), Kind::Limit, "4096 integers"),
        (|m| m.nodes.extend(vec![node("Identity", &["table"], &["x"], &[]); 20_001]), Kind::Limit, "20000 nodes"),
    ]);
}

#[test]
fn tensors_whose_data_is_not_what_their_dimensions_say() {
    fn table(m: &mut Model, tensor: Vec<u8>) {
        m.initializers[0] = tensor;
    }
    refused(&[
        (|m| table(m, floats("table", &[-1, 2], &[])), Kind::Corrupt, "dimensions [-1, 2]"),
        (|m| table(m, floats("table", &[1 << 31, 1 << 31, 1 << 31], &[])), Kind::Limit, "dimensions [2147483648"),
        (|m| table(m, floats("table", &[1 << 62, 0], &[])), Kind::Limit, "dimensions [4611686018427387904, 0]"),
        (|m| table(m, floats("table", &[1; 300], &[1.0])), Kind::Limit, "more than 8 integers"),
        (|m| table(m, floats("table", &[8, 2], &[0.0; 15])), Kind::Corrupt, "need 64 bytes of F32, 60 bytes"),
        (|m| table(m, head("table", &[8, 2], FLOAT)), Kind::Corrupt, "no data"),
        (|m| table(m, [head("table", &[2], FLOAT), bytes(4, [0; 12])].concat()), Kind::Corrupt, "3 values in field 4"),
        (
            |m| table(m, [head("table", &[2], FLOAT), repeated(7, &[1, 2])].concat()),
            Kind::Corrupt,
            "2 values in field 7",
        ),
        (
            |m| table(m, [floats("table", &[1], &[0.0]), bytes(4, [0; 4])].concat()),
            Kind::Corrupt,
            "more than one place",
        ),
        (|m| table(m, [floats("table", &[1], &[0.0]), bytes(9, [0; 4])].concat()), Kind::Corrupt, "two data fields"),
        (|m| table(m, [head("table", &[1], 8), bytes(9, [0; 8])].concat()), Kind::Unsupported, "element type 8"),
        (|m| table(m, [head("table", &[1], 8), bytes(6, "text")].concat()), Kind::Unsupported, "element type 8"),
        (
            |m| table(m, [head("table", &[1], 1 << 32 | 1), bytes(9, [0; 4])].concat()),
            Kind::Unsupported,
            "element type",
        ),
        (|m| table(m, [floats("table", &[1], &[0.0]), bytes(3, [])].concat()), Kind::Unsupported, "segments"),
        (|m| table(m, external("table", &[8, 2], &[("location", "w")])), Kind::Unsupported, "open it by its path"),
        (
            |m| m.nodes[0].extend(attribute_tensor("value", &external("", &[8], &[("location", "w")]))),
            Kind::Unsupported,
            "a constant keeps its data in another file",
        ),
        (|m| m.nodes[0].extend(attribute_tensor("value", &floats("", &[3], &[0.0]))), Kind::Corrupt, "need 12 bytes"),
    ]);
}

#[test]
fn constants_that_would_fill_the_memory() {
    fn beside(m: &mut Model, op: &str, inputs: &[&str], tensors: Vec<Vec<u8>>) {
        *m = m.clone().beside(vec![node(op, inputs, &["big"], &[])], tensors);
    }
    refused(&[
        (
            |m| beside(m, "ConstantOfShape", &["s"], vec![ints("s", &[1], &[1 << 40])]),
            Kind::Limit,
            "with the sizes [1099511627776]",
        ),
        (|m| beside(m, "ConstantOfShape", &["s"], vec![ints("s", &[4], &[1 << 16; 4])]), Kind::Limit, "while loading"),
        (
            |m| beside(m, "Expand", &["table", "s"], vec![ints("s", &[3], &[1 << 29, 8, 2])]),
            Kind::Limit,
            "while loading",
        ),
        (
            |m| beside(m, "Tile", &["table", "s"], vec![ints("s", &[2], &[1 << 30, 1 << 30])]),
            Kind::Limit,
            "while loading",
        ),
        (
            |m| {
                beside(
                    m,
                    "Range",
                    &["a", "b", "c"],
                    [("a", 0), ("b", 1 << 28), ("c", 1)].map(|(n, v)| ints(n, &[], &[v])).to_vec(),
                )
            },
            Kind::Limit,
            "while loading",
        ),
        (
            |m| {
                let tall = floats("tall", &[1 << 14, 1], &vec![0.0; 1 << 14]);
                let wide = floats("wide", &[1, 1 << 14], &vec![0.0; 1 << 14]);
                beside(m, "MatMul", &["tall", "wide"], vec![tall, wide]);
            },
            Kind::Limit,
            "while loading",
        ),
        (
            |m| {
                let mut nodes: Vec<Vec<u8>> = vec![node("ConstantOfShape", &["s"], &["x0"], &[])];
                for i in 1..20 {
                    let (x, y, z) = (format!("x{}", i - 1), format!("y{i}"), format!("x{i}"));
                    nodes.push(node("ConstantOfShape", &["s"], &[&y], &[]));
                    nodes.push(node("Add", &[&x, &y], &[&z], &[]));
                }
                nodes.push(node("Identity", &["x19"], &["big"], &[]));
                *m = m.clone().beside(nodes, vec![ints("s", &[1], &[15 << 20])]);
            },
            Kind::Limit,
            "while loading",
        ),
        (
            |m| beside(m, "Reshape", &["table", "s"], vec![ints("s", &[2], &[-1, -1])]),
            Kind::Limit,
            "with the sizes [-1, -1]",
        ),
        (
            |m| beside(m, "Reshape", &["table", "s"], vec![ints("s", &[2], &[-2, 8])]),
            Kind::Limit,
            "with the sizes [-2, 8]",
        ),
        (
            |m| beside(m, "Reshape", &["table", "s"], vec![ints("s", &[300], &[1; 300])]),
            Kind::Limit,
            "with the sizes [1, 1",
        ),
        (
            |m| beside(m, "Unsqueeze", &["table", "s"], vec![ints("s", &[9], &[0, 1, 2, 3, 4, 5, 6, 7, 8])]),
            Kind::Limit,
            "dimensions",
        ),
        (
            |m| m.nodes[0] = node("Conv", &["table", "table"], &["rows"], &attribute_ints("pads", &[1 << 40; 4])),
            Kind::Limit,
            "\"pads\"",
        ),
    ]);
}

/// tract panics over some of these; the caller sees an error.
#[test]
fn arithmetic_that_has_no_result() {
    for (a, b) in [(1, 0), (i64::MIN, -1), (i64::MAX, 0)] {
        for op in ["Div", "Mod"] {
            let constants = vec![ints("a", &[1], &[a]), ints("b", &[1], &[b])];
            let model = Model::valid().beside(vec![node(op, &["a", "b"], &["big"], &[])], constants);
            match load(&model.bytes()) {
                Ok(model) => drop(model.logits(&[1], &[1], 1, 1, &|| Ok(()))),
                Err(error) => assert!(!error.message().is_empty(), "{op} {a} {b}"),
            }
        }
    }
}

#[test]
fn a_run_that_would_fill_the_memory_is_refused_for_its_shape() {
    let mut model = Model::valid();
    model.nodes[3] = node("Mul", &["rows", "mask"], &["thin"], &[]);
    model.nodes.insert(4, node("Tile", &["thin", "times"], &["kept"], &[]));
    model.initializers.push(ints("times", &[3], &[1, 1 << 12, 1]));
    let model = load(&model.bytes()).unwrap();
    assert!(model.logits(&[1], &[1], 1, 1, &|| Ok(())).is_ok());
    let error = model.logits(&[1; 60_000], &[1; 60_000], 1, 60_000, &|| Ok(())).unwrap_err();
    assert_eq!(error.kind(), Kind::Limit, "{error}");
}

/// A folder with the valid model, its table in another file.
fn folder(entries: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Model::valid();
    model.initializers[0] = external("table", &[8, 2], entries);
    std::fs::write(folder.path().join("model.onnx"), model.bytes()).unwrap();
    folder
}

fn open(folder: &Path) -> palisade::Result<OnnxClassifier> {
    let started = Instant::now();
    let opened = OnnxClassifier::open(&folder.join("model.onnx"), &OnnxOptions::default());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    opened
}

#[test]
fn weights_in_a_file_beside_the_model_are_read() {
    let folder = folder(&[("location", "weights"), ("offset", "4"), ("length", "64")]);
    let table: Vec<u8> = (0..17).flat_map(|i| (i as f32).to_le_bytes()).collect();
    std::fs::write(folder.path().join("weights"), table).unwrap();
    let logits = open(folder.path()).unwrap().logits(&[3], &[1], 1, 1, &|| Ok(())).unwrap();
    assert_eq!(logits, [7.0, 8.0]);
}

#[test]
fn weights_elsewhere_than_in_a_plain_file_of_the_folder_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, [0; 64]).unwrap();
    let absolute = secret.to_str().unwrap();
    for location in ["../secret", absolute, "a/../../secret", "./w", "", "..", "sub/w", "a\\b", "C:w", "w\0x"] {
        let folder = folder(&[("location", location)]);
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        std::fs::write(folder.path().join("sub/w"), [0; 64]).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{location:?}: {error}");
        assert!(error.message().contains("expected the name of a file"), "{error}");
    }
    for (entries, kind) in [
        (&[("location", "w"), ("offset", "1")][..], Kind::Corrupt),
        (&[("location", "w"), ("offset", "-1")], Kind::Corrupt),
        (&[("location", "w"), ("offset", "18446744073709551615")], Kind::Corrupt),
        (&[("location", "w"), ("offset", "99999999999999999999")], Kind::Corrupt),
        (&[("location", "w"), ("length", "63")], Kind::Corrupt),
        (&[("location", "w"), ("length", "")], Kind::Corrupt),
        (&[("location", "w"), ("mode", "rw")], Kind::Corrupt),
        (&[("location", "absent")], Kind::Io),
    ] {
        let folder = folder(entries);
        std::fs::write(folder.path().join("w"), [0; 64]).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert_eq!(error.kind(), kind, "{entries:?}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn links_pipes_and_folders_are_no_weights() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, [0; 64]).unwrap();
    type Put = fn(&Path, &Path);
    let puts: [Put; 5] = [
        |secret, to| std::os::unix::fs::symlink(secret, to).unwrap(),
        |secret, to| std::fs::hard_link(secret, to).unwrap(),
        |_, to| std::os::unix::fs::symlink("/dev/zero", to).unwrap(),
        |_, to| std::fs::create_dir(to).unwrap(),
        |_, to| assert!(std::process::Command::new("mkfifo").arg(to).status().unwrap().success()),
    ];
    for (n, put) in puts.iter().enumerate() {
        let folder = folder(&[("location", "w")]);
        put(&secret, &folder.path().join("w"));
        let error = open(folder.path()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{n}: {error}");
        assert!(error.message().contains("link"), "{n}: {error}");
        let folder = tempfile::tempdir().unwrap();
        // A model that is a link is the host's own choice.
        if n >= 3 {
            put(&secret, &folder.path().join("model.onnx"));
            assert_eq!(open(folder.path()).unwrap_err().kind(), Kind::Argument);
        }
    }
}

#[test]
fn tensors_that_share_their_place_to_grow_are_refused() {
    let folder = folder(&[("location", "w")]);
    let mut model = Model::valid();
    model.initializers[0] = external("table", &[8, 2], &[("location", "w")]);
    for n in 0..3 {
        model.initializers.push(external(&format!("t{n}"), &[8, 2], &[("location", "w")]));
    }
    std::fs::write(folder.path().join("model.onnx"), model.bytes()).unwrap();
    std::fs::write(folder.path().join("w"), [0; 100]).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(error.message().contains("claim more bytes than the file's 100"), "{error}");
}

/// Loads a file; if that works, runs the model. The answer does not matter, that there is one does.
fn try_all(model: &[u8]) {
    let started = Instant::now();
    if let Ok(model) = load(model) {
        drop(model.logits(&[1, 2, 3], &[1, 1, 1], 1, 3, &|| Ok(())));
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?} for {:?}", started.elapsed(), model);
}

#[test]
fn every_prefix_and_thousands_of_mutations_end_in_an_answer() {
    // tract's panics are caught by us; their reports would only fill the log.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some("palisade-classifier") {
            usual(info);
        }
    }));
    let valid = Model::valid().bytes();
    for n in 0..valid.len() {
        assert!(load(&valid[..n]).is_err(), "a prefix of {n} bytes");
    }
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % below
    };
    const NASTY: [u8; 10] = [0, 1, 2, 0x7f, 0x80, 0xff, 0x12, 0x3a, 0x08, 0x0a];
    for _ in 0..4000 {
        let mut model = valid.clone();
        for _ in 0..=next(3) {
            let at = next(model.len());
            match next(4) {
                0 => model[at] ^= 1 << next(8),
                1 => model[at] = NASTY[next(NASTY.len())],
                2 => drop(model.remove(at)),
                _ => model.insert(at, NASTY[next(NASTY.len())]),
            }
        }
        try_all(&model);
    }
}

/// The mutations once more, and the constants, in a process that may hold one gibibyte and a half.
#[cfg(target_os = "linux")]
#[test]
fn none_of_this_takes_much_memory() {
    let tests = std::env::current_exe().unwrap();
    for name in ["every_prefix_and_thousands_of_mutations_end_in_an_answer", "constants_that_would_fill_the_memory"] {
        let status = std::process::Command::new("sh")
            .args(["-c", "ulimit -v 1572864; exec \"$0\" --exact \"$1\" --test-threads=1 --quiet"])
            .arg(&tests)
            .arg(format!("attacks::{name}"))
            .env("RUST_BACKTRACE", "0")
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{name}");
    }
}
