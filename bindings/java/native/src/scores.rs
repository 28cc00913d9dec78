//! Similarity and quantization of vectors.

use bge::{
    Formula, Metric, Precision, Ranges, SparseText, THREADS_MAX, quantize, quantize_ranges,
    similarity, similarity_hybrid, similarity_multi, similarity_pairwise, similarity_sparse,
    similarity_top_k,
};
use jni::objects::{JByteArray, JClass, JFloatArray, JIntArray, JObjectArray};
use jni::refs::IntoAuto;
use jni::sys::{jboolean, jint};
use jni::{Env, EnvUnowned};
use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::boundary::{
    Result, floats, guard, ints, invalid, known, size, to_floats, to_ints, to_rows,
};

/// A `float[][]` of Java.
type Rows<'l> = JObjectArray<'l, JFloatArray<'l>>;

fn threads(threads: jint) -> Result<usize> {
    match usize::try_from(threads) {
        Ok(threads @ 1..=THREADS_MAX) => Ok(threads),
        _ => Err(invalid(format_args!("threads is {threads}; it may be 1 to {THREADS_MAX}"))),
    }
}

fn metric(number: jint) -> Result<Metric> {
    known("metric", number, Metric::from_code)
}

/// A matrix of rows that have one length. Without rows its width is 0.
fn matrix(env: &mut Env<'_>, rows: &Rows<'_>, name: &str) -> Result<Array2<f32>> {
    let count = rows.len(env)?;
    let mut numbers = Vec::new();
    let mut dim = 0;
    for index in 0..count {
        let row = rows.get_element(env, index)?.auto();
        if row.is_null() {
            return Err(invalid(format_args!("{name}[{index}] is null")));
        }
        let row = floats(env, &row)?;
        if index == 0 {
            dim = row.len();
            numbers.reserve(dim.saturating_mul(count));
        }
        if row.len() != dim || dim == 0 {
            let length = row.len();
            return Err(invalid(format_args!(
                "{name}[{index}] has {length} numbers; rows have at least 1, and all as many as \
                 the first, {dim}"
            )));
        }
        numbers.extend(row);
    }
    Array2::from_shape_vec((count, dim), numbers).map_err(invalid)
}

/// Two matrices that can be compared: one without rows gets the width of the other.
fn pair(
    env: &mut Env<'_>,
    a: &Rows<'_>,
    b: &Rows<'_>,
    names: [&str; 2],
) -> Result<(Array2<f32>, Array2<f32>)> {
    let (mut a, mut b) = (matrix(env, a, names[0])?, matrix(env, b, names[1])?);
    if a.nrows() == 0 {
        a = Array2::zeros((0, b.ncols()));
    }
    if b.nrows() == 0 {
        b = Array2::zeros((0, a.ncols()));
    }
    Ok((a, b))
}

fn view_mut(scores: &mut [f32], rows: usize, columns: usize) -> Result<ArrayViewMut2<'_, f32>> {
    ArrayViewMut2::from_shape((rows, columns), scores).map_err(invalid)
}

#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_similarity<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    by: jint,
    a: Rows<'l>,
    b: Rows<'l>,
    most_threads: jint,
) -> Rows<'l> {
    guard(env, &native, |env| {
        let (by, threads) = (metric(by)?, threads(most_threads)?);
        let (a, b) = pair(env, &a, &b, ["a", "b"])?;
        let mut scores = vec![0.0; a.nrows() * b.nrows()];
        let view = view_mut(&mut scores, a.nrows(), b.nrows())?;
        similarity(by, a.view(), b.view(), threads, view)?;
        to_rows(env, &scores, a.nrows(), b.nrows())
    })
}

#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_similarityPairwise<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    by: jint,
    a: Rows<'l>,
    b: Rows<'l>,
) -> JFloatArray<'l> {
    guard(env, &native, |env| {
        let by = metric(by)?;
        let (a, b) = pair(env, &a, &b, ["a", "b"])?;
        let mut scores = vec![0.0; a.nrows()];
        similarity_pairwise(by, a.view(), b.view(), &mut scores)?;
        to_floats(env, &scores)
    })
}

