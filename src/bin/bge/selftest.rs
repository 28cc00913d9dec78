//! `bge selftest`: compares the results of a model with published ones.

mod compare;
mod reference;

use std::collections::BTreeMap;
use std::io::{IsTerminal, stderr};
use std::path::Path;

use bge::{EncodeOptions, Model, Outputs};
use compare::{Compared, Results};
use indicatif::{ProgressBar, ProgressStyle};
use reference::{Output, Published, Reference};
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::ModelArgs;
use crate::failure::Failure;
use crate::output::print;

/// The most characters of a text that a line shows.
const SHOWN: usize = 40;

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Pass,
    Fail,
    /// It differs, but the file says that this is no error of the model.
    Doubt,
    Skip,
}

struct Line<'a> {
    published: &'a Published,
    verdict: Verdict,
    /// The numbers, or the reason why there are none.
    outcome: Result<Compared, String>,
}

pub(crate) fn run(model: &ModelArgs, file: Option<&Path>, as_json: bool) -> Result<(), Failure> {
    let reference = Reference::read(file)?;
    let model = model.open()?;
    reference.fits(model.info())?;
    let results = encode(&model, &reference)?;
    let lines: Vec<Line<'_>> = reference
        .values
        .iter()
        .map(|published| judge(published, &results, &model))
        .collect::<Result<_, _>>()?;
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let (passed, failed) = (count(Verdict::Pass), count(Verdict::Fail));
    let summary = json!({
        "passed": passed, "failed": failed, "doubtful": count(Verdict::Doubt),
        "skipped": count(Verdict::Skip),
    });
    if as_json {
        let sources: BTreeMap<_, _> = (reference.sources.iter())
            .map(|(key, source)| (key, json!({"where": source.place, "license": source.license})))
            .collect();
        let values: Vec<Value> = lines.iter().map(Line::json).collect();
        let all = json!({
            "reference": reference.name, "summary": summary, "values": values, "sources": sources,
        });
        let text = serde_json::to_string_pretty(&all).map_err(std::io::Error::from)?;
        print(&format!("{text}\n"))?;
    } else {
        let mut text: String = lines.iter().map(Line::text).collect();
        for (key, source) in &reference.sources {
            text += &format!("[{key}] {} ({})\n", source.place, source.license);
        }
        text += &format!(
            "{}: {passed} passed, {failed} failed, {} in doubt, {} skipped\n",
            reference.name,
            count(Verdict::Doubt),
            count(Verdict::Skip),
        );
        print(&text)?;
    }
    match (passed, failed) {
        (0, 0) => Err(Failure::Selftest("not one value was compared with success".into())),
        (_, 0) => Ok(()),
        (_, failed) => Err(Failure::Selftest(format!(
            "{failed} of {} values are not within their tolerance",
            lines.len()
        ))),
    }
}

/// Encodes each text alone and unchanged, with the outputs that the values need and the model has.
fn encode<'a>(model: &Model, reference: &'a Reference) -> Result<Results<'a>, Failure> {
    let mut texts: Vec<&str> = reference.values.iter().flat_map(|v| v.check.texts()).collect();
    texts.sort_unstable();
    texts.dedup();
    let has = model.info().outputs;
    let needs = |output| reference.values.iter().any(|v| v.check.output() == output);
    let options = EncodeOptions {
        outputs: Outputs {
            dense: true,
            sparse: has.sparse && needs(Output::Sparse),
            multi: has.multi && needs(Output::Multi),
            tokens: false,
        },
        prompt: Some(String::new()),
        ..EncodeOptions::default()
    };
    let progress = progress_bar(texts.len() as u64);
    let mut results = Results::new();
    for text in texts {
        results.insert(text, model.encode(&[text], &options)?);
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(results)
}

fn progress_bar(texts: u64) -> ProgressBar {
    if !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:20} {pos} of {len} texts, {elapsed}");
    ProgressBar::new(texts).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn judge<'a>(
    published: &'a Published,
    results: &Results<'_>,
    model: &Model,
) -> Result<Line<'a>, Failure> {
    let has = model.info().outputs;
    let check = &published.check;
    let lacking = match check.output() {
        Output::Sparse if !has.sparse => Some("sparse weights: it has no sparse_linear"),
        Output::Multi if !has.multi => Some("multi-vectors: it has no colbert_linear"),
        _ => None,
    };
    let cut = check.texts().into_iter().any(|text| results[text].usage[0].truncated);
    let why = match lacking {
        Some(lacking) => Some(format!("the model does not give {lacking}")),
        None if cut => Some(format!("the text is longer than {} tokens", model.info().max_tokens)),
        None => None,
    };
    if let Some(why) = why {
        return Ok(Line { published, verdict: Verdict::Skip, outcome: Err(why) });
    }
    let compared = compare::compare(check, results, model)?;
    let verdict = match &published.unsure {
        _ if compared.difference() <= published.tolerance => Verdict::Pass,
        None => Verdict::Fail,
        Some(_) => Verdict::Doubt,
    };
    Ok(Line { published, verdict, outcome: Ok(compared) })
}

impl Line<'_> {
    fn text(&self) -> String {
        let Published { check, tolerance, source, unsure, .. } = self.published;
        let verdict = match self.verdict {
            Verdict::Pass => "pass ",
            Verdict::Fail => "FAIL ",
            Verdict::Doubt => "doubt",
            Verdict::Skip => "skip ",
        };
        let outcome = match &self.outcome {
            Ok(compared) => format!(
                "ours {:>9.6}  theirs {:>9.6}  off by {:.1e}  allowed {tolerance:.1e}",
                compared.ours,
                compared.theirs,
                compared.difference()
            ),
            Err(why) => why.clone(),
        };
        let why = match (self.verdict, unsure) {
            (Verdict::Doubt, Some(why)) => format!("  ({why})"),
            _ => String::new(),
        };
        let texts: Vec<String> = check.texts().into_iter().map(shown).collect();
        let (kind, texts) = (check.kind(), texts.join(" "));
        format!("{verdict}  {kind:<13}  {outcome}  {texts}  [{source}]{why}\n")
    }

    fn json(&self) -> Value {
        let Published { check, tolerance, source, note, unsure } = self.published;
        let compared = self.outcome.as_ref().ok();
        json!({
            "verdict": self.verdict, "kind": check.kind(), "texts": check.texts(),
            "ours": compared.map(|c| c.ours), "theirs": compared.map(|c| c.theirs),
            "difference": compared.map(Compared::difference), "tolerance": tolerance,
            "skipped": self.outcome.as_ref().err(), "source": source, "note": note,
            "unsure": unsure,
        })
    }
}

/// A text, truncated, and quoted so that it stays on one line.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}..", &text[..end]),
        None => format!("{text:?}"),
    }
}
