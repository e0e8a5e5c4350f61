#![allow(clippy::unwrap_used)]

use candle::Tensor;
use proptest::prelude::*;

use super::super::naive::{close, noise, same_for_any_threads, softmax, values};
use super::super::naive_rows::{probe, runs};
use super::ops::gradients;
use super::*;

/// Sizes on both sides of blocks, of groups of queries and of spans of keys.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..34, 80usize..90, 160usize..180]
}

fn many() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..34, 80usize..90, 380usize..400, 760usize..800]
}

/// One head's queries, keys, values and gradient of the output; its scores' bias.
struct Head<'a> {
    rows: [&'a [f64]; 4],
    dims: [usize; 2],
    bias: &'a dyn Fn(usize, usize) -> f64,
}

const SCALE: f64 = 0.3;

impl Head<'_> {
    /// The output, and the gradients of queries, keys and values, by definition.
    fn defined(&self) -> [Vec<f64>; 4] {
        let ([q, k, v, g], [dim, value_dim]) = (self.rows, self.dims);
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        let add = |to: &mut [f64], x: &[f64], w: f64| {
            to.iter_mut().zip(x).for_each(|(to, x)| *to += w * x);
        };
        let [mut out, mut dq, mut dk, mut dv] = [g, q, k, v].map(|like| vec![0.0; like.len()]);
        for (i, (query, g)) in q.chunks(dim).zip(g.chunks(value_dim)).enumerate() {
            let score = |(j, key)| SCALE * dot(query, key) + (self.bias)(i, j);
            let mut weights: Vec<f64> = k.chunks(dim).enumerate().map(score).collect();
            softmax(&mut weights);
            let slopes: Vec<f64> = v.chunks(value_dim).map(|value| dot(value, g)).collect();
            let mean = dot(&weights, &slopes);
            for (j, (weight, slope)) in weights.iter().zip(&slopes).enumerate() {
                let (keys, values) = (j * dim..(j + 1) * dim, j * value_dim..(j + 1) * value_dim);
                let slope = SCALE * weight * (slope - mean);
                add(&mut out[i * value_dim..][..value_dim], &v[values.clone()], *weight);
                add(&mut dv[values], g, *weight);
                add(&mut dq[i * dim..][..dim], &k[keys.clone()], slope);
                add(&mut dk[keys], query, slope);
            }
        }
        [out, dq, dk, dv]
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn queries_attend_as_defined(
        batch in 0usize..3, kv_heads in 1usize..3, group in 1usize..3, n in size(), m in many(),
        dim in 1usize..40, value_dim in 1usize..40, causal: bool, masked: bool, biased: bool,
        window in prop_oneof![Just(None), (1usize..500).prop_map(Some)], seed: u64,
    ) {
        let heads = kv_heads * group;
        let q = noise(seed, &[batch, heads, n, dim]);
        let k = noise(seed ^ 1, &[batch, kv_heads, m, dim]);
        let v = noise(seed ^ 2, &[batch, kv_heads, m, value_dim]);
        let mask = noise(seed ^ 3, &[batch, m]).relu().unwrap(); // about half are seen
        let bias = noise(seed ^ 4, &[1, heads, n, m]);
        let (mask, bias) = (masked.then_some(&mask), biased.then_some(&bias));
        let (seen, added) = (mask.map(values), bias.map(values));
        let [queries, keys, content] = [&q, &k, &v].map(values);
        let probe = probe(&[batch, n, heads, value_dim]);
        let mut expected = [&probe, &queries, &keys, &content].map(|like| vec![0.0; like.len()]);
        for (b, h) in (0..batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
            // From (B, N, H, E) and back.
            let place = |i: usize| ((b * n + i / value_dim) * heads + h) * value_dim + i % value_dim;
            let g: Vec<f64> = (0..n * value_dim).map(|i| probe[place(i)]).collect();
            let (own, shared) = (b * heads + h, b * kv_heads + h / group);
            let score = |i: usize, j: usize| {
                let hidden = (causal && j + n > i + m)
                    || window.is_some_and(|window| j + n + window <= i + m);
                if hidden || seen.as_ref().is_some_and(|seen| seen[b * m + j] == 0.0) {
                    return f64::NEG_INFINITY;
                }
                added.as_ref().map_or(0.0, |added| added[(h * n + i) * m + j])
            };
            let [q, k, v] = [(&queries, own * n * dim, n * dim), (&keys, shared * m * dim, m * dim),
                (&content, shared * m * value_dim, m * value_dim)]
                .map(|(all, first, len)| &all[first..first + len]);
            let head = Head { rows: [q, k, v, &g], dims: [dim, value_dim], bias: &score };
            let [out, dq, dk, dv] = head.defined();
            out.iter().enumerate().for_each(|(i, x)| expected[0][place(i)] = *x);
            for (to, (first, from)) in expected[1..].iter_mut().zip([
                (own * n * dim, dq), (shared * m * dim, dk), (shared * m * value_dim, dv),
            ]) {
                to[first..].iter_mut().zip(from).for_each(|(to, x)| *to += x);
            }
        }
        let all = runs(&[&q, &k, &v], |x| {
            let shape = [batch, heads, n, m];
            let scores = Scores::new(shape, SCALE, (causal, window), mask, bias)?;
            attend(&x[0], &x[1], &x[2], scores)
        });
        for (out, gradients) in all {
            close(&out, &expected[0])?;
            for (gradient, expected) in gradients.iter().zip(&expected[1..]) {
                close(gradient, expected)?;
            }
        }
    }
}