/// The rows of the hits of each query. Their scores are stored in `scores`, which has one element
/// for each query.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_similarityTopK<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    by: jint,
    queries: Rows<'l>,
    corpus: Rows<'l>,
    k: jint,
    most_threads: jint,
    scores: Rows<'l>,
) -> JObjectArray<'l, JIntArray<'l>> {
    guard(env, &native, |env| {
        let (by, k, threads) = (metric(by)?, size(k, "k")?, threads(most_threads)?);
        let (queries, corpus) = pair(env, &queries, &corpus, ["queries", "corpus"])?;
        let best = similarity_top_k(by, queries.view(), corpus.view(), k, threads)?;
        let rows = JObjectArray::<JIntArray>::new(env, best.len(), JIntArray::null())?;
        for (query, hits) in best.iter().enumerate() {
            let of_query = to_ints(env, hits.iter().map(|hit| hit.row as u32))?.auto();
            rows.set_element(env, query, &*of_query)?;
            let of_query: Vec<f32> = hits.iter().map(|hit| hit.score).collect();
            let of_query = to_floats(env, &of_query)?.auto();
            scores.set_element(env, query, &*of_query)?;
        }
        Ok(rows)
    })
}

/// Ids and weights of each text.
fn sparse_texts(
    env: &mut Env<'_>,
    ids: &JObjectArray<'_, JIntArray<'_>>,
    weights: &Rows<'_>,
) -> Result<Vec<(Vec<u32>, Vec<f32>)>> {
    (0..ids.len(env)?)
        .map(|index| {
            let ids = ids.get_element(env, index)?.auto();
            let weights = weights.get_element(env, index)?.auto();
            Ok((ints(env, &ids)?, floats(env, &weights)?))
        })
        .collect()
}

fn borrowed(texts: &[(Vec<u32>, Vec<f32>)]) -> Vec<SparseText<'_>> {
    texts.iter().map(|(ids, weights)| SparseText { ids, weights }).collect()
}

#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_similaritySparse<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    a_ids: JObjectArray<'l, JIntArray<'l>>,
    a_weights: Rows<'l>,
    b_ids: JObjectArray<'l, JIntArray<'l>>,
    b_weights: Rows<'l>,
    most_threads: jint,
) -> Rows<'l> {
    guard(env, &native, |env| {
        let threads = threads(most_threads)?;
        let a = sparse_texts(env, &a_ids, &a_weights)?;
        let b = sparse_texts(env, &b_ids, &b_weights)?;
        let mut scores = vec![0.0; a.len() * b.len()];
        let view = view_mut(&mut scores, a.len(), b.len())?;
        similarity_sparse(&borrowed(&a), &borrowed(&b), threads, view)?;
        to_rows(env, &scores, a.len(), b.len())
    })
}

/// The rows of each text.
fn multi_texts(
    env: &mut Env<'_>,
    texts: &JObjectArray<'_, Rows<'_>>,
    name: &str,
) -> Result<Vec<Array2<f32>>> {
    (0..texts.len(env)?)
        .map(|index| {
            let rows = texts.get_element(env, index)?.auto();
            matrix(env, &rows, &format!("{name}[{index}]"))
        })
        .collect()
}

fn views(texts: &[Array2<f32>]) -> Vec<ArrayView2<'_, f32>> {
    texts.iter().map(|text| text.view()).collect()
}

#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_similarityMulti<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    a: JObjectArray<'l, Rows<'l>>,
    b: JObjectArray<'l, Rows<'l>>,
    most_threads: jint,
) -> Rows<'l> {
    guard(env, &native, |env| {
        let threads = threads(most_threads)?;
        let (mut a, mut b) = (multi_texts(env, &a, "a")?, multi_texts(env, &b, "b")?);
        // A text without rows has the width of the others.
        let dim = a.iter().chain(&b).map(Array2::ncols).max().unwrap_or_default();
        for text in a.iter_mut().chain(&mut b).filter(|text| text.nrows() == 0) {
            *text = Array2::zeros((0, dim));
        }
        let mut scores = vec![0.0; a.len() * b.len()];
        let view = view_mut(&mut scores, a.len(), b.len())?;
        similarity_multi(&views(&a), &views(&b), threads, view)?;
        to_rows(env, &scores, a.len(), b.len())
    })
}

