//! `bge evaluate`: measures a model on the triplets, graded pairs or queries of a file.

mod dataset;
mod encoded;
mod plot;

use std::path::{Path, PathBuf};

use bge::{
    EVALUATED_METRICS, EncodeOptions, Metric, Model, TripletDefinition, evaluate_retrieval,
    evaluate_similarity, evaluate_triplets,
};
use clap::{Args, ValueEnum};
use serde_json::{Map, json};

use crate::arguments::{self, ModeArg, ModelArgs, TextArgs, three_weights};
use crate::failure::Failure;
use crate::output::print;
use dataset::{Dataset, Questions, Role};
use encoded::Encoded;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    text: TextArgs,
    /// Rows of named columns: .tsv, .csv with a first line of names, or .jsonl
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file's name for a column of this command, as in score=correlation
    #[arg(long, value_name = "NAME=THEIRS", value_parser = dataset::renamed)]
    column: Vec<(String, String)>,
    /// Name of a prompt to put in front of queries and anchors, in place of that of --prompt
    #[arg(long, value_name = "NAME")]
    query_prompt: Option<String>,
    /// Scores that passages are found by
    #[arg(long, value_enum, default_value_t = ModeArg::Dense)]
    mode: ModeArg,
    /// Weights of dense, sparse and multi-vector scores in their mean; by default 1 each
    #[arg(long, value_name = "D,S,M", value_parser = three_weights)]
    weights: Option<[f32; 3]>,
    /// Metric of dense vectors to find passages, and in the plot; by default that of the model's
    /// directory. Triplets and graded pairs are measured by all four
    #[arg(long, value_parser = arguments::metric())]
    metric: Option<Metric>,
    /// Version of sentence-transformers whose definitions apply, where they differ
    #[arg(long, value_enum, default_value_t = AsOf::Current)]
    as_of: AsOf,
    /// Draw the distribution of the scores of positives and negatives
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Print JSON, with sentence-transformers' names
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AsOf {
    /// 3.4 and later
    Current,
    /// 3.0 to 3.2: a triplet is right by the dot product if the positive scores less, and
    /// max_accuracy leaves that out
    #[value(name = "3.0")]
    V3_0,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Arguments { text, mode, plot, .. } = arguments;
    if plot.as_ref().is_some_and(|file| file.extension().is_none_or(|ending| ending != "svg")) {
        return Err(Failure::Usage("--plot takes a name that ends in .svg".into()));
    }
    let role = if arguments.query_prompt.is_some() { Role::Query } else { Role::Other };
    let (dataset, texts) = dataset::read(&arguments.file, &arguments.column, role)?;
    check(arguments, &dataset)?;
    let options = EncodeOptions { outputs: mode.outputs(), ..text.options() };
    let prompt = arguments.query_prompt.clone().or_else(|| options.prompt.clone());
    let query_options = EncodeOptions { prompt, ..options.clone() };
    let model = arguments.model.open()?;
    let metric = arguments.metric.unwrap_or(model.info().similarity);
    let encoded = Encoded::new(&model, &texts, &options, &query_options)?;
    let evaluated = match &dataset {
        Dataset::Triplets(rows) => triplets(&encoded, rows, arguments.as_of, metric)?,
        Dataset::Pairs(pairs, grades) => graded(&encoded, pairs, grades, metric)?,
        Dataset::Retrieval(questions) => retrieval(&model, &encoded, questions, arguments, metric)?,
    };
    print(&evaluated.report(&encoded, arguments.json))?;
    if let Some(file) = plot {
        let [model, data] =
            [&arguments.model.dir, &arguments.file].map(|it| it.display().to_string());
        let picture = plot::svg([&model, &data], &evaluated.axis, &evaluated.sides);
        write_whole(file, &picture).map_err(|e| {
            let e = std::io::Error::new(e.kind(), format!("{}: {e}", file.display()));
            Failure::Stream(e)
        })?;
    }
    Ok(())
}

/// Refuses options that would have no effect.
fn check(arguments: &Arguments, dataset: &Dataset) -> Result<(), Failure> {
    let Arguments { mode, weights, metric, as_of, .. } = arguments;
    let usage = |words: &str| Err(Failure::Usage(words.into()));
    let retrieval = matches!(dataset, Dataset::Retrieval(_));
    if *mode != ModeArg::Dense && !retrieval {
        return usage(
            "--mode is for retrieval; triplets and graded pairs are compared by dense vectors",
        );
    }
    if metric.is_some() && *mode != ModeArg::Dense {
        return usage("--metric is for --mode dense");
    }
    if weights.is_some() && !matches!(mode, ModeArg::SparseDense | ModeArg::All) {
        return usage("--weights is for --mode sparse+dense and all");
    }
    if *as_of == AsOf::V3_0 && !matches!(dataset, Dataset::Triplets(_)) {
        return usage("--as-of 3.0 is for triplets; nothing else was defined otherwise");
    }
    Ok(())
}