#[cfg(unix)]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn attention_stays_inside(queries in 1usize..100, keys in 1usize..400, dim in 1usize..40) {
        use super::super::guard::Guarded;
        use super::super::product::Cells;

        let row = 2 * dim;
        let [q, g] = [1, 2].map(|seed| Guarded::noise(queries * row, seed));
        let [k, v] = [3, 4].map(|seed| Guarded::noise(keys * row, seed));
        let at = Places { batch: 0, head: dim, row };
        let scores = Scores::new([1, 2, queries, keys], SCALE, (false, None), None, None).unwrap();
        let plan =
            Plan { batch: 1, heads: 2, kv_heads: 2, queries, keys, dim, value_dim: dim, scores };
        let heads: (Heads, Heads, Heads) = [&q, &k, &v].map(|data| Heads { data, at }).into();
        let (out, shares) = forward::forward(&plan, heads.0, heads.1, heads.2);
        let mut room = [queries, keys, keys].map(|rows| vec![f32::NAN; rows * row]);
        let targets = room.each_mut().map(|values| backward::Target {
            cells: Cells(values.as_mut_ptr()), first: 0, at,
        });
        // SAFETY: the targets have room for the gradients.
        #[allow(unsafe_code)]
        unsafe { gradients(&plan, heads, (&out, &g), &shares.into(), targets) };
        prop_assert!(out.iter().chain(room.iter().flatten()).all(|x| x.is_finite()));
    }
}

