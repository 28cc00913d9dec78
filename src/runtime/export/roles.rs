//! The roles of an export's outputs, by their names, or else by their shapes.

use std::fmt;

/// The role of an output. Exports do not say it, and every exporter has names of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A vector for each text.
    Dense,
    /// The final states of all tokens.
    Hidden,
    /// A weight for each token.
    Sparse,
    /// A vector for each token, with or without the first one.
    Multi,
}

/// The names that exporters of bge-m3, optimum and sentence-transformers give.
const NAMES: [(&str, Role); 12] = [
    ("sentence_embedding", Role::Dense),
    ("dense_vecs", Role::Dense),
    ("dense_embeddings", Role::Dense),
    ("dense", Role::Dense),
    ("last_hidden_state", Role::Hidden),
    ("token_embeddings", Role::Hidden),
    ("sparse_vecs", Role::Sparse),
    ("sparse_weights", Role::Sparse),
    ("sparse", Role::Sparse),
    ("colbert_vecs", Role::Multi),
    ("colbert_vectors", Role::Multi),
    ("colbert", Role::Multi),
];

/// BERT's pooler, a layer over the first token that sentence embeddings do not use.
const UNUSED: &str = "pooler_output";

/// The outputs of heads for other tasks: scores of classes, or of the words of a vocabulary.
const OF_A_HEAD: [&str; 3] = ["logits", "prediction_logits", "seq_relationship_logits"];

/// An output, with its shape in a run of a known number of texts and tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub name: String,
    pub shape: Vec<usize>,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.shape)
    }
}

/// The output of each role: its index, and the length of its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Roles {
    pub dense: Option<Rows>,
    pub hidden: Option<Rows>,
    pub sparse: Option<Rows>,
    pub multi: Option<Rows>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rows {
    pub output: usize,
    pub width: usize,
    /// Whether the first token of a text has a row.
    pub with_first: bool,
}

impl Roles {
    /// Finds the roles by the outputs of a run of `texts` texts of `length` tokens. The error says
    /// why they are not clear.
    pub fn find(outputs: &[Output], texts: usize, length: usize) -> Result<Self, String> {
        let mut roles = Self::default();
        let is_known = |output: &Output| NAMES.iter().any(|(name, _)| *name == output.name);
        if let Some(output) = outputs.iter().find(|it| OF_A_HEAD.contains(&it.name.as_str()))
            && !outputs.iter().any(is_known)
        {
            let kind = match output.shape.as_slice() {
                [_, _] => "a classifier or a reranker (cross-encoder)",
                _ => "a language model",
            };
            return Err(format!(
                "its output {output} has the scores of {kind}, and no embeddings; export the encoder \
                 alone, as the task feature-extraction"
            ));
        }
        for (index, output) in outputs.iter().enumerate() {
            if let Some((_, role)) = NAMES.iter().find(|(name, _)| *name == output.name) {
                let rows = rows(output, index, *role, texts, length).ok_or_else(|| {
                    format!(
                        "its output {output} has not the shape of what its name says, for \
                         {texts} texts of {length} tokens"
                    )
                })?;
                roles.set(*role, rows, outputs)?;
            }
        }
        let mut unnamed: Vec<_> = outputs
            .iter()
            .enumerate()
            .filter(|(_, output)| {
                let name = output.name.as_str();
                name != UNUSED && !OF_A_HEAD.contains(&name) && !is_known(output)
            })
            .collect();
        // Outputs whose role only the others decide come last.
        unnamed.sort_by_key(|(_, output)| {
            output.shape.get(1) == Some(&length) && output.shape.get(2) > Some(&1)
        });
        let named = roles;
        for (index, output) in unnamed {
            let fits = |role| rows(output, index, role, texts, length);
            // States and multi-vectors with the first token have the same shape. If the export has
            // a vector and weights as well, they are the multi-vectors.
            let three = |roles: &Self| roles.dense.is_some() && roles.sparse.is_some();
            let role = match output.shape.as_slice() {
                [_, _] if fits(Role::Sparse).is_some() => Role::Sparse,
                [_, _] => Role::Dense,
                [_, _, 1] => Role::Sparse,
                [_, tokens, _] if *tokens + 1 == length || three(&roles) => Role::Multi,
                [_, _, _] => Role::Hidden,
                _ => continue,
            };
            // A name counts more than a shape. Beside states with a known name, the vector needs a
            // known name, too: the output of BERT's pooler has the same shape.
            let is_known = named.get(role).is_some();
            if is_known || role == Role::Dense && named.hidden.is_some() {
                continue;
            }
            if let Some(rows) = fits(role) {
                if role == Role::Dense && rows.width == 1 {
                    return Err(format!(
                        "its output {output} is one number for each text, which is no embedding; is \
                         it a reranker (cross-encoder)?"
                    ));
                }
                roles.set(role, rows, outputs)?;
                roles.check_pair(&named, outputs)?;
            }
        }
        if roles.dense.is_none() && roles.hidden.is_none() {
            return Err(format!(
                "none of its outputs is a vector of a text or the states of its tokens: {}",
                listed(outputs)
            ));
        }
        Ok(roles)
    }

