//! Rotations and temperatures against 60-digit arithmetic (`tests/data/rope.json`, made by `tests/data/make_rope.py`).

use serde_json::Value;

use super::{Rope, Temperature};

fn fixture() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/rope.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn rotations_are_exact_beyond_ten_million_positions() {
    let doc = fixture();
    let frequencies: Vec<f32> = numbers(&doc["frequencies"]).iter().map(|f| *f as f32).collect();
    let rope = Rope { frequencies, corrected: false };
    let n = rope.frequencies.len();
    let rows = doc["rows"].as_array().unwrap();
    assert!(rows.iter().any(|r| r["position"].as_u64() > Some(10_000_000)));
    for row in rows {
        let p = row["position"].as_u64().unwrap() as usize;
        let (mut cos, mut sin) = (vec![0.0; n], vec![0.0; n]);
        rope.angles(p, &mut cos, &mut sin);
        for (got, want) in [(&cos, numbers(&row["cos"])), (&sin, numbers(&row["sin"]))] {
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                // The values are single precision; nothing else may be lost.
                assert!((f64::from(*got) - want).abs() <= 6e-8, "position {p}, pair {i}: {got} for {want}");
            }
        }
    }
}

#[test]
fn temperatures_step_where_the_formula_does_at_any_position() {
    let scout = Temperature { floor: 8192.0, scale: 0.1 };
    for row in fixture()["rows"].as_array().unwrap() {
        let p = row["position"].as_u64().unwrap() as usize;
        let (got, want) = (f64::from(scout.at(p)), row["temperature"].as_f64().unwrap());
        assert!((got - want).abs() <= 1.2e-7, "position {p}: {got} for {want}");
    }
    // The table of the reference: s(8190) = 1, s(8191) = 1.06931, s(10485759) = 1.71554.
    assert_eq!(scout.at(8190), 1.0);
    assert!((scout.at(8191) - 1.069_31).abs() < 5e-6 && (scout.at(10_485_759) - 1.715_54).abs() < 5e-6);
}
