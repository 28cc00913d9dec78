//! The results of a call as `dev.libbge.Embeddings`.

use bge::{Embeddings, SparseWeights, TokenVectors};
use jni::objects::{
    JBooleanArray, JClass, JFloatArray, JIntArray, JObject, JObjectArray, JThrowable,
};
use jni::refs::IntoAuto;
use jni::{Env, JValue, jni_sig, jni_str};

use crate::boundary::{Result, exception, to_floats, to_ints, to_rows};

/// Outputs that were not requested are null.
pub fn embeddings<'l>(
    env: &mut Env<'l>,
    native: &JClass<'_>,
    results: &Embeddings,
) -> Result<JObject<'l>> {
    let count = results.usage.len();
    let dense = match results.dense.is_empty() {
        true => JObject::null(),
        false => to_rows(env, &results.dense, count, results.dim)?.into(),
    };
    let (ids, weights) = match &results.sparse {
        Some(sparse) => to_sparse(env, sparse, count)?,
        None => (JObject::null(), JObject::null()),
    };
    let multi = to_matrices(env, results.multi.as_ref(), count)?;
    let tokens = to_matrices(env, results.tokens.as_ref(), count)?;
    let counts = to_ints(env, results.usage.iter().map(|usage| usage.tokens as u32))?;
    let truncated = JBooleanArray::new(env, count)?;
    let cut: Vec<bool> = results.usage.iter().map(|usage| usage.truncated).collect();
    truncated.set_region(env, 0, &cut)?;
    let errors = match results.errors.is_empty() {
        true => JObject::null(),
        false => to_errors(env, native, results, count)?,
    };
    let made = env.call_static_method(
        native,
        jni_str!("embeddings"),
        jni_sig!("([[F[[I[[F[[[F[[[F[I[Z[Ljava/lang/Throwable;)Ldev/libbge/Embeddings;"),
        &[
            JValue::Object(&dense),
            JValue::Object(&ids),
            JValue::Object(&weights),
            JValue::Object(&multi),
            JValue::Object(&tokens),
            JValue::Object(&counts),
            JValue::Object(&truncated),
            JValue::Object(&errors),
        ],
    )?;
    Ok(made.l()?)
}

fn to_sparse<'l>(
    env: &mut Env<'l>,
    sparse: &SparseWeights,
    count: usize,
) -> Result<(JObject<'l>, JObject<'l>)> {
    let ids = JObjectArray::<JIntArray>::new(env, count, JIntArray::null())?;
    let weights = JObjectArray::<JFloatArray>::new(env, count, JFloatArray::null())?;
    for text in 0..count {
        let entries = sparse.offsets[text]..sparse.offsets[text + 1];
        let of_text = to_ints(env, sparse.ids[entries.clone()].iter().copied())?.auto();
        ids.set_element(env, text, &*of_text)?;
        let of_text = to_floats(env, &sparse.weights[entries])?.auto();
        weights.set_element(env, text, &*of_text)?;
    }
    Ok((ids.into(), weights.into()))
}

/// A `float[][][]`.
fn to_matrices<'l>(
    env: &mut Env<'l>,
    vectors: Option<&TokenVectors>,
    count: usize,
) -> Result<JObject<'l>> {
    let Some(vectors) = vectors else { return Ok(JObject::null()) };
    let class = env.find_class(jni_str!("[[F"))?.auto();
    let matrices = env.new_object_array(count as i32, &*class, JObject::null())?;
    for text in 0..count {
        let rows = vectors.offsets[text + 1] - vectors.offsets[text];
        let of_text: JObject<'_> = to_rows(env, vectors.of(text), rows, vectors.dim)?.into();
        matrices.set_element(env, text, &*of_text.auto())?;
    }
    Ok(matrices.into())
}

fn to_errors<'l>(
    env: &mut Env<'l>,
    native: &JClass<'_>,
    results: &Embeddings,
    count: usize,
) -> Result<JObject<'l>> {
    let errors = JObjectArray::<JThrowable>::new(env, count, JThrowable::null())?;
    for error in &results.errors {
        if let Some(text) = error.text_index() {
            let thrown = exception(env, native, error)?.auto();
            errors.set_element(env, text, &*thrown)?;
        }
    }
    Ok(errors.into())
}