    /// Refuses a vector and states neither of which has a known name: the vector may be that of the
    /// text, or the output of BERT's pooler.
    fn check_pair(&self, named: &Self, outputs: &[Output]) -> Result<(), String> {
        match (self.dense, self.hidden) {
            (Some(dense), Some(hidden)) if named.dense.is_none() && named.hidden.is_none() => {
                Err(format!(
                    "of its outputs {} and {} no name is known; all are: {}",
                    outputs[dense.output],
                    outputs[hidden.output],
                    listed(outputs)
                ))
            }
            _ => Ok(()),
        }
    }

    fn get(&self, role: Role) -> Option<Rows> {
        match role {
            Role::Dense => self.dense,
            Role::Hidden => self.hidden,
            Role::Sparse => self.sparse,
            Role::Multi => self.multi,
        }
    }

    fn set(&mut self, role: Role, rows: Rows, outputs: &[Output]) -> Result<(), String> {
        let place = match role {
            Role::Dense => &mut self.dense,
            Role::Hidden => &mut self.hidden,
            Role::Sparse => &mut self.sparse,
            Role::Multi => &mut self.multi,
        };
        if let Some(Rows { output, .. }) = place.replace(rows) {
            return Err(format!(
                "its outputs {} and {} cannot be told apart; all are: {}",
                outputs[output],
                outputs[rows.output],
                listed(outputs)
            ));
        }
        Ok(())
    }
}

fn listed(outputs: &[Output]) -> String {
    outputs.iter().map(Output::to_string).collect::<Vec<_>>().join(", ")
}