/// The output and the gradients of one head of few queries over two spans of keys.
fn one_head(q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Vec<(Tensor, Vec<Tensor>)> {
    let shape = [1, 1, q.dim(2).unwrap(), k.dim(2).unwrap()];
    let scores = || Scores::new(shape, 1.0, (causal, None), None, None).unwrap();
    runs(&[q, k, v], |x| attend(&x[0], &x[1], &x[2], scores()))
}

#[test]
fn what_is_not_a_number_stays_one_and_what_nobody_sees_is_not_read() {
    let (q, k, v) = (noise(1, &[1, 1, 3, 8]), noise(2, &[1, 1, 500, 8]), noise(3, &[1, 1, 500, 8]));
    let spoilt = |x: &Tensor, row: usize, with: f32| {
        let mut numbers = x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        numbers[row * 8] = with;
        Tensor::from_vec(numbers, x.shape(), x.device()).unwrap()
    };
    let wrong = |out: &Tensor| {
        let rows = out.squeeze(0).unwrap().squeeze(1).unwrap().to_vec2::<f32>().unwrap();
        rows.iter().map(|row| row.iter().any(|x| x.is_nan())).collect::<Vec<_>>()
    };
    for (with, key) in [(f32::NAN, 2), (f32::NAN, 450), (f32::INFINITY, 450)] {
        // An infinite score takes all the weight, of which no share can be told.
        let q = q.abs().unwrap();
        for (out, gradients) in one_head(&q, &spoilt(&k, key, with), &v, false) {
            assert_eq!(wrong(&out), [true; 3]);
            assert!(values(&gradients[2]).iter().all(|x| x.is_nan()));
        }
    }
    // A query without numbers spoils its own output alone.
    for (out, _) in one_head(&spoilt(&q, 1, f32::NAN), &k, &v, false) {
        assert_eq!(wrong(&out), [false, true, false]);
    }
    // Of 900 keys the first queries see 898.
    let (k, v) = (noise(2, &[1, 1, 900, 8]), noise(3, &[1, 1, 900, 8]));
    for (out, _) in one_head(&q, &spoilt(&k, 899, f32::NAN), &v, true) {
        assert_eq!(wrong(&out), [false, false, true]);
    }
    // As many queries as fill blocks: those of a whole group see the same spans.
    let many = noise(4, &[1, 1, 500, 8]);
    let (k, v) = (noise(2, &[1, 1, 500, 8]), noise(3, &[1, 1, 500, 8]));
    for (out, _) in one_head(&many, &spoilt(&k, 20, f32::NAN), &v, false) {
        assert_eq!(wrong(&out), [true; 500]);
    }
    for (out, _) in one_head(&spoilt(&many, 77, f32::NAN), &k, &v, false) {
        assert_eq!(wrong(&out), std::array::from_fn::<bool, 500, _>(|i| i == 77));
    }
    for (k, v) in [(spoilt(&k, 499, f32::NAN), v.clone()), (k, spoilt(&v, 499, f32::NAN))] {
        for (out, _) in one_head(&many, &k, &v, true) {
            let wrong = wrong(&out);
            assert!(!wrong[..336].contains(&true) && wrong[499]);
        }
    }
}

#[test]
fn nothing_attends_to_nothing() {
    for (queries, keys) in [(0, 5), (5, 0), (90, 0), (0, 0)] {
        let (q, k) = (noise(1, &[2, 3, queries, 8]), noise(2, &[2, 3, keys, 8]));
        let scores = || Scores::new([2, 3, queries, keys], 1.0, (true, None), None, None).unwrap();
        for (out, gradients) in runs(&[&q, &k, &k], |x| attend(&x[0], &x[1], &x[2], scores())) {
            assert_eq!(out.dims(), [2, queries, 3, 8]);
            assert!(gradients.iter().chain([&out]).flat_map(values).all(|x| x == 0.0));
        }
    }
}

#[test]
fn scores_too_low_to_count_leave_zeros() {
    let (q, k) = (Tensor::full(-1e20f32, (1, 1, 2, 4), &candle::Device::Cpu).unwrap(), 1e20f64);
    let v = noise(3, &[1, 1, 400, 4]);
    let k = (v.ones_like().unwrap() * k).unwrap();
    let many = q.repeat((1, 1, 50, 1)).unwrap();
    for (out, gradients) in [&q, &many].into_iter().flat_map(|q| one_head(q, &k, &v, false)) {
        assert!(values(&out).iter().all(|x| *x == 0.0));
        assert!(gradients.iter().all(|g| values(g).iter().all(|x| *x == 0.0)));
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    // Few heads, whose queries are cut into several tasks.
    let [q, k, v] = [1, 2, 3].map(|seed| noise(seed, &[1, 2, 400, 24]));
    same_for_any_threads(|| {
        let bits = |x: &Tensor| values(x).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let vars = [&q, &k, &v].map(|x| candle::Var::from_tensor(x).unwrap());
        let scores = Scores::new([1, 2, 400, 400], 0.2, (true, None), None, None).unwrap();
        let out = attend(&vars[0], &vars[1], &vars[2], scores).unwrap();
        let store = out.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let gradients = vars.iter().map(|x| bits(store.get(x).unwrap()));
        std::iter::once(bits(&out)).chain(gradients).collect::<Vec<_>>()
    });
}