/// `dense`, `sparse` and `multi` are scores of one shape, or null for a kind that is omitted.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_similarityHybrid<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    dense: Rows<'l>,
    sparse: Rows<'l>,
    multi: Rows<'l>,
    weights: JFloatArray<'l>,
) -> Rows<'l> {
    guard(env, &native, |env| {
        let mut kinds = Vec::new();
        for (rows, name) in [(&dense, "dense"), (&sparse, "sparse"), (&multi, "multi")] {
            kinds.push(match rows.is_null() {
                true => None,
                false => Some(matrix(env, rows, name)?),
            });
        }
        let weights = floats(env, &weights)?;
        let &[dense, sparse, multi] = weights.as_slice() else {
            return Err(invalid(format_args!("{} weights, not 3", weights.len())));
        };
        let weights = [dense, sparse, multi];
        let shape = kinds.iter().flatten().map(Array2::dim).next().unwrap_or_default();
        if let Some(other) = kinds.iter().flatten().map(Array2::dim).find(|&other| other != shape) {
            return Err(invalid(format_args!(
                "scores of {shape:?} and of {other:?} texts cannot be mixed"
            )));
        }
        let numbers = |kind: usize| kinds[kind].as_ref().and_then(|scores| scores.as_slice());
        let mut scores = vec![0.0; shape.0 * shape.1];
        similarity_hybrid(numbers(0), numbers(1), numbers(2), weights, &mut scores)?;
        to_rows(env, &scores, shape.0, shape.1)
    })
}

/// If `min` and `max` are null, the ranges are those of the vectors.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_quantize<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    to: jint,
    vectors: Rows<'l>,
    min: JFloatArray<'l>,
    max: JFloatArray<'l>,
    st5: jboolean,
) -> JObjectArray<'l, JByteArray<'l>> {
    guard(env, &native, |env| {
        let to = known("precision", to, Precision::from_code)?;
        let vectors = matrix(env, &vectors, "vectors")?;
        let ranges = match min.is_null() || max.is_null() {
            true => None,
            false => Some((floats(env, &min)?, floats(env, &max)?)),
        };
        let ranges = ranges.as_ref().map(|(min, max)| Ranges { min, max });
        let formula = if st5 { Formula::St5 } else { Formula::St6 };
        let mut codes = Array2::zeros((vectors.nrows(), to.bytes(vectors.ncols())));
        if vectors.nrows() != 0 {
            quantize(to, vectors.view(), ranges, formula, codes.view_mut())?;
        }
        let rows = JObjectArray::<JByteArray>::new(env, codes.nrows(), JByteArray::null())?;
        for (index, row) in codes.rows().into_iter().enumerate() {
            let row = env.byte_array_from_slice(row.as_slice().unwrap_or_default())?.auto();
            rows.set_element(env, index, &*row)?;
        }
        Ok(rows)
    })
}

/// Two rows: the least number of each dimension, and the greatest.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_libbge_Native_quantizeRanges<'l>(
    env: EnvUnowned<'l>,
    native: JClass<'l>,
    vectors: Rows<'l>,
) -> Rows<'l> {
    guard(env, &native, |env| {
        let vectors = matrix(env, &vectors, "vectors")?;
        if vectors.nrows() == 0 {
            return Err(invalid("there are no vectors; ranges are those of at least 1"));
        }
        let dim = vectors.ncols();
        let mut ranges = vec![0.0; 2 * dim];
        let (min, max) = ranges.split_at_mut(dim);
        quantize_ranges(vectors.view(), min, max)?;
        to_rows(env, &ranges, 2, dim)
    })
}