/// The rows of an output in a role, if its shape allows that.
fn rows(output: &Output, index: usize, role: Role, texts: usize, length: usize) -> Option<Rows> {
    let (width, with_first) = match (role, output.shape.as_slice()) {
        (Role::Dense, &[t, width]) if t == texts => (width, true),
        (Role::Sparse, &[t, l] | &[t, l, 1]) if (t, l) == (texts, length) => (1, true),
        (Role::Hidden | Role::Multi, &[t, l, width]) if (t, l) == (texts, length) => (width, true),
        (Role::Multi, &[t, l, width]) if (t, l + 1) == (texts, length) => (width, false),
        _ => return None,
    };
    (width > 0).then_some(Rows { output: index, width, with_first })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: usize = 2;
    const LENGTH: usize = 7;

    fn find(outputs: &[(&str, &[usize])]) -> Result<Roles, String> {
        let output = |(name, shape): &(&str, &[usize])| Output {
            name: name.to_string(),
            shape: shape.to_vec(),
        };
        Roles::find(&outputs.iter().map(output).collect::<Vec<_>>(), TEXTS, LENGTH)
    }

    fn rows(output: usize, width: usize) -> Option<Rows> {
        Some(Rows { output, width, with_first: true })
    }

    const DENSE: &[usize] = &[TEXTS, 32];
    const STATES: &[usize] = &[TEXTS, LENGTH, 32];
    const WITHOUT_FIRST: &[usize] = &[TEXTS, LENGTH - 1, 32];
    const WEIGHTS: &[usize] = &[TEXTS, LENGTH, 1];

    type Case<'a> = (&'a str, &'a [(&'a str, &'a [usize])], Roles);

    #[test]
    fn exports_in_the_wild_are_understood() {
        let without_first = Some(Rows { output: 2, width: 32, with_first: false });
        let three = Roles { dense: rows(0, 32), sparse: rows(1, 1), ..Roles::default() };
        let cases: [Case<'_>; 8] = [
            (
                "BAAI",
                &[("token_embeddings", STATES), ("sentence_embedding", DENSE)],
                Roles { dense: rows(1, 32), hidden: rows(0, 32), ..Roles::default() },
            ),
            (
                "optimum",
                &[("last_hidden_state", STATES), ("pooler_output", DENSE)],
                Roles { hidden: rows(0, 32), ..Roles::default() },
            ),
            (
                "gpahal",
                &[("dense_vecs", DENSE), ("sparse_vecs", WEIGHTS), ("colbert_vecs", WITHOUT_FIRST)],
                Roles { multi: without_first, ..three },
            ),
            (
                "yuniko",
                &[
                    ("dense_embeddings", DENSE),
                    ("sparse_weights", WEIGHTS),
                    ("colbert_vectors", WITHOUT_FIRST),
                ],
                Roles { multi: without_first, ..three },
            ),
            (
                "newtechstudio",
                &[("dense", DENSE), ("sparse", &[TEXTS, LENGTH]), ("colbert", STATES)],
                Roles { multi: rows(2, 32), ..three },
            ),
            (
                "without names, in order",
                &[("output_0", DENSE), ("output_1", WEIGHTS), ("output_2", STATES)],
                Roles { multi: rows(2, 32), ..three },
            ),
            (
                "without names, in another order",
                &[("2", STATES), ("1", WEIGHTS), ("0", DENSE)],
                Roles { dense: rows(2, 32), multi: rows(0, 32), sparse: rows(1, 1), hidden: None },
            ),
            (
                "one output without a name",
                &[("1234", STATES)],
                Roles { hidden: rows(0, 32), ..Roles::default() },
            ),
        ];
        for (case, outputs, roles) in cases {
            assert_eq!(find(outputs), Ok(roles), "{case}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_refused_with_what_was_found() {
        let cases: [&[(&str, &[usize])]; 6] = [
            &[("0", STATES), ("1", DENSE)],
            &[("a", STATES), ("b", STATES)],
            &[("a", DENSE), ("b", DENSE)],
            &[("dense", DENSE), ("dense_vecs", DENSE)],
            &[("dense", DENSE), ("x", WEIGHTS), ("y", &[TEXTS, LENGTH])],
            &[("pooler_output", DENSE)],
        ];
        for outputs in cases {
            let why = find(outputs).unwrap_err();
            for (name, _) in outputs {
                assert!(why.contains(name), "{why}");
            }
        }
        let why = find(&[("sentence_embedding", STATES)]).unwrap_err();
        assert!(why.contains("sentence_embedding [2, 7, 32]"), "{why}");
        for (name, shape, words) in [
            ("logits", &[TEXTS, 3] as &[usize], "reranker (cross-encoder)"),
            ("logits", &[TEXTS, LENGTH, 1500], "a language model"),
            ("score", &[TEXTS, 1], "reranker (cross-encoder)"),
        ] {
            let why = find(&[(name, shape)]).unwrap_err();
            assert!(why.contains(name) && why.contains(words), "{why}");
        }
        // Beside embeddings, scores are of no use and do no harm.
        assert_eq!(
            find(&[("logits", &[TEXTS, 3]), ("last_hidden_state", STATES)]),
            Ok(Roles { hidden: rows(1, 32), ..Roles::default() })
        );
        find(&[("nothing", &[TEXTS, 0])]).unwrap_err();
        find(&[]).unwrap_err();
    }

    #[test]
    fn a_name_is_believed_before_a_shape() {
        let layers = [("last_hidden_state", STATES), ("hidden_states.0", STATES), ("x", DENSE)];
        assert_eq!(find(&layers), Ok(Roles { hidden: rows(0, 32), ..Roles::default() }));
    }
}
