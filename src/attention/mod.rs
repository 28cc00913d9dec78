//! Stand-in: softmax(Q Kᵀ / sqrt(head_dim)) V for each sequence and head on packed rows.

pub(crate) struct Shape<'a> {
    pub heads: usize,
    pub head_dim: usize,
    pub q_offsets: &'a [i32],
    pub k_offsets: &'a [i32],
}

pub(crate) fn run(
    shape: &Shape<'_>,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
    _parallel_for: &dyn Fn(usize, &(dyn Fn(usize) + Sync)),
) -> Result<(), String> {
    let (h, d) = (shape.heads, shape.head_dim);
    let w = h * d;
    let scale = 1.0 / (d as f32).sqrt();
    for b in 0..shape.q_offsets.len() - 1 {
        for head in 0..h {
            for i in shape.q_offsets[b] as usize..shape.q_offsets[b + 1] as usize {
                let keys = shape.k_offsets[b] as usize..shape.k_offsets[b + 1] as usize;
                let qi = &q[i * w + head * d..][..d];
                let mut s: Vec<f32> = keys.clone()
                    .map(|j| qi.iter().zip(&k[j * w + head * d..][..d]).map(|(a, b)| a * b).sum::<f32>() * scale)
                    .collect();
                let max = s.iter().copied().fold(f32::MIN, f32::max);
                let mut sum = 0.0;
                for x in &mut s { *x = (*x - max).exp(); sum += *x; }
                let o = &mut out[i * w + head * d..][..d];
                o.fill(0.0);
                for (x, j) in s.iter().zip(keys.clone()) {
                    for (o, v) in o.iter_mut().zip(&v[j * w + head * d..][..d]) { *o += x / sum * v; }
                }
            }
        }
    }
    Ok(())
}