/// The measures of a file.
struct Evaluated {
    kind: &'static str,
    /// The numbers of triplets, pairs, queries or passages.
    counts: Vec<(&'static str, usize)>,
    metrics: Vec<(String, f64)>,
    /// The groups that the plot compares, and the score that it compares them by.
    sides: [(String, Vec<f32>); 2],
    axis: String,
}

impl Evaluated {
    fn report(&self, encoded: &Encoded, as_json: bool) -> String {
        let texts = [("tokens", encoded.tokens), ("truncated_texts", encoded.truncated)];
        if as_json {
            let counts: Map<_, _> = self
                .counts
                .iter()
                .chain(&texts)
                .map(|(name, n)| ((*name).into(), json!(n)))
                .collect();
            // serde_json writes NaN as null.
            let metrics: Map<_, _> =
                self.metrics.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            return format!(
                "{}\n",
                json!({"kind": self.kind, "counts": counts, "metrics": metrics})
            );
        }
        let counts: Vec<String> =
            self.counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let mut text = counts.join(", ");
        if encoded.truncated > 0 {
            text += &format!(", {} texts truncated", encoded.truncated);
        }
        text += "\n\n";
        let width = self.metrics.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in &self.metrics {
            text += &format!("{name:width$}  {value:.4}\n");
        }
        text
    }
}

fn triplets(
    encoded: &Encoded,
    rows: &[[usize; 3]],
    as_of: AsOf,
    metric: Metric,
) -> Result<Evaluated, Failure> {
    let column = |column: usize| encoded.rows(rows.iter().map(|row| row[column]));
    let definition = match as_of {
        AsOf::Current => TripletDefinition::Current,
        AsOf::V3_0 => TripletDefinition::V3_0,
    };
    let [anchors, positives, negatives] = [column(0)?, column(1)?, column(2)?];
    let measured =
        evaluate_triplets(anchors.view(), positives.view(), negatives.view(), definition)?;
    let names = EVALUATED_METRICS.map(|metric| format!("{}_accuracy", metric.name()));
    let mut metrics: Vec<_> = names.into_iter().zip(measured.accuracy).collect();
    metrics.push(("max_accuracy".into(), measured.max));
    let side = |other: usize| encoded.pairwise(metric, rows.iter().map(|row| (row[0], row[other])));
    Ok(Evaluated {
        kind: "triplets",
        counts: vec![("triplets", rows.len())],
        metrics,
        sides: [("anchor and positive".into(), side(1)?), ("anchor and negative".into(), side(2)?)],
        axis: metric.name().into(),
    })
}

fn graded(
    encoded: &Encoded,
    pairs: &[[usize; 2]],
    grades: &[f64],
    metric: Metric,
) -> Result<Evaluated, Failure> {
    let column = |column: usize| encoded.rows(pairs.iter().map(|pair| pair[column]));
    if pairs.len() < 2 {
        return Err(Failure::Input("a correlation takes 2 rows or more".into()));
    }
    let measured = evaluate_similarity(column(0)?.view(), column(1)?.view(), grades)?;
    let names = EVALUATED_METRICS.map(Metric::name).into_iter().chain(["max"]);
    let metrics = names
        .zip(measured.by_metric.into_iter().chain([measured.max]))
        .flat_map(|(name, of)| {
            [(format!("pearson_{name}"), of.pearson), (format!("spearman_{name}"), of.spearman)]
        })
        .collect();
    let scores = encoded.pairwise(metric, pairs.iter().map(|&[a, b]| (a, b)))?;
    let least = grades.iter().copied().fold(f64::INFINITY, f64::min);
    let middle = (least + grades.iter().copied().fold(f64::NEG_INFINITY, f64::max)) / 2.0;
    let side = |above: bool| {
        let of_side = scores.iter().zip(grades).filter(|(_, grade)| (**grade > middle) == above);
        of_side.map(|(&score, _)| score).collect::<Vec<f32>>()
    };
    Ok(Evaluated {
        kind: "pairs",
        counts: vec![("pairs", pairs.len())],
        metrics,
        sides: [
            (format!("graded above {middle}"), side(true)),
            (format!("graded {middle} or less"), side(false)),
        ],
        axis: metric.name().into(),
    })
}

fn retrieval(
    model: &Model,
    encoded: &Encoded,
    questions: &Questions,
    arguments: &Arguments,
    metric: Metric,
) -> Result<Evaluated, Failure> {
    let (mode, weights) = (arguments.mode, arguments.weights.unwrap_or([1.0; 3]));
    let threads = model.info().threads;
    let rankings = encoded.rankings(questions, mode, metric, weights, threads)?;
    let by = match mode {
        ModeArg::Dense => metric.name().to_string(),
        mode => mode.to_possible_value().map_or(String::new(), |name| name.get_name().into()),
    };
    let mut sides = [("relevant".to_string(), Vec::new()), ("the best others".into(), Vec::new())];
    for (ranking, relevant) in rankings.iter().zip(&questions.relevant) {
        for (passage, score) in ranking {
            sides[usize::from(!relevant.contains(passage))].1.push(*score);
        }
    }
    let places: Vec<Vec<usize>> = rankings
        .iter()
        .map(|ranking| ranking.iter().map(|&(passage, _)| passage).collect())
        .collect();
    let measured = evaluate_retrieval(&places, &questions.relevant)?;
    let named = [
        ("accuracy", &measured.accuracy[..]),
        ("precision", &measured.precision),
        ("recall", &measured.recall),
        ("ndcg", &measured.ndcg),
        ("mrr", &measured.mrr),
        ("map", &measured.map),
    ];
    let mut metrics = Vec::new();
    for (name, values) in named {
        for (depth, value) in values {
            metrics.push((format!("{by}_{name}@{depth}"), *value));
        }
    }
    let relevant = questions.relevant.iter().map(Vec::len).sum();
    Ok(Evaluated {
        kind: "retrieval",
        counts: vec![
            ("queries", questions.queries.len()),
            ("passages", questions.passages.len()),
            ("relevant", relevant),
        ],
        metrics,
        sides,
        axis: by,
    })
}

/// Writes a file that appears complete or not at all.
fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let outcome = std::fs::write(&name, text).and_then(|()| std::fs::rename(&name, file));
    if outcome.is_err() {
        let _ = std::fs::remove_file(&name);
    }
    outcome
}
