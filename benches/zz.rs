use palisade::kernels::{self, *};
use std::hint::black_box;
use std::time::Instant;
fn main() {
    let k = kernels::best();
    for d in [64usize, 128] {
        for rows in [1usize, 4, 5, 8, 32] {
            let pages = 1;
            let n = 64;
            let q: Vec<f32> = (0..rows * d).map(|i| (i % 17) as f32 * 0.1).collect();
            let keys: Vec<u16> = vec![0x3c00; n * d * pages];
            let mut scores = vec![0f32; rows * 256];
            let best = |f: &mut dyn FnMut()| {
                let mut b = f64::MAX;
                for _ in 0..200 {
                    let t = Instant::now();
                    for _ in 0..100 {
                        f();
                    }
                    b = b.min(t.elapsed().as_secs_f64() / 100.0);
                }
                b * 1e9
            };
            let s = best(&mut || {
                (k.attn_scores)(black_box(&q), d, Keys::F16(&keys), 0..n, Ahead::NONE, &mut scores, 256);
            });
            let ideal = (rows * d * n / 16) as f64 / 3.7;
            let mut out = vec![0f32; rows * d];
            let m = best(&mut || {
                (k.attn_mix)(black_box(&scores), 256, KvRows::F16(&keys), Ahead::NONE, d, &mut out);
            });
            let mut x = vec![0.5f32; 256 * rows];
            let e = best(&mut || {
                for r in x.chunks_mut(256) {
                    black_box((k.exps)(r));
                }
            });
            let q8: Vec<i8> = vec![3; rows * d];
            let qs = vec![0.1f32; rows * d / 32];
            let k8: Vec<i8> = vec![3; n * d];
            let ks = vec![0x3c00u16; n * d / 32];
            let b8 = best(&mut || {
                (k.attn_scores_q8)(
                    ByteQueries { width: d, q: black_box(&q8), scales: &qs },
                    ByteKeys { q: &k8, scales: &ks },
                    0..n,
                    Ahead::NONE,
                    &mut scores,
                    256,
                );
            });
            let m8 = best(&mut || {
                (k.attn_mix)(black_box(&scores), 256, KvRows::Q8 { q: &k8, scales: &ks }, Ahead::NONE, d, &mut out);
            });
            println!(
                "d {d} rows {rows}: scores {s:.0} ns (ideal {ideal:.0}) mix {m:.0} q8 scores {b8:.0} mix {m8:.0}; exps of 256 {:.0} -> per 64 {:.0}",
                e,
                e / 4.0
            );
        }
    }
}
